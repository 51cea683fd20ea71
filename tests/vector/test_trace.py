"""Outlines against brute force: flood fill, burning back, and GEOS's own idea of a coverage."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from rasterio.features import rasterize

from geoseg.raster.gdal import quiet
from geoseg.vector import trace as trace_module
from geoseg.vector.trace import Regions, trace

IDS = arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 1, 2, 255])
)
TWO_IDS = arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 1))


def flood(ids: NDArray[np.uint8]) -> tuple[NDArray[np.int64], int]:
    """Label 4-connected regions from 0 in row-major order of their first pixels, one pixel at a time."""
    labels = np.full(ids.shape, -1)
    count = 0
    for start in np.ndindex(*ids.shape):
        if labels[start] >= 0:
            continue
        labels[start] = count
        queue = deque([start])
        while queue:
            row, col = queue.popleft()
            for near in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
                inside = 0 <= near[0] < ids.shape[0] and 0 <= near[1] < ids.shape[1]
                if inside and labels[near] < 0 and ids[near] == ids[start]:
                    labels[near] = count
                    queue.append(near)
        count += 1
    return labels, count


def burn(regions: Regions, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Index of the region whose polygon covers each pixel's centre; -1 where none does."""
    with quiet():
        burned = rasterize(
            zip(regions.polygons, range(len(regions)), strict=True), shape, fill=-1, dtype="int32"
        )
    return burned.astype(np.int64)


def check(ids: NDArray[np.uint8]) -> None:
    regions = trace(ids)
    labels, count = flood(ids)
    assert len(regions) == count
    np.testing.assert_array_equal(burn(regions, ids.shape), labels)
    np.testing.assert_array_equal(shapely.area(regions.polygons), np.bincount(labels.ravel()))
    np.testing.assert_array_equal(regions.class_id[labels], ids)
    assert shapely.is_valid(regions.polygons).all()
    assert shapely.coverage_is_valid(regions.polygons)
    at_edge = np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))
    np.testing.assert_array_equal(np.flatnonzero(regions.touches_edge), at_edge)


@given(IDS)
@settings(max_examples=150, deadline=None)
def test_regions_are_the_flooded_ones(ids: NDArray[np.uint8]) -> None:
    check(ids)


@given(TWO_IDS)
@settings(max_examples=150, deadline=None)
def test_regions_of_two_classes_full_of_crossings(ids: NDArray[np.uint8]) -> None:
    check(ids)


@given(ids=IDS, rows=st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_rows_at_once_do_not_matter(ids: NDArray[np.uint8], rows: int) -> None:
    whole = trace(ids)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace_module, "_ROWS_AT_ONCE", rows)
        patch.setattr("geoseg.vector.regions._ROWS_AT_ONCE", rows)
        cut = trace(ids)
    assert shapely.to_wkb(cut.polygons).tolist() == shapely.to_wkb(whole.polygons).tolist()


def test_pixels_that_touch_at_a_corner_stay_apart() -> None:
    regions = trace(np.array([[1, 0], [0, 1]], np.uint8))
    assert regions.class_id.tolist() == [1, 0, 0, 1]
    assert shapely.area(regions.polygons).tolist() == [1.0] * 4


def test_hole_that_touches_the_outline_is_a_hole() -> None:
    ids = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)
    regions = trace(ids)
    ring = regions.polygons[1]
    assert regions.class_id.tolist() == [0, 1, 0]
    assert len(ring.interiors) == 1
    assert ring.area == 7
    assert ring.is_valid
    check(ids)
    check(ids[:, ::-1].copy())


def test_two_holes_that_touch_are_two_holes() -> None:
    ids = np.ones((4, 4), np.uint8)
    ids[1, 1] = ids[2, 2] = 0
    ring = trace(ids).polygons[0]
    assert len(ring.interiors) == 2
    check(ids)
    check(ids[:, ::-1].copy())


def test_only_corners_and_meeting_points_are_vertices() -> None:
    ids = np.zeros((4, 9), np.uint8)
    ids[2:, :4] = 1
    ids[2:, 4:] = 2
    above, left, right = trace(ids).polygons
    assert shapely.get_num_coordinates([above, left, right]).tolist() == [6, 5, 5]
    assert shapely.Point(4, 2).intersects(shapely.MultiPoint(above.exterior.coords))


def test_one_pixel() -> None:
    regions = trace(np.array([[7]], np.uint8))
    assert regions.class_id.tolist() == [7]
    assert regions.polygons[0].equals(shapely.box(0, 0, 1, 1))


def test_spiral_is_one_region() -> None:
    ids = np.zeros((41, 41), np.uint8)
    row, col, step, heading = 20, 20, 2, 0
    while 0 < row < 40 and 0 < col < 40:
        for _ in range(step):
            ids[row, col] = 1
            row, col = row + (0, 1, 0, -1)[heading], col + (1, 0, -1, 0)[heading]
            if not (0 <= row < 41 and 0 <= col < 41):
                break
        heading = (heading + 1) % 4
        step += heading % 2 * 2
    check(ids)
