"""``geoseg evaluate``: how good is it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from geoseg.errors import GeosegError, InputError
from geoseg.raster.remote import file_name
from geoseg_cli import options, pages, report, scores
from geoseg_cli.options import INPUT, MODEL, OUTPUT, Overwrite, setting

Split = Literal["train", "val", "test"]


class BelowTargetError(GeosegError):
    """A score is below ``--min-miou``, ``--min-f1`` or ``--min-ap``."""

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
            "chips and small scenes). Of Boundary AP: 2m.",
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
    min_score: Annotated[
        float | None,
        setting(
            "EvaluateConfig.min_score",
            "--min-score",
            min=0.0,
            help="Of polygons with a column score, those that count as objects; average precision is of all.",
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
    page: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="PAGE",
            help="Also write a page to look at in a browser, .html: all scores, with mask, labels and errors "
            "on a map.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    scene: Annotated[
        Path | None,
        typer.Option(
            "--scene", help="The scene, to be drawn below them on the page.", rich_help_panel=OUTPUT
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
    min_ap: Annotated[
        float | None,
        typer.Option(
            "--min-ap",
            min=0.0,
            max=1.0,
            help="Exit with 3 when the average precision of polygons with scores is below.",
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
        min_score=min_score,
    )
    talk: report.Talk = context.obj
    if scene is not None:
        if page is None:
            raise InputError("--scene is drawn on the page of --report; give a page, or leave it out")
        options.check_scene(scene)
    wanted = None if page is None else pages.ScoresPage(path=page, scene=scene, overwrite=overwrite)
    if tiles is not None:
        _refuse_with_tiles(
            paths, labels, probabilities, area, errors, min_f1, objects, scene, min_score, min_ap
        )
        options.check_folder(tiles, what="chips folder", make="make one with geoseg tile")
        options.check_model(model)
        if wanted is not None:
            wanted.check([], [])
        done = _model(talk, model, tiles, split, config, refine, device, wanted)
    elif model is not None:
        raise InputError("--model goes with --tiles; a mask is evaluated without a model")
    else:
        predictions, truth = _inputs(paths or [], labels, probabilities)
        rasters = [options.check_prediction(path) for path in predictions]
        options.check_labels(truth)
        _refuse(rasters, area, errors, {"miou": min_miou, "boundary": boundary, "blocks": blocks_px})
        _refuse_scores(rasters, {"--min-score": min_score, "--min-ap": min_ap})
        if wanted is not None:
            wanted.check([*predictions, truth, *([] if area is None else [area])], [errors] if errors else [])
        done = _predictions(
            talk,
            predictions,
            truth,
            config,
            probabilities is not None,
            area,
            errors,
            overwrite,
            rasters,
            wanted,
        )
    pages.insist(talk)
    _check_targets(done, min_miou, min_f1, min_ap)


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
    if of_pixels["blocks"] is not None and not any(rasters):
        raise InputError("--blocks is about pixels; leave it out with polygons")
    width = of_pixels["boundary"]
    if width is not None and not any(rasters) and not width.rstrip().endswith("m"):
        raise InputError(f"--boundary {width} is about pixels; with polygons give a width such as 2m")
    if errors is not None and len(rasters) > 1:
        raise InputError("--errors goes with one prediction; leave it out to compare several")


def _refuse_scores(rasters: list[bool], flags: dict[str, float | None]) -> None:
    for flag, value in flags.items():
        if value is not None and all(rasters):
            raise InputError(f"{flag} goes with polygons that have a column score; leave it out with a mask")


def _refuse_with_tiles(paths: list[Path] | None, *others: Any) -> None:
    if paths:
        raise InputError("either MASK LABELS or --tiles can be evaluated; leave one out")
    flags = (
        *("--labels", "--probabilities", "--area", "--errors", "--min-f1", "--objects", "--scene"),
        *("--min-score", "--min-ap"),
    )
    for flag, value in zip(flags, others, strict=True):
        if value:
            raise InputError(f"{flag} goes with a mask; leave it out, or --tiles")


def _model(
    talk: report.Talk,
    model: Path | None,
    tiles: Path,
    split: Split,
    config: Any,
    refine: bool,
    device: str,
    wanted: pages.ScoresPage | None,
) -> Any:
    written = None
    with talk.progress() as progress:
        from geoseg.evaluate import evaluate_model
        from geoseg.models.card import find_model

        found = find_model(model)
        done = evaluate_model(found, tiles, split, config, refine=refine, device=device, progress=progress)
        if wanted is not None:
            # A run's model is known by its folder.
            name = found.resolve().parent.name if found.name == "model.safetensors" else found.stem
            title = f"{name} on the {split} chips of {tiles.resolve().name}"
            written = wanted.write(talk, progress, model=found, scored=done, title=title)
    scores.show_evaluate(talk, done, page=written)
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
    rasters: list[bool],
    wanted: pages.ScoresPage | None,
) -> Any:
    """Score masks or polygons, show it, and write the page about it."""
    written = None
    with talk.progress() as progress:
        import geoseg.evaluate as stage

        common: dict[str, Any] = {"errors": errors, "overwrite": overwrite, "progress": progress}
        first = predictions[0]
        if len(predictions) > 1:
            done: Any = stage.compare(predictions, labels, config, area=area, progress=progress)
            show: Any = scores.show_compare
        elif rasters[0]:
            done = stage.evaluate(first, labels, config, probabilities=likeliest, **common)
            show = scores.show_evaluate
        else:
            done = stage.evaluate_polygons(first, labels, config, area=area, **common)
            show = scores.show_polygons
        if wanted is not None:
            # Probabilities are no mask to draw.
            masks = (
                []
                if likeliest
                else [path for path, is_one in zip(predictions, rasters, strict=True) if is_one]
            )
            layers = [path for path, is_raster in zip(predictions, rasters, strict=True) if not is_raster]
            progress.end()
            written = wanted.write(
                talk,
                progress,
                mask=masks[0] if masks else None,
                more_masks=tuple(masks[1:]),
                parcels=layers[0] if layers else None,
                min_score=config.min_score,
                labels=labels,
                errors=errors,
                scored=done if rasters == [True] else None,
                more=done,
                title=file_name(wanted.scene or first),
            )
    show(talk, done, page=written)
    return done


def _check_targets(done: Any, min_miou: float | None, min_f1: float | None, min_ap: float | None) -> None:
    """Every prediction must reach what is wanted; NaN is no score either."""
    for each in getattr(done, "reports", (done,)):
        if min_miou is not None and not each.miou >= min_miou:
            raise BelowTargetError(f"mIoU {report.number(each.miou)} is below --min-miou {min_miou:g}")
        if min_f1 is not None and not each.objects.all.f1 >= min_f1:
            raise BelowTargetError(
                f"F1 of objects {report.number(each.objects.all.f1)} is below --min-f1 {min_f1:g}"
            )
        if min_ap is not None:
            found = None if each.objects is None else each.objects.detections
            if found is None:
                raise InputError(
                    f"--min-ap: {each.prediction} has no column score of numbers, so it has no average "
                    "precision; leave it out"
                )
            if not found.all.ap >= min_ap:
                raise BelowTargetError(f"AP {report.number(found.all.ap)} is below --min-ap {min_ap:g}")
