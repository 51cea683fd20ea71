"""Scene to objects: detect them in overlapping chips, make each of them whole, write one polygon for each.

The work is done block by block as for a mask (:mod:`geoseg.predict`, :mod:`geoseg.render`), with the same
journal: what is kept of a chip is its detections. When all are there, those of overlapping chips are
compared, and objects are made of them; see :mod:`geoseg.render.fuse`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from rasterio.windows import Window

from geoseg.config import PredictConfig
from geoseg.models.card import find_model
from geoseg.outputs import remove_leftovers
from geoseg.progress import SILENT, Progress
from geoseg.raster.qml import style_of
from geoseg.raster.remote import local, stem
from geoseg.render.deliver import ObjectOutputs, check_object_outputs, deliver
from geoseg.render.journal import journal_folder, may_replace, missing, open_journal
from geoseg.render.many import ManyReport, predict_each
from geoseg.render.memory import peak_so_far_mb
from geoseg.render.part import Bounds
from geoseg.render.plan import OBJECT_LAYERS
from geoseg.render.reports import NetworkReport, ObjectsReport
from geoseg.render.session import Request, open_session
from geoseg.render.unread import GO_ON, tell_unread
from geoseg.render.work import Resources, render_missing


@dataclass(frozen=True, kw_only=True)
class PredictObjectsReport(ObjectsReport, NetworkReport):
    """What :func:`predict_objects` did."""


def predict_objects(
    scene: Path,
    output: Path,
    *,
    model: Path | None = None,
    config: PredictConfig | None = None,
    device: str = "auto",
    window: Window | None = None,
    bounds: Bounds | None = None,
    aoi: Path | None = None,
    ids: Path | None = None,
    mask: Path | None = None,
    qml: bool = False,
    resources: Resources | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = SILENT,
) -> PredictObjectsReport:
    """Detect the objects of ``scene`` and write a polygon for each to ``output``.

    Objects that borders of chips cut are whole, none is there twice, and no pixel belongs to two. The same
    scene, model and configuration give the same bytes, whatever ``resources`` and however often it was
    interrupted. A part of a scene has what the whole has there, cut off at its edge, where ``touches_edge``
    is true; so is it at the edge of the scene.

    Args:
        scene: as for :func:`geoseg.predict.predict`.
        output: ``.gpkg``, ``.fgb``, ``.geojson``, ``.shp`` or ``.parquet``, in the scene's CRS (GeoJSON:
            WGS 84). Each polygon has an ``id``, from 1 in the order of the objects' first pixels.
        model: a run folder or a model file of an instance model; as for :func:`geoseg.predict.predict`.
        config: how to predict; the defaults when not given.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        window: part of the scene to predict, in pixels.
        bounds: part of the scene to predict, in units of its CRS, widened to whole pixels.
        aoi: file of polygons; pixels whose centre is outside belong to no object.
        ids: where to write a raster of the ids, int32 on the scene's grid; 0 where there is no object.
        mask: where to write a mask of the objects' classes.
        qml: also write styles for QGIS, beside layer and mask.
        resources: memory and threads.
        overwrite: replace existing outputs, and a journal unless ``resume``.
        resume: go on with the journal of an interrupted run, if there is one.
        progress: told about every chip.

    Raises:
        OutputError: an output exists or is an input, or the journal is of another plan.
        ModelError: no model, one that detects no objects, or one that does not fit the scene.
        ConfigError: an option that does not apply to objects.
        SceneError: the scene cannot be used.
        ReadError: the scene is damaged, or its server fails; the journal is kept.
        WriteError: the disk is full; the journal is kept.
    """
    started = time.monotonic()
    config = config or PredictConfig()
    outputs = ObjectOutputs(layer=output, ids=ids, mask=mask, qml=qml)
    inputs = local(path for path in (scene, aoi) if path is not None)
    replace = may_replace(output, overwrite=overwrite, resume=resume)
    check_object_outputs(outputs, overwrite=replace, inputs=inputs)
    resources = resources or Resources()
    request = Request(
        scene=scene,
        model=model,
        config=config,
        device=device,
        window=window,
        bounds=bounds,
        aoi=aoi,
        layers=OBJECT_LAYERS,
        hint=GO_ON,
    )
    with open_session(request, progress) as session:
        wanted = list(session.wanted_chips)
        with open_journal(
            journal_folder(output), session.plan, session.blocks, resume=resume, replace=overwrite
        ) as journal:
            for path in outputs.paths:
                remove_leftovers(path)
            todo = missing(journal, wanted)
            if len(todo) < len(wanted):
                progress.note(f"{len(wanted) - len(todo)} of {len(wanted)} blocks were finished before")
            counts, workers = render_missing(session, journal, todo, resources, progress)
            made = deliver(
                session.blocks,
                wanted,
                journal.read,
                outputs,
                part=session.plan.part,
                geobox=session.geobox,
                classes=session.card.classes,
                tags=session.tags,
                min_visible=config.min_visible,
                simplify_px=config.simplify_px,
                progress=progress,
            )
            unread = tell_unread(session, progress, all_read=todo == wanted and resources.dask is None)
    classes = session.card.classes
    return PredictObjectsReport(
        output=output,
        ids=ids,
        mask=mask,
        style=style_of(output) if qml else None,
        scene=scene,
        model=session.model,
        shape=session.geobox.shape,
        objects=made.objects_of(classes),
        area_m2=made.areas_of(classes),
        vertices=made.vertices,
        detections=made.detections,
        covered=made.covered,
        crumbs=made.crumbs,
        nodata_pixels=made.nodata_pixels,
        chips=counts.seen,
        skipped=counts.skipped,
        blocks=len(wanted),
        resumed_blocks=len(wanted) - len(todo),
        seconds=time.monotonic() - started,
        peak_mb=peak_so_far_mb(),
        device=session.label,
        workers=workers,
        unread_pixels=unread.pixels,
        unread=unread.windows,
    )


PredictManyObjectsReport: TypeAlias = ManyReport[PredictObjectsReport]


def predict_many_objects(
    scenes: Sequence[Path],
    output: Path,
    *,
    ids: Path | None = None,
    mask: Path | None = None,
    qml: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = SILENT,
    **options: Any,
) -> PredictManyObjectsReport:
    """Detect the objects of several scenes into a folder; one that fails does not stop the others.

    Args:
        scenes: rasters; ``dir/name.jp2`` becomes ``output/name.gpkg``.
        output: folder of the layers, made when missing.
        ids: folder of the rasters of ids.
        mask: folder of the masks.
        qml: also write styles for QGIS.
        overwrite: replace existing outputs.
        resume: leave scenes alone whose layer is there, and go on with journals.
        progress: told about every chip.
        options: as for :func:`predict_objects`.

    Raises:
        OutputError: outputs exist, or two scenes would get the same one.
        ModelError: the model cannot be used.
    """
    find_model(options.get("model"))
    jobs = {
        scene: ObjectOutputs(
            layer=output / f"{stem(scene)}.gpkg",
            ids=None if ids is None else ids / f"{stem(scene)}.tif",
            mask=None if mask is None else mask / f"{stem(scene)}.tif",
            qml=qml,
        )
        for scene in scenes
    }

    def check(outputs: ObjectOutputs, replace: bool) -> None:
        check_object_outputs(outputs, overwrite=replace, inputs=local(scenes))

    def one(scene: Path, outputs: ObjectOutputs) -> PredictObjectsReport:
        return predict_objects(
            scene,
            outputs.layer,
            ids=outputs.ids,
            mask=outputs.mask,
            qml=qml,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
            **options,
        )

    return predict_each(
        jobs,
        output,
        folders=(output, ids, mask),
        first=lambda outputs: outputs.layer,
        check=check,
        run=one,
        overwrite=overwrite,
        resume=resume,
        progress=progress,
    )
