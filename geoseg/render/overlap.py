"""What chips that overlap say of the same ground: a table of detections, and of pairs of them that meet.

Two detections are compared within the area that both of their chips see, for beyond it one of them cannot
know.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.render.gather import Gathered, SeenRow, lines_between
from geoseg.render.grid import Axis, ChipGrid
from geoseg.vector.regions import Runs

RIM_PX = 4
"""A detection that comes this near to the border of its chip may go on beyond: networks draw blunt masks."""

ALIKE = 0.5
"""Intersection over union from which on two detections are of one object."""

MOSTLY, LEAST = 0.8, 0.2
"""So much of the smaller and of the larger one must be common for the smaller to be a part of the larger."""

_FAR = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class Table:
    """All D detections of a scene, without their masks.

    Attributes:
        label: (D,) uint8 class id.
        score: (D,) float32.
        area: (D,) int64 pixels.
        own: (D,) int64 pixels that its chip sees deepest.
        depth: (D,) int64 pixels from its box to the nearest border of its chip within the scene.
    """

    label: NDArray[np.uint8]
    score: NDArray[np.float32]
    area: NDArray[np.int64]
    own: NDArray[np.int64]
    depth: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Detections of different chips that have pixels in common, (P,) each.

    Attributes:
        one, other: their numbers.
        common: pixels in common.
        alike: whether they agree where both chips see.
        joins: whether they may be parts of one object.
    """

    one: NDArray[np.int64]
    other: NDArray[np.int64]
    common: NDArray[np.int64]
    alike: NDArray[np.bool_]
    joins: NDArray[np.bool_]


def compare(gathered: Gathered, advance: Callable[[], None]) -> tuple[Table, Pairs]:
    """Go through all chips once.

    Args:
        gathered: the detections.
        advance: called for every row of chips.
    """
    grid = gathered.blocks.grid
    tables, pairs = [], [np.zeros((0, 5), np.int64)]
    for index, start in enumerate(grid.rows.starts):
        gathered.forget_above(index)
        row = gathered.row(index)
        tables.append(_table(row, grid))
        comparison = _Comparison(grid, tables[-1].depth)
        found = comparison.of(row, row)
        below = index + 1
        while below < len(grid.rows) and grid.rows.starts[below] < start + grid.size_px:
            found += comparison.of(row, gathered.row(below))
            below += 1
        # As numbers, of which there may be millions: objects take five times the room.
        pairs.append(np.array(found, np.int64).reshape(-1, 5))
        advance()
    names = ("label", "score", "area", "own", "depth")
    columns = np.concatenate(pairs).T
    return (
        Table(**{name: np.concatenate([getattr(table, name) for table in tables]) for name in names}),
        Pairs(
            one=columns[0],
            other=columns[1],
            common=columns[2],
            alike=columns[3].astype(np.bool_),
            joins=columns[4].astype(np.bool_),
        ),
    )


def _table(row: SeenRow, grid: ChipGrid) -> Table:
    found = row.detections
    area = row.areas()
    depth = np.minimum(
        _depth(grid.rows, found.row, row.top, row.bottom),
        _depth(grid.columns, found.column, row.left, row.right),
    )
    lines_y, lines_x = lines_between(grid.rows), lines_between(grid.columns)
    first_y, end_y = lines_y[found.row], lines_y[found.row + 1]
    first_x, end_x = lines_x[found.column], lines_x[found.column + 1]
    inside = (row.top >= first_y) & (row.bottom <= end_y) & (row.left >= first_x) & (row.right <= end_x)
    outside = (row.bottom <= first_y) | (row.top >= end_y) | (row.right <= first_x) | (row.left >= end_x)
    own = np.where(outside, 0, area)
    # Only of those that may be put together from parts.
    for i in np.flatnonzero(~inside & ~outside & (depth < RIM_PX)).tolist():
        own[i] = np.count_nonzero(
            row.mask(i)[
                max(int(first_y[i] - row.top[i]), 0) : max(int(end_y[i] - row.top[i]), 0),
                max(int(first_x[i] - row.left[i]), 0) : max(int(end_x[i] - row.left[i]), 0),
            ]
        )
    return Table(label=found.label, score=found.score, area=area, own=own, depth=depth)


