"""Scores of objects from what was matched, by class and by blocks of land."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.metrics.bootstrap import MAX_BLOCKS, Interval, interval, resample
from geoseg.metrics.objects import (
    Counts,
    Overlaps,
    counts_by,
    match,
    outline_distances,
    overlaps,
    segmentation_errors,
    splits_and_merges,
)
from geoseg.scoring.pixels import BLOCKS_WANTED
from geoseg.scoring.plane import Plane
from geoseg.scoring.report import ObjectReport, ObjectScores
from geoseg.scoring.things import Things


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Objects laid over each other.

    Attributes:
        plane: what they were compared on.
        truth: N true objects.
        predicted: M predicted ones.
        pairs: those that share land.
        matched: (Q,) which of the pairs match.
        split: (N,) true objects in pieces.
        merged: (M,) predicted objects that run several together.
        block: side of the blocks in units of the plane.
        blocks: (K, 14) counts of each block, see :class:`geoseg.metrics.objects.Counts`.
    """

    plane: Plane
    truth: Things
    predicted: Things
    pairs: Overlaps
    matched: NDArray[np.int64]
    split: NDArray[np.bool_]
    merged: NDArray[np.bool_]
    block: float
    blocks: dict[Hashable, NDArray[np.float64]]


def compare_things(
    truth: Things, predicted: Things, *, classes: int, plane: Plane, block: float | None = None
) -> Compared:
    """Match objects and count them.

    Args:
        truth: true objects on the plane.
        predicted: predicted ones.
        classes: number of classes K.
        plane: the plane.
        block: side of the blocks in its units; such that there are about 64 when not given.
    """
    pairs = overlaps(truth.geometry, truth.class_id, predicted.geometry, predicted.class_id)
    matched = match(pairs)
    split, merged = splits_and_merges(pairs)
    block = block or _block(truth, predicted)
    blocks = _by_blocks(truth, predicted, pairs, matched, classes, block)
    return Compared(
        plane=plane,
        truth=truth,
        predicted=predicted,
        pairs=pairs,
        matched=matched,
        split=split,
        merged=merged,
        block=block,
        blocks=blocks,
    )


def _block(truth: Things, predicted: Things) -> float:
    every = np.concatenate([truth.geometry, predicted.geometry])
    if not len(every):
        return 1.0
    left, bottom, right, top = shapely.total_bounds(every)
    return math.sqrt((right - left) * (top - bottom) / BLOCKS_WANTED) or 1.0


def _by_blocks(
    truth: Things,
    predicted: Things,
    pairs: Overlaps,
    matched: NDArray[np.int64],
    classes: int,
    block: float,
) -> dict[Hashable, NDArray[np.float64]]:
    every = np.concatenate([truth.geometry, predicted.geometry])
    places = shapely.get_coordinates(shapely.centroid(every)) / block
    names, number = np.unique(np.floor(places).astype(np.int64), axis=0, return_inverse=True)
    group = number.ravel() * classes + np.concatenate([truth.class_id, predicted.class_id])
    count = len(truth)
    table = counts_by(pairs, matched, group[:count], group[count:], len(names) * classes)
    table = table.reshape(len(names), classes, Counts.FIELDS)
    return {(int(x), int(y)): part for (x, y), part in zip(names, table, strict=True) if part[:, :2].any()}


def object_report(
    found: Compared, class_names: Sequence[str], *, left_out_truth: int, left_out_predicted: int
) -> ObjectReport:
    """The scores of what was compared."""
    table = sum(found.blocks.values(), np.zeros((len(class_names), Counts.FIELDS)))
    details = _Details.of(found)
    classes = {
        name: details.scores(table[i], found.truth.class_id == i, found.predicted.class_id == i)
        for i, name in enumerate(class_names)
        if table[i, :2].any()
    }
    together = details.scores(
        table.sum(0), np.ones(len(found.truth), np.bool_), np.ones(len(found.predicted), np.bool_)
    )
    together = _with_mean_quality(together, list(classes.values()))
    draws = resample(found.blocks) if len(found.blocks) <= MAX_BLOCKS else None
    return ObjectReport(
        classes=classes,
        all=together,
        left_out_truth=left_out_truth,
        left_out_predicted=left_out_predicted,
        area_m2=float(found.pairs.truth_area.sum()) * found.plane.unit_m**2 if found.plane.metric else None,
        blocks=len(found.blocks),
        block_m=found.block * found.plane.unit_m,
        f1_interval=None if draws is None else interval(Counts.of(draws.sum(1)).f1()),
        pq_interval=None if draws is None else interval(_mean_quality(draws)),
    )


