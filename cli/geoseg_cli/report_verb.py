"""``geoseg report``: a result as one file to look at.

Not to be taken for :mod:`geoseg_cli.report`, which tells on the terminal what a verb made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoseg.page.output import check_page
from geoseg_cli import map_options, options, pages, terminal
from geoseg_cli import report as terminal_report
from geoseg_cli.options import INPUT, MODEL, Overwrite, setting

if TYPE_CHECKING:
    from geoseg.mapview.atlas import Sources


def report(
    context: typer.Context,
    scene: Annotated[Path, typer.Argument(metavar="SCENE", help="A raster.")],
    over: map_options.Over = None,
    *,
    uncertainty: map_options.Uncertainty = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels",
            "-l",
            help=f"{map_options.LABELS} With a mask, its scores are told.",
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
            help="Class of all labelled polygons, without --class-column.",
            panel=INPUT,
        ),
    ] = None,
    unlabelled: Annotated[
        options.Unlabelled | None,
        setting("EvaluateConfig.unlabelled", "--unlabelled", help=options.UNLABELLED, panel=INPUT),
    ] = None,
    objects: Annotated[
        bool,
        typer.Option(
            "--objects/--no-objects",
            help="Of labels and mask: compare objects too, not pixels alone.",
            rich_help_panel=INPUT,
        ),
    ] = True,
    bands: map_options.Bands = None,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            "-m",
            help="The run folder or .safetensors file that made the mask; its facts are told.",
            rich_help_panel=MODEL,
            autocompletion=options.finished_runs,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The page to write, .html.", rich_help_panel=options.OUTPUT),
    ],
    overwrite: Overwrite = False,
) -> None:
    """Show scene, mask and polygons in one HTML file that needs no network.

    Examples:
      geoseg report scene.tif mask.tif parcels.gpkg -o report.html
      geoseg report scene.tif mask.tif -u u.tif -l fields.gpkg -o report.html
    """
    sources = map_options.sources_of(scene, over, uncertainty, labels, bands)
    options.check_model(model)
    check_page(output, overwrite=overwrite, inputs=sources.files())
    config = options.config_of(
        context,
        "EvaluateConfig",
        class_column=class_column,
        class_name=class_name,
        unlabelled=unlabelled,
        objects=objects,
    )
    talk: terminal_report.Talk = context.obj
    with talk.progress() as progress:
        from geoseg.report import report as run
        from geoseg.scoring.page import more

        scored = _scored(sources, config, progress)
        done = run(
            sources,
            output,
            model=model,
            scored=scored,
            more_scores=None if scored is None else more(scored),
            command=pages.typed(talk),
            overwrite=overwrite,
            progress=progress,
        )
    size = terminal_report.megabytes(done.size_bytes)
    talk.show(
        done.to_json(),
        lines=[*done.notes, f"wrote {done.output} ({size}) in {terminal.clock(done.seconds)}"],
    )


def _scored(sources: Sources, config: Any, progress: Any) -> Any:
    """Scores of the mask, when there is something to compare it with."""
    if sources.labels is None or sources.mask is None:
        return None
    from geoseg.evaluate import evaluate

    return evaluate(sources.mask, sources.labels, config, progress=progress)
