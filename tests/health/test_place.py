"""Labels that do not lie where they say."""

from __future__ import annotations

from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
from rasterio.crs import CRS
from scenes import UTM, north_up, pixel_box

from geoseg.health.place import crs_findings, elsewhere, touching
from geoseg.raster.geobox import GeoBox

GRID = GeoBox(crs=CRS.from_string(UTM), transform=north_up(), shape=(200, 300))
TRUE = geopandas.GeoSeries([pixel_box(north_up(), 20 * i, 30 * i, 15, 15) for i in range(8)], crs=UTM)


def in_crs(crs: str, *, swapped: bool = False) -> Any:
    geometries = TRUE.to_crs(crs).to_numpy()
    return shapely.transform(geometries, lambda points: points[:, ::-1]) if swapped else geometries


@pytest.mark.parametrize("crs", [UTM, "EPSG:4326", "EPSG:3857", "EPSG:32634"])
def test_labels_in_any_crs_touch_the_scene(crs: str) -> None:
    geometries, told = in_crs(crs), CRS.from_string(crs)
    assert touching(geometries, told, [GRID]).all()
    assert crs_findings("labels", geometries, told, [GRID]) == []


@pytest.mark.parametrize(
    ("truly", "told", "swapped", "guess"),
    [
        ("EPSG:4326", UTM, False, "EPSG:4326"),
        (UTM, "EPSG:32634", False, UTM),
        (UTM, "EPSG:4326", False, UTM),
        ("EPSG:3857", UTM, False, "EPSG:3857"),
        ("EPSG:32632", UTM, False, "EPSG:32632"),
        ("EPSG:4326", "EPSG:4326", True, "EPSG:4326 with x and y swapped"),
        (UTM, UTM, True, f"{UTM} with x and y swapped"),
    ],
)
def test_the_crs_that_labels_are_really_in_is_guessed(
    truly: str, told: str, swapped: bool, guess: str
) -> None:
    geometries = in_crs(truly, swapped=swapped)
    assert not touching(geometries, CRS.from_string(told), [GRID]).any()
    (found,) = elsewhere("labels", geometries, CRS.from_string(told), [GRID])
    assert found.severity == "error"
    assert f"read as {guess}, 8 of 8 labels do" in found.what
    assert ("swap x and y" in found.todo) == swapped


def test_labels_that_fit_in_no_crs_are_elsewhere() -> None:
    far = np.array([shapely.box(100.0, 10.0, 101.0, 11.0)])
    (found,) = elsewhere("labels", far, CRS.from_epsg(4326), [GRID])
    assert "labels at lon 100.0000..101.0000, lat 10.0000..11.0000" in found.what
    assert "the scene at lon 15.0000" in found.what


def test_missing_crs_is_told_when_the_coordinates_fit() -> None:
    (found,) = crs_findings("labels", in_crs(UTM), None, [GRID])
    assert (found.severity, found.check) == ("warning", "crs")
    assert "no CRS" in found.what


def test_some_impossible_coordinates_are_told() -> None:
    geometries = np.append(in_crs("EPSG:4326"), shapely.box(15.0, 95.0, 15.1, 95.1))
    (found,) = crs_findings("labels", geometries, CRS.from_epsg(4326), [GRID])
    assert found.what.startswith(
        "1 label of labels with coordinates that EPSG:4326 does not have, such as x 15, y 95"
    )


def test_projected_coordinates_beyond_the_projection_are_told() -> None:
    geometries = np.append(in_crs(UTM), shapely.box(3e9, 0.0, 3e9 + 1.0, 1.0))
    (found,) = crs_findings("labels", geometries, CRS.from_string(UTM), [GRID])
    assert (found.severity, found.what[:7]) == ("error", "1 label")
