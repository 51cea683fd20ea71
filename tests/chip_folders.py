"""A small chips folder with a known answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scenes import write_class_raster, write_scene

from geoseg.config import TileConfig
from geoseg.tile import tile


def make_chips(folder: Path, *, dtype: str = "uint8", size: int = 256, bands: int = 3) -> Path:
    """Chips of 64 px of one scene of noise, three classes, with an invalid corner; 16 chips at size 256."""
    rng = np.random.default_rng(3)
    pixels = rng.integers(1, 200, (bands, size, size)).astype(dtype)
    mask = np.ones((size, size), bool)
    mask[:20, :30] = False
    ids = rng.integers(0, 3, (size, size)).astype(np.uint8)
    scene = write_scene(folder / "scene.tif", pixels, mask=mask)
    labels = write_class_raster(folder / "truth.tif", ids)
    tile([scene], [labels], folder / "chips", TileConfig(size_px=64, overlap_px=0, block_px=64))
    return folder / "chips"
