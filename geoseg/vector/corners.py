"""Where outlines turn or meet: the pixel corners that matter, found in a band of rows.

Between two pixels of different labels lies an edge; every pixel corner has up to four arms along which edges
run. A corner counts unless its edges go straight through it. Corners of two arms are bends of one line;
those of three or four are nodes, where lines end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NORTH, SOUTH, WEST, EAST = range(4)
"""Arms of a corner, as bits ``1 << arm`` of its code, and headings of what leaves along them."""

OPPOSITE = np.array([SOUTH, NORTH, EAST, WEST])

_ROWS_AT_ONCE = 64  # a few hundred kilobytes of edges: they stay in the processor's cache


@dataclass(frozen=True, kw_only=True)
class Band:
    """Consecutive rows of a label raster.

    Attributes:
        labels: (1 + h, W) integers: the row above the band, then its own. What is above the raster's first
            row is never looked at.
        top: row of the raster that is the band's first.
        height: rows of the whole raster.
        values: (h, W) numbers to sum up over regions, such as confidence; not-a-number is left out.
    """

    labels: NDArray[Any]
    top: int
    height: int
    values: NDArray[np.float32] | None = None

    @property
    def rows(self) -> int:
        """Rows of the band itself, h."""
        return len(self.labels) - 1

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.labels.shape[1])

    @property
    def is_first(self) -> bool:
        """Whether nothing lies above."""
        return self.top == 0

    @property
    def is_last(self) -> bool:
        """Whether nothing lies below."""
        return self.top + self.rows == self.height


@dataclass(frozen=True, kw_only=True)
class Corners:
    """Corners of a band, in row-major order; what :func:`find_corners` returns.

    A band has the corners on the lines above its rows; the last band also those of the line below. Lines
    that go on beyond the band end in stubs: corners of one arm, half a pixel beyond the outermost corners, in
    the middle of the vertical edges of the rows that the band shares with its neighbours: first of all those
    at the top, last of all those at the bottom.

    Attributes:
        x: (C,) int32 column.
        line: (C,) int32, 0 above the band's first row; -1 for stubs at the top, h for stubs at the bottom.
        code: (C,) uint8 arms, a bit each.
        tops, bottoms: number of stubs at the top and at the bottom.
        by_column: (C,) corners sorted by column, then by line.
        vertical: (h, W + 1) bool, whether there is an edge on the left of each pixel, and at the far right.
    """

    x: NDArray[np.int32]
    line: NDArray[np.int32]
    code: NDArray[np.uint8]
    tops: int
    bottoms: int
    by_column: NDArray[np.int64]
    vertical: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.x)

    def twice_y(self, band: Band) -> NDArray[np.int64]:
        """Twice the y of each corner in the raster (C,): stubs lie between two lines."""
        twice = 2 * (self.line.astype(np.int64) + band.top)
        twice[: self.tops] += 1
        twice[len(self) - self.bottoms :] -= 1
        return twice


def find_corners(band: Band) -> Corners:
    """Corners of a band. The edge of the raster is an edge like any other."""
    vertical, horizontal = _edges(band)
    lines = len(horizontal)
    width = band.width + 1
    found = []
    for top in range(0, lines, _ROWS_AT_ONCE):
        stop = min(top + _ROWS_AT_ONCE, lines)
        north, south = vertical[top:stop], vertical[top + 1 : stop + 1]
        west, east = horizontal[top:stop, :-1], horizontal[top:stop, 1:]
        matters = (north ^ south) | (west ^ east) | (north & west)
        found.append(np.flatnonzero(matters) + top * width)
    at = np.concatenate(found)
    line = at // width
    beyond = at + line  # the same place in `horizontal`, which is wider by one
    code = vertical.ravel()[at].astype(np.uint8)
    for arm, edges, place in ((SOUTH, vertical, at + width), (WEST, horizontal, beyond)):
        code |= edges.ravel()[place].astype(np.uint8) << np.uint8(arm)
    code |= horizontal.ravel()[beyond + 1].astype(np.uint8) << np.uint8(EAST)

    tops = np.flatnonzero(vertical[0])
    bottoms = np.flatnonzero(vertical[band.rows]) if not band.is_last else tops[:0]
    x = np.concatenate([tops, at - line * width, bottoms]).astype(np.int32)
    return Corners(
        x=x,
        line=np.concatenate([np.full(len(tops), -1), line, np.full(len(bottoms), band.rows)]).astype(
            np.int32
        ),
        code=np.concatenate(
            [
                np.full(len(tops), 1 << SOUTH, np.uint8),
                code,
                np.full(len(bottoms), 1 << NORTH, np.uint8),
            ]
        ),
        tops=len(tops),
        bottoms=len(bottoms),
        by_column=_by_column(x),
        vertical=vertical[1 : band.rows + 1],
    )


def _edges(band: Band) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Vertical edges of the row above each line and of the last row, and horizontal edges of each line.

    The horizontal ones have a column without edge on either side.
    """
    labels, rows, width = band.labels, band.rows, band.width
    lines = rows + band.is_last
    vertical = np.zeros((lines + 1, width + 1), np.bool_)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=vertical[: rows + 1, 1:-1])
    vertical[: rows + 1, 0] = vertical[: rows + 1, -1] = True
    horizontal = np.zeros((lines, width + 2), np.bool_)
    np.not_equal(labels[1:], labels[:-1], out=horizontal[:rows, 1:-1])
    if band.is_first:
        vertical[0] = False
        horizontal[0, 1:-1] = True
    if band.is_last:
        horizontal[rows, 1:-1] = True
    return vertical, horizontal


def _by_column(x: NDArray[np.int32]) -> NDArray[np.int64]:
    """Order of (C,) row-major corners by column; numpy sorts 16 bits at a time by counting."""
    order = np.argsort(x.astype(np.uint16), kind="stable")
    if len(x) and x.max() > np.iinfo(np.uint16).max:
        order = order[np.argsort((x[order] >> 16).astype(np.uint16), kind="stable")]
    return order
