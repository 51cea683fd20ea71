"""What surer objects cover is left out: as when one looks at the whole scene at once, however it was cut."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.models.instances import Detections
from geoseg.render.blocks import BlockGrid, Layers
from geoseg.render.cover import uncovered
from geoseg.render.detections import PackedDetections
from geoseg.render.fuse import fuse
from geoseg.render.gather import Gathered
from geoseg.render.grid import ChipGrid
from geoseg.render.overlap import compare
from geoseg.render.paint import Painter


class Thing(NamedTuple):
    """A detection; its pixels lie in the scene, row and column of the first one being ``at``."""

    at: tuple[int, int]
    pixels: NDArray[np.bool_]
    label: int
    score: float


def scattered(
    shape: tuple[int, int], rng: np.random.Generator, *, layers: int, most: int, apart: bool
) -> list[Thing]:
    """Rectangles and discs of 2 to 24 px, of distinct scores; ``apart`` from those of their layer."""
    things: list[Thing] = []
    for layer in range(layers):
        free = np.ones(shape, np.bool_)
        for _ in range(most):
            height, width = rng.integers(2, 25, 2).tolist()
            top, left = int(rng.integers(0, shape[0] - height)), int(rng.integers(0, shape[1] - width))
            rows, columns = np.mgrid[:height, :width]
            disc = (2 * rows + 1 - height) ** 2 / height**2 + (2 * columns + 1 - width) ** 2 / width**2 < 1
            pixels = disc if rng.random() < 0.5 else np.ones((height, width), np.bool_)
            here = free[top : top + height, left : left + width]
            if apart and not here[pixels].all():
                continue
            here[pixels] = False
            things.append(Thing((top, left), pixels, 1 + layer, 0.0))
    scores = rng.permutation(len(things)) / max(1, len(things)) * 0.9 + 0.05
    return [
        thing._replace(score=float(np.float32(score))) for thing, score in zip(things, scores, strict=True)
    ]


def seen(things: list[Thing], grid: ChipGrid) -> tuple[BlockGrid, dict[int, Layers]]:
    """Blocks of what each chip shows of the things."""
    blocks = BlockGrid.of(grid, scale=1, layers={"objects": 0, "valid": 1})
    made: dict[int, Layers] = {}
    for block in range(len(blocks)):
        parts = [
            PackedDetections.of_chip(chip, _cut(things, blocks.view_of(chip)).numpy(), _all(grid.size_px))
            for chip in blocks.chips(block)
        ]
        data = np.frombuffer(PackedDetections.joined(parts).to_bytes(), np.uint8)
        made[block] = {"objects": data, "valid": np.zeros_like(blocks.empty(block)["valid"])}
    return blocks, made


def _all(side: int) -> NDArray[np.bool_]:
    return np.ones((side, side), np.bool_)


def _cut(things: list[Thing], view: Window) -> Detections:
    shown = []
    for thing in things:
        top, left = max(thing.at[0], view.row_off), max(thing.at[1], view.col_off)
        pixels = thing.pixels[top - thing.at[0] :, left - thing.at[1] :]
        pixels = pixels[
            : max(0, view.row_off + view.height - top), : max(0, view.col_off + view.width - left)
        ]
        if pixels.any():
            shown.append((thing, (top - view.row_off, left - view.col_off), pixels))
    return Detections(
        boxes=torch.zeros(len(shown), 4),
        labels=torch.tensor([thing.label for thing, _, _ in shown], dtype=torch.int64),
        scores=torch.tensor([thing.score for thing, _, _ in shown]),
        masks=tuple(torch.from_numpy(pixels) for _, _, pixels in shown),
        offsets=torch.tensor([at for _, at, _ in shown], dtype=torch.int64).reshape(-1, 2),
    )


def drawn(
    things: list[Thing], grid: ChipGrid, *, least: float, part: Window | None = None
) -> tuple[NDArray[np.float32], int]:
    """The score of the object that has each pixel (H, W), or 0; and how many objects were left out."""
    blocks, made = seen(things, grid)
    gathered = Gathered(blocks, made, made.__getitem__)
    fusion = fuse(*compare(gathered, lambda: None))
    part = part or Window(0, 0, grid.columns.length, grid.rows.length)
    fusion, covered = uncovered(gathered, fusion, part, least=least, advance=lambda _: None)
    painter = Painter(gathered=gathered, fusion=fusion, part=part)
    labels = np.concatenate(list(painter.bands(lambda _: None)))
    return np.concatenate([[0], fusion.score]).astype(np.float32)[labels], covered


def expected(things: list[Thing], shape: tuple[int, int], *, least: float) -> tuple[NDArray[np.float32], int]:
    """The same of the whole scene at once: each thing, the surest first, takes what is still free."""
    scores = np.zeros(shape, np.float32)
    left_out = 0
    for thing in sorted(things, key=lambda thing: -thing.score):
        (top, left), (height, width) = thing.at, thing.pixels.shape
        here = scores[top : top + height, left : left + width]
        free = thing.pixels & (here == 0)
        if free.sum() >= least * thing.pixels.sum():
            here[free] = thing.score
        else:
            left_out += 1
    return scores, left_out


@settings(max_examples=20, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    least=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    rows=st.integers(1, 70),
    layers=st.integers(1, 4),
)
def test_as_of_the_whole_scene_wherever_bands_are_cut(
    seed: int, least: float, rows: int, layers: int
) -> None:
    rng = np.random.default_rng(seed)
    things = scattered((64, 60), rng, layers=layers, most=12, apart=False)
    with pytest.MonkeyPatch.context() as patch:
        for module in ("cover", "paint"):
            patch.setattr(f"geoseg.render.{module}.band_rows", lambda _: rows)
        found, left_out = drawn(things, ChipGrid.of((64, 60), size_px=64, overlap_px=32), least=least)
    scores, count = expected(things, (64, 60), least=least)
    np.testing.assert_array_equal(found, scores)
    assert left_out == (count if least else 0)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([64, 96]),
    shift=st.sampled_from([0, 32]),
    least=st.sampled_from([0.3, 0.5, 0.8]),
)
def test_as_of_the_whole_scene_whatever_the_chips(seed: int, size: int, shift: int, least: float) -> None:
    shape = (150, 200)
    rng = np.random.default_rng(seed)
    # Two layers of two classes: what chips dispute is one thing, and the rest is up to the cover.
    things = scattered(shape, rng, layers=2, most=90, apart=True)
    grid = ChipGrid.of(shape, size_px=size, overlap_px=32, shift_px=shift)
    found, left_out = drawn(things, grid, least=least)
    scores, count = expected(things, shape, least=least)
    np.testing.assert_array_equal(found, scores)
    assert left_out == count


@pytest.mark.parametrize("part", [Window(20, 10, 60, 40), Window(101, 63, 99, 87)])
def test_a_part_has_what_the_whole_has_there(part: Window) -> None:
    things = scattered((150, 200), np.random.default_rng(5), layers=2, most=90, apart=True)
    found, _ = drawn(things, ChipGrid.of((150, 200), size_px=64, overlap_px=32), least=0.5, part=part)
    scores, count = expected(things, (150, 200), least=0.5)
    assert count > 5
    np.testing.assert_array_equal(found, scores[part.toslices()])


def test_what_was_left_out_covers_nothing() -> None:
    line = np.ones((10, 20), np.bool_)
    places = ((5, 1, 0.9), (14, 2, 0.8), (23, 1, 0.7))
    chain = [Thing((5, left), line, label, score) for left, label, score in places]
    grid = ChipGrid.of((64, 64), size_px=64, overlap_px=32)
    # The one in the middle keeps 9 of 20 columns beside the first; beside it the last would keep 9, too.
    found, left_out = drawn(chain, grid, least=0.5)
    assert left_out == 1
    first, last = np.float32(0.9), np.float32(0.7)
    assert [np.count_nonzero(found == score) for score in (first, last)] == [200, 180]


def test_touching_neighbours_and_things_on_larger_ones_stay() -> None:
    house, shed = np.ones((16, 12), np.bool_), np.ones((4, 4), np.bool_)
    row = [Thing((10, 4 + 11 * at), house, 1, 0.9 - 0.05 * at) for at in range(4)]
    nested = [Thing((26, 6), shed, 1, 0.5), Thing((34, 4), np.ones((24, 40), np.bool_), 2, 0.6)]
    pools = [Thing((38, 8), shed, 1, 0.95), Thing((44, 20), np.ones((10, 10), np.bool_), 1, 0.7)]
    grid = ChipGrid.of((64, 64), size_px=64, overlap_px=32)
    found, left_out = drawn([*row, *nested, *pools], grid, least=0.5)
    assert left_out == 0
    assert len(np.unique(found)) == 1 + len([*row, *nested, *pools])
