"""Scenes on a server: the one file that was named, each byte once, and nothing else, whatever goes wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import scenes
from models_of_tests import noise
from range_server import RangeServer, serving
from rasterio.windows import Window

from geoseg.errors import GeosegError, LabelsError, ReadError, SceneError
from geoseg.raster import remote
from geoseg.raster.gdal import open_raster
from geoseg.raster.labels import open_labels
from geoseg.raster.mask import open_mask
from geoseg.raster.rows import RowReader
from geoseg.raster.scene import Scene
from geoseg.raster.vectors import read_vector

CHUNK = 16_384
"""Bytes of a file that GDAL fetches at least."""

TILES = {"tiled": True, "blockxsize": 128, "blockysize": 128, "compress": "deflate"}
BANDS = noise(3, 300, 400)
WHOLE = Window(0, 0, 400, 300)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes.write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", BANDS, nodata=0, **TILES)


@pytest.fixture
def server(scene: Path) -> Iterator[RangeServer]:
    with serving({"/scene.tif": scene.read_bytes()}) as server:
        yield server


def open_remote(path: Path) -> Scene:
    return Scene.open(path, remote=True)


def sidecar(overview: str) -> str:
    return (
        f'<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{overview}</MDI></Metadata>'
        "</PAMDataset>"
    )


# Names


@pytest.mark.parametrize(
    ("typed", "vsi", "shown"),
    [
        ("https://h.org/a/x.tif", "/vsicurl/https://h.org/a/x.tif", "https://h.org/a/x.tif"),
        ("HTTP://h.org:81/x.tif", "/vsicurl/http://h.org:81/x.tif", "http://h.org:81/x.tif"),
        ("/vsicurl/https://h.org/x.tif", "/vsicurl/https://h.org/x.tif", "https://h.org/x.tif"),
        ("https://u:p@h/x.tif?s=1;2", "/vsicurl/https://u:p@h/x.tif?s=1;2", "https://h/x.tif"),
        ("https://u@v:p@h/x.tif", "/vsicurl/https://u@v:p@h/x.tif", "https://h/x.tif"),
        ("http://[::1]:80/x.tif", "/vsicurl/http://[::1]:80/x.tif", "http://[::1]:80/x.tif"),
        ("s3://bucket/a/x.tif", "/vsis3/bucket/a/x.tif", "s3://bucket/a/x.tif"),
        ("/vsis3/bucket/a/x.tif", "/vsis3/bucket/a/x.tif", "s3://bucket/a/x.tif"),
    ],
)
def test_names(typed: str, vsi: str, shown: str) -> None:
    path = Path(typed)
    name = remote.parse(path, what="scene", error=SceneError)
    assert (name.vsi, name.shown) == (vsi, shown)
    assert (remote.shown(path), remote.file_name(path), remote.stem(path)) == (shown, "x.tif", "x")
    assert vsi not in repr(name)
    assert remote.absolute(path) == path
    assert remote.local([path, Path("x.tif")]) == [Path("x.tif")]


_REFUSED = r"no address of a file; |not a local file; |inside of an archive; |control char"


@pytest.mark.parametrize(
    "typed",
    [
        "https://h.org",
        "https://h.org/a b.tif",
        "https://h.org\\@evil.org/x.tif",
        "https://h.org/x\n.tif",
        "https://u:pass/word@h.org/x.tif",
        "/vsicurl?header_file=/etc/passwd&url=http%3A%2F%2Fu%3Apassword%40h.org",
        "/vsicurl/file:///etc/passwd",
        "/vsicurl/ftp://h.org/x.tif",
        "/vsicurl/s3://bucket/x.tif",
        "/vsis3/bucket",
        "/vsis3_streaming/bucket/x.tif",
        "/vsigs/bucket/x.tif",
        "/vsizip//vsicurl/https://h.org/a.zip/x.tif",
        "/vsimem/x.tif",
        "gs://bucket/x.tif",
        "ftp://u:password@h.org/x.tif",
        "file:///etc/passwd",
    ],
)
def test_other_names_are_refused(typed: str) -> None:
    assert remote.is_remote(Path(typed))
    with pytest.raises(SceneError, match=_REFUSED) as caught:
        open_remote(Path(typed))
    line = str(caught.value)
    assert line.isprintable()
    assert "password@" not in line
    assert "word@" not in line


def test_local_names_stay_local() -> None:
    for typed in ("scene.tif", "a/b.tif", "/data/x.tif", "C:/x.tif", "https", "./https:/x.tif?"[2:7]):
        assert not remote.is_remote(Path(typed))
        assert remote.shown(Path(typed)) == typed


def test_secrets_are_taken_out_of_any_text() -> None:
    text = "'/vsicurl/https://u:p@h/x.tif?sig=a', http://u:a/b@h/y failed; tcp://127.0.0.1:8786 is fine"
    assert remote.without_secrets(text) == (
        "'/vsicurl/https://h/x.tif http://h/y failed; tcp://127.0.0.1:8786 is fine"
    )
    assert remote.without_secrets("a?b c@d: e") == "a?b c@d: e"


# What is read, and what is asked for


@pytest.mark.parametrize("prefix", ["", "/vsicurl/"])
def test_a_scene_is_what_the_file_is(scene: Path, server: RangeServer, prefix: str) -> None:
    with (
        open_remote(Path(f"{prefix}http://127.0.0.1:{server.port}/scene.tif")) as found,
        Scene.open(scene) as file,
    ):
        assert (found.geobox, found.bands, found.dtype, found.nodata) == (file.geobox, (1, 2, 3), "uint8", 0)
        for window in (WHOLE, Window(-5, 290, 30, 30)):
            for ours, theirs in zip(found.read(window), file.read(window), strict=True):
                np.testing.assert_array_equal(ours, theirs)
        assert found.remote is not None
        assert found.remote.version.size == scene.stat().st_size
        found.check_unchanged()
    assert server.paths == {"/scene.tif"}
    assert [request.method for request in server.asked].count("GET") == 2


def test_nothing_but_the_named_file_is_asked_for(tmp_path: Path, server: RangeServer) -> None:
    bands = noise(4, 300, 300)
    masked = scenes.write_scene(tmp_path / "a.tif", bands[:3], mask=bands[0] > 100, tags={"a": "b"}, **TILES)
    name_an_overview(masked, f"/vsicurl/http://127.0.0.1:{server.port}/other.tif")
    vrt = scenes.raw_vrt(f"/vsicurl/http://127.0.0.1:{server.port}/other.tif").encode()
    xml = sidecar(f"/vsicurl/http://127.0.0.1:{server.port}/other.tif")
    server.files = {"/a/scene.tif": masked.read_bytes(), "/a/": b"<a href='scene.tif.ovr'>"} | {
        f"/a/scene.{suffix}": xml.encode() if "xml" in suffix else vrt
        for suffix in ("tif.ovr", "tif.aux.xml", "aux", "tif.msk", "tfw", "tif.vat.dbf", "RPB", "IMD", "ovr")
    }
    with open_remote(server.url("a/scene.tif")) as found:
        read, valid = found.read(Window(0, 0, 300, 300))
        np.testing.assert_array_equal(read[:, valid], bands[:3][:, bands[0] > 100])
        dataset = found._dataset
        # What GDAL looks for late, when it is asked for it.
        assert (dataset.overviews(1), dataset.rpcs, dataset.tags(ns="IMAGERY")) == ([], None, {})
        assert dataset.files == []
        dataset.read(1, out_shape=(20, 20))
        found.tags()
    assert server.paths == {"/a/scene.tif"}


LAYOUTS: dict[str, dict[str, Any]] = {
    "tiles": {**TILES, "interleave": "pixel"},
    "tiles by band": {**TILES, "interleave": "band"},
    "lines": {"blockysize": 1, "compress": "deflate", "interleave": "pixel"},
    "strips": {"blockysize": 60, "interleave": "band"},
    "one strip": {"blockysize": 600, "compress": "deflate", "interleave": "pixel"},
}

READ_WITH_SMALL_CACHES = """
import json, sys
from pathlib import Path
import rasterio._env
from geoseg.raster.rows import RowReader
from geoseg.raster.scene import Scene

