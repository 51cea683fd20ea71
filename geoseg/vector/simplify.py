"""Straightens outlines without tearing neighbours apart."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.typing import NDArray


def simplify(polygons: NDArray[np.object_], tolerance_px: float) -> NDArray[np.object_]:
    """Simplify all regions of a raster together, each shared edge once.

    Visvalingam-Whyatt on the edges of the coverage (GEOS ``CoverageSimplifier``): a vertex goes while the
    triangle it makes with its neighbours is smaller than ``tolerance_px`` squared. Points where three regions
    meet stay, and so does the edge of the raster, so that the regions still cover exactly its pixels, without
    gap or overlap.

    Args:
        polygons: (R,) polygons of :class:`geoseg.vector.trace.Regions`, all of them: background, nodata and
            classes that are not wanted hold the edges of the others.
        tolerance_px: in pixels; 0 changes nothing.

    Returns:
        (R,) polygons in pixel space.
    """
    if tolerance_px <= 0.0:
        return polygons
    simplified: NDArray[np.object_] = shapely.coverage_simplify(
        polygons, tolerance_px, simplify_boundary=False
    )
    return simplified
