"""Lines without stairs: no gap, no overlap, nothing lost, and nearer to the truth than the stairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_rasters import flood, traced
from numpy.typing import NDArray

from geoseg.vector.corners import Band
from geoseg.vector.draw import Drawer
from geoseg.vector.outlines import Outlines

LABELS = arrays(
    np.uint8, st.tuples(st.integers(1, 14), st.integers(1, 14)), elements=st.sampled_from([0, 0, 0, 1, 1, 2])
)


def drawn(labels: NDArray[Any], tolerance_px: float, rows: int = 1000, **options: Any) -> list[Outlines]:
    return traced(labels, rows, draw=Drawer(tolerance_px=tolerance_px, **options))


def polygons(parts: list[Outlines]) -> NDArray[np.object_]:
    return np.concatenate([part.polygons() for part in parts])


def shares_of(labels: NDArray[Any], seed: int) -> Any:
    """Random probabilities by which every pixel is most likely what it is."""
    shares = np.random.default_rng(seed).random((3, *labels.shape))
    np.put_along_axis(shares, labels[None].astype(np.int64), 1.0, axis=0)

    def on(band: Band) -> tuple[NDArray[Any], NDArray[np.float64]]:
        rows = [max(band.top - 1, 0), *range(band.top, band.top + band.rows)]
        return band.labels, shares[:, rows]

    return on


@given(
    labels=LABELS,
    tolerance_px=st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.0, 30.0]),
    rows=st.integers(1, 14),
    kind=st.sampled_from(["plain", "smooth", "shares"]),
)
@settings(max_examples=300, deadline=None)
def test_regions_still_cover_the_raster_once(
    labels: NDArray[np.uint8], tolerance_px: float, rows: int, kind: str
) -> None:
    options = {"plain": {}, "smooth": {"rounds": 2}, "shares": {"probabilities": shares_of(labels, 0)}}[kind]
    parts = drawn(labels, tolerance_px, rows, **options)
    shapes = polygons(parts)
    assert len(shapes) == flood(labels)[1]
    assert shapely.is_valid(shapes).all()
    assert not shapely.is_empty(shapes).any()
    assert shapely.coverage_is_valid(shapes)
    assert shapely.area(shapes).sum() == pytest.approx(labels.size, rel=1e-12)
    assert shapely.area(shapely.union_all(shapes)) == pytest.approx(labels.size, rel=1e-12)
    # What is said of the pixels does not depend on how lines are drawn.
    exact = traced(labels, rows)
    for name in ("value", "area", "first_pixel", "last_row", "touches_edge"):
        np.testing.assert_array_equal(
            np.concatenate([getattr(part, name) for part in parts]),
            np.concatenate([getattr(part, name) for part in exact]),
        )


def slanted(size: int = 120) -> NDArray[np.uint8]:
    """Slanted parcels of three classes, with a round hole."""
    y, x = np.mgrid[:size, :size]
    ids = (((3 * x + 2 * y) // 60) % 3).astype(np.uint8)
    ids[(x - 70) ** 2 + (y - 70) ** 2 < 80] = 9
    return ids


def test_stairs_go_and_the_edge_of_the_raster_stays() -> None:
    labels = slanted()
    before, after = polygons(traced(labels)), polygons(drawn(labels, 2.0))
    vertices = [int(shapely.get_num_coordinates(shapes).sum()) for shapes in (before, after)]
    assert vertices[1] < vertices[0] / 10
    outline = shapely.coverage_union_all(after)
    assert outline.symmetric_difference(shapely.box(0, 0, 120, 120)).area == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("degrees", [0.0, 3.0, 17.0, 45.0, 63.4])
def test_slanted_houses_have_four_corners_where_they_were(degrees: float) -> None:
    """Burned by pixel centres and drawn again: the stairs are gone."""
    house = shapely.affinity.rotate(shapely.box(60.3, 50.2, 140.1, 120.4), degrees)
    y, x = np.mgrid[:200, :200] + 0.5
    burned = shapely.contains_xy(house, x.ravel(), y.ravel()).reshape(200, 200)
    regions = drawn(burned.astype(np.uint8), 1.0)[0]
    shape = regions.polygons()[regions.value == 1][0]
    assert len(shape.exterior.coords) <= 7
    assert shape.symmetric_difference(house).area < 0.45 * house.length
    assert shape.length == pytest.approx(house.length, rel=0.02)


def test_houses_keep_their_corners() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[5:15, 8:20] = 1
    labels[20:35, 10:18] = labels[28:35, 18:30] = 1
    parts = drawn(labels, 2.0)[0]
    shapes = parts.polygons()[parts.value == 1]
    assert sorted(shapely.get_num_coordinates(shapes).tolist()) == [5, 7]
    assert sorted(shapely.area(shapes).tolist()) == sorted(parts.area[parts.value == 1].tolist())


def test_lines_run_where_two_classes_are_equally_likely() -> None:
    """A border at x = 10.3: the probability crosses a half there, between the centres at 9.5 and 10.5."""
    x = np.arange(20) + 0.5
    one = np.clip(0.5 + (10.3 - x) * 0.2, 0, 1)
    shares = np.repeat(np.stack([1 - one, one])[:, None], 12, axis=1)
    labels = np.repeat((one > 0.5).astype(np.uint8)[None], 12, axis=0)

    def on(band: Band) -> tuple[NDArray[Any], NDArray[np.float64]]:
        return band.labels, shares[:, [max(band.top - 1, 0), *range(band.top, band.top + band.rows)]]

    for rows in (5, 12):
        parts = drawn(labels, 0.1, rows, probabilities=on)
        shape = polygons(parts)[np.concatenate([part.value for part in parts]) == 1][0]
        inner = [x for x, _ in shape.exterior.coords if 0 < x < 20]
        assert inner
        assert inner == pytest.approx([10.3] * len(inner))


def test_rounding_adds_vertices_and_takes_corners_off() -> None:
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:30] = 1
    plain, rounded = (drawn(labels, 2.0, rounds=rounds)[0] for rounds in (0, 2))
    shapes = [parts.polygons()[parts.value == 1][0] for parts in (plain, rounded)]
    assert shapes[0].area == 400.0
    assert 340.0 < shapes[1].area < 395.0
    assert shapes[1].convex_hull.area == pytest.approx(shapes[1].area)
