"""Boundary IoU: how well outlines lie, in exact integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import IGNORE, MAX_CLASSES
from geoseg.metrics.shares import checked_ids, mean_present, share

_OUTSIDE = 254
"""Stands for land outside of the scene in the band of Boundary IoU; no class id, no ignore value."""


class BoundaryCounts:
    """Accumulates Boundary IoU: the IoU of the bands just inside of the outlines.

    Cheng et al. (2021), "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", with the
    width given in pixels: the paper's 2 % of the diagonal would be a band of 312 px in a 10000 x 12000 scene.
    Each class is compared one against the rest.

    A pixel whose truth or prediction is 255 is taken out of *both* maps: it is counted in no band, and it
    makes no outline of its neighbours. So unknown land draws no outline, and a prediction that is right
    wherever the truth is known scores 1.

    Attributes:
        width_px: width of the band in pixels (Chebyshev distance).
        intersection: (K,) int64, pixels in both bands of the class.
        union: (K,) int64, pixels in any of the two.
    """

    def __init__(self, classes: int, width_px: int) -> None:
        if not 1 <= classes <= MAX_CLASSES:
            raise ValueError(f"{classes} classes; 1 to {MAX_CLASSES} are possible")
        if width_px < 1:
            raise ValueError(f"a band {width_px} pixels wide; 1 is the least")
        self.width_px = width_px
        self.intersection: NDArray[np.int64] = np.zeros(classes, np.int64)
        self.union: NDArray[np.int64] = np.zeros(classes, np.int64)

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return len(self.union)

    def update(
        self, truth: NDArray[Any], prediction: NDArray[Any], counted: NDArray[np.bool_] | None = None
    ) -> None:
        """Count one window.

        The border of the arrays is an outline, as the paper has it for images. That is right at the edge of
        a scene only: elsewhere pass ``width_px`` more pixels on that side and leave them out of ``counted``.
        Then the sums do not depend on how a scene is cut into windows.

        Args:
            truth: (H, W) class ids of any integer dtype, 255 where unknown.
            prediction: (H, W) class ids, 255 where nothing was predicted.
            counted: (H, W), the pixels this call counts; all when not given.

        Raises:
            ValueError: the shapes differ, or an id is neither ``0..K-1`` nor 255.
        """
        truth, prediction = checked_ids(truth, prediction, self.classes)
        self.add_bands(*boundary_bands(truth, prediction, self.width_px), counted)

    def add_bands(
        self,
        in_truth: NDArray[np.uint8],
        in_prediction: NDArray[np.uint8],
        counted: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count a part of what :func:`boundary_bands` made of a window.

        Args:
            in_truth: (H, W) the class of whose band a pixel is in the truth, 255 where of none.
            in_prediction: (H, W) the same in the prediction.
            counted: (H, W), the pixels this call counts; all when not given.
        """
        true, predicted = in_truth != IGNORE, in_prediction != IGNORE
        if counted is not None:
            true &= counted
            predicted &= counted
        both = self._count(in_truth[true & (in_truth == in_prediction)])
        self.intersection += both
        self.union += self._count(in_truth[true]) + self._count(in_prediction[predicted]) - both

    def _count(self, ids: NDArray[np.uint8]) -> NDArray[np.int64]:
        return np.bincount(ids, minlength=self.classes)

    def merge(self, other: BoundaryCounts) -> BoundaryCounts:
        """Counts of both sets of pixels together.

        Raises:
            ValueError: the widths or the numbers of classes differ.
        """
        if (other.classes, other.width_px) != (self.classes, self.width_px):
            raise ValueError("boundary counts of different widths or numbers of classes cannot be merged")
        merged = BoundaryCounts(self.classes, self.width_px)
        merged.intersection = self.intersection + other.intersection
        merged.union = self.union + other.union
        return merged

    __add__ = merge

    def iou(self) -> NDArray[np.float64]:
        """Boundary IoU of every class, (K,) float64; NaN for classes without an outline in either map."""
        return share(self.intersection, self.union)

    def miou(self) -> float:
        """Mean over the classes that have an outline in either map; NaN without any."""
        return mean_present(self.iou())

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict of the counts."""
        return {
            "width_px": self.width_px,
            "intersection": self.intersection.tolist(),
            "union": self.union.tolist(),
        }


def boundary_bands(
    truth: NDArray[np.uint8], prediction: NDArray[np.uint8], width_px: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The class of whose band each pixel is, in the truth and in the prediction.

    Args:
        truth: (H, W) class ids, 255 where unknown.
        prediction: (H, W) class ids, 255 where nothing was predicted.
        width_px: width of the bands in pixels.

    Returns:
        (H, W) uint8 each, 255 where a pixel is in no band; what is 255 in one map is taken out of both.
    """
    unknown = (truth == IGNORE) | (prediction == IGNORE)
    bands = []
    for ids in (truth, prediction):
        known = np.where(unknown, np.uint8(IGNORE), ids)
        known[~boundary_band(known, width_px)] = IGNORE
        bands.append(known)
    return bands[0], bands[1]


def boundary_band(ids: NDArray[np.uint8], width_px: int) -> NDArray[np.bool_]:
    """Pixels that lie just inside of the outline of their own class.

    A pixel belongs to the band when a pixel of another class, or the outside of the array, is at most
    ``width_px`` away (Chebyshev distance). Pixels of value 255 belong to no band and make none.

    All classes are found in one pass: a pixel sees another class when the largest or the smallest id of the
    square around it is not its own.

    Args:
        ids: (H, W) uint8 class ids 0..253, 255 = unknown.
        width_px: width of the band in pixels.

    Returns:
        (H, W) bool.
    """
    unknown = ids == IGNORE
    # 0 and 255 are neutral: what a maximum, respectively a minimum, is taken over is never below or above.
    highest = _square_extreme(np.where(unknown, np.uint8(0), ids), width_px, np.maximum, outside=_OUTSIDE)
    lowest = _square_extreme(ids, width_px, np.minimum, outside=IGNORE)
    band: NDArray[np.bool_] = (highest != ids) | (lowest != ids)
    band &= ~unknown
    return band


def _square_extreme(
    values: NDArray[np.uint8], radius: int, extreme: np.ufunc, *, outside: int
) -> NDArray[np.uint8]:
    """Extreme of the square of side ``2 * radius + 1`` around every pixel, (H, W)."""
    padded = np.pad(values, radius, constant_values=outside)
    rows = _running_extreme(padded, 2 * radius + 1, extreme)
    return _running_extreme(rows.T, 2 * radius + 1, extreme).T


def _running_extreme(values: NDArray[np.uint8], length: int, extreme: np.ufunc) -> NDArray[np.uint8]:
    """Extreme of ``length`` successive rows, (H - length + 1, W), by doubling: log2(length) passes."""
    reach = 1
    while 2 * reach <= length:
        values = extreme(values[:-reach], values[reach:])
        reach *= 2
    rest = length - reach
    return extreme(values[:-rest], values[rest:]) if rest else values
