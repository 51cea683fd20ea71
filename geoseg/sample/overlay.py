"""The picture at the end of the demo: the scene, the polygons found in it, and what refinement changed."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import geopandas
import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import ClassMap
from geoseg.outputs import check_output, staged_file
from geoseg.raster.geobox import GeoBox
from geoseg.raster.mask import open_mask
from geoseg.raster.scene import Scene

Image = NDArray[np.float32]
"""(H, W, 3), 0..255."""

MAX_PANEL_PX = 1200
GAP_PX = 10

_FINER = 3
_LINE_PX = 1.1
_FILL = 0.45
_DETAIL_ZOOM = 5
_PAPER = 250.0


def draw_overlay(
    output: Path,
    *,
    scene: Path,
    polygons: geopandas.GeoDataFrame,
    classes: ClassMap,
    masks: Sequence[Path] = (),
    overwrite: bool = False,
) -> None:
    """Write a PNG: the scene on the left, ``polygons`` over it on the right, below a detail of ``masks``.

    Args:
        output: the PNG.
        scene: a three-band uint8 scene, at most some thousand pixels wide: it is read at once.
        polygons: with a column ``class_name``, in the CRS of the scene.
        classes: what colours the classes have.
        masks: masks of the scene; the detail is where the first two differ most.
        overwrite: replace an existing output.

    Raises:
        OutputError: the output exists.
        SceneError: the scene or a mask cannot be used.
    """
    check_output(output, overwrite=overwrite, inputs=[scene, *masks])
    with Scene.open(scene) as source:
        geobox = source.geobox
        bands, valid = source.read(Window(0, 0, geobox.width, geobox.height))
    image = np.where(valid[..., np.newaxis], np.moveaxis(bands, 0, -1), _PAPER).astype(np.float32)
    step = math.ceil(max(geobox.shape) / MAX_PANEL_PX)
    plain = _shrunk(image, step)
    drawn = _with_polygons(plain, _to_pixels(polygons, geobox, step), polygons["class_name"], classes)
    picture = _beside([plain, drawn])
    if len(masks) >= 2:
        ids = [_read(mask) for mask in masks]
        width = (picture.shape[1] - len(ids) * GAP_PX) // (1 + len(ids))
        window = _most_different(ids[0], ids[1], valid, width // _DETAIL_ZOOM)
        detail = _zoomed(image[window])
        details = [detail, *(_with_ids(detail, part[window], classes) for part in ids)]
        picture = _below(picture, _beside(details))
    with staged_file(output) as staged:
        staged.write_bytes(png(np.clip(np.round(picture), 0, 255).astype(np.uint8)))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An RGB image (H, W, 3) uint8 as PNG (W3C, "PNG Specification"), each row as its change."""
    height, width, _ = pixels.shape
    above = np.zeros_like(pixels)
    above[1:] = pixels[:-1]
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = 2  # the filter called "up"
    rows[:, 1:] = (pixels - above).reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _read(mask: Path) -> NDArray[np.uint8]:
    with open_mask(mask) as source:
        return source.read(Window(0, 0, source.geobox.width, source.geobox.height))


def _shrunk(image: Image, step: int) -> Image:
    """Average of blocks of ``step`` x ``step`` pixels; what is left over at the edges is cut."""
    if step == 1:
        return image
    rows, columns = image.shape[0] // step, image.shape[1] // step
    cut = image[: rows * step, : columns * step].reshape(rows, step, columns, step, 3)
    small: Image = cut.mean(axis=(1, 3), dtype=np.float32)
    return small


def _to_pixels(polygons: geopandas.GeoDataFrame, geobox: GeoBox, step: int) -> NDArray[np.object_]:
    to_pixel = ~geobox.transform

    def moved(points: NDArray[np.float64]) -> NDArray[np.float64]:
        columns, rows = to_pixel @ (points[:, 0], points[:, 1])
        return np.column_stack([columns, rows]) / step

    return np.asarray(shapely.transform(np.asarray(polygons.geometry), moved), object)


