"""Bytes of polygons made without GEOS, against those GEOS makes."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.vector.wkb import PackedWkb, pack_multi_wkb, pack_wkb

NUMBER = st.floats(allow_nan=False, allow_infinity=False, width=64)


@st.composite
def rings(draw: st.DrawFn) -> list[tuple[float, float]]:
    points = draw(st.lists(st.tuples(NUMBER, NUMBER), min_size=3, max_size=9))
    return [*points, points[0]]


POLYGON = st.builds(
    lambda lines: shapely.Polygon(lines[0], lines[1:]) if lines else shapely.Polygon(),
    st.lists(rings(), max_size=4),
)
POLYGONS = st.lists(POLYGON, max_size=8)


def objects(values: list[shapely.Geometry]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@given(polygons=POLYGONS, begin=st.integers(0, 4), count=st.integers(0, 8))
@settings(max_examples=300, deadline=None)
def test_polygons_as_geos_writes_them(polygons: list[shapely.Polygon], begin: int, count: int) -> None:
    array = objects([*polygons, shapely.box(0, 0, 1, 1)])
    _, points, (ring_offsets, polygon_offsets) = shapely.to_ragged_array(array)
    expected = shapely.to_wkb(array).tolist()
    packed = pack_wkb(points, ring_offsets, polygon_offsets)
    assert packed.unpack().tolist() == expected
    assert packed.data.dtype == np.uint8
    assert packed.offsets.dtype == np.int64
    part = slice(min(begin, len(array)), min(begin + count, len(array)))
    some = pack_wkb(points, ring_offsets, polygon_offsets[part.start : part.stop + 1])
    assert some.unpack().tolist() == expected[part]


@given(features=st.lists(POLYGONS, max_size=6), begin=st.integers(0, 4), count=st.integers(0, 6))
@settings(max_examples=300, deadline=None)
def test_multipolygons_as_geos_writes_them(
    features: list[list[shapely.Polygon]], begin: int, count: int
) -> None:
    # GEOS forgets empty parts when it makes arrays of multipolygons, so there are none here.
    parts = [[each for each in feature if not each.is_empty] for feature in features]
    array = objects([shapely.MultiPolygon(feature) for feature in [*parts, [shapely.box(0, 0, 1, 1)]]])
    _, points, offsets = shapely.to_ragged_array(array)
    expected = shapely.to_wkb(array).tolist()
    assert pack_multi_wkb(points, *offsets).unpack().tolist() == expected
    part = slice(min(begin, len(array)), min(begin + count, len(array)))
    some = pack_multi_wkb(points, *offsets[:2], offsets[2][part.start : part.stop + 1])
    assert some.unpack().tolist() == expected[part]


def test_nothing_is_no_bytes() -> None:
    none = np.zeros(1, np.int64)
    assert pack_wkb(np.empty((0, 2)), none, none).unpack().tolist() == []
    assert pack_multi_wkb(np.empty((0, 2)), none, none, none).unpack().tolist() == []
    assert PackedWkb.of([]).unpack().tolist() == []


def test_integers_and_views_are_taken_as_coordinates() -> None:
    corners = np.array([[0, 0], [0, 3], [3, 3], [0, 0]])
    expected = shapely.to_wkb(shapely.Polygon(corners))
    for points in (corners, corners.astype(np.float32), np.asfortranarray(corners, np.float64)):
        packed = pack_wkb(points, np.array([0, 4], np.uint32), np.array([0, 1], np.int32))
        assert packed.unpack().tolist() == [expected]


def test_single_bytes_are_packed() -> None:
    wkb = shapely.to_wkb(shapely.box([0, 1], 0, [2, 4], 3))
    packed = PackedWkb.of(wkb)
    assert packed.unpack().tolist() == wkb.tolist()
    assert packed.offsets.tolist() == [0, 93, 186]
