"""Hostile files, and good ones to lay them beside.

A maker is given a folder of its own, the folder of good files (:func:`make_kit`), and the :class:`Lures`:
what must not be touched, and who must not be asked.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
from scenes import write_class_raster, write_labels, write_scene

from geoseg.classes import IGNORE
from geoseg.raster.mask import CLASSES_TAG

SECRET = b"CANARY-5e1f"


@dataclass(frozen=True, kw_only=True)
class Lures:
    """What a hostile file tries to reach.

    Attributes:
        folder: of the canaries, which the kernel watches.
        url: of the server that listens.
    """

    folder: Path
    url: str

    @property
    def text(self) -> str:
        """A file of text."""
        return str(self.folder / "secret.txt")

    @property
    def raster(self) -> str:
        """A GeoTIFF."""
        return str(self.folder / "secret.tif")

    @property
    def new(self) -> str:
        """A file that is not there."""
        return str(self.folder / "created")


def lay_out(folder: Path, url: str) -> Lures:
    """Write the canaries."""
    (folder / "secret.txt").write_bytes(SECRET * 1000)
    write_scene(folder / "secret.tif", np.full((3, 128, 128), 77, np.uint8))
    return Lures(folder=folder, url=url)


Maker = Callable[[Path, Path, Lures], Path]
"""Makes a hostile file in a folder of its own; it is told where the good ones and the lures are."""


def written(name: str, content: Callable[[Lures], str | bytes] | str | bytes) -> Maker:
    """A file of this name that is this text or these bytes."""

    def make(folder: Path, _: Path, lures: Lures) -> Path:
        told = content(lures) if callable(content) else content
        (folder / name).write_bytes(told.encode() if isinstance(told, str) else told)
        return folder / name

    return make


NASTY = "\x1b[31m[red][link=file:///x]x[/link]\u202e</script><img src=x onerror=document.title='hit'>\n'\";--"
"""A name that wants to be more."""

BOX = shapely.box(500_005, 4_999_945, 500_030, 4_999_970)
SCENE_PX = 128


def make_kit(folder: Path) -> Path:
    """Good files of every kind: a try lays hostile ones in their place."""
    # Only here: they take seconds to import, and most tests need no kit.
    from chip_folders import make_chips
    from models_of_tests import CLASSES, noise, write_model
    from runs_of_tests import write_run

    from geoseg.config import PredictConfig
    from geoseg.render.shards import ShardId
    from geoseg.shard import predict_shard

    scene = write_scene(
        folder / "scene.tif", noise(3, SCENE_PX, SCENE_PX), tiled=True, blockxsize=64, blockysize=64
    )
    boxes = [
        shapely.box(500_000 + x, 4_999_936 + x, 500_000 + x + 12, 4_999_936 + x + 20) for x in (0, 20, 40)
    ]
    write_labels(folder / "labels.gpkg", boxes, columns={"kind": ["field", "house", "field"]})
    write_class_raster(
        folder / "mask.tif",
        (noise(1, SCENE_PX, SCENE_PX)[0] % 3).astype(np.uint8),
        nodata=IGNORE,
        tags={CLASSES_TAG: json.dumps(CLASSES.to_json())},
    )
    (folder / "c").mkdir()
    make_chips(folder / "c", size=128)
    (folder / "c" / "chips").rename(folder / "chips")
    shutil.rmtree(folder / "c")
    write_run(folder / "run", folder / "chips")
    model = write_model(folder / "model.safetensors")
    write_model(folder / "one.safetensors", bands=1)
    config = PredictConfig(precision="fp32", size_px=64, overlap_px=32)
    for index in (1, 2):
        predict_shard(scene, folder / "m.tif", ShardId(index=index, count=2), model=model, config=config,
                      device="cpu")  # fmt: skip
    (folder / "photos").mkdir()
    rasterio.shutil.copy(scene, folder / "photos" / "a.png", driver="PNG")
    for left in folder.rglob("*.aux.xml"):
        left.unlink()
    return folder


def coco(**changes: Any) -> dict[str, Any]:
    """COCO instances of one image."""
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": SCENE_PX, "height": SCENE_PX}],
        "categories": [{"id": 1, "name": "house"}],
        "annotations": [
            {
                "id": at,
                "image_id": 1,
                "category_id": 1,
                "segmentation": [[x, x, x + 20, x, x + 20, x + 20, x, x + 20]],
            }
            for at, x in enumerate((2, 40, 80))
        ],
    } | changes


COMMANDS: dict[str, tuple[str, ...]] = {
    "scene": (
        "info {H}",
        "tile {H} -l {K}/labels.gpkg -o out --size 64 --overlap 0 --block 64",
        "doctor {H} -l {K}/labels.gpkg",
        "predict {H} -m {K}/one.safetensors -o out.tif --device cpu --size 64 --overlap 32",
        "check-seams {H} -m {K}/one.safetensors -o out.tif --device cpu",
        "report {H} {K}/mask.tif -o out.html",
        "view {H} --no-browser",
        "evaluate {K}/mask.tif {K}/labels.gpkg --class-column kind --report out.html --scene {H}",
    ),
    "mask": (
        "info {H} --counts",
        "vectorize {H} -o out.gpkg",
        "evaluate {H} {K}/mask.tif",
        "evaluate {K}/mask.tif {H}",
        "report {K}/scene.tif {H} -o out.html",
        "view {K}/scene.tif {H} --no-browser",
        "tile {K}/scene.tif -l {H} -o out --size 64 --overlap 0 --block 64",
        "vectorize {K}/mask.tif --probabilities {H} -o out.gpkg",
    ),
    "labels": (
        "info {H}",
        "tile {K}/scene.tif -l {H} -o out --size 64 --overlap 0 --block 64",
        "doctor {K}/scene.tif -l {H}",
        "evaluate {K}/mask.tif {H}",
        "evaluate {H} {K}/labels.gpkg",
        "report {K}/scene.tif {H} -o out.html",
        "view {K}/scene.tif {H} --no-browser",
        "predict {K}/scene.tif --aoi {H} -m {K}/model.safetensors -o out.tif --device cpu --size 64",
    ),
    "model": (
        "info {H}",
        "info {H} --json",
        "predict {K}/scene.tif -m {H} -o out.tif --device cpu",
        "check-seams {K}/scene.tif -m {H} --device cpu",
        "evaluate --tiles {K}/chips --split val -m {H} --device cpu",
        "export {H} --card out.json",
        "report {K}/scene.tif {K}/mask.tif -m {H} -o out.html",
    ),
    "weights": ("train -t {K}/chips -o out --epochs 1 --device cpu --backbone-weights {H}",),
    "chips": (
        "info {H}",
        "info {H} --json",
        "doctor {H}",
        "train -t {H} -o out --epochs 1 --batch-size 2 --device cpu",
        "evaluate --tiles {H} --split train -m {K}/run --device cpu",
    ),
    "run": (
        "info {H}",
        "info {H} --json",
        "predict {K}/scene.tif -m {H} -o out.tif --device cpu",
        "train -t {K}/chips --resume {H} --device cpu",
        "export {H} --card out.json",
        "evaluate --tiles {K}/chips --split val -m {H} --device cpu",
    ),
    "shard": ("info {H}", "merge {H} {K}/m.tif.shard-2-of-2 -o out.tif", "merge {H} -o out.gpkg"),
    "onnx": ("info {H}", "info {H} --json"),
    "config": ("train -t {K}/chips -o out --config {H} --device cpu",),
    "coco": ("tile --from-coco {H} --images {I} -o out --size 64 --overlap 0 --block 64",),
}
"""What opens a file of each kind; ``{H}`` is the hostile one, ``{K}`` the folder of good ones."""


def words(command: str, hostile: Path, kit: Path) -> list[str]:
    """The words of a command."""
    return [
        word.replace("{H}", str(hostile))
        .replace("{K}", str(kit))
        .replace("{I}", str(hostile.parent / "photos"))
        for word in command.split()
    ]
