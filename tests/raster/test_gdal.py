"""Hostile, damaged and odd files at the door."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyogrio
import pytest
import rasterio
import scenes
import shapely
from rasterio.windows import Window

from geoseg.errors import GeosegError, LabelsError, ReadError, SceneError, WriteError
from geoseg.raster import formats
from geoseg.raster.gdal import gdal_errors, open_raster
from geoseg.raster.scene import Scene
from geoseg.raster.vectors import read_vector


@pytest.fixture
def listener() -> Iterator[tuple[str, list[str]]]:
    """A local web server and the requests that reached it."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requests.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", requests
    server.shutdown()
    thread.join()
    server.server_close()


def assert_one_line(error: GeosegError, path: Path) -> None:
    assert "\n" not in str(error)
    assert path.name in str(error)
    assert ";" in str(error)


def test_only_the_allowed_drivers_are_left() -> None:
    with rasterio.Env() as env:
        assert set(env.drivers()) <= {*formats.RASTER_DRIVERS, "COG", "MEM"}
    assert set(pyogrio.list_drivers()) <= {*formats.VECTOR_DRIVERS, "MEM"}


def test_drivers_are_taken_out_even_after_gdal_was_used_before() -> None:
    code = (
        "import rasterio, pyogrio\n"
        "with rasterio.Env() as env: assert 'VRT' in env.drivers()\n"
        "import geoseg.raster.gdal\n"
        "with rasterio.Env() as env: assert 'VRT' not in env.drivers()\n"
        "assert 'CSV' not in pyogrio.list_drivers()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_fence_is_the_process_s_whoever_imports_it_first() -> None:
    """A dask worker imports geoseg in a thread; rasterio would keep the options to that thread."""
    code = (
        "import importlib, threading\n"
        "first = threading.Thread(target=importlib.import_module, args=['geoseg.raster.gdal'])\n"
        "first.start(); first.join()\n"
        "import rasterio._env, geoseg.raster.tame as tame\n"
        "found = {key: rasterio._env.get_gdal_config(key) for key in tame._OPTIONS}\n"
        "assert {key: str(value) for key, value in found.items()} == "
        "{key: str(value) for key, value in tame._OPTIONS.items()}, found\n"
        "with rasterio.Env() as env: assert 'VRT' not in env.drivers()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_scene_opens(tmp_path: Path) -> None:
    path = scenes.write_scene(tmp_path / "scene.tif", scenes.ramp(3, 5, 7))
    with open_raster(path) as dataset:
        assert (dataset.driver, dataset.count) == ("GTiff", 3)


@pytest.mark.parametrize(("suffix", "driver"), [(".png", "PNG"), (".jpg", "JPEG"), (".img", "HFA")])
def test_other_formats_open(tmp_path: Path, suffix: str, driver: str) -> None:
    path = tmp_path / f"scene{suffix}"
    tiff = scenes.write_scene(tmp_path / "scene.tif", scenes.ramp(3, 8, 8))
    rasterio.shutil.copy(tiff, path, driver=driver)
    with open_raster(path) as dataset:
        assert dataset.driver == driver


@pytest.mark.parametrize("name", ["vrt.tif", "scene.jp2"])
def test_vrt_is_refused_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(scenes.raw_vrt("/etc/hosts"))
    with pytest.raises(SceneError, match="is a VRT") as caught:
        open_raster(path)
    assert_one_line(caught.value, path)


def test_mrf_named_tif_creates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    path.write_text(scenes.mrf_xml(str(tmp_path / "created")))
    with pytest.raises(SceneError, match="XML"):
        open_raster(path)
    assert not (tmp_path / "created").exists()


def test_overview_that_is_a_vrt_is_not_followed(tmp_path: Path, listener: tuple[str, list[str]]) -> None:
    url, requests = listener
    bands = scenes.ramp(1, 16, 16)
    path = scenes.write_scene(tmp_path / "scene.tif", bands)
    (tmp_path / "scene.tif.ovr").write_text(scenes.raw_vrt(f"/vsicurl/{url}/x.tif", size=8))
    with Scene.open(path) as scene:
        read, valid = scene.read(Window(0, 0, 16, 16))
    np.testing.assert_array_equal(read, bands)
    assert valid.all()
    assert requests == []


@pytest.mark.parametrize("kind", ["url", "vrt"])
def test_overview_file_of_the_sidecar_is_not_followed(
    tmp_path: Path, listener: tuple[str, list[str]], kind: str
) -> None:
    url, requests = listener
    path = scenes.write_scene(tmp_path / "scene.tif", scenes.ramp(1, 16, 16))
    other = tmp_path / "other"
    other.write_text(scenes.raw_vrt("/etc/hosts", size=8))
    target = f"/vsicurl/{url}/x.tif" if kind == "url" else str(other)
    (tmp_path / "scene.tif.aux.xml").write_text(
        f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{target}</MDI></Metadata>'
        "</PAMDataset>"
    )
    with pytest.raises(SceneError, match="takes its overviews from another file; rewrite it") as caught:
        open_raster(path)
    assert_one_line(caught.value, path)
    assert requests == []


@pytest.mark.parametrize(
    "name",
    [
        "https://x.org/scene.tif",
        "s3://bucket/scene.tif",
        "/vsicurl/https://x.org/a.tif",
    ],
)
def test_remote_paths_are_refused(name: str) -> None:
    with pytest.raises(SceneError, match="is not a local file; download it first"):
        open_raster(Path(name))
    with pytest.raises(LabelsError, match="is not a local file; download it first"):
        read_vector(Path(name))


def test_files_inside_of_archives_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04")
    names = ("/vsizip/a.zip/b.tif", "/vsitar/a.tar.gz/b.tif", "zip://a.zip!b.tif", "a.zip/b.tif")
    for name in names:
        with pytest.raises(SceneError, match=r"is inside of an? (archive|file); unpack it first"):
            open_raster(Path(name))


def test_inline_xml_is_no_path() -> None:
    with pytest.raises(SceneError) as caught:
        open_raster(Path(scenes.raw_vrt("/etc/hosts")))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["MEM:::DATAPOINTER=1", "PG:dbname=x", "GTIFF_DIR:1:scene.tif", "a\0b", "\n"]
)
def test_connection_strings_are_no_paths(tmp_path: Path, name: str) -> None:
    with pytest.raises(SceneError, match=r"check the path|local file"):
        open_raster(Path(name))
    with pytest.raises(LabelsError, match=r"check the path|local file"):
        read_vector(Path(name))


def test_folder_pipe_and_socket_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SceneError, match="folder"):
        open_raster(tmp_path)
    with pytest.raises(SceneError, match="not a regular file"):
        open_raster(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        with pytest.raises(SceneError, match="not a regular file"):
            open_raster(tmp_path / "socket")


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"", "an empty file"),
        (b"\x89HDF\r\n\x1a\n", "HDF"),
        (b"hello", "unknown format"),
        (b"PK\x03\x04", "ZIP"),
    ],
)
def test_other_content_is_named(tmp_path: Path, content: bytes, looks: str) -> None:
    path = tmp_path / "scene.tif"
    path.write_bytes(content)
    with pytest.raises(SceneError, match=looks):
        open_raster(path)


