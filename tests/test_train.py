"""Training on chips with a known answer: it learns, and nothing that stops it costs more than an epoch."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scenes import north_up, pixel_box, write_labels, write_scene

from geoseg.chips.dataset import ChipDataset, ChipItem
from geoseg.config import Config, TileConfig
from geoseg.errors import ChipsError, ConfigError, ModelError, OutputError, TrainingError
from geoseg.models.card import read_card
from geoseg.presets import dump_config, load_config
from geoseg.progress import SilentProgress
from geoseg.tile import tile
from geoseg.train import train

TIMINGS = {"seconds", "samples_per_s", "wait_share"}


def small(**values: Any) -> Config:
    """A configuration of quick epochs; ``section__key=value`` sets more."""
    overrides = {"model__head_width": 16, "train__batch_size": 2, "train__precision": "fp32"}
    overrides |= {"train__epochs": 3, "train__learning_rate": 3e-3, "train__ema_decay": 0.9} | values
    return load_config(None, [f"{key.replace('__', '.')}={json.dumps(v)}" for key, v in overrides.items()])


class Watching(SilentProgress):
    """Remembers what was said, and can stop the run after some steps."""

    def __init__(self, stop_after: int | None = None, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.steps = 0
        self.stop_after = stop_after
        self.error = error
        self.rows: list[Mapping[str, float | int | str]] = []
        self.said: list[str] = []
        self.open_pieces = 0
        self.total = 0

    def begin(self, name: str, total: int, unit: str) -> None:  # noqa: ARG002
        self.open_pieces += 1
        self.total = total

    def end(self) -> None:
        self.open_pieces -= 1

    def advance(self, count: int = 1) -> None:
        self.steps += count
        if self.steps == self.stop_after:
            raise self.error

    def row(self, values: Mapping[str, float | int | str]) -> None:
        self.rows.append(values)

    def note(self, text: str) -> None:
        self.said.append(text)

    warn = note


def resplit(chips: Path, splits: list[str]) -> None:
    """Give the chips of a folder other splits, in order; chips without a split are dropped."""
    file = chips / "chips.json"
    values = json.loads(file.read_text())
    values["chips"] = values["chips"][: len(splits)]
    for chip, split in zip(values["chips"], splits, strict=True):
        chip["split"] = split
    file.write_text(json.dumps(values))


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five chips to train on and two to validate on: bright roofs on dark ground, water on the first only."""
    folder = tmp_path_factory.mktemp("chips")
    rng = np.random.default_rng(0)
    bands = rng.integers(60, 90, (3, 128, 256)).astype(np.uint8)
    places, names = [], []
    for chip in range(8):
        row, col = 64 * (chip // 4) + int(rng.integers(2, 20)), 64 * (chip % 4) + int(rng.integers(2, 20))
        places.append(pixel_box(north_up(), row, col, 40, 36))
        names.append("roof")
        bands[:, row : row + 40, col : col + 36] += np.array([100, 80, 120], np.uint8)[:, None, None]
    places.append(pixel_box(north_up(), 0, 0, 8, 64))
    names.append("water")
    bands[2, :8, :64] = 250
    scene = write_scene(folder / "scene.tif", bands)
    labels = write_labels(folder / "labels.gpkg", places, columns={"kind": names})
    config = TileConfig(size_px=64, overlap_px=0, block_px=64, class_column="kind")
    tile([scene], [labels], folder / "chips", config)
    resplit(folder / "chips", ["train"] * 5 + ["val"] * 2)
    return folder / "chips"


@pytest.fixture(scope="module")
def whole(chips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three epochs of three steps that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    train(chips, run=run, config=small())
    return run


def metrics_of(run: Path, *, timings: bool = False) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if timings or key not in TIMINGS} for row in rows]


