"""The grid: every pixel has one owner, and the owner sees what it must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.errors import InputError
from geoseg.render.blocks import BlockGrid
from geoseg.render.grid import ALIGN_PX, Axis, ChipGrid, default_overlap, taper

lengths = st.integers(1, 3000)


@st.composite
def axes(draw: st.DrawFn) -> Axis:
    size = draw(st.integers(2, 16)) * ALIGN_PX
    overlap = draw(st.integers(0, size // ALIGN_PX - 1)) * ALIGN_PX
    shift = draw(st.integers(0, size // ALIGN_PX - 1)) * ALIGN_PX
    return Axis.of(draw(lengths), size, overlap, shift)


@settings(max_examples=300, deadline=None)
@given(axis=axes())
def test_every_pixel_has_one_owner_that_sees_it(axis: Axis) -> None:
    owners = np.zeros(axis.length, int)
    for index, start in enumerate(axis.starts):
        first, end = axis.owned(index)
        assert start % ALIGN_PX == 0
        assert first % ALIGN_PX == 0
        if first < end:
            assert start <= first
            assert end <= start + axis.size
        owners[first:end] += 1
    assert (owners == 1).all()


@settings(max_examples=300, deadline=None)
@given(axis=axes())
def test_regions_lie_in_chips_and_touching_ones_are_all_that_see_them(axis: Axis) -> None:
    for index, start in enumerate(axis.starts):
        first, end = axis.region(index)
        if axis.owned(index)[0] == axis.owned(index)[1]:
            continue
        assert start <= first < end <= start + axis.size
        assert first % ALIGN_PX == 0
        assert end % ALIGN_PX == 0
        seers = [i for i, s in enumerate(axis.starts) if max(s, first) < min(s + axis.size, end)]
        assert list(axis.touching[index]) == seers


def test_owner_is_where_the_pixel_lies_deepest() -> None:
    axis = Axis.of(10_000, 512, 128)
    for index in range(len(axis) - 2):
        end = axis.owned(index)[1]
        before, after = axis.starts[index] + axis.size - end, end - axis.starts[index + 1]
        assert abs(before - after) <= ALIGN_PX


def test_grid_hangs_at_the_corner_of_the_scene() -> None:
    small, large = Axis.of(3000, 512, 128), Axis.of(9000, 512, 128)
    assert small.starts[:-1] == large.starts[: len(small) - 1]


def test_last_chip_reaches_little_beyond_the_scene() -> None:
    for length in range(513, 1200, 7):
        assert length <= Axis.of(length, 512, 128).starts[-1] + 512 < length + ALIGN_PX


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"size_px": 100, "overlap_px": 32}, "chip size of 100 px is no multiple of 32; use 96 or 128"),
        ({"size_px": 128, "overlap_px": 20}, "overlap of 20 px is no multiple of 32; use 0 or 32"),
        ({"size_px": 64, "overlap_px": 64}, "not below the chip size"),
        ({"size_px": 64, "overlap_px": 32, "shift_px": 64}, "shift of 64 px is not below"),
    ],
)
def test_sizes_that_make_no_grid(sizes: dict[str, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ChipGrid.of((500, 500), **sizes)


def test_default_overlap_is_a_quarter() -> None:
    assert [default_overlap(size) for size in (64, 96, 128, 512, 544)] == [32, 32, 32, 128, 128]


def test_taper_never_vanishes() -> None:
    for cells, overlap in ((32, 8), (4, 2), (2, 0), (4, 3)):
        weights = taper(cells, overlap)
        assert weights.min() > 0
        assert weights.max() <= 1
        np.testing.assert_array_equal(weights, weights[::-1])


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 2500),
    width=st.integers(1, 2500),
    scale=st.sampled_from([1, 2, 4]),
    bands=st.integers(1, 200),
)
def test_blocks_tile_the_scene(height: int, width: int, scale: int, bands: int) -> None:
    grid = ChipGrid.of((height, width), size_px=128, overlap_px=32)
    blocks = BlockGrid.of(grid, scale=scale, layers={"mask": 1, "probabilities": bands})
    covered = np.zeros((height, width), int)
    chips = []
    for block in range(len(blocks)):
        window = blocks.window(block)
        covered[
            window.row_off : window.row_off + window.height, window.col_off : window.col_off + window.width
        ] += 1
        chips += list(blocks.chips(block))
        assert all(blocks.block_of(chip) == block for chip in blocks.chips(block))
    assert (covered == 1).all()
    assert sorted(chips) == [(i, j) for i in range(grid.shape[0]) for j in range(grid.shape[1])]


def test_blocks_of_many_values_hold_fewer_chips() -> None:
    grid = ChipGrid.of((20_000, 20_000), size_px=512, overlap_px=128)
    plain = BlockGrid.of(grid, scale=1, layers={"mask": 1})
    assert (plain.chips_high, plain.chips_wide) == (4, 8)
    heavy = BlockGrid.of(grid, scale=4, layers={"mask": 1, "probabilities": 19})
    assert heavy.chips_high * heavy.chips_wide * (384 * 4) ** 2 * 20 <= 50_000_000
