"""Several scenes in one call, and what a call would take."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from models_of_tests import noise, write_model
from rasterio.windows import Window
from scenes import north_up, write_scene

from geoseg.config import PredictConfig
from geoseg.errors import ModelError, OutputError
from geoseg.estimate import estimate
from geoseg.predict import predict, predict_many
from geoseg.render.session import Request
from geoseg_cli.main import main

FP32 = PredictConfig(precision="fp32", size_px=64, overlap_px=32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture
def scenes(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "scenes"
    folder.mkdir()
    return [write_scene(folder / f"{name}.tif", noise(3, 80, 90, seed)) for seed, name in enumerate("abc")]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".aux.xml")}


def test_each_scene_gets_its_mask(tmp_path: Path, scenes: list[Path], model: Path) -> None:
    report = predict_many(
        scenes, tmp_path / "masks", model=model, config=FP32, probabilities=tmp_path / "shares"
    )
    assert names(tmp_path / "masks") == names(tmp_path / "shares") == {"a.tif", "b.tif", "c.tif"}
    assert [done.scene for done in report.done] == scenes
    predict(scenes[1], tmp_path / "alone.tif", model=model, config=FP32)
    with rasterio.open(tmp_path / "alone.tif") as alone, rasterio.open(tmp_path / "masks" / "b.tif") as many:
        np.testing.assert_array_equal(alone.read(), many.read())
    json.dumps(report.to_json())


def test_one_failure_does_not_stop_the_rest(tmp_path: Path, scenes: list[Path], model: Path) -> None:
    scenes[1].write_bytes(scenes[1].read_bytes()[:3000])
    report = predict_many(scenes, tmp_path / "masks", model=model, config=FP32)
    assert names(tmp_path / "masks") == {"a.tif", "c.tif"}
    assert list(report.failed) == [str(scenes[1])]
    assert "b.tif" in report.failed[str(scenes[1])]


def test_resume_leaves_finished_masks_alone(tmp_path: Path, scenes: list[Path], model: Path) -> None:
    predict_many(scenes[:2], tmp_path / "masks", model=model, config=FP32)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "masks").iterdir()}
    with pytest.raises(OutputError, match="--overwrite"):
        predict_many(scenes, tmp_path / "masks", model=model, config=FP32)
    report = predict_many(scenes, tmp_path / "masks", model=model, config=FP32, resume=True)
    assert report.skipped == scenes[:2]
    assert [done.scene for done in report.done] == scenes[2:]
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_what_is_wrong_for_all_is_told_before_any_work(
    tmp_path: Path, scenes: list[Path], model: Path
) -> None:
    twin = write_scene(tmp_path / "a.tif", noise(3, 64, 64))
    with pytest.raises(OutputError, match=r"would both become .*a\.tif; predict them apart"):
        predict_many([*scenes, twin], tmp_path / "masks", model=model, config=FP32)
    with pytest.raises(ModelError, match="does not exist"):
        predict_many(scenes, tmp_path / "masks", model=tmp_path / "no.safetensors", config=FP32)
    with pytest.raises(OutputError, match="both input and output"):
        predict_many(scenes, tmp_path / "scenes", model=model, config=FP32, overwrite=True)
    assert not (tmp_path / "masks").exists()


def test_exit_code_tells(
    tmp_path: Path, scenes: list[Path], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "predict",
        *map(str, scenes),
        "-o",
        str(tmp_path / "masks"),
        "--model",
        str(model),
        "--size",
        "64",
    ]
    assert main(words) == 0
    assert "wrote 3 masks to" in capsys.readouterr().err
    scenes[2].write_bytes(b"II*\0")
    assert main([*words, "--overwrite"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "geoseg: error: 1 of 3 scenes failed; see the warnings above"
    assert any(line.startswith("geoseg: warning: ") and "c.tif" in line for line in lines)


def test_a_folder_as_output_of_one_scene(tmp_path: Path, scenes: list[Path], model: Path) -> None:
    (tmp_path / "masks").mkdir()
    words = ["predict", str(scenes[0]), "-o", str(tmp_path / "masks"), "--model", str(model)]
    assert main([*words, "--size", "64", "--quiet"]) == 0
    assert names(tmp_path / "masks") == {"a.tif"}


def test_dry_run_writes_nothing(
    tmp_path: Path, scenes: list[Path], model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    words = ["predict", str(scenes[0]), "-o", str(tmp_path / "mask.tif"), "--model", str(model)]
    assert main([*words, "--size", "64", "--dry-run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(tmp_path.rglob("*")) == before
    assert (found["chips"], found["blocks"], found["shape"]) == (4, 1, [80, 90])
    assert found["seconds"] > 0
    assert found["memory_mb"] > 100
    assert main([*words, "--dry-run"]) == 0
    assert "nothing was written" in capsys.readouterr().err


def test_a_huge_scene_can_be_planned(tmp_path: Path, model: Path) -> None:
    scene = tmp_path / "huge.tif"
    profile = {"driver": "GTiff", "width": 100_000, "height": 100_000, "count": 3, "dtype": "uint8"}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "SPARSE_OK": True, "BIGTIFF": "YES"}
    with rasterio.open(
        scene, "w", **profile, **layout, crs="EPSG:32633", transform=north_up(0.5), compress="deflate"
    ) as dataset:
        dataset.write(noise(3, 2048, 2048), window=Window(49_000, 49_000, 2048, 2048))
    config = PredictConfig(size_px=512)
    found = estimate(Request(scene=scene, model=model, config=config))
    assert found.shape == (100_000, 100_000)
    assert found.chips == 261**2
    assert found.seconds is not None
    small = estimate(
        Request(scene=scene, model=model, config=config, window=Window(45_000, 45_000, 20_000, 20_000))
    )
    assert small.chips < found.chips / 20
    assert abs(small.memory_mb - found.memory_mb) < 0.1 * found.memory_mb
    assert list(tmp_path.iterdir()) == [scene]
