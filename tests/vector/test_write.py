"""Layers written batch by batch, checked in the files a user gets."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import geopandas
import geopandas.testing
import numpy as np
import pyarrow.parquet
import pyogrio
import pyogrio.raw
import pytest
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoseg.errors import OutputError, WriteError
from geoseg.vector import ogr
from geoseg.vector.wkb import PackedWkb, pack_wkb
from geoseg.vector.write import DRIVERS, LayerWriter, check_layer_output

UTM = CRS.from_epsg(32633)
KINDS: dict[str, Any] = {
    "id": np.int32,
    "class_id": np.int16,
    "class_name": "string",
    "area_m2": np.float64,
    "perimeter_m": np.float64,
    "touches_edge": np.bool_,
}
STYLES = {1: ("fält", "#00ff00"), 2: ("дом", "#ff0000")}
NAMES = np.array(["", "fält", "дом"], object)


@pytest.fixture(params=DRIVERS)
def suffix(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == "geoseg-write"] == []


def some_polygons(count: int) -> NDArray[np.object_]:
    """Squares in rows of ten, every third one with a hole."""
    i = np.arange(count)
    left, low = 500_000.0 + 3 * (i % 10), 5_000_000.0 + 3 * (i // 10)
    outer = shapely.box(left, low, left + 2, low + 2.125)
    inner = shapely.box(left + 0.5, low + 0.5, left + 1, low + 1)
    return np.where(i % 3 == 0, shapely.difference(outer, inner), outer)


def some_columns(count: int) -> dict[str, NDArray[Any]]:
    i = np.arange(count)
    class_id = (1 + i % 2).astype(np.int16)
    return {
        "id": (i + 1).astype(np.int32),
        "class_id": class_id,
        "class_name": NAMES[class_id],
        "area_m2": i * 1.000001,
        "perimeter_m": np.where(i % 7 == 6, np.nan, i / 8),
        "touches_edge": i % 5 == 0,
    }


def write(path: Path, count: int, batch: int, **options: Any) -> Path:
    polygons, columns = some_polygons(count), some_columns(count)
    with LayerWriter(path, KINDS, UTM, styles=STYLES, gsd_m=0.1, **options) as writer:
        for begin in range(0, count, batch):
            rows = slice(begin, begin + batch)
            writer.write(shapely.to_wkb(polygons[rows]), {name: all_[rows] for name, all_ in columns.items()})
    return path


def write_times(path: Path, times: int, kinds: Any, polygons: Any, columns: Any, *, then: Any = None) -> None:
    """Write the same polygons again and again, then raise what is given."""
    with LayerWriter(path, kinds, UTM) as writer:
        for _ in range(times):
            writer.write(polygons, columns)
        if then is not None:
            raise then


def read(path: Path, **options: Any) -> geopandas.GeoDataFrame:
    if path.suffix == ".parquet":
        # To pyarrow 17 text is objects, unless pandas wrote it.
        return geopandas.read_parquet(path, **options).infer_objects()
    return pyogrio.read_dataframe(path, layer="parcels" if path.suffix == ".gpkg" else None, **options)


def same_shapes(frame: geopandas.GeoDataFrame, polygons: NDArray[np.object_]) -> bool:
    planar = frame.to_crs(UTM.to_wkt()).geometry.to_numpy()
    if frame.crs == "EPSG:4326":
        # Degrees of nine decimals.
        return bool((shapely.hausdorff_distance(planar, polygons) < 1e-3).all())
    return bool(shapely.equals_exact(planar, polygons, tolerance=0.0, normalize=True).all())


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("batch", [1, 7, 30])
def test_batches_of_any_size_make_one_layer(tmp_path: Path, suffix: str, batch: int) -> None:
    whole = write(tmp_path / f"whole{suffix}", 30, 30)
    cut = write(tmp_path / f"cut{suffix}", 30, batch)
    geopandas.testing.assert_geodataframe_equal(read(cut), read(whole))
    if suffix in (".fgb", ".geojson"):
        assert cut.read_bytes().replace(b"cut", b"whole") == whole.read_bytes()


def test_what_was_written_comes_back(tmp_path: Path, suffix: str) -> None:
    frame = read(write(tmp_path / f"a{suffix}", 30, 8))
    if suffix == ".fgb":
        frame = frame.sort_values("id", ignore_index=True)
    expected = some_columns(30)
    if suffix == ".shp":
        expected = {
            {"perimeter_m": "perim_m", "touches_edge": "edge"}.get(n, n): v for n, v in expected.items()
        }
    assert frame.columns.tolist() == [*expected, "geometry"]
    for name, values in expected.items():
        if values.dtype == np.float64:
            np.testing.assert_allclose(frame[name], values, rtol=1e-12)
        else:
            assert frame[name].tolist() == values.tolist()
    if suffix != ".shp":
        assert frame["touches_edge"].dtype == np.bool_
    assert same_shapes(frame, some_polygons(30))


def plainly(path: Path, count: int) -> None:
    """The same layer, by pyogrio and geopandas at once."""
    polygons, columns = some_polygons(count), some_columns(count)
    if path.suffix == ".parquet":
        frame = geopandas.GeoDataFrame(columns, geometry=polygons, crs=UTM.to_wkt(version="WKT2_2019"))
        frame.to_parquet(path, index=False, schema_version="1.1.0", write_covering_bbox=True)
        return
    layer_options: Mapping[str, str] = {}
    if path.suffix == ".geojson":
        layer_options = {"RFC7946": "YES", "COORDINATE_PRECISION": "9", "SIGNIFICANT_FIGURES": "15"}
    if path.suffix == ".shp":
        layer_options = {"ENCODING": "UTF-8"}
        columns["touches_edge"] = columns["touches_edge"].astype(np.int16)
    short = {"perimeter_m": "perim_m", "touches_edge": "edge"} if path.suffix == ".shp" else {}
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(polygons),
        field_data=list(columns.values()),
        fields=[short.get(name, name) for name in columns],
        layer=path.stem if path.suffix == ".shp" else "parcels",
        driver=DRIVERS[path.suffix],
        geometry_type="Polygon",
        crs=UTM.to_wkt(version="WKT2_2019"),
        dataset_options={"VERSION": "1.2"} if path.suffix == ".gpkg" else {},
        layer_options=layer_options,
    )


def test_same_as_written_at_once_by_others(tmp_path: Path, suffix: str) -> None:
    streamed, plain = tmp_path / "streamed" / f"a{suffix}", tmp_path / "plain" / f"a{suffix}"
    for path in (streamed, plain):
        path.parent.mkdir()
    write(streamed, 30, 8)
    plainly(plain, 30)
    geopandas.testing.assert_geodataframe_equal(read(streamed), read(plain))
    if suffix in (".fgb", ".geojson", ".shp"):
        assert left_behind(streamed.parent) == left_behind(plain.parent)
        for name in left_behind(streamed.parent):
            # Bytes 1 to 3 of a .dbf are the date.
            one, other = ((path.parent / name).read_bytes()[4:] for path in (streamed, plain))
            assert one == other, name
    if suffix == ".gpkg":
        assert schema_of(streamed) == schema_of(plain)


def schema_of(path: Path) -> list[Any]:
    with sqlite3.connect(path) as connection:
        tables = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'layer_styles' ORDER BY name"
        ).fetchall()
        contents = connection.execute(
            "SELECT table_name, data_type, min_x, min_y, max_x, max_y, srs_id FROM gpkg_contents "
            "WHERE table_name = 'parcels'"
        ).fetchall()
    connection.close()
    return [tables, contents]


def test_geoparquet_says_what_the_specification_wants(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", 30, 8)
    plainly(tmp_path / "plain.parquet", 30)
    ours, theirs = (
        json.loads(pyarrow.parquet.read_metadata(each).metadata[b"geo"])
        for each in (path, tmp_path / "plain.parquet")
    )
    assert ours.pop("creator")["library"] == "geoseg"
    theirs.pop("creator")
    assert ours == theirs
    polygons = some_polygons(30)
    some = read(path, bbox=tuple(polygons[4].bounds))
    assert some["id"].tolist() == (1 + np.flatnonzero(shapely.intersects(polygons, polygons[4]))).tolist()
    bounds = pyarrow.parquet.read_table(path)["bbox"].to_pylist()
    assert [tuple(each.values()) for each in bounds] == [polygon.bounds for polygon in polygons]


@pytest.mark.parametrize("rows", [2, 7, 8, 1000])
def test_groups_of_rows_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr("geoseg.vector.geoparquet._GROUP_ROWS", rows)
    path = write(tmp_path / "a.parquet", 30, 5)
    whole = pyarrow.parquet.ParquetFile(path).metadata
    sizes = [whole.row_group(i).num_rows for i in range(whole.num_row_groups)]
    assert sum(sizes) == 30
    assert max(sizes) <= 2 * rows
    assert read(path)["id"].tolist() == list(range(1, 31))


def test_multipolygons(tmp_path: Path, suffix: str) -> None:
    squares = some_polygons(30)
    features = np.array([shapely.MultiPolygon(list(squares[i : i + 3])) for i in range(0, 30, 3)], object)
    path = tmp_path / f"a{suffix}"
    with LayerWriter(path, {"id": np.int64}, UTM, geometry_type="MultiPolygon", gsd_m=0.1) as writer:
        writer.write(shapely.to_wkb(features), {"id": np.arange(10)})
    frame = read(path).sort_values("id", ignore_index=True)
    assert set(frame.geom_type) == {"MultiPolygon"}
    assert same_shapes(frame, features)
    if suffix in (".gpkg", ".fgb"):
        assert pyogrio.read_info(path, layer="parcels")["geometry_type"] == "MultiPolygon"


@pytest.mark.parametrize("batches", [0, 1, 2])
def test_nothing_is_a_layer(tmp_path: Path, suffix: str, batches: int) -> None:
    path = tmp_path / f"a{suffix}"
    with LayerWriter(path, KINDS, UTM, styles=STYLES) as writer:
        for _ in range(batches):
            writer.write([], some_columns(0))
    frame = read(path)
    assert len(frame) == 0
    assert frame.crs == ("EPSG:4326" if suffix == ".geojson" else "EPSG:32633")
    if suffix not in (".geojson", ".parquet"):
        assert pyogrio.read_info(path, layer=0)["geometry_type"] == "Polygon"


@pytest.mark.parametrize("free", [True, False], ids=["unlocked", "locked"])
@pytest.mark.parametrize("count", [250, pytest.param(130_000, marks=pytest.mark.slow)])
def test_geopackage_has_an_index_that_finds_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, free: bool
) -> None:
    # From 100,000 features on GDAL makes the index in a thread while they come.
    if not free:
        monkeypatch.setattr(ogr, "library", lambda: None)
    side = int(count**0.5)
    corner = np.random.default_rng(1).permutation(count)
    left, low = 500_000.0 + 2.0 * (corner % side), 5_000_000.0 + 2.0 * (corner // side)
    points = np.stack([left, low, left, low + 1, left + 1, low + 1, left + 1, low, left, low], 1).reshape(
        -1, 2
    )
    ring_offsets, polygon_offsets = 5 * np.arange(count + 1), np.arange(count + 1)
    path = tmp_path / "a.gpkg"
    with LayerWriter(path, {"id": np.int64}, UTM) as writer:
        for begin in range(0, count, count // 9):
            end = min(begin + count // 9, count)
            packed = pack_wkb(points, ring_offsets, polygon_offsets[begin : end + 1])
            writer.write(packed, {"id": np.arange(begin, end)})
    with sqlite3.connect(path) as connection:
        indexed = connection.execute("SELECT id, minx, maxx, miny, maxy FROM rtree_parcels_geom").fetchall()
        extent = connection.execute("SELECT min_x, min_y, max_x, max_y FROM gpkg_contents").fetchone()
        known = connection.execute(
            "SELECT count(*) FROM gpkg_extensions WHERE extension_name = 'gpkg_rtree_index'"
        )
        assert known.fetchone() == (1,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT rtreecheck('rtree_parcels_geom')").fetchone() == ("ok",)
        assert connection.execute("PRAGMA user_version").fetchone() == (10200,)
    connection.close()
    boxes = np.array(sorted(indexed))
    assert boxes[:, 0].tolist() == list(range(1, count + 1))
    # The index holds single precision, rounded outwards.
    assert ((boxes[:, 1] <= left) & (boxes[:, 2] >= left + 1) & (boxes[:, 2] - left < 1.2)).all()
    assert ((boxes[:, 3] <= low) & (boxes[:, 4] >= low + 1) & (boxes[:, 4] - low < 2.5)).all()
    assert extent == (left.min(), low.min(), left.max() + 1, low.max() + 1)
    window = (500_010.5, 5_000_010.5, 500_017.5, 5_000_015.5)
    inside = (left <= window[2]) & (left + 1 >= window[0]) & (low <= window[3]) & (low + 1 >= window[1])
    assert sorted(read(path, bbox=window)["id"]) == np.flatnonzero(inside).tolist()
    assert left_behind(tmp_path) == ["a.gpkg"]


def test_geopackage_keeps_bools_and_brings_its_colours(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gpkg", 30, 8)
    with sqlite3.connect(path) as connection:
        kinds = {row[1]: row[2] for row in connection.execute("PRAGMA table_info(parcels)")}
        styles = connection.execute(
            "SELECT f_table_name, useAsDefault, styleQML FROM layer_styles"
        ).fetchall()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert kinds["touches_edge"] == "BOOLEAN"
    assert kinds["class_id"] == "SMALLINT"
    assert kinds["id"] == "MEDIUMINT"
    assert [row[:2] for row in styles] == [("parcels", 1)]
    assert "дом" in styles[0][2]


@pytest.mark.parametrize("spelled", ["a.SHP", "a.Shp"])
def test_a_shapefile_is_called_as_gdal_calls_it(tmp_path: Path, spelled: str) -> None:
    with pytest.raises(OutputError, match=r"a\.[Ss].. would become .*a\.shp; write to that$"):
        check_layer_output(tmp_path / spelled, overwrite=False, inputs=[])
    for suffix in (".GPKG", ".GeoJSON", ".FGB", ".Parquet"):
        check_layer_output(tmp_path / f"a{suffix}", overwrite=False, inputs=[])
        assert write(tmp_path / f"a{suffix}", 3, 3).exists()


@pytest.mark.parametrize("part", [".shp", ".dbf"])
@pytest.mark.parametrize("batch", [10, 3000])
def test_a_shapefile_has_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str, batch: int
) -> None:
    path, small = tmp_path / "a.shp", tmp_path / "b.shp"
    write(path, 3000, batch)
    size = path.with_suffix(part).stat().st_size
    monkeypatch.setattr("geoseg.vector.ogr._SHAPEFILE_MAX_BYTES", size)
    if part == ".shp":  # the larger one
        write(path, 3000, batch)
    monkeypatch.setattr("geoseg.vector.ogr._SHAPEFILE_MAX_BYTES", size - 1)
    small.touch()
    with pytest.raises(
        WriteError, match=r"b\.shp failed: a Shapefile holds no more than 2 GB; write to b\.gpkg$"
    ):
        write(small, 3000, batch)
    assert small.read_bytes() == b""
    write(tmp_path / "c.gpkg", 3000, batch)


def test_colours_may_be_known_late(tmp_path: Path) -> None:
    with LayerWriter(tmp_path / "a.gpkg", {"class_id": np.int16}, UTM) as writer:
        writer.write(shapely.to_wkb(some_polygons(1)), {"class_id": np.ones(1, np.int16)})
        writer.styles = STYLES
    assert [name for name, _ in pyogrio.list_layers(tmp_path / "a.gpkg")] == ["parcels", "layer_styles"]


def test_names_too_long_for_a_shapefile_are_refused_at_once(tmp_path: Path) -> None:
    kinds = KINDS | {"confidence_": np.float64}
    with pytest.raises(
        OutputError, match=r"a\.shp has no room for a column confidence_: .*; write to a\.gpkg$"
    ):
        LayerWriter(tmp_path / "a.shp", kinds, UTM)
    LayerWriter(tmp_path / "a.gpkg", kinds, UTM)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"id": None}, "columns .* where id, class_id, .* are wanted"),
        ({"more": np.zeros(30)}, "columns .* where id, class_id, .* are wanted"),
        ({"id": np.zeros(29, np.int32)}, "column id has 29 values for 30 polygons"),
        ({"id": np.zeros(30)}, "Cannot cast"),
    ],
)
def test_columns_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    columns = {name: values for name, values in (some_columns(30) | changes).items() if values is not None}
    with pytest.raises(ValueError, match=match):
        write_times(tmp_path / "a.gpkg", 1, KINDS, shapely.to_wkb(some_polygons(30)), columns)
    assert left_behind(tmp_path) == []


class Stop(BaseException):
    """Like SystemExit."""


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, Stop])
@pytest.mark.parametrize("batches", [0, 1, 10])
def test_when_the_producer_fails_all_stays_as_it_was(
    tmp_path: Path, suffix: str, error: type[BaseException], batches: int
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"mine")
    polygons, columns = shapely.to_wkb(some_polygons(30)), some_columns(30)
    with pytest.raises(error, match=r"^my own$"):
        write_times(path, batches, KINDS, polygons, columns, then=error("my own"))
    assert left_behind(tmp_path) == [path.name]
    assert path.read_bytes() == b"mine"


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals go there")
def test_ctrl_c_while_the_disk_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = threading.Event()
    write_now = ogr.write_unlocked

    def write_slowly(*arguments: Any) -> None:
        slow.wait()
        write_now(*arguments)

    monkeypatch.setattr(ogr, "write_unlocked", write_slowly)
    main = threading.main_thread().ident
    assert main is not None
    interrupt = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGINT))
    timers = [interrupt, threading.Timer(0.4, slow.set)]
    for timer in timers:
        timer.start()
    with pytest.raises(KeyboardInterrupt):
        write_times(tmp_path / "a.fgb", 10, KINDS, shapely.to_wkb(some_polygons(30)), some_columns(30))
    for timer in timers:
        timer.join()
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize("free", [True, False], ids=["unlocked", "locked"])
def test_polygons_that_the_format_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: bool
) -> None:
    if not free:
        monkeypatch.setattr(ogr, "library", lambda: None)
    with pytest.raises(WriteError, match=r"^writing polygons .*a\.fgb failed: .*; is the disk full\?$"):
        write_times(tmp_path / "a.fgb", 100, {}, [shapely.to_wkb(shapely.Point(1, 2))], {})
    assert left_behind(tmp_path) == []


FULL = """
import json, resource, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[2])
import test_write
from geoseg.errors import WriteError

