"""The verbs on a scene that lies on a server: the answer of the local file, and nothing lost in a failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from models_of_tests import noise, write_model
from range_server import RangeServer, serving
from rasterio.windows import Window
from scenes import north_up, pixel_box, write_class_raster, write_labels, write_scene

from geoseg.config import PredictConfig, TileConfig, VectorizeConfig
from geoseg.errors import OutputError, ReadError
from geoseg.estimate import estimate
from geoseg.evaluate import evaluate
from geoseg.predict import predict, predict_many
from geoseg.progress import SilentProgress
from geoseg.raster.scene import Scene
from geoseg.render.journal import journal_folder
from geoseg.render.session import Request
from geoseg.seams import check_seams
from geoseg.tile import tile
from geoseg.vectorize import vectorize
from geoseg_cli.main import main

FP32 = PredictConfig(precision="fp32", size_px=64, overlap_px=32)
TILES: dict[str, Any] = {"tiled": True, "blockxsize": 64, "blockysize": 64, "interleave": "pixel"}
SHAPE = (420, 140)
CHUNK = 16_384


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", noise(3, *SHAPE), **TILES)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, scene: Path, model: Path) -> bytes:
    """The mask of the local file."""
    mask = tmp_path_factory.mktemp("expected") / "mask.tif"
    predict(scene, mask, model=model, config=FP32)
    return mask.read_bytes()


@pytest.fixture
def server(scene: Path) -> Iterator[RangeServer]:
    with serving({"/scene.tif": scene.read_bytes()}) as server:
        yield server


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_mask_is_that_of_the_file_and_each_byte_is_fetched_once(
    tmp_path: Path, server: RangeServer, model: Path, expected: bytes
) -> None:
    mask = tmp_path / "mask.tif"
    report = predict(server.url(), mask, model=model, config=FP32)
    assert mask.read_bytes() == expected
    assert report.to_json()["scene"] == f"http://127.0.0.1:{server.port}/scene.tif"
    assert server.paths == {"/scene.tif"}
    times = server.times_sent()
    assert (times.min(), times.max()) == (1, 1)
    # Asked for at the beginning and at the end; the first chunk; and one request for a row of blocks or two.
    assert [request.method for request in server.asked].count("HEAD") == 2
    assert len(server.asked) <= 3 + -(-SHAPE[0] // 64)
    assert names(tmp_path) == {"mask.tif", "mask.tif.aux.xml"}


class _At(SilentProgress):
    """Does something once, after some chips."""

    def __init__(self, chips: int, action: Any) -> None:
        self.left, self.action = chips, action

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left < 0 and self.action is not None:
            action, self.action = self.action, None
            action()


def dies_after(server: RangeServer, count: int) -> None:
    """Let the server be gone after some answers."""

    def hook(handler: Any) -> bool:
        if len(server.asked) >= count:
            server.hook = lambda _: None
            handler.close_connection = True
            server.stop()
            return True
        return False

    server.hook = hook


def test_a_server_that_dies_costs_nothing_but_time(
    tmp_path: Path, server: RangeServer, model: Path, expected: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    mask = tmp_path / "mask.tif"
    words = ["predict", str(server.url()), "-o", str(mask), "--model", str(model), "--workers", "1"]
    words += ["--size", "64", "--overlap", "32", "--precision", "fp32", "--quiet"]
    dies_after(server, 5)
    assert main(words) == 1
    told = capsys.readouterr().err
    assert told.startswith("geoseg: error: reading columns ")
    assert told.endswith("; check the network, then run it again (predict: with --resume)\n")
    assert told.count("\n") == 1
    kept = list(journal_folder(mask).glob("*.block"))
    assert kept
    assert not mask.exists()
    assert main([*words, "--resume"]) == 2
    assert "cannot be opened: Failed to connect" in capsys.readouterr().err
    assert list(journal_folder(mask).glob("*.block")) == kept
    server.start()
    server.asked.clear()
    assert main([*words, "--resume"]) == 0
    assert mask.read_bytes() == expected
    assert names(tmp_path) == {"mask.tif", "mask.tif.aux.xml"}
    times = server.times_sent()
    assert times.max() == 1
    assert times.sum() < len(times), "what was done before is not fetched again"


def test_a_scene_that_changes_is_refused(tmp_path: Path, server: RangeServer, model: Path) -> None:
    mask = tmp_path / "mask.tif"

    def replace() -> None:
        server.headers = {"ETag": '"2"'}

    options: dict[str, Any] = {"model": model, "config": FP32, "window": Window(0, 0, 64, 64)}
    with pytest.raises(ReadError, match="it is another file on the server by now; start anew with --over"):
        predict(server.url(), mask, **options, progress=_At(2, replace))
    assert not mask.exists()
    with pytest.raises(OutputError, match=r"was begun with another scene; .* start anew with --overwrite"):
        predict(server.url(), mask, **options, resume=True)
    report = predict(server.url(), mask, **options, overwrite=True)
    assert report.resumed_blocks == 0


def test_a_server_without_versions_gets_a_warning(tmp_path: Path, server: RangeServer, model: Path) -> None:
    warnings: list[str] = []

    class Heard(SilentProgress):
        def warn(self, text: str) -> None:
            warnings.append(text)

    server.headers = {}
    predict(
        server.url(),
        tmp_path / "mask.tif",
        model=model,
        config=FP32,
        window=Window(0, 0, 64, 64),
        progress=Heard(),
    )
    assert ["tells neither ETag nor date" in text for text in warnings] == [True]


def test_no_password_is_ever_shown(
    tmp_path: Path,
    server: RangeServer,
    model: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url = str(server.url(user="me:hunter2@", query="?token=hunter3"))
    part = ["--model", str(model), "--size", "64", "--window", "0,0,32,32"]
    words = ["predict", url, "-o", "mask.tif", *part]
    assert main([*words, "--json", "-v", "--debug"]) == 0
    found = capfd.readouterr()
    assert json.loads(found.out)["scene"] == f"http://127.0.0.1:{server.port}/scene.tif"
    assert {request.authorization is None for request in server.asked} == {False}
    assert {request.path for request in server.asked} == {"/scene.tif?token=hunter3"}
    assert (
        main(["predict", url.replace("scene", "none"), url.replace("scene", "no"), "-o", "masks", *part]) == 1
    )
    assert main(["predict", url.replace("scene", "none"), "-o", "x.tif", *part, "--debug"]) == 2
    assert main(["predict", url, "-o", "mask.tif", *part]) == 2  # it exists
    assert main(["predict", url, "-o", url, *part]) == 2
    assert main(["predict", "a.tif", "-o", "b.tif", "--model", url]) == 2
    assert main(["evaluate", "a.tif", url]) == 2
    assert main(["info", url]) == 2
    assert main(["vectorize", url, "-o", "x.gpkg"]) == 2
    assert main(["tile", url, "-l", url, "-o", "chips"]) == 2
    server.stop()
    assert main([*words, "--overwrite", "--debug"]) == 2
    shown = found.out + found.err + "".join(capfd.readouterr())
    assert "scene.tif" in shown
    assert "hunter" not in shown
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or b"hunter" not in path.read_bytes(), path


def test_no_password_is_told_for_going_on(
    server: RangeServer, model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: Scene) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Scene, "check_unchanged", interrupt)
    url = str(server.url(user="me:hunter2@", query="?token=hunter3"))
    assert main(["predict", url, "-o", "mask.tif", "--model", str(model), "--window", "0,0,32,32"]) == 130
    told = capsys.readouterr().err
    assert f"go on with: geoseg predict http:/127.0.0.1:{server.port}/scene.tif -o mask.tif" in told
    assert "hunter" not in told


def test_many_scenes_get_names_without_queries(
    tmp_path: Path, server: RangeServer, model: Path, expected: bytes
) -> None:
    urls = [server.url(query="?a=b.c"), server.url("none.tif")]
    report = predict_many(urls, tmp_path / "masks", model=model, config=FP32)
    assert (tmp_path / "masks" / "scene.tif").read_bytes() == expected
    assert list(report.failed) == [f"http://127.0.0.1:{server.port}/none.tif"]
    again = predict_many(urls[:1], tmp_path / "masks", model=model, config=FP32, resume=True)
    assert again.to_json()["skipped"] == [f"http://127.0.0.1:{server.port}/scene.tif"]
    with pytest.raises(
        OutputError, match=r"http://\S+/scene\.tif and http://\S+/scene\.tif would both become"
    ):
        predict_many([server.url(), server.url(query="?b")], tmp_path / "more", model=model, config=FP32)


def test_seams_and_estimates(tmp_path: Path, server: RangeServer, scene: Path, model: Path) -> None:
    part = Window(32, 64, 32, 32)
    found, file = (
        check_seams(Request(scene=path, model=model, config=FP32, window=part))
        for path in (server.url(), scene)
    )
    assert (found.pixels, found.changed) == (file.pixels, file.changed)
    assert found.to_json()["scene"] == f"http://127.0.0.1:{server.port}/scene.tif"
    planned = estimate(Request(scene=server.url(), model=model, config=FP32))
    assert planned.shape == SHAPE
    assert server.paths == {"/scene.tif"}


def test_chips_are_those_of_the_file(tmp_path: Path, server: RangeServer, scene: Path) -> None:
    (tmp_path / "labels").mkdir()
    transform = north_up()
    polygons = [pixel_box(transform, 20, 20, 60, 80), pixel_box(transform, 120, 60, 250, 50)]
    write_labels(tmp_path / "labels" / "scene.gpkg", polygons)
    config = TileConfig(size_px=64, overlap_px=16, block_px=128)
    for name, path in (("there", server.url(query="?sig=1")), ("here", scene)):
        tile([path], [tmp_path / "labels"], tmp_path / name, config)
    there, here = (sorted((tmp_path / name).rglob("*.*")) for name in ("there", "here"))
    assert [path.relative_to(tmp_path / "there") for path in there] == [
        path.relative_to(tmp_path / "here") for path in here
    ]
    for ours, theirs in zip(there, here, strict=True):
        if ours.suffix in {".tif", ".json"}:
            assert ours.read_bytes() == theirs.read_bytes(), ours.name
    # The scene is opened twice, once to look at it.
    times = server.times_sent()
    assert (times[:CHUNK].max(), times[CHUNK:].max()) == (2, 1)
    with rasterio.open(
        there[-1] if there[-1].suffix == ".tif" else next(p for p in there if p.suffix == ".tif")
    ):
        pass


def test_a_mask_on_a_server_is_evaluated(tmp_path: Path) -> None:
    ids = np.zeros((40, 60), np.uint8)
    ids[10:30, 10:40] = 1
    mask = write_class_raster(tmp_path / "mask.tif", ids)
    truth = write_class_raster(tmp_path / "truth.tif", np.roll(ids, 2, axis=1))
    with serving({"/mask.tif": mask.read_bytes()}) as server:
        found = evaluate(server.url("mask.tif"), truth)
        assert found.iou == evaluate(mask, truth).iou
        assert found.to_json()["prediction"] == f"http://127.0.0.1:{server.port}/mask.tif"
        assert server.times_sent("/mask.tif").max() == 1


def test_polygons_of_a_mask_on_a_server(scene: Path, tmp_path: Path) -> None:
    ids = (noise(1, 120, 90)[0] > 128).astype(np.uint8)
    mask = write_class_raster(tmp_path / "mask.tif", ids, **TILES)
    with serving({"/mask.tif": mask.read_bytes()}) as server:
        config = VectorizeConfig(simplify_px=0)
        here = vectorize(mask, tmp_path / "here.fgb", config)
        there = vectorize(Path(server.url("/mask.tif")), tmp_path / "there.fgb", config)
    assert there.polygons == here.polygons
    assert (tmp_path / "there.fgb").read_bytes() == (tmp_path / "here.fgb").read_bytes().replace(
        b"here", b"there"
    )
