"""Do labels lie where they say they lie? When they miss the scenes: in which CRS would they not?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray
from pyproj.exceptions import ProjError
from rasterio.crs import CRS
from rasterio.warp import transform as transform_points

from geoseg.health.finding import Finding, finding, plural
from geoseg.raster.gdal import GDAL_ERRORS
from geoseg.raster.geobox import GeoBox, bounds_to_lonlat

_WGS84 = CRS.from_epsg(4326)
_EDGE_STEPS = 8
_POLE = 90.001


def touching(geometries: NDArray[Any], crs: CRS | None, grids: Sequence[GeoBox]) -> NDArray[np.bool_]:
    """Which labels touch a scene when their coordinates are read in ``crs``; without one, in the scenes' own.

    Args:
        geometries: (N,) shapely geometries, as they are in the file.
        crs: of their coordinates.
        grids: of the scenes; those without georeferencing are touched by nothing.

    Returns:
        (N,) bool.
    """
    tree = shapely.STRtree(geometries)
    hit = np.zeros(len(geometries), np.bool_)
    for grid in grids:
        outline = outline_in(grid, crs)
        if outline is not None:
            hit[tree.query(outline, predicate="intersects")] = True
    return hit


def outline_in(grid: GeoBox, crs: CRS | None) -> shapely.Polygon | None:
    """Outline of a scene in the coordinates of ``crs``; ``None`` where it has no place there."""
    if not grid.georeferenced:
        return None
    outline = grid.footprint()
    if crs is None or grid.crs is None or crs == grid.crs:
        return outline
    points = shapely.get_coordinates(shapely.segmentize(outline, outline.length / (4 * _EDGE_STEPS)))
    try:
        xs, ys = transform_points(grid.crs, crs, points[:, 0], points[:, 1])
    except GDAL_ERRORS:
        return None
    if not all(math.isfinite(value) for value in (*xs, *ys)):
        return None
    moved = shapely.Polygon(list(zip(xs, ys, strict=True)))
    return moved if moved.is_valid else moved.convex_hull


def crs_findings(
    name: str, geometries: NDArray[Any], crs: CRS | None, grids: Sequence[GeoBox]
) -> list[Finding]:
    """Judge the CRS of labels that meet their scenes; arguments as for :func:`elsewhere`."""
    if crs is not None or all(grid.crs is None for grid in grids):
        return _impossible(name, geometries, crs)
    what = f"{name} has no CRS; its coordinates meet the scenes when read in the scenes' own"
    todo = "write the CRS into the file, so that nobody has to guess"
    return [finding("warning", "crs", what, todo, [name])]


def elsewhere(name: str, geometries: NDArray[Any], crs: CRS | None, grids: Sequence[GeoBox]) -> list[Finding]:
    """Say in which CRS labels that meet no scene would meet one, or where both lie.

    Args:
        name: of the labels.
        geometries: (N,) as they are in the file.
        crs: as the file says.
        grids: of the scenes.
    """
    scenes = "the scene" if len(grids) == 1 else f"any of {len(grids)} scenes"
    said = f"as {short(crs)}" if crs is not None else "without a CRS"
    best, best_count, todo = "", 0, ""
    for other, swapped in _guesses(crs, grids):
        read = shapely.transform(geometries, lambda points: points[:, ::-1]) if swapped else geometries
        count = int(touching(read, other, grids).sum())
        if count > best_count:
            best, best_count = short(other), count
            todo = f"one of the two tells the wrong CRS, most likely {name}: set it to {best}"
            if swapped:
                best, todo = f"{best} with x and y swapped", f"swap x and y in {name}, and set it to {best}"
    if best_count:
        labels = plural(len(geometries), "label")
        what = f"{name}, read {said}, does not meet {scenes}; read as {best}, {best_count:,} of {labels} do"
        return [finding("error", "crs", what, todo, [name])]
    what = f"{name}, read {said}, does not meet {scenes}"
    what += f": labels at {_at(geometries, crs)}, the scene at {_scene_at(grids[0])}"
    todo = "check the CRS of both in a GIS, or give the labels that belong to these scenes"
    return [finding("error", "crs", what, todo, [name]), *_impossible(name, geometries, crs)]


def _guesses(crs: CRS | None, grids: Sequence[GeoBox]) -> Iterator[tuple[CRS, bool]]:
    """In which CRS labels may really be, the likeliest first."""
    own = list({grid.crs.to_wkt(): grid.crs for grid in grids if grid.crs is not None}.values())
    common = [_WGS84, CRS.from_epsg(3857), *_utm_zones(grids)]
    yield from ((other, False) for other in own)
    if crs is not None:
        yield crs, True
    yield from ((other, False) for other in common)
    yield from ((other, True) for other in (*own, _WGS84))


def _utm_zones(grids: Sequence[GeoBox]) -> list[CRS]:
    """The UTM zones of the scenes and their neighbours."""
    codes = []
    for grid in grids:
        bounds = grid.bounds_lonlat()
        if bounds is not None:
            zone = int((bounds.left + 180.0) // 6.0)
            base = 32601 if bounds.bottom >= 0 else 32701
            codes += [base + (zone + step) % 60 for step in (0, -1, 1)]
    return [CRS.from_epsg(code) for code in dict.fromkeys(codes)]


def _impossible(name: str, geometries: NDArray[Any], crs: CRS | None) -> list[Finding]:
    """Coordinates that the CRS does not have."""
    if crs is None or not len(geometries):
        return []
    bounds = shapely.bounds(geometries)
    bounds = bounds[np.isfinite(bounds).all(axis=1)]
    wrong = bounds[_nowhere(bounds, crs)]
    if not len(wrong):
        return []
    return [
        finding(
            "error",
            "crs",
            f"{plural(len(wrong), 'label')} of {name} with coordinates that {short(crs)} does not have, "
            f"such as x {wrong[0, 0]:.6g}, y {wrong[0, 1]:.6g}",
            "the file tells the wrong CRS, or swaps x and y; set it right",
            [name],
        )
    ]


def _nowhere(bounds: NDArray[np.float64], crs: CRS) -> NDArray[np.bool_]:
    """Which bounds (N, 4) lie nowhere on Earth."""
    if crs.is_geographic:
        degrees = np.abs(bounds)
        return np.asarray((degrees[:, [0, 2]].max(axis=1) > 360.0) | (degrees[:, [1, 3]].max(axis=1) > _POLE))
    middle = (bounds[:, :2] + bounds[:, 2:]) / 2.0
    try:
        # Not GDAL's, which fails for all points when one lies beyond the projection.
        to_degrees = pyproj.Transformer.from_crs(crs.to_wkt(), _WGS84.to_wkt(), always_xy=True)
        lonlat = np.array(to_degrees.transform(middle[:, 0], middle[:, 1]))
    except ProjError:
        return np.zeros(len(bounds), np.bool_)  # an engineering CRS lies nowhere, and need not
    return np.asarray(~np.isfinite(lonlat).all(axis=0))


def short(crs: CRS | None) -> str:
    """``EPSG:4326`` where there is such a code, else the name."""
    if crs is None:
        return "no CRS"
    code = crs.to_epsg()
    if code is not None:
        return f"EPSG:{code}"
    wkt = crs.to_wkt()
    return wkt.split('"')[1] if '"' in wkt else "a CRS of its own"


def _at(geometries: NDArray[Any], crs: CRS | None) -> str:
    left, bottom, right, top = shapely.total_bounds(geometries)
    lonlat = None if crs is None else bounds_to_lonlat((left, bottom, right, top), crs)
    if lonlat is None:
        return f"x {left:.6g}..{right:.6g}, y {bottom:.6g}..{top:.6g}"
    return f"lon {lonlat.left:.4f}..{lonlat.right:.4f}, lat {lonlat.bottom:.4f}..{lonlat.top:.4f}"


def _scene_at(grid: GeoBox) -> str:
    return "an unknown place" if not grid.georeferenced else _at(np.array([grid.footprint()]), grid.crs)
