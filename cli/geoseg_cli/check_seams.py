"""``geoseg check-seams``: does it matter where a chip begins?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.outputs import check_output
from geoseg.raster.remote import local
from geoseg_cli import options, report
from geoseg_cli.options import INPUT, MODEL, OUTPUT, SPEED, Overwrite, setting


def check_seams(
    context: typer.Context,
    scene: Annotated[
        Path,
        typer.Argument(metavar="SCENE", help="A raster of the bands the model knows."),
    ],
    *,
    bands: Annotated[
        str | None,
        setting(
            "PredictConfig.bands",
            "--bands",
            help="Bands of the scene in the model's order, such as 4,1,2; all but alpha when not given.",
            panel=INPUT,
        ),
    ] = None,
    window: options.Part = None,
    model: options.Model = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Also write what changed, as a raster: 0 same, 1 changed.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
    shift_px: Annotated[
        int | None,
        typer.Option(
            "--shift",
            min=0,
            help="Pixels the second grid is moved by, a multiple of 32; half a stride when not given.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    size_px: Annotated[
        int | None,
        setting(
            "PredictConfig.size_px",
            "--size",
            help="Side of a chip in pixels, a multiple of 32; that of the model when not given.",
            panel=SPEED,
        ),
    ] = None,
    overlap_px: Annotated[
        int | None,
        setting(
            "PredictConfig.overlap_px",
            "--overlap",
            help="Overlap of neighbouring chips, a multiple of 32; a quarter of a chip when not given.",
            panel=SPEED,
        ),
    ] = None,
    device: options.Device = "auto",
    precision: Annotated[
        options.Precision | None,
        setting("PredictConfig.precision", "--precision", help="Numbers to compute with.", panel=SPEED),
    ] = None,
    workers: options.Workers = None,
    memory: options.Memory = None,
) -> None:
    """Predict a scene on two grids, and show where the answers differ.

    Examples:
      geoseg check-seams scene.tif
      geoseg check-seams scene.tif -o changed.tif --model runs/fields
    """
    options.check_scene(scene, remote=True)
    if output is not None:
        check_output(output, overwrite=overwrite, inputs=local([scene]))
    options.check_model(model)
    config = options.config_of(
        context,
        "PredictConfig",
        size_px=size_px,
        overlap_px=overlap_px,
        precision=precision,
        bands=options.numbers(bands),
    )
    part = options.window(window)
    talk: report.Talk = context.obj
    with talk.progress() as progress:
        from geoseg.render.session import Request
        from geoseg.render.work import Resources
        from geoseg.seams import check_seams as run

        found = run(
            Request(scene=scene, model=model, config=config, device=device, window=part),
            output,
            shift_px=shift_px,
            resources=Resources(workers=workers, memory_mb=options.megabytes(memory)),
            overwrite=overwrite,
            progress=progress,
        )
    report.show_seams(talk, found)
