"""``geoseg vectorize``: mask to polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.outputs import check_output
from geoseg_cli import options, report
from geoseg_cli.options import OUTPUT, Overwrite, setting


def vectorize(
    context: typer.Context,
    mask: Annotated[
        Path,
        typer.Argument(metavar="MASK", help="A raster of class ids, such as predict makes."),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The polygons; the suffix tells the format: .gpkg .fgb .geojson .shp .parquet",
            rich_help_panel=OUTPUT,
        ),
    ],
    overwrite: Overwrite = False,
    simplify_px: Annotated[
        float | None,
        setting(
            "VectorizeConfig.simplify_px",
            "--simplify",
            help="Tolerance in pixels; neighbours keep sharing their edges. 0 keeps the pixel edges.",
            panel=OUTPUT,
        ),
    ] = None,
    min_area: Annotated[
        str | None,
        setting(
            "VectorizeConfig.min_area",
            "--min-area",
            help="Smaller areas go to a neighbour: 250m2, 0.5ha or 20px; a bare number is square metres.",
            panel=OUTPUT,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        setting(
            "VectorizeConfig.classes",
            "--classes",
            help="Names or ids of the classes to write, such as field,forest; all but background when not "
            "given.",
            panel=OUTPUT,
        ),
    ] = None,
    style: Annotated[
        bool | None,
        setting(
            "VectorizeConfig.style", "--style/--no-style", help="Colour the classes in QGIS.", panel=OUTPUT
        ),
    ] = None,
) -> None:
    """Turn a mask into polygons that neither overlap nor leave gaps.

    Examples:
      geoseg vectorize mask.tif -o parcels.gpkg
      geoseg vectorize mask.tif -o parcels.geojson --simplify 3 --min-area 250m2
    """
    options.check_scene(mask, what="mask")
    check_output(output, overwrite=overwrite, inputs=[mask])
    config = options.config_of(
        context,
        "VectorizeConfig",
        simplify_px=simplify_px,
        min_area=min_area,
        classes=options.names(classes),
        style=style,
    )
    talk: report.Talk = context.obj
    with talk.progress() as progress:
        from geoseg.vectorize import vectorize as run

        done = run(mask, output, config, overwrite=overwrite, progress=progress)
    report.show_vectorize(talk, done)
