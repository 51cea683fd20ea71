"""The whole pipeline on made-up farmland, offline and on two CPU cores: what a newcomer runs first.

Two scenes are made from a seed. The first is tiled and trained on; the second, which training never saw, is
predicted, vectorized and evaluated, once with point refinement and once without, by the same network. Every
step is the public function behind the verb of the same name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geoseg.chips.store import ChipStore
from geoseg.config import (
    AugmentConfig,
    Config,
    EvaluateConfig,
    LossConfig,
    ModelConfig,
    PointConfig,
    PredictConfig,
    TileConfig,
    TrainConfig,
    VectorizeConfig,
)
from geoseg.demo_steps import MARKER, Steps, StepsReport
from geoseg.evaluate import CompareReport, EvaluateReport, compare
from geoseg.mapview.atlas import Sources
from geoseg.outputs import check_output_folder, made_in_place
from geoseg.page.markup import Html, el, join
from geoseg.predict import PredictReport, predict
from geoseg.progress import SILENT, Progress
from geoseg.raster.mask import open_mask
from geoseg.raster.vectors import read_vector
from geoseg.sample.farmland import CLASS_COLUMN, write_farmland
from geoseg.sample.overlay import draw_overlay
from geoseg.scoring.page import objects, side_by_side
from geoseg.tile import tile
from geoseg.train import train
from geoseg.vectorize import vectorize

TRAIN_PX = 1536
UNSEEN_PX = 1024
EPOCHS = 6
MIN_AREA = "12m2"

_CHIP_PX = 256
# Blocks of one and a half chips and much overlap: many different chips of one scene, and few epochs, as each
# ends with a validation.
_BLOCK_PX = 384
_OVERLAP_PX = 208
_VAL_SHARE = 0.07
# In a given time, many steps on little teach more than few on much.
_CROP_PX = 192
# Pixel shares to the power of -1/4. Houses are 2 % of the land; weights as large as the square root gives
# make the network see them everywhere.
_CLASS_WEIGHTS = {"background": 0.85, "field": 0.65, "house": 1.55, "trees": 0.95}


@dataclass(frozen=True, kw_only=True)
class DemoReport(StepsReport):
    """What :func:`demo` did; ``polygons`` are those of ``mask``.

    Attributes:
        mask: prediction of the unseen scene, point-refined.
        mask_coarse: its prediction without refinement: the coarse map upsampled bilinearly.
        uncertainty: how unsure each pixel of ``mask`` is.
        polygon_count: polygons of each class.
        refined: scores of ``mask`` against ``labels``.
        coarse: scores of ``mask_coarse``.
    """

    mask: Path
    mask_coarse: Path
    uncertainty: Path
    polygon_count: dict[str, int]
    refined: EvaluateReport
    coarse: EvaluateReport


def demo(
    output: Path = Path("demo"),
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    train_px: int = TRAIN_PX,
    unseen_px: int = UNSEEN_PX,
    device: str = "auto",
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
    report: bool = True,
    command: str | None = None,
) -> DemoReport:
    """Make scenes, tile, train, predict, vectorize, evaluate, and draw a picture and a page of it.

    An error or interruption leaves nothing at ``output``, or what was there before.

    Args:
        output: the folder to make.
        seed: of the scenes; the unseen scene has the next one.
        epochs: epochs to train.
        train_px: side of the training scene in pixels of half a metre.
        unseen_px: side of the unseen scene.
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
        done = _Farmland(steps).run(epochs, train_px, unseen_px)
        (output / MARKER).write_text(json.dumps(done.to_json(), indent=2) + "\n", encoding="utf-8")
    return done


def demo_config(classes: Sequence[str], epochs: int = EPOCHS) -> Config:
    """What the demo trains: the default network, with finer and coarser features for a slimmer point head."""
    return Config(
        model=ModelConfig(fine_stages=("stride2", "stride4", "stride8"), head_width=128),
        points=PointConfig(per_pixel=1 / 64),
        loss=LossConfig(class_weights=tuple(_CLASS_WEIGHTS[name] for name in classes)),
        # One sun shines on both scenes: where chips are not turned, shadows always fall to the same side.
        augment=AugmentConfig(flips=False, gain=0.05, offset=0.05),
        train=TrainConfig(
            epochs=epochs,
            batch_size=4,
            crop_px=_CROP_PX,
            learning_rate=3e-3,
            ema_decay=0.95,
            precision="fp32",
        ),
    )


