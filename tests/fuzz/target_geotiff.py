"""Scenes, masks and raster labels: from opening a file to its pixels, whatever its directories say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import rasterio.shutil
import scenes
from rasterio.windows import Window

from fuzz.core import Files, Target
from fuzz.mutate import chance, damaged
from fuzz.shared import show_info
from fuzz.tiff import damaged_tiff
from geoseg.raster.gdal import open_raster
from geoseg.raster.geobox import GeoBox
from geoseg.raster.labels import open_labels
from geoseg.raster.mask import open_mask
from geoseg.raster.scene import Scene

_SIDE = 40
_TILES = {"tiled": True, "blockxsize": 16, "blockysize": 16}
_METADATA = {"AREA_OR_POINT": "Point", "NAME": "x", "GEOSEG_VERSION": "0"}
_CLASSES = '{"names": ["a", "b"], "colors": ["#000000", "#FFFFFF"], "background": 0, "boundary": null}'

_LAYOUTS: tuple[dict[str, Any], ...] = (
    {},
    {"bands": 3, **_TILES, "compress": "deflate", "predictor": 2, "interleave": "pixel"},
    {"bands": 3, "compress": "lzw", "interleave": "band", "ENDIANNESS": "BIG"},
    {"bands": 4, "alpha": True, "BIGTIFF": "YES", **_TILES},
    {"bands": 3, "compress": "jpeg", "photometric": "ycbcr", "interleave": "pixel", **_TILES},
    {"dtype": "float32", "nodata": -9999.0, "compress": "zstd", "predictor": 3},
    {"dtype": "float64", "bands": 2, "nodata": float("nan")},
    {"dtype": "uint16", "bands": 2, "mask": True, "compress": "packbits"},
    {"dtype": "int16", "nodata": -32768, "blockysize": 1},
    {"dtype": "int8"},
    {"dtype": "int32", "compress": "deflate", "BIGTIFF": "YES", "ENDIANNESS": "BIG"},
    {"colormap": {0: (0, 0, 0), 1: (255, 0, 0), 2: (0, 255, 0)}, "nodata": 255, "ids": True},
    {"ids": True, "tags": {"GEOSEG_CLASSES": _CLASSES, **_METADATA}, "nodata": 255, "compress": "lzw"},
    {"nbits": 1, "ids": True},
    {"gcps": True},
    {"crs": None},
    {"crs": "EPSG:4326", "transform": scenes.north_up(1e-4, origin=(179.999, 10.0)), "descriptions": ["a"]},
    {"transform": scenes.rotated(), "tags": _METADATA, "bands": 2, "descriptions": ["red", "b\u00e9"]},
    {"compress": "webp", "bands": 3, "interleave": "pixel"},
    {"compress": "lerc", "dtype": "float32"},
    {"SPARSE_OK": True, **_TILES, "empty": True},
    {"bands": 5, "interleave": "pixel", "mask": True, "compress": "deflate"},
)


def _write(path: Path, layout: dict[str, Any]) -> Path:
    options = dict(layout)
    count, dtype = options.pop("bands", 1), options.pop("dtype", "uint8")
    pixels = scenes.ramp(count, _SIDE, _SIDE + 7, dtype)
    if options.pop("ids", False):
        pixels = pixels % 2
    if options.pop("empty", False):
        pixels[:] = 0
    if options.pop("alpha", False):
        pixels, options["alpha"] = pixels[:3], pixels[3]
    if options.pop("mask", False):
        options["mask"] = np.arange(_SIDE * (_SIDE + 7)).reshape(_SIDE, -1) % 3 > 0
    if options.pop("gcps", False):
        options["gcps"] = scenes.some_gcps(_SIDE, _SIDE + 7)
    return scenes.write_scene(path, pixels, **options)


def seeds(folder: Path) -> list[Files]:
    """A TIFF of every layout, one with overviews, and other formats."""
    made: list[Files] = []
    for at, layout in enumerate(_LAYOUTS):
        made.append({"scene.tif": _write(folder / f"{at}.tif", layout).read_bytes()})
    source = folder / "1.tif"
    for driver, suffix in (
        ("COG", "tif"),
        ("PNG", "png"),
        ("JPEG", "jpg"),
        ("JP2OpenJPEG", "jp2"),
        ("HFA", "img"),
    ):
        out = folder / f"other.{suffix}"
        options = {"BLOCKSIZE": 128, "OVERVIEW_COUNT": 2} if driver == "COG" else {}
        with scenes.not_georeferenced_is_fine():
            rasterio.shutil.copy(source, out, driver=driver, **options)
        made.append({"scene.tif": out.read_bytes()})
    return made


def damage(rng: Random, seeds: Sequence[Files]) -> Files:
    """TIFFs with other directories; of all formats, other bytes."""
    data, other = rng.choice(seeds)["scene.tif"], rng.choice(seeds)["scene.tif"]
    is_tiff, tiffs = data[:2] in {b"II", b"MM"}, len(_LAYOUTS) + 1
    if is_tiff and chance(rng, 0.8):
        other = seeds[rng.randrange(tiffs)]["scene.tif"]
        return {"scene.tif": damaged_tiff(rng, data, other)}
    return {"scene.tif": damaged(rng, data, other, most=6)}


def _some_window(rng: Random, scene: Scene) -> Window:
    height, width = scene.geobox.shape
    row, col = (
        rng.choice((0, height // 2, height - 9, -5, rng.randrange(height))),
        rng.randrange(-9, width + 9),
    )
    return Window(col, row, rng.randint(1, 64), rng.randint(1, 64))


def _look(path: Path, rng: Random) -> None:
    with Scene.open(path, on_error=rng.choice(("stop", "nodata"))) as scene:
        box = scene.geobox
        for what in (
            box.gsd_m,
            box.pixel_area_m2(),
            box.bounds,
            box.bounds_lonlat(),
            scene.nodata,
            scene.tags(),
        ):
            str(what).encode("utf-8", "surrogateescape")
        window = _some_window(rng, scene)
        box.window(window).profile()
        bands, valid = scene.read(window)
        assert bands.shape == (len(scene.bands), window.height, window.width)
        assert bands.dtype == scene.dtype
        assert valid.shape == bands.shape[1:]
        if rng.randrange(3) == 0:
            inside = Window(0, 0, min(box.width, 64), min(box.height, 64))
            scene.read_shrunk(inside, (min(8, inside.height), min(8, inside.width)), smooth=chance(rng, 0.5))


def _as_mask(path: Path, rng: Random) -> None:
    with open_mask(path) as mask:
        mask.read(Window(0, 0, min(64, mask.geobox.width), min(64, mask.geobox.height)))
        mask.read_ids(Window(0, 0, min(64, mask.geobox.width), min(64, mask.geobox.height)))
        mask.palette()


def _as_labels(path: Path, rng: Random) -> None:
    grid = GeoBox(
        crs=rasterio.crs.CRS.from_epsg(rng.choice((32633, 4326, 3857))),
        transform=rng.choice(
            (scenes.north_up(), scenes.rotated(), scenes.north_up(1e-4, origin=(179.99, 10)))
        ),
        shape=(20, 20),
    )
    with open_raster(path) as dataset:
        small = dataset.width * dataset.height < 10**7
    if small:
        with open_labels(path) as labels:
            labels.bounds_lonlat()
            labels.covers(grid)
            labels.burn(grid)


def run(folder: Path, rng: Random) -> None:
    """Use a raster in one of the ways in which it is."""
    path = folder / "scene.tif"
    kind = rng.randrange(10)
    if kind < 5:
        _look(path, rng)
    elif kind < 8:
        show_info(path)
    elif kind == 8:
        _as_mask(path, rng)
    else:
        _as_labels(path, rng)


TARGET = Target(name="geotiff", seeds=seeds, damage=damage, run=run)
