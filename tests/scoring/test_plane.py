"""Areas and lengths on the plane against those on the ellipsoid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from rasterio.crs import CRS
from scenes import north_up

from geoseg.raster.geobox import GeoBox
from geoseg.scoring.plane import Plane

GEOD = pyproj.Geod(ellps="WGS84")
NOWHERE = Path("mask.tif")


def box(crs: str | None, transform: Affine, shape: tuple[int, int] = (100, 100)) -> GeoBox:
    return GeoBox(crs=None if crs is None else CRS.from_string(crs), transform=transform, shape=shape)


@pytest.mark.parametrize("lat", [0.0, 47.0, -71.0])
def test_degrees_become_metres(lat: float) -> None:
    plane = Plane.of(box("EPSG:4326", Affine(1e-4, 0, 15.0, 0, -1e-4, lat)), NOWHERE)
    field = np.array([shapely.box(15.002, lat - 0.007, 15.006, lat - 0.004)])
    on_plane = plane.put(shapely.segmentize(field, 1e-4), pyproj.CRS("EPSG:4326"))
    area, length = GEOD.geometry_area_perimeter(field[0])
    assert plane.metric
    assert shapely.area(on_plane)[0] * plane.unit_m**2 == pytest.approx(abs(area), rel=1e-5)
    assert shapely.length(on_plane)[0] * plane.unit_m == pytest.approx(length, rel=1e-4)
    assert shapely.equals_exact(
        plane.back(on_plane), shapely.segmentize(field, 1e-4), tolerance=2e-8
    ).all()  # 2 mm


def test_web_mercator_metres_are_none() -> None:
    x, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(10.0, 60.0)
    plane = Plane.of(box("EPSG:3857", Affine(1, 0, x, 0, -1, y)), NOWHERE)
    square = np.array([shapely.box(x, y - 50, x + 40, y - 10)])
    area = plane.unit_m**2 * shapely.area(plane.put(square, pyproj.CRS(3857)))[0]
    assert area == pytest.approx(1600 / 4, rel=0.01)  # the scale is 2 at 60 degrees
    assert plane.gsd == pytest.approx(0.5, rel=0.01)


def test_a_map_true_to_scale_is_taken_as_it_is() -> None:
    plane = Plane.of(box("EPSG:32633", north_up()), NOWHERE)
    square = np.array([shapely.box(500_000, 4_999_000, 500_100, 4_999_100)])
    assert plane.put(square, pyproj.CRS("EPSG:32633"))[0] is square[0]
    assert (plane.metric, plane.unit_m, plane.gsd) == (True, 1.0, 0.5)


def test_feet() -> None:
    plane = Plane.of(box("EPSG:2263", Affine(1, 0, 980_000, 0, -1, 200_000)), NOWHERE)
    assert plane.metric
    assert plane.unit_m == pytest.approx(0.3048, rel=1e-4)


def test_without_crs_there_are_no_metres() -> None:
    plane = Plane.of(box(None, Affine.identity()), NOWHERE)
    assert not plane.metric
    square = np.array([shapely.box(0, 0, 1, 1)])
    assert plane.put(square, None)[0].equals(square[0])


def test_around_bounds_of_no_size() -> None:
    plane = Plane.around((15.0, 47.0, 15.0, 47.0), pyproj.CRS("EPSG:4326"), NOWHERE)
    assert plane.metric
