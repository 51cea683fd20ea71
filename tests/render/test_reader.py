"""Strips are read once, whatever the chips overlap."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_of_tests import noise
from rasterio.windows import Window
from scenes import write_scene

from geoseg.errors import ReadError, SceneError
from geoseg.raster.scene import Scene
from geoseg.render.grid import ChipGrid
from geoseg.render.reader import chip_rows


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """Windows that were read."""
    found: list[Window] = []
    read = Scene.read

    def noted(self: Scene, window: Window) -> Any:
        found.append(window)
        return read(self, window)

    monkeypatch.setattr(Scene, "read", noted)
    return found


@pytest.mark.parametrize("shift", [0, 32])
@pytest.mark.parametrize("columns", [range(3), range(2, 5), range(9)])
def test_chips_are_what_a_read_of_their_window_gives(
    tmp_path: Path, reads: list[Window], columns: range, shift: int
) -> None:
    bands = noise(3, 310, 330)
    bands[:, 100:140, 60:200] = 0
    path = write_scene(tmp_path / "scene.tif", bands, nodata=0)
    grid = ChipGrid.of((310, 330), size_px=96, overlap_px=32, shift_px=shift)
    columns = range(columns.start, min(columns.stop, len(grid.columns)))
    with Scene.open(path) as scene:
        rows = list(chip_rows(scene, grid, columns, range(len(grid.rows))))
        strip_reads = list(reads)
        for number, row in enumerate(rows):
            for column in columns:
                window = Window(grid.columns.starts[column], grid.rows.starts[number], 96, 96)
                expected, valid = scene.read(window)
                found, found_valid = row.chip(grid.columns.starts[column], 96)
                np.testing.assert_array_equal(found, expected)
                np.testing.assert_array_equal(found_valid, valid)
    lines = [line for window in strip_reads for line in range(window.row_off, window.row_off + window.height)]
    assert len(lines) == len(set(lines)), "every line once"
    assert len({(window.col_off, window.width) for window in strip_reads}) == 1


def test_rows_left_out_are_not_read(tmp_path: Path, reads: list[Window]) -> None:
    path = write_scene(tmp_path / "scene.tif", noise(3, 1000, 100))
    grid = ChipGrid.of((1000, 100), size_px=96, overlap_px=32)
    with Scene.open(path) as scene:
        list(chip_rows(scene, grid, range(1), [0, 9, 10]))
    assert [(window.row_off, window.height) for window in reads] == [(0, 96), (576, 96), (672, 64)]


def test_damage_reaches_who_reads(tmp_path: Path) -> None:
    path = write_scene(tmp_path / "scene.tif", noise(3, 600, 600), tiled=True, blockxsize=128, blockysize=128)
    path.write_bytes(path.read_bytes()[:300_000])
    grid = ChipGrid.of((600, 600), size_px=96, overlap_px=32)
    with pytest.raises((ReadError, SceneError), match=r"scene\.tif"), Scene.open(path) as scene:
        list(chip_rows(scene, grid, range(9), range(9)))
