"""Shards to objects: what several machines detected, made into whole objects without scene and model.

The layer has the very bytes that one machine would have made.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geoseg.config import PredictConfig
from geoseg.errors import InputError
from geoseg.progress import SILENT, Progress
from geoseg.raster.qml import style_of
from geoseg.render.deliver import ObjectOutputs, check_object_outputs, deliver
from geoseg.render.memory import peak_so_far_mb
from geoseg.render.shardset import ShardSet


@dataclass(frozen=True, kw_only=True)
class MergeObjectsReport:
    """What :func:`merge_objects` did.

    Attributes:
        output: the polygon layer.
        ids: the raster of the objects' ids, if asked for.
        mask: the mask of their classes, if asked for.
        style: the layer's style for QGIS, if asked for.
        shards: number of shards.
        shape: height and width in pixels.
        objects: number of objects of each class name.
        area_m2: of each class name; ``None`` when the scene has no known place.
        vertices: of all polygons, the closing one of each ring included.
        detections: of all chips; an object has several where chips overlap.
        covered: objects left out because surer ones cover them.
        crumbs: pieces left out because they do not hang together with the rest of their object.
        nodata_pixels: pixels without data, or not asked for.
        blocks: blocks of all shards.
        seconds: wall time.
        peak_mb: peak resident memory of the process in MB (10^6 bytes); ``None`` where it is not known.
    """

    output: Path
    ids: Path | None
    mask: Path | None
    style: Path | None
    shards: int
    shape: tuple[int, int]
    objects: dict[str, int]
    area_m2: dict[str, float] | None
    vertices: int
    detections: int
    covered: int
    crumbs: int
    nodata_pixels: int
    blocks: int
    seconds: float
    peak_mb: float | None

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


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