def _depth(
    axis: Axis, index: NDArray[np.int32], first: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How far spans along an axis are from the nearest border of their chip; the scene's edge is none."""
    start = np.array(axis.starts, np.int64)[index]
    before = np.where(start > 0, first - start, _FAR)
    after = np.where(start + axis.size < axis.length, start + axis.size - end, _FAR)
    return np.minimum(before, after)


class _Comparison:
    """Compares detections of a row of chips with those of the same or another row."""

    def __init__(self, grid: ChipGrid, depth: NDArray[np.int64]) -> None:
        self._grid = grid
        self._depth = depth

    def of(self, row: SeenRow, other: SeenRow) -> list[tuple[int, int, int, bool, bool]]:
        """Pairs that have pixels in common."""
        starts, size = self._grid.columns.starts, self._grid.size_px
        found = []
        for column in np.unique(row.detections.column).tolist():
            low = column + 1 if other is row else int(np.searchsorted(starts, starts[column] - size, "right"))
            high = int(np.searchsorted(starts, starts[column] + size))
            mine = slice(int(row.begins[column]), int(row.begins[column + 1]))
            theirs = slice(int(other.begins[low]), int(other.begins[high])) if low < high else slice(0)
            meet = (
                (row.top[mine, None] < other.bottom[theirs])
                & (row.bottom[mine, None] > other.top[theirs])
                & (row.left[mine, None] < other.right[theirs])
                & (row.right[mine, None] > other.left[theirs])
            )
            for i, j in np.argwhere(meet).tolist():
                pair = self._pair(row, mine.start + i, other, theirs.start + j)
                if pair is not None:
                    found.append(pair)
        return found

    def _pair(self, row: SeenRow, i: int, other: SeenRow, j: int) -> tuple[int, int, int, bool, bool] | None:
        both = self._both_see(row, i, other, j)
        one, two = _cut(row, i, both), _cut(other, j, both)
        common = int(np.count_nonzero(one & two))
        if not common:
            return None
        sizes = sorted((int(np.count_nonzero(one)), int(np.count_nonzero(two))))
        alike = common >= ALIKE * (sum(sizes) - common)
        joins = alike or (
            row.detections.label[i] == other.detections.label[j]
            and common >= MOSTLY * sizes[0]
            and common >= LEAST * sizes[1]
        )
        if not joins and self._depth[i] < RIM_PX:
            joins = _share_a_piece(one, two)
        return row.first + i, other.first + j, common, alike, bool(joins)

    def _both_see(self, row: SeenRow, i: int, other: SeenRow, j: int) -> tuple[int, int, int, int]:
        """Top, left, bottom, right of where both are, within what both chips see."""
        rows, columns, size = self._grid.rows.starts, self._grid.columns.starts, self._grid.size_px
        tops = rows[row.detections.row[i]], rows[other.detections.row[j]]
        lefts = columns[row.detections.column[i]], columns[other.detections.column[j]]
        return (
            max(*tops, int(min(row.top[i], other.top[j]))),
            max(*lefts, int(min(row.left[i], other.left[j]))),
            min(min(tops) + size, int(max(row.bottom[i], other.bottom[j]))),
            min(min(lefts) + size, int(max(row.right[i], other.right[j]))),
        )


def _cut(row: SeenRow, index: int, box: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """A mask in a box of the scene."""
    top, left, bottom, right = box
    values = np.zeros((bottom - top, right - left), np.bool_)
    at_y, at_x = int(row.top[index]), int(row.left[index])
    mask = row.mask(index)[max(top - at_y, 0) : bottom - at_y, max(left - at_x, 0) : right - at_x]
    first_y, first_x = max(at_y - top, 0), max(at_x - left, 0)
    values[first_y : first_y + mask.shape[0], first_x : first_x + mask.shape[1]] = mask
    return values


def _share_a_piece(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> bool:
    """Whether any two pieces that hang together are alike.

    A border may cut an object so that what is left of it does not hang together: then each chip has
    detections of other sets of pieces.
    """
    first, second = _pieces(one), _pieces(two)
    both = (first >= 0) & (second >= 0)
    pairs, common = np.unique(np.stack([first[both], second[both]], axis=1), axis=0, return_counts=True)
    sizes = np.bincount(first[first >= 0])[pairs[:, 0]] + np.bincount(second[second >= 0])[pairs[:, 1]]
    return bool((common >= ALIKE * (sizes - common)).any())


def _pieces(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Number of the 4-connected piece of each pixel (h, w), -1 for none."""
    runs = Runs.of(mask)
    region = np.where(runs.label, runs.region, -1)
    return np.repeat(region, runs.length).reshape(mask.shape)