def paired_f1(found: Compared, first: Compared) -> Interval | None:
    """Interval of the objects' F1 less that of the first; ``None`` when blocks are not the same land."""
    if found.plane != first.plane or found.block != first.block:
        return None
    both = {**first.blocks, **found.blocks}
    here, there = resample(found.blocks, both), resample(first.blocks, both)
    if here is None or there is None:
        return None
    return interval(Counts.of(here.sum(1)).f1() - Counts.of(there.sum(1)).f1())


def _mean_quality(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Panoptic quality of draws (R, K, 14): the mean over the classes that are in each, (R,)."""
    quality = Counts.of(draws).pq()
    known = ~np.isnan(quality)
    count = known.sum(1)
    total = np.where(known, quality, 0.0).sum(1)
    mean: NDArray[np.float64] = np.full(len(total), np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return mean


def _with_mean_quality(scores: ObjectScores, classes: Sequence[ObjectScores]) -> ObjectScores:
    return replace(
        scores,
        pq=_mean([each.pq for each in classes]),
        sq=_mean([each.sq for each in classes]),
        rq=_mean([each.rq for each in classes]),
    )


@dataclass(frozen=True, kw_only=True)
class _Details:
    """What is known of each object; lengths in metres."""

    found: Compared
    over: NDArray[np.float64]
    under: NDArray[np.float64]
    matched_class: NDArray[np.int64]
    boundary_m: NDArray[np.float64]
    hausdorff95_m: NDArray[np.float64]

    @classmethod
    def of(cls, found: Compared) -> _Details:
        over, under = segmentation_errors(found.pairs)
        one, other = found.pairs.truth[found.matched], found.pairs.prediction[found.matched]
        mean, far = outline_distances(found.truth.geometry[one], found.predicted.geometry[other])
        unit_m = found.plane.unit_m if found.plane.metric else math.nan
        return cls(
            found=found,
            over=over,
            under=under,
            matched_class=found.truth.class_id[one],
            boundary_m=mean * unit_m,
            hausdorff95_m=far * unit_m,
        )

    def scores(
        self, row: NDArray[np.float64], truth: NDArray[np.bool_], predicted: NDArray[np.bool_]
    ) -> ObjectScores:
        """Scores of the chosen objects (N,) and (M,), whose counts are ``row`` (14,)."""
        counts, found = Counts.of(row), self.found
        pair_one = found.pairs.truth[found.matched]
        matched = truth[pair_one] if len(pair_one) else np.zeros(0, np.bool_)
        true_area = found.pairs.truth_area[truth].sum()
        area = found.pairs.prediction_area[predicted].sum()
        return ObjectScores(
            truth=int(counts.truth),
            predicted=int(counts.prediction),
            precision=float(counts.precision()),
            recall=float(counts.recall()),
            f1=float(counts.f1()),
            f1_mean=float(counts.f1_mean()),
            pq=float(counts.pq()),
            sq=float(counts.sq()),
            rq=float(counts.rq()),
            over_segmentation=_mean(self.over[truth]),
            under_segmentation=_mean(self.under[truth]),
            split=int(found.split[truth].sum()),
            merged=int(found.merged[predicted].sum()),
            count_bias=_bias(int(counts.prediction), int(counts.truth)),
            area_bias=_bias(area, true_area),
            boundary_m=_mean(self.boundary_m[matched]),
            hausdorff95_m=_mean(self.hausdorff95_m[matched]),
        )


def _mean(values: Sequence[float] | NDArray[np.float64]) -> float:
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    return float(known.mean()) if known.size else math.nan


def _bias(prediction: float, truth: float) -> float:
    return float(prediction / truth - 1.0) if truth else math.nan
