"""Outlines against brute force: flood fill, burning back, GDAL's polygons, and GEOS's own idea of a
coverage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_rasters import AROUND, bands, flood, traced
from numpy.typing import NDArray
from rasterio.features import rasterize

from geoseg.raster.gdal import quiet
from geoseg.vector.outlines import Outlines
from geoseg.vector.trace import trace

SHAPE = st.tuples(st.integers(1, 12), st.integers(1, 12))
LABELS = arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 2, 255]))
# Two labels make crossings, where pixels of one label touch at a corner, in every other place.
TWO_LABELS = arrays(np.int32, SHAPE, elements=st.sampled_from([-1, 70_000]))
EITHER = st.one_of(LABELS, TWO_LABELS)
ROWS = st.integers(1, 13)


def whole(labels: NDArray[Any], **options: Any) -> Outlines:
    """Outlines of labels in one band."""
    (outlines,) = traced(labels, **options)
    return outlines


def all_of(parts: list[Outlines], name: str) -> NDArray[Any]:
    """An attribute of all regions."""
    return np.concatenate([getattr(part, name) for part in parts])


def polygons(parts: list[Outlines]) -> NDArray[np.object_]:
    return np.concatenate([part.polygons() for part in parts])


@given(labels=EITHER, rows=ROWS)
@settings(max_examples=250, deadline=None)
def test_regions_are_the_flooded_ones(labels: NDArray[Any], rows: int) -> None:
    parts = traced(labels, rows)
    numbers, count = flood(labels)
    shapes = polygons(parts)
    first = all_of(parts, "first_pixel")
    region = numbers.ravel()[first]
    assert sorted(region) == list(range(count))
    assert (np.array([np.flatnonzero(numbers == n)[0] for n in region]) == first).all()
    with quiet():
        burned = rasterize(zip(shapes, region, strict=True), labels.shape, fill=-1, dtype="int32")
    np.testing.assert_array_equal(burned, numbers)
    sizes = np.bincount(numbers.ravel())[region]
    np.testing.assert_array_equal(all_of(parts, "area"), sizes)
    np.testing.assert_array_equal(shapely.area(shapes), sizes)
    np.testing.assert_array_equal(all_of(parts, "value"), labels.ravel()[first])
    assert shapely.is_valid(shapes).all()
    assert shapely.coverage_is_valid(shapes)
    edge = set(np.concatenate([numbers[0], numbers[-1], numbers[:, 0], numbers[:, -1]]).tolist())
    assert set(region[all_of(parts, "touches_edge")].tolist()) == edge
    last = [np.nonzero(numbers == n)[0].max() for n in region]
    np.testing.assert_array_equal(all_of(parts, "last_row"), last)
    assert list(zip(last, first.tolist(), strict=True)) == sorted(zip(last, first.tolist(), strict=True))


@given(labels=EITHER, rows=ROWS)
@settings(max_examples=150, deadline=None)
def test_cutting_into_bands_changes_no_byte(labels: NDArray[Any], rows: int) -> None:
    expected = shapely.to_wkb(whole(labels).polygons()).tolist()
    assert shapely.to_wkb(polygons(traced(labels, rows))).tolist() == expected


GDAL_POLYGONS = """
import sys, numpy as np, rasterio.features
from shapely.geometry import shape
for name, labels in np.load(sys.argv[1]).items():
    for outline, value in rasterio.features.shapes(labels):
        print(name, int(value), shape(outline).normalize().wkb_hex)
