"""``geoseg evaluate``: how good is it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from geoseg.errors import GeosegError, InputError
from geoseg_cli import options, report, scores
from geoseg_cli.options import INPUT, MODEL, OUTPUT, Overwrite, setting

Split = Literal["train", "val", "test"]


class BelowTargetError(GeosegError):
    """A score is below ``--min-miou`` or ``--min-f1``."""

    exit_code = 3


def evaluate(
    context: typer.Context,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MASK LABELS",
            help="A raster of class ids such as predict makes, or polygons such as vectorize makes; and the "
            "truth, polygons or a raster. Several masks with --labels are compared.",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", "-l", help="The truth, when several masks are given.", rich_help_panel=INPUT
        ),
    ] = None,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            "--probabilities",
            help="What predict --probabilities wrote, instead of MASK: the likeliest class counts.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    area: Annotated[
        Path | None,
        typer.Option(
            "--area",
            help="With polygons as MASK: the land to compare, as polygons or the extent of a raster; the "
            "polygons' bounds when not given.",
            rich_help_panel=INPUT,
        ),
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
    boundary: Annotated[
        str | None,
        setting(
            "EvaluateConfig.boundary",
            "--boundary",
            help="Width of the band of Boundary IoU: 2px, 3m, or 2% of the diagonal (as in the paper; for "
            "chips and small scenes).",
            panel=OUTPUT,
            metavar="WIDTH",
        ),
    ] = None,
    objects: Annotated[
        bool | None,
        setting(
            "EvaluateConfig.objects",
            "--objects/--no-objects",
            help="Also compare objects: the regions of the mask, traced exactly. Polygons always are.",
            panel=OUTPUT,
        ),
    ] = None,
    blocks_px: Annotated[
        int | None,
        setting(
            "EvaluateConfig.blocks_px",
            "--blocks",
            help="Side in pixels of the blocks of land that 95 % intervals are drawn from; about 64 blocks "
            "when not given.",
            panel=OUTPUT,
        ),
    ] = None,
    errors: Annotated[
        Path | None,
        typer.Option(
            "--errors",
            help="Write what is wrong as coloured layers: a .gpkg of objects, or of land for a mask without "
            "--objects.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
    min_miou: Annotated[
        float | None,
        typer.Option(
            "--min-miou", min=0.0, max=1.0, help="Exit with 3 when the mIoU is below.", rich_help_panel=OUTPUT
        ),
    ] = None,
    min_f1: Annotated[
        float | None,
        typer.Option(
            "--min-f1",
            min=0.0,
            max=1.0,
            help="Exit with 3 when the F1 of objects is below.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Score a mask or polygons against labels, or a model on chips.

    Examples:
      geoseg evaluate mask.tif fields.gpkg --objects --errors errors.gpkg
      geoseg evaluate --tiles chips --split test --model runs/fields --min-miou 0.8
    """
    config = options.config_of(
        context,
        "EvaluateConfig",
        boundary=boundary,
        class_column=class_column,
        class_name=class_name,
        unlabelled=unlabelled,
        objects=objects if min_f1 is None else True,
        blocks_px=blocks_px,
    )
    talk: report.Talk = context.obj
    if tiles is not None:
        _refuse_with_tiles(paths, labels, probabilities, area, errors, min_f1, objects)
        options.check_folder(tiles, what="chips folder", make="make one with geoseg tile")
        options.check_model(model)
        done = _model(talk, model, tiles, split, config, refine, device)
    elif model is not None:
        raise InputError("--model goes with --tiles; a mask is evaluated without a model")
    else:
        predictions, truth = _inputs(paths or [], labels, probabilities)
        rasters = [options.check_prediction(path) for path in predictions]
        options.check_labels(truth)
        _refuse(rasters, area, errors, {"miou": min_miou, "boundary": boundary, "blocks": blocks_px})
        done = _predictions(
            talk, predictions, truth, config, probabilities is not None, area, errors, overwrite, rasters[0]
        )
    _check_targets(done, min_miou, min_f1)


