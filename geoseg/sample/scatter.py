"""A scene of very many simple objects whose outlines are known to the pixel, made window by window.

For what has to hold up at size: nothing of the scene is kept but its outlines. Objects are bright rectangles,
turned any way, on dark ground; every fourth one or so is halved into two that touch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.windows import Window

from geoseg.errors import InputError
from geoseg.outputs import check_output, staged_file
from geoseg.raster.geobox import GeoBox
from geoseg.raster.windows import block_windows
from geoseg.sample.files import rgb_dataset, writing

CLASS_COLUMN, CLASS = "class", "object"

BRIGHT = 150
"""Objects are brighter than this in every band, the ground is darker."""

_CRS = CRS.from_epsg(32632)
_EAST_M, _NORTH_M = 562_000.0, 5_240_000.0
_NOISE_PX = 512
_LEAST_CELL_PX = 16.0
_WINDOW_PX = 1024


@dataclass(frozen=True, kw_only=True)
class Scattered:
    """A scene that is made where it is read.

    Attributes:
        geobox: north-up, UTM zone 32N.
        outlines: (N,) polygons in pixels, x to the right and y down; a pixel is an object's own when its
            centre lies within. They overlap nowhere.
        colors: (N + 1, 3) uint8, the ground's first.
        noise: (3, 512, 512) int16, added to all, again and again.
    """

    geobox: GeoBox
    outlines: NDArray[Any]
    colors: NDArray[np.uint8]
    noise: NDArray[np.int16]
    _tree: shapely.STRtree = field(repr=False)

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Bands (3, h, w) of a window; the same pixels whatever the window."""
        numbers = self.numbers(window)
        rows = (np.arange(window.height) + int(window.row_off)) % _NOISE_PX
        cols = (np.arange(window.width) + int(window.col_off)) % _NOISE_PX
        noise = self.noise[:, rows[:, np.newaxis], cols[np.newaxis]]
        return (np.moveaxis(self.colors[numbers], -1, 0) + noise).astype(np.uint8)

    def numbers(self, window: Window) -> NDArray[np.int32]:
        """Number of the object on every pixel (h, w), 1 for the first; 0 is ground."""
        left, top = float(window.col_off), float(window.row_off)
        found = self._tree.query(shapely.box(left, top, left + window.width, top + window.height))
        burned = np.zeros((int(window.height), int(window.width)), np.int32)
        shapes = [(self.outlines[at], int(at) + 1) for at in np.sort(found)]
        if shapes:
            rasterize(shapes, out=burned, transform=Affine.translation(left, top))
        return burned

    def labels(self) -> geopandas.GeoDataFrame:
        """The objects on the map, with a column ``class``."""
        a, b, c, d, e, f = tuple(self.geobox.transform)[:6]
        placed = shapely.transform(self.outlines, lambda points: points @ np.array([[a, d], [b, e]]) + (c, f))
        return geopandas.GeoDataFrame({CLASS_COLUMN: [CLASS] * len(placed)}, geometry=placed, crs=_CRS)


def scatter(
    seed: int, *, shape: tuple[int, int] = (10_000, 10_000), count: int = 20_000, gsd_m: float = 0.3
) -> Scattered:
    """Lay ``count`` objects out on ``shape`` (height, width) pixels, by chance and apart from each other.

    Raises:
        InputError: more objects than there is room for.
    """
    rng = np.random.default_rng([seed, 21])
    halved = count // 5
    height, width = shape
    cell = math.sqrt(height * width / max(1, count - halved))
    while (width // cell) * (height // cell) < count - halved:
        cell *= 0.995
    if count < 1 or cell < _LEAST_CELL_PX:
        raise InputError(f"{count} objects on {width} x {height} px; 1 to {height * width // 300} fit")
    across, down = int(width // cell), int(height // cell)
    places = np.sort(rng.choice(across * down, count - halved, replace=False))
    outlines = _rectangles(rng, np.column_stack([places % across, places // across]), cell, halved)
    colors = rng.integers(BRIGHT + 12, 240, (count + 1, 3)).astype(np.uint8)
    colors[0] = (84, 96, 70)
    transform = Affine(gsd_m, 0.0, _EAST_M, 0.0, -gsd_m, _NORTH_M)
    return Scattered(
        geobox=GeoBox(crs=_CRS, transform=transform, shape=shape),
        outlines=outlines,
        colors=colors,
        noise=np.clip(rng.normal(0.0, 3.5, (3, _NOISE_PX, _NOISE_PX)), -11, 11).astype(np.int16),
        _tree=shapely.STRtree(outlines),
    )


def _rectangles(rng: np.random.Generator, cells: NDArray[np.int64], cell: float, halved: int) -> NDArray[Any]:
    """A rectangle within each of the cells (column, row), any ``halved`` of them in two halves."""
    count, centres = len(cells), (cells + 0.5) * cell
    length, width = cell * rng.uniform(0.45, 0.78, count), cell * rng.uniform(0.25, 0.5, count)
    angle = rng.uniform(0.0, math.pi, count)
    whole = np.ones(count, np.bool_)
    whole[rng.choice(count, halved, replace=False)] = False
    parts = []
    for chosen, begin, end in ((whole, -0.5, 0.5), (~whole, -0.5, 0.0), (~whole, 0.0, 0.5)):
        along = np.array([begin, end, end, begin]) * length[chosen, np.newaxis]
        aside = np.array([-0.5, -0.5, 0.5, 0.5]) * width[chosen, np.newaxis]
        cos, sin = np.cos(angle[chosen])[:, np.newaxis], np.sin(angle[chosen])[:, np.newaxis]
        corners = np.stack([along * cos - aside * sin, along * sin + aside * cos], axis=-1)
        parts.append(shapely.polygons(corners + centres[chosen, np.newaxis]))
    return np.concatenate(parts)


def write_scattered(scene: Path, labels: Path, made: Scattered, *, overwrite: bool = False) -> None:
    """Write a scene as GeoTIFF, window by window, and its objects as GeoPackage.

    Raises:
        OutputError: an output exists or cannot be written.
        WriteError: writing failed.
    """
    check_output(scene, overwrite=overwrite)
    check_output(labels, overwrite=overwrite)
    with (
        writing("scene", scene),
        staged_file(scene) as staged,
        rgb_dataset(staged, made.geobox) as dataset,
    ):
        for window in block_windows(made.geobox.shape, _WINDOW_PX):
            dataset.write(made.read(window), window=window)
    with writing("labels", labels), staged_file(labels) as staged:
        made.labels().to_file(staged, driver="GPKG", layer="labels", engine="pyogrio")
