"""``geoseg merge``: shards of several machines to mask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geoseg.errors import InputError
from geoseg.outputs import check_output
from geoseg_cli import objects, options, report
from geoseg_cli.options import OUTPUT, Overwrite, Qml


def merge(
    context: typer.Context,
    shards: Annotated[
        list[Path],
        typer.Argument(metavar="SHARD", help="All files that predict --shard made of a scene."),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The mask, a Cloud-Optimised GeoTIFF; of objects polygons, such as .gpkg.",
            rich_help_panel=OUTPUT,
        ),
    ],
    probabilities: Annotated[
        Path | None,
        typer.Option(
            "--probabilities",
            help="Also write class probabilities, if the shards were made with --probabilities.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            "--uncertainty",
            help="Also write how unsure each pixel is, if the shards were made with --uncertainty.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    ids: objects.Ids = None,
    mask: objects.ClassMask = None,
    min_visible: objects.MinVisible = None,
    simplify_px: objects.Simplify = None,
    qml: Qml = False,
    overwrite: Overwrite = False,
) -> None:
    """Make the mask of a scene that several machines predicted in shards, as one would have made it.

    Needs neither the scene nor the model. A shard is what predict --shard 1/4 (to 4/4) makes. Shards that
    hold objects become polygons.

    Examples:
      geoseg merge mask.tif.shard-*-of-4 -o mask.tif
      geoseg merge mask.tif.shard-*-of-4 -o mask.tif --uncertainty uncertainty.tif
    """
    for path in shards:
        if not path.exists():
            raise InputError(f"shard {path} does not exist; give all that predict --shard made")
    from geoseg.render.plan import POLYGON_SUFFIXES

    polygons = output.suffix.lower() in POLYGON_SUFFIXES
    for other in (probabilities, uncertainty) if polygons else (ids, mask):
        if other is not None:
            raise InputError(f"{other} does not go with {output}; leave it out or write another output")
    for made in (output, probabilities, uncertainty, ids, mask):
        if made is not None:
            check_output(made, overwrite=overwrite, inputs=shards)
    talk: report.Talk = context.obj
    with talk.progress() as progress:
        if polygons:
            from geoseg.merge_objects import merge_objects

            given = {"min_visible": min_visible, "simplify_px": simplify_px}
            config = options.config_of(context, "PredictConfig", **given)
            outputs: dict[str, Any] = {"ids": ids, "mask": mask, "qml": qml}
            made_objects = merge_objects(
                shards, output, config=config, overwrite=overwrite, progress=progress, **outputs
            )
            progress.end()
            objects.show(talk, made_objects)
            return
        from geoseg.merge import merge as run

        done = run(
            shards,
            output,
            probabilities=probabilities,
            uncertainty=uncertainty,
            qml=qml,
            overwrite=overwrite,
            progress=progress,
        )
    report.show_merge(talk, done)
