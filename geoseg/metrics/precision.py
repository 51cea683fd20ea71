"""Average precision: how good predicted objects are over all scores they might be cut off at.

The objects of an image are taken from the highest score down, and each matches the free true object it
overlaps most, at each of ten thresholds of IoU. Precision over recall of all images together, made to fall
steadily and read at 101 recalls, is averaged: the AP of COCO (Lin et al., 2014), equal to pycocotools'. With
the lower of mask IoU and Boundary IoU in place of the IoU it is Boundary AP (Cheng et al., 2021, "Boundary
IoU: Improving Object-Centric Image Segmentation Evaluation").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.metrics.objects import THRESHOLDS, Overlaps
from geoseg.metrics.shares import mean_present

RECALLS = np.linspace(0.0, 1.0, 101)
"""Where precision is read."""

EVERY: tuple[float, float] = (0.0, np.inf)

COCO_AREAS: Mapping[str, tuple[float, float]] = {
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, np.inf),
}
"""Areas in pixels that COCO calls small, medium and large, both ends included."""

_HIT, _MISS, _NEITHER = 1, 0, -1
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Detections:
    """The objects of one image, laid over each other.

    Attributes:
        pairs: N true and M predicted objects: which of one class share area.
        truth_class: (N,) class ids 0..K-1.
        prediction_class: (M,) class ids.
        score: (M,) of the predicted objects, higher is surer.
        crowd: (N,) true "objects" that are areas of many which nobody drew one by one: they need not be
            found, and what lies in them is neither right nor wrong. All ``False`` when not given.
    """

    pairs: Overlaps
    truth_class: NDArray[np.integer[Any]]
    prediction_class: NDArray[np.integer[Any]]
    score: NDArray[np.floating[Any]]
    crowd: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        true, predicted = len(self.pairs.truth_area), len(self.pairs.prediction_area)
        crowd = true if self.crowd is None else len(self.crowd)
        if (len(self.truth_class), crowd) != (true, true):
            raise ValueError(f"{true} true objects, but {len(self.truth_class)} classes and {crowd} crowds")
        if (len(self.prediction_class), len(self.score)) != (predicted, predicted):
            raise ValueError(
                f"{predicted} predicted objects, but {len(self.prediction_class)} classes and "
                f"{len(self.score)} scores"
            )
        if not np.isfinite(self.score).all():
            raise ValueError("a score is not finite")


class AveragePrecision:
    """Accumulates average precision over images, chips or scenes.

    What is kept of an image is the score and the outcome of each predicted object: no mask, no polygon.

    Attributes:
        thresholds: (T,) what the overlap must reach.
        most: how many predicted objects of an image and class count, the best scored ones; all when ``None``
            (COCO has 100, but an aerial image holds more).
        areas: range of areas by name. True objects out of it need not be found, and predicted ones out of it
            are no mistake when nothing in it is matched.
        truth: (A, K) int64 true objects that are to be found, ``areas`` first.
    """

    def __init__(
        self,
        classes: int,
        *,
        thresholds: Sequence[float] | NDArray[np.float64] = THRESHOLDS,
        most: int | None = None,
        areas: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        if classes < 1:
            raise ValueError(f"{classes} classes; 1 is the least")
        if most is not None and most < 1:
            raise ValueError(f"{most} predicted objects at most; 1 is the least")
        self.thresholds = np.asarray(thresholds, np.float64)
        self.most = most
        self.areas = {"all": EVERY, **(areas or {})}
        self.truth: NDArray[np.int64] = np.zeros((len(self.areas), classes), np.int64)
        self._scores: list[list[NDArray[np.float64]]] = [[] for _ in range(classes)]
        # One (A, T, D) int8 an image and class: hit, miss or neither.
        self._outcomes: list[list[NDArray[np.int8]]] = [[] for _ in range(classes)]

    @property
    def classes(self) -> int:
        """Number of classes K."""
        return int(self.truth.shape[1])

    def add(self, image: Detections, overlap: NDArray[np.float64] | None = None) -> None:
        """Count an image.

        Args:
            image: its objects.
            overlap: (P,) of the pairs; their IoU when not given. For Boundary AP the lower of IoU and
                Boundary IoU. With a crowd the share of the predicted object that lies in it counts instead.
        """
        pairs = image.pairs
        crowd = _no_crowd(image) if image.crowd is None else np.asarray(image.crowd, np.bool_)
        overlap = pairs.iou() if overlap is None else np.array(overlap, np.float64)
        in_crowd = crowd[pairs.truth]
        overlap[in_crowd] = (pairs.shared / pairs.prediction_area[pairs.prediction])[in_crowd]
        for class_id in range(self.classes):
            true = np.flatnonzero(np.asarray(image.truth_class) == class_id)
            found = np.flatnonzero(np.asarray(image.prediction_class) == class_id)
            found = found[np.argsort(-np.asarray(image.score)[found], kind="stable")][: self.most]
            if not len(true) and not len(found):
                continue
            candidates = _candidates(pairs, overlap, true, found, float(self.thresholds.min()))
            outcomes = np.empty((len(self.areas), len(self.thresholds), len(found)), np.int8)
            for row, (low, high) in enumerate(self.areas.values()):
                area = pairs.truth_area[true]
                spare = crowd[true] | (area < low) | (area > high)
                area = pairs.prediction_area[found]
                beyond = (area < low) | (area > high)
                outcomes[row] = _outcomes(candidates, self.thresholds, crowd[true], spare, beyond)
                self.truth[row, class_id] += np.count_nonzero(~spare)
            self._scores[class_id].append(np.asarray(image.score, np.float64)[found])
            self._outcomes[class_id].append(outcomes)

    def merge(self, other: AveragePrecision) -> AveragePrecision:
        """Both sets of images together; equal scores count in the order of ``self``, then ``other``.

        Raises:
            ValueError: they count differently.
        """
        mine = (self.classes, self.most, self.areas, self.thresholds.tolist())
        if mine != (other.classes, other.most, other.areas, other.thresholds.tolist()):
            raise ValueError("average precision of different classes, thresholds, areas or limits")
        merged = AveragePrecision(self.classes, thresholds=self.thresholds, most=self.most, areas=self.areas)
        merged.truth = self.truth + other.truth
        merged._scores = [a + b for a, b in zip(self._scores, other._scores, strict=True)]
        merged._outcomes = [a + b for a, b in zip(self._outcomes, other._outcomes, strict=True)]
        return merged

    __add__ = merge

    def table(self, area: str = "all") -> NDArray[np.float64]:
        """AP of every threshold and class, (T, K); NaN of classes without a true object."""
        row = list(self.areas).index(area)
        table = np.full((len(self.thresholds), self.classes), np.nan)
        for class_id in np.flatnonzero(self.truth[row]).tolist():
            precision = self.curve(class_id, area)
            table[:, class_id] = precision.mean(axis=1)
        return table

    def curve(self, class_id: int, area: str = "all") -> NDArray[np.float64]:
        """Precision at each of :data:`RECALLS`, (T, 101); NaN of a class without a true object."""
        row = list(self.areas).index(area)
        curve = np.full((len(self.thresholds), len(RECALLS)), np.nan)
        count = int(self.truth[row, class_id])
        if not count:
            return curve
        if not self._scores[class_id]:
            return np.zeros_like(curve)
        score = np.concatenate(self._scores[class_id])
        outcome = np.concatenate([each[row] for each in self._outcomes[class_id]], axis=1)
        outcome = outcome[:, np.argsort(-score, kind="stable")]
        for at in range(len(self.thresholds)):
            curve[at] = _precision_at_recalls(outcome[at], count)
        return curve

    def ap(self, area: str = "all") -> NDArray[np.float64]:
        """AP of each class, (K,): the mean over the thresholds; NaN of classes without a true object."""
        return np.asarray(self.table(area).mean(axis=0))

    def at(self, threshold: float, area: str = "all") -> NDArray[np.float64]:
        """AP of each class at one of the thresholds, (K,): AP50 at 0.5.

        Raises:
            ValueError: it is none of them.
        """
        found = np.flatnonzero(np.isclose(self.thresholds, threshold))
        if not len(found):
            raise ValueError(f"{threshold} is none of the thresholds {self.thresholds.tolist()}")
        return np.asarray(self.table(area)[found[0]])

    def mean_ap(self, area: str = "all") -> float:
        """Mean of :meth:`ap` over the classes that have true objects; NaN without any."""
        return mean_present(self.ap(area))


def _no_crowd(image: Detections) -> NDArray[np.bool_]:
    return np.zeros(len(image.pairs.truth_area), np.bool_)


Candidates = list[list[tuple[int, float]]]
"""For each predicted object, best score first: the true ones it might match, in their order, and how much."""


def _candidates(
    pairs: Overlaps,
    overlap: NDArray[np.float64],
    true: NDArray[np.int64],
    found: NDArray[np.int64],
    least: float,
) -> Candidates:
    place_true = np.full(len(pairs.truth_area), -1, np.int64)
    place_found = np.full(len(pairs.prediction_area), -1, np.int64)
    place_true[true], place_found[found] = np.arange(len(true)), np.arange(len(found))
    one, other = place_true[pairs.truth], place_found[pairs.prediction]
    able = np.flatnonzero((one >= 0) & (other >= 0) & (overlap >= least - _TINY))
    able = able[np.lexsort((one[able], other[able]))]
    candidates: Candidates = [[] for _ in found]
    for i, j, much in zip(one[able].tolist(), other[able].tolist(), overlap[able].tolist(), strict=True):
        candidates[j].append((i, much))
    return candidates


def _outcomes(
    candidates: Candidates,
    thresholds: NDArray[np.float64],
    crowd: NDArray[np.bool_],
    spare: NDArray[np.bool_],
    beyond: NDArray[np.bool_],
) -> NDArray[np.int8]:
    """Outcome of each predicted object (D,) at each threshold, (T, D).

    Args:
        candidates: of each predicted object.
        thresholds: (T,).
        crowd: (N,) true objects that match any number of predicted ones.
        spare: (N,) those that need not be found, crowds among them.
        beyond: (D,) predicted ones that are no mistake when they match nothing.
    """
    outcomes = np.full((len(thresholds), len(candidates)), _MISS, np.int8)
    outcomes[:, beyond] = _NEITHER
    is_crowd, is_spare = crowd.tolist(), spare.tolist()
    able = [(j, some) for j, some in enumerate(candidates) if some]
    for row, threshold in enumerate((thresholds - _TINY).tolist()):
        taken = [False] * len(is_crowd)
        for j, some in able:
            chosen = _choice(some, threshold, taken, is_crowd, is_spare)
            if chosen is not None:
                taken[chosen] = True
                outcomes[row, j] = _NEITHER if is_spare[chosen] else _HIT
    return outcomes


def _choice(
    some: Sequence[tuple[int, float]],
    threshold: float,
    taken: Sequence[bool],
    is_crowd: Sequence[bool],
    is_spare: Sequence[bool],
) -> int | None:
    """The free true object that overlaps most; one that need not be found only when there is no other.

    Of equal overlaps the later one, as pycocotools has it.
    """
    for spare in (False, True):
        chosen, best = None, threshold
        for i, much in some:
            if is_spare[i] == spare and much >= best and (is_crowd[i] or not taken[i]):
                chosen, best = i, much
        if chosen is not None:
            return chosen
    return None


def _precision_at_recalls(outcome: NDArray[np.int8], count: int) -> NDArray[np.float64]:
    """Precision (101,) at the recalls, never lower than at a higher recall.

    Args:
        outcome: (D,) by falling score.
        count: true objects that are to be found.
    """
    outcome = outcome[outcome != _NEITHER]
    hits = np.cumsum(outcome == _HIT)
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(hits / count, RECALLS, side="left")
    return np.append(precision, 0.0)[at]
