"""All shards of a prediction: whether they belong together, and which one holds a block.

Shards come from other machines, and nothing they say is believed before it was compared with the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rasterio.windows import Window

from geoseg import __version__
from geoseg.errors import InputError, ReadError
from geoseg.raster.gdal import MAX_PIXELS
from geoseg.raster.windows import clip
from geoseg.render.blocks import MAX_FREE_BYTES, MAX_HEADER_BYTES, BlockGrid, Layers
from geoseg.render.journal import Journal
from geoseg.render.plan import Plan
from geoseg.render.shardfile import ShardFile, open_shard
from geoseg.render.shards import Facts, ShardId, in_order

MAX_AXIS_CHIPS = 1_000_000
MAX_BLOCK_BYTES = 2**32


@dataclass(frozen=True, kw_only=True)
class ShardSet:
    """All shards of a prediction.

    Attributes:
        plan: what was rendered.
        facts: what merging needs.
        blocks: the plan's blocks.
        owner: the shard of each block wanted, by ascending number.
        count: number of shards.
    """

    plan: Plan
    facts: Facts
    blocks: BlockGrid
    owner: dict[int, ShardFile]
    count: int

    @classmethod
    def open(cls, paths: Sequence[Path]) -> ShardSet:
        """Open shards, in any order.

        Raises:
            InputError: a file is no shard; a shard is missing, there twice, or of another prediction.
            ReadError: a shard is truncated or damaged.
        """
        opened = [open_shard(path) for path in paths]
        first = _check_set(opened)
        blocks = _blocks(first)
        owner = _owners(opened, blocks)
        return cls(plan=first.plan, facts=first.facts, blocks=blocks, owner=owner, count=len(opened))

    def read(self, block: int) -> Layers:
        """The layers of a block.

        Raises:
            ReadError: they are damaged.
        """
        shard, blocks = self.owner[block], self.blocks
        # Deflate makes random values a little longer.
        most = _largest_block(blocks) + (MAX_FREE_BYTES if self.plan.is_objects else 0)
        limit = 2 * MAX_HEADER_BYTES + most * 1001 // 1000 + 1024 * len(blocks.layers)
        try:
            return blocks.decode(block, shard.read(Journal(Path(), blocks).path(block).name, limit))
        except ValueError as error:
            raise ReadError(
                f"block {block} in {shard.path} is damaged ({error}); copy or make this shard again"
            ) from error


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
        # Chips that see a part from outside have a say in its objects.
        if clip(shifted, (part.height, part.width)) is None and not shards[0].plan.is_objects:
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
