"""Regions grow as Dijkstra says, in bands as in the whole, and meet on the ridge."""

from __future__ import annotations

import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from geoseg.vector.grow import MAX_COST, boundary_cost, grow

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def grounds(
    draw: st.DrawFn, shapes: st.SearchStrategy[tuple[int, int]] = SHAPES
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.uint8] | None]:
    shape = draw(shapes)
    seeds = draw(arrays(np.int32, shape, elements=st.sampled_from([0, 0, 0, 0, 1, 2, 7, 2**31 - 1])))
    open_ = draw(arrays(np.bool_, shape, elements=st.sampled_from([True, True, True, False])))
    prices = draw(st.sampled_from([(1, 2), (1, 5), (1, 255), (250, 255), (3, 3)]))
    cost = draw(st.none() | arrays(np.uint8, shape, elements=st.integers(*prices)))
    return seeds, open_, cost


def dijkstra(
    seeds: NDArray[np.int32], open_: NDArray[np.bool_], cost: NDArray[np.uint8] | None, limit: int
) -> NDArray[np.int32]:
    """One pixel after the other, the cheapest first and of equally cheap ones that of the smaller region."""
    grown = np.zeros_like(seeds)
    queue = [(0, int(seeds[place]), place) for place in np.ndindex(seeds.shape) if seeds[place]]
    heapq.heapify(queue)
    while queue:
        reached, region, (row, col) = heapq.heappop(queue)
        if grown[row, col]:
            continue
        grown[row, col] = region
        for place in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
            if min(place) < 0 or place[0] >= len(seeds) or place[1] >= seeds.shape[1]:
                continue
            price = reached + (1 if cost is None else int(cost[place]))
            if open_[place] and not seeds[place] and price <= limit:
                heapq.heappush(queue, (price, region, place))
    return grown


@given(ground=grounds(), limit=st.sampled_from([0, 1, 2, 5, 40, 300, 10_000]))
@settings(max_examples=300, deadline=None)
def test_same_as_dijkstra(
    ground: tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.uint8] | None], limit: int
) -> None:
    before = [None if part is None else part.copy() for part in ground]
    np.testing.assert_array_equal(grow(*ground, limit), dijkstra(*ground, limit))
    for part, old in zip(ground, before, strict=True):
        np.testing.assert_array_equal(part, old)


@given(
    ground=grounds(st.tuples(st.integers(6, 40), st.integers(1, 9))),
    limit=st.integers(1, 9),
    rows=st.integers(1, 12),
)
@settings(max_examples=200, deadline=None)
def test_bands_with_as_many_rows_more_as_the_limit_give_what_the_whole_gives(
    ground: tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.uint8] | None], limit: int, rows: int
) -> None:
    whole = grow(*ground, limit)
    for top in range(0, len(whole), rows):
        first, last = max(0, top - limit), min(len(whole), top + rows + limit)
        band = grow(*(None if part is None else part[first:last] for part in ground), limit)  # type: ignore[arg-type]
        np.testing.assert_array_equal(band[top - first :][:rows], whole[top : top + rows])


def test_the_nearest_gets_it_and_of_two_the_smaller() -> None:
    seeds = np.array([[5, 0, 0, 0, 0, 0, 3]], np.int32)
    every = np.ones((1, 7), bool)
    assert grow(seeds, every, None, 9).tolist() == [[5, 5, 5, 3, 3, 3, 3]]
    assert grow(seeds, every, None, 2).tolist() == [[5, 5, 5, 0, 3, 3, 3]]
    # A wall keeps its side from the other.
    assert grow(seeds, np.arange(7) != 2, None, 9).tolist() == [[5, 5, 0, 3, 3, 3, 3]]


def test_a_detour_over_cheap_pixels_is_taken() -> None:
    seeds = np.zeros((2, 8), np.int32)
    seeds[0, 0], seeds[0, 7] = 1, 2
    cost = np.ones((2, 8), np.uint8)
    cost[0, 6] = 50
    one_row, every = np.array([[True] * 8, [False] * 8]), np.ones((2, 8), bool)
    assert grow(seeds, one_row, cost, 1000)[0].tolist() == [1, 1, 1, 1, 1, 1, 2, 2]
    assert grow(seeds, every, cost, 1000).tolist() == [[1, 1, 1, 1, 1, 2, 2, 2], [1, 1, 1, 1, 2, 2, 2, 2]]


def test_nothing_to_grow() -> None:
    empty = np.zeros((0, 4), np.int32)
    assert grow(empty, empty > 0, None, 5).shape == (0, 4)
    seeds = np.array([[0, 0], [0, 4]], np.int32)
    for open_ in (seeds == 9, seeds == 4):
        np.testing.assert_array_equal(grow(seeds, open_, None, 5), seeds)
    no_seeds = np.zeros((2, 2), np.int32)
    np.testing.assert_array_equal(grow(no_seeds, no_seeds == 0, None, 5), no_seeds)


def test_what_cannot_be_is_refused() -> None:
    seeds, every = np.array([[1, 0]], np.int32), np.ones((1, 2), bool)
    with pytest.raises(ValueError, match="costs 1 or above"):
        grow(seeds, every, np.zeros((1, 2), np.uint8), 5)
    with pytest.raises(ValueError, match="seeds are 0 or above"):
        grow(-seeds, every, None, 5)


def test_parts_of_larger_arrays_do_as_well() -> None:
    rng = np.random.default_rng(0)
    seeds = (rng.integers(0, 30, (40, 60)) * (rng.random((40, 60)) < 0.1)).astype(np.int32)
    open_, cost = rng.random((40, 60)) < 0.8, rng.integers(1, 30, (40, 60)).astype(np.uint8)
    part = np.s_[5:30:1, 50:10:-2]
    expected = grow(seeds[part].copy(), open_[part].copy(), cost[part].copy(), 60)
    np.testing.assert_array_equal(grow(seeds[part], open_[part], cost[part], 60), expected)


def test_costs_rise_with_the_probability_and_nodata_is_dearest() -> None:
    cost = boundary_cost(np.arange(256, dtype=np.uint8).reshape(16, 16)).ravel()
    assert cost.dtype == np.uint8
    assert (cost[0], cost[254], cost[255]) == (1, MAX_COST, MAX_COST)
    assert (np.diff(cost.astype(int)) >= 0).all()


def test_fronts_meet_on_the_ridge_of_the_boundary() -> None:
    """The border lies at column 12 of an open band from 3 to 15: by distance it would be at 9."""
    rng = np.random.default_rng(0)
    seeds = np.zeros((60, 20), np.int32)
    seeds[:, :3], seeds[:, 16:] = 1, 2
    probability = np.exp(-(((np.arange(20) - 11.5) / 2.5) ** 2)) * 0.6 + 0.3 + rng.normal(0, 0.03, (60, 20))
    cost = boundary_cost(np.round(254 * probability.clip(0, 1)).astype(np.uint8))
    truth = np.where(np.arange(20) < 12, 1, 2)
    open_ = seeds == 0
    by_cost, by_distance = grow(seeds, open_, cost, 500), grow(seeds, open_, None, 500)
    assert (by_cost == truth)[open_].mean() > 0.95
    assert (by_distance == truth)[open_].mean() < 0.85
