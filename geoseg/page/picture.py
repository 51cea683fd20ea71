"""Pictures inside of a page: arrays to PNG and JPEG as ``data:`` addresses."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import IGNORE

Rgb = tuple[int, int, int]
Ids = NDArray[np.uint8]

JPEG_QUALITY = 82
STRETCH = (2.0, 98.0)
"""Percentiles of a chip's valid pixels that are drawn black and white."""

_HATCH_PX = 8
_HATCH = (196, 148)
_COLOUR_NAMES = ("red", "green", "blue")


def shown_bands(names: Sequence[str]) -> tuple[int, ...]:
    """Positions of the bands drawn as red, green and blue: those called so, the first three, or one."""
    folded = [name.strip().casefold() for name in names]
    if all(color in folded for color in _COLOUR_NAMES):
        return tuple(folded.index(color) for color in _COLOUR_NAMES)
    return (0, 1, 2) if len(names) >= 3 else (0,)


def stretched(bands: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """An image (H, W, 3) of one or three ``bands`` of any dtype, stretched; hatched where not ``valid``."""
    return drawn(bands, valid, limits(bands, valid))


def limits(bands: NDArray[Any], valid: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Values of each of the bands (B, H, W) that are drawn black and white."""
    found = []
    for band in bands.astype(np.float64):
        known = band[valid & np.isfinite(band)]
        low, high = np.percentile(known, STRETCH) if known.size else (0.0, 1.0)
        found.append((float(low), float(high)))
    return found


def drawn(
    bands: NDArray[Any], valid: NDArray[np.bool_], ends: Sequence[tuple[float, float]]
) -> NDArray[np.uint8]:
    """One or three ``bands`` as image (H, W, 3), black and white at ``ends``; hatched where not ``valid``."""
    values = bands.astype(np.float64)
    valid = valid & np.isfinite(values).all(axis=0)
    shades = np.zeros(values.shape, np.float64)
    for band, out, (low, high) in zip(values, shades, ends, strict=True):
        # A band of one value has no contrast to show: it is drawn grey.
        out[valid] = (band[valid] - low) / (high - low) if high > low else 0.5
    image = np.round(255 * np.clip(shades, 0.0, 1.0)).astype(np.uint8)
    rows, columns = np.indices(valid.shape)
    hatch = np.where((rows + columns) % _HATCH_PX < 2, *map(np.uint8, reversed(_HATCH)))
    image = np.where(valid, image, hatch)
    colored: NDArray[np.uint8] = np.moveaxis(np.broadcast_to(image, (3, *valid.shape)), 0, -1)
    return colored


def shrunk_image(image: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Means of blocks of ``step`` x ``step`` pixels of (H, W, C); what is left over at the edges is cut."""
    if step == 1:
        return image
    rows, columns = image.shape[0] // step, image.shape[1] // step
    blocks = image[: rows * step, : columns * step].reshape(rows, step, columns, step, -1)
    means: NDArray[np.float64] = blocks.mean(axis=(1, 3), dtype=np.float64)
    return np.round(means).astype(np.uint8)


def shrunk_ids(ids: Ids, step: int) -> Ids:
    """The middle pixel of each block of ``step`` x ``step``, for what cannot be averaged."""
    rows, columns = ids.shape[0] // step, ids.shape[1] // step
    return ids[step // 2 :: step, step // 2 :: step][:rows, :columns]


def jpeg(image: NDArray[np.uint8], quality: int = JPEG_QUALITY) -> bytes:
    """An image (H, W, 3) as JPEG."""
    import warnings

    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    height, width, _ = image.shape
    profile = {"driver": "JPEG", "height": height, "width": width, "count": 3, "dtype": "uint8"}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(**profile, quality=quality) as file:
            file.write(np.moveaxis(image, -1, 0))
        return bytes(memory.read())


def palette_png(ids: Ids, colors: Sequence[Rgb]) -> bytes:
    """Ids (H, W) in ``colors`` as PNG (W3C, "PNG Specification") with a palette; 255 is see-through.

    Args:
        ids: positions in ``colors``, or 255.
        colors: at most 255.
    """
    height, width = ids.shape
    # See-through comes first: the list of opacities may end after it.
    index = np.where(ids == IGNORE, 0, ids.astype(np.uint16) + 1).astype(np.uint8)
    depth = next(depth for depth in (1, 2, 4, 8) if len(colors) + 1 <= 1 << depth)
    palette = bytes([255, 255, 255]) + b"".join(bytes(color) for color in colors)
    rows = np.zeros((height, 1 + -(-width * depth // 8)), np.uint8)  # filter 0: rows as they are
    rows[:, 1:] = _packed(index, depth)
    header = struct.pack(">IIBBBBB", width, height, depth, 3, 0, 0, 0)
    chunks = [
        (b"IHDR", header),
        (b"PLTE", palette),
        (b"tRNS", b"\0"),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def data_address(content: bytes) -> str:
    """A ``data:`` address of a PNG or JPEG."""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def ramp(stops: Sequence[Rgb], count: int) -> list[Rgb]:
    """``count`` colours evenly spread over ``stops``."""
    at = np.linspace(0, len(stops) - 1, count)
    channels = [np.interp(at, range(len(stops)), channel) for channel in zip(*stops, strict=True)]
    return [(round(r), round(g), round(b)) for r, g, b in zip(*channels, strict=True)]


def _packed(index: Ids, depth: int) -> NDArray[np.uint8]:
    """Numbers (H, W) below ``2**depth`` as bytes, the first pixel in the highest bits."""
    if depth == 8:
        return index
    bits = np.unpackbits(index[..., np.newaxis], axis=2)[..., 8 - depth :]
    return np.packbits(bits.reshape(len(index), -1), axis=1)
