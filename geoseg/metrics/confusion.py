"""Which class was taken for which, in exact integers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import IGNORE, MAX_CLASSES
from geoseg.metrics.shares import checked_ids, mean_present, share


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
        truth, prediction = checked_ids(truth, prediction, classes)
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
        return share(self._hits(), self._present())

    def precision(self) -> NDArray[np.float64]:
        """Share of the predicted pixels that are right, (K,) float64.

        NaN for absent classes; 0 for a class that is there and was never predicted.
        """
        return np.where(self._present() > 0, share(self._hits(), self.counts.sum(0), empty=0.0), np.nan)

    def recall(self) -> NDArray[np.float64]:
        """Share of the true pixels that were found, (K,) float64.

        NaN for absent classes; 0 for a class that was predicted and is not there.
        """
        return np.where(self._present() > 0, share(self._hits(), self.counts.sum(1), empty=0.0), np.nan)

    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of precision and recall (the Dice score), (K,) float64; NaN for absent classes."""
        return share(2 * self._hits(), self.counts.sum(0) + self.counts.sum(1))

    def miou(self) -> float:
        """Mean IoU over the classes present; NaN when no pixel was counted."""
        return mean_present(self.iou())

    def accuracy(self) -> float:
        """Share of the counted pixels that are right; NaN when no pixel was counted."""
        return float(share(self._hits().sum(), self.counts.sum()))

    def kappa(self) -> float:
        """Cohen's kappa: agreement beyond what the shares of the classes alone would give, -1 to 1.

        Cohen (1960), "A Coefficient of Agreement for Nominal Scales". NaN when no pixel was counted, or when
        both maps are of one and the same class, where chance alone agrees.
        """
        return float(kappas(self._hits(), self.counts.sum(1), self.counts.sum(0)))

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


def kappas(hits: NDArray[Any], truth: NDArray[Any], prediction: NDArray[Any]) -> NDArray[np.float64]:
    """Cohen's kappa (...) of counts (..., K): right pixels, true ones and predicted ones of every class."""
    total = np.asarray(truth, np.float64).sum(-1)
    right = share(hits.sum(-1), total)
    chance = share((np.asarray(truth, np.float64) * prediction).sum(-1), total**2)
    return share(right - chance, 1.0 - chance)