def test_huge_strip_is_refused(tmp_path: Path) -> None:
    path = scenes.huge_strip_tiff(tmp_path / "scene.tif")
    with pytest.raises(SceneError, match=r"2147483647 x 1 pixels, 2\.1 GB each; rewrite it") as caught:
        open_raster(path)
    assert_one_line(caught.value, path)


def test_many_interleaved_bands_count_as_one_block(tmp_path: Path) -> None:
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=4096, height=4096, count=40, dtype="uint8", interleave="pixel",
        tiled=True, blockxsize=4096, blockysize=4096, sparse_ok=True, crs=scenes.UTM,
        transform=scenes.north_up(),
    ):  # fmt: skip
        pass
    with pytest.raises(SceneError, match="GB each"):
        open_raster(path)


@pytest.mark.parametrize("keep", [4, 8, 60, 150])
def test_tiff_cut_in_its_header(tmp_path: Path, keep: int) -> None:
    path = scenes.write_scene(tmp_path / "scene.tif", scenes.ramp(1, 64, 64))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(SceneError) as caught:
        open_raster(path)
    assert_one_line(caught.value, path)


@pytest.mark.parametrize("options", [{}, {"compress": "deflate"}, {"compress": "lzw", "tiled": True}])
def test_truncated_pixels_are_an_error_not_garbage(
    tmp_path: Path, options: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1, 256, 256), np.uint8)
    path = scenes.write_scene(tmp_path / "scene.tif", noise, **options)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (
        Scene.open(path) as scene,
        pytest.raises(ReadError, match=r"reading block 0, \d+ \(columns 0\.\.255, ") as caught,
    ):
        scene.read(Window(0, 128, 256, 128))
    assert_one_line(caught.value, path)
    assert capfd.readouterr() == ("", "")


def test_truncated_jpeg_blocks_are_an_error(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (3, 128, 128), np.uint8)
    tiff = scenes.write_scene(tmp_path / "scene.tif", noise)
    path = tmp_path / "scene.jpg"
    rasterio.shutil.copy(tiff, path, driver="JPEG")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with Scene.open(path) as scene, pytest.raises(ReadError):
        scene.read(Window(0, 0, 128, 128))


