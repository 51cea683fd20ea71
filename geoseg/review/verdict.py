"""Which objects of a chip were found, which were missed, and which are there by mistake."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from geoseg.config import PredictConfig
from geoseg.metrics.image_objects import TrueObjects
from geoseg.metrics.objects import MAINLY, Overlaps, match
from geoseg.metrics.regions import region_overlaps
from geoseg.review.seen_instances import FoundObjects

MATCH_IOU = 0.5
"""IoU from which on a predicted object is a true one."""

DEFAULT_SCORE = PredictConfig().min_score
"""Least score of an object that ``predict`` reports."""

SCORES = tuple(sorted({*(tenth / 10 for tenth in range(1, 10)), DEFAULT_SCORE}))
"""Least scores at which objects are counted."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Objects of a chip at a least score.

    Attributes:
        hit: (N,) which true objects were found.
        right: (D,) which predicted ones are a true one, among those that reach the score.
        false: (D,) which are none.
        beyond: (D,) which are none and lie mostly on land where nothing is known: nobody can tell.
        ious: (Q,) IoU of those that match, in the order of the true objects.
    """

    hit: NDArray[np.bool_]
    right: NDArray[np.bool_]
    false: NDArray[np.bool_]
    beyond: NDArray[np.bool_]
    ious: NDArray[np.float64]


class Judge:
    """Compares the true objects of a chip with those that were found."""

    def __init__(self, truth: TrueObjects, found: FoundObjects) -> None:
        pairs = region_overlaps(truth.regions, truth.class_ids, found.regions, found.class_ids)
        in_crowd = truth.crowd[pairs.truth]
        much = pairs.shared >= MAINLY * pairs.prediction_area[pairs.prediction]
        self._unknown = np.zeros(len(found.scores), np.bool_)
        self._unknown[pairs.prediction[in_crowd & much]] = True
        self._pairs = _only(pairs, ~in_crowd)
        self._things = len(truth.numbers)
        self._scores = found.scores

    def at(self, least: float) -> Verdict:
        """The verdict on objects with this score or more.

        A true and a predicted object of one class match from an IoU of 0.5 on, one with one, the best pairs
        first.
        """
        kept = self._scores >= np.float32(least)
        pairs = _only(self._pairs, kept[self._pairs.prediction])
        matched = match(pairs, MATCH_IOU)
        matched = matched[np.argsort(pairs.truth[matched])]
        hit = np.zeros(self._things, np.bool_)
        hit[pairs.truth[matched]] = True
        right = np.zeros(len(kept), np.bool_)
        right[pairs.prediction[matched]] = True
        return Verdict(
            hit=hit,
            right=right,
            false=kept & ~right & ~self._unknown,
            beyond=kept & ~right & self._unknown,
            ious=pairs.iou()[matched],
        )


class ScoreTally:
    """Objects counted by class at each of some least scores.

    Attributes:
        levels: (L,) the least scores.
        truth: (K,) int64 true objects.
        predicted: (L, K) int64 predicted ones, without those nobody can tell about.
        right: (L, K) int64 those of them that are a true one.
        quality: (L, K) sum of their IoU.
    """

    def __init__(self, classes: int, levels: Sequence[float]) -> None:
        self.levels = tuple(levels)
        self.truth = np.zeros(classes, np.int64)
        self.predicted = np.zeros((len(self.levels), classes), np.int64)
        self.right = np.zeros_like(self.predicted)
        self.quality = np.zeros(self.predicted.shape)

    def add(self, truth: TrueObjects, found: FoundObjects, verdicts: Sequence[Verdict]) -> None:
        """Count a chip, of which there is a verdict at each level."""
        classes = len(self.truth)
        kinds = truth.class_ids[: len(truth.numbers)]
        self.truth += np.bincount(kinds, minlength=classes)
        for level, verdict in enumerate(verdicts):
            counted = verdict.right | verdict.false
            self.predicted[level] += np.bincount(found.class_ids[counted], minlength=classes)
            self.right[level] += np.bincount(found.class_ids[verdict.right], minlength=classes)
            self.quality[level] += np.bincount(kinds[verdict.hit], weights=verdict.ious, minlength=classes)

    def precision(self, level: int) -> NDArray[np.float64]:
        """Share of the predicted objects that are right, (K + 1,): each class, and all together."""
        return _ratio(_with_sum(self.right[level]), _with_sum(self.predicted[level]))

    def recall(self, level: int) -> NDArray[np.float64]:
        """Share of the true objects that were found, (K + 1,)."""
        return _ratio(_with_sum(self.right[level]), _with_sum(self.truth))

    def f1(self, level: int) -> NDArray[np.float64]:
        """Harmonic mean of both, (K + 1,); NaN where there is no object at all."""
        return _ratio(2 * _with_sum(self.right[level]), _with_sum(self.truth + self.predicted[level]))

    def mean_iou(self, level: int) -> NDArray[np.float64]:
        """Mean IoU of what is right, (K + 1,)."""
        return _ratio(_with_sum(self.quality[level]), _with_sum(self.right[level]))


def _only(pairs: Overlaps, chosen: NDArray[np.bool_]) -> Overlaps:
    return replace(
        pairs,
        truth=pairs.truth[chosen],
        prediction=pairs.prediction[chosen],
        shared=pairs.shared[chosen],
    )


def _with_sum(values: NDArray[np.generic]) -> NDArray[np.float64]:
    """Values (K,) and their sum, (K + 1,)."""
    return np.append(values, values.sum()).astype(np.float64)


def _ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """``part / whole``; NaN where there is nothing."""
    ratio = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