def assert_same_run(run: Path, whole: Path) -> None:
    assert metrics_of(run) == metrics_of(whole)
    ours, theirs = load_file(run / "model.safetensors"), load_file(whole / "model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, values in ours.items():
        assert torch.equal(values, theirs[name]), name


def test_the_loss_falls(whole: Path) -> None:
    losses = [row["loss"] for row in metrics_of(whole)]
    assert losses[0] > losses[1] > losses[2]


def test_the_run_folder_holds_what_it_should(whole: Path, chips: Path) -> None:
    assert sorted(path.name for path in whole.iterdir()) == [
        "config.yaml",
        "last.pt",
        "metrics.jsonl",
        "model.safetensors",
        "report.html",
        "tensorboard",
    ]
    assert load_config(str(whole / "config.yaml")) == small()
    card = read_card(whole / "model.safetensors")
    assert card.classes.names == ("background", "roof", "water")
    assert (card.size_px, card.dtype, card.gsd_m) == (64, "uint8", 0.5)
    rows = metrics_of(whole)
    best = max(rows, key=lambda row: row["val_miou"])
    assert card.training["best_epoch"] == best["epoch"]
    assert card.training["scores"]["miou"] == best["val_miou"]


def test_a_line_of_metrics_tells_the_epoch(whole: Path) -> None:
    rows = metrics_of(whole, timings=True)
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["step"] for row in rows] == [3, 6, 9]
    for row in rows:
        assert row["loss"] == pytest.approx(row["coarse"] + row["point"], rel=1e-5)
        assert row.keys() >= {"auxiliary", "lr", "val_boundary_iou", *TIMINGS}
        assert row["samples_per_s"] == pytest.approx(5 / row["seconds"], rel=0.05)
        assert 0.0 <= row["wait_share"] <= 1.0


def test_classes_absent_from_validation_are_left_out(whole: Path) -> None:
    for row in metrics_of(whole):
        assert row["val_iou"].keys() == {"background", "roof", "water"}
        if row["val_iou"]["water"] is None:
            assert row["val_miou"] == pytest.approx(
                (row["val_iou"]["background"] + row["val_iou"]["roof"]) / 2, rel=1e-9
            )
    assert any(row["val_iou"]["water"] is None for row in metrics_of(whole))


def test_interrupted_and_resumed_is_as_if_nothing_had_happened(chips: Path, whole: Path) -> None:
    run, progress = Path("run"), Watching(stop_after=5)
    with pytest.raises(KeyboardInterrupt):
        train(chips, run=run, config=small(), progress=progress)
    assert not (run / "model.safetensors").exists()
    assert progress.open_pieces == 0
    assert f"geoseg train --tiles {chips} --resume {run}" in progress.said[-1]
    # As if it had been killed between the writing of last.pt, best.safetensors and the next line.
    (run / "best.safetensors").unlink()
    with (run / "metrics.jsonl").open("a") as log:
        log.write('{"epoch": 2, "lo')
    (run / ".geoseg-litter").mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(chips, run=run, resume=True, progress=Watching(stop_after=1))
    assert read_card(run / "best.safetensors").training["best_epoch"] == 1
    progress = Watching()
    report = train(chips, run=run, resume=True, progress=progress, report=False)
    assert progress.steps == progress.total == 6
    assert report.epochs == 3
    assert_same_run(run, whole)
    assert not list(run.glob(".geoseg-*"))


