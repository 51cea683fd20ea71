"""How odd rasters are made: each small, each written its own way. :mod:`zoo` is the table of them."""

from __future__ import annotations

import contextlib
import struct
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import scenes
from affine import Affine
from mosaics import Source, write_mosaic
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.windows import Window
from tiff_directories import place_of_block, tiff_header

Pixels = NDArray[Any]
Make = Callable[[Path, Pixels], Path]

LOCAL = 'LOCAL_CS["site",UNIT["metre",1],AXIS["X",EAST],AXIS["Y",NORTH]]'


def written(**options: Any) -> Make:
    """Written by :func:`scenes.write_scene` with these keywords."""
    return lambda folder, pixels: scenes.write_scene(folder / "scene.tif", pixels, **options)


@contextlib.contextmanager
def edited(path: Path) -> Iterator[Any]:
    """A raster opened for changes."""
    with scenes.not_georeferenced_is_fine(), rasterio.open(path, "r+") as dataset:
        yield dataset


# Numbers


def complex_numbers(dtype: str) -> Make:
    """Radar as it comes; the pixels do not matter."""

    def make(folder: Path, pixels: Pixels) -> Path:
        profile = {"driver": "GTiff", "count": 1, "width": pixels.shape[2], "height": pixels.shape[1]}
        with rasterio.open(
            folder / "scene.tif", "w", dtype=dtype, crs=scenes.UTM, transform=scenes.north_up(), **profile
        ):
            return folder / "scene.tif"

    return make


def with_holes(*values: float, **options: Any) -> Make:
    """Each value in a square of its own, in all bands; the first also in another square of the first band."""

    def make(folder: Path, pixels: Pixels) -> Path:
        for number, value in enumerate(values):
            pixels[:, 3 + 8 * number : 9 + 8 * number, 5:11] = value
        pixels[0, 20:24, 30:36] = values[0]
        return scenes.write_scene(folder / "scene.tif", pixels, **options)

    return make


def nodata_beyond(text: bytes) -> Make:
    """A nodata value that no pixel of bytes can have; rasterio writes none, so the tag is changed."""

    def make(folder: Path, pixels: Pixels) -> Path:
        path = scenes.write_scene(folder / "scene.tif", pixels, nodata=100)
        tag = struct.pack("<HHI", 42113, 2, 4)
        content = path.read_bytes()
        assert content.count(tag + b"100\0") == 1
        path.write_bytes(content.replace(tag + b"100\0", tag + text.ljust(4, b"\0")))
        return path

    return make


def scaled(folder: Path, pixels: Pixels) -> Path:
    """Reflectance as whole numbers, with scale and offset."""
    path = scenes.write_scene(folder / "scene.tif", pixels, nodata=7)
    with edited(path) as dataset:
        dataset.scales, dataset.offsets = (0.0001,) * dataset.count, (-0.1,) * dataset.count
    return path


# Which pixels are real


def _hidden(pixels: Pixels) -> NDArray[np.bool_]:
    shown = np.ones(pixels.shape[1:], np.bool_)
    shown[5:17, :20] = False
    return shown


def internal_mask(folder: Path, pixels: Pixels) -> Path:
    """A mask of all bands inside the file."""
    return scenes.write_scene(folder / "scene.tif", pixels, mask=_hidden(pixels))


def mask_beside(folder: Path, pixels: Pixels) -> Path:
    """A mask of all bands in ``.msk``."""
    path = scenes.write_scene(folder / "scene.tif", pixels)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), edited(path) as dataset:
        dataset.write_mask(_hidden(pixels))
    assert (folder / "scene.tif.msk").exists()
    return path


def mask_of_each_band(folder: Path, pixels: Pixels) -> Path:
    """A mask for every band in ``.msk``; they overlap in part."""
    path = scenes.write_scene(folder / "scene.tif", pixels)
    masks = np.stack([np.roll(_hidden(pixels), 4 * band, axis=1) for band in range(len(pixels))]) * 255
    tags = {f"INTERNAL_MASK_FLAGS_{band}": "0" for band in range(1, len(pixels) + 1)}
    made = scenes.write_scene(folder / "mask.tif", masks.astype(np.uint8), tags=tags, crs=None)
    made.rename(folder / "scene.tif.msk")
    return path


def alpha(dtype_max: int) -> Make:
    """An alpha band with soft edges."""

    def make(folder: Path, pixels: Pixels) -> Path:
        shown = _hidden(pixels) * dtype_max
        shown[18, :] = 1
        return scenes.write_scene(folder / "scene.tif", pixels, alpha=shown)

    return make


