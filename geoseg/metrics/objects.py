"""Objects against objects: which was found, cut in pieces or run together, and how its outline lies.

A true and a predicted object of one class *match* when their IoU is at least a threshold, one with one, the
best pairs first. Above an IoU of 0.5 no other choice is possible as long as neither map overlaps itself.
Everything here is plane geometry in one unit of length; who calls sees to metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

THRESHOLDS = np.arange(50, 100, 5) / 100.0
"""IoU at which objects are counted as found: 0.5, and the mean over 0.5, 0.55 .. 0.95 (as COCO has it)."""

MAINLY = 0.5
"""Share of an object's area from which on it lies in another."""

SPECKS = 0.05
"""Share of an object that pieces of it make up, besides the largest, for it to be split or merged."""

_BATCH = 4096
_SAMPLES = 64
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Overlaps:
    """Pairs of a true and a predicted object of one class that share land, in the order of both.

    Attributes:
        truth: (P,) index of the true object.
        prediction: (P,) index of the predicted one.
        shared: (P,) area in both.
        truth_area: (N,) of the true objects.
        prediction_area: (M,) of the predicted ones.
    """

    truth: NDArray[np.int64]
    prediction: NDArray[np.int64]
    shared: NDArray[np.float64]
    truth_area: NDArray[np.float64]
    prediction_area: NDArray[np.float64]

    def iou(self) -> NDArray[np.float64]:
        """Intersection over union of every pair, (P,)."""
        union = self.truth_area[self.truth] + self.prediction_area[self.prediction] - self.shared
        return np.asarray(np.clip(self.shared / union, 0.0, 1.0))


def overlaps(
    truth: NDArray[Any],
    truth_class: NDArray[np.integer[Any]],
    prediction: NDArray[Any],
    prediction_class: NDArray[np.integer[Any]],
) -> Overlaps:
    """Find the pairs that share land.

    Args:
        truth: (N,) valid polygons.
        truth_class: (N,) their class ids.
        prediction: (M,) valid polygons in the same coordinates.
        prediction_class: (M,) their class ids.
    """
    tree = shapely.STRtree(prediction)
    parts = []
    for first in range(0, len(truth), _BATCH):
        some, found = tree.query(truth[first : first + _BATCH], predicate="intersects")
        some = some + first
        same = truth_class[some] == prediction_class[found]
        some, found = some[same], found[same]
        shared = _shared_areas(truth[some], prediction[found])
        real = shared > 0.0
        parts.append((some[real], found[real], shared[real]))
    some, found, shared = (
        np.concatenate([part[i] for part in parts]) if parts else np.zeros(0) for i in range(3)
    )
    order = np.lexsort((found, some))
    return Overlaps(
        truth=some[order].astype(np.int64),
        prediction=found[order].astype(np.int64),
        shared=shared[order],
        truth_area=shapely.area(truth),
        prediction_area=shapely.area(prediction),
    )


