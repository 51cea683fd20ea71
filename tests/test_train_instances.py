"""Training on instance chips: the same exactness as for masks, other losses and scores."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from runs_of_tests import take_apart
from safetensors.torch import load_file
from scenes import north_up, pixel_box, write_labels, write_scene
from test_train import Watching, resplit

from geoseg.config import Config, TileConfig
from geoseg.errors import ChipsError
from geoseg.models.card import read_card
from geoseg.models.checkpoint import load_instance_model
from geoseg.models.mask_rcnn import LOSSES, MaskRCNN
from geoseg.presets import load_config
from geoseg.tile import tile
from geoseg.train import train

ARCHITECTURE = "maskrcnn_mobilenet_v3_large_fpn_pointrend"


def small(epochs: int = 2) -> Config:
    """A configuration of quick epochs."""
    return load_config(
        None,
        [
            f"model.architecture={ARCHITECTURE}",
            "model.head_width=16",
            "points.per_object=16",
            "detection.proposals=20",
            "detection.train_boxes=16",
            "detection.max_objects=20",
            f"train.epochs={epochs}",
            "train.batch_size=2",
            "train.precision=fp32",
            "train.ema_decay=0",
        ],
    )


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three chips to train on, the last without any object, and two to validate on: pairs of bright roofs."""
    folder = tmp_path_factory.mktemp("objects")
    rng = np.random.default_rng(0)
    bands = rng.integers(60, 90, (3, 64, 320)).astype(np.uint8)
    places = []
    for chip in (0, 1, 3, 4):
        row, col = int(rng.integers(4, 30)), 64 * chip + int(rng.integers(2, 12))
        for width in (16, 20):
            places.append(pixel_box(north_up(), row, col, 24, width))
            bands[:, row : row + 24, col : col + width] += np.uint8(4 * width)
            col += width
    scene = write_scene(folder / "scene.tif", bands)
    labels = write_labels(folder / "labels.gpkg", places)
    config = TileConfig(task="instance", size_px=64, overlap_px=0, block_px=64, class_name="roof")
    tile([scene], [labels], folder / "chips", config)
    resplit(folder / "chips", ["train"] * 3 + ["val"] * 2)
    return folder / "chips"


@pytest.fixture(scope="module")
def whole(chips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs of two steps that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    report = train(chips, run=run, config=small(), threads=1)
    assert report.task == "instance"
    assert report.best_epoch is not None
    assert report.best_ap is not None
    assert report.best_miou is None
    assert report.best_class_ap == {"roof": report.best_ap}
    assert report.report == run / "report.html"
    return run


def test_every_epoch_tells_its_losses_and_scores(whole: Path) -> None:
    rows = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        assert {"loss", *LOSSES} <= row.keys()
        assert all(np.isfinite(row[name]) for name in LOSSES)
        # No loss has a weight of its own by default.
        assert row["loss"] == pytest.approx(sum(row[name] for name in LOSSES), rel=1e-4)
        assert 0.0 <= row["val_boundary_ap"] <= row["val_ap"] <= row["val_ap50"] <= 1.0
    # The heads of the masks start without an opinion.
    assert rows[0]["coarse"] == pytest.approx(np.log(2), abs=0.2)


def test_its_page_measures_the_model_on_its_chips(whole: Path) -> None:
    page = take_apart((whole / "report.html").read_text(encoding="utf-8"))
    by_class, _ = (table.rows() for table in page.one("section", id="classes").all("table"))
    told = dict(zip(*by_class, strict=True))
    # Two pairs of roofs to validate on.
    assert (told["class"], told["true"]) == ("roof", "4")
    assert len(page.one("section", id="chips").all("article")) == 2
    assert page.one("section", id="refinement").one("table").rows()[0][1:3] == ["28 x 28", "subdivided"]


def test_the_model_is_one_file_that_says_what_it_is(whole: Path) -> None:
    card = read_card(whole / "model.safetensors")
    assert card.task == "instance"
    assert card.classes.names == ("background", "roof")
    network, _ = load_instance_model(whole / "model.safetensors")
    assert isinstance(network, MaskRCNN)
    (found,) = network.detect(torch.zeros(1, 3, 64, 64))
    assert len(found.boxes) == len(found.masks) <= 20


def test_a_stopped_run_ends_with_the_same_weights(chips: Path, whole: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        train(chips, run=run, config=small(), threads=1, progress=Watching(stop_after=3))
    train(chips, run=run, resume=True, threads=1, report=False)
    expected, found = (load_file(each / "model.safetensors") for each in (whole, run))
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], values) for name, values in expected.items())


def test_chips_without_objects_are_refused(chips: Path, tmp_path: Path) -> None:
    plain = tmp_path / "chips"
    scene = write_scene(tmp_path / "scene.tif", np.full((3, 64, 128), 9, np.uint8))
    labels = write_labels(tmp_path / "labels.gpkg", [pixel_box(north_up(), 5, 5, 20, 20)])
    tile([scene], [labels], plain, TileConfig(size_px=64, overlap_px=0, block_px=64))
    resplit(plain, ["train", "val"])
    with pytest.raises(ChipsError, match=r"do not tell objects apart.*tile with --task instance"):
        train(plain, run=tmp_path / "run", config=small())
    assert chips.is_dir()
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_of_twice_the_batch(chips: Path, tmp_path: Path) -> None:
    settings = ["points.per_object=16", "detection.proposals=20", "detection.train_boxes=16"]
    settings += ["train.epochs=2", "train.precision=fp32"]
    losses = []
    for processes, batch in ((1, 2), (2, 1)):
        run = tmp_path / str(processes)
        sets = [part for text in [*settings, f"train.batch_size={batch}"] for part in ("--set", text)]
        launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
        verb = ["-m", "geoseg_cli", "train", "--tiles", str(chips), "-o", str(run), "--no-report", *sets]
        done = subprocess.run(
            [sys.executable, *launch, *verb], capture_output=True, text=True, timeout=240, check=False
        )
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        losses.append([row[name] for row in rows for name in ("loss", *LOSSES)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
