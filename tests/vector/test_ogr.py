"""Both ways to GDAL: straight to the library, and by pyogrio."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pyogrio.raw
import pytest
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS

from geoseg.raster.gdal import quiet
from geoseg.vector import arrow_abi, ogr
from geoseg.vector.arrow import Batch
from geoseg.vector.ogr import write_ogr
from geoseg.vector.table import Table
from geoseg.vector.unlocked import library

DRIVERS = {".gpkg": "GPKG", ".fgb": "FlatGeobuf", ".geojson": "GeoJSON", ".shp": "ESRI Shapefile"}
KINDS: dict[str, Any] = {
    "id": np.int32,
    "large": np.int64,
    "größe": np.float64,
    "short": np.int16,
    "text": "string",
}


@pytest.fixture(params=["unlocked", "locked"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "locked":
        monkeypatch.setattr(ogr, "library", lambda: None)
    return str(request.param)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever was handed over was released."""
    gc.collect()
    before = len(arrow_abi._kept)
    yield
    gc.collect()
    assert len(arrow_abi._kept) == before


def columns(count: int) -> dict[str, np.ndarray]:
    i = np.arange(count)
    return {
        "id": i.astype(np.int32),
        "large": i + 2**40,
        "größe": np.where(i % 3 == 1, np.nan, i / 3),
        "short": -i.astype(np.int16),
        "text": np.array([f"näme {each}" for each in i], object),
    }


def polygons(count: int) -> np.ndarray:
    return shapely.box(10.0 + np.arange(count), 50.0, 10.5 + np.arange(count), 50.25)


def batches(table: Table, count: int, batch: int) -> Iterator[Batch]:
    wkb, values = shapely.to_wkb(polygons(count)), columns(count)
    for begin in range(0, count, batch):
        rows = slice(begin, begin + batch)
        yield table.rows(wkb[rows], {name: values[name][rows] for name in table.columns})


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere libraries are searched in other ways")
def test_the_library_can_be_called() -> None:
    assert library() is not None


@pytest.mark.parametrize("crs", [None, "EPSG:4326", "EPSG:32633", "EPSG:3035", "ESRI:54049"])
@pytest.mark.parametrize("suffix", DRIVERS)
def test_same_as_pyogrio_writes_at_once(tmp_path: Path, way: str, suffix: str, crs: str | None) -> None:
    # EPSG:4326 and 3035 have north first, which files do not follow.
    table = Table(columns=KINDS, crs=CRS.from_user_input(crs) if crs else None)
    if suffix == ".geojson" and crs is not None:
        table = Table(columns=KINDS, crs=CRS.from_epsg(4326))
    streamed, plain = tmp_path / "streamed" / f"a{suffix}", tmp_path / "plain" / f"a{suffix}"
    for path in (streamed, plain):
        path.parent.mkdir()
    write_ogr(streamed, DRIVERS[suffix], table, batches(table, 25, 10))
    values = columns(25)
    with quiet():
        pyogrio.raw.write(
            plain,
            geometry=shapely.to_wkb(polygons(25)),
            field_data=list(values.values()),
            fields=list(values),
            layer="a" if suffix == ".shp" else "parcels",
            driver=DRIVERS[suffix],
            geometry_type="Polygon",
            crs=None if table.crs is None else table.crs.to_wkt(version="WKT2_2019"),
            dataset_options={"VERSION": "1.2"} if suffix == ".gpkg" else {},
            layer_options=ogr._layer_options(table, DRIVERS[suffix]),
        )
    one, other = (pyogrio.read_dataframe(path) for path in (streamed, plain))
    assert one.equals(other)
    assert one.crs == other.crs
    assert one.total_bounds.tolist() == polygons_extent(25)
    if suffix != ".gpkg":
        for part in plain.parent.iterdir():
            # Bytes 1 to 3 of a .dbf are the date.
            assert (streamed.parent / part.name).read_bytes()[4:] == part.read_bytes()[4:], part.name
    assert sorted(path.name for path in streamed.parent.iterdir()) == sorted(
        path.name for path in plain.parent.iterdir()
    )


def polygons_extent(count: int) -> list[float]:
    extent: list[float] = shapely.total_bounds(polygons(count)).tolist()
    return extent


def test_what_gdal_refuses_is_told_in_its_words(tmp_path: Path, way: str) -> None:
    table = Table(columns={}, crs=None)
    points = table.rows([shapely.to_wkb(shapely.Point(1, 2))], {})
    with pytest.raises(DataLayerError, match="Point"):
        write_ogr(tmp_path / "a.fgb", "FlatGeobuf", table, iter([points]))


def test_files_that_cannot_be_made(tmp_path: Path, way: str) -> None:
    table = Table(columns={}, crs=None)
    for suffix in (".gpkg", ".fgb", ".shp", ".geojson"):
        with pytest.raises((DataSourceError, DataLayerError)) as caught:
            write_ogr(tmp_path / "none" / f"a{suffix}", DRIVERS[suffix], table, iter([]))
        assert "none" in str(caught.value)


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("suffix", DRIVERS)
def test_what_the_producer_raises_comes_through(tmp_path: Path, way: str, suffix: str, after: int) -> None:
    table = Table(columns=KINDS, crs=None)

    def broken() -> Iterator[Batch]:
        yield from batches(table, after * 10, 10)
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        write_ogr(tmp_path / f"a{suffix}", DRIVERS[suffix], table, broken())


def test_in_many_threads(tmp_path: Path, way: str) -> None:
    table = Table(columns=KINDS, crs=CRS.from_epsg(32633))
    paths = [tmp_path / f"{i}.gpkg" for i in range(4)]
    threads = [
        threading.Thread(target=write_ogr, args=(path, "GPKG", table, batches(table, 500, 50)))
        for path in paths
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [pyogrio.read_info(path)["features"] for path in paths] == [500] * 4
