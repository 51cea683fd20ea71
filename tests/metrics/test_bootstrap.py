"""Intervals against what statistics says of simple cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from geoseg.metrics.bootstrap import interval, resample


def test_as_many_blocks_as_there_are() -> None:
    draws = resample({i: np.array([[1, 2], [3, 0]]) for i in range(12)})
    assert draws is not None
    assert_array_equal(draws, np.broadcast_to([[12.0, 24.0], [36.0, 0.0]], (1000, 2, 2)))


def test_too_few_blocks() -> None:
    assert resample({i: np.ones(2) for i in range(9)}) is None
    assert resample({i: np.ones(2) for i in range(10)}) is not None
    assert resample({}, among=dict.fromkeys(range(20))) is None


def test_the_same_draws_every_time_and_in_any_order() -> None:
    rng = np.random.default_rng(1)
    blocks = {(i, j): rng.integers(0, 9, 3) for i in range(4) for j in range(4)}
    backwards = dict(reversed(blocks.items()))
    assert_array_equal(resample(blocks), resample(backwards))


def test_tables_drawn_among_the_same_blocks_are_paired() -> None:
    rng = np.random.default_rng(2)
    one = {i: rng.integers(0, 99, 2) for i in range(30)}
    other = {i: values + np.array([5, 7]) for i, values in one.items() if i < 20}
    here, there = resample(one), resample(other, among=one)
    assert here is not None
    assert there is not None
    only = {i: one[i] for i in range(20)}
    same = resample(only, among=one)
    assert same is not None
    # Each draw of ``other`` is that of the blocks it shares plus 5 and 7 for each of them.
    assert_array_equal((there - same)[:, 0] * 7, (there - same)[:, 1] * 5)
    assert here.shape == (1000, 2)


def test_interval_of_a_mean_is_the_textbook_one() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(10.0, 2.0, 400)
    draws = resample({i: np.array([value, 1.0]) for i, value in enumerate(values)})
    assert draws is not None
    found = interval(draws[:, 0] / draws[:, 1])
    assert found is not None
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found == pytest.approx((values.mean() - half, values.mean() + half), abs=0.25 * half)


def test_interval_leaves_nan_out() -> None:
    assert interval(np.full(5, np.nan)) is None
    assert interval(np.array([1.0, np.nan, 1.0])) == (1.0, 1.0)
