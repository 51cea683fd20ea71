"""Reports: data on stdout only with --json, everything else on stderr, options on their way to the stages."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_of_tests import write_model
from rasterio.windows import Window
from scenes import write_scene

import geoseg.evaluate
import geoseg.predict
import geoseg.train
import geoseg.vectorize
from geoseg.config import Config, PredictConfig, TrainConfig, VectorizeConfig
from geoseg.evaluate import EvaluateReport
from geoseg.predict import PredictReport
from geoseg.render.work import Resources
from geoseg.train import TrainReport
from geoseg.vectorize import VectorizeReport
from geoseg_cli import report, terminal
from geoseg_cli.main import main

PREDICTED = PredictReport(
    output=Path("mask.tif"),
    scene=Path("scene.tif"),
    model=Path("runs/a/model.safetensors"),
    shape=(8, 8),
    class_pixels={"field": 30, "[red]wood[/red]": 10},
    nodata_pixels=24,
    chips=1,
    skipped=0,
    blocks=1,
    resumed_blocks=0,
    probabilities=None,
    uncertainty=None,
    seconds=1.5,
    peak_mb=100.0,
    device="cpu",
    workers=2,
)
VECTORIZED = VectorizeReport(
    output=Path("x.gpkg"),
    mask=Path("scene.tif"),
    polygons={"field": 2},
    area_m2=None,
    filled=0,
    dissolved=0,
    dropped=0,
    vertices=10,
    seconds=0.1,
)


@dataclass
class Calls:
    """What the stages were called with."""

    positional: list[tuple[Any, ...]] = field(default_factory=list)
    keywords: list[dict[str, Any]] = field(default_factory=list)

    def returning(self, value: Any) -> Any:
        def stage(*args: Any, progress: Any, **keywords: Any) -> Any:
            progress.begin("work", 1, "chips")
            progress.advance()
            progress.note("device cpu")
            progress.end()
            self.positional.append(args)
            self.keywords.append(keywords)
            return value

        return stage


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    write_scene(tmp_path / "scene.tif", np.ones((8, 8), np.uint8))
    calls = Calls()
    monkeypatch.setattr(geoseg.predict, "predict", calls.returning(PREDICTED))
    monkeypatch.setattr(geoseg.vectorize, "vectorize", calls.returning(VECTORIZED))
    return calls


PREDICT = ["predict", "scene.tif", "-o", "mask.tif"]


def test_report_goes_to_stderr_and_says_what_is_next(
    calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(PREDICT) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "device cpu"
    assert lines[-2] == "wrote mask.tif (8 x 8 px, 24 px nodata) in 0:02"
    assert lines[-1] == "next: geoseg vectorize mask.tif -o mask.gpkg"
    assert any("[red]wood[/red]" in line and "25.0%" in line for line in lines)


def test_json_is_one_object_and_silences_the_rest(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*PREDICT, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == json.loads(json.dumps(PREDICTED.to_json() | {"report": None}))
    assert captured.err == ""


@pytest.mark.parametrize("args", [["-q", *PREDICT], [*PREDICT, "-q"], [*PREDICT, "--quiet"]])
def test_quiet_before_and_after_the_verb(
    args: list[str], calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 0
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize("args", [["-v", *PREDICT], [*PREDICT, "-v"], ["-v", *PREDICT, "-v"]])
def test_verbose_before_and_after_the_verb(args: list[str], calls: Calls) -> None:
    assert main(args) == 0


def test_options_reach_the_stage(calls: Calls) -> None:
    write_model(Path("model.safetensors"))
    args = ["--size", "128", "--overlap", "32", "--batch-size", "2", "--precision", "fp32", "--no-refine"]
    args += ["--margin", "0.5", "--bands", "3,1", "--nodata", "7", "--points-per-pixel", "0.1"]
    args += ["--scale", "2", "--tta", "--window", "1,2,30,40", "--probabilities", "p.tif", "--resume"]
    args += ["--uncertainty", "u.tif", "--workers", "3", "--memory", "1.5GB"]
    assert main([*PREDICT, *args, "--device", "cpu", "-m", "model.safetensors", "--overwrite"]) == 0
    assert calls.positional == [(Path("scene.tif"), Path("mask.tif"))]
    assert calls.keywords == [
        {
            "model": Path("model.safetensors"),
            "config": PredictConfig(
                size_px=128,
                overlap_px=32,
                batch_size=2,
                precision="fp32",
                refine=False,
                margin=0.5,
                bands=(3, 1),
                nodata=7,
                points_per_pixel=0.1,
                scale=2,
                tta=True,
            ),
            "device": "cpu",
            "overwrite": True,
            "resume": True,
            "qml": False,
            "window": Window(1, 2, 30, 40),
            "bounds": None,
            "aoi": None,
            "probabilities": Path("p.tif"),
            "uncertainty": Path("u.tif"),
            "resources": Resources(workers=3, memory_mb=1500.0),
        }
    ]


def test_nothing_given_is_the_configured_default(calls: Calls) -> None:
    assert main(PREDICT) == 0
    assert main(["vectorize", "scene.tif", "-o", "x.gpkg"]) == 0
    assert calls.keywords[0]["config"] == PredictConfig()
    assert calls.positional[1][2] == VectorizeConfig()


def test_class_names_are_split_at_commas(calls: Calls) -> None:
    assert main(["vectorize", "scene.tif", "-o", "x.gpkg", "--classes", "field, wet wood", "--no-style"]) == 0
    assert calls.positional[0][2] == VectorizeConfig(classes=("field", "wet wood"), style=False)


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Calls:
    (tmp_path / "chips").mkdir()
    calls = Calls()
    done = TrainReport(
        run=Path("runs/a"),
        model=Path("runs/a/model.safetensors"),
        epochs=2,
        best_epoch=1,
        best_miou=0.5,
        best_iou={"field": 0.5, "wood": None},
        best_boundary_iou=None,
        train_chips=1,
        val_chips=1,
        seconds=1.0,
        device="cpu",
        processes=1,
        report=Path("runs/a/report.html"),
    )
    monkeypatch.setattr(geoseg.train, "train", calls.returning(done))
    return calls


def test_train_needs_nothing_but_chips(trained: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--tiles", "./chips"]) == 0
    assert trained.positional == [(Path("chips"),)]
    assert trained.keywords == [
        {
            "run": None,
            "config": Config(),
            "resume": False,
            "device": "auto",
            "overwrite": False,
            "threads": None,
            "report": True,
            "command": "geoseg train --tiles ./chips",
        }
    ]
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "next: geoseg predict scene.tif -o mask.tif --model runs/a"


def test_flags_go_before_set_before_config_before_defaults(trained: Calls) -> None:
    Path("mine.yaml").write_text("train: {epochs: 5, batch_size: 5, seed: 5}\nmodel: {head_depth: 2}\n")
    args = ["--config", "mine.yaml", "--set", "train.batch_size=6", "--set", "train.seed=6", "--seed", "7"]
    assert main(["train", "--tiles", "chips", *args]) == 0
    config: Config = trained.keywords[0]["config"]
    assert config.train == TrainConfig(epochs=5, batch_size=6, seed=7)
    assert config.model.head_depth == 2


def test_resume_leaves_the_settings_to_the_run(trained: Calls) -> None:
    Path("runs/a").mkdir(parents=True)
    Path("runs/a/config.yaml").write_text("train: {epochs: 5, seed: 3}\n")
    assert main(["train", "--tiles", "chips", "--resume", "runs/a"]) == 0
    assert main(["train", "--tiles", "chips", "--resume", "runs/a", "--epochs", "9"]) == 0
    assert [k["resume"] for k in trained.keywords] == [True, True]
    assert trained.keywords[0]["config"] is None
    assert trained.keywords[1]["config"].train == TrainConfig(epochs=9, seed=3)


def scores(miou: float) -> EvaluateReport:
    return EvaluateReport(
        prediction=Path("scene.tif"),
        truth=Path("labels.gpkg"),
        split=None,
        refine=None,
        iou={"field": miou, "wood": math.nan},
        precision={"field": 1.0, "wood": math.nan},
        recall={"field": 1.0, "wood": math.nan},
        f1={"field": 1.0, "wood": math.nan},
        boundary_iou={"field": 0.25, "wood": math.nan},
        miou=miou,
        mean_boundary_iou=0.25,
        accuracy=1.0,
        boundary_px=2,
        confusion=((1, 0), (0, 0)),
        pixels=1,
        unpredicted_pixels=1,
        ignored_pixels=0,
    )


@pytest.mark.parametrize(("miou", "code"), [(0.9, 0), (0.8, 0), (0.799, 3), (math.nan, 3)])
def test_min_miou(
    miou: float, code: int, calls: Calls, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("labels.gpkg").touch()
    monkeypatch.setattr(geoseg.evaluate, "evaluate", calls.returning(scores(miou)))
    assert main(["evaluate", "scene.tif", "labels.gpkg", "--min-miou", "0.8", "--json"]) == code
    captured = capsys.readouterr()
    assert json.loads(captured.out)["iou"]["wood"] is None  # the report comes in any case
    assert captured.err.startswith("geoseg: error: mIoU ") == (code == 3)
    assert captured.err.count("\n") == (1 if code else 0)


def test_evaluate_prints_a_table(
    calls: Calls, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("labels.gpkg").touch()
    monkeypatch.setattr(geoseg.evaluate, "evaluate", calls.returning(scores(0.5)))
    assert main(["evaluate", "scene.tif", "labels.gpkg"]) == 0
    shown = capsys.readouterr().err
    assert ["wood", "-", "-", "-", "-", "-"] in [line.split() for line in shown.splitlines()]
    assert "left out: 50.00% of the labelled land" in shown


def test_emitted_json_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    values = {"a": math.nan, "b": (np.float32(0.5), np.int64(3)), "c": Path("x"), 1: {"d": math.inf}}
    terminal.emit_json(values)
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [0.5, 3], "c": "x", "1": {"d": None}}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (math.nan, "-"),
        (True, "yes"),
        (1234567, "1,234,567"),
        (0.12344, "0.1234"),
        (12345.6, "12,346"),
    ],
)
def test_numbers_for_people(value: Any, text: str) -> None:
    assert report.number(value) == text


def test_commands_can_be_pasted() -> None:
    assert report.command("predict", Path("my scene.tif")) == "geoseg predict 'my scene.tif'"
    assert report.command("predict", "-o", Path("-o.tif")) == "geoseg predict -o ./-o.tif"


def test_info_of_a_scene(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "scene.tif", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == "scene"
    assert facts["size_px"] == [8, 8]
    assert facts["crs"] == "EPSG:32633"
    assert main(["info", "scene.tif"]) == 0
    assert "EPSG:32633" in capsys.readouterr().out
