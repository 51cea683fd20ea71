"""``geoseg evaluate``: how good is it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from geoseg.errors import GeosegError, InputError
from geoseg_cli import options, report
from geoseg_cli.options import INPUT, MODEL, OUTPUT, setting

Split = Literal["train", "val", "test"]


class BelowTargetError(GeosegError):
    """The score is below ``--min-miou``."""

    exit_code = 3


def evaluate(
    context: typer.Context,
    mask: Annotated[
        Path | None,
        typer.Argument(metavar="MASK", help="A raster of class ids, such as predict makes."),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Argument(metavar="LABELS", help="The truth: polygons or a raster."),
    ] = None,
    class_column: Annotated[
        str | None,
        setting("EvaluateConfig.class_column", "--class-column", help=options.CLASS_COLUMN, panel=INPUT),
    ] = None,
    class_name: Annotated[
        str | None,
        setting(
            "EvaluateConfig.class_name",
            "--class-name",
            help="Class of all polygons, without --class-column.",
            panel=INPUT,
        ),
    ] = None,
    unlabelled: Annotated[
        options.Unlabelled | None,
        setting("EvaluateConfig.unlabelled", "--unlabelled", help=options.UNLABELLED, panel=INPUT),
    ] = None,
    tiles: Annotated[
        Path | None,
        typer.Option(
            "--tiles", "-t", help="Evaluate a model on these chips instead of a mask.", rich_help_panel=INPUT
        ),
    ] = None,
    split: Annotated[
        Split, typer.Option("--split", help="Which of the chips.", rich_help_panel=INPUT)
    ] = "test",
    model: options.Model = None,
    refine: Annotated[
        bool,
        typer.Option(
            "--refine/--no-refine",
            help="Refine unsure pixels point by point (with --tiles).",
            rich_help_panel=MODEL,
        ),
    ] = True,
    boundary_px: Annotated[
        int | None,
        setting(
            "EvaluateConfig.boundary_px",
            "--boundary",
            help="Width of the band of Boundary IoU in pixels.",
            panel=OUTPUT,
        ),
    ] = None,
    min_miou: Annotated[
        float | None,
        typer.Option(
            "--min-miou", min=0.0, max=1.0, help="Exit with 3 when the mIoU is below.", rich_help_panel=OUTPUT
        ),
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Score a mask against labels, or a model on chips: IoU and Boundary IoU.

    Examples:
      geoseg evaluate mask.tif fields.gpkg
      geoseg evaluate --tiles chips --split test --model runs/fields --min-miou 0.8
    """
    config = options.config_of(
        context,
        "EvaluateConfig",
        boundary_px=boundary_px,
        class_column=class_column,
        class_name=class_name,
        unlabelled=unlabelled,
    )
    talk: report.Talk = context.obj
    if tiles is None:
        done = _mask(talk, mask, labels, model, config)
    elif mask is not None:
        raise InputError("either MASK LABELS or --tiles can be evaluated; leave one out")
    else:
        options.check_folder(tiles, what="chips folder", make="make one with geoseg tile")
        options.check_model(model)
        with talk.progress() as progress:
            from geoseg.evaluate import evaluate_model
            from geoseg.models.card import find_model

            done = evaluate_model(
                find_model(model), tiles, split, config, refine=refine, device=device, progress=progress
            )
    report.show_evaluate(talk, done)
    if min_miou is not None and not done.miou >= min_miou:  # NaN is no score either
        raise BelowTargetError(f"mIoU {report.number(done.miou)} is below --min-miou {min_miou:g}")


def _mask(talk: report.Talk, mask: Path | None, labels: Path | None, model: Path | None, config: Any) -> Any:
    if mask is None or labels is None:
        raise InputError("give MASK and LABELS, or --tiles; see geoseg evaluate --help")
    if model is not None:
        raise InputError("--model goes with --tiles; a mask is evaluated without a model")
    options.check_scene(mask, what="mask", remote=True)
    options.check_labels(labels)
    with talk.progress() as progress:
        from geoseg.evaluate import evaluate as run

        return run(mask, labels, config, progress=progress)
