from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.chips.grid import block_spans, chip_spans, choose_block_px


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 900), st.integers(1, 100), st.data())
def test_spans_cover_the_axis_inside_their_blocks(length: int, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    block_px = data.draw(st.none() | st.integers(size, 400))
    spans = chip_spans(length, size, overlap, block_px)
    blocks = block_spans(length, size, block_px)
    seen, owned = np.zeros(length, bool), np.zeros(length, int)
    for span in spans:
        seen[span.offset : span.offset + size] = True
        owned[slice(*span.own)] += 1
        assert span.offset <= span.own[0] < span.own[1] <= span.offset + size
        if length >= size:
            start, stop = blocks[span.block]
            assert start <= span.offset
            assert span.offset + size <= stop
    assert seen.all()
    assert (owned == 1).all()


def test_blocks_are_near_the_wanted_size_and_hold_a_chip() -> None:
    assert block_spans(4096, 512, 700) == [(i * 4096 // 6, (i + 1) * 4096 // 6) for i in range(6)]
    assert block_spans(4096, 512, None) == [(0, 4096)]
    assert block_spans(960, 512, 512) == [(0, 960)]
    assert block_spans(100, 512, 512) == [(0, 100)]


@pytest.mark.parametrize(
    ("shapes", "expected"), [([(960, 960)] * 30, 679), ([(10240, 10240)], 1322), ([(300, 200)], 512)]
)
def test_block_size_follows_the_land_and_never_falls_below_a_chip(
    shapes: list[tuple[int, int]], expected: int
) -> None:
    assert choose_block_px(shapes, 512) == expected
