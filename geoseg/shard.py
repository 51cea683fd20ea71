"""A part of a scene's blocks, rendered on one machine of several: ``geoseg predict --shard 2/4``.

Each machine makes a file of its own; :mod:`geoseg.merge` makes the mask of them, without scene or model.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from rasterio.windows import Window

from geoseg.config import PredictConfig
from geoseg.outputs import check_output
from geoseg.progress import SILENT, Progress
from geoseg.raster.remote import local
from geoseg.render.assemble import contents_of, named_outputs
from geoseg.render.journal import journal_folder, may_replace, missing, open_journal
from geoseg.render.memory import peak_so_far_mb
from geoseg.render.part import Bounds
from geoseg.render.reports import NetworkReport
from geoseg.render.session import Request, open_session
from geoseg.render.shardfile import write_shard
from geoseg.render.shards import Facts, ShardId, in_order, runs
from geoseg.render.unread import GO_ON, tell_unread
from geoseg.render.work import Resources, render_missing


@dataclass(frozen=True, kw_only=True)
class ShardReport(NetworkReport):
    """What :func:`predict_shard` did; ``blocks`` are those of this shard.

    Attributes:
        mask: the mask it is a shard of, which is not there yet.
        index: which shard, from 1.
        count: how many shards there are.
        all_blocks: blocks of all shards.
    """

    mask: Path
    index: int
    count: int
    all_blocks: int


def predict_shard(
    scene: Path,
    output: Path,
    shard: ShardId,
    *,
    model: Path | None = None,
    config: PredictConfig | None = None,
    device: str = "auto",
    window: Window | None = None,
    bounds: Bounds | None = None,
    aoi: Path | None = None,
    probabilities: Path | None = None,
    uncertainty: Path | None = None,
    resources: Resources | None = None,
    overwrite: bool = False,
    resume: bool = False,
    progress: Progress = SILENT,
) -> ShardReport:
    """Render one shard of the blocks of ``scene`` and write it to ``OUTPUT.shard-I-of-N``.

    All shards of a mask must be made with the same options, else they are refused when merged; what is
    chosen on its own (precision, device) has to be given where machines differ.

    Args:
        scene: a raster of the bands the model was trained on.
        output: the mask that the shards will make together.
        shard: which shard.
        model: as for :func:`geoseg.predict.predict`, like everything below.
        config: how to predict.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        window: part of the scene to predict, in pixels.
        bounds: part of the scene to predict, in units of its CRS.
        aoi: file of polygons; pixels whose centre is outside are 255.
        probabilities: given when the shards shall hold probabilities; nothing is written there.
        uncertainty: given when the shards shall hold uncertainties; nothing is written there.
        resources: memory and threads.
        overwrite: replace an existing shard, and a journal unless ``resume``.
        resume: go on with the journal of an interrupted run, if there is one.
        progress: told about every chip.

    Raises:
        OutputError: the shard exists or is an input, or the journal is of another plan.
        ModelError: no model, or one that does not fit the scene.
        SceneError: the scene cannot be used.
        ReadError: the scene is damaged.
        WriteError: the disk is full; the journal is kept.
    """
    started = time.monotonic()
    path = shard.path(output)
    inputs = local(given for given in (scene, aoi) if given is not None)
    replace = may_replace(path, overwrite=overwrite, resume=resume)
    check_output(path, overwrite=replace, inputs=inputs)
    request = Request(
        scene=scene,
        model=model,
        config=config or PredictConfig(),
        device=device,
        window=window,
        bounds=bounds,
        aoi=aoi,
        layers=contents_of(output, named_outputs(output, probabilities, uncertainty)),
        hint=GO_ON,
    )
    with open_session(request, progress) as session:
        wanted = list(session.wanted_chips)
        mine = shard.of(in_order(session.blocks, wanted))
        progress.note(f"{shard}: {len(mine)} of {len(wanted)} blocks")
        with open_journal(
            journal_folder(path), session.plan, session.blocks, resume=resume, replace=overwrite
        ) as journal:
            todo = missing(journal, mine)
            if len(todo) < len(mine):
                progress.note(f"{len(mine) - len(todo)} of {len(mine)} blocks were finished before")
            counts, workers = render_missing(session, journal, todo, resources or Resources(), progress)
            facts = Facts(
                geobox=session.geobox,
                classes=session.card.classes,
                tags=session.tags,
                wanted=runs(sorted(wanted)),
            )
            write_shard(path, shard, plan=session.plan, facts=facts, blocks=mine, journal=journal)
            unread = tell_unread(session, progress)
    return ShardReport(
        output=path,
        mask=output,
        index=shard.index,
        count=shard.count,
        scene=scene,
        model=session.model,
        chips=counts.seen,
        skipped=counts.skipped,
        blocks=len(mine),
        all_blocks=len(wanted),
        resumed_blocks=len(mine) - len(todo),
        seconds=time.monotonic() - started,
        peak_mb=peak_so_far_mb(),
        device=session.label,
        workers=workers,
        unread_pixels=unread.pixels,
        unread=unread.windows,
    )