# Places


def placed(transform: Affine, crs: str | None = scenes.UTM, **options: Any) -> Make:
    """At another place."""
    return written(transform=transform, crs=crs, **options)


def ground_points(folder: Path, pixels: Pixels) -> Path:
    """Ground control points, no transform."""
    return scenes.write_scene(folder / "scene.tif", pixels, gcps=scenes.some_gcps(*pixels.shape[1:]))


def rational_polynomials(folder: Path, pixels: Pixels) -> Path:
    """RPCs, no transform."""
    path = scenes.write_scene(folder / "scene.tif", pixels, crs=None)
    with edited(path) as dataset:
        dataset.rpcs = scenes.some_rpcs()
    return path


def world_file(name: str, suffix: str, driver: str) -> Make:
    """Its place is a text file beside it; the CRS is nowhere."""

    def make(folder: Path, pixels: Pixels) -> Path:
        plain = scenes.write_scene(folder / "plain.tif", pixels, crs=None)
        with scenes.not_georeferenced_is_fine():
            rasterio.shutil.copy(plain, folder / name, driver=driver)
        plain.unlink()
        lines = [0.5, 0.1, 0.2, -0.5, 500_000.25, 4_999_999.75]
        (folder / name).with_suffix(suffix).write_text("\n".join(map(str, lines)))
        return folder / name

    return make


def place_in_sidecar(folder: Path, pixels: Pixels) -> Path:
    """Its place is in ``.aux.xml``, where other programs keep it."""
    path = scenes.write_scene(folder / "scene.tif", pixels, crs=None)
    wkt = CRS.from_epsg(32633).to_wkt().replace('"', "&quot;")
    (folder / "scene.tif.aux.xml").write_text(
        f"<PAMDataset><SRS>{wkt}</SRS><GeoTransform>500000, 0.5, 0, 5000000, 0, -0.5</GeoTransform>"
        "<PAMRasterBand band='1'><Description>red</Description></PAMRasterBand></PAMDataset>"
    )
    return path


# How pixels are kept


def copied(name: str, driver: str, **options: Any) -> Make:
    """Copied into another format, or by another driver."""

    def make(folder: Path, pixels: Pixels) -> Path:
        plain = scenes.write_scene(folder / "plain.tif", pixels)
        rasterio.shutil.copy(plain, folder / name, driver=driver, **options)
        plain.unlink()
        return folder / name

    return make


def sparse(folder: Path, pixels: Pixels) -> Path:
    """Most blocks are not there at all, which means nodata."""
    profile = {"driver": "GTiff", "count": len(pixels), "dtype": pixels.dtype, "nodata": 0, "tiled": True}
    height, width = pixels.shape[1:]
    with rasterio.open(
        folder / "scene.tif", "w", width=width, height=height, blockxsize=16, blockysize=16,
        sparse_ok=True, crs=scenes.UTM, transform=scenes.north_up(), **profile,
    ) as dataset:  # fmt: skip
        dataset.write(pixels[:, 16:32, 16:32], window=Window(16, 16, 16, 16))
    return folder / "scene.tif"


def overviews(*, internal: bool) -> Make:
    """Smaller copies, in the file or in ``.ovr``."""

    def make(folder: Path, pixels: Pixels) -> Path:
        path = scenes.write_scene(folder / "scene.tif", pixels, tiled=True, blockxsize=32, blockysize=32)
        with rasterio.Env(TIFF_USE_OVR=not internal), edited(path) as dataset:
            dataset.build_overviews([2, 4], Resampling.average)
        assert (folder / "scene.tif.ovr").exists() is not internal
        return path

    return make


def with_sidecar(suffix: str, content: bytes) -> Make:
    """A file beside the scene that is not what its name says."""

    def make(folder: Path, pixels: Pixels) -> Path:
        path = scenes.write_scene(folder / "scene.tif", pixels)
        path.with_name(path.name + suffix).write_bytes(content)
        return path

    return make


def two_pages(folder: Path, pixels: Pixels) -> Path:
    """A second picture in the same file; the first one counts."""
    path = scenes.write_scene(folder / "scene.tif", pixels)
    profile = {"driver": "GTiff", "width": 9, "height": 7, "count": 1, "dtype": "uint8"}
    with (
        scenes.not_georeferenced_is_fine(),
        rasterio.open(path, "w", append_subdataset=True, **profile) as dataset,
    ):
        dataset.write(np.full((1, 7, 9), 3, np.uint8))
    return path


