"""Polygons brought into the CRS of a scene, also where that goes beyond the 180th meridian."""

from __future__ import annotations

import math
from typing import Any

import geopandas
import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import ProjError
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points

from geoseg.errors import LabelsError
from geoseg.raster.gdal import GDAL_ERRORS
from geoseg.raster.geobox import GeoBox

_TURN, _HALF = 360.0, 180.0
_HALF_EARTH_M = 20_000_000.0
_ROUNDING = 1e-9
_EDGE_STEPS = 8


def brought(geometries: NDArray[Any], crs: pyproj.CRS, wkt: str, where: str) -> NDArray[Any]:
    """Polygons (N,) of ``crs`` in another one; empty where it does not have them.

    Args:
        geometries: the polygons.
        crs: of their coordinates.
        wkt: of the other CRS.
        where: what messages call the file.

    Raises:
        LabelsError: there is no way from one to the other.
    """
    try:
        target = pyproj.CRS.from_wkt(wkt)
        moved = geopandas.GeoSeries(geometries, crs=crs).to_crs(target).to_numpy()
    except (ProjError, ValueError) as reason:
        text = " ".join(str(reason).split()).rstrip(".")
        raise LabelsError(
            f"{where} in {crs.name} cannot be brought into the scene's CRS, {target.name}: {text}; reproject "
            "them, or set the CRS that they are in"
        ) from reason
    # A polygon beyond the projection's reach gets infinite coordinates: it is not in the scene.
    moved[~np.isfinite(shapely.bounds(moved)).all(axis=1)] = shapely.Polygon()
    if target.is_geographic and crs.is_projected:
        left, _, right, _ = shapely.bounds(geometries).T
        narrow = (right - left) * crs.axis_info[0].unit_conversion_factor < _HALF_EARTH_M / 2.0
        _mend_split(moved, narrow)
    return np.asarray(moved)


def _mend_split(polygons: NDArray[Any], narrow: NDArray[np.bool_]) -> None:
    """Put polygons right that are ``narrow`` on the ground, but in degrees reach from +179 to -179."""
    left, _, right, _ = shapely.bounds(polygons).T
    with np.errstate(invalid="ignore"):
        split = np.flatnonzero(narrow & (right - left > _HALF))
    polygons[split] = shapely.transform(
        polygons[split],
        lambda points: points + np.outer(points[:, 0] < 0.0, [_TURN, 0.0]),
    )


def middle_of(geobox: GeoBox) -> float | None:
    """Meridian around which a grid in degrees lies: 0, or +-180 for one beyond; ``None`` for other CRSs."""
    if geobox.crs is None or not geobox.crs.is_geographic:
        return None
    left, _, right, _ = geobox.bounds
    if right > _HALF + _ROUNDING:
        return _HALF
    return -_HALF if left < -_HALF - _ROUNDING else 0.0


def turned_to(polygons: NDArray[Any], middle: float) -> NDArray[Any]:
    """Polygons in degrees moved by whole turns, so that they lie within 180 degrees of ``middle``.

    What reaches across the far side is there on both ends.
    """
    turned = polygons.copy()
    left, _, right, _ = shapely.bounds(turned).T
    turns = np.nan_to_num(np.round((middle - (left + right) / 2.0) / _TURN))
    for row in np.flatnonzero(turns):
        turned[row] = _moved(turned[row], turns[row])
    left, _, right, _ = shapely.bounds(turned).T
    with np.errstate(invalid="ignore"):
        west = left < middle - _HALF - _ROUNDING
        east = right > middle + _HALF + _ROUNDING
    for row in np.flatnonzero(west | east):
        copies = [turned[row]]
        copies += [_moved(turned[row], 1.0)] if west[row] else []
        copies += [_moved(turned[row], -1.0)] if east[row] else []
        turned[row] = shapely.multipolygons(shapely.get_parts(copies))
    return turned


def _moved(polygon: Any, turns: float) -> Any:
    return shapely.transform(polygon, lambda points: points + np.array([turns * _TURN, 0.0]))


def outline_in(geobox: GeoBox, crs: pyproj.CRS | None) -> shapely.Polygon | None:
    """Outline of a grid in another CRS; ``None`` where it has no place there."""
    if crs is None or geobox.crs is None:
        return None
    outline = geobox.footprint()
    points = shapely.get_coordinates(shapely.segmentize(outline, outline.length / (4 * _EDGE_STEPS)))
    try:
        xs, ys = transform_points(geobox.crs, CRS.from_wkt(crs.to_wkt()), points[:, 0], points[:, 1])
    except GDAL_ERRORS:
        return None
    if not all(math.isfinite(value) for value in (*xs, *ys)):
        return None
    return shapely.Polygon(list(zip(xs, ys, strict=True))).convex_hull
