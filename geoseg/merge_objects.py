"""Shards to objects: what several machines detected, made into whole objects without scene and model.

The layer has the very bytes that one machine would have made.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geoseg.config import PredictConfig
from geoseg.errors import InputError
from geoseg.progress import SILENT, Progress
from geoseg.raster.qml import style_of
from geoseg.render.deliver import ObjectOutputs, check_object_outputs, deliver
from geoseg.render.memory import peak_so_far_mb
from geoseg.render.reports import ObjectsReport
from geoseg.render.shardset import ShardSet


@dataclass(frozen=True, kw_only=True)
class MergeObjectsReport(ObjectsReport):
    """What :func:`merge_objects` did.

    Attributes:
        shards: number of shards.
    """

    shards: int


def merge_objects(
    shards: Sequence[Path],
    output: Path,
    *,
    config: PredictConfig | None = None,
    ids: Path | None = None,
    mask: Path | None = None,
    qml: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> MergeObjectsReport:
    """Make a layer of objects of all its shards.

    Args:
        shards: files that ``geoseg predict --shard`` wrote with an instance model, in any order.
        output: the layer to write; as for :func:`geoseg.predict_objects.predict_objects`, like what follows.
        config: of which ``min_visible`` and ``simplify_px`` are heeded; all else was decided when the shards
            were made.
        ids: where to write a raster of the ids.
        mask: where to write a mask of the objects' classes.
        qml: also write styles for QGIS, beside layer and mask.
        overwrite: replace existing outputs.
        progress: told about rows.

    Raises:
        InputError: a file is no shard; a shard is missing, there twice, or of another prediction.
        OutputError: an output exists or is an input.
        ReadError: a shard is truncated or damaged.
        WriteError: the disk is full.
    """
    started = time.monotonic()
    config = config or PredictConfig()
    outputs = ObjectOutputs(layer=output, ids=ids, mask=mask, qml=qml)
    check_object_outputs(outputs, overwrite=overwrite, inputs=shards)
    found = ShardSet.open(shards)
    if not found.plan.is_objects:
        raise InputError("the shards hold a mask; write it, such as -o mask.tif")
    made = deliver(
        found.blocks,
        found.owner,
        found.read,
        outputs,
        part=found.plan.part,
        geobox=found.facts.geobox,
        classes=found.facts.classes,
        tags=found.facts.tags,
        min_visible=config.min_visible,
        simplify_px=config.simplify_px,
        progress=progress,
    )
    classes = found.facts.classes
    return MergeObjectsReport(
        output=output,
        ids=ids,
        mask=mask,
        style=style_of(output) if qml else None,
        shards=found.count,
        shape=found.facts.geobox.shape,
        objects=made.objects_of(classes),
        area_m2=made.areas_of(classes),
        vertices=made.vertices,
        detections=made.detections,
        covered=made.covered,
        crumbs=made.crumbs,
        nodata_pixels=made.nodata_pixels,
        blocks=len(found.owner),
        seconds=time.monotonic() - started,
        peak_mb=peak_so_far_mb(),
    )