def test_every_epoch_has_its_own_augmentation(chips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs, item = [], ChipDataset.item

    def watched(dataset: ChipDataset, index: int, *, epoch: int = 0) -> ChipItem:
        epochs.append(epoch)
        return item(dataset, index, epoch=epoch)

    monkeypatch.setattr(ChipDataset, "item", watched)
    with pytest.raises(KeyboardInterrupt):
        train(chips, run=Path("run"), config=small(), progress=Watching(stop_after=4))
    with pytest.raises(KeyboardInterrupt):
        train(chips, run=Path("run"), resume=True, progress=Watching(stop_after=4))
    # Validation, in between, has no chance in it: epoch 0.
    assert list(dict.fromkeys(epoch for epoch in epochs if epoch)) == [1, 2, 3]


KILLED = """
import os, signal, sys
from pathlib import Path
from geoseg.presets import load_config
from geoseg.progress import SilentProgress
from geoseg.train import train

class Killing(SilentProgress):
    steps = 0
    def advance(self, count=1):
        self.steps += count
        if self.steps == int(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)

train(Path(sys.argv[1]), run=Path("run"), config=load_config(sys.argv[2]), progress=Killing(), threads=1)
"""


@pytest.mark.parametrize(
    ("minutes", "step", "kept"), [(10.0, 8, 6), (1e-9, 8, 7), (1e-9, 2, 1), (1e-9, 6, 5)]
)
def test_killed_and_resumed_is_as_if_nothing_had_happened(
    chips: Path, whole: Path, minutes: float, step: int, kept: int
) -> None:
    """Three steps an epoch; killed after a step, before what it did could be saved."""
    config = small(train__checkpoint_minutes=minutes)
    Path("config.yaml").write_text(dump_config(config))
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(chips), "config.yaml", str(step)], capture_output=True, timeout=120
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert len(metrics_of(Path("run"))) == kept // 3
    assert torch.load("run/last.pt", weights_only=True)["steps_done"] == kept
    progress = Watching()
    train(chips, run=Path("run"), resume=True, threads=1, progress=progress, report=False)
    assert progress.steps == progress.total == 9 - kept
    assert_same_run(Path("run"), whole)


def test_resuming_a_finished_run_changes_nothing(chips: Path, whole: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in whole.iterdir()}
    progress = Watching()
    report = train(chips, run=whole, resume=True, progress=progress)
    assert report.epochs == 3
    assert report.model == whole / "model.safetensors"
    assert before == {path.name: path.stat().st_mtime_ns for path in whole.iterdir()}
    assert any("finished" in text for text in progress.said)


def test_a_changed_configuration_is_refused(chips: Path, whole: Path) -> None:
    with pytest.raises(ConfigError, match=r"configuration differs .*epochs: "):
        train(chips, run=whole, resume=True, config=small(train__epochs=4))


def test_changed_chips_are_refused(chips: Path, whole: Path) -> None:
    shutil.copytree(chips, "other")
    resplit(Path("other"), ["train"] * 4 + ["val"] * 2)
    with pytest.raises(ChipsError, match="are not those run"):
        train(Path("other"), run=whole, resume=True)


def test_what_cannot_be_resumed_is_refused(chips: Path, whole: Path) -> None:
    with pytest.raises(ModelError, match="no run that can be resumed"):
        train(chips, run=Path("nowhere"), resume=True)
    with pytest.raises(OutputError, match="name the run folder"):
        train(chips, resume=True)
    shutil.copytree(whole, "damaged")
    Path("damaged/last.pt").write_bytes(b"PK no state")
    with pytest.raises(ModelError, match="damaged"):
        train(chips, run=Path("damaged"), resume=True)


def test_an_existing_run_is_not_replaced_unless_asked(chips: Path, whole: Path) -> None:
    with pytest.raises(OutputError, match="exists"):
        train(chips, run=whole, config=small())
    Path("unfinished").mkdir()
    for name in ("last.pt", "config.yaml"):
        shutil.copy(whole / name, "unfinished")
    with pytest.raises(OutputError, match="go on with --resume unfinished"):
        train(chips, run=Path("unfinished"), config=small())
    train(chips, run=Path("unfinished"), config=small(train__epochs=1), overwrite=True, report=False)
    assert len(metrics_of(Path("unfinished"))) == 1
    Path("precious").mkdir()
    Path("precious/thesis.odt").touch()
    with pytest.raises(OutputError, match="not replaced"):
        train(chips, run=Path("precious"), config=small(), overwrite=True)
    assert Path("precious/thesis.odt").exists()


def test_it_stops_when_the_score_does_not_rise(chips: Path) -> None:
    config = small(train__epochs=6, train__patience=1, train__learning_rate=1e-12)
    report = train(chips, config=config, report=False)
    assert report.best_epoch is not None
    assert report.epochs == report.best_epoch + 1 < 6
    assert report.run.parent == Path("runs")
    assert report.run.name.endswith("-mobilenet")
    assert report.model.is_file()


