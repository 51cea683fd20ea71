"""``geoseg train``: chips to a model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from geoseg.errors import ChipsError, ConfigError, InputError
from geoseg_cli import options, report
from geoseg_cli.options import INPUT, MODEL, OUTPUT, SPEED, Overwrite, setting
from geoseg_cli.pages import typed

Architecture = Literal[
    "deeplabv3_mobilenet_v3_large",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "maskrcnn_resnet50_fpn_pointrend",
    "maskrcnn_resnet50_fpn_v2_pointrend",
    "maskrcnn_mobilenet_v3_large_fpn_pointrend",
]


def train(
    context: typer.Context,
    tiles: Annotated[
        Path, typer.Option("--tiles", "-t", help="Folder that geoseg tile made.", rich_help_panel=INPUT)
    ],
    run: Annotated[
        Path | None,
        # Two names: torchrun takes --run for a prefix of its own --run-path.
        typer.Option(
            "--run",
            "--output",
            "-o",
            help="Folder of the run; a new one under runs/ when not given.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            "--resume",
            help="Go on with this run where it was saved last.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
    page: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Write report.html at the end: curves, scores, the worst chips.",
            rich_help_panel=OUTPUT,
        ),
    ] = True,
    config: Annotated[
        str | None,
        typer.Option(
            "--config",
            "-c",
            help="A preset's name or a YAML file; flags and --set go before it.",
            rich_help_panel=MODEL,
            autocompletion=options.presets,
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Any setting, such as points.importance=0.5; may be repeated.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    architecture: Annotated[
        Architecture | None,
        setting("ModelConfig.architecture", "--architecture", help="The network.", panel=MODEL),
    ] = None,
    backbone_weights: Annotated[
        str | None,
        setting(
            "ModelConfig.backbone_weights",
            "--backbone-weights",
            help="Start from weights: imagenet (downloads them) or a file; from scratch when not given.",
            panel=MODEL,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        setting("TrainConfig.epochs", "--epochs", help="Times every chip is seen.", panel=MODEL),
    ] = None,
    learning_rate: Annotated[
        float | None,
        setting("TrainConfig.learning_rate", "--learning-rate", "--lr", help="The highest one.", panel=MODEL),
    ] = None,
    patience: Annotated[
        int | None,
        setting(
            "TrainConfig.patience",
            "--patience",
            help="Stop after this many epochs without a better score; 0 never does.",
            panel=MODEL,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        setting("TrainConfig.seed", "--seed", help="Seed of all that is random.", panel=MODEL),
    ] = None,
    batch_size: Annotated[
        int | None, setting("TrainConfig.batch_size", "--batch-size", help="Chips in one step.", panel=SPEED)
    ] = None,
    crop_px: Annotated[
        int | None,
        setting(
            "TrainConfig.crop_px",
            "--crop",
            help="Train on random crops of this side in pixels; on whole chips when not given.",
            panel=SPEED,
        ),
    ] = None,
    deterministic: Annotated[
        bool | None,
        setting(
            "TrainConfig.deterministic",
            "--deterministic/--no-deterministic",
            help="The same bits each time on a GPU too, where it is slower; a CPU always does.",
            panel=SPEED,
        ),
    ] = None,
    device: options.Device = "auto",
    precision: Annotated[
        options.Precision | None,
        setting("TrainConfig.precision", "--precision", help="Numbers to compute with.", panel=SPEED),
    ] = None,
    workers: Annotated[
        int | None,
        setting("TrainConfig.workers", "--workers", help="Threads that prepare chips.", panel=SPEED),
    ] = None,
    threads: options.Threads = None,
) -> None:
    """Train DeepLabV3 + PointRend on chips, or Mask R-CNN + PointRend on instance chips.

    Examples:
      geoseg train --tiles ./chips
      geoseg train --tiles ./chips --run runs/fields --epochs 80 --device cuda
    """
    options.check_folder(tiles, what="chips folder", make="make one with geoseg tile")
    if resume is not None and (run is not None or overwrite):
        raise InputError("--resume goes on with a run as it is; leave out --run and --overwrite")
    if resume is not None:
        options.check_folder(resume, what="run", make="give the folder of a run")
    settings: dict[str, dict[str, Any]] = {
        "model": {"architecture": architecture, "backbone_weights": backbone_weights},
        "train": {
            "epochs": epochs,
            "learning_rate": learning_rate,
            "patience": patience,
            "seed": seed,
            "batch_size": batch_size,
            "crop_px": crop_px,
            "precision": precision,
            "workers": workers,
            "deterministic": deterministic,
        },
    }
    resolved = _resolve(context, config, set_ or [], settings, resume, tiles)
    talk: report.Talk = context.obj
    with talk.progress() as progress:
        from geoseg.train import train as start

        done = start(
            tiles,
            run=resume or run,
            config=resolved,
            resume=resume is not None,
            device=device,
            overwrite=overwrite,
            progress=progress,
            threads=threads,
            report=page,
            command=typed(talk),
        )
    if os.environ.get("RANK", "0") == "0":
        report.show_train(talk, done)


def _preset(tiles: Path) -> str | None:
    """Name of the preset for chips like these, when nothing was said."""
    from geoseg.chips.store import ChipStore
    from geoseg.presets import preset_for

    try:
        return preset_for(ChipStore.open(tiles).task)
    except ChipsError:
        return None  # the stage says what is wrong with them, if the options are right


def _resolve(
    context: typer.Context,
    name_or_path: str | None,
    overrides: list[str],
    settings: dict[str, dict[str, Any]],
    resume: Path | None,
    tiles: Path,
) -> Any:
    """Flags over ``--set`` over ``--config`` over the run's own; ``None`` when a resumed run says it all."""
    from geoseg import presets

    flags = any(value is not None for values in settings.values() for value in values.values())
    if resume is not None and not (name_or_path or overrides or flags):
        return None
    if resume is not None and name_or_path is None:
        name_or_path = str(resume / "config.yaml")
    chosen = settings["model"]["architecture"] or any("model.architecture" in text for text in overrides)
    if name_or_path is None and not chosen:
        name_or_path = _preset(tiles)
    try:
        return presets.load_config(name_or_path, overrides, settings)
    except ConfigError as error:
        if not flags:
            raise
        raise options.name_option(context, error) from error.__cause__
