"""A look at a large raster in fewer pixels is read in several calls, and is as one call would give it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scenes
from rasterio.windows import Window

from geoseg.raster import windows
from geoseg.raster.scene import Scene


@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(
    ("window", "shape"),
    [
        (Window(0, 0, 300, 1000), (100, 30)),
        (Window(0, 0, 300, 1000), (333, 97)),
        (Window(3.5, 7.25, 200.3, 900.7), (90, 61)),
        (Window(10, 20, 5, 40), (40, 5)),
        (Window(0, 0, 300, 1000), (1, 1)),
    ],
)
def test_strips_give_what_one_call_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: Window, shape: tuple[int, int], smooth: bool
) -> None:
    values = np.random.default_rng(0).integers(0, 255, (2, 1000, 300)).astype(np.uint8)
    path = scenes.write_scene(
        tmp_path / "a.tif", values, nodata=0, tiled=True, blockxsize=16, blockysize=16, mask=values[0] > 100
    )
    with Scene.open(path) as scene:
        pixels, valid = scene.read_shrunk(window, shape, smooth=smooth)
        monkeypatch.setattr(windows, "MOST_PX", 1)
        parts = list(windows.strips(window, shape, scene.block_rows))
        assert len(parts) == min(shape[0], -(-int(window.height) // 128))
        assert [row for rows, _ in parts for row in range(rows.start, rows.stop)] == [*range(shape[0])]
        again, again_valid = scene.read_shrunk(window, shape, smooth=smooth)
    np.testing.assert_array_equal(again, pixels)
    np.testing.assert_array_equal(again_valid, valid)