@dataclass(frozen=True)
class _Farmland:
    """The way from farmland to polygons."""

    steps: Steps

    def run(self, epochs: int, train_px: int, unseen_px: int) -> DemoReport:
        steps, folder = self.steps, self.steps.folder
        seen, seen_labels = self._make("train", steps.seed, train_px)
        scene, labels = self._make("unseen", steps.seed + 1, unseen_px)
        chips, run = folder / "chips", folder / "run"
        with steps.step("tile", "cut the scene and its labels into chips"):
            cut = TileConfig(
                size_px=_CHIP_PX,
                overlap_px=_OVERLAP_PX,
                block_px=_BLOCK_PX,
                class_column=CLASS_COLUMN,
                val_share=_VAL_SHARE,
                test_share=0.0,
            )
            tile([seen], [seen_labels], chips, cut, progress=steps.progress)
        with steps.step("train", "train DeepLabV3 + PointRend from random weights"):
            model = train(
                chips,
                run=run,
                config=demo_config(ChipStore.open(chips).classes.names, epochs),
                device=steps.device,
                threads=steps.threads,
                progress=steps.progress,
            ).model
        uncertainty = folder / "uncertainty.tif"
        predicted = self._predict("predict", scene, model, refine=True, uncertainty=uncertainty)
        mask = predicted.output
        mask_coarse = self._predict("predict_coarse", scene, model, refine=False).output
        polygons = folder / "parcels.gpkg"
        with steps.step("vectorize", "turn the mask into polygons"):
            config = VectorizeConfig(min_area=MIN_AREA)
            vectors = vectorize(mask, polygons, config, progress=steps.progress)
        with steps.step("evaluate", "compare both masks with the true polygons"):
            scoring = EvaluateConfig(class_column=CLASS_COLUMN, objects=True)
            both = compare([mask_coarse, mask], labels, scoring, progress=steps.progress)
            coarse, refined = (each for each in both.reports if isinstance(each, EvaluateReport))
        overlay = folder / "overlay.png"
        with steps.step("draw", "draw the picture"):
            _draw(overlay, scene, polygons, mask_coarse, mask)
        files = Sources(
            scene=scene,
            mask=mask,
            more_masks=(mask_coarse,),
            # After little training there may be none, and a map has no room for nothing.
            parcels=polygons if any(vectors.polygons.values()) else None,
            uncertainty=uncertainty,
            labels=labels,
        )
        page = steps.write_page(
            files,
            title="geoseg demo: farmland that training never saw",
            model=model,
            scored=refined,
            more_scores=_more_scores(refined, both),
            ran=predicted,
        )
        return DemoReport(
            output=folder,
            labels=labels,
            scene=scene,
            model=model,
            mask=mask,
            mask_coarse=mask_coarse,
            polygons=polygons,
            uncertainty=uncertainty,
            overlay=overlay,
            report=page,
            seed=steps.seed,
            polygon_count=vectors.polygons,
            refined=refined,
            coarse=coarse,
            stage_seconds=dict(steps.seconds),
            seconds=time.monotonic() - steps.started,
        )

    def _make(self, name: str, seed: int, size_px: int) -> tuple[Path, Path]:
        scene, labels = self.steps.folder / f"scene_{name}.tif", self.steps.folder / f"labels_{name}.gpkg"
        with self.steps.step("scenes", f"make a scene of farmland: {scene.name}"):
            write_farmland(scene, labels, seed=seed, size_px=size_px)
        return scene, labels

    def _predict(
        self, stage: str, scene: Path, model: Path, *, refine: bool, uncertainty: Path | None = None
    ) -> PredictReport:
        mask = self.steps.folder / ("mask.tif" if refine else "mask_coarse.tif")
        with self.steps.step(stage, f"predict the unseen scene {'with' if refine else 'without'} refinement"):
            # Chips of twice the training size: fewer edges, and less to do twice.
            config = PredictConfig(
                refine=refine, precision="fp32", size_px=2 * _CHIP_PX, overlap_px=_CHIP_PX // 2
            )
            return predict(
                scene,
                mask,
                model=model,
                config=config,
                uncertainty=uncertainty,
                device=self.steps.device,
                progress=self.steps.progress,
            )


def _more_scores(refined: EvaluateReport, both: CompareReport) -> Html:
    """Objects, and what refinement brought."""
    return join(
        None if refined.objects is None else objects(refined.objects),
        el("h3", "Without and with refinement, by the same network"),
        side_by_side(both),
    )


def _draw(overlay: Path, scene: Path, polygons: Path, mask_coarse: Path, mask: Path) -> None:
    with open_mask(mask) as source:
        classes = source.classes
    if classes is None:
        raise ValueError("predict writes masks with classes")
    draw_overlay(
        overlay, scene=scene, polygons=read_vector(polygons), classes=classes, masks=[mask_coarse, mask]
    )
