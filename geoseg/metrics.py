"""Scores of class ids against class ids: confusion matrix and Boundary IoU, in exact integers.

Both accumulate over windows of any size, both leave out what is unknown (255), and both keep NaN for classes
that are neither in the truth nor in the prediction: an absent class is no failure, so means run over the
classes present.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import IGNORE, MAX_CLASSES

_OUTSIDE = 254
"""Stands for land outside of the scene in the band of Boundary IoU; no class id, no ignore value."""


class ConfusionMatrix:
    """Counts pixels by true class and predicted class, in int64.

    Pixels whose truth is 255 count as ``ignored``. Pixels with a known truth whose prediction is 255 (nodata
    of the mask) count as ``unpredicted``. Neither kind enters a score.

    Attributes:
        counts: (K, K) int64, rows are the truth, columns the prediction.
        ignored: pixels without truth.
        unpredicted: pixels with truth, but without prediction.
    """

    def __init__(self, classes: int) -> None:
        if not 1 <= classes <= MAX_CLASSES:
            raise ValueError(f"{classes} classes; 1 to {MAX_CLASSES} are possible")
        self.counts: NDArray[np.int64] = np.zeros((classes, classes), np.int64)
        self.ignored = 0
        self.unpredicted = 0

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return len(self.counts)

    @property
    def pixels(self) -> int:
        """Pixels that enter the scores."""
        return int(self.counts.sum())

    def update(self, truth: NDArray[Any], prediction: NDArray[Any]) -> None:
        """Count one window.

        Args:
            truth: class ids of any shape and integer dtype, 255 where unknown.
            prediction: class ids of the same shape, 255 where nothing was predicted.

        Raises:
            ValueError: the shapes differ, or an id is neither ``0..K-1`` nor 255.
        """
        classes = self.classes
        truth, prediction = _checked(truth, prediction, classes)
        # One extra row and column take the 255s, so that a single bincount does without any mask.
        side = classes + 1
        position = np.arange(256, dtype=np.uint16)
        position[IGNORE] = classes
        combined = (position * np.uint16(side))[truth]
        combined += position[prediction]
        table = np.bincount(combined.ravel(), minlength=side * side).reshape(side, side)
        self.counts += table[:classes, :classes]
        self.ignored += int(table[classes].sum())
        self.unpredicted += int(table[:classes, classes].sum())

    def merge(self, other: ConfusionMatrix) -> ConfusionMatrix:
        """Counts of both sets of pixels together.

        Raises:
            ValueError: the numbers of classes differ.
        """
        if other.classes != self.classes:
            raise ValueError(f"{self.classes} and {other.classes} classes cannot be merged")
        merged = ConfusionMatrix(self.classes)
        merged.counts = self.counts + other.counts
        merged.ignored = self.ignored + other.ignored
        merged.unpredicted = self.unpredicted + other.unpredicted
        return merged

    __add__ = merge

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of every class, (K,) float64; NaN for absent classes."""
        return _share(self._hits(), self._present())

    def precision(self) -> NDArray[np.float64]:
        """Share of the predicted pixels that are right, (K,) float64.

        NaN for absent classes; 0 for a class that is there and was never predicted.
        """
        return np.where(self._present() > 0, _share(self._hits(), self.counts.sum(0), empty=0.0), np.nan)

    def recall(self) -> NDArray[np.float64]:
        """Share of the true pixels that were found, (K,) float64.

        NaN for absent classes; 0 for a class that was predicted and is not there.
        """
        return np.where(self._present() > 0, _share(self._hits(), self.counts.sum(1), empty=0.0), np.nan)

    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall (the Dice score), (K,) float64; NaN for absent classes."""
        return _share(2 * self._hits(), self.counts.sum(0) + self.counts.sum(1))

    def miou(self) -> float:
        """Mean IoU over the classes present; NaN when no pixel was counted."""
        return mean_present(self.iou())

    def accuracy(self) -> float:
        """Share of the counted pixels that are right; NaN when no pixel was counted."""
        return float(_share(self._hits().sum(), self.counts.sum()))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict of the counts."""
        return {
            "counts": self.counts.tolist(),
            "ignored": self.ignored,
            "unpredicted": self.unpredicted,
        }

    def _hits(self) -> NDArray[np.int64]:
        return np.diagonal(self.counts)

    def _present(self) -> NDArray[np.int64]:
        """Pixels that are of the class in the truth or in the prediction, (K,)."""
        union: NDArray[np.int64] = self.counts.sum(0) + self.counts.sum(1) - self._hits()
        return union


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
        truth, prediction = _checked(truth, prediction, self.classes)
        unknown = (truth == IGNORE) | (prediction == IGNORE)
        truth, prediction = truth.copy(), prediction.copy()
        truth[unknown] = prediction[unknown] = IGNORE
        in_truth = boundary_band(truth, self.width_px)
        in_prediction = boundary_band(prediction, self.width_px)
        if counted is not None:
            in_truth &= counted
            in_prediction &= counted
        both = self._count(truth[in_truth & in_prediction & (truth == prediction)])
        self.intersection += both
        self.union += self._count(truth[in_truth]) + self._count(prediction[in_prediction]) - both

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
        return _share(self.intersection, self.union)

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


def mean_present(scores: NDArray[np.float64]) -> float:
    """Mean of the scores that are not NaN; NaN when there is none."""
    present = scores[~np.isnan(scores)]
    return float(present.mean()) if present.size else math.nan


def json_score(score: float) -> float | None:
    """One score as JSON has it: ``null`` for NaN."""
    return None if math.isnan(score) else float(score)


def _share(part: Any, whole: Any, *, empty: float = math.nan) -> NDArray[np.float64]:
    """``part / whole`` with ``empty`` where ``whole`` is 0."""
    shares: NDArray[np.float64] = np.full(np.shape(whole), empty)
    np.divide(part, whole, out=shares, where=np.greater(whole, 0))
    return shares


def _checked(
    truth: NDArray[Any], prediction: NDArray[Any], classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both as uint8, when they fit each other and hold nothing but class ids and 255."""
    if truth.shape != prediction.shape:
        raise ValueError(f"truth of shape {truth.shape} and prediction of shape {prediction.shape}")
    return _as_ids(truth, classes, "truth"), _as_ids(prediction, classes, "prediction")


def _as_ids(ids: NDArray[Any], classes: int, name: str) -> NDArray[np.uint8]:
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name} is {ids.dtype}; class ids are integers")
    foreign = (ids < 0) | (ids >= classes)
    foreign &= ids != IGNORE
    if foreign.any():
        raise ValueError(f"{name} holds id {ids[foreign].min()}; ids are 0..{classes - 1} and {IGNORE}")
    return ids.astype(np.uint8, copy=False)
