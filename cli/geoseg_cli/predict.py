"""``geoseg predict``: scene to mask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.outputs import check_output
from geoseg_cli import options, report
from geoseg_cli.options import INPUT, MODEL, OUTPUT, SPEED, Overwrite, setting


def predict(
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
    nodata: Annotated[
        float | None,
        setting(
            "PredictConfig.nodata", "--nodata", help="Overrides the nodata value of the scene.", panel=INPUT
        ),
    ] = None,
    model: options.Model = None,
    refine: Annotated[
        bool | None,
        setting(
            "PredictConfig.refine",
            "--refine/--no-refine",
            help="Refine unsure pixels point by point.",
            panel=MODEL,
        ),
    ] = None,
    margin: Annotated[
        float | None,
        setting(
            "PredictConfig.margin",
            "--margin",
            help="Pixels whose two best classes lie further apart are sure, 0 to 1.",
            panel=MODEL,
        ),
    ] = None,
    points_per_pixel: Annotated[
        float | None,
        setting(
            "PredictConfig.points_per_pixel",
            "--points-per-pixel",
            help="Most pixels refined in one step, as a share of each 32 x 32 px area.",
            panel=MODEL,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="The mask, a Cloud-Optimised GeoTIFF.", rich_help_panel=OUTPUT),
    ],
    overwrite: Overwrite = False,
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
            help="Overlap of neighbouring chips in pixels; a quarter of a chip when not given.",
            panel=SPEED,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        setting("PredictConfig.batch_size", "--batch-size", help="Chips at once.", panel=SPEED),
    ] = None,
    device: options.Device = "auto",
    precision: Annotated[
        options.Precision | None,
        setting("PredictConfig.precision", "--precision", help="Numbers to compute with.", panel=SPEED),
    ] = None,
) -> None:
    """Predict the class of every pixel of a scene, as a mask on the same grid.

    Examples:
      geoseg predict scene.tif -o mask.tif
      geoseg predict scene.tif -o mask.tif --model runs/fields --device cuda
    """
    options.check_scene(scene)
    check_output(output, overwrite=overwrite, inputs=[scene])
    options.check_model(model)
    config = options.config_of(
        context,
        "PredictConfig",
        size_px=size_px,
        overlap_px=overlap_px,
        batch_size=batch_size,
        precision=precision,
        refine=refine,
        margin=margin,
        points_per_pixel=points_per_pixel,
        bands=options.numbers(bands),
        nodata=nodata,
    )
    talk: report.Talk = context.obj
    with talk.progress() as progress:
        from geoseg.predict import predict as run

        done = run(
            scene,
            output,
            model=model,
            config=config,
            device=device,
            overwrite=overwrite,
            progress=progress,
        )
    report.show_predict(talk, done)
