"""Lines without stairs: arcs run through the middles of pixel edges instead of along them.

An arc is drawn from the middle of one pixel edge to the middle of the next. A border at any slope is then no
further from its true place on one side than on the other, where following the corners of pixels would keep
either the inner or the outer ones of them. With probabilities the points leave the middles: each goes to
where, between the centres of the two pixels, both classes are equally likely (linear interpolation, as
marching squares does it; Lorensen & Cline 1987 for the cube).

Around a pixel corner, every line stays within the square of the four pixel centres, and no two cross there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.vector.arcs import Arcs
from geoseg.vector.corners import EAST, NORTH, SOUTH, WEST, Band, Corners
from geoseg.vector.ragged import ranges
from geoseg.vector.simplify_arcs import simplify_arcs, smooth_arcs
from geoseg.vector.trace import Drawing

Probabilities = Callable[[Band], tuple[NDArray[Any], NDArray[Any]]]
"""Gives, on the rows of a band, the one above it first, the class ids (1 + h, W), negative or beyond K where
they are none, and the probabilities (K, 1 + h, W)."""

_LEAST_SIDE = 2
"""Pixels that both lines at a bend must have for it to be no step of a stair."""

_MARGIN = 0.02
"""Least distance of a point from the pixel centres, in pixels: lines never meet there."""


@dataclass(frozen=True, kw_only=True)
class Drawer:
    """Draws arcs through the middles of edges, simplified and smoothed.

    Attributes:
        tolerance_px: see :func:`geoseg.vector.simplify_arcs.simplify_arcs`.
        rounds: of corner cutting.
        probabilities: of the classes, or ``None``.
    """

    tolerance_px: float
    rounds: int = 0
    probabilities: Probabilities | None = None

    def __call__(self, band: Band, corners: Corners, arcs: Arcs) -> Drawing:
        """Draw the arcs of a band; bands must be cut at the same rows whenever a raster is drawn.

        That is because lines have a fixed point where they cross from one band to the next.
        """
        points, offsets = through_middles(band, corners, arcs, every=self.probabilities is not None)
        if self.probabilities is not None:
            moved = displaced(points, band, *self.probabilities(band))
            points = with_nodes(points, moved, offsets, arcs, corners)
        cut_rows = (band.top - 0.5, band.top + band.rows - 0.5)
        kept = simplify_arcs(points, offsets, self.tolerance_px, cut_rows=cut_rows)
        points, offsets = points[kept], np.concatenate([[0], np.cumsum(kept)])[offsets]
        if self.rounds:
            points, offsets = smooth_arcs(points, offsets, self.rounds)
        return Drawing(points=points, offsets=offsets, stubs=True)


def through_middles(
    band: Band, corners: Corners, arcs: Arcs, *, every: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points of arcs through the middles of their edges.

    Nodes stay where they are, and so do bends between two lines of at least two pixels: a digital straight
    line of any slope has steps of one pixel, so these are corners of the thing itself. A loop begins and ends
    at its first point after its first corner in row-major order, or there.

    Args:
        band: where the arcs are.
        corners: its corners.
        arcs: its arcs.
        every: whether all edges of a straight line get a point, or only the first and the last.

    Returns:
        points (P, 2) in pixel space and where each arc begins in them (A + 1,).
    """
    # In half pixels: a corner is one from the first middle; a stub is a middle itself.
    at = np.stack([2 * corners.x[arcs.corners].astype(np.int64), corners.twice_y(band)[arcs.corners]], axis=1)
    # All vertices but the last of each arc begin a straight line; arc a begins with line offsets[a] - a.
    begins_line = np.ones(len(at), np.bool_)
    begins_line[arcs.offsets[1:] - 1] = False
    start = np.flatnonzero(begins_line)
    first_line = arcs.offsets - np.arange(len(arcs) + 1)
    step = at[start + 1] - at[start]
    length = np.abs(step).sum(axis=1)
    first, last = 1 + at[start, 1] % 2, length - 1 - at[start + 1, 1] % 2
    middles = np.maximum((last - first) // 2 + 1, 0)
    stride = np.full(len(start), 2)
    if not every:
        middles = np.minimum(middles, 2)
        stride = np.where(middles == 2, last - first, stride)
    real = _real_corners(length, first_line, arcs)
    count = middles + real
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    along = np.repeat(first - stride * real, count) + np.repeat(stride, count) * within
    along[(np.cumsum(count) - count)[real]] = 0
    points = np.repeat(at[start], count, axis=0) + np.repeat(np.sign(step), count, axis=0) * along[:, None]
    return _with_ends(at, arcs, points, np.add.reduceat(count, first_line[:-1]))


def _real_corners(length: NDArray[np.int64], first_line: NDArray[np.int64], arcs: Arcs) -> NDArray[np.bool_]:
    """Of each line, whether it begins at a bend that is a corner of the thing itself; never at a node."""
    before = np.empty_like(length)
    before[1:] = length[:-1]
    before[first_line[:-1]] = 0
    loops = np.arange(len(arcs) - arcs.loops, len(arcs))
    before[first_line[loops]] = length[first_line[loops + 1] - 1]
    return np.minimum(before, length) >= 2 * _LEAST_SIDE


def _with_ends(
    at: NDArray[np.int64], arcs: Arcs, inner: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Put the nodes around the inner points of each arc; a loop gets its first point again at its end."""
    open_arcs, loops = slice(0, len(arcs) - arcs.loops), slice(len(arcs) - arcs.loops, len(arcs))
    extra = np.full(len(arcs), 2)
    extra[loops] = 1
    offsets = np.concatenate([[0], np.cumsum(counts + extra)])
    points = np.empty((offsets[-1], 2))
    points[ranges(offsets[:-1] + (extra == 2), counts)] = inner
    points[offsets[:-1][open_arcs]] = at[arcs.offsets[:-1][open_arcs]]
    points[offsets[1:][open_arcs] - 1] = at[arcs.offsets[1:][open_arcs] - 1]
    points[offsets[1:][loops] - 1] = points[offsets[:-1][loops]]
    return points / 2.0, offsets


def displaced(
    points: NDArray[np.float64], band: Band, class_ids: NDArray[Any], probabilities: NDArray[Any]
) -> NDArray[np.float64]:
    """Move middles of edges to where the classes on either side are equally likely.

    A point stays where it is when either side has no probability, is no data, or is less likely to be what it
    is than what the other side is.

    Args:
        points: (P, 2) as :func:`through_middles` gives ``every`` one.
        band: where they are.
        class_ids: (1 + h, W), the row above the band first.
        probabilities: (K, 1 + h, W) in any unit.
    """
    moved = points.copy()
    twice = np.rint(points * 2).astype(np.int64)
    odd = twice % 2 != 0
    for axis in (0, 1):  # the middle of a vertical edge has a y between two lines; it moves along x
        at = np.flatnonzero(odd[:, 1 - axis] & ~odd[:, axis])
        column, row = twice[at, 0] // 2, twice[at, 1] // 2 - band.top + 1
        before = (row, column - 1) if axis == 0 else (row - 1, column)
        limit = band.width if axis == 0 else band.height
        inside = (twice[at, axis] > 0) & (twice[at, axis] < 2 * limit)
        at, row, column = at[inside], row[inside], column[inside]
        before = before[0][inside], before[1][inside]
        moved[at, axis] += _shift(class_ids, probabilities, before, (row, column))
    return moved


def with_nodes(
    points: NDArray[np.float64],
    moved: NDArray[np.float64],
    offsets: NDArray[np.int64],
    arcs: Arcs,
    corners: Corners,
) -> NDArray[np.float64]:
    """Let nodes follow the lines that end there: by the mean shift of upright ones, and that of level ones.

    They stay between the four pixel centres around them, and on the edge of the raster, whose edges do not
    move.

    Args:
        points: (P, 2) before.
        moved: (P, 2) by :func:`displaced`, nodes not yet.
        offsets: (A + 1,) where arcs begin.
        arcs: the arcs.
        corners: their corners.
    """
    count = len(arcs) - arcs.loops
    node = np.concatenate([arcs.first[:count], arcs.last[:count]])
    arm = np.concatenate([arcs.first_arm[:count], arcs.last_arm[:count]])
    at = np.concatenate([offsets[:count], offsets[1 : count + 1] - 1])
    beside = np.concatenate([offsets[:count] + 1, offsets[1 : count + 1] - 2])
    shift = (moved - points)[beside]
    is_stub = (node < corners.tops) | (node >= len(corners) - corners.bottoms)
    placed = moved.copy()
    for axis, arms in ((0, (NORTH, SOUTH)), (1, (WEST, EAST))):
        ends = np.isin(arm, arms)
        total = np.bincount(node[ends], weights=shift[ends, axis], minlength=len(corners))
        lines = np.bincount(node[ends], minlength=len(corners))
        mean = total / np.maximum(lines, 1)
        placed[at[~is_stub], axis] += mean[node[~is_stub]]
    return placed


def _shift(
    labels: NDArray[Any],
    probabilities: NDArray[Any],
    before: tuple[NDArray[np.int64], NDArray[np.int64]],
    after: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.float64]:
    """Where between two pixels their classes are equally likely, from the middle between them, (P,)."""
    one, other = labels[before].astype(np.int64), labels[after].astype(np.int64)
    classes = len(probabilities)
    known = (one >= 0) & (other >= 0) & (one < classes) & (other < classes)
    one, other = np.where(known, one, 0), np.where(known, other, 0)
    lead = probabilities[one, *before].astype(np.float64) - probabilities[other, *before]
    lag = probabilities[other, *after].astype(np.float64) - probabilities[one, *after]
    sure = known & (lead >= 0.0) & (lag >= 0.0) & (lead + lag > 0.0)
    share = np.divide(lead, lead + lag, out=np.full(len(lead), 0.5), where=sure)
    shift: NDArray[np.float64] = np.clip(share, _MARGIN, 1.0 - _MARGIN) - 0.5
    return shift