path, found = Path(sys.argv[1]), []
whole = test_write.write(path, 3000, 400)
largest = max(each.stat().st_size for each in path.parent.iterdir())
for part in path.parent.iterdir():
    part.unlink()
for limit in [0, 100, 5000, *(round(largest * share) for share in (0.2, 0.5, 0.8, 0.95, 0.999)), largest - 1]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        test_write.write(path, 3000, 400)
        found.append((limit, None, []))
    except WriteError as error:
        found.append((limit, str(error), sorted(each.name for each in path.parent.iterdir())))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(json.dumps(found))
"""


def run(script: str, *arguments: str) -> Any:
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, *arguments, json.dumps(folders)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path, suffix: str) -> None:
    found = run(FULL, str(tmp_path / f"a{suffix}"))
    name = tmp_path / f"a{suffix}"
    for limit, message, left in found:
        assert message is not None, limit
        assert message.startswith((f"writing polygons {name} failed: ", f"writing {name} failed: "))
        assert "; is the disk full" in message
        assert "\n" not in message
        assert left == []


LONG = """
import json, resource, sys
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[3])
import numpy as np
import test_write
from geoseg.vector.wkb import pack_wkb
from geoseg.vector.write import LayerWriter

per_batch, batches = 10_000, int(sys.argv[2])
corner = np.arange(per_batch)
columns = test_write.some_columns(per_batch)
with LayerWriter(Path(sys.argv[1]), test_write.KINDS, test_write.UTM) as writer:
    for batch in range(batches):
        angle = np.linspace(0, 2 * np.pi, 40)
        circle = np.stack([np.cos(angle), np.sin(angle)], 1)
        circle[-1] = circle[0]
        middle = np.stack([500_000.0 + 3 * corner, 5e6 + 3 * batch + 0 * corner], 1)
        points = (middle[:, np.newaxis] + circle).reshape(-1, 2)
        packed = pack_wkb(points, 40 * np.arange(per_batch + 1), np.arange(per_batch + 1))
        writer.write(packed, dict(columns))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_layer(tmp_path: Path, suffix: str) -> None:
    # Text takes its time.
    few, many = (3, 12) if suffix == ".geojson" else (10, 40)
    short, long = (run(LONG, str(tmp_path / f"{count}{suffix}"), str(count)) for count in (few, many))
    # What grows is GDAL's index, by some eighty bytes a polygon; polygons and points would be 6.6 MB a batch.
    assert long - short < (many - few) * 2.2e6


