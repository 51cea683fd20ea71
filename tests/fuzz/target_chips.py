"""Chips folders: ``chips.json``, and the rasters and objects of chips."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import scenes
from chip_folders import make_chips

from fuzz.core import Files, Target
from fuzz.mutate import chance, damaged_json, json_bytes
from fuzz.shared import files_in, show_info
from fuzz.tiff import damaged_tiff
from geoseg.chips.balance import class_weights
from geoseg.chips.store import SPLITS, ChipStore
from geoseg.config import Config, TileConfig
from geoseg.tile import tile
from geoseg.training.folder import check_chips


def _few(files: Files) -> Files:
    """A folder of the first three chips only, so that it is quickly written."""
    told = json.loads(files["chips.json"])
    told["chips"] = told["chips"][:3]
    names = tuple(f"/{chip['name']}.tif" for chip in told["chips"])
    rasters = {name: data for name, data in files.items() if name.endswith(names)}
    return {"chips.json": json.dumps(told).encode(), **rasters}


def seeds(folder: Path) -> list[Files]:
    """Chips of classes and chips of objects."""
    (folder / "pixels").mkdir()
    chips = make_chips(folder / "pixels", size=128)
    (folder / "things").mkdir()
    scene = scenes.write_scene(folder / "things" / "scene.tif", scenes.ramp(3, 128, 128))
    boxes = [scenes.pixel_box(scenes.north_up(), 7 + 20 * i, 5 + 19 * i, 15, 12) for i in range(5)]
    labels = scenes.write_labels(folder / "things" / "labels.gpkg", boxes, columns={"kind": list("abaab")})
    config = TileConfig(task="instance", size_px=64, overlap_px=0, class_column="kind")
    tile([scene], [labels], folder / "things" / "chips", config)
    return [_few(files_in(chips)), _few(files_in(folder / "things" / "chips"))]


def damage(rng: Random, seeds: Sequence[Files]) -> Files:
    """Mostly another ``chips.json``."""
    files = dict(rng.choice(seeds))
    rasters = [name for name in files if name.endswith(".tif")]
    if chance(rng, 0.8):
        files["chips.json"] = json_bytes(rng, damaged_json(rng, json.loads(files["chips.json"])))
        return {name: data for name, data in files.items() if name == "chips.json" or chance(rng, 0.1)}
    name = rng.choice(rasters)
    files[name] = damaged_tiff(rng, files[name], files[rng.choice(rasters)])
    return files


def run(folder: Path, rng: Random) -> None:
    """Look at the chips as ``info``, ``train`` and ``doctor`` do."""
    store = ChipStore.open(folder)
    show_info(folder)
    for split in SPLITS:
        store.chips(split)
    assert store.stats.std
    assert all(scale > 0 for scale in store.stats.scale)
    check_chips(store, Config())
    class_weights("inverse_sqrt", np.array([chip.class_pixels for chip in store.chips()], np.int64))
    chips = [
        chip for chip in store.chips() if store.image_path(chip).exists() and store.label_path(chip).exists()
    ]
    if not chips:
        return
    for chip in chips:
        bands, valid, labels = store.read(chip)
        assert bands.shape[1:] == valid.shape == labels.shape
        store.stats.normalise(bands, valid)
        if store.task == "instance" and store.objects_path(chip).exists():
            store.read_objects(chip)


TARGET = Target(name="chips", seeds=seeds, damage=damage, run=run)
