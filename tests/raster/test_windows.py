from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from geoseg.raster.windows import block_windows, clip, cover, row_windows, slices_within


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 400), st.integers(1, 100), st.data())
def test_cover_reaches_every_pixel_and_nothing_beyond(length: int, size: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, size))
    offsets = cover(length, size, stride)
    assert offsets[0] == 0
    assert offsets == sorted(set(offsets))
    seen = np.zeros(length, bool)
    for offset in offsets:
        seen[offset : offset + size] = True
    assert seen.all()
    if length > size:
        assert offsets[-1] + size == length
        assert all(b - a <= stride for a, b in itertools.pairwise(offsets))
    else:
        assert offsets == [0]


@pytest.mark.parametrize(("length", "size", "stride"), [(0, 4, 2), (9, 0, 1), (9, 4, 5), (9, 4, 0)])
def test_cover_refuses_gaps(length: int, size: int, stride: int) -> None:
    with pytest.raises(ValueError, match="cannot cover"):
        cover(length, size, stride)


@pytest.mark.parametrize("shape", [(1, 1), (7, 13), (16, 16), (17, 5)])
def test_row_and_block_windows_tile_without_overlap(shape: tuple[int, int]) -> None:
    for windows in (list(row_windows(shape, 4)), list(block_windows(shape, 8))):
        counts = np.zeros(shape, int)
        for window in windows:
            counts[window.toslices()] += 1
        assert (counts == 1).all()


def test_clip_and_slices() -> None:
    whole = Window(-2, 3, 6, 6)
    inside = clip(whole, (5, 10))
    assert inside == Window(0, 3, 4, 2)
    assert slices_within(inside, whole) == (slice(0, 2), slice(2, 6))
    assert clip(Window(10, 0, 5, 5), (5, 10)) is None
    assert clip(Window(0, -5, 5, 5), (5, 10)) is None
