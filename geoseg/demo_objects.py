"""The way from roofs to one polygon each on made-up villages, offline and on two CPU cores.

Small villages are made from seeds, tiled into instance chips and trained on: Mask R-CNN with PointRend's
masks. Another village, which training never saw, is predicted and compared with its true roofs. Every step is
the public function behind the verb of the same name.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from geoseg.classes import ClassMap, default_color
from geoseg.config import (
    AugmentConfig,
    Config,
    DetectionConfig,
    EvaluateConfig,
    ModelConfig,
    PredictConfig,
    TileConfig,
    TrainConfig,
)
from geoseg.demo_steps import MARKER, Steps, StepsReport
from geoseg.evaluate import evaluate_polygons
from geoseg.mapview.atlas import Sources
from geoseg.models.card import DEFAULT_MODEL
from geoseg.outputs import check_output_folder, made_in_place
from geoseg.predict_objects import predict_objects
from geoseg.progress import SILENT, Progress
from geoseg.raster.vectors import read_vector
from geoseg.sample.overlay import draw_overlay
from geoseg.sample.village import CLASS_COLUMN, write_village
from geoseg.scoring.page import objects
from geoseg.scoring.report import PolygonsReport
from geoseg.tile import tile
from geoseg.train import train

VILLAGES = 24
UNSEEN_PX = 768
EPOCHS = 8

_GSD_M = 0.5
# Many small villages rather than one large: the streets of each run their own way, and a network that saw
# one direction finds half of the roofs in another.
_VILLAGE_PX = 320
_CHIP_PX = 256
_OVERLAP_PX = 224
_CROP_PX = 192
_COLORS = 7
_EACH, _ALL = 0.05, 0.5


@dataclass(frozen=True, kw_only=True)
class DemoObjectsReport(StepsReport):
    """What :func:`demo_objects` did; ``polygons`` are roofs with scores from 0.05 on.

    Attributes:
        objects: roofs found with a score of 0.5 or more.
        scores: of ``polygons`` against ``labels``.
    """

    objects: int
    scores: PolygonsReport


def demo_objects(
    output: Path = Path("demo"),
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    villages: int = VILLAGES,
    unseen_px: int = UNSEEN_PX,
    device: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
    report: bool = True,
    command: str | None = None,
) -> DemoObjectsReport:
    """Make villages, tile, train, predict, evaluate, and draw a picture and a page of it.

    An error or interruption leaves nothing at ``output``, or what was there before.

    Args:
        output: the folder to make.
        seed: of the scenes: the unseen one has ``seed``, the others the next ones.
        epochs: epochs to train.
        villages: scenes to train on, at least 2: one of them is for validation.
        unseen_px: side of the unseen scene in pixels of half a metre.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        threads: CPU threads to train with; torch's own choice when not given.
        overwrite: replace the folder of an earlier demo.
        progress: told about every stage.
        report: write ``report.html`` at the end.
        command: what was typed, for the page.

    Raises:
        OutputError: ``output`` exists.
        GeosegError: a stage failed.
    """
    check_output_folder(output, overwrite=overwrite, marker=MARKER)
    with made_in_place(output, marker=MARKER):
        steps = Steps(
            folder=output,
            seed=seed,
            device=device,
            threads=threads,
            page=report,
            command=command,
            progress=progress,
        )
        done = _Roofs(steps).run(epochs, villages, unseen_px)
        (output / MARKER).write_text(json.dumps(done.to_json(), indent=2) + "\n", encoding="utf-8")
    return done


def demo_objects_config(epochs: int = EPOCHS) -> Config:
    """What the demo trains: the network for a CPU, slimmer, on the backbone of the model that geoseg has."""
    return Config(
        model=ModelConfig(
            architecture="maskrcnn_mobilenet_v3_large_fpn_pointrend",
            backbone_weights=str(DEFAULT_MODEL),
            pyramid_width=64,
            # A batch is four chips with some forty roofs each, and the backbone was trained with these norms.
            norm="batch",
        ),
        detection=DetectionConfig(proposals=200, train_boxes=64),
        # One sun shines on all scenes: where chips are not turned, shadows always fall to the same side.
        augment=AugmentConfig(flips=False, gain=0.05, offset=0.05),
        train=TrainConfig(
            epochs=epochs,
            batch_size=4,
            crop_px=_CROP_PX,
            learning_rate=2e-3,
        ),
    )


@dataclass(frozen=True)
class _Roofs:
    """The way from villages to roofs."""

    steps: Steps

    def run(self, epochs: int, villages: int, unseen_px: int) -> DemoObjectsReport:
        steps, folder = self.steps, self.steps.folder
        with steps.step("scenes", f"make {villages} villages to train on, and another"):
            seen = [
                self._make(f"train_{number:02}", steps.seed + number, _VILLAGE_PX)
                for number in range(1, villages + 1)
            ]
            scene, labels = self._make("unseen", steps.seed, unseen_px)
        chips, run = folder / "chips", folder / "run"
        with steps.step("tile", "cut the scenes and their roofs into chips"):
            self._tile(seen, chips)
        with steps.step("train", "train Mask R-CNN + PointRend on the backbone of the default model"):
            model = train(
                chips,
                run=run,
                config=demo_objects_config(epochs),
                device=steps.device,
                threads=steps.threads,
                progress=steps.progress,
            ).model
        polygons = folder / "roofs.gpkg"
        with steps.step("predict", "find the roofs of the unseen village"):
            predict_objects(
                scene,
                polygons,
                model=model,
                config=PredictConfig(min_score=_EACH),
                device=steps.device,
                progress=steps.progress,
            )
        with steps.step("evaluate", "compare them with the true ones"):
            scoring = EvaluateConfig(class_column=CLASS_COLUMN, boundary="1m", min_score=_ALL)
            scores = evaluate_polygons(polygons, labels, scoring, area=scene, progress=steps.progress)
        overlay = folder / "overlay.png"
        with steps.step("draw", "draw the picture"):
            found = _draw(overlay, scene, polygons)
        page = steps.write_page(
            Sources(scene=scene, parcels=polygons if found else None, labels=labels, min_score=_ALL),
            title="geoseg demo: roofs of a village that training never saw",
            model=model,
            more_scores=objects(scores.objects),
        )
        return DemoObjectsReport(
            output=folder,
            labels=labels,
            scene=scene,
            model=model,
            polygons=polygons,
            overlay=overlay,
            report=page,
            seed=steps.seed,
            objects=found,
            scores=scores,
            stage_seconds=dict(steps.seconds),
            seconds=time.monotonic() - steps.started,
        )

    def _make(self, name: str, seed: int, size_px: int) -> tuple[Path, Path]:
        folder = self.steps.folder
        scene, labels = folder / f"scene_{name}.tif", folder / f"labels_{name}.gpkg"
        write_village(scene, labels, seed=seed, shape=(size_px, size_px), gsd_m=_GSD_M)
        return scene, labels

    def _tile(self, seen: list[tuple[Path, Path]], chips: Path) -> None:
        cut = TileConfig(
            task="instance",
            size_px=_CHIP_PX,
            overlap_px=_OVERLAP_PX,
            class_column=CLASS_COLUMN,
            split="scene",
            val_share=1 / len(seen),
            test_share=0.0,
        )
        scenes, labels = zip(*seen, strict=True)
        tile(scenes, labels, chips, cut, progress=self.steps.progress)


def _draw(overlay: Path, scene: Path, polygons: Path) -> int:
    """Draw the sure objects, neighbours in colours of their own; their number."""
    found = read_vector(polygons)
    sure = found[found["score"] >= _ALL].copy()
    names = tuple(str(color) for color in range(_COLORS))
    sure["class_name"] = [names[number % _COLORS] for number in sure["id"]]
    colors = ClassMap(names=names, colors=tuple(default_color(color) for color in range(_COLORS)))
    draw_overlay(overlay, scene=scene, polygons=sure, classes=colors)
    return len(sure)