# What is broken


def _noisy_blocks(folder: Path, pixels: Pixels, **options: Any) -> Path:
    return scenes.write_scene(
        folder / "scene.tif", pixels, **{"tiled": True, "blockxsize": 16, "blockysize": 16} | options
    )


def cut_short(share: float, **options: Any) -> Make:
    """The copy was interrupted."""

    def make(folder: Path, pixels: Pixels) -> Path:
        path = _noisy_blocks(folder, pixels, **options)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        return path

    return make


def broken_block(col: int, row: int, band: int = 1, **options: Any) -> Make:
    """A block in the middle is garbage; blocks are of 16 px unless ``options`` say so."""

    def make(folder: Path, pixels: Pixels) -> Path:
        path = _noisy_blocks(folder, pixels, **{"compress": "deflate"} | options)
        break_block(path, col, row, band)
        return path

    return make


def broken_mask(folder: Path, pixels: Pixels) -> Path:
    """Pixels are fine, but not what says which of them are real."""
    path = mask_beside(folder, pixels)
    shown, tags = _hidden(pixels) * np.uint8(255), {"INTERNAL_MASK_FLAGS_1": "2"}
    scenes.write_scene(folder / "mask.tif", shown, crs=None, compress="deflate", tags=tags)
    break_block(folder / "mask.tif", 0, 0)
    (folder / "mask.tif").rename(folder / "scene.tif.msk")
    return path


def break_block(path: Path, col: int, row: int, band: int = 1) -> None:
    """Overwrite a block of a compressed GeoTIFF with garbage."""
    place = place_of_block(path, col, row, band)
    with path.open("r+b") as file:
        file.seek(place.start)
        file.write(b"\xa5" * (place.stop - place.start))


def lying_header(folder: Path, _pixels: Pixels) -> Path:
    """A header of a billion by a billion pixels, and nothing else."""
    return tiff_header(folder / "scene.tif", width=10**9, height=10**9, rows=1)


def unknown_codec(folder: Path, pixels: Pixels) -> Path:
    """Compressed by something that this GDAL has no decoder for (JPEG XL)."""
    path = scenes.write_scene(folder / "scene.tif", pixels, compress="deflate")
    tag = struct.pack("<HHI", 259, 3, 1)
    content = path.read_bytes()
    assert content.count(tag) == 1
    at = content.index(tag) + len(tag)
    path.write_bytes(content[:at] + struct.pack("<H", 50002) + content[at + 2 :])
    return path


def bytes_named(name: str, content: bytes) -> Make:
    """Something that is no raster geoseg reads."""

    def make(folder: Path, _pixels: Pixels) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return make


MOSAIC_OF = "whole.tif"
"""What a mosaic was cut from, in the same folder."""


def mosaic(folder: Path, pixels: Pixels) -> Path:
    """A VRT of four files beside it."""
    scenes.write_scene(folder / MOSAIC_OF, pixels)
    bands, height, width = pixels.shape
    top, left = height // 2, width // 3
    parts = []
    for row, bottom in ((0, top), (top, height)):
        for col, right in ((0, left), (left, width)):
            part = pixels[:, row:bottom, col:right]
            scenes.write_scene(folder / f"{row}_{col}.tif", part)
            parts.append(
                Source(name=f"{row}_{col}.tif", row=row, col=col, height=part.shape[1], width=part.shape[2])
            )
    return write_mosaic(
        folder / "scene.vrt",
        parts,
        (height, width),
        bands=bands,
        dtype=str(pixels.dtype),
        crs=scenes.UTM,
        transform=scenes.north_up(),
    )


def open_mosaic(folder: Path, pixels: Pixels) -> Path:
    """A VRT that shows more than files beside it."""
    height, width = pixels.shape[1:]
    (folder / "scene.vrt").write_text(scenes.raw_vrt("/etc/hosts", size=min(height, width)))
    return folder / "scene.vrt"


def zipped(folder: Path, pixels: Pixels) -> Path:
    """As it was downloaded."""
    path = scenes.write_scene(folder / "scene.tif", pixels)
    with zipfile.ZipFile(folder / "scene.zip", "w") as archive:
        archive.write(path, "scene.tif")
    path.unlink()
    return folder / "scene.zip"


def zip_member(folder: Path, pixels: Pixels) -> Path:
    """The way GDAL names it."""
    return Path(f"/vsizip/{zipped(folder, pixels)}/scene.tif")
