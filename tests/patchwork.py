"""A scene of bright and dark rectangles on plain ground, and the rectangles: labels whose place is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from scenes import north_up, pixel_box, write_labels, write_scene

from geoseg.config import TileConfig
from geoseg.tile import tile

CELL_PX = 48
SIZE = 11 * CELL_PX
Box = tuple[int, int, int, int]
"""Row, column, height and width in pixels."""


def patchwork(size: int = SIZE, *, seed: int = 0) -> tuple[NDArray[np.uint8], list[Box]]:
    """Bands (3, size, size) and the rectangles in them, one a cell, none touching another."""
    rng = np.random.default_rng(seed)
    bands = np.full((3, size, size), 110.0)
    boxes = []
    for row in range(0, size - CELL_PX + 1, CELL_PX):
        for col in range(0, size - CELL_PX + 1, CELL_PX):
            height, width = rng.integers(14, 34, 2).tolist()
            top = row + int(rng.integers(5, CELL_PX - height - 4))
            left = col + int(rng.integers(5, CELL_PX - width - 4))
            colour = rng.choice([-1, 1]) * rng.integers(35, 90, 3)
            bands[:, top : top + height, left : left + width] += colour[:, None, None]
            boxes.append((top, left, height, width))
    bands += rng.normal(0.0, 8.0, bands.shape)
    return bands.clip(1, 250).astype(np.uint8), boxes


def ids_of(boxes: list[Box], size: int = SIZE) -> NDArray[np.uint8]:
    """Class ids (size, size): 1 in the rectangles, 0 elsewhere."""
    ids = np.zeros((size, size), np.uint8)
    for row, col, height, width in boxes:
        ids[row : row + height, col : col + width] = 1
    return ids


def polygons_of(
    boxes: list[Box], transform: Affine | None = None, *, right: int = 0, down: int = 0
) -> list[Any]:
    """The rectangles in CRS coordinates, moved by whole pixels."""
    transform = transform or north_up()
    return [pixel_box(transform, row + down, col + right, height, width) for row, col, height, width in boxes]


def write_patchwork(
    folder: Path, name: str = "scene", *, seed: int = 0, right: int = 0, down: int = 0, **keywords: Any
) -> tuple[Path, Path]:
    """Write a scene and its labels, moved by whole pixels; keywords as for ``write_scene``."""
    bands, boxes = patchwork(seed=seed)
    polygons = polygons_of(boxes, keywords.get("transform"), right=right, down=down)
    scene = write_scene(folder / f"{name}.tif", bands, **keywords)
    return scene, write_labels(folder / f"{name}.gpkg", polygons)


def write_chips(folder: Path, *, seed: int = 0) -> Path:
    """Overlapping chips of 96 px of one scene, in three splits."""
    scene, labels = write_patchwork(folder, seed=seed)
    config = TileConfig(size_px=96, overlap_px=32, block_px=128, val_share=0.25, test_share=0.15)
    tile([scene], [labels], folder / "chips", config)
    return folder / "chips"


def edit_chips(folder: Path, change: Any) -> None:
    """Change ``chips.json``: ``change`` gets it as a dict."""
    path = folder / "chips.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
