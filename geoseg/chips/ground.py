"""Which windows of different scenes show the same ground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import from_gcps
from rasterio.warp import transform as transform_points

from geoseg.raster.gdal import GDAL_ERRORS
from geoseg.raster.geobox import GeoBox

SHARED_PX = 0.1
"""Outlines that share less than this many pixels only touch; the rest is rounding of coordinates."""

_WGS84 = CRS.from_epsg(4326)
_EDGE_STEPS = 16


class Ground:
    """Outlines of windows of several scenes in one plane, so that they can be compared.

    Scenes with a CRS share the plane of that CRS, or of longitude and latitude when they have different ones.
    Scenes without CRS but with a transform share another. A scene without both lies apart from all others.

    Attributes:
        crs: of the common plane; ``None`` when no scene has one.
        mixed: whether the scenes have different CRSs.
    """

    def __init__(self, geoboxes: Sequence[GeoBox]) -> None:
        """Take the grids of the scenes; scenes are numbered in this order."""
        self._places = [_place(geobox) for geobox in geoboxes]
        distinct = {crs.to_wkt(): crs for crs, _ in self._places if crs is not None}
        self.mixed = len(distinct) > 1
        self.crs = _WGS84 if self.mixed else next(iter(distinct.values()), None)
        self._planes = [
            0 if crs is not None else (1 if transform is not None else 2 + number)
            for number, (crs, transform) in enumerate(self._places)
        ]

    def planes(self, scenes: NDArray[np.intp]) -> NDArray[np.intp]:
        """(N,) number of the plane that each scene of ``scenes`` (N,) lies in."""
        return np.array(self._planes, np.intp)[scenes]

    def outlines(self, scene: int, windows: NDArray[np.int64]) -> NDArray[np.object_]:
        """Outlines of windows of one scene, in the coordinates of its plane.

        Args:
            scene: number of the scene.
            windows: (N, 4) of col, row, width, height in pixels.

        Returns:
            (N,) shapely polygons; empty where a window cannot be placed.
        """
        left, top, width, height = windows.T
        boxes = shapely.box(left, top, left + width, top + height, ccw=False)
        crs, transform = self._places[scene]
        if transform is None:
            return np.asarray(boxes)
        if self.mixed and crs is not None:
            # Straight edges of one CRS are curves in the other.
            boxes = shapely.segmentize(boxes, np.maximum(width, height) / _EDGE_STEPS)
        placed = shapely.transform(boxes, lambda points: _to_plane(points, transform, crs, self.mixed))
        placed[~np.isfinite(shapely.bounds(placed)).all(axis=1)] = shapely.Polygon()
        return np.asarray(placed)


def _place(geobox: GeoBox) -> tuple[CRS | None, Affine | None]:
    """CRS and transform of a scene; ground control points give an approximate one."""
    if geobox.georeferenced:
        return geobox.crs, geobox.transform
    if len(geobox.gcps) >= 3:
        try:
            return geobox.gcps_crs, from_gcps(geobox.gcps)
        except GDAL_ERRORS:
            return None, None
    return None, None


def _to_plane(
    points: NDArray[np.float64], transform: Affine, crs: CRS | None, mixed: bool
) -> NDArray[np.float64]:
    matrix = np.array([[transform.a, transform.b], [transform.d, transform.e]])
    moved = points @ matrix.T + np.array([transform.c, transform.f])
    if not mixed or crs is None:
        return np.asarray(moved)
    try:
        lons, lats = transform_points(crs, _WGS84, moved[:, 0], moved[:, 1])
    except GDAL_ERRORS:
        return np.full(points.shape, np.nan)
    return np.stack([np.asarray(lons), np.asarray(lats)], axis=1)


def overlapping_pairs(
    ground: Ground, scenes: NDArray[np.intp], windows: NDArray[np.int64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Pairs of windows of different scenes that share ground.

    Args:
        ground: of all scenes.
        scenes: (N,) scene number of each window.
        windows: (N, 4) of col, row, width, height in pixels.

    Returns:
        ``pairs`` (P, 2) of window numbers and ``shared_px`` (P,), the area they share in pixels of the finer
        scene.
    """
    found, shared = [np.zeros((0, 2), np.intp)], [np.zeros(0)]
    planes = ground.planes(scenes)
    outlines = all_outlines(ground, scenes, windows)
    pixel_area = shapely.area(outlines) / np.maximum(1, windows[:, 2] * windows[:, 3])
    for plane in np.unique(planes):
        members = np.flatnonzero(planes == plane)
        if len(np.unique(scenes[members])) < 2:
            continue
        tree = shapely.STRtree(outlines[members])
        one, other = members[tree.query(outlines[members], predicate="intersects")]
        differ = (one < other) & (scenes[one] != scenes[other])
        one, other = one[differ], other[differ]
        area = shapely.area(shapely.intersection(outlines[one], outlines[other]))
        pixels = area / np.maximum(np.minimum(pixel_area[one], pixel_area[other]), np.finfo(float).tiny)
        real = pixels > SHARED_PX
        found.append(np.stack([one[real], other[real]], axis=1))
        shared.append(pixels[real])
    return np.concatenate(found), np.concatenate(shared)


def all_outlines(ground: Ground, scenes: NDArray[np.intp], windows: NDArray[np.int64]) -> NDArray[np.object_]:
    """(N,) outlines of windows (N, 4) of the scenes with numbers (N,)."""
    outlines = np.empty(len(scenes), np.object_)
    for scene in np.unique(scenes):
        mine = np.flatnonzero(scenes == scene)
        outlines[mine] = ground.outlines(int(scene), windows[mine])
    return outlines
