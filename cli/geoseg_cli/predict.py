"""``geoseg predict``: scene to mask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from geoseg.errors import InputError
from geoseg.outputs import check_output
from geoseg.raster.remote import local
from geoseg_cli import objects, options, pages, report
from geoseg_cli.options import INPUT, MACHINES, MODEL, OUTPUT, PART, SPEED, Overwrite, Qml, setting


def predict(
    context: typer.Context,
    scenes: Annotated[
        list[Path],
        typer.Argument(
            metavar="SCENE", help="Rasters of the bands the model knows: files, https:// or s3://."
        ),
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
    on_error: Annotated[
        options.OnError | None,
        setting(
            "PredictConfig.on_error",
            "--on-error",
            help="What to do about parts of the scene that cannot be read: stop, or take them for nodata.",
            panel=INPUT,
        ),
    ] = None,
    window: options.Part = None,
    bounds: Annotated[
        str | None,
        typer.Option(
            "--bounds",
            metavar="LEFT,BOTTOM,RIGHT,TOP",
            help="Only this part, in the scene's CRS, widened to whole pixels.",
            rich_help_panel=PART,
        ),
    ] = None,
    aoi: Annotated[
        Path | None,
        typer.Option(
            "--aoi",
            help="Only inside these polygons (in any CRS); pixels outside are nodata.",
            rich_help_panel=PART,
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
    tta: Annotated[
        bool | None,
        setting(
            "PredictConfig.tta",
            "--tta/--no-tta",
            help="Average the coarse map over the eight flips and quarter turns; takes eight times as long.",
            panel=MODEL,
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        setting(
            "PredictConfig.min_score",
            "--min-score",
            help="Least score of an object, 0 to 1. Objects only.",
            panel=MODEL,
        ),
    ] = None,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="The mask, a Cloud-Optimised GeoTIFF; of objects polygons: .gpkg, .fgb, .geojson, .parquet "
            "or .shp; a folder for several scenes.",
            rich_help_panel=OUTPUT,
        ),
    ],
    probabilities: Annotated[
        Path | None,
        typer.Option(
            "--probabilities",
            help="Also write class probabilities: a band a class, 254 is certain, 255 nodata.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    uncertainty: Annotated[
        Path | None,
        typer.Option(
            "--uncertainty",
            help="Also write how unsure each pixel is: 254 is a tie of two classes, 255 nodata.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    ids: objects.Ids = None,
    mask: objects.ClassMask = None,
    min_visible: objects.MinVisible = None,
    simplify_px: objects.Simplify = None,
    scale: Annotated[
        int | None,
        setting(
            "PredictConfig.scale",
            "--scale",
            help="Render 2 or 4 times finer than the scene.",
            panel=OUTPUT,
            metavar="1|2|4",
        ),
    ] = None,
    qml: Qml = False,
    page: Annotated[
        Path | None,
        typer.Option(
            "--report",
            metavar="PAGE",
            help="Also write a page to look at in a browser, .html: mask or objects on a map, time and "
            "memory, the model. For several scenes a folder of them.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with what an interrupted run has finished.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Only tell the time, memory and disk it would take.",
            rich_help_panel=OUTPUT,
        ),
    ] = False,
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
    batch_size: Annotated[
        int | None,
        setting(
            "PredictConfig.batch_size",
            "--batch-size",
            help="Chips at once on a GPU, 8 when not given; no matter on a CPU.",
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
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Render only this part of the scene, into a file that geoseg merge takes.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(
            "--dask",
            metavar="ADDRESS|local",
            help="Render on the workers of a dask scheduler, or on processes of this machine.",
            rich_help_panel=MACHINES,
        ),
    ] = None,
) -> None:
    """Predict the class of every pixel of a scene, as a mask on the same grid.

    A model that was trained for objects gives a polygon for each of them instead: -o houses.gpkg.

    Examples:
      geoseg predict scene.tif -o mask.tif
      geoseg predict scenes/*.tif -o masks/ --model runs/fields --device cuda
    """
    many = len(scenes) > 1 or output.is_dir()
    for scene in scenes if not many else ():
        options.check_scene(scene, remote=True)
    if aoi is not None:
        options.check_labels(aoi)
    for path in (output, probabilities, uncertainty, ids, mask):
        if path is not None and not many and not dry_run and shard is None:
            # What a run that is gone on with may replace is found out later.
            check_output(path, overwrite=overwrite or resume, inputs=local(scenes))
    options.check_model(model)
    detects = objects.detects_objects(model)
    objects.check_options(
        objects=detects,
        for_pixels={"--probabilities": probabilities, "--uncertainty": uncertainty},
        for_objects={"--ids": ids, "--mask": mask},
    )
    targets: dict[Path, Path] = {}
    if page is not None:
        if dry_run or shard is not None:
            raise InputError("--report shows a finished prediction; leave it out here")
        targets = pages.pages_of(
            page,
            scenes,
            [path for path in (output, probabilities, uncertainty, ids, mask) if path is not None],
            many=many,
            suffix=".gpkg" if detects else ".tif",
            aoi=aoi,
            overwrite=overwrite,
            resume=resume,
        )
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
        scale=scale,
        tta=tta,
        bands=options.numbers(bands),
        nodata=nodata,
        on_error=on_error,
        min_score=min_score,
        min_visible=min_visible,
        simplify_px=simplify_px,
    )
    part: dict[str, Any] = {
        "window": options.window(window),
        "bounds": options.decimals(bounds, "--bounds", 4),
        "aoi": aoi,
    }
    talk: report.Talk = context.obj
    with talk.progress() as progress, options.resumable(context, progress):
        from geoseg.predict import predict as run
        from geoseg.render.work import Resources

        resources = Resources(workers=workers, memory_mb=options.megabytes(memory), dask=dask)
        if dry_run:
            if many:
                raise InputError("--dry-run looks at one scene; give one")
            layers = [("probabilities", probabilities), ("uncertainty", uncertainty)]
            contents = ("mask", *(name for name, path in layers if path is not None))
            request = {"scene": scenes[0], "model": model, "config": config, "device": device, **part}
            _estimate(talk, progress, request, ("objects", "valid") if detects else contents, resources)
            return
        common: dict[str, Any] = {
            "model": model,
            "config": config,
            "device": device,
            "probabilities": probabilities,
            "uncertainty": uncertainty,
            "resources": resources,
            "overwrite": overwrite,
            "resume": resume,
            "progress": progress,
            **part,
        }
        if shard is not None:
            if many:
                raise InputError("--shard takes one scene; give one, and a file as output")
            if qml:
                raise InputError("a shard has no style; give --qml to geoseg merge")
            from geoseg.render.shards import ShardId
            from geoseg.shard import predict_shard

            made = predict_shard(scenes[0], output, ShardId.parse(shard), **common)
            progress.end()
            report.show_shard(talk, made)
            return
        if detects:
            del common["probabilities"], common["uncertainty"]
            made_of: dict[str, Any] = {"ids": ids, "mask": mask, "qml": qml, "pages_at": targets}
            objects.predict(talk, scenes, output, many=many, page=page, **made_of, **common)
            return
        if not many:
            done = run(scenes[0], output, qml=qml, **common)
            progress.end()
            written = pages.write_prediction(
                talk, done, targets.get(scenes[0]), progress, overwrite=overwrite
            )
            report.show_predict(talk, done, page=written)
            pages.insist(talk)
            return
        from geoseg.predict import predict_many

        all_done = predict_many(scenes, output, qml=qml, **common)
        progress.end()
        folder = page if targets else None
        for each in all_done.done:
            pages.write_prediction(talk, each, targets.get(each.scene), progress, overwrite=overwrite)
    report.show_predict_many(talk, all_done, pages=folder)
    pages.insist(talk, failed=len(all_done.failed), scenes=len(scenes))


def _estimate(
    talk: report.Talk, progress: Any, request: dict[str, Any], contents: tuple[Any, ...], resources: Any
) -> None:
    from geoseg.estimate import estimate
    from geoseg.render.session import Request

    found = estimate(
        Request(layers=contents, **request),
        workers=resources.workers,
        memory_mb=resources.memory_mb,
        progress=progress,
    )
    report.show_estimate(talk, found)
