"""What a polygon layer says of its polygons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.vector.place import Place

_DIGITS = 6
"""Decimals of areas and lengths: what lies beyond is rounding of the coordinates, not land."""


def attributes(
    polygons: NDArray[np.object_],
    class_id: NDArray[np.uint8],
    touches_edge: NDArray[np.bool_],
    names: Mapping[int, str],
    place: Place,
) -> dict[str, NDArray[Any]]:
    """Columns of the layer, each (R,).

    ``id`` counts from 1 in the order given. ``area_m2`` and ``perimeter_m`` are metres on the ground whatever
    the CRS; where a mask has no known place they are called ``area`` and ``perimeter`` and are in units of
    the coordinates (pixels without any georeferencing). ``touches_edge``: the region reaches the edge of the
    mask, so it may go on beyond.

    Args:
        polygons: (R,) in the mask's CRS.
        class_id: (R,) ids, each with a name.
        touches_edge: (R,).
        names: name of every id.
        place: where the mask lies.
    """
    area, perimeter = place.measure(polygons)
    known = place.ruler != "none"
    return {
        "id": np.arange(1, len(polygons) + 1, dtype=np.int32),
        "class_id": class_id.astype(np.int16),
        "class_name": np.array([names[class_] for class_ in class_id.tolist()], np.object_),
        "area_m2" if known else "area": np.round(area, _DIGITS),
        "perimeter_m" if known else "perimeter": np.round(perimeter, _DIGITS),
        "touches_edge": touches_edge.astype(np.bool_),
    }
