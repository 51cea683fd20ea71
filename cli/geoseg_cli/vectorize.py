"""``geoseg vectorize``: mask to polygons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from geoseg.outputs import check_output
from geoseg.raster.remote import local
from geoseg_cli import options, report
from geoseg_cli.options import OUTPUT, Overwrite, Qml, setting

LINES = "Polygons"


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
    qml: Qml = False,
    overwrite: Overwrite = False,
    probabilities: Annotated[
        Path | None,
        typer.Option(
            "--probabilities",
            help="What predict --probabilities wrote with the mask: polygons get their confidence, and lines "
            "run where two classes are equally likely.",
            rich_help_panel=options.INPUT,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        setting(
            "VectorizeConfig.classes",
            "--classes",
            help="Names or ids of the classes to write, such as field,forest; all but background when not "
            "given.",
            panel=options.INPUT,
        ),
    ] = None,
    simplify_px: Annotated[
        float | None,
        setting(
            "VectorizeConfig.simplify_px",
            "--simplify",
            help="How far in pixels a line may move when vertices are taken out of it. Neighbours keep "
            "sharing their edges. 0 keeps the pixel edges.",
            panel=LINES,
        ),
    ] = None,
    smooth: Annotated[
        int | None,
        setting(
            "VectorizeConfig.smooth",
            "--smooth",
            help="Round the corners that are left, 1 to 3 times.",
            panel=LINES,
        ),
    ] = None,
    min_area: Annotated[
        str | None,
        setting(
            "VectorizeConfig.min_area",
            "--min-area",
            help="Smaller areas go to a neighbour: 250m2, 0.5ha or 20px; a bare number is square metres.",
            panel=LINES,
        ),
    ] = None,
    drop_small: Annotated[
        bool | None,
        setting(
            "VectorizeConfig.drop_small",
            "--drop-small/--no-drop-small",
            help="Leave areas below --min-area out instead.",
            panel=LINES,
        ),
    ] = None,
    fill_holes: Annotated[
        str | None,
        setting(
            "VectorizeConfig.fill_holes",
            "--fill-holes",
            help="Fill holes below this area, given like --min-area.",
            panel=LINES,
        ),
    ] = None,
    instances: Annotated[
        bool | None,
        setting(
            "VectorizeConfig.instances",
            "--instances/--no-instances",
            help="One polygon a parcel: they grow over the class of tile --boundary until they meet.",
            panel=LINES,
        ),
    ] = None,
    boundary_class: Annotated[
        str | None,
        setting(
            "VectorizeConfig.boundary_class",
            "--boundary-class",
            help="Name or id of the boundary class, if the mask does not mark it.",
            panel=LINES,
        ),
    ] = None,
    boundary_share: Annotated[
        float | None,
        setting(
            "VectorizeConfig.boundary_share",
            "--boundary-share",
            help="With --instances and --probabilities: where the boundary is at least this likely, it parts "
            "parcels.",
            panel=LINES,
        ),
    ] = None,
    connectivity: Annotated[
        int | None,
        setting(
            "VectorizeConfig.connectivity",
            "--connectivity",
            help="4 or 8: with 8, areas that touch at a corner are one multipolygon.",
            panel=LINES,
        ),
    ] = None,
    dissolve: Annotated[
        bool | None,
        setting(
            "VectorizeConfig.dissolve",
            "--dissolve/--no-dissolve",
            help="One multipolygon a class.",
            panel=LINES,
        ),
    ] = None,
    dst_crs: Annotated[
        str | None,
        setting(
            "VectorizeConfig.dst_crs",
            "--dst-crs",
            help="CRS of the polygons, such as EPSG:25833; the mask's own when not given.",
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
    options.check_scene(mask, what="mask", remote=True)
    if probabilities is not None:
        options.check_scene(probabilities, what="probabilities")
    check_output(output, overwrite=overwrite, inputs=local([mask]))
    config = options.config_of(
        context,
        "VectorizeConfig",
        simplify_px=simplify_px,
        smooth=smooth,
        min_area=min_area,
        drop_small=drop_small,
        fill_holes=fill_holes,
        instances=instances,
        boundary_class=boundary_class,
        boundary_share=boundary_share,
        connectivity=connectivity,
        dissolve=dissolve,
        dst_crs=dst_crs,
        classes=options.names(classes),
        style=style,
    )
    talk: report.Talk = context.obj
    with talk.progress() as progress:
        from geoseg.vectorize import vectorize as run

        done = run(
            mask,
            output,
            config,
            probabilities=probabilities,
            qml=qml,
            overwrite=overwrite,
            progress=progress,
        )
    report.show_vectorize(talk, done)
