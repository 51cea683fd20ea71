"""Small inputs for every verb, and the calls that are killed, starved and cut off."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from faults import Launcher
from models_of_tests import noise, write_model
from scenes import north_up, pixel_box, write_labels, write_scene

CHIPS = ("--size", "64", "--overlap", "0", "--block", "64")
SMALL = (
    *("--no-report", "--threads", "1", "--epochs", "2", "--batch-size", "2"),
    *(
        "--set",
        "model.head_width=8",
        "--set",
        "train.precision=fp32",
        "--set",
        "train.checkpoint_minutes=0.01",
    ),
)
INSTANCE = (
    *("--set", "model.architecture=maskrcnn_mobilenet_v3_large_fpn_pointrend"),
    *("--set", "points.per_object=16", "--set", "detection.proposals=20"),
    *("--set", "detection.train_boxes=16", "--set", "detection.max_objects=20"),
)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A call of geoseg.

    Attributes:
        verb: what it is called here.
        args: what is typed; inputs are in the folder above.
        outputs: what it makes; of a folder each file counts.
        resume: what is typed to go on after a kill; the same call again when empty.
        shows: files below an output that count, when not all do.
        partial: whether an unfinished output may be seen, such as a folder of several masks or a run.
    """

    verb: str
    args: tuple[str, ...]
    outputs: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    shows: tuple[str, ...] = ()
    partial: bool = False


def _train(chips: str, *more: str) -> tuple[str, ...]:
    return ("train", "--tiles", f"../{chips}", "-o", "run", *SMALL, *more)


def _predict(*words: str, model: str = "model.safetensors") -> tuple[str, ...]:
    return ("predict", *words, "--model", f"../{model}", "--workers", "2")


CASES = (
    Case(
        verb="tile",
        args=("tile", "../scene.tif", "-l", "../labels.gpkg", "-o", "chips", *CHIPS),
        outputs=("chips",),
    ),
    Case(
        verb="tile instance",
        args=("tile", "../small.tif", "-l", "../labels.gpkg", "--task", "instance", "-o", "chips", *CHIPS),
        outputs=("chips",),
    ),
    Case(
        verb="tile coco",
        args=(
            *(
                "tile",
                "--from-coco",
                "../ichips/annotations/instances_train.json",
                "--images",
                "../ichips/images",
            ),
            *("--format", "coco", "-o", "chips", *CHIPS[:4]),
        ),
        outputs=("chips",),
    ),
    Case(
        verb="train semantic",
        args=_train("chips"),
        outputs=("run",),
        resume=("train", "--tiles", "../chips", "--resume", "run", "--threads", "1", "--no-report"),
        shows=("model.safetensors", "config.yaml"),
        partial=True,
    ),
    Case(
        verb="train instance",
        args=_train("ichips", *INSTANCE),
        outputs=("run",),
        resume=("train", "--tiles", "../ichips", "--resume", "run", "--threads", "1", "--no-report"),
        shows=("model.safetensors", "config.yaml"),
        partial=True,
    ),
    Case(
        verb="predict mask",
        args=_predict(
            "../tiny.tif", "-o", "m.tif", "--uncertainty", "u.tif", "--probabilities", "p.tif", "--qml"
        ),
        outputs=("m.tif", "u.tif", "p.tif", "m.qml"),
        resume=("--resume",),
    ),
    Case(
        verb="predict objects",
        args=_predict(
            *("../tiny.tif", "-o", "o.gpkg", "--ids", "i.tif", "--mask", "m.tif", "--min-score", "0.01"),
            model="irun/model.safetensors",
        ),
        outputs=("o.gpkg", "i.tif", "m.tif"),
        resume=("--resume",),
    ),
    Case(
        verb="predict dask",
        args=_predict("../small.tif", "-o", "m.tif", "--dask", "local"),
        outputs=("m.tif",),
        resume=("--resume",),
    ),
    Case(
        verb="predict many",
        args=_predict("../many/a.tif", "../many/b.tif", "../many/c.tif", "-o", "out"),
        outputs=("out",),
        resume=("--resume",),
        partial=True,
    ),
    Case(
        verb="predict shard",
        args=_predict("../tiny.tif", "-o", "s.tif", "--shard", "1/2"),
        outputs=("s.tif.shard-1-of-2",),
        resume=("--resume",),
    ),
    Case(
        verb="merge",
        args=("merge", "../s.tif.shard-1-of-2", "../s.tif.shard-2-of-2", "-o", "m.tif"),
        outputs=("m.tif",),
    ),
    Case(
        verb="vectorize",
        args=("vectorize", "../mask.tif", "-o", "v.gpkg", "--qml"),
        outputs=("v.gpkg", "v.qml"),
    ),
    Case(verb="vectorize shp", args=("vectorize", "../mask.tif", "-o", "v.shp"), outputs=("v.shp",)),
    Case(
        verb="evaluate",
        args=(
            *("evaluate", "../mask.tif", "../labels.gpkg", "--report", "e.html", "--errors", "e.gpkg"),
            *("--scene", "../small.tif", "--class-name", "field"),
        ),
        outputs=("e.html", "e.gpkg"),
    ),
    Case(verb="evaluate tiles", args=("evaluate", "--tiles", "../chips", "--model", "../run", "--json")),
    Case(verb="report", args=("report", "../small.tif", "../mask.tif", "-o", "r.html"), outputs=("r.html",)),
    Case(verb="export", args=("export", "../run", "--card", "c.json"), outputs=("c.json",)),
    Case(verb="export onnx", args=("export", "../run", "--onnx", "m.onnx"), outputs=("m.onnx",)),
    Case(verb="info", args=("info", "../mask.tif", "--counts", "--json")),
    Case(verb="doctor", args=("doctor", "../scene.tif", "-l", "../labels.gpkg", "--json")),
    Case(
        verb="demo", args=("demo", "--quick", "-o", "demo", "--threads", "1"), outputs=("demo",), partial=True
    ),
)
BY_VERB = {case.verb: case for case in CASES}


