"""What a polygon layer says of its polygons."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.vector.legend import Legend
from geoseg.vector.outlines import Outlines
from geoseg.vector.place import Place
from geoseg.vector.table import TEXT

_CONFIDENCE_DIGITS = 4


class Attributes:
    """Makes the columns of a layer.

    ``id`` counts from 1 in the order of the layer. ``area_m2`` and ``perimeter_m`` are metres on the ground
    whatever the CRS; where a mask has no known place they are called ``area`` and ``perimeter`` and are in
    units of the coordinates (pixels without any georeferencing). ``touches_edge``: the feature reaches the
    edge of the mask, so it may go on beyond. ``confidence`` and ``confidence_min``: mean and smallest
    probability that its pixels are of its class, 0 to 1.
    """

    def __init__(self, *, legend: Legend, place: Place, wide: bool, confidence: bool) -> None:
        """``wide``: whether class ids may be beyond 255; ``confidence``: whether it is known."""
        self._legend = legend
        self._place = place
        self._made = 0
        self._confidence = confidence
        known = place.ruler != "none"
        self._area, self._perimeter = ("area_m2", "perimeter_m") if known else ("area", "perimeter")
        self.columns: dict[str, Any] = {
            "id": np.dtype(np.int32),
            "class_id": np.dtype(np.int32 if wide else np.int16),
            "class_name": TEXT,
            self._area: np.dtype(np.float64),
            self._perimeter: np.dtype(np.float64),
            "touches_edge": np.dtype(np.bool_),
        }
        if confidence:
            self.columns |= {"confidence": np.dtype(np.float64), "confidence_min": np.dtype(np.float64)}

    def of(self, outlines: Outlines, points: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
        """Columns of features, each (F,); ``points`` are those of the outlines in the mask's CRS."""
        area, perimeter = self._place.measure(points, outlines.rings, outlines.regions)
        of_area, of_length = self._place.decimals
        begins = outlines.features[:-1]
        class_id = outlines.value[begins]
        first = self._made + 1
        self._made += len(begins)
        columns = {
            "id": np.arange(first, self._made + 1, dtype=np.int32),
            "class_id": class_id.astype(self.columns["class_id"]),
            "class_name": self._legend.names(class_id),
            self._area: np.round(np.add.reduceat(area, begins), of_area),
            self._perimeter: np.round(np.add.reduceat(perimeter, begins), of_length),
            "touches_edge": np.logical_or.reduceat(outlines.touches_edge, begins),
        }
        if self._confidence:
            columns |= self._confidences(outlines)
        return columns

    def _confidences(self, outlines: Outlines) -> dict[str, NDArray[np.float64]]:
        begins = outlines.features[:-1]
        count = np.add.reduceat(outlines.known, begins)
        with np.errstate(invalid="ignore"):
            mean: NDArray[np.float64] = np.add.reduceat(outlines.total, begins) / count
        least: NDArray[np.float64] = np.where(count > 0, np.minimum.reduceat(outlines.least, begins), np.nan)
        return {
            "confidence": np.round(mean, _CONFIDENCE_DIGITS),
            "confidence_min": np.round(least, _CONFIDENCE_DIGITS),
        }
