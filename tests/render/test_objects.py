"""Objects come out whole, once and apart from their neighbours, wherever chips cut them."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from objects_of_tests import crowd, detections_of, pieces
from rasterio.windows import Window

from geoseg.render.blocks import BlockGrid, Layers
from geoseg.render.detections import PackedDetections
from geoseg.render.fuse import fuse
from geoseg.render.gather import Gathered
from geoseg.render.grid import ChipGrid
from geoseg.render.overlap import compare
from geoseg.render.paint import Numbering, Painter


def seen(ids: NDArray[Any], grid: ChipGrid) -> tuple[BlockGrid, dict[int, Layers]]:
    """Blocks of what an exact detector sees in each chip."""
    blocks = BlockGrid.of(grid, scale=1, layers={"objects": 0, "valid": 1})
    size = grid.size_px
    beyond = np.pad(ids, size)
    made: dict[int, Layers] = {}
    for block in range(len(blocks)):
        parts = []
        for chip in blocks.chips(block):
            view = blocks.view_of(chip)
            top, left = view.row_off + size, view.col_off + size
            chip_ids = beyond[top : top + size, left : left + size]
            everywhere = np.ones((size, size), np.bool_)
            parts.append(PackedDetections.of_chip(chip, detections_of(chip_ids).numpy(), everywhere))
        data = PackedDetections.joined(parts).to_bytes()
        valid = np.zeros_like(blocks.empty(block)["valid"])
        encoded = blocks.encode(block, {"objects": np.frombuffer(data, np.uint8), "valid": valid})
        made[block] = blocks.decode(block, encoded)
    return blocks, made


def objects(ids: NDArray[Any], grid: ChipGrid, part: Window | None = None) -> NDArray[np.int32]:
    """Ids of objects put together from what chips see."""
    blocks, made = seen(ids, grid)
    gathered = Gathered(blocks, made, made.__getitem__)
    fusion = fuse(*compare(gathered, lambda: None))
    part = part or Window(0, 0, ids.shape[1], ids.shape[0])
    painter = Painter(gathered=gathered, fusion=fusion, part=part)
    numbering = Numbering.of(painter.bands(lambda _: None))
    assert numbering.crumbs == 0
    return np.concatenate([numbering.regions.relabel(band) for band in painter.bands(lambda _: None)])


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 200),
    width=st.integers(1, 260),
    seed=st.integers(0, 2**32 - 1),
    overlap=st.sampled_from([32, 64]),
    size=st.sampled_from([64, 96]),
    shift=st.sampled_from([0, 32]),
    largest=st.sampled_from([8, 40, 200]),
)
def test_objects_are_those_of_the_scene_whatever_the_chips(
    height: int, width: int, seed: int, overlap: int, size: int, shift: int, largest: int
) -> None:
    if overlap >= size:
        overlap = 32
    rng = np.random.default_rng(seed)
    ids = crowd((height, width), int(rng.integers(0, 60)), rng, largest=largest)
    grid = ChipGrid.of((height, width), size_px=size, overlap_px=overlap, shift_px=shift)
    np.testing.assert_array_equal(objects(ids, grid), pieces(ids))


def test_neighbours_that_touch_along_every_border_stay_apart() -> None:
    rows, columns = np.mgrid[:200, :200]
    ids = 1 + (rows // 10 * 7 + columns // 9 * 3) % 250
    grid = ChipGrid.of((200, 200), size_px=64, overlap_px=32)
    np.testing.assert_array_equal(objects(ids, grid), pieces(ids))
