"""Layers that lack their end."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import shapely
from rasterio.crs import CRS

from geoseg.vector.whole import check_whole
from geoseg.vector.write import DRIVERS, LayerWriter


def write(path: Path, count: int) -> None:
    with LayerWriter(path, {"id": np.int32, "name": "string"}, CRS.from_epsg(32633)) as writer:
        i = np.arange(count)
        wkb = shapely.to_wkb(shapely.box(i, 0, i + 1, 1))
        writer.write(wkb, {"id": i.astype(np.int32), "name": np.array([f"n{each}" for each in i], object)})


def check(path: Path, count: int) -> None:
    check_whole(path, DRIVERS[path.suffix], path.stem if path.suffix == ".shp" else "parcels", count)


@pytest.mark.parametrize("count", [0, 1, 2, 15, 16, 17, 256, 257, 300])
@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".geojson", ".shp"])
def test_a_whole_layer_is_whole_and_no_other(tmp_path: Path, suffix: str, count: int) -> None:
    path = tmp_path / f"a{suffix}"
    write(path, count)
    check(path, count)
    if suffix != ".geojson":  # which does not say how many there are
        with pytest.raises(OSError, match="not all of it arrived"):
            check(path, count + 1)


@pytest.mark.parametrize("part", ["a.fgb", "a.geojson", "a.shp", "a.shx", "a.dbf"])
@pytest.mark.parametrize("lost", [1, 2, 8, 100, 0.5, 1.0])
@pytest.mark.parametrize("count", [0, 1, 40])
def test_what_is_cut_is_not(tmp_path: Path, part: str, lost: float, count: int) -> None:
    path = tmp_path / {".shx": "a.shp", ".dbf": "a.shp"}.get(Path(part).suffix, part)
    write(path, count)
    size = (tmp_path / part).stat().st_size
    left = size - lost if isinstance(lost, int) else int(size * (1 - lost))
    os.truncate(tmp_path / part, max(left, 0))
    with pytest.raises(OSError, match="not all of it arrived"):
        check(path, count)


@pytest.mark.parametrize(
    "harm",
    [
        "DROP TABLE rtree_parcels_geom",
        "DELETE FROM rtree_parcels_geom WHERE id = 7",
        "DELETE FROM gpkg_ogr_contents",
        "UPDATE gpkg_ogr_contents SET feature_count = NULL",
    ],
)
def test_a_geopackage_needs_its_index(tmp_path: Path, harm: str) -> None:
    path = tmp_path / "a.gpkg"
    write(path, 40)
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(harm)
    with pytest.raises(OSError, match="not all of it arrived"):
        check(path, 40)
