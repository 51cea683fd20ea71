"""``geoseg tile``: scenes and labels to chips."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from geoseg.errors import InputError
from geoseg.outputs import check_output_folder
from geoseg_cli import options, report
from geoseg_cli.options import INPUT, OUTPUT, SPLIT, Overwrite, setting

Split = Literal["blocks", "scene"]
Task = Literal["semantic", "instance"]
Format = Literal["chips", "coco"]


def tile(
    context: typer.Context,
    scenes: Annotated[
        list[Path] | None, typer.Argument(metavar="SCENE", help="Rasters of the same bands.")
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            "--labels",
            "-l",
            help="Polygons (GeoPackage, GeoJSON, Shapefile, FlatGeobuf, GeoParquet) or class ids (raster): "
            "one file for all scenes, one for each (repeat -l), or a folder of files named like the scenes.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    from_coco: Annotated[
        Path | None,
        typer.Option(
            "--from-coco",
            metavar="JSON",
            help="COCO annotations of instances, in place of scenes and labels.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option("--images", help="Folder of the images of --from-coco.", rich_help_panel=INPUT),
    ] = None,
    task: Annotated[
        Task | None,
        setting(
            "TileConfig.task",
            "--task",
            help="What a model shall tell: the class of every pixel, or every object apart. Of objects, a "
            "column iscrowd marks areas of many that nobody told apart.",
            panel=INPUT,
        ),
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the chips.", rich_help_panel=OUTPUT)
    ],
    overwrite: Overwrite = False,
    class_column: Annotated[
        str | None,
        setting("TileConfig.class_column", "--class-column", help=options.CLASS_COLUMN, panel=INPUT),
    ] = None,
    class_name: Annotated[
        str | None,
        setting(
            "TileConfig.class_name",
            "--class-name",
            help="Name of that one class, without --class-column.",
            panel=INPUT,
        ),
    ] = None,
    unlabelled: Annotated[
        options.Unlabelled | None,
        setting("TileConfig.unlabelled", "--unlabelled", help=options.UNLABELLED, panel=INPUT),
    ] = None,
    boundary_px: Annotated[
        float | None,
        setting(
            "TileConfig.boundary_px",
            "--boundary",
            help="Draw a class boundary of this width in pixels between polygons that touch or lie closer, "
            "so that a model keeps them apart; none when not given.",
            panel=INPUT,
        ),
    ] = None,
    bands: Annotated[
        str | None,
        setting(
            "TileConfig.bands",
            "--bands",
            help="Bands to keep, in this order, such as 4,1,2; all but alpha when not given.",
            panel=INPUT,
        ),
    ] = None,
    nodata: Annotated[
        float | None,
        setting(
            "TileConfig.nodata", "--nodata", help="Overrides the nodata value of the scenes.", panel=INPUT
        ),
    ] = None,
    size_px: Annotated[
        int | None,
        setting(
            "TileConfig.size_px", "--size", help="Side of a chip in pixels, a multiple of 32.", panel=OUTPUT
        ),
    ] = None,
    overlap_px: Annotated[
        int | None,
        setting(
            "TileConfig.overlap_px",
            "--overlap",
            help="Overlap of neighbouring chips in pixels.",
            panel=OUTPUT,
        ),
    ] = None,
    split: Annotated[
        Split | None,
        setting(
            "TileConfig.split",
            "--split",
            help="What goes to train, val or test as a whole: blocks of land, or scenes.",
            panel=SPLIT,
        ),
    ] = None,
    split_column: Annotated[
        str | None,
        setting(
            "TileConfig.split_column",
            "--split-column",
            help="Column of the labels that tells the split of the land of each polygon.",
            panel=SPLIT,
        ),
    ] = None,
    split_file: Annotated[
        Path | None,
        setting(
            "TileConfig.split_file",
            "--split-file",
            help="CSV of two columns, scene,split, that tells the split of each scene.",
            panel=SPLIT,
        ),
    ] = None,
    val_share: Annotated[
        float | None,
        setting("TileConfig.val_share", "--val-share", help="Share of the land for validation.", panel=SPLIT),
    ] = None,
    test_share: Annotated[
        float | None,
        setting("TileConfig.test_share", "--test-share", help="Share of the land for the test.", panel=SPLIT),
    ] = None,
    block_px: Annotated[
        int | None,
        setting(
            "TileConfig.block_px",
            "--block",
            help="Side of the blocks of land in pixels; chosen from the scenes when not given.",
            panel=SPLIT,
        ),
    ] = None,
    seed: Annotated[
        int | None, setting("TileConfig.seed", "--seed", help="Seed of the split.", panel=SPLIT)
    ] = None,
    format: Annotated[  # noqa: A002  the name of the field
        Format | None,
        setting(
            "TileConfig.format",
            "--format",
            help="coco: annotations for other tools too, in annotations/ inside the folder.",
            panel=OUTPUT,
        ),
    ] = None,
) -> None:
    """Cut scenes and their labels into chips to train on.

    Examples:
      geoseg tile scenes/*.tif --labels fields.gpkg -o chips
      geoseg tile scene.tif -l landcover.gpkg --class-column kind -o chips
    """
    _check_inputs(scenes, labels, from_coco, images, task)
    check_output_folder(output, overwrite=overwrite, marker="chips.json")
    config = options.config_of(
        context,
        "TileConfig",
        task=task if from_coco is None else "instance",
        size_px=size_px,
        overlap_px=overlap_px,
        bands=options.numbers(bands),
        class_column=class_column,
        class_name=class_name,
        unlabelled=unlabelled,
        boundary_px=boundary_px,
        split=split,
        split_column=split_column,
        split_file=split_file,
        val_share=val_share,
        test_share=test_share,
        block_px=block_px,
        seed=seed,
        nodata=nodata,
        format=format,
    )
    talk: report.Talk = context.obj
    with talk.progress() as progress:
        from geoseg import tile as stage

        if from_coco is not None and images is not None:
            done = stage.tile_coco(from_coco, images, output, config, overwrite=overwrite, progress=progress)
        else:
            done = stage.tile(
                scenes or [], labels or [], output, config, overwrite=overwrite, progress=progress
            )
    report.show_tile(talk, done)


def _check_inputs(
    scenes: list[Path] | None,
    labels: list[Path] | None,
    from_coco: Path | None,
    images: Path | None,
    task: Task | None,
) -> None:
    """Refuse inputs that do not go together, or are missing, before anything slow is imported.

    Raises:
        InputError: the first thing wrong.
    """
    if from_coco is None:
        if images is not None:
            raise InputError("--images are those of --from-coco; name scenes before --labels")
        if not scenes or not labels:
            missing = "SCENE" if not scenes else "--labels"
            raise InputError(f"missing {missing}; name scenes and their labels, or --from-coco and --images")
        for scene in scenes:
            options.check_scene(scene, remote=True)
        for source in labels:
            options.check_labels(source, folder=True)
        return
    if scenes or labels:
        raise InputError("--from-coco names scenes and labels itself; leave out SCENE and --labels")
    if task == "semantic":
        raise InputError("--from-coco makes chips of the task instance; leave out --task")
    if images is None:
        raise InputError("--from-coco needs the folder of its images; name it with --images")
    options.check_labels(from_coco)
    options.check_folder(images, what="folder of images", make="name the folder of the images")
