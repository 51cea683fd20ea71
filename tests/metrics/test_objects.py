"""Matching against the plainest way to do it, and scores against cases worked out by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from geoseg.metrics.objects import (
    THRESHOLDS,
    Counts,
    Overlaps,
    counts_by,
    match,
    outline_distances,
    overlaps,
    segmentation_errors,
    splits_and_merges,
)


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return np.array([shapely.box(*corner) for corner in corners], object)


def compare(truth: np.ndarray, prediction: np.ndarray) -> Overlaps:
    return overlaps(truth, np.zeros(len(truth), int), prediction, np.zeros(len(prediction), int))


def total(pairs: Overlaps) -> Counts:
    nothing = (np.zeros(len(pairs.truth_area), int), np.zeros(len(pairs.prediction_area), int))
    return Counts.of(counts_by(pairs, match(pairs), *nothing, 1)[0])


polygon = st.builds(
    lambda x, y, sides: shapely.convex_hull(
        shapely.MultiPoint([(x + a, y + b) for a, b in [(0, 0), *sides]])
    ),
    st.integers(0, 12),
    st.integers(0, 12),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=5),
).filter(lambda shape: shape.area > 0)
things = st.lists(st.tuples(polygon, st.integers(0, 1)), max_size=9)


def arrays(some: Sequence[tuple[Any, int]]) -> tuple[np.ndarray, np.ndarray]:
    shapes = np.empty(len(some), object)
    shapes[:] = [shape for shape, _ in some]
    return shapes, np.array([class_id for _, class_id in some], int)


def plain_iou(one: Any, other: Any) -> float:
    return float(one.intersection(other).area / one.union(other).area)


@settings(deadline=None, max_examples=150)
@given(true=things, predicted=things)
def test_matching_is_the_plain_one(true: list[tuple[Any, int]], predicted: list[tuple[Any, int]]) -> None:
    """Again and again the best pair of free objects of one class, until none reaches the threshold."""
    pairs = overlaps(*arrays(true), *arrays(predicted))
    iou = {
        (i, j): plain_iou(a, b)
        for (i, (a, of_a)), (j, (b, of_b)) in itertools.product(enumerate(true), enumerate(predicted))
        if of_a == of_b and a.intersection(b).area > 0
    }
    assert set(zip(pairs.truth.tolist(), pairs.prediction.tolist(), strict=True)) == set(iou)
    wanted = [iou[pair] for pair in zip(pairs.truth.tolist(), pairs.prediction.tolist(), strict=True)]
    assert_allclose(pairs.iou(), wanted, atol=1e-9)
    for threshold in (0.5, 0.7):
        free, chosen = dict(iou), []
        while free and round(max(free.values()), 9) >= threshold:
            best = min(free, key=lambda pair: (-round(free[pair], 9), pair))
            chosen.append(round(free[best], 9))
            free = {pair: v for pair, v in free.items() if pair[0] != best[0] and pair[1] != best[1]}
        matched = match(pairs, threshold)
        assert_allclose(pairs.iou()[matched], chosen, atol=1e-8)
        for side in (pairs.truth[matched], pairs.prediction[matched]):
            assert len(set(side.tolist())) == len(side)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000))
def test_no_other_assignment_finds_more_where_maps_do_not_overlap_themselves(seed: int) -> None:
    rng = np.random.default_rng(seed)

    def partition() -> np.ndarray:
        cuts = np.sort(rng.choice(np.arange(1, 20), 4, replace=False))
        return boxes(*((a, 0, b, 1) for a, b in itertools.pairwise([0, *cuts, 20])))

    truth, prediction = partition(), partition()
    most = max(
        sum(plain_iou(truth[i], prediction[j]) > 0.5 for i, j in enumerate(order))
        for order in itertools.permutations(range(5))
    )
    assert total(compare(truth, prediction)).segments == most


def test_panoptic_quality_by_hand() -> None:
    """Three true, three predicted: IoU 1, IoU 0.6, one missed, one made up: PQ = 1.6 / (2 + 1/2 + 1/2)."""
    truth = boxes((0, 0, 10, 10), (20, 0, 28, 10), (40, 0, 50, 10))
    prediction = boxes((0, 0, 10, 10), (22, 0, 30, 10), (60, 0, 70, 10))
    counts = total(compare(truth, prediction))
    assert counts.quality == pytest.approx(1.6)
    assert counts.pq() == pytest.approx(1.6 / 3)
    assert counts.sq() == pytest.approx(0.8)
    assert counts.rq() == pytest.approx(2 / 3)
    assert counts.precision() == counts.recall() == counts.f1() == pytest.approx(2 / 3)
    # The pair of IoU 0.6 is found at 0.5, 0.55 and 0.6, the other always.
    assert counts.f1_mean() == pytest.approx((3 * 2 + 7 * 1) / 10 / 3)
    assert counts.found.tolist() == [2.0] * 3 + [1.0] * 7


def test_an_iou_of_one_half_is_found_but_no_segment() -> None:
    counts = total(compare(boxes((0, 0, 3, 1)), boxes((1, 0, 4, 1))))
    assert (counts.found[0], counts.segments) == (1, 0)
    assert counts.found[1:].sum() == 0
    assert counts.pq() == 0.0
    assert math.isnan(counts.sq())


def test_classes_do_not_match_each_other() -> None:
    same = boxes((0, 0, 1, 1))
    assert not len(overlaps(same, np.array([0]), same, np.array([1])).truth)


def test_nothing_at_all() -> None:
    empty = np.zeros(0, object)
    counts = total(compare(empty, empty))
    assert math.isnan(counts.f1())
    assert math.isnan(counts.pq())
    assert total(compare(boxes((0, 0, 1, 1)), empty)).f1() == 0.0
    assert len(outline_distances(empty, empty)[0]) == 0


def test_touching_is_no_overlap() -> None:
    assert not len(compare(boxes((0, 0, 1, 1)), boxes((1, 0, 2, 1))).truth)


def test_counts_go_to_the_group_of_the_true_object() -> None:
    truth, prediction = boxes((0, 0, 4, 1), (10, 0, 14, 1)), boxes((0, 0, 3, 1), (20, 0, 21, 1))
    pairs = compare(truth, prediction)
    table = counts_by(pairs, match(pairs), np.array([2, 0]), np.array([1, 1]), 3)
    assert table[:, :3].tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 1]]
    assert table[2, 3] == 0.75
    assert_array_equal(table[2, 4:], THRESHOLDS <= 0.75)


class TestSegmentation:
    def test_by_hand(self) -> None:
        """A field of 10 x 10 in pieces of 60, 30 and 10; one run together with a neighbour; one missed."""
        truth = boxes((0, 0, 10, 10), (20, 0, 30, 10), (30, 0, 40, 10), (90, 0, 91, 1))
        prediction = boxes((0, 0, 6, 10), (6, 0, 9, 10), (9, 0, 10, 10), (20, 0, 40, 10))
        pairs = compare(truth, prediction)
        over, under = segmentation_errors(pairs)
        assert_allclose(over, [0.4, 0.0, 0.0, np.nan])
        assert_allclose(under, [0.0, 0.5, 0.5, np.nan])
        split, merged = splits_and_merges(pairs)
        assert split.tolist() == [True, False, False, False]
        assert merged.tolist() == [False, False, False, True]

    def test_a_piece_that_is_mostly_elsewhere_is_none(self) -> None:
        truth = boxes((0, 0, 10, 10))
        prediction = boxes((0, 0, 8, 10), (9, 0, 20, 10))
        assert splits_and_merges(compare(truth, prediction))[0].tolist() == [False]

    def test_specks_are_no_split_but_many_pieces_are(self) -> None:
        truth = boxes((0, 0, 10, 10), (20, 0, 30, 10))
        specks = [(9.5, y, 10, y + 0.5) for y in range(10)]  # 2.5 % of it
        slices = [(20 + x / 10, 0, 20 + (x + 1) / 10, 10) for x in range(100)]  # none above 1 %
        split, merged = splits_and_merges(compare(truth, boxes((0, 0, 9.5, 10), *specks, *slices)))
        assert split.tolist() == [False, True]
        assert not merged.any()

    def test_of_equal_shares_the_smaller_object(self) -> None:
        truth = boxes((0, 0, 10, 10))
        prediction = boxes((-10, 0, 5, 10), (5, 0, 10, 10))
        _, under = segmentation_errors(compare(truth, prediction))
        assert under.tolist() == [0.0]


class TestOutlines:
    def test_a_frame_of_one_metre(self) -> None:
        inner, outer = boxes((1, 1, 9, 9)), boxes((0, 0, 10, 10))
        mean, far = outline_distances(inner, outer)
        # From the inside always 1; from the outside 1 but for the corners, where it goes up to the diagonal.
        edge = np.linspace(0, 10, 20_001)
        corner = np.hypot(1, np.clip(np.maximum(1 - edge, edge - 9), 0, None))
        assert mean[0] == pytest.approx((1 + corner.mean()) / 2, rel=2e-3)
        assert far[0] == pytest.approx(np.percentile(corner, 95), rel=0.05)

    def test_the_same_is_no_distance_apart(self) -> None:
        ring = shapely.box(0, 0, 10, 10).difference(shapely.box(4, 4, 6, 6))
        several = shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 0, 9, 1)])
        shapes = np.array([ring, several], object)
        assert_allclose(outline_distances(shapes, shapes), 0.0, atol=1e-12)

    def test_holes_count(self) -> None:
        whole = boxes((0, 0, 30, 30))
        ring = np.array([whole[0].difference(shapely.box(10, 10, 20, 20))], object)
        mean, far = outline_distances(whole, ring)
        assert far[0] == pytest.approx(10.0, abs=1.0)
        # A quarter of the ring's outline is its hole, 10 away from the outside.
        assert mean[0] == pytest.approx((0 + 0.25 * 10) / 2, rel=0.05)

    @settings(deadline=None, max_examples=40)
    @given(one=polygon, other=polygon)
    def test_close_to_dense_sampling(self, one: Any, other: Any) -> None:
        def sampled(a: Any, b: Any) -> np.ndarray:
            steps = (np.arange(4000) + 0.5) / 4000
            return shapely.distance(
                shapely.line_interpolate_point(a.exterior, steps, normalized=True), b.exterior
            )

        mean, far = outline_distances(np.array([one], object), np.array([other], object))
        there, back = sampled(one, other), sampled(other, one)
        size = max(one.length, other.length)
        assert mean[0] == pytest.approx((there.mean() + back.mean()) / 2, abs=size / 64)
        wanted = max(np.percentile(there, 95), np.percentile(back, 95))
        assert far[0] == pytest.approx(wanted, abs=size / 32)
