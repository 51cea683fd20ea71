"""Which of many points lie in a triangle: the question that decides whether a corner may be cut off.

Points are sorted by the cell of a coarse grid, row by row, so that the cells a triangle covers in one row of
the grid are one stretch of the sorted points. Most triangles are tiny and have only points of their own line
around them; those are told from the smallest and largest index in each cell, without a look at any point.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_CELL_PX = 4.0
_CELLS_PER_POINT = (1, 8)
"""Least and most cells: fewer are slow where points are crowded, more take memory where they are few."""
_PAIRS_AT_ONCE = 1 << 17
"""Work arrays of this length stay in the cache."""
_FINEST = 1e-7
"""Smallest cell as a share of the largest coordinate, far above the rounding of any coordinate."""
_MARGIN = 1e-3
"""What a row of cells is widened by, in cells: more than all rounding in :func:`_stretch`."""
_ROUNDING = 4e-16
"""Bound on the relative rounding of :func:`_turn` (Shewchuk 1997: (3 + 16 eps) eps, here rounded up)."""


@dataclass(frozen=True, kw_only=True)
class Triangles:
    """Closed triangles, each with a stretch of points that do not count.

    Attributes:
        x, y: (3, T) corners, in pixels.
        skip_from, skip_to: (T,) points with an index from the one to the other, both included, do not count.
    """

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    skip_from: NDArray[np.int64]
    skip_to: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.skip_from)

    def only(self, which: NDArray[np.int64] | slice) -> Triangles:
        """Some of them."""
        return Triangles(
            x=self.x[:, which],
            y=self.y[:, which],
            skip_from=self.skip_from[which],
            skip_to=self.skip_to[which],
        )


@dataclass(frozen=True, kw_only=True)
class _Boxes:
    """Cells that triangles lie in, (T,) each, first and last ones included."""

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    top: NDArray[np.int64]
    bottom: NDArray[np.int64]

    def only(self, which: NDArray[np.int64] | slice) -> _Boxes:
        return _Boxes(
            left=self.left[which], right=self.right[which], top=self.top[which], bottom=self.bottom[which]
        )


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """Square cells over all points; (x0, y0) is the upper left corner, ``size`` the side, in pixels."""

    x0: float
    y0: float
    size: float
    columns: int
    rows: int

    @classmethod
    def over(cls, x: NDArray[np.float64], y: NDArray[np.float64]) -> _Grid:
        x0, x1, y0, y1 = (float(bound) for bound in (x.min(), x.max(), y.min(), y.max()))
        width, height = x1 - x0, y1 - y0
        cells = min(
            max(width * height / _CELL_PX**2, _CELLS_PER_POINT[0] * len(x)), _CELLS_PER_POINT[1] * len(x)
        )
        largest = max(abs(bound) for bound in (x0, x1, y0, y1))
        # The second: points all in a row do not make more cells either.
        size = max((width * height / cells) ** 0.5, max(width, height) / cells, _FINEST * largest) or 1.0
        return cls(x0=x0, y0=y0, size=size, columns=int(width / size) + 1, rows=int(height / size) + 1)

    def column(self, x: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.clip((x - self.x0) * (1.0 / self.size), 0, self.columns - 1).astype(np.int64)

    def row(self, y: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.clip((y - self.y0) * (1.0 / self.size), 0, self.rows - 1).astype(np.int64)

    def boxes(self, triangles: Triangles) -> _Boxes:
        # Rounding never turns an order round: a point within the bounds is in one of these cells.
        return _Boxes(
            left=self.column(_least(triangles.x)),
            right=self.column(_greatest(triangles.x)),
            top=self.row(_least(triangles.y)),
            bottom=self.row(_greatest(triangles.y)),
        )


class Crowd:
    """Points, fixed once and for all, that triangles are held against. A point is called by its index."""

    def __init__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
        """Sort the points (V,), in pixels; at least one."""
        self._x, self._y = x, y
        self._grid = grid = _Grid.over(x, y)
        cells = grid.columns * grid.rows
        index = np.arange(len(x))
        cell = grid.row(y) * grid.columns + grid.column(x)
        self._start = np.zeros(cells + 1, np.int32)
        np.cumsum(np.bincount(cell, minlength=cells), out=self._start[1:])
        # The last to be written stays.
        self._lowest = np.full(cells, len(x), np.int32)
        self._lowest[cell[::-1]] = index[::-1]
        self._highest = np.full(cells, -1, np.int32)
        self._highest[cell] = index
        # One sort of plain numbers is several times faster than an argsort.
        cell <<= 32
        cell |= index
        cell.sort()
        self._by_cell = cell.astype(np.int32)  # the lower half

    def inside(self, triangles: Triangles) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Pairs of a triangle and a point in it that counts, both (P,), in portions.

        Points with exactly the coordinates of a corner are left out. Those so close to an edge that rounding
        hides their side of it are in; there are none if coordinates are multiples of 0.5 below 2**20.
        """
        boxes = self._grid.boxes(triangles)
        doubtful = np.flatnonzero(~self._alone(triangles, boxes))
        boxes = boxes.only(doubtful)
        for some in _portions(boxes.bottom - boxes.top + 1):
            near = triangles.only(doubtful[some])
            owner, first, last = self._stretches(near, boxes.only(some))
            for few in _portions(last - first):
                which, position = _unfold(first[few], (last - first)[few])
                triangle, point = owner[few][which], self._by_cell[position].astype(np.int64)
                counts = (point < near.skip_from[triangle]) | (point > near.skip_to[triangle])
                triangle, point = triangle[counts], point[counts]
                within = _within(near, triangle, self._x[point], self._y[point])
                yield doubtful[some][triangle[within]], point[within]

    def _alone(self, triangles: Triangles, boxes: _Boxes) -> NDArray[np.bool_]:
        """Whether it is plain that no point in a triangle's cells counts; big triangles are not looked at."""
        alone = (boxes.right - boxes.left <= 1) & (boxes.bottom - boxes.top <= 1)
        for row in (boxes.top, boxes.bottom):
            for column in (boxes.left, boxes.right):
                cell = row * self._grid.columns + column
                alone &= self._lowest[cell] >= triangles.skip_from
                alone &= self._highest[cell] <= triangles.skip_to
        return alone

    def _stretches(
        self, triangles: Triangles, boxes: _Boxes
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Sorted points near triangles, a stretch a row of cells: triangle, first, one past the last."""
        grid = self._grid
        owner, row = _unfold(boxes.top, boxes.bottom - boxes.top + 1)
        left, right = boxes.left[owner], boxes.right[owner]
        # In two rows a triangle leaves few of the cells in its bounds free.
        tall = np.flatnonzero((boxes.bottom - boxes.top > 1)[owner])
        low, high = _reach(
            triangles.only(owner[tall]),
            grid.y0 + (row[tall].astype(np.float64) - _MARGIN) * grid.size,
            grid.y0 + (row[tall].astype(np.float64) + (1.0 + _MARGIN)) * grid.size,
        )
        left[tall] = np.maximum(left[tall], grid.column(low - _MARGIN * grid.size))
        right[tall] = np.minimum(right[tall], grid.column(high + _MARGIN * grid.size))
        first = self._start[row * grid.columns + left].astype(np.int64)
        last = self._start[row * grid.columns + right + 1].astype(np.int64)
        return owner, first, last


def _portions(counts: NDArray[np.int64]) -> Iterator[slice]:
    """Cut a list of things into pieces that count about ``_PAIRS_AT_ONCE`` at most, or have one thing."""
    portion = np.cumsum(counts) // _PAIRS_AT_ONCE
    cuts = np.flatnonzero(portion[1:] != portion[:-1]) + 1
    bounds = [0, *cuts.tolist(), len(counts)]
    return (slice(start, stop) for start, stop in pairwise(bounds) if start < stop)


def _unfold(
    first: NDArray[np.int64], count: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All numbers of stretches (S,): the stretch each belongs to, and the number itself."""
    owner = np.repeat(np.arange(len(count)), count)
    return owner, np.arange(len(owner)) + (first - (np.cumsum(count) - count))[owner]


def _reach(
    triangles: Triangles, top: NDArray[np.float64], bottom: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From which x to which each triangle reaches between two horizontal lines, (T,) each."""
    low, high = np.full(len(top), np.inf), np.full(len(top), -np.inf)
    for start, end in ((0, 1), (1, 2), (2, 0)):
        x, y = triangles.x[start], triangles.y[start]
        along, down = triangles.x[end] - x, triangles.y[end] - y
        # The ends of a level edge are ends of others too.
        meets = (down != 0.0) & (np.minimum(y, y + down) <= bottom) & (np.maximum(y, y + down) >= top)
        with np.errstate(over="ignore"):
            for line in (top, bottom):
                share = np.clip((line - y) / np.where(meets, down, 1.0), 0.0, 1.0)
                low = np.where(meets, np.minimum(low, x + share * along), low)
                high = np.where(meets, np.maximum(high, x + share * along), high)
    return low, high


def _within(
    triangles: Triangles, which: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Those of the points (P,) that lie in their triangle ``which`` (P,), and not at its corners."""
    # The bounds first: they are quick, and all that counts for a triangle flat as a line.
    near = np.flatnonzero(
        (x >= _least(triangles.x)[which])
        & (x <= _greatest(triangles.x)[which])
        & (y >= _least(triangles.y)[which])
        & (y <= _greatest(triangles.y)[which])
    )
    x, y = x[near], y[near]
    (xa, xb, xc), (ya, yb, yc) = triangles.x[:, which[near]], triangles.y[:, which[near]]
    corner = ((x == xa) & (y == ya)) | ((x == xb) & (y == yb)) | ((x == xc) & (y == yc))
    turns = np.stack([_turn(xa, ya, xb, yb, x, y), _turn(xb, yb, xc, yc, x, y), _turn(xc, yc, xa, ya, x, y)])
    within = (_least(turns) >= 0.0) | (_greatest(turns) <= 0.0)
    inside: NDArray[np.int64] = near[within & ~corner]
    return inside


def _least(of_three: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the first axis (3, N); for so few it takes a fraction of the time of a reduction."""
    least: NDArray[np.float64] = np.minimum(np.minimum(of_three[0], of_three[1]), of_three[2])
    return least


def _greatest(of_three: NDArray[np.float64]) -> NDArray[np.float64]:
    greatest: NDArray[np.float64] = np.maximum(np.maximum(of_three[0], of_three[1]), of_three[2])
    return greatest


def _turn(
    xa: NDArray[np.float64],
    ya: NDArray[np.float64],
    xb: NDArray[np.float64],
    yb: NDArray[np.float64],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Side of the line from a to b that a point is on: above 0, below 0, or 0 if it is on it or may be."""
    one, two = (xa - x) * (yb - y), (ya - y) * (xb - x)
    turn = one - two
    sure = np.abs(turn) > _ROUNDING * (np.abs(one) + np.abs(two))
    return np.where(sure, turn, 0.0)
