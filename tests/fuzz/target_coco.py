"""COCO files: whatever they say of images, categories and outlines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import scenes

from fuzz.core import Files, Target
from fuzz.mutate import TEXTS, chance, damaged_json, damaged_text, json_bytes, number
from geoseg.chips.coco import CocoFile
from geoseg.chips.coco_images import open_images
from geoseg.config import TileConfig
from geoseg.progress import SilentProgress

_SIDE = 20


def _told() -> dict[str, Any]:
    square = [2.0, 2.0, 9.0, 2.0, 9.0, 9.0, 2.0, 9.0]
    runs = {"size": [_SIDE, _SIDE], "counts": [45, 5, 15, 5, 330]}
    return {
        "info": {"year": 2024},
        "images": [{"id": at, "file_name": f"{at}.png", "width": _SIDE, "height": _SIDE} for at in (1, 2)],
        "categories": [{"id": 3, "name": "field"}, {"id": 7, "name": "house", "supercategory": "x"}],
        "annotations": [
            {
                "id": 1,
                "image_id": 1,
                "category_id": 3,
                "segmentation": [square],
                "iscrowd": 0,
                "bbox": [2, 2, 7, 7],
            },
            {"id": 2, "image_id": 1, "category_id": 7, "segmentation": [square, square[::-1]], "area": 3.5},
            {"id": 3, "image_id": 2, "category_id": 3, "segmentation": runs, "iscrowd": 1},
            {"id": 4, "image_id": 2, "category_id": 3, "segmentation": {**runs, "counts": "]15?0k9"}},
            {"id": 5, "image_id": 2, "category_id": 7, "segmentation": [], "inside_share": 0.5},
        ],
    }


def seeds(folder: Path) -> list[Files]:
    """Two images and five annotations of every form."""
    image = scenes.write_scene(
        folder / "1.png", scenes.ramp(3, _SIDE, _SIDE), crs=None, driver="PNG"
    ).read_bytes()
    return [{"coco.json": json.dumps(_told()).encode(), "1.png": image, "2.png": image}]


def _outline(rng: Random) -> Any:
    kind = rng.randrange(4)
    if kind == 0:
        count = rng.choice((0, 2, 6, 6, 6, 7, 8, 8, 8, 12, 12, 40))
        return [[_near(rng) for _ in range(count)] for _ in range(rng.choice((0, 1, 1, 3)))]
    if kind == 1:
        total, counts = _SIDE * _SIDE, []
        while total > 0:
            counts.append(min(total, rng.choice((0, 1, 5, 20, 100, 400))))
            total -= counts[-1]
        if chance(rng, 0.3):
            counts.insert(rng.randint(0, len(counts)), rng.choice((0, -1, 1, 2**31, 2**31 - 1, 2**63)))
        return {"size": [_SIDE, _SIDE], "counts": counts}
    if kind == 2:
        letters = "".join(chr(rng.randint(48, 111)) for _ in range(rng.randint(0, 12)))
        return {
            "size": [_SIDE, _SIDE],
            "counts": rng.choice((letters, letters, damaged_text(rng, "]15?0k9"), "o" * 50)),
        }
    return {
        "size": rng.choice(([_SIDE], [_SIDE, _SIDE, 1], [0, 0], ["20", 20], [20.0, 20], None)),
        "counts": [400],
    }


def _near(rng: Random) -> float:
    return rng.choice((0, 0.5, _SIDE, -1, 1e6, -1e6, rng.uniform(-3, _SIDE + 3), rng.randint(0, _SIDE)))


def damage(rng: Random, seeds: Sequence[Files]) -> Files:
    """Other outlines, other ids and names, or any other JSON."""
    files = dict(seeds[0])
    told = json.loads(files["coco.json"])
    kind = rng.randrange(10)
    if kind < 5:
        for _ in range(rng.choice((1, 1, 2))):
            rng.choice(told["annotations"])["segmentation"] = _outline(rng)
    elif kind == 5:
        told["images"][0]["file_name"] = rng.choice(
            (*TEXTS, "./1.png", "2.png", "../input/1.png", "x/../1.png", "/1.png")
        )
    elif kind == 6:
        told["categories"][rng.randrange(2)] = {"id": number(rng), "name": rng.choice(TEXTS)}
    if kind >= 5 or chance(rng, 0.1):
        told = damaged_json(rng, told)
    files["coco.json"] = json_bytes(rng, told)
    return files


def run(folder: Path, rng: Random) -> None:
    """Read it, burn its outlines, open its images."""
    coco = CocoFile.read(folder / "coco.json")
    for image in coco.images:
        if image.shape[0] * image.shape[1] <= 10**6:
            owners = image.owners()
            assert owners.shape == image.shape
            assert 0 <= owners.min() <= owners.max() <= len(image.outlines)
    if chance(rng, 0.3):
        open_images(coco, folder, TileConfig(task="instance", size_px=64, overlap_px=0), SilentProgress())


TARGET = Target(name="coco", seeds=seeds, damage=damage, run=run)
