"""``geoseg merge``: shards of several machines to mask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.errors import InputError
from geoseg.outputs import check_output
from geoseg_cli import report
from geoseg_cli.options import OUTPUT, Overwrite


def merge(
    context: typer.Context,
    shards: Annotated[
        list[Path],
        typer.Argument(metavar="SHARD", help="All files that predict --shard made of a scene."),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The mask, a Cloud-Optimised GeoTIFF.", rich_help_panel=OUTPUT),
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
    overwrite: Overwrite = False,
) -> None:
    """Make the mask of a scene that several machines predicted in shards, as one would have made it.

    Needs neither the scene nor the model. A shard is what predict --shard 1/4 (to 4/4) makes.

    Examples:
      geoseg merge mask.tif.shard-*-of-4 -o mask.tif
      geoseg merge mask.tif.shard-*-of-4 -o mask.tif --uncertainty uncertainty.tif
    """
    for path in shards:
        if not path.exists():
            raise InputError(f"shard {path} does not exist; give all that predict --shard made")
    for made in (output, probabilities, uncertainty):
        if made is not None:
            check_output(made, overwrite=overwrite, inputs=shards)
    talk: report.Talk = context.obj
    with talk.progress() as progress:
        from geoseg.merge import merge as run

        done = run(
            shards,
            output,
            probabilities=probabilities,
            uncertainty=uncertainty,
            overwrite=overwrite,
            progress=progress,
        )
    report.show_merge(talk, done)
