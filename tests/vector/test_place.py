"""Metres on the ground, against pyproj and known figures."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pyproj
import pytest
import shapely
from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from scenes import north_up, rotated, some_gcps, south_up

from geoseg.errors import SceneError
from geoseg.raster.geobox import GeoBox
from geoseg.vector.place import Place

MASK = Path("mask.tif")
GEOD = pyproj.Geod(ellps="WGS84")


def place_of(crs: str | None, transform: Affine, shape: tuple[int, int] = (40, 60)) -> Place:
    return Place.of(
        GeoBox(crs=CRS.from_user_input(crs) if crs else None, transform=transform, shape=shape), MASK
    )


def put(place: Place, polygons: np.ndarray) -> np.ndarray:
    """Shapely polygons put on the ground."""
    return shapely.transform(polygons, place.put)


def measure(place: Place, polygons: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Areas and perimeters of shapely polygons on the ground."""
    if not len(polygons):
        return place.measure(np.empty((0, 2)), np.zeros(1, np.int64), np.zeros(1, np.int64))
    _, points, (rings, regions) = shapely.to_ragged_array(polygons)
    return place.measure(points, rings, regions)


def boxes(*bounds: tuple[float, float, float, float]) -> np.ndarray:
    return np.array([shapely.box(*each) for each in bounds], object)


@pytest.mark.parametrize(
    "transform", [north_up(), south_up(), rotated(), Affine(0.1, 0.02, 3.0, 0.03, -0.7, 9.0)]
)
def test_coordinates_are_those_of_the_transform(transform: Affine) -> None:
    placed = put(place_of("EPSG:32633", transform), boxes((3, 4, 9, 6)))[0]
    expected = {transform @ corner for corner in ((3, 4), (9, 4), (9, 6), (3, 6))}
    assert set(placed.exterior.coords) == expected
    clockwise = boxes((3, 4, 9, 6))  # by coordinates; as a raster is seen, counter-clockwise
    flipped = placed.exterior.is_ccw != clockwise[0].exterior.is_ccw
    assert flipped != place_of("EPSG:32633", transform).flips


def test_projected_metres_are_the_map_s() -> None:
    place = place_of("EPSG:32633", rotated())
    area, length = measure(place, put(place, boxes((0, 0, 10, 20))))
    assert place.ruler == "planar"
    assert area[0] == pytest.approx(50.0, rel=1e-9)
    assert length[0] == pytest.approx(30.0, rel=1e-9)


def test_feet_become_metres() -> None:
    place = place_of("EPSG:2264", Affine(10.0, 0.0, 1_500_000.0, 0.0, -10.0, 600_000.0))
    area, length = measure(place, put(place, boxes((0, 0, 10, 10))))
    foot = 1200 / 3937
    assert area[0] == pytest.approx((100 * foot) ** 2, rel=1e-9)
    assert length[0] == pytest.approx(400 * foot, rel=1e-9)


def test_degrees_against_pyproj() -> None:
    place = place_of("EPSG:4326", Affine(1e-3, 0.0, 15.0, 0.0, -2e-3, 52.0))
    polygons = put(place, boxes((0, 0, 1, 1), (5, 5, 40, 30)))
    area, length = measure(place, polygons)
    for polygon, square_metres, metres in zip(polygons, area, length, strict=True):
        # Pixel edges run along parallels, which are no geodesics: short pieces are.
        exact, around = GEOD.geometry_area_perimeter(shapely.segmentize(polygon, 1e-4))
        assert square_metres == pytest.approx(abs(exact), rel=1e-8)
        assert metres == pytest.approx(around, rel=1e-5)
    # One minute of latitude is a sea mile: 1855.6 m at 51.9 degrees, by Snyder's series.
    one_minute = put(place, boxes((0, 0, 1, 1 / 0.12)))
    height = (measure(place, one_minute)[1][0] - 2 * 1e-3 * math.pi / 180 * 3.94e6) / 2
    assert height == pytest.approx(1854.6, rel=2e-3)


def test_whole_earth() -> None:
    place = place_of("EPSG:4326", Affine(1.0, 0.0, -180.0, 0.0, -1.0, 90.0), (180, 360))
    strips = put(place, boxes(*((col, 0, col + 90, 180) for col in range(0, 360, 90))))
    area, _ = measure(place, strips)
    assert area.sum() == pytest.approx(510_065_621_724_000, rel=1e-9)


