from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rasterio.windows import Window
from runs_of_tests import take_apart

from geoseg.classes import IGNORE
from geoseg.demo import demo, demo_config
from geoseg.demo_objects import demo_objects
from geoseg.demo_steps import MARKER
from geoseg.errors import ConfigError, OutputError
from geoseg.raster.mask import open_mask
from geoseg.raster.scene import Scene
from geoseg.raster.vectors import read_vector
from geoseg.sample.farmland import CLASSES

TINY = {"epochs": 1, "train_px": 384, "unseen_px": 320, "device": "cpu"}


def test_existing_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        demo(tmp_path / "demo")
    with pytest.raises(OutputError, match=f"no {MARKER}"):
        demo(tmp_path / "demo", overwrite=True)
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["thesis.txt"]


def test_a_failed_demo_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cuda:99"):
        demo(tmp_path / "demo", **(TINY | {"device": "cuda:99"}))  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_failed_demo_puts_the_earlier_one_back(tmp_path: Path) -> None:
    earlier = tmp_path / "demo"
    earlier.mkdir()
    (earlier / MARKER).write_text("{}")
    (earlier / "mask.tif").write_text("old")
    with pytest.raises(ConfigError, match="cuda:99"):
        demo(earlier, overwrite=True, **(TINY | {"device": "cuda:99"}))  # type: ignore[arg-type]
    assert (earlier / "mask.tif").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]


def test_epochs_are_passed_on() -> None:
    config = demo_config(("background", "field", "trees"), epochs=7)
    assert config.train.epochs == 7
    assert config.loss.class_weights == (0.85, 0.65, 0.95)


@pytest.mark.slow
def test_the_whole_pipeline_from_nothing(tmp_path: Path) -> None:
    report = demo(tmp_path / "demo", seed=1, command="geoseg demo", **TINY)  # type: ignore[arg-type]

    assert sorted(path.name for path in report.output.iterdir() if path.suffix != ".xml") == [
        "chips", "demo.json", "labels_train.gpkg", "labels_unseen.gpkg", "mask.tif", "mask_coarse.tif",
        "overlay.png", "parcels.gpkg", "report.html", "run", "scene_train.tif", "scene_unseen.tif",
        "uncertainty.tif",
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert json.loads((report.output / MARKER).read_text()) == json.loads(json.dumps(report.to_json()))

    with Scene.open(report.scene) as scene, open_mask(report.mask) as mask:
        assert mask.geobox.same_grid(scene.geobox)
        assert mask.classes is not None
        assert mask.classes.names == ("background", *sorted(CLASSES))
        window = Window(0, 0, scene.geobox.width, scene.geobox.height)
        _, valid = scene.read(window)
        assert ((mask.read(window) == IGNORE) == ~valid).all()
    polygons = read_vector(report.polygons)
    assert len(polygons) == sum(report.polygon_count.values())
    assert set(polygons["class_name"]) <= set(CLASSES)

    for scores in (report.refined, report.coarse):
        assert 0.0 < scores.miou < 1.0
        assert scores.truth == report.labels
    assert report.overlay.read_bytes().startswith(b"\x89PNG")
    assert not report.overlay.with_name("overlay.png.aux.xml").exists()
    assert report.refined.objects is not None
    assert report.report is not None
    page = take_apart(report.report.read_text(encoding="utf-8"))
    data = json.loads(page.one("script", id="map-data").text())
    assert [raster["title"] for raster in data["rasters"]] == [
        "scene", "mask.tif", "mask_coarse.tif", "uncertainty",
    ]  # fmt: skip
    found = ["polygons"] if len(polygons) else []
    assert [vector["title"] for vector in data["vectors"]] == [*found, "labels"]
    told = page.one("section", id="scores").text()
    assert f"{report.refined.miou:.3f}" in told
    assert f"{report.coarse.miou:.3f}" in told
    assert page.one("section", id="run")
    assert page.one("section", id="command").text().endswith("geoseg demo")
    assert report.seconds >= sum(report.stage_seconds.values()) > 0.0
    assert set(report.stage_seconds) == {
        "scenes", "tile", "train", "predict", "predict_coarse", "vectorize", "evaluate", "draw", "report",
    }  # fmt: skip

    with pytest.raises(OutputError, match="exists"):
        demo(tmp_path / "demo", **TINY)  # type: ignore[arg-type]


@pytest.mark.slow
def test_the_way_of_objects_from_nothing(tmp_path: Path) -> None:
    tiny: dict[str, Any] = {"epochs": 1, "villages": 2, "unseen_px": 256, "device": "cpu"}
    report = demo_objects(tmp_path / "roofs", seed=3, **tiny)

    made = {path.name for path in report.output.iterdir()}
    assert made == {
        "chips", "demo.json", "labels_train_01.gpkg", "labels_train_02.gpkg", "labels_unseen.gpkg",
        "overlay.png", "report.html", "roofs.gpkg", "run", "scene_train_01.tif", "scene_train_02.tif",
        "scene_unseen.tif",
    }  # fmt: skip
    assert json.loads((report.output / MARKER).read_text()) == json.loads(json.dumps(report.to_json()))
    found, truth = read_vector(report.polygons), read_vector(report.labels)
    assert (found["score"] >= 0.05).all()
    assert report.objects == (found["score"] >= 0.5).sum()
    detections = report.scores.objects.detections
    assert detections is not None
    assert detections.all.predicted == len(found)
    # A score is of whole roofs: those of the scene, less slivers that its edge cut.
    assert 0 < detections.all.truth <= len(truth)
    assert report.overlay.read_bytes().startswith(b"\x89PNG")
    assert report.report is not None
    page = take_apart(report.report.read_text(encoding="utf-8"))
    titles = [vector["title"] for vector in json.loads(page.one("script", id="map-data").text())["vectors"]]
    assert titles == (["polygons", "labels"] if report.objects else ["labels"])
    assert set(report.stage_seconds) == {"scenes", "tile", "train", "predict", "evaluate", "draw", "report"}

    with pytest.raises(OutputError, match="exists"):
        demo_objects(tmp_path / "roofs", **tiny)
