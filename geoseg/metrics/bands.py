"""Boundary IoU of polygons: of the bands just inside of their outlines, in plane geometry."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.metrics.objects import Overlaps

_BATCH = 4096
_QUARTER = 8
"""Segments of a quarter circle, where a band runs around a corner that points into its object."""


def polygon_bands(polygons: NDArray[Any], width: float) -> NDArray[Any]:
    """What of polygons (N,) is at most ``width`` away from their own outlines, (N,).

    The distance is the shortest one; between pixels it is that along rows or columns, so a band of polygons
    is narrower around corners that point inwards, and nowhere else.
    """
    bands = np.empty(len(polygons), np.object_)
    for first in range(0, len(polygons), _BATCH):
        part = slice(first, first + _BATCH)
        core = shapely.buffer(polygons[part], -width, quad_segs=_QUARTER)
        bands[part] = shapely.difference(polygons[part], core)
    return bands


def polygon_band_iou(
    truth: NDArray[Any], prediction: NDArray[Any], pairs: Overlaps, width: float, *, least: float = 0.5
) -> NDArray[np.float64]:
    """Boundary IoU of pairs, (P,): IoU of the bands just inside of their outlines.

    Args:
        truth: (N,) valid polygons that :func:`geoseg.metrics.objects.overlaps` had.
        prediction: (M,) the others.
        pairs: what it found.
        width: width of the bands in units of the coordinates.
        least: pairs with a lower IoU cannot match and get 0, which saves most of the work.
    """
    iou = np.zeros(len(pairs.truth))
    able = np.flatnonzero(pairs.iou() >= least * (1.0 - 1e-9))
    for first in range(0, len(able), _BATCH):
        part = able[first : first + _BATCH]
        one, other = (
            polygon_bands(polygons[at], width)[back]
            for polygons, (at, back) in (
                (truth, np.unique(pairs.truth[part], return_inverse=True)),
                (prediction, np.unique(pairs.prediction[part], return_inverse=True)),
            )
        )
        shared = shapely.area(shapely.intersection(one, other))
        iou[part] = np.clip(shared / (shapely.area(one) + shapely.area(other) - shared), 0.0, 1.0)
    return iou