def test_a_loss_that_is_not_finite_ends_the_run_and_spoils_nothing(chips: Path) -> None:
    config = small(train__learning_rate=1e30, train__schedule="constant")
    with pytest.raises(TrainingError, match=r"not finite in epoch 1; lower train.learning_rate"):
        train(chips, run=Path("run"), config=config)
    assert sorted(path.name for path in Path("run").iterdir()) == ["config.yaml", "last.pt", "metrics.jsonl"]
    state = torch.load("run/last.pt", weights_only=True)
    assert state["course"]["epoch"] == 0
    assert all(values.isfinite().all() for values in state["network"].values())


def test_without_validation_the_last_average_is_the_model(chips: Path) -> None:
    shutil.copytree(chips, "chips")
    resplit(Path("chips"), ["train"] * 3)
    progress = Watching()
    config = small(train__epochs=2, train__patience=1, loss__class_weights="inverse_sqrt")
    report = train(Path("chips"), run=Path("run"), config=config, progress=progress, report=False)
    assert any("no validation chips" in text for text in progress.said)
    assert (report.epochs, report.best_epoch, report.best_miou, report.val_chips) == (2, None, None, 0)
    average = torch.load("run/last.pt", weights_only=True)["average"]
    for name, values in load_file("run/model.safetensors").items():
        assert torch.equal(values, average[name])
    json.dumps(report.to_json(), allow_nan=False)


def test_chips_that_cannot_be_trained_on_are_refused(chips: Path) -> None:
    shutil.copytree(chips, "chips")
    resplit(Path("chips"), ["val"] * 3)
    with pytest.raises(ChipsError, match="no train split"):
        train(Path("chips"), run=Path("run"), config=small())
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"train__crop_px": 96}, "crop_px 96 is larger than the chips"),
        ({"loss__class_weights": [1.0, 2.0]}, "2 weights for 3 classes"),
        ({"train__precision": "fp16"}, "fp16 needs a CUDA device"),
    ],
)
def test_a_configuration_that_does_not_fit_leaves_no_run(
    chips: Path, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(chips, config=small(**values), device="cpu")
    assert not Path("runs").exists()


def test_torch_is_left_as_it_was(chips: Path) -> None:
    torch.manual_seed(7)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    progress = Watching(1, SystemExit)
    with pytest.raises(SystemExit):
        train(chips, run=Path("run"), config=small(), progress=progress, threads=threads + 1)
    assert "--resume run" in progress.said[-1]
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_curves_are_there_for_tensorboard(chips: Path, whole: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(whole / "tensorboard"))
    events.Reload()
    rows = metrics_of(whole)
    for tag, values in (
        ("loss/loss", [row["loss"] for row in rows]),
        ("training/lr", [row["lr"] for row in rows]),
        ("validation/val_miou", [row["val_miou"] for row in rows]),
        ("validation/iou roof", [row["val_iou"]["roof"] for row in rows]),
    ):
        assert [event.step for event in events.Scalars(tag)] == [1, 2, 3]
        assert [event.value for event in events.Scalars(tag)] == pytest.approx(values, rel=1e-6)


def test_a_report_that_cannot_be_made_spoils_nothing(
    chips: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any, **__: Any) -> Path:
        raise ChipsError("chip is gone")

    monkeypatch.setattr("geoseg.review.run.write_run_report", fail)
    progress = Watching()
    done = train(chips, run=Path("run"), config=small(train__epochs=1), progress=progress)
    assert done.report is None
    assert done.model.is_file()
    assert "no report.html: chip is gone" in progress.said


def test_the_report_tells_what_was_typed(chips: Path) -> None:
    done = train(chips, run=Path("run"), config=small(train__epochs=1), command="geoseg train --tiles 'a b'")
    assert done.report == Path("run/report.html")
    assert "geoseg train --tiles &#x27;a b&#x27;" in done.report.read_text().replace("&#39;", "&#x27;")