def _with_polygons(
    image: Image, outlines: NDArray[np.object_], names: Sequence[str], classes: ClassMap
) -> Image:
    """The image, paler, with translucent polygons and smooth outlines in class colours."""
    drawn = _pale(image)
    of_class = np.asarray(names)
    for class_id, name in enumerate(classes.names):
        chosen = outlines[of_class == name]
        if not len(chosen):
            continue
        ink = np.array(classes.rgb(class_id), np.float32)
        inside = _coverage(chosen, image.shape) * np.float32(_FILL)
        drawn += (ink - drawn) * inside[..., np.newaxis]
        border = _coverage(shapely.buffer(shapely.boundary(chosen), _LINE_PX), image.shape)
        drawn += (ink - drawn) * border[..., np.newaxis]
    return drawn


def _pale(image: Image) -> Image:
    grey = image.mean(axis=2, keepdims=True)
    pale: Image = 0.6 * image + 0.3 * grey + np.float32(0.1 * 255.0)
    return pale


def _coverage(shapes: NDArray[np.object_], shape: tuple[int, ...]) -> Image:
    """Share 0..1 of every pixel (H, W) that ``shapes`` cover."""
    rows, columns = shape[0], shape[1]
    fine = rasterio.features.rasterize(
        [(geometry, 1) for geometry in shapes if not geometry.is_empty],
        out_shape=(rows * _FINER, columns * _FINER),
        transform=Affine.scale(1.0 / _FINER),
        dtype="uint8",
    )
    share: Image = fine.reshape(rows, _FINER, columns, _FINER).mean(axis=(1, 3), dtype=np.float32)
    return share


def _most_different(
    first: NDArray[np.uint8], second: NDArray[np.uint8], valid: NDArray[np.bool_], size_px: int
) -> tuple[slice, slice]:
    """The square window with the most pixels of different ids, among those without nodata."""
    size = min(size_px, *first.shape)
    best, chosen = -1, (slice(0, size), slice(0, size))
    for row in range(0, first.shape[0] - size + 1, max(1, size // 4)):
        for column in range(0, first.shape[1] - size + 1, max(1, size // 4)):
            window = (slice(row, row + size), slice(column, column + size))
            different = int((first[window] != second[window]).sum()) if valid[window].all() else 0
            if different > best:
                best, chosen = different, window
    return chosen


def _zoomed(image: Image) -> Image:
    return image.repeat(_DETAIL_ZOOM, axis=0).repeat(_DETAIL_ZOOM, axis=1)


def _with_ids(image: Image, ids: NDArray[np.uint8], classes: ClassMap) -> Image:
    """A zoomed detail with every class but the background tinted and its pixel edges drawn."""
    drawn = _pale(image)
    large = ids.repeat(_DETAIL_ZOOM, axis=0).repeat(_DETAIL_ZOOM, axis=1)
    edge = np.zeros(large.shape, np.bool_)
    edge[1:] |= large[1:] != large[:-1]
    edge[:-1] |= edge[1:]
    across = large[:, 1:] != large[:, :-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    for class_id in range(len(classes)):
        if class_id != classes.background:
            ink = np.array(classes.rgb(class_id), np.float32)
            inside = large == class_id
            drawn[inside] += (ink - drawn[inside]) * np.float32(_FILL)
            drawn[inside & edge] = ink
    return drawn


def _beside(panels: Sequence[Image]) -> Image:
    gap = np.full((panels[0].shape[0], GAP_PX, 3), _PAPER, np.float32)
    row = [part for panel in panels for part in (panel, gap)][:-1]
    return np.concatenate(row, axis=1)


def _below(above: Image, under: Image) -> Image:
    """Two pictures, the lower one centred."""
    width = max(above.shape[1], under.shape[1])

    def widened(image: Image) -> Image:
        missing = width - image.shape[1]
        sides = ((0, 0), (missing // 2, missing - missing // 2), (0, 0))
        return np.pad(image, sides, constant_values=_PAPER)

    gap = np.full((GAP_PX, width, 3), _PAPER, np.float32)
    return np.concatenate([widened(above), gap, widened(under)], axis=0)