"""


def test_same_rings_as_gdal(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    rasters = {}
    for number in range(200):
        height, width, kinds = rng.integers(1, 24), rng.integers(1, 24), rng.integers(1, 5)
        rasters[str(number)] = rng.integers(0, kinds, (height, width), np.uint8)
    np.savez(tmp_path / "labels.npz", **rasters)
    # In a process of its own: geoseg takes the driver out that this needs.
    done = subprocess.run(
        [sys.executable, "-c", GDAL_POLYGONS, str(tmp_path / "labels.npz")],
        capture_output=True,
        text=True,
        check=True,
    )
    ours = []
    for name, labels in rasters.items():
        parts = traced(labels, 1 + int(name) % 9)
        # Where three regions meet, ours have a vertex, on a straight line too.
        bare = shapely.to_wkb(shapely.normalize(shapely.simplify(polygons(parts), 0.0)), hex=True)
        ours += [f"{name} {value} {wkb}" for value, wkb in zip(all_of(parts, "value"), bare, strict=True)]
    assert sorted(ours) == sorted(done.stdout.split("\n")[:-1])


@given(labels=EITHER, rows=ROWS)
@settings(max_examples=100, deadline=None)
def test_unwanted_regions_are_left_out_and_change_nothing(labels: NDArray[Any], rows: int) -> None:
    dull = labels.ravel()[0]
    every = traced(labels, rows)
    wanted = [
        shape for shape, value in zip(polygons(every), all_of(every, "value"), strict=True) if value != dull
    ]
    some = polygons(traced(labels, rows, wanted=lambda values: values != dull))
    assert shapely.to_wkb(some).tolist() == [shapely.to_wkb(shape) for shape in wanted]


@given(labels=EITHER, rows=ROWS)
@settings(max_examples=150, deadline=None)
def test_features_by_corners_are_flooded_across_corners(labels: NDArray[Any], rows: int) -> None:
    parts = traced(labels, rows, by_corners=True)
    numbers, count = flood(labels, AROUND)
    found = [
        part.first_pixel[begin:end]
        for part in parts
        for begin, end in zip(part.features[:-1], part.features[1:], strict=True)
    ]
    assert len(found) == count
    for regions in found:
        assert len(set(numbers.ravel()[regions].tolist())) == 1
    by_sides = sorted(shapely.to_wkb(polygons(traced(labels, rows))).tolist())
    assert sorted(shapely.to_wkb(polygons(parts)).tolist()) == by_sides
    order = [(numbers.ravel()[regions[0]]) for regions in found]
    last = [int(np.nonzero(numbers == n)[0].max()) for n in order]
    first = [int(regions.min()) for regions in found]
    assert list(zip(last, first, strict=True)) == sorted(zip(last, first, strict=True))


@given(labels=EITHER, rows=ROWS, seed=st.integers(0, 99))
@settings(max_examples=100, deadline=None)
def test_values_are_summed_up_by_region(labels: NDArray[Any], rows: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 9, labels.shape).astype(np.float32)
    values[rng.random(labels.shape) < 0.3] = np.nan
    parts = list(trace(bands(labels, rows, values)))
    numbers, _ = flood(labels)
    for first, total, count, least in zip(
        *(all_of(parts, name).tolist() for name in ("first_pixel", "total", "known", "least")), strict=True
    ):
        own = values[numbers == numbers.ravel()[first]]
        own = own[np.isfinite(own)]
        assert (total, count, least) == (own.sum(), len(own), own.min(initial=np.inf))


def test_rings_turn_the_way_asked_for() -> None:
    labels = np.zeros((5, 5), np.uint8)
    labels[1:4, 1:4] = 1
    labels[2, 2] = 2
    for clockwise in (True, False):
        for shape in whole(labels, clockwise=clockwise).polygons():
            # Seen as a raster is, with y downwards, counter-clockwise by coordinates is clockwise.
            assert shape.exterior.is_ccw == clockwise
            assert all(ring.is_ccw != clockwise for ring in shape.interiors)


def test_pixels_that_touch_at_a_corner_stay_apart() -> None:
    outlines = whole(np.array([[1, 0], [0, 1]], np.uint8))
    assert sorted(outlines.value.tolist()) == [0, 0, 1, 1]
    assert outlines.area.tolist() == [1] * 4


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("flip", [1, -1])
def test_hole_that_touches_the_outline_is_a_hole(rows: int, flip: int) -> None:
    labels = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 1]], np.uint8)[:, ::flip]
    parts = traced(labels, rows)
    (ring,) = polygons(parts)[all_of(parts, "value") == 1]
    assert len(ring.interiors) == 1
    assert ring.area == 7
    assert ring.is_valid


@pytest.mark.parametrize("rows", [1, 2, 4])
def test_two_holes_that_touch_are_two_holes(rows: int) -> None:
    labels = np.ones((4, 4), np.uint8)
    labels[1, 1] = labels[2, 2] = 0
    parts = traced(labels, rows)
    (ring,) = polygons(parts)[all_of(parts, "value") == 1]
    assert len(ring.interiors) == 2


def test_only_corners_and_meeting_points_are_vertices() -> None:
    labels = np.zeros((4, 9), np.uint8)
    labels[2:, :4] = 1
    labels[2:, 4:] = 2
    for rows in (1, 2, 4):
        above, left, right = polygons(traced(labels, rows))
        assert shapely.get_num_coordinates([above, left, right]).tolist() == [6, 5, 5]
        assert shapely.Point(4, 2).intersects(shapely.MultiPoint(above.exterior.coords))


def spiral(size: int = 41) -> NDArray[np.uint8]:
    """A line of one pixel that winds outwards."""
    labels = np.zeros((size, size), np.uint8)
    row = col = size // 2
    step, heading = 2, 0
    while True:
        for _ in range(step):
            labels[row, col] = 1
            row, col = row + (0, 1, 0, -1)[heading], col + (1, 0, -1, 0)[heading]
            if not (0 <= row < size and 0 <= col < size):
                return labels
        heading = (heading + 1) % 4
        step += heading % 2 * 2


@pytest.mark.parametrize("rows", [1, 7, 41])
def test_spiral_is_one_region(rows: int) -> None:
    labels = spiral()
    parts = traced(labels, rows)
    assert all_of(parts, "value").tolist().count(1) == 1
    np.testing.assert_array_equal(
        rasterize(zip(polygons(parts), all_of(parts, "value"), strict=True), labels.shape), labels
    )


def test_more_columns_than_sixteen_bits_count() -> None:
    labels = np.zeros((3, 70_001), np.uint8)
    labels[1, [5, 65_541, 70_000]] = 1
    parts = traced(labels, 2)
    ones = polygons(parts)[all_of(parts, "value") == 1]
    assert shapely.bounds(ones)[:, 0].tolist() == [5.0, 65_541.0, 70_000.0]
    assert all_of(parts, "area").sum() == labels.size


def test_regions_that_ended_are_not_waited_for() -> None:
    """The outlines of a band come while the next band is looked at, and none further on."""
    labels = np.repeat(np.arange(8, dtype=np.uint8), 2)[:, None] * np.ones((1, 5), np.uint8)
    asked: list[int] = []

    def watched() -> Any:
        for band in bands(labels, 2):
            asked.append(band.top)
            yield band

    for number, outlines in enumerate(trace(watched())):
        assert outlines.value.tolist() == ([number - 1] if 0 < number < 7 else [6, 7] if number else [])
        assert len(asked) <= number + 2