def make_world(world: Path, launcher: Launcher) -> None:
    """Write the inputs of all cases into the folder ``world``."""
    rng = np.random.default_rng(5)
    pixels = noise(3, 384, 320)
    boxes = [
        pixel_box(
            north_up(), int(row) + 6, int(col) + 6, int(rng.integers(12, 50)), int(rng.integers(12, 50))
        )
        for row in range(0, 384, 64)
        for col in range(0, 320, 64)
    ]
    write_scene(world / "scene.tif", pixels)
    write_scene(world / "small.tif", pixels[:, :128, :128])
    write_scene(world / "tiny.tif", pixels[:, :100, :160])
    write_labels(world / "labels.gpkg", boxes)
    (world / "many").mkdir()
    for at, name in enumerate("abc"):
        write_scene(world / "many" / f"{name}.tif", noise(3, 64, 100, seed=at))
    write_model(world / "model.safetensors")
    instance = ("--task", "instance", "--format", "coco", *CHIPS)
    for args in (
        ("tile", "small.tif", "-l", "labels.gpkg", "-o", "chips", *CHIPS),
        ("tile", "small.tif", "-l", "labels.gpkg", "-o", "ichips", *instance),
        ("train", "--tiles", "chips", "-o", "run", *SMALL, "--epochs", "1"),
        ("train", "--tiles", "ichips", "-o", "irun", *SMALL, *INSTANCE, "--epochs", "1"),
        ("predict", "small.tif", "-o", "mask.tif", "--model", "model.safetensors"),
        ("predict", "tiny.tif", "-o", "s.tif", "--model", "model.safetensors", "--shard", "1/2"),
        ("predict", "tiny.tif", "-o", "s.tif", "--model", "model.safetensors", "--shard", "2/2"),
    ):
        ended = launcher.run(args, world)
        assert ended.code == 0, (args, ended.err)