rasterio._env.set_gdal_config("GDAL_CACHEMAX", 600_000)
sums = []
for url in sys.argv[1:]:
    with Scene.open(Path(url), remote=True) as scene:
        rows = RowReader(scene, 0, scene.geobox.width)
        parts = [rows.read(top, 96) for top in range(0, scene.geobox.height, 64)]
        sums.append([int(bands.sum()) + int(valid.sum()) for bands, valid in parts])
print(json.dumps(sums))
"""


def test_each_block_is_fetched_once_even_where_caches_are_too_small(tmp_path: Path) -> None:
    """One row of blocks of these scenes is larger than GDAL's cache of blocks, and than that of bytes."""
    pixels = np.random.default_rng(0).integers(1, 255, (4, 600, 1200), np.uint8)
    with serving({}) as server:
        sums = []
        for number, layout in enumerate(LAYOUTS.values()):
            path = tmp_path / f"{number}.tif"
            scenes.write_scene(path, pixels[:3], alpha=pixels[3], **layout)
            server.files[f"/{number}.tif"] = path.read_bytes()
            with Scene.open(path) as scene:
                rows = [scene.read(Window(0, top, 1200, 96)) for top in range(0, 600, 64)]
            sums.append([int(bands.sum()) + int(valid.sum()) for bands, valid in rows])
        urls = [f"http://127.0.0.1:{server.port}{path}" for path in server.files]
        done = subprocess.run(
            [sys.executable, "-c", READ_WITH_SMALL_CACHES, *urls],
            env=os.environ | {"CPL_VSIL_CURL_CACHE_SIZE": str(16 * CHUNK)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == sums
        for path, name in zip(server.files, LAYOUTS, strict=True):
            times = server.times_sent(path)
            assert times.min() == 1, name
            if "band" in name or name == "strips":
                # Bands lie apart: chunks of 16 KiB overlap at the ends of each band's rows.
                assert times.max() <= 2, name
                assert times.sum() <= 1.15 * len(times), name
            else:
                assert times.max() == 1, name


def test_a_server_without_head_is_asked_otherwise(server: RangeServer) -> None:
    def refuse_head(handler: Any) -> bool:
        if handler.command == "HEAD":
            handler.send_error(403)
        return bool(handler.command == "HEAD")

    server.hook = refuse_head
    with open_remote(server.url()) as found:
        np.testing.assert_array_equal(found.read(WHOLE)[0], BANDS)
        found.check_unchanged()


def test_a_mask_on_a_server(tmp_path: Path) -> None:
    ids = (np.arange(900).reshape(30, 30) % 3).astype(np.uint8)
    path = scenes.write_class_raster(tmp_path / "mask.tif", ids)
    with serving({"/mask.tif": path.read_bytes()}) as server:
        with open_mask(server.url("mask.tif"), remote=True) as mask:
            np.testing.assert_array_equal(mask.read(Window(0, 0, 30, 30)), ids)
        with pytest.raises(SceneError, match="is not a local file"):
            open_mask(server.url("mask.tif"))


# The fence


def name_an_overview(path: Path, target: str) -> None:
    """Name another file in the tags that GDAL keeps in the file itself."""
    with rasterio.open(path, "r+") as dataset:
        dataset.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=target)


def naming(folder: Path, target: str) -> list[Path]:
    """Files here that name a server, in all the ways that GDAL would follow."""
    plain = scenes.write_scene(folder / "sidecar.tif", scenes.ramp(1, 16, 16))
    (folder / "sidecar.tif.aux.xml").write_text(sidecar(target))
    overview = scenes.write_scene(folder / "overview.tif", scenes.ramp(1, 16, 16))
    (folder / "overview.tif.ovr").write_text(scenes.raw_vrt(target, size=8))
    (folder / "vrt.tif").write_text(scenes.raw_vrt(target))
    inside = scenes.write_scene(folder / "inside.tif", scenes.ramp(1, 16, 16))
    name_an_overview(inside, target)
    return [plain, overview, inside, folder / "vrt.tif"]


def open_all(paths: list[Path]) -> None:
    for path in paths:
        try:
            with Scene.open(path, remote=True) as found:
                found.read(Window(0, 0, 16, 16))
                found._dataset.read(out_shape=(1, 8, 8))
        except SceneError as error:
            assert any(text in str(error) for text in ("is a VRT", "takes its overviews"))  # noqa: PT017


@pytest.mark.parametrize("target", ["scene.tif", "other.tif"])
def test_files_here_do_not_reach_a_server_that_is_being_read(
    tmp_path: Path, server: RangeServer, target: str
) -> None:
    vsi = f"/vsicurl/http://127.0.0.1:{server.port}/{target}"
    paths = naming(tmp_path, vsi)
    entered, go_on = threading.Event(), threading.Event()

    def wait(handler: Any) -> None:
        if handler.headers.get("Range") not in {None, f"bytes=0-{CHUNK - 1}"}:
            entered.set()
            go_on.wait(20)

    with open_remote(server.url()) as found:
        open_all(paths)
        before = len(server.asked)
        assert before == 2
        server.hook = wait
        reader = threading.Thread(target=found.read, args=(WHOLE,))
        reader.start()
        assert entered.wait(20)
        # In the midst of a read, by another thread, which is allowed to ask for the scene.
        open_all(paths)
        with pytest.raises(SceneError, match="is not a local file"):
            open_raster(server.url())
        assert len(server.asked) == before
        go_on.set()
        reader.join()
        open_all(paths)
    assert server.paths == {"/scene.tif"}
    assert len(server.asked) == before + 1


def test_only_a_scene_may_be_an_address(server: RangeServer) -> None:
    with pytest.raises(LabelsError, match="is not a local file; download it first"):
        open_labels(server.url())
    with pytest.raises(LabelsError, match="is not a local file; download it first"):
        read_vector(server.url("labels.gpkg"))
    for opened in (open_raster, open_mask, Scene.open):
        with pytest.raises(SceneError, match="is not a local file; download it first"):
            opened(server.url())
    assert server.asked == []


def test_the_dead_proxy_is_the_process_s_and_the_user_s_own_is_used(
    server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving({}) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "localhost")
        with pytest.raises(SceneError, match="HTTP 404"):
            open_remote(server.url())
        assert [request.path for request in proxy.asked] == [f"http://127.0.0.1:{server.port}/scene.tif"]
        assert server.asked == []
        monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
        open_remote(server.url()).close()


def test_s3(server: RangeServer, scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files = {"/bucket/folder/scene.tif": scene.read_bytes()}
    for key, value in {
        "AWS_S3_ENDPOINT": f"127.0.0.1:{server.port}",
        "AWS_NO_SIGN_REQUEST": "YES",
        "AWS_HTTPS": "NO",
        "AWS_VIRTUAL_HOSTING": "FALSE",
    }.items():
        monkeypatch.setenv(key, value)
    for typed in ("s3://bucket/folder/scene.tif", "/vsis3/bucket/folder/scene.tif"):
        with open_remote(Path(typed)) as found:
            np.testing.assert_array_equal(found.read(WHOLE)[0], BANDS)
            found.check_unchanged()
        assert server.paths == {"/bucket/folder/scene.tif"}
    with pytest.raises(
        SceneError, match="cannot be opened: the server does not answer as S3 does; "
    ) as caught:
        open_remote(Path("s3://bucket/no.tif"))
    assert_one_line(caught.value)

    def no_such_key(handler: Any) -> bool:
        answer = b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message></Error>"
        handler.send_response(404)
        handler.send_header("Content-Type", "application/xml")
        handler.send_header("Content-Length", str(len(answer)))
        handler.end_headers()
        handler.wfile.write(answer)
        return True

    server.hook = no_such_key
    with pytest.raises(SceneError, match=r"scene s3://bucket/no\.tif cannot be opened: The specified key d"):
        open_remote(Path("s3://bucket/no.tif"))


# What goes wrong


def assert_one_line(error: GeosegError) -> None:
    assert str(error).isprintable()
    assert ";" in str(error)


@pytest.mark.parametrize("code", [401, 403, 404, 410, 500])
def test_a_server_that_refuses(server: RangeServer, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    server.hook = lambda handler: handler.send_error(code) or True
    with pytest.raises(
        SceneError, match=rf"scene http://\S+/scene\.tif cannot be opened: .*HTTP {code}\)"
    ) as caught:
        open_remote(server.url())
    assert_one_line(caught.value)
    # The failure is not remembered.
    server.hook = lambda _: None
    open_remote(server.url()).close()


def test_a_server_that_is_not_there(server: RangeServer) -> None:
    server.stop()
    with pytest.raises(
        SceneError, match=r"cannot be opened: Failed to connect .*; check the address"
    ) as caught:
        open_remote(server.url())
    assert_one_line(caught.value)
    with pytest.raises(SceneError, match="cannot be opened: Could not resolve host"):
        open_remote(Path("http://no.such.host.invalid/x.tif"))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html>Log in</html>", "is a web page; only a GeoTIFF"),
        (b"<VRTDataset>", "is a VRT, which can make GDAL read any other file; only a GeoTIFF"),
        (b"\x89PNG\r\n\x1a\n", "is of the format PNG; only a GeoTIFF"),
        (b"", "is an empty file; only a GeoTIFF"),
        (b"II*\x00" + bytes(50), "opening scene .* failed"),
    ],
)
def test_what_is_no_geotiff(server: RangeServer, content: bytes, what: str) -> None:
    server.files["/scene.tif"] = content
    with pytest.raises(SceneError, match=what) as caught:
        open_remote(server.url())
    assert_one_line(caught.value)


def test_a_server_that_gives_no_parts(server: RangeServer) -> None:
    server.gives_ranges = False
    with pytest.raises(SceneError, match=r"does not give parts of files \(HTTP ranges\); check"):
        open_remote(server.url())


def test_a_huge_block_is_refused(tmp_path: Path, server: RangeServer) -> None:
    server.files["/scene.tif"] = scenes.huge_strip_tiff(tmp_path / "scene.tif").read_bytes()
    with pytest.raises(SceneError, match=r"2147483647 x 1 pixels, 2\.1 GB each"):
        open_remote(server.url())


def test_a_server_that_hangs(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    over = threading.Event()
    server.hook = lambda _: over.wait(20)
    started = time.monotonic()
    with pytest.raises(SceneError, match="cannot be opened: ") as caught:
        open_remote(server.url())
    over.set()
    assert time.monotonic() - started < 10
    assert_one_line(caught.value)


def error_code(code: int) -> Callable[[Any], bool]:
    def hook(handler: Any) -> bool:
        handler.send_error(code)
        return True

    return hook


def cut_short(handler: Any) -> bool:
    handler.send_response(206)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(bytes(30_000))
    handler.close_connection = True
    return True


def too_little(handler: Any) -> bool:
    handler.send_response(206)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(bytes(1000))
    return True


def nothing(handler: Any) -> bool:
    handler.close_connection = True
    return True


@pytest.mark.parametrize(
    "answer", [error_code(404), error_code(403), error_code(500), cut_short, too_little, nothing]
)
def test_pixels_that_do_not_arrive_are_an_error(
    server: RangeServer, answer: Callable[[Any], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")

    def late(handler: Any) -> bool:
        first = handler.headers.get("Range") in {None, f"bytes=0-{CHUNK - 1}"}
        return not first and answer(handler)

    server.hook = late
    with open_remote(server.url()) as found:
        with pytest.raises(
            ReadError, match=r"reading columns 0\.\.399, rows 0\.\.299 of scene http://"
        ) as caught:
            found.read(WHOLE)
        assert "check the network, then run it again (predict: with --resume)" in str(caught.value)
        assert_one_line(caught.value)
    server.hook = lambda _: None
    with open_remote(server.url()) as found:
        np.testing.assert_array_equal(found.read(WHOLE)[0], BANDS)


def test_a_server_that_dies_is_told(server: RangeServer) -> None:
    with open_remote(server.url()) as found:
        server.stop()
        with pytest.raises(
            ReadError, match=r"scene\.tif failed: Failed to connect .*; check the network"
        ) as caught:
            found.read(WHOLE)
        assert_one_line(caught.value)
        with pytest.raises(ReadError, match="was read, but cannot be relied on: Failed to connect"):
            found.check_unchanged()


def test_a_passing_failure_is_got_over(server: RangeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.05")
    asked: list[str] = []

    def sometimes(handler: Any) -> bool:
        asked.append(handler.path)
        if len(asked) % 2:
            handler.send_error(503)
        return bool(len(asked) % 2)

    server.hook = sometimes
    with open_remote(server.url()) as found:
        np.testing.assert_array_equal(found.read(WHOLE)[0], BANDS)


@pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
def test_a_changed_file_is_noticed(server: RangeServer, header: str) -> None:
    server.headers = {header: "1"}
    with open_remote(server.url()) as found:
        assert found.remote is not None
        before = found.remote.fingerprint
        assert found.remote.tells_changes
        found.check_unchanged()
        server.headers = {header: "2"}
        with pytest.raises(
            ReadError, match="it is another file on the server by now; start anew with --over"
        ):
            found.check_unchanged()
    with open_remote(server.url()) as found:
        assert found.remote is not None
        assert found.remote.fingerprint != before
    server.headers = {}
    with open_remote(server.url()) as found:
        assert found.remote is not None
        assert not found.remote.tells_changes


def test_a_server_may_send_on_but_gets_no_password_there(server: RangeServer) -> None:
    with serving({"/scene.tif": server.files["/scene.tif"]}) as other:

        def send_on(handler: Any) -> bool:
            handler.send_response(302)
            handler.send_header("Location", str(other.url()).replace(":/", "://", 1))
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True

        server.hook = send_on
        with open_remote(server.url(user="me:password@")) as found:
            np.testing.assert_array_equal(found.read(WHOLE)[0], BANDS)
        assert {request.authorization is None for request in server.asked} == {False}
        assert {request.authorization for request in other.asked} == {None}

        def send_home(handler: Any) -> bool:
            handler.send_response(302)
            handler.send_header("Location", "file:///etc/passwd")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return True

        server.hook = send_home
        with pytest.raises(SceneError, match=r"sends on to where geoseg does not follow \(HTTP 302\)"):
            open_remote(server.url())


def test_rows_of_blocks_are_kept(server: RangeServer) -> None:
    with open_remote(server.url()) as found:
        assert found.block_rows == 128
        rows = RowReader(found, -10, 420)
        for top in (0, 32, 64, 150, 150, 128, 260):
            bands, valid = rows.read(top, 96)
            for ours, theirs in zip((bands, valid), found.read(Window(-10, top, 420, 96)), strict=True):
                np.testing.assert_array_equal(ours, theirs)
