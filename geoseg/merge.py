"""Shards to mask: what several machines rendered, put together without the scene and without the model.

The mask has the very bytes that one machine would have made. Memory is needed for one block at a time,
whatever the size of the scene.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rasterio.windows import Window

from geoseg import __version__
from geoseg.classes import IGNORE
from geoseg.errors import InputError, ReadError
from geoseg.progress import SILENT, Progress
from geoseg.raster.gdal import MAX_PIXELS
from geoseg.raster.windows import clip
from geoseg.render.assemble import assemble, check_outputs, named_outputs
from geoseg.render.blocks import MAX_HEADER_BYTES, BlockGrid, Layers
from geoseg.render.journal import Journal
from geoseg.render.memory import peak_so_far_mb
from geoseg.render.shardfile import ShardFile, open_shard
from geoseg.render.shards import ShardId, in_order

MAX_AXIS_CHIPS = 1_000_000
MAX_BLOCK_BYTES = 2**32


@dataclass(frozen=True, kw_only=True)
class MergeReport:
    """What :func:`merge` did.

    Attributes:
        output: the mask.
        probabilities: the class probabilities, if asked for.
        uncertainty: the uncertainty, if asked for.
        shards: number of shards.
        shape: height and width in pixels.
        class_pixels: pixels of each class name in the mask.
        nodata_pixels: pixels that are 255.
        blocks: blocks of the mask.
        seconds: wall time.
        peak_mb: peak resident memory of the process in MB (10^6 bytes); ``None`` where it is not known.
    """

    output: Path
    probabilities: Path | None
    uncertainty: Path | None
    shards: int
    shape: tuple[int, int]
    class_pixels: dict[str, int]
    nodata_pixels: int
    blocks: int
    seconds: float
    peak_mb: float | None

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {key: str(value) if isinstance(value, Path) else value for key, value in asdict(self).items()}


def merge(
    shards: Sequence[Path],
    output: Path,
    *,
    probabilities: Path | None = None,
    uncertainty: Path | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> MergeReport:
    """Make a mask of all its shards.

    Args:
        shards: files that ``geoseg predict --shard`` wrote, in any order.
        output: the mask to write, a Cloud-Optimised GeoTIFF.
        probabilities: where to write class probabilities, if the shards hold them.
        uncertainty: where to write uncertainties, if the shards hold them.
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
    check_outputs(outputs, overwrite=overwrite, inputs=shards)
    opened = [open_shard(path) for path in shards]
    first = _check_set(opened)
    for name in outputs:
        if name not in first.plan.layers:
            raise InputError(f"the shards hold no {name}; predict them again with --{name}")
    blocks = _blocks(first)
    owner = _owners(opened, blocks)
    names = Journal(Path(), blocks)
    # Deflate makes random values a little longer.
    limit = 2 * MAX_HEADER_BYTES + _largest_block(blocks) * 1001 // 1000 + 1024 * len(blocks.layers)

    def read(block: int) -> Layers:
        shard = owner[block]
        try:
            return blocks.decode(block, shard.read(names.path(block).name, limit))
        except ValueError as error:
            raise ReadError(
                f"block {block} in {shard.path} is damaged ({error}); copy or make this shard again"
            ) from error

    pixels = assemble(
        blocks,
        list(owner),
        read,
        outputs,
        part=first.plan.part,
        geobox=first.facts.geobox,
        classes=first.facts.classes,
        tags=first.facts.tags,
        progress=progress,
    )
    return MergeReport(
        output=output,
        probabilities=probabilities,
        uncertainty=uncertainty,
        shards=len(opened),
        shape=first.facts.geobox.shape,
        class_pixels={name: int(pixels[i]) for i, name in enumerate(first.facts.classes.names)},
        nodata_pixels=int(pixels[IGNORE]),
        blocks=len(owner),
        seconds=time.monotonic() - started,
        peak_mb=peak_so_far_mb(),
    )


