"""Scene to mask: look at chips, blend, decide every pixel once, write Cloud-Optimised GeoTIFFs.

The work is done block by block (:mod:`geoseg.render`) and every finished block is kept in a journal beside
the output, so a prediction may be stopped at any moment and gone on with. When all blocks are there they are
put together; the mask has exactly the scene's CRS, transform (or GCPs) and shape.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from rasterio.windows import Window

from geoseg.classes import IGNORE
from geoseg.config import PredictConfig
from geoseg.errors import OutputError
from geoseg.models.card import find_model
from geoseg.outputs import remove_leftovers
from geoseg.progress import SILENT, Progress
from geoseg.raster.qml import style_of
from geoseg.raster.remote import local, stem
from geoseg.render.assemble import assemble, check_outputs, named_outputs
from geoseg.render.journal import journal_folder, may_replace, missing, open_journal
from geoseg.render.many import ManyReport, predict_each
from geoseg.render.memory import peak_so_far_mb
from geoseg.render.part import Bounds
from geoseg.render.plan import POLYGON_SUFFIXES, LayerName
from geoseg.render.reports import MaskReport, NetworkReport
from geoseg.render.session import Request, open_session
from geoseg.render.unread import GO_ON, tell_unread
from geoseg.render.work import Resources, render_missing


@dataclass(frozen=True, kw_only=True)
class PredictReport(MaskReport, NetworkReport):
    """What :func:`predict` did."""


def predict(
    scene: Path,
    output: Path,
    *,
    model: Path | None = None,
    config: PredictConfig | None = None,
    device: str = "auto",
    window: Window | None = None,
    bounds: Bounds | None = None,
    aoi: Path | None = None,
    probabilities: Path | None = None,
    uncertainty: Path | None = None,
    qml: bool = False,
    resources: Resources | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = SILENT,
) -> PredictReport:
    """Predict the class of every pixel of ``scene`` and write the mask to ``output``.

    The mask has exactly the scene's CRS, transform (or GCPs) and shape; source nodata is 255. The same scene,
    model and configuration give the same bytes, whatever ``resources`` and however often it was interrupted.

    Args:
        scene: a raster of the bands the model was trained on; here, or a GeoTIFF on a server as
            ``https://host/scene.tif`` or ``s3://bucket/scene.tif``, where the user himself named it.
        output: the mask to write, a Cloud-Optimised GeoTIFF.
        model: a run folder or a model file; the newest finished run under ``./runs`` when not given,
            else the model that comes with geoseg.
        config: how to predict; the defaults when not given.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        window: part of the scene to predict, in pixels: exactly what the whole mask holds there.
        bounds: part of the scene to predict, in units of its CRS, widened to whole pixels.
        aoi: file of polygons; pixels whose centre is outside are 255.
        probabilities: where to write class probabilities: K uint8 bands, 254 is certain, 255 nodata.
        uncertainty: where to write 1 - the margin between the two best probabilities, likewise.
        qml: also write styles for QGIS, beside mask and uncertainty.
        resources: memory and threads.
        overwrite: replace existing outputs, and a journal unless ``resume``.
        resume: go on with the journal of an interrupted run, if there is one.
        progress: told about every chip.

    Raises:
        OutputError: an output exists or is an input, or the journal is of another plan.
        ModelError: no model, or one that does not fit the scene.
        SceneError: the scene cannot be used.
        ReadError: the scene is damaged, or its server fails; the journal is kept.
        WriteError: the disk is full; the journal is kept.
    """
    started = time.monotonic()
    outputs = named_outputs(output, probabilities, uncertainty)
    if output.suffix.lower() in POLYGON_SUFFIXES:
        raise OutputError(
            f"{output} would be polygons, but the model tells a class of every pixel; write a mask, such as "
            f"-o {output.with_suffix('.tif')}, and make polygons of it with geoseg vectorize"
        )
    inputs = local(path for path in (scene, aoi) if path is not None)
    replace = may_replace(output, overwrite=overwrite, resume=resume)
    check_outputs(outputs, overwrite=replace, inputs=inputs, qml=qml)
    resources = resources or Resources()
    request = Request(
        scene=scene,
        model=model,
        config=config or PredictConfig(),
        device=device,
        window=window,
        bounds=bounds,
        aoi=aoi,
        layers=tuple(outputs),
        hint=GO_ON,
    )
    with open_session(request, progress) as session:
        wanted = list(session.wanted_chips)
        with open_journal(
            journal_folder(output), session.plan, session.blocks, resume=resume, replace=overwrite
        ) as journal:
            for path in outputs.values():
                remove_leftovers(path)
            todo = missing(journal, wanted)
            if len(todo) < len(wanted):
                progress.note(f"{len(wanted) - len(todo)} of {len(wanted)} blocks were finished before")
            counts, workers = render_missing(session, journal, todo, resources, progress)
            pixels = assemble(
                session.blocks,
                wanted,
                journal.read,
                outputs,
                part=session.plan.part,
                geobox=session.geobox,
                classes=session.card.classes,
                tags=session.tags,
                qml=qml,
                progress=progress,
            )
            unread = tell_unread(session, progress, all_read=todo == wanted and resources.dask is None)
    return PredictReport(
        output=output,
        probabilities=probabilities,
        uncertainty=uncertainty,
        style=style_of(output) if qml else None,
        scene=scene,
        model=session.model,
        shape=session.geobox.shape,
        class_pixels={name: int(pixels[i]) for i, name in enumerate(session.card.classes.names)},
        nodata_pixels=int(pixels[IGNORE]),
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


PredictManyReport: TypeAlias = ManyReport[PredictReport]


def predict_many(
    scenes: Sequence[Path],
    output: Path,
    *,
    probabilities: Path | None = None,
    uncertainty: Path | None = None,
    qml: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = SILENT,
    **options: Any,
) -> PredictManyReport:
    """Predict several scenes into a folder; one that fails does not stop the others.

    Args:
        scenes: rasters; ``dir/name.jp2`` becomes ``output/name.tif``.
        output: folder of the masks, made when missing.
        probabilities: folder of the class probabilities.
        uncertainty: folder of the uncertainties.
        qml: also write styles for QGIS, beside masks and uncertainties.
        overwrite: replace existing outputs.
        resume: leave scenes alone whose mask is there, and go on with journals.
        progress: told about every chip.
        options: as for :func:`predict`.

    Raises:
        OutputError: outputs exist, or two scenes would get the same one.
        ModelError: the model cannot be used.
    """
    folders = named_outputs(output, probabilities, uncertainty)
    find_model(options.get("model"))

    def check(paths: dict[LayerName, Path], replace: bool) -> None:
        check_outputs(paths, overwrite=replace, inputs=local(scenes), qml=qml)

    def one(scene: Path, paths: dict[LayerName, Path]) -> PredictReport:
        return predict(
            scene,
            paths["mask"],
            probabilities=paths.get("probabilities"),
            uncertainty=paths.get("uncertainty"),
            qml=qml,
            overwrite=overwrite,
            resume=resume,
            progress=progress,
            **options,
        )

    return predict_each(
        {
            scene: {name: folder / f"{stem(scene)}.tif" for name, folder in folders.items()}
            for scene in scenes
        },
        output,
        folders=folders.values(),
        first=lambda paths: paths["mask"],
        check=check,
        run=one,
        overwrite=overwrite,
        resume=resume,
        progress=progress,
    )