def test_slanted_edges_and_holes_in_degrees() -> None:
    outer = shapely.Polygon([(10, 40), (10.4, 40.1), (10.5, 40.5), (10.1, 40.3)], [
        [(10.2, 40.2), (10.3, 40.2), (10.3, 40.25)]
    ])  # fmt: skip
    area, length = measure(place_of("EPSG:4326", north_up(0.01)), np.array([outer], object))
    exact, _ = GEOD.geometry_area_perimeter(shapely.orient_polygons(shapely.segmentize(outer, 1e-3)))
    around = sum(GEOD.geometry_length(ring) for ring in (outer.exterior, *outer.interiors))
    assert area[0] == pytest.approx(abs(exact), rel=1e-6)
    assert length[0] == pytest.approx(around, rel=1e-6)


def test_mercator_metres_are_no_metres() -> None:
    lat = 60.0
    x, y = pyproj.Transformer.from_crs(4326, 3857, always_xy=True).transform(10.0, lat)
    place = place_of("EPSG:3857", north_up(1.0, origin=(x, y)))
    assert place.ruler == "ellipsoid"
    area, length = measure(place, put(place, boxes((0, 0, 20, 20))))
    assert area[0] == pytest.approx(400 * math.cos(math.radians(lat)) ** 2, rel=0.01)
    assert length[0] == pytest.approx(80 * math.cos(math.radians(lat)), rel=0.01)
    np.testing.assert_allclose(place.row_areas_m2() * 400, area[0], rtol=1e-4)  # type: ignore[operator]


def test_row_areas_follow_the_latitude() -> None:
    place = place_of("EPSG:4326", Affine(0.1, 0.0, 0.0, 0.0, -0.1, 80.0), (700, 10))
    areas = place.row_areas_m2()
    rows = boxes(*((0, row, 1, row + 1) for row in range(700)))
    np.testing.assert_allclose(areas, measure(place, put(place, rows))[0], rtol=1e-4)


def test_without_crs_nothing_is_known_of_metres() -> None:
    place = place_of(None, north_up(2.0))
    assert place.ruler == "none"
    assert place.row_areas_m2() is None
    assert measure(place, put(place, boxes((0, 0, 1, 1))))[0][0] == 4.0


def test_crs_without_transform_places_nothing() -> None:
    place = place_of("EPSG:32633", Affine.identity())
    assert place.crs is None
    assert put(place, boxes((0, 0, 2, 3)))[0].bounds == (0.0, 0.0, 2.0, 3.0)


def test_control_points() -> None:
    box = GeoBox(
        crs=None,
        transform=Affine.identity(),
        shape=(40, 60),
        gcps=tuple(some_gcps(40, 60)),
        gcps_crs=CRS.from_epsg(32633),
    )
    place = Place.of(box, MASK)
    polygon = put(place, boxes((10, 4, 20, 9)))
    expected = shapely.transform(
        boxes((10, 4, 20, 9)), lambda xy: np.stack(north_up() @ (xy[:, 0], xy[:, 1]), axis=1)
    )
    assert place.crs == CRS.from_epsg(32633)
    assert shapely.hausdorff_distance(polygon, expected)[0] < 1e-6
    assert measure(place, polygon)[0][0] == pytest.approx(12.5, rel=1e-6)
    areas = place.row_areas_m2()
    assert areas is not None
    assert areas[0] == pytest.approx(0.25, rel=1e-6)


def test_control_points_in_a_line_place_nothing() -> None:
    points = tuple(GroundControlPoint(i, i, 500_000.0 + i, 5e6 + i) for i in range(4))
    box = GeoBox(
        crs=None, transform=Affine.identity(), shape=(9, 9), gcps=points, gcps_crs=CRS.from_epsg(32633)
    )
    with pytest.raises(SceneError, match=r"placing mask mask\.tif failed"):
        put(Place.of(box, MASK), boxes((0, 0, 1, 1)))


def test_no_polygons_measure_nothing() -> None:
    for crs, pixel in itertools.product(("EPSG:4326", "EPSG:32633"), (0.001,)):
        area, length = measure(place_of(crs, north_up(pixel, origin=(15.0, 45.0))), np.empty(0, object))
        assert len(area) == len(length) == 0