@pytest.mark.parametrize("suffix", [".tif", ".png", ".jpg", ".img"])
def test_damaged_bytes_never_escape(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    drivers = {".tif": "GTiff", ".png": "PNG", ".jpg": "JPEG", ".img": "HFA"}
    tiff = scenes.write_scene(
        tmp_path / "base.tif", scenes.ramp(3, 40, 40), compress="deflate", tags={"a": "b"}
    )
    path = tmp_path / f"scene{suffix}"
    rasterio.shutil.copy(tiff, path, driver=drivers[suffix])
    whole = path.read_bytes()
    errors: list[str] = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        content = np.frombuffer(whole, np.uint8).copy()
        where = rng.integers(16, len(content), int(rng.integers(1, 30)))
        content[where] = rng.integers(0, 256, len(where))
        path.write_bytes(content.tobytes())
        try:
            with Scene.open(path) as scene:
                scene.read(Window(0, 0, min(scene.geobox.width, 64), min(scene.geobox.height, 64)))
        except GeosegError as error:
            errors.append(str(error))
    assert errors
    assert all("\n" not in error for error in errors)
    assert capfd.readouterr() == ("", "")


def test_reading_writes_nothing_beside_the_scene(tmp_path: Path) -> None:
    path = scenes.write_scene(tmp_path / "scene.tif", scenes.ramp(3, 40, 40), nodata=0)
    before = path.read_bytes()
    with Scene.open(path) as scene:
        scene.read(Window(0, 0, 40, 40))
    assert [entry.name for entry in tmp_path.iterdir()] == ["scene.tif"]
    assert path.read_bytes() == before


# Vector files


@pytest.mark.parametrize("suffix", [".gpkg", ".geojson", ".fgb", ".shp", ".parquet"])
def test_vector_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"labels{suffix}"
    scenes.write_labels(path, [shapely.box(0, 0, 2, 1)], columns={"kind": ["house"]})
    frame = read_vector(path, columns=["kind"])
    assert list(frame["kind"]) == ["house"]
    assert frame.geometry.iloc[0].area == pytest.approx(2.0)
    assert frame.crs == scenes.UTM


def test_geojson_lines(tmp_path: Path) -> None:
    path = tmp_path / "labels.geojsonl"
    scenes.write_labels(path, [shapely.box(0, 0, 1, 1), shapely.box(1, 1, 2, 2)], crs="EPSG:4326")
    assert len(read_vector(path)) == 2


def test_missing_column_lists_the_others(tmp_path: Path) -> None:
    path = scenes.write_labels(tmp_path / "l.gpkg", [shapely.box(0, 0, 1, 1)], columns={"a": [1], "b": [2]})
    with pytest.raises(LabelsError, match=r"has no column kind; it has a, b"):
        read_vector(path, columns=["kind"])


def test_several_layers_are_ambiguous(tmp_path: Path) -> None:
    path = scenes.write_labels(tmp_path / "labels.gpkg", [shapely.box(0, 0, 1, 1)])
    frame = read_vector(path)
    frame.to_file(path, layer="second")
    with pytest.raises(LabelsError, match=r"has layers labels, second"):
        read_vector(path)
    assert len(read_vector(path, layer="second")) == 1


@pytest.mark.parametrize("name", ["labels.gpkg", "labels.vrt", "labels.geojson"])
def test_ogr_vrt_is_refused_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(
        "<OGRVRTDataSource><OGRVRTLayer name='x'><SrcDataSource>CSV:/etc/passwd</SrcDataSource>"
        "</OGRVRTLayer></OGRVRTDataSource>"
    )
    with pytest.raises(LabelsError, match="is a VRT"):
        read_vector(path)


@pytest.mark.parametrize(("kind", "key"), [("link", "href"), ("url", "url")])
def test_geojson_crs_by_address_is_refused_unasked(
    tmp_path: Path, listener: tuple[str, list[str]], kind: str, key: str
) -> None:
    url, requests = listener
    path = scenes.geojson_with_crs(tmp_path / "a.geojson", {"type": kind, "properties": {key: f"{url}/crs"}})
    with pytest.raises(LabelsError, match=f"gives its CRS as '{kind}'"):
        read_vector(path)
    # Hidden from the check by an escape, it still does not reach the network.
    path.write_text(path.read_text().replace('"crs"', '"\\u0063rs"'))
    read_vector(path)
    assert requests == []


def test_geojson_crs_by_name(tmp_path: Path) -> None:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::3857"}}
    assert read_vector(scenes.geojson_with_crs(tmp_path / "a.geojson", crs)).crs == "EPSG:3857"
    assert read_vector(scenes.geojson_with_crs(tmp_path / "b.geojson", None)).crs == "EPSG:4326"


def test_gml_kml_and_archives_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.gml").write_text("<?xml version='1.0'?><ogr:FeatureCollection/>")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "")
    for name, looks in [("a.gml", "XML"), ("a.zip", "ZIP")]:
        with pytest.raises(LabelsError, match=looks):
            read_vector(tmp_path / name)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.gml", "a.zip"]


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet", ".geojson"])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
def test_truncated_vector_files(
    tmp_path: Path, suffix: str, share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"labels{suffix}"
    boxes = [shapely.box(i, 0, i + 1, 1).segmentize(0.01) for i in range(20)]
    scenes.write_labels(path, boxes, columns={"kind": list(range(20))})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(LabelsError) as caught:
        read_vector(path, columns=["kind"])
    assert_one_line(caught.value, path)
    assert capfd.readouterr() == ("", "")


def test_a_shapefile_is_several_files(tmp_path: Path) -> None:
    path = scenes.write_labels(tmp_path / "labels.shp", [shapely.box(0, 0, 1, 1)])
    (tmp_path / "labels.shx").unlink()
    with pytest.raises(LabelsError, match=r"is without its labels\.shx; copy all files of the Shapefile"):
        read_vector(path)


def test_crs_that_is_no_text(tmp_path: Path) -> None:
    path = scenes.write_labels(tmp_path / "labels.shp", [shapely.box(0, 0, 1, 1)])
    crs = (tmp_path / "labels.prj").read_bytes()
    (tmp_path / "labels.prj").write_bytes(crs.replace(b"Transverse", b"Transvers\xff"))
    with pytest.raises(LabelsError, match="failed: its CRS cannot be read; ") as caught:
        read_vector(path)
    assert_one_line(caught.value, path)


@pytest.mark.parametrize("crs", [{"type": "name", "properties": {"name": "\ud800"}}, {"type": ["name"]}])
def test_geojson_crs_that_is_no_text(tmp_path: Path, crs: dict[str, Any]) -> None:
    with pytest.raises(LabelsError):
        read_vector(scenes.geojson_with_crs(tmp_path / "labels.geojson", crs))


def test_parquet_with_a_damaged_crs(tmp_path: Path) -> None:
    import pyarrow.parquet

    path = scenes.write_labels(tmp_path / "labels.parquet", [shapely.box(0, 0, 1, 1)])
    table = pyarrow.parquet.read_table(path)
    told = table.schema.metadata[b"geo"].replace(b'"base_crs"', b'"base_xxx"')
    pyarrow.parquet.write_table(table.replace_schema_metadata({b"geo": told}), path)
    with pytest.raises(LabelsError, match="is it GeoParquet") as caught:
        read_vector(path)
    assert_one_line(caught.value, path)


def test_errors_are_one_line_that_can_be_printed(tmp_path: Path) -> None:
    with pytest.raises(LabelsError) as caught:
        read_vector(tmp_path / "a\nb\r\udcff.gpkg")
    text = str(caught.value)
    assert "a\\nb\\r\\udcff.gpkg does not exist" in text
    assert text.encode().decode().isprintable()


def test_sqlite_that_is_no_geopackage(tmp_path: Path) -> None:
    import sqlite3

    path = tmp_path / "labels.gpkg"
    with sqlite3.connect(path) as database:
        database.execute("create table t (a)")
    database.close()
    with pytest.raises(LabelsError):
        read_vector(path)


def test_table_without_geometry(tmp_path: Path) -> None:
    path = tmp_path / "labels.gpkg"
    pyogrio.write_dataframe(pandas.DataFrame({"a": [1, 2]}), path)
    with pytest.raises(LabelsError, match="no layer with geometries"):
        read_vector(path)


@pytest.mark.parametrize("name", ["a;b.gpkg", "a\nb.gpkg"])
def test_path_pyogrio_would_misread_is_refused(name: str, tmp_path: Path) -> None:
    path = scenes.write_labels(tmp_path / "plain.gpkg", [shapely.box(0, 0, 1, 1)])
    shutil.copy(path, tmp_path / "ab.gpkg")
    odd = path.rename(tmp_path / name)
    with pytest.raises(LabelsError, match="rename it"):
        read_vector(odd)


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (
            pyogrio.errors.DataSourceError(
                "Could not add feature to layer at index 0: sqlite3_exec(INSERT INTO t (a) VALUES (f('x')))"
                " failed: no such table: t"
            ),
            "no such table: t",
        ),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x"), "no space left on device"),
    ],
)
def test_no_statement_and_no_number_is_told(reason: Exception, told: str) -> None:
    line = f"writing layer x.gpkg failed: {told}; is the disk full?"
    with (
        pytest.raises(WriteError, match=f"^{re.escape(line)}$"),
        gdal_errors("writing layer", "x.gpkg", error=WriteError, hint="is the disk full?"),
    ):
        raise reason
