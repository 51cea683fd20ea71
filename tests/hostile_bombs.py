"""Rasters of some kilobytes that unfold to gigabytes, or say that they do."""

from __future__ import annotations

import functools
import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from hostile_files import Lures, Maker, written
from rasterio.windows import Window
from scenes import UTM, north_up, not_georeferenced_is_fine, write_scene
from tiff_directories import Told, place_of_block, write_tiff

BOMB_PX = 6144


def bomb(bands: int = 1, **options: Any) -> Maker:
    """6144 x 6144 px in blocks of 2048, of which one is there and all others are missing, which means 0."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        side = 2048
        with rasterio.open(
            folder / "a.tif", "w", driver="GTiff", width=BOMB_PX, height=BOMB_PX, count=bands, dtype="uint8",
            tiled=True, blockxsize=side, blockysize=side, sparse_ok=True, crs=UTM, transform=north_up(),
            **options,
        ) as dataset:  # fmt: skip
            dataset.write(np.ones((bands, side, side), np.uint8), window=Window(0, 0, side, side))
        return folder / "a.tif"

    return make


_LARGE_PX = 8000
"""Side of an image in a block of 128 px: 192 MB."""


@functools.cache
def _gigabyte() -> bytes:
    """Zeros, deflated."""
    packer = zlib.compressobj(9)
    return b"".join([*(packer.compress(bytes(10**6)) for _ in range(1000)), packer.flush()])


def more_in_the_block_than_declared(folder: Path, kit: Path, lures: Lures) -> Path:
    """A strip of 16 kB whose deflate stream unfolds to a gigabyte."""
    return _of_one_strip(folder / "a.tif", _gigabyte(), 8)


def webp_larger_than_its_block(folder: Path, kit: Path, lures: Lures) -> Path:
    """A WebP of 8,000 x 8,000 px in a strip of 128."""
    return _of_one_strip(folder / "a.tif", _webp(), 50001, bands=3)


@functools.cache
def _webp() -> bytes:
    side = _LARGE_PX
    with tempfile.TemporaryDirectory() as folder:
        path = write_scene(
            Path(folder) / "large.tif", np.zeros((3, side, side), np.uint8), tiled=True, blockxsize=side,
            blockysize=side, interleave="pixel", compress="webp", webp_lossless=True,
        )  # fmt: skip
        return path.read_bytes()[place_of_block(path)]


def jpeg_larger_than_its_block(folder: Path, kit: Path, lures: Lures) -> Path:
    """A JPEG of 8,000 x 8,000 px in a strip of 128."""
    return _of_one_strip(folder / "a.tif", _jpeg(_LARGE_PX), 7, bands=3)


@functools.cache
def _jpeg(side: int, *, progressive: bool = False) -> bytes:
    shape = {"width": side, "height": side, "count": 3, "dtype": "uint8", "progressive": progressive}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "plain.jpg"
        with not_georeferenced_is_fine(), rasterio.open(path, "w", driver="JPEG", **shape) as file:
            file.write(np.zeros((3, side, side), np.uint8))
        return path.read_bytes()


def _of_one_strip(path: Path, data: bytes, compression: int, bands: int = 1) -> Path:
    """A TIFF of 128 x 128 px whose only strip is ``data``."""

    def directory(at: int) -> list[Told]:
        colours = 1 if bands == 1 else 6 if compression == 7 else 2
        return [
            (256, 4, 128), (257, 4, 128), (258, 3, [8] * bands), (259, 3, compression), (262, 3, colours),
            (273, 4, at), (277, 3, bands), (278, 4, 128), (279, 4, len(data)), (284, 3, 1),
            (33550, 12, [0.5, 0.5, 0.0]), (33922, 12, [0.0, 0.0, 0.0, 500_000.0, 5_000_000.0, 0.0]),
        ]  # fmt: skip

    write_tiff(path, directory(0))
    write_tiff(path, directory(path.stat().st_size))
    with path.open("ab") as file:
        file.write(data)
    return path


def _png(width: int, height: int, pixels: int, *more: tuple[bytes, bytes], interlaced: bool = False) -> bytes:
    """A PNG of one band with so many bytes of zeros in it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, int(interlaced))
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(bytes(pixels))), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def png_text_bomb(folder: Path, kit: Path, lures: Lures) -> Path:
    """A packed comment and a packed colour profile that unfold to a gigabyte each."""
    packed = _gigabyte()
    texts = (b"iCCP", b"x\0\0" + packed), (b"zTXt", b"Comment\0\0" + packed)
    return written("a.png", _png(128, 128, 129 * 128, *texts))(folder, kit, lures)


def jpeg_of_gigabytes(folder: Path, kit: Path, lures: Lures) -> Path:
    """A progressive JPEG that declares 65,500 x 65,500 px: libjpeg keeps all of them."""
    content = bytearray(_jpeg(64, progressive=True))
    at = content.index(b"\xff\xc2") + 5
    content[at : at + 4] = struct.pack(">HH", 65_500, 65_500)
    return written("a.jpg", bytes(content))(folder, kit, lures)


def _jp2(side: int) -> bytes:
    """A JPEG 2000 of some bytes that declares one tile of ``side`` px."""
    size = struct.pack(">HIIIIIIIIHBBB", 0, side, side, 0, 0, side, side, 0, 0, 1, 7, 1, 1)
    siz = b"\xff\x51" + struct.pack(">H", len(size) + 2) + size
    cod = b"\xff\x52" + struct.pack(">HBBHBBBBBB", 12, 0, 0, 1, 0, 5, 4, 4, 0, 1)
    qcd = b"\xff\x5c" + struct.pack(">HB", 19, 0x40) + bytes([0x40] * 16)
    sot = b"\xff\x90" + struct.pack(">HHIBB", 10, 0, 0, 0, 1)
    return b"\xff\x4f" + siz + cod + qcd + sot + b"\xff\x93" + bytes(64) + b"\xff\xd9"


SLOW: dict[str, Maker] = {
    "png_of_gigabytes": written("a.png", _png(30_000, 30_000, 10**7, interlaced=True)),
    "jp2_of_gigabytes": written("a.jp2", _jp2(20_000)),
    jpeg_of_gigabytes.__name__: jpeg_of_gigabytes,
    "bomb_deflate": bomb(compress="deflate"),
    "bomb_zstd": bomb(compress="zstd"),
    "bomb_lzw": bomb(compress="lzw"),
    "bomb_lerc": bomb(compress="lerc_zstd"),
    "bomb_webp": bomb(3, compress="webp", interleave="pixel"),
    "bomb_jpeg": bomb(compress="jpeg"),
}
"""What truly is as large as it says: verbs may be at work on it when they are told to end."""

BOMBS: dict[str, Maker] = {
    **SLOW,
    more_in_the_block_than_declared.__name__: more_in_the_block_than_declared,
    webp_larger_than_its_block.__name__: webp_larger_than_its_block,
    jpeg_larger_than_its_block.__name__: jpeg_larger_than_its_block,
    "png_of_a_billion": written("a.png", _png(2**31 - 1, 2**31 - 1, 10**7)),
    png_text_bomb.__name__: png_text_bomb,
    "jp2_of_a_billion": written("a.jp2", _jp2(2**31 - 1)),
}
