"""How well instances were found, image after image: AP and Boundary AP of what a detector sees in chips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.metrics.precision import AveragePrecision, Detections
from geoseg.metrics.regions import Region, region_band_iou, region_overlaps


class InstanceCounts:
    """Accumulates AP and Boundary AP over images; of each image only the outcomes are kept.

    Attributes:
        width_px: width of the band of Boundary AP in pixels (Chebyshev distance).
        masks: AP by the IoU of masks.
        boundaries: AP by the lower of IoU and Boundary IoU.
    """

    def __init__(self, classes: int, width_px: int, *, most: int | None = None) -> None:
        if width_px < 1:
            raise ValueError(f"a band {width_px} pixels wide; 1 is the least")
        self.width_px = width_px
        self.masks = AveragePrecision(classes, most=most)
        self.boundaries = AveragePrecision(classes, most=most)

    def update(
        self,
        truth: Sequence[Region],
        truth_class: NDArray[np.integer[Any]],
        prediction: Sequence[Region],
        prediction_class: NDArray[np.integer[Any]],
        score: NDArray[np.floating[Any]],
        crowd: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count an image, whose edge is an outline for Boundary AP.

        Args:
            truth: N true objects.
            truth_class: (N,) their class ids.
            prediction: M predicted ones.
            prediction_class: (M,) their class ids.
            score: (M,) how sure each is.
            crowd: (N,) see :class:`geoseg.metrics.precision.Detections`.
        """
        pairs = region_overlaps(truth, truth_class, prediction, prediction_class)
        image = Detections(
            pairs=pairs,
            truth_class=truth_class,
            prediction_class=prediction_class,
            score=score,
            crowd=crowd,
        )
        self.masks.add(image)
        bands = region_band_iou(truth, prediction, pairs, self.width_px)
        self.boundaries.add(image, np.minimum(pairs.iou(), bands))

    def merge(self, other: InstanceCounts) -> InstanceCounts:
        """Counts of both sets of images together.

        Raises:
            ValueError: they count differently.
        """
        if other.width_px != self.width_px:
            raise ValueError(f"bands {self.width_px} and {other.width_px} pixels wide cannot be merged")
        merged = InstanceCounts(self.masks.classes, self.width_px, most=self.masks.most)
        merged.masks = self.masks + other.masks
        merged.boundaries = self.boundaries + other.boundaries
        return merged

    __add__ = merge
