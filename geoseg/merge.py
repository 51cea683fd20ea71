"""Shards to mask: what several machines rendered, put together without the scene and without the model.

The mask has the very bytes that one machine would have made. Memory is needed for one block at a time,
whatever the size of the scene.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geoseg.classes import IGNORE
from geoseg.errors import InputError
from geoseg.progress import SILENT, Progress
from geoseg.raster.qml import style_of
from geoseg.render.assemble import assemble, check_outputs, named_outputs
from geoseg.render.memory import peak_so_far_mb
from geoseg.render.reports import MaskReport
from geoseg.render.shardset import ShardSet


@dataclass(frozen=True, kw_only=True)
class MergeReport(MaskReport):
    """What :func:`merge` did.

    Attributes:
        shards: number of shards.
    """

    shards: int


def merge(
    shards: Sequence[Path],
    output: Path,
    *,
    probabilities: Path | None = None,
    uncertainty: Path | None = None,
    qml: bool = False,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> MergeReport:
    """Make a mask of all its shards.

    Args:
        shards: files that ``geoseg predict --shard`` wrote, in any order.
        output: the mask to write, a Cloud-Optimised GeoTIFF.
        probabilities: where to write class probabilities, if the shards hold them.
        uncertainty: where to write uncertainties, if the shards hold them.
        qml: also write styles for QGIS, beside mask and uncertainty.
        overwrite: replace existing outputs.
        progress: told about every block.

    Raises:
        InputError: a file is no shard; a shard is missing, there twice, or of another prediction.
        OutputError: an output exists or is an input.
        ReadError: a shard is truncated or damaged.
        WriteError: the disk is full.
    """
    started = time.monotonic()
    outputs = named_outputs(output, probabilities, uncertainty)
    check_outputs(outputs, overwrite=overwrite, inputs=shards, qml=qml)
    found = ShardSet.open(shards)
    if found.plan.is_objects:
        raise InputError("the shards hold objects; write polygons, such as -o objects.gpkg")
    for name in outputs:
        if name not in found.plan.layers:
            raise InputError(f"the shards hold no {name}; predict them again with --{name}")
    pixels = assemble(
        found.blocks,
        list(found.owner),
        found.read,
        outputs,
        part=found.plan.part,
        geobox=found.facts.geobox,
        classes=found.facts.classes,
        tags=found.facts.tags,
        qml=qml,
        progress=progress,
    )
    return MergeReport(
        output=output,
        probabilities=probabilities,
        uncertainty=uncertainty,
        style=style_of(output) if qml else None,
        shards=found.count,
        shape=found.facts.geobox.shape,
        class_pixels={name: int(pixels[i]) for i, name in enumerate(found.facts.classes.names)},
        nodata_pixels=int(pixels[IGNORE]),
        blocks=len(found.owner),
        seconds=time.monotonic() - started,
        peak_mb=peak_so_far_mb(),
    )