def _inputs(paths: list[Path], labels: Path | None, probabilities: Path | None) -> tuple[list[Path], Path]:
    """What is to be scored, and the truth."""
    if labels is None:
        wanted = 1 if probabilities is not None else 2
        if len(paths) > wanted:
            raise InputError(f"{len(paths)} files are given; name the truth with --labels to compare masks")
        if len(paths) < wanted:
            raise InputError("give MASK and LABELS, or --tiles; see geoseg evaluate --help")
        *paths, labels = paths
    if probabilities is not None:
        if paths:
            raise InputError(f"either {paths[0]} or --probabilities can be evaluated; leave one out")
        return [probabilities], labels
    if not paths:
        raise InputError("give MASK and LABELS, or --tiles; see geoseg evaluate --help")
    return paths, labels


def _refuse(rasters: list[bool], area: Path | None, errors: Path | None, of_pixels: dict[str, Any]) -> None:
    """Refuse options that say nothing of what is given: masks where ``rasters`` is true, else polygons."""
    if area is not None and any(rasters):
        raise InputError("--area goes with polygons; a mask tells itself what land it covers")
    if of_pixels["miou"] is not None and not all(rasters):
        raise InputError("--min-miou goes with a mask; polygons have --min-f1")
    for flag in ("boundary", "blocks"):
        if of_pixels[flag] is not None and not any(rasters):
            raise InputError(f"--{flag} is about pixels; leave it out with polygons")
    if errors is not None and len(rasters) > 1:
        raise InputError("--errors goes with one prediction; leave it out to compare several")


def _refuse_with_tiles(paths: list[Path] | None, *others: Any) -> None:
    if paths:
        raise InputError("either MASK LABELS or --tiles can be evaluated; leave one out")
    flags = ("--labels", "--probabilities", "--area", "--errors", "--min-f1", "--objects")
    for flag, value in zip(flags, others, strict=True):
        if value:
            raise InputError(f"{flag} goes with a mask; leave it out, or --tiles")


def _model(
    talk: report.Talk, model: Path | None, tiles: Path, split: Split, config: Any, refine: bool, device: str
) -> Any:
    with talk.progress() as progress:
        from geoseg.evaluate import evaluate_model
        from geoseg.models.card import find_model

        done = evaluate_model(
            find_model(model), tiles, split, config, refine=refine, device=device, progress=progress
        )
    scores.show_evaluate(talk, done)
    return done


def _predictions(
    talk: report.Talk,
    predictions: list[Path],
    labels: Path,
    config: Any,
    likeliest: bool,
    area: Path | None,
    errors: Path | None,
    overwrite: bool,
    raster: bool,
) -> Any:
    """Score masks or polygons and show it."""
    with talk.progress() as progress:
        import geoseg.evaluate as stage

        if len(predictions) > 1:
            both = stage.compare(predictions, labels, config, area=area, progress=progress)
        elif raster:
            mask = stage.evaluate(
                predictions[0],
                labels,
                config,
                probabilities=likeliest,
                errors=errors,
                overwrite=overwrite,
                progress=progress,
            )
        else:
            polygons = stage.evaluate_polygons(
                predictions[0],
                labels,
                config,
                area=area,
                errors=errors,
                overwrite=overwrite,
                progress=progress,
            )
    if len(predictions) > 1:
        scores.show_compare(talk, both)
        return both
    if raster:
        scores.show_evaluate(talk, mask)
        return mask
    scores.show_polygons(talk, polygons)
    return polygons


def _check_targets(done: Any, min_miou: float | None, min_f1: float | None) -> None:
    """Every prediction must reach what is wanted; NaN is no score either."""
    for each in getattr(done, "reports", (done,)):
        if min_miou is not None and not each.miou >= min_miou:
            raise BelowTargetError(f"mIoU {report.number(each.miou)} is below --min-miou {min_miou:g}")
        if min_f1 is not None and not each.objects.all.f1 >= min_f1:
            raise BelowTargetError(
                f"F1 of objects {report.number(each.objects.all.f1)} is below --min-f1 {min_f1:g}"
            )
