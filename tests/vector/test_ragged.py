"""Measures of rings against GEOS."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.vector.ragged import ring_measures

GRID = st.tuples(st.integers(-50, 50), st.integers(-50, 50))


@given(outlines=st.lists(st.lists(GRID, min_size=3, max_size=12), min_size=1, max_size=8), far=st.booleans())
@settings(max_examples=300, deadline=None)
def test_as_geos_measures_them(outlines: list[list[tuple[int, int]]], far: bool) -> None:
    origin = (500_000.125, 5_000_000.5) if far else (0.0, 0.0)
    rings = [np.array([*outline, outline[0]]) / 8 + origin for outline in outlines]
    offsets = np.cumsum([0, *map(len, rings)])
    areas, lengths = ring_measures(np.concatenate(rings), offsets)
    lines = [shapely.LinearRing(ring) for ring in rings]
    np.testing.assert_allclose(
        np.abs(areas), [shapely.Polygon(ring).area for ring in lines], rtol=0, atol=1e-9
    )
    np.testing.assert_allclose(lengths, shapely.length(lines), rtol=1e-12)
    for area, line in zip(areas, lines, strict=True):
        if line.is_simple and abs(area) > 1e-9:
            assert (area > 0) == line.is_ccw


def test_a_pixel_far_from_the_origin_keeps_its_area() -> None:
    corner = np.array([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]) * 2.0**-10 + (700_000.0, 9_000_000.0)
    areas, lengths = ring_measures(np.concatenate([corner, corner[::-1]]), np.array([0, 5, 10]))
    assert areas.tolist() == [2.0**-20, -(2.0**-20)]
    assert lengths == pytest.approx([2.0**-8, 2.0**-8])


def test_no_rings() -> None:
    assert [len(each) for each in ring_measures(np.empty((0, 2)), np.zeros(1, np.int64))] == [0, 0]
