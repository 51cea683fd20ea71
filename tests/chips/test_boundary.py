"""The line between polygons: how wide, where not, what it leaves of small ones; the same in any window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from geoseg.chips.boundary import boundary, halo_px

WIDTHS = st.sampled_from([1, 1.5, 2, 3, 4, 5, 6.5])


def drawn(owner: NDArray[np.int32], line: NDArray[np.bool_]) -> list[str]:
    signs = np.where(line, "#", np.array(list(".ABCDE"))[owner])
    return ["".join(row) for row in signs.tolist()]


def owners(*rows: str) -> NDArray[np.int32]:
    return np.array([[".ABCDE".index(sign) for sign in row] for row in rows], np.int32)


def line_of(owner: NDArray[np.int32], width_px: float) -> list[str]:
    return drawn(owner, boundary(owner, owner == 0, width_px))


@st.composite
def parcels(draw: st.DrawFn, *, gaps: bool = True) -> NDArray[np.int32]:
    """Voronoi cells of a few random points, some of them joined, some unlabelled."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    points = rng.random((draw(st.integers(1, 40)), 2)) * (height, width)
    row, col = np.mgrid[:height, :width]
    nearest = ((row[..., None] - points[:, 0]) ** 2 + (col[..., None] - points[:, 1]) ** 2).argmin(axis=-1)
    numbers = rng.integers(0 if gaps else 1, draw(st.sampled_from([3, 60])), len(points))
    return numbers.astype(np.int32)[nearest]


@pytest.mark.parametrize("width_px", range(1, 13))
def test_a_line_is_as_wide_as_said_and_the_larger_polygon_gives_the_odd_pixel(width_px: int) -> None:
    owner = np.repeat(np.array([[1] * 20 + [2] * 20], np.int32), 30, axis=0)
    line = boundary(owner, owner == 0, width_px)
    assert (line.sum(axis=1) == width_px).all()
    assert line[:, 20 - (width_px + 1) // 2 : 20 + width_px // 2].all()


@pytest.mark.parametrize("gap_px", range(1, 7))
@pytest.mark.parametrize("width_px", [2, 3, 5, 6])
def test_a_gap_narrower_than_the_line_is_line_and_a_wider_one_is_none(gap_px: int, width_px: int) -> None:
    owner = np.repeat(np.array([[1] * 15 + [0] * gap_px + [2] * 15], np.int32), 20, axis=0)
    line = boundary(owner, owner == 0, width_px)
    assert (line.sum(axis=1) == (width_px if gap_px < width_px else 0)).all()
    assert line[owner == 0].all() == (gap_px < width_px)


def test_free_edges_are_none() -> None:
    assert line_of(owners(*["......", ".AABB.", ".AABB.", ".AABB.", "......"]), 2) == [
        "......",
        ".A##B.",
        ".A##B.",
        ".A##B.",
        "......",
    ]
    alone = owners("......", ".AAAA.", ".AA...")
    assert line_of(alone, 5) == drawn(alone, alone > 9)


def test_pixels_that_may_not_become_line_do_not() -> None:
    owner = owners("AAAA.BBBB", "AAAA.BBBB")
    unlabelled = owner == 0
    unlabelled[0, 4] = False
    assert drawn(owner, boundary(owner, unlabelled, 2)) == ["AAAA.#BBB", "AAAA##BBB"]


def test_parts_of_one_polygon_are_not_kept_apart() -> None:
    owner = owners("AA.AAAABBBB")
    assert line_of(owner, 2) == ["AA.AAA##BBB"]


@given(owner=parcels(gaps=False), width_px=WIDTHS)
@settings(max_examples=100, deadline=None)
def test_same_as_the_rule_read_aloud_but_for_what_small_polygons_keep(
    owner: NDArray[np.int32], width_px: float
) -> None:
    line = boundary(owner, owner == 0, width_px)
    row, col = (part.ravel() for part in np.indices(owner.shape))
    apart = 2 * np.hypot(row[:, None] - row, col[:, None] - col) - 1
    mine, other = owner.ravel()[:, None], owner.ravel()
    near = (apart < width_px) | ((apart == width_px) & (other > mine))
    expected = (near & (other != mine)).any(axis=1).reshape(owner.shape)
    assert not (line & ~expected).any()
    kept = expected & ~line
    for number in np.unique(owner[kept]):
        inside = np.argwhere((owner == number) & ~expected)
        for place in np.argwhere(kept & (owner == number)):
            assert not len(inside) or np.hypot(*(inside - place).T).min() > 2 * width_px


@given(owner=parcels(), width_px=WIDTHS)
@settings(max_examples=200, deadline=None)
def test_polygons_are_apart_and_none_is_lost(owner: NDArray[np.int32], width_px: float) -> None:
    left = np.where(boundary(owner, owner == 0, width_px), 0, owner)
    for one, other in ((left[1:], left[:-1]), (left[:, 1:], left[:, :-1])):
        assert not ((one != other) & (one > 0) & (other > 0)).any()
    # A pixel whose four neighbours are its polygon's own is enough to be left something.
    around = np.pad(owner, 1, mode="edge")
    sides = (around[:-2, 1:-1], around[2:, 1:-1], around[1:-1, :-2], around[1:-1, 2:])
    deep = (owner > 0) & np.logical_and.reduce([side == owner for side in sides])
    assert set(np.unique(owner[deep])) <= set(np.unique(left))


@given(owner=parcels(), width_px=WIDTHS, data=st.data())
@settings(max_examples=200, deadline=None)
def test_the_same_in_any_window(owner: NDArray[np.int32], width_px: float, data: st.DataObject) -> None:
    halo = halo_px(width_px)
    whole = np.pad(owner, halo + 3)
    line = boundary(whole, whole == 0, width_px)[halo + 3 :, halo + 3 :]
    top, left = (data.draw(st.integers(0, length - 1)) for length in owner.shape)
    height, width = (data.draw(st.integers(1, length)) for length in owner.shape)
    wide = np.pad(owner, halo)[top : top + height + 2 * halo, left : left + width + 2 * halo]
    part = boundary(wide, wide == 0, width_px)[halo:-halo, halo:-halo]
    rows, cols = min(height, len(owner) - top), min(width, owner.shape[1] - left)
    np.testing.assert_array_equal(part[:rows, :cols], line[top : top + rows, left : left + cols])


def test_a_strip_keeps_its_ridge() -> None:
    strip = owners(*["AAAABBBCCCC"] * 5)
    strip[strip == 2], strip[strip == 3] = 4, 2
    assert line_of(strip, 4) == ["AA##" + "#D#" + "##BB"] * 5


def test_of_strips_side_by_side_each_keeps_pixels_of_its_own() -> None:
    assert line_of(owners(*["AABBCC"] * 4), 2) == ["A#BB#C"] * 4
    assert line_of(owners(*["AABBCCDD"] * 4), 2) == ["A#B#CC#D"] * 4
    # Of strips of one pixel only the smallest can be kept, the others would touch.
    assert line_of(owners(*["ABC"] * 4), 2) == ["##C"] * 4


def test_the_tip_of_a_wedge_is_line_to_its_end() -> None:
    row, col = np.mgrid[:40, :60]
    owner = np.where(abs(row - 20) < col / 4, 3, np.where(row < 20, 1, 2)).astype(np.int32)
    left = np.where(boundary(owner, owner == 0, 3), 0, owner) == 3
    assert left.any(axis=0).argmax() > 4
    # In one piece: no column of it is empty once it has begun.
    assert left.any(axis=0)[left.any(axis=0).argmax() :].all()
