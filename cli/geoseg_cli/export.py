"""``geoseg export``: model to ONNX and STAC."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg_cli import options, report
from geoseg_cli.options import MODEL, OUTPUT, Overwrite


def export(
    context: typer.Context,
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL",
            help="A run folder or a .safetensors file; the newest finished run under ./runs when not given.",
            autocompletion=options.finished_runs,
        ),
    ] = None,
    *,
    onnx: Annotated[
        Path | None,
        typer.Option("--onnx", help="Write an ONNX file, for QGIS (Deepness).", rich_help_panel=OUTPUT),
    ] = None,
    card: Annotated[
        Path | None,
        typer.Option("--card", help="Write a STAC Item, for catalogues of models.", rich_help_panel=OUTPUT),
    ] = None,
    overwrite: Overwrite = False,
    size_px: Annotated[
        int | None,
        typer.Option(
            "--size",
            metavar="PX",
            help="Side of the chips the ONNX file takes; the model's own when not given.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    refine: Annotated[
        bool,
        typer.Option(
            "--refine/--no-refine",
            help="Point refinement in the ONNX file; without it borders are coarse.",
            rich_help_panel=MODEL,
        ),
    ] = True,
) -> None:
    """Write a model for other programs: as ONNX for QGIS, as a STAC Item for catalogues.

    The ONNX file takes pixels and gives class probabilities: it normalises and refines by itself.
    It needs the extra onnx of geoseg.

    Examples:
      geoseg export runs/fields --onnx fields.onnx
      geoseg export runs/fields --onnx fields.onnx --card fields.json
    """
    talk: report.Talk = context.obj
    with talk.progress() as progress:
        from geoseg.export import export as run

        done = run(
            model,
            onnx=onnx,
            card=card,
            size_px=size_px,
            refine=refine,
            overwrite=overwrite,
            progress=progress,
        )
    report.show_export(talk, done)
