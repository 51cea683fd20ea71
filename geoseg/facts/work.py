"""Facts of predictions that are under way: the journal of one, and what a machine made of its shard."""

from __future__ import annotations

import re
from pathlib import Path
from shlex import quote

from geoseg.errors import InputError, OutputError
from geoseg.facts.common import Facts, class_rows, crs_facts, file_mb, files_mb
from geoseg.raster.gdal import MAX_PIXELS
from geoseg.raster.windows import clip
from geoseg.render.blocks import BlockGrid
from geoseg.render.journal import PLAN_FILE, SUFFIX, read_plan
from geoseg.render.plan import Plan
from geoseg.render.shardfile import MAX_PLAN_BYTES, open_shard

_MAX_AXIS_CHIPS = 1_000_000
_BLOCK = re.compile(r"[0-9]{7,10}\.block")


def is_journal(folder: Path) -> bool:
    """Whether a folder is one in which ``predict`` keeps finished blocks."""
    return (folder / PLAN_FILE).is_file()


def journal_facts(folder: Path) -> Facts:
    """How far a prediction is; nothing is locked, it may be going on.

    Raises:
        OutputError: its plan is damaged.
    """
    with (folder / PLAN_FILE).open("rb") as file:
        plan = read_plan(file.read(MAX_PLAN_BYTES + 1), str(folder / PLAN_FILE))
    blocks = _blocks(plan, folder)
    done = sum(1 for found in folder.iterdir() if _BLOCK.fullmatch(found.name))
    wanted = _within(blocks, plan)
    output = folder.with_name(folder.name.removesuffix(SUFFIX))
    return {
        "kind": "journal",
        "path": str(folder),
        "of": str(output) if output != folder else None,
        "blocks_done": done,
        "blocks": wanted,
        "blocks_may_be_fewer": plan.aoi is not None or ".shard-" in folder.name,
        "files_mb": files_mb(folder),
        **_plan_facts(plan),
        "go_on": "type the same geoseg predict again, with --resume",
    }


def shard_facts(path: Path) -> Facts:
    """What a shard holds.

    Raises:
        InputError: it is no shard.
        ReadError: it is a truncated or damaged one.
    """
    shard = open_shard(path)
    facts, plan = shard.facts, shard.plan
    height, width = facts.geobox.shape
    output = path.with_name(path.name.rpartition(".shard-")[0] or "mask.tif")
    return {
        "kind": "shard",
        "path": str(path),
        "shard": shard.shard.index,
        "of_shards": shard.shard.count,
        "blocks": len(shard.names),
        "blocks_of_all": facts.wanted_count,
        "file_mb": file_mb(path),
        "mask_px": [width, height],
        **crs_facts(facts.geobox.crs or facts.geobox.gcps_crs),
        "bounds": list(facts.geobox.bounds) if facts.geobox.georeferenced else None,
        "classes": class_rows(facts.classes),
        **_plan_facts(plan),
        "go_on": f"geoseg merge {quote(str(output))}.shard-*-of-{shard.shard.count} -o {quote(str(output))}",
    }


def _plan_facts(plan: Plan) -> Facts:
    height, width = plan.shape
    part = plan.part
    return {
        "scene_px": [width, height],
        "window": None if plan.window is None else [part.col_off, part.row_off, part.width, part.height],
        "layers": list(plan.layers),
        "scale": plan.scale,
        "chip_size_px": plan.size_px,
        "overlap_px": plan.overlap_px,
        "refine": plan.refine,
        "precision": plan.precision,
        "device": plan.device,
        "made_with": {"geoseg": plan.geoseg, "torch": plan.torch},
        "model_sha256": plan.model,
        "scene_sha256": plan.scene,
    }


def _blocks(plan: Plan, folder: Path) -> BlockGrid:
    """The blocks of a plan that may come from elsewhere: sizes are looked at before any use."""
    height, width = plan.shape
    stride = plan.size_px - plan.overlap_px
    damaged = OutputError(f"{folder / PLAN_FILE} is damaged (sizes that no prediction has); start anew")
    if height * width > MAX_PIXELS or stride < 1 or max(plan.shape) // stride > _MAX_AXIS_CHIPS:
        raise damaged
    if clip(plan.part, plan.shape) != plan.part:
        raise damaged
    try:
        return plan.blocks()
    except InputError as error:
        raise damaged from error


def _within(blocks: BlockGrid, plan: Plan) -> int:
    """Blocks that hold any of the part asked for; without an area of interest, all that are wanted."""
    part, (rows, columns) = plan.part, blocks.shape
    high = [blocks.window(row * columns) for row in range(rows)]
    wide = [blocks.window(column) for column in range(columns)]
    touching_rows = sum(_meet(w.row_off, w.height, part.row_off, part.height) for w in high)
    touching_columns = sum(_meet(w.col_off, w.width, part.col_off, part.width) for w in wide)
    return touching_rows * touching_columns


def _meet(start: int, length: int, other: int, other_length: int) -> bool:
    return max(start, other) < min(start + length, other + other_length)
