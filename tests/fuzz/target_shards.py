"""Shards and journals of ``predict``: what other machines and killed runs leave behind."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import scenes
from rasterio.crs import CRS

from fuzz.core import Files, Target, documented
from fuzz.mutate import ODD, chance, damaged, damaged_json, json_bytes
from fuzz.shared import files_in, show_info
from geoseg import __version__
from geoseg.classes import ClassMap
from geoseg.facts.work import is_journal
from geoseg.merge import merge
from geoseg.raster.geobox import GeoBox
from geoseg.render.journal import Journal, missing, open_journal, read_plan
from geoseg.render.plan import Plan
from geoseg.render.shardfile import write_shard
from geoseg.render.shards import Facts, ShardId, dumps, in_order, runs
from geoseg.render.shardset import ShardSet

CLASSES = ClassMap.from_names(["background", "field", "house"], background=0)
_JOURNAL = "mask.tif.geoseg-resume"


def _plan(layers: tuple[Any, ...]) -> Plan:
    return Plan(
        geoseg=__version__, torch="2", scene="0" * 64, shape=(40, 600), bands=(1, 2, 3), nodata=None,
        model="1" * 64, classes=len(CLASSES), size_px=64, overlap_px=32, shift_px=0, refine=True, margin=0.9,
        points_per_pixel=0.5, scale=1, min_score=0.0, tta=False, precision="fp32", device="cpu", batch_size=1,
        window=None, aoi=None, layers=layers,
    )  # fmt: skip


def seeds(folder: Path) -> list[Files]:
    """Both shards of three predictions that nobody made, and the journals they would come from."""
    made: list[Files] = []
    values = np.random.default_rng(1)
    kinds: tuple[tuple[Any, ...], ...] = (
        ("mask",),
        ("mask", "probabilities", "uncertainty"),
        ("objects", "valid"),
    )
    for at, layers in enumerate(kinds):
        plan = _plan(layers)
        blocks = plan.blocks()
        journal = Journal(folder / str(at), blocks)
        journal.folder.mkdir()
        for block in range(len(blocks)):
            empty = blocks.empty(block)
            journal.add(
                block, {name: values.integers(0, 2, of.shape, np.uint8) for name, of in empty.items()}
            )
        everything = range(len(blocks))
        grid = GeoBox(crs=CRS.from_epsg(32633), transform=scenes.north_up(), shape=plan.shape)
        facts = Facts(geobox=grid, classes=CLASSES, tags={"GEOSEG_VERSION": "0"}, wanted=runs(everything))
        shards: Files = {}
        for index in (1, 2):
            shard = ShardId(index=index, count=2)
            path = folder / f"{at}-{index}.shard"
            mine = shard.of(in_order(blocks, everything))
            write_shard(path, shard, plan=plan, facts=facts, blocks=mine, journal=journal)
            shards[f"{index}.shard"] = path.read_bytes()
        blocks_of = {f"{_JOURNAL}/{name}": data for name, data in files_in(journal.folder).items()}
        made += [shards, {f"{_JOURNAL}/plan.json": dumps(plan.to_json()), **blocks_of}]
    return made


def _other_member(rng: Random, name: str, content: bytes) -> bytes:
    if name.endswith(".json"):
        told = json.loads(content)
        if name == "plan.json" and chance(rng, 0.3):
            # What blocks are follows from these.
            key = rng.choice(
                ("shape", "size_px", "overlap_px", "shift_px", "scale", "classes", "layers", "window")
            )
            old = told[key]
            told[key] = rng.choice((
                rng.choice(ODD), [1, 1], [2**31 - 1, 1], [2**20, 2**20], [0, 0, 2**20, 2**20], 4, 4096, 63,
                32, ["mask", "mask"], ["uncertainty", "mask"], ["objects", "valid"], [["mask"]], [{}], old,
            ))  # fmt: skip
            return json_bytes(rng, told)
        return json_bytes(rng, damaged_json(rng, told))
    kind = rng.randrange(4)
    head, _, rest = content.partition(b"\n")
    line, _, packed = rest.partition(b"\n")
    if kind == 0:
        return damaged(rng, content)
    if kind == 1:
        return head + b"\n" + json_bytes(rng, damaged_json(rng, json.loads(line))) + b"\n" + packed
    # Values of other lengths, or a bomb.
    values = zlib.compress(
        rng.choice(
            (
                b"",
                b"\0" * 10,
                b"\xff" * 2_000_000,
                b"\0" * 200_000_000 if kind == 3 and chance(rng, 0.05) else b"x",
            )
        )
    )
    told = json.loads(line)
    told["bytes"] = dict.fromkeys(told["bytes"], len(values))
    return head + b"\n" + json.dumps(told).encode() + b"\n" + values * len(told["bytes"])


def _damaged_shard(rng: Random, data: bytes) -> bytes:
    """A shard with another member, with its sum right."""
    made = io.BytesIO()
    compressed = zipfile.ZIP_DEFLATED if chance(rng, 0.02) else zipfile.ZIP_STORED
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", compressed) as new:
        names = old.namelist()
        chosen = rng.choice(names[:2] if chance(rng, 0.7) else names)
        for name in names:
            content = old.read(name)
            if name == chosen:
                if chance(rng, 0.04):
                    continue
                content = _other_member(rng, name, content)
            new.writestr(zipfile.ZipInfo(name), content)
        if chance(rng, 0.03):
            new.writestr(
                rng.choice(("../x", "0000000.block.x", "9999999999.block", "a\nb", "\u0660.block")), b""
            )
    return made.getvalue()


def damage(rng: Random, seeds: Sequence[Files]) -> Files:
    """One damaged file of a set; now and then both shards tell the same wrong facts."""
    seed = dict(rng.choice(seeds))
    if "1.shard" in seed:
        if chance(rng, 0.3):
            same = rng.random()
            return {name: _damaged_shard(Random(same), data) for name, data in seed.items()}
        name = rng.choice(list(seed))
        way = _damaged_shard if chance(rng, 0.75) else damaged
        return {**seed, name: way(rng, seed[name])}
    name = rng.choice(list(seed)) if chance(rng, 0.5) else f"{_JOURNAL}/plan.json"
    return {**seed, name: _other_member(rng, name.rpartition("/")[2], seed[name])}


def run(folder: Path, rng: Random) -> None:
    """Look, merge, or go on."""
    journal = folder / _JOURNAL
    if is_journal(journal):
        show_info(journal)
        plan = read_plan((journal / "plan.json").read_bytes(), "plan.json")
        blocks = plan.blocks()
        if len(blocks) > 10_000:
            return
        with open_journal(journal, plan, blocks, resume=True, replace=False) as opened:
            missing(opened, range(len(blocks)))
            for block in sorted(opened.finished()):
                with documented(ValueError):
                    opened.read(block)
        return
    shards = sorted(folder.glob("*.shard"))
    if chance(rng, 0.3):
        show_info(rng.choice(shards))
        return
    if chance(rng, 0.1):
        merge(shards, folder / "out" / "mask.tif")
        return
    found = ShardSet.open(shards)
    assert Journal(Path(), found.blocks)
    for block in found.owner:
        layers = found.read(block)
        assert all(values.dtype == np.uint8 for values in layers.values())


TARGET = Target(name="shards", seeds=seeds, damage=damage, run=run)
