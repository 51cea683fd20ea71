"""No gap, no overlap, whatever the tolerance."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from geoseg.vector.simplify import simplify
from geoseg.vector.trace import trace

IDS = arrays(
    np.uint8,
    st.tuples(st.integers(2, 14), st.integers(2, 14)),
    elements=st.sampled_from([0, 0, 0, 1, 1, 255]),
)


@given(ids=IDS, tolerance_px=st.sampled_from([0.0, 1.0, 2.0, 3.0, 8.0]))
@settings(max_examples=150, deadline=None)
def test_regions_still_cover_the_raster_once(ids: NDArray[np.uint8], tolerance_px: float) -> None:
    simple = simplify(trace(ids).polygons, tolerance_px)
    assert shapely.is_valid(simple).all()
    assert not shapely.is_empty(simple).any()
    assert set(shapely.get_type_id(simple).tolist()) == {shapely.GeometryType.POLYGON}
    assert shapely.coverage_is_valid(simple)
    assert shapely.area(simple).sum() == pytest.approx(ids.size, rel=1e-12)
    assert shapely.area(shapely.union_all(simple)) == pytest.approx(ids.size, rel=1e-12)


def parcels(size: int = 120) -> NDArray[np.uint8]:
    """Slanted parcels of three classes in a nodata frame, with a hole of nodata."""
    y, x = np.mgrid[:size, :size]
    ids = (((3 * x + 2 * y) // 60) % 3).astype(np.uint8)
    ids[(x + y < 30) | (x - y > 90) | ((x - 70) ** 2 + (y - 70) ** 2 < 80)] = 255
    return ids


def test_stairs_go_and_the_edge_of_the_raster_stays() -> None:
    ids = parcels()
    regions = trace(ids)
    simple = simplify(regions.polygons, 2.0)
    before, after = (int(shapely.get_num_coordinates(p).sum()) for p in (regions.polygons, simple))
    assert after < before / 4
    assert shapely.coverage_is_valid(simple)
    outline = shapely.coverage_union_all(simple)
    assert outline.symmetric_difference(shapely.box(0, 0, 120, 120)).area == 0.0
    # The nodata border is smoothed with its neighbours: no valid land is left without a polygon.
    valid = shapely.union_all(simple[regions.class_id != 255])
    assert valid.area == pytest.approx((ids != 255).sum(), rel=0.01)


def test_zero_keeps_the_pixel_edges() -> None:
    regions = trace(parcels())
    assert simplify(regions.polygons, 0.0) is regions.polygons
