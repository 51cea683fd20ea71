"""Polygons out of whatever geometries a file holds: in two dimensions, valid, with a place."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

FARTHEST = 1e15
"""Coordinates beyond this are no place in any CRS, and their squares no number to compute with."""

NOWHERE = f"with a vertex that lies nowhere (no number, or beyond {FARTHEST:.0e})"
"""How messages call geometries that are :func:`nowhere`."""

_POLYGON, _MULTIPOLYGON, _COLLECTION = 3, 6, 7


def nowhere(geometries: NDArray[Any]) -> NDArray[np.bool_]:
    """(N,) which geometries have a vertex without a place: NaN, infinite, or beyond :data:`FARTHEST`."""
    points, owners = shapely.get_coordinates(geometries, return_index=True)
    found = np.zeros(len(geometries), np.bool_)
    # NaN is not smaller either.
    found[owners[~(np.abs(points) <= FARTHEST).all(axis=1)]] = True
    return found


def valid_polygons(geometries: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp], int]:
    """Valid 2D polygons with area, the rows they come from, and how many had to be repaired.

    Of a collection the polygons count, together. A geometry with a vertex :func:`nowhere` is left out: what
    it was before it was damaged, nobody knows.
    """
    with np.errstate(invalid="ignore"):  # of points without coordinates
        flat = shapely.force_2d(geometries)
    for row in np.flatnonzero(shapely.get_type_id(flat) == _COLLECTION):
        flat[row] = _polygons_of(flat[row])
    polygonal = np.isin(shapely.get_type_id(flat), (_POLYGON, _MULTIPOLYGON)) & ~shapely.is_empty(flat)
    rows = np.flatnonzero(polygonal & ~nowhere(geometries))
    flat = flat[rows]
    broken = ~shapely.is_valid(flat)
    # Coordinates of a damaged file may be too large to multiply: such polygons come out without area.
    with np.errstate(all="ignore"):
        # "structure" gives polygons where "linework" may give lines beside them.
        flat[broken] = shapely.make_valid(flat[broken], method="structure", keep_collapsed=False)
        usable = shapely.area(flat) > 0
    return flat[usable], rows[usable], int((broken & usable).sum())


def left_out(geometries: NDArray[Any], kept: NDArray[np.intp]) -> list[str]:
    """What the rows (N,) are that are not ``kept``, as words with their number."""
    lost = np.ones(len(geometries), np.bool_)
    lost[kept] = False
    kinds = shapely.get_type_id(geometries)
    empty = (kinds < 0) | shapely.is_empty(geometries)
    far = nowhere(geometries)
    counts = {
        NOWHERE: lost & far,
        "without area": lost & ~far & ~empty & np.isin(kinds, (_POLYGON, _MULTIPOLYGON)),
        "without geometry": lost & ~far & empty,
        "points or lines": lost & ~far & ~empty & ~np.isin(kinds, (_POLYGON, _MULTIPOLYGON)),
    }
    return [f"{count:,} {what}" for what, which in counts.items() if (count := int(which.sum()))]


def _polygons_of(collection: Any) -> Any:
    """All polygons of a collection, however deep, as one; parts that overlap are repaired later."""
    parts = shapely.get_parts([collection])
    while (shapely.get_type_id(parts) > _POLYGON).any():
        parts = shapely.get_parts(parts)
    return shapely.multipolygons(parts[shapely.get_type_id(parts) == _POLYGON])
