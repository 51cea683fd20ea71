"""Where a raster lies on the scene's pixels: the same grid, a part of it, or a finer one."""

from __future__ import annotations

import math
from dataclasses import dataclass

from affine import Affine
from rasterio.windows import Window

from geoseg.errors import SceneError
from geoseg.raster.geobox import GeoBox

_NEAR = 1e-3
"""Edges closer than this to a whole pixel are meant to lie on it."""

_TURN_PX = 0.5
"""Grids turned against each other by less than this over the whole scene are parallel."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Pixels of a raster from pixels of the scene: ``column = scale_x * scene column + left``.

    Attributes:
        scale_x: pixels of the raster for one of the scene, along a row.
        scale_y: along a column.
        left: column of the raster at the scene's left edge.
        top: row of the raster at the scene's upper edge.
        shape: (height, width) of the raster.
    """

    scale_x: float
    scale_y: float
    left: float
    top: float
    shape: tuple[int, int]

    def part(self, window: Window, size: tuple[int, int]) -> Part | None:
        """What of a window of the scene, drawn in ``size`` (h, w) pixels, the raster covers, if anything."""
        columns = _span(window.col_off, window.width, self.scale_x, self.left, self.shape[1], size[1])
        rows = _span(window.row_off, window.height, self.scale_y, self.top, self.shape[0], size[0])
        if columns is None or rows is None:
            return None
        (left, right), across = columns
        (top, bottom), down = rows
        return Part(window=Window(left, top, right - left, bottom - top), rows=down, columns=across)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a drawn window.

    Attributes:
        window: of the raster, in its pixels.
        rows: of the drawing.
        columns: of the drawing.
    """

    window: Window
    rows: slice
    columns: slice

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels of the drawing."""
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def fit(scene: GeoBox, raster: GeoBox, where: str) -> Fit:
    """How a raster lies on a scene.

    Args:
        scene: the scene's grid.
        raster: that of the raster.
        where: what messages call the raster.

    Raises:
        SceneError: the two cannot be laid over each other without resampling, or lie apart; the pixels of the
            raster have no place.
    """
    raster.check_place(where)
    if scene.georeferenced and raster.georeferenced:
        found = _by_transform(scene, raster, where)
    else:
        found = _by_shape(scene, raster, where)
    part = found.part(Window(0, 0, scene.width, scene.height), scene.shape)
    if part is None:
        raise SceneError(f"{where} lies elsewhere than the scene; give one of the same place")
    return found


def _by_transform(scene: GeoBox, raster: GeoBox, where: str) -> Fit:
    if scene.crs is not None and raster.crs is not None and scene.crs != raster.crs:
        raise SceneError(f"{where} has another CRS than the scene; give one on the scene's grid")
    if raster.transform.determinant == 0.0:
        raise SceneError(f"{where} has a transform without extent; give one on the scene's grid")
    between: Affine = ~raster.transform @ scene.transform
    turned = max(abs(between.b) * scene.height, abs(between.d) * scene.width)
    if turned > _TURN_PX or between.a <= 0 or between.e <= 0:
        raise SceneError(f"{where} is turned against the scene; give one on the scene's grid")
    return Fit(scale_x=between.a, scale_y=between.e, left=between.c, top=between.f, shape=raster.shape)


def _by_shape(scene: GeoBox, raster: GeoBox, where: str) -> Fit:
    """Without transforms only rasters of the whole scene can be placed, whatever the size of their pixels."""
    factor = raster.height / scene.height
    if raster.width != scene.width * factor or raster.height != scene.height * factor:
        raise SceneError(
            f"{where} has {raster.width} x {raster.height} pixels, the scene {scene.width} x {scene.height}, "
            "and nothing tells how they lie; give one on the scene's grid"
        )
    return Fit(scale_x=factor, scale_y=factor, left=0.0, top=0.0, shape=raster.shape)


def _span(
    start: float, length: float, scale: float, shift: float, end: int, drawn: int
) -> tuple[tuple[float, float], slice] | None:
    """Along one axis: (first, last) pixel of the raster, and the pixels of the drawing that show them."""
    first, last = _snapped(start * scale + shift), _snapped((start + length) * scale + shift)
    low, high = max(first, 0.0), min(last, float(end))
    if high <= low:
        return None
    begin = round((low - first) / (last - first) * drawn)
    stop = round((high - first) / (last - first) * drawn)
    return ((low, high), slice(begin, stop)) if stop > begin else None


def _snapped(value: float) -> float:
    near = round(value)
    return float(near) if math.isclose(value, near, abs_tol=_NEAR) else value