def test_warnings_of_gdal_stay_out_of_sight(tmp_path: Path) -> None:
    text = "ä" * 200  # more bytes than a dBASE column has room for
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, free in (("a", True), ("b", False)):
            with pytest.MonkeyPatch.context() as patch:
                if not free:
                    patch.setattr(ogr, "library", lambda: None)
                with LayerWriter(tmp_path / f"{name}.shp", {"name": "string"}, UTM) as writer:
                    writer.write(shapely.to_wkb(some_polygons(1)), {"name": np.array([text], object)})
    assert read(tmp_path / "a.shp")["name"][0] == "ä" * 127


def test_a_new_shapefile_takes_the_old_one_s_parts_along(tmp_path: Path) -> None:
    for stale in ("a.qix", "a.sbn", "a.prj", "a.shp"):
        (tmp_path / stale).write_bytes(b"stale")
    with LayerWriter(tmp_path / "a.shp", {"id": np.int64}, None) as writer:
        writer.write(shapely.to_wkb(some_polygons(3)), {"id": np.arange(3)})
    assert left_behind(tmp_path) == ["a.cpg", "a.dbf", "a.shp", "a.shx"]


@pytest.mark.parametrize("suffix", [".gpkg", ".shp", ".geojson", ".parquet"])
def test_features_without_points(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    shapes = [shapely.Polygon(), *some_polygons(3), shapely.Polygon()]
    write_times(path, 2, {"n": np.int64}, shapely.to_wkb(shapes), {"n": np.arange(5)})
    frame = read(path)
    assert len(frame) == 10
    assert (frame.is_empty | frame.geometry.isna()).tolist() == [True, False, False, False, True] * 2


def test_packed_and_single_wkb_are_the_same(tmp_path: Path) -> None:
    wkb = shapely.to_wkb(some_polygons(30))
    for name, polygons in (("a", wkb), ("b", PackedWkb.of(wkb)), ("c", wkb.tolist())):
        with LayerWriter(tmp_path / f"{name}.fgb", {}, UTM) as writer:
            writer.write(polygons, {})
    one, *others = ((tmp_path / f"{name}.fgb").read_bytes() for name in "abc")
    assert all(one == other for other in others)


def test_two_layers_at_the_same_time(tmp_path: Path) -> None:
    polygons, columns = shapely.to_wkb(some_polygons(30)), some_columns(30)
    paths = [tmp_path / "a.gpkg", tmp_path / "b.gpkg"]
    with LayerWriter(paths[0], KINDS, UTM) as one, LayerWriter(paths[1], KINDS, UTM) as other:
        for writer in itertools.islice(itertools.cycle((one, other)), 20):
            writer.write(polygons, columns)
    assert [len(read(path)) for path in paths] == [300, 300]
