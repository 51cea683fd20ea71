"""Rims against the definition, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.chips.rim import ignore_rim


def by_definition(labels: np.ndarray, width_px: int, boundary: int | None) -> np.ndarray:
    wanted = labels.copy()
    height, width = labels.shape
    known = (labels != 255) & (labels != (255 if boundary is None else boundary))
    for row, col in np.argwhere(known):
        for other_row in range(max(0, row - width_px), min(height, row + width_px + 1)):
            for other_col in range(max(0, col - width_px), min(width, col + width_px + 1)):
                if known[other_row, other_col] and labels[other_row, other_col] != labels[row, col]:
                    wanted[row, col] = 255
    return wanted


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12), st.integers(0, 4),
    st.sampled_from([None, 0, 2]),
)  # fmt: skip
def test_rims_are_those_of_the_definition(
    seed: int, height: int, width: int, width_px: int, boundary: int | None
) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.choice(np.array([0, 1, 2, 253, 255], np.uint8), (height, width)), 2, axis=1)
    before = labels.copy()
    np.testing.assert_array_equal(
        ignore_rim(labels, width_px, boundary), by_definition(labels, width_px, boundary)
    )
    np.testing.assert_array_equal(labels, before)


@pytest.mark.parametrize("width_px", [1, 3])
def test_a_straight_border_loses_so_many_pixels_on_each_side(width_px: int) -> None:
    labels = np.zeros((8, 20), np.uint8)
    labels[:, 10:] = 1
    found = ignore_rim(labels, width_px)
    assert (found == 255).sum(axis=1).tolist() == [2 * width_px] * 8
    assert np.flatnonzero(found[0] == 255).tolist() == list(range(10 - width_px, 10 + width_px))


def test_edges_and_unknown_land_are_no_border() -> None:
    labels = np.full((9, 9), 1, np.uint8)
    labels[3:5, 3:5] = 255
    assert ignore_rim(labels, 3) is not labels
    np.testing.assert_array_equal(ignore_rim(labels, 3), labels)


def test_the_boundary_class_stays_and_so_does_the_land_beside_it() -> None:
    labels = np.ones((6, 11), np.uint8)
    labels[:, 5] = 2
    np.testing.assert_array_equal(ignore_rim(labels, 2, boundary=2), labels)
    assert (ignore_rim(labels, 2) == 255).sum(axis=1).tolist() == [5] * 6