def _shared_areas(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Area in both of pairs of polygons (P,); what contains the other needs no intersection."""
    shared = np.empty(len(one))
    inside = shapely.covered_by(one, other)
    holds = ~inside & shapely.covers(one, other)
    shared[inside], shared[holds] = shapely.area(one[inside]), shapely.area(other[holds])
    cross = ~(inside | holds)
    shared[cross] = shapely.area(shapely.intersection(one[cross], other[cross]))
    return shared


def match(pairs: Overlaps, least: float = 0.5) -> NDArray[np.int64]:
    """Pairs (Q,) whose objects match, as indices into ``pairs``: the best IoU first, each object once.

    Those of a higher threshold are the ones among them that reach it. Of equal IoU the first pair wins.
    """
    iou = pairs.iou()
    able = np.flatnonzero(iou >= least - _TINY)
    able = able[np.argsort(-iou[able], kind="stable")]
    free_truth = np.ones(len(pairs.truth_area), np.bool_)
    free_prediction = np.ones(len(pairs.prediction_area), np.bool_)
    chosen = []
    for pair, one, other in zip(
        able.tolist(), pairs.truth[able].tolist(), pairs.prediction[able].tolist(), strict=True
    ):
        if free_truth[one] and free_prediction[other]:
            free_truth[one] = free_prediction[other] = False
            chosen.append(pair)
    return np.array(chosen, np.int64)


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Objects counted; sums of such counts are counts. Shapes (...,) are of any kind: classes, blocks, draws.

    Attributes:
        truth: (...) true objects.
        prediction: (...) predicted objects.
        found: (..., 10) matches at :data:`THRESHOLDS`.
        segments: (...) matches with an IoU above 0.5.
        quality: (...) sum of their IoU.
    """

    truth: NDArray[np.float64]
    prediction: NDArray[np.float64]
    found: NDArray[np.float64]
    segments: NDArray[np.float64]
    quality: NDArray[np.float64]

    FIELDS = 4 + len(THRESHOLDS)

    @classmethod
    def of(cls, table: NDArray[Any]) -> Counts:
        """From (..., 14): true, predicted, segments, quality, and matches at ten thresholds."""
        return cls(
            truth=table[..., 0],
            prediction=table[..., 1],
            segments=table[..., 2],
            quality=table[..., 3],
            found=table[..., 4:],
        )

    def precision(self) -> NDArray[np.float64]:
        """Share of the predicted objects that match at 0.5; NaN without any."""
        return _ratio(self.found[..., 0], self.prediction)

    def recall(self) -> NDArray[np.float64]:
        """Share of the true objects that match at 0.5; NaN without any."""
        return _ratio(self.found[..., 0], self.truth)

    def f1(self) -> NDArray[np.float64]:
        """Harmonic mean of both at 0.5; NaN where there is no object at all."""
        return _ratio(2.0 * self.found[..., 0], self.truth + self.prediction)

    def f1_mean(self) -> NDArray[np.float64]:
        """Mean of F1 over :data:`THRESHOLDS`."""
        return _ratio(2.0 * self.found.mean(axis=-1), self.truth + self.prediction)

    def pq(self) -> NDArray[np.float64]:
        """Panoptic quality: Kirillov et al. (2019), "Panoptic Segmentation"; the product of SQ and RQ."""
        return _ratio(2.0 * self.quality, self.truth + self.prediction)

    def sq(self) -> NDArray[np.float64]:
        """Segmentation quality: mean IoU of what matches with more than 0.5; NaN without any."""
        return _ratio(self.quality, self.segments)

    def rq(self) -> NDArray[np.float64]:
        """Recognition quality: F1 of what matches with more than 0.5."""
        return _ratio(2.0 * self.segments, self.truth + self.prediction)


def counts_by(
    pairs: Overlaps,
    matched: NDArray[np.int64],
    truth_group: NDArray[np.int64],
    prediction_group: NDArray[np.int64],
    groups: int,
) -> NDArray[np.float64]:
    """Counts of groups of objects, (G, 14), for :meth:`Counts.of`.

    A match counts in the group of its true object.

    Args:
        pairs: all pairs.
        matched: what :func:`match` chose among them.
        truth_group: (N,) group 0..G-1 of the true objects.
        prediction_group: (M,) of the predicted ones. One that matches belongs to its true object's.
        groups: their number G.
    """
    iou = pairs.iou()[matched]
    group = truth_group[pairs.truth[matched]]
    prediction_group = prediction_group.copy()
    prediction_group[pairs.prediction[matched]] = group
    table = np.zeros((groups, Counts.FIELDS))
    table[:, 0] = np.bincount(truth_group, minlength=groups)
    table[:, 1] = np.bincount(prediction_group, minlength=groups)
    sure = iou > MAINLY + _TINY
    table[:, 2] = np.bincount(group[sure], minlength=groups)
    table[:, 3] = np.bincount(group[sure], weights=iou[sure], minlength=groups)
    for column, threshold in enumerate(THRESHOLDS, 4):
        table[:, column] = np.bincount(group[iou >= threshold - _TINY], minlength=groups)
    return table


def segmentation_errors(pairs: Overlaps) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Over- and under-segmentation of every true object, (N,) each; NaN of one that nothing touches.

    Persello and Bruzzone (2010), "A Novel Protocol for Accuracy Assessment in Classification of Very High
    Resolution Images": M being the predicted object that shares most land with the true object O,
    ``over = 1 - |O and M| / |O|`` and ``under = 1 - |O and M| / |M|``. Both are 0 when M is O.
    """
    over, under = np.full((2, len(pairs.truth_area)), np.nan)
    # The last one written stays: the largest share, of equal ones the smallest object, then the first.
    order = np.lexsort((-pairs.prediction, -pairs.prediction_area[pairs.prediction], pairs.shared))
    one, other, shared = pairs.truth[order], pairs.prediction[order], pairs.shared[order]
    over[one] = np.clip(1.0 - shared / pairs.truth_area[one], 0.0, 1.0)
    under[one] = np.clip(1.0 - shared / pairs.prediction_area[other], 0.0, 1.0)
    return over, under


def splits_and_merges(pairs: Overlaps) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which true objects (N,) are split, and which predicted ones (M,) are merged.

    Split: two predicted objects or more lie in it with at least half of their area each, and what these hold
    of it is no less than 5 % without the largest: a field and a few specks in it are no split. Merged: the
    same with true and predicted objects changed about.
    """
    held_by_truth = pairs.shared >= MAINLY * pairs.prediction_area[pairs.prediction] * (1.0 - _TINY)
    held_by_prediction = pairs.shared >= MAINLY * pairs.truth_area[pairs.truth] * (1.0 - _TINY)
    return (
        _holds_several(pairs.truth, pairs.shared, held_by_truth, pairs.truth_area),
        _holds_several(pairs.prediction, pairs.shared, held_by_prediction, pairs.prediction_area),
    )


def _holds_several(
    holder: NDArray[np.int64],
    shared: NDArray[np.float64],
    held: NDArray[np.bool_],
    area: NDArray[np.float64],
) -> NDArray[np.bool_]:
    holder, shared = holder[held], shared[held]
    largest = np.zeros(len(area))
    np.maximum.at(largest, holder, shared)
    rest = np.bincount(holder, weights=shared, minlength=len(area)) - largest
    several: NDArray[np.bool_] = (rest >= SPECKS * area) & (rest > 0.0)
    return several


def outline_distances(
    truth: NDArray[Any], prediction: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far outlines of matched objects lie apart: mean, and 95 % Hausdorff distance, (Q,) each.

    64 points, evenly spread over all rings of an outline, are measured to the other outline, both ways. The
    mean is that of both ways' means; the Hausdorff distance is the greater of both ways' 95th percentiles,
    so that one stray corner does not decide.
    """
    mean, far = np.empty((2, len(truth)))
    for first in range(0, len(truth), _BATCH):
        part = slice(first, first + _BATCH)
        lines = [shapely.boundary(some[part]) for some in (truth, prediction)]
        there = _distances(lines[0], lines[1])
        back = _distances(lines[1], lines[0])
        mean[part] = (there.mean(axis=1) + back.mean(axis=1)) / 2.0
        far[part] = np.maximum(np.percentile(there, 95.0, axis=1), np.percentile(back, 95.0, axis=1))
    return mean, far


def _distances(lines: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Distances (Q, 64) of points spread over lines to other lines."""
    points = shapely.points(_spread(lines, _SAMPLES).reshape(-1, 2))
    apart: NDArray[np.float64] = shapely.distance(points, np.repeat(other, _SAMPLES))
    return apart.reshape(-1, _SAMPLES)


def _spread(lines: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Points (Q, count, 2) evenly spread over lines of one part or several."""
    points, owner = shapely.get_coordinates(shapely.get_parts(lines), return_index=True)
    line_of = np.repeat(np.arange(len(lines)), shapely.get_num_geometries(lines))[owner]
    # An edge from each point to the next, but for the last one of each part.
    edge = np.flatnonzero(owner[1:] == owner[:-1])
    step = points[edge + 1] - points[edge]
    length = np.hypot(step[:, 0], step[:, 1])
    ends = np.cumsum(length)
    last = np.searchsorted(line_of[edge], np.arange(len(lines)), side="right") - 1
    stop = ends[last]
    start = np.concatenate([[0.0], stop[:-1]])
    wanted = start[:, None] + (np.arange(count) + 0.5) / count * (stop - start)[:, None]
    at = np.clip(np.searchsorted(ends, wanted.ravel(), side="left"), 0, len(edge) - 1)
    along = 1.0 - (ends[at] - wanted.ravel()) / np.where(length[at] > 0.0, length[at], 1.0)
    spread: NDArray[np.float64] = points[edge[at]] + np.clip(along, 0.0, 1.0)[:, None] * step[at]
    return spread.reshape(len(lines), count, 2)


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    """``part / whole``; NaN where there is nothing."""
    ratio: NDArray[np.float64] = np.full(np.shape(whole), np.nan)
    np.divide(part, whole, out=ratio, where=np.greater(whole, 0))
    return ratio