def _check_set(shards: Sequence[ShardFile]) -> ShardFile:
    """The first of the shards; all of them are of one prediction, and each is there once.

    Raises:
        InputError: they are not.
    """
    if not shards:
        raise InputError("no shards; give all that geoseg predict --shard wrote")
    first, seen = shards[0], dict[ShardId, ShardFile]()
    # As JSON: ground control points do not compare.
    facts = first.facts.to_json()
    for shard in shards:
        other = seen.setdefault(shard.shard, shard)
        if other is not shard:
            raise InputError(f"{other.path} and {shard.path} are both {shard.shard}; give each shard once")
        if shard.shard.count != first.shard.count:
            raise InputError(
                f"{shard.path} is {shard.shard}, {first.path} is {first.shard}; give shards of one prediction"
            )
        differences = first.plan.differences(shard.plan)
        if differences or shard.facts.to_json() != facts:
            how = differences[0] if differences else "another grid, area or classes"
            raise InputError(
                f"{shard.path} does not belong to {first.path}: {how}; make all shards with the same options"
            )
    if first.plan.geoseg != __version__:
        raise InputError(
            f"the shards were made by geoseg {first.plan.geoseg}, this is {__version__}; "
            "merge them with the version that made them"
        )
    count = first.shard.count
    missing = [index for index in range(1, count + 1) if ShardId(index=index, count=count) not in seen]
    if missing:
        named = ShardId(index=missing[0], count=count)
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise InputError(
            f"{named}{more} is missing; make it with --shard {named.index}/{count} or give it too"
        )
    return first


def _blocks(shard: ShardFile) -> BlockGrid:
    """The blocks of a plan that comes from elsewhere: sizes are compared with what may be before any use.

    Raises:
        ReadError: sizes that no prediction has.
    """
    plan, facts = shard.plan, shard.facts
    damaged = ReadError(f"{shard.path} is damaged: its plan and its grid do not fit; make this shard again")
    height, width = plan.shape
    stride = plan.size_px - plan.overlap_px
    if height * width > MAX_PIXELS or stride < 1 or max(plan.shape) // stride > MAX_AXIS_CHIPS:
        raise damaged
    part = plan.part
    if clip(part, plan.shape) != part or len(facts.classes) != plan.classes:
        raise damaged
    if facts.geobox.shape != (part.height * plan.scale, part.width * plan.scale):
        raise damaged
    try:
        blocks = plan.blocks()
    except InputError as error:
        raise damaged from error
    if _largest_block(blocks) > MAX_BLOCK_BYTES:
        raise damaged
    return blocks


def _largest_block(blocks: BlockGrid) -> int:
    """Bytes that no block's values exceed."""
    rows, columns = blocks.shape
    height = max(blocks.window(row * columns).height for row in range(rows))
    width = max(blocks.window(column).width for column in range(columns))
    return int(height * width) * blocks.scale**2 * sum(blocks.layers.values())


def _owners(shards: Sequence[ShardFile], blocks: BlockGrid) -> dict[int, ShardFile]:
    """The shard of each block wanted, by ascending number; the shards hold exactly these blocks.

    Raises:
        ReadError: they do not.
    """
    facts, part = shards[0].facts, shards[0].plan.part
    # Compared first: a few bytes may claim billions of blocks.
    found = sum(len(shard.names) for shard in shards)
    if facts.wanted_count != found or (facts.wanted and facts.wanted[-1][1] >= len(blocks)):
        raise ReadError(f"the shards hold {found:,} blocks, not {facts.wanted_count:,}; make them again")
    order = in_order(blocks, facts.wanted_blocks())
    for block in order:
        window = blocks.window(block)
        shifted = Window(
            window.col_off - part.col_off, window.row_off - part.row_off, window.width, window.height
        )
        if clip(shifted, (part.height, part.width)) is None:
            raise ReadError(
                f"{shards[0].path} is damaged: block {block} is outside of its part; make this shard again"
            )
    names = Journal(Path(), blocks)
    owner: dict[int, ShardFile] = {}
    for shard in shards:
        mine = shard.shard.of(order)
        if shard.names != {names.path(block).name for block in mine}:
            raise ReadError(f"{shard.path} does not hold the blocks of {shard.shard}; make this shard again")
        owner |= dict.fromkeys(mine, shard)
    return dict(sorted(owner.items()))
