"""Unsound geometries and classes in label files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import geopandas
import pytest
import shapely

from geoseg.health.finding import Finding
from geoseg.health.polygon_checks import polygon_findings

SQUARE = shapely.box(0, 0, 10, 10)
FAR = shapely.box(100, 0, 110, 10)


def findings(geometries: Sequence[Any], kinds: Sequence[Any] | None = None) -> list[Finding]:
    columns = {} if kinds is None else {"kind": list(kinds)}
    frame = geopandas.GeoDataFrame(columns, geometry=list(geometries), crs="EPSG:32633")
    return polygon_findings("labels.gpkg", frame, None if kinds is None else "kind")


def test_sound_polygons_give_nothing() -> None:
    touching = shapely.box(10, 0, 20, 10)
    assert findings([SQUARE, FAR, touching], ["a", "b", "b"]) == []


@pytest.mark.parametrize(
    ("geometry", "severity", "text"),
    [
        (None, "note", "1 feature of 2 without geometry"),
        (shapely.Polygon(), "note", "1 feature of 2 without geometry"),
        (shapely.Point(1, 1), "warning", "1 feature of 2 that are points or lines"),
        (shapely.LineString([(0, 0), (1, 1)]), "warning", "1 feature of 2 that are points or lines"),
        (
            shapely.Polygon([(0, 0), (5, 5), (5, 0), (0, 5)]),
            "warning",
            "1 feature of 2 that cross themselves",
        ),
    ],
)
def test_unsound_features(geometry: Any, severity: str, text: str) -> None:
    (found,) = findings([FAR, geometry])
    assert (found.severity, found.check, found.what) == (severity, "geometry", text)
    assert found.where == ("labels.gpkg row 2",)


def test_nothing_but_points_is_an_error() -> None:
    (found,) = findings([shapely.Point(1, 1), shapely.Point(2, 2)])
    assert found.severity == "error"


def test_no_features() -> None:
    (found,) = polygon_findings("x", geopandas.GeoDataFrame(geometry=[], crs="EPSG:32633"), None)
    assert (found.severity, found.check) == ("error", "empty")


def test_overlaps_of_different_classes_are_measured() -> None:
    half = shapely.box(5, 0, 15, 10)  # 50 of 100 m2 shared; 300 m2 drawn in all
    (found,) = findings([SQUARE, half, FAR], ["a", "b", "a"])
    assert (found.severity, found.check) == ("warning", "overlap")
    assert found.what == "1 pair of polygons of different classes overlap (16.67% of the labelled area)"
    assert found.where == ("labels.gpkg: a and b",)
    assert findings([SQUARE, half, FAR], ["a", "a", "b"]) == []
    assert findings([SQUARE, half, FAR]) == []


def test_the_same_polygon_twice() -> None:
    (found,) = findings([SQUARE, FAR, SQUARE], ["a", "a", "a"])
    assert (found.severity, found.what) == ("note", "1 polygon drawn twice")
    assert found.where == ("labels.gpkg: polygons 1 and 3",)


def test_missing_classes_are_counted() -> None:
    (found,) = findings([SQUARE, FAR, shapely.box(50, 50, 60, 60)], ["a", None, " "])
    assert (found.severity, found.check, found.count) == ("warning", "class", 2)
    assert found.where == ("labels.gpkg row 2", "labels.gpkg row 3")
