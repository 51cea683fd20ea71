"""Straightens and rounds the borders between regions, every border once and without one crossing another.

The borders are arcs: lines from node to node, where a node is a point at which arcs end. What gets in the way
of a change is found with :class:`geoseg.vector.crowd.Crowd`; which regions an arc divides does not matter.

Why arcs stay apart: a step takes the corner b of a line a-b-c away, if no vertex but these three lies in
the closed triangle abc; the vertices are those its arc has left, and all that other arcs ever had. Suppose
that no two edges crossed or touched before, other than at vertices they share. A line that meets the new
edge ac and has no vertex in the triangle passes right through it, so it also meets ab or bc, which it did
not. Only a line from a to c itself is not found that way. It is a whole arc, and so is a-b-c, as a and c
are nodes then; but arcs that share both ends keep a vertex in between. Steps only ever take vertices away.
What is allowed stays allowed then until one of the three is gone, and corners that are not neighbours may
be cut off at once, in one arc and in different ones. And as other arcs count with all they ever had, what
becomes of an arc does not depend on how fast others are straightened.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from geoseg.vector.crowd import Crowd, Triangles

_AT_ONCE = 1 << 16
"""Work arrays of this length stay in the cache."""

_NEVER = np.uint64(2**64 - 1)
_STAYS, _ACTIVE, _WAITS = range(3)
_FREE, _FOREIGN = -1, -2


def simplify_arcs(
    points: NDArray[np.float64],
    offsets: NDArray[np.int64],
    tolerance_px: float,
    *,
    cut_rows: tuple[float, float] | None,
) -> NDArray[np.bool_]:
    """Take vertices away that matter little, without making arcs touch.

    A vertex may go while no vertex that the arc ever had between its neighbours lies further than
    ``tolerance_px`` from the straight line between them: no line moves by more than that, as with Douglas &
    Peucker (1973), but built from the bottom up, as Visvalingam & Whyatt (1993) do, the smallest moves first.
    By the area of their triangles instead, a line that is all but level keeps a step of one pixel however
    long its stairs are. A vertex stays while another lies in its triangle (see the module). Goes in rounds:
    in each, every vertex goes that moves the line less than both its neighbours would. Moves that agree to
    1/16 of their squares count as equal, and of equals a hash of the coordinates decides; otherwise a long
    regular stair, or a line that bends more and more, would lose one vertex a round.

    Arcs never collapse: a loop keeps a triangle, and an arc that has both ends in common with another, or
    both on the same cut row, keeps one vertex between them. The result for an arc is the same with its
    vertices in reverse order, and with any other arcs around whose vertices are not in its way.

    Args:
        points: (V, 2) vertices (x, y), arc by arc, in pixels. Neighbours in an arc differ. Arcs do not cross,
            and touch each other or themselves only at their ends, where coordinates are equal.
        offsets: (A + 1,) arc a has the vertices from ``offsets[a]`` up to ``offsets[a + 1]``, at least two.
            The first and the last stay; in a loop they are equal.
        tolerance_px: in pixels; with 0 only vertices within straight lines go.
        cut_rows: y of the lines where arcs were cut, beyond which others go on with the rest of them.

    Returns:
        (V,) which vertices stay.
    """
    if not len(points):
        return np.ones(0, np.bool_)
    spare = np.maximum(np.diff(offsets) - 2 - _least_kept(points, offsets, cut_rows), 0)
    lines = _Lines(points, offsets, max_move=tolerance_px, spare=spare)
    while lines.straighten():
        pass
    return lines.kept


def smooth_arcs(
    points: NDArray[np.float64], offsets: NDArray[np.int64], rounds: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Round the corners of arcs off, without making arcs touch.

    Chaikin (1974): every vertex but the first and the last of an arc is replaced by two, a quarter of the
    way to its neighbours. It stays if it is no corner, or if another vertex lies in the triangle that would
    be cut off. Edges then do not enter that triangle, nor do other such triangles, as two of their sides
    are edges.

    Args:
        points: (V, 2) vertices (x, y), arc by arc, in pixels, as for :func:`simplify_arcs`.
        offsets: (A + 1,) where arcs begin and end.
        rounds: how often; each at most doubles the vertices.

    Returns:
        Vertices (V2, 2) and offsets (A + 1,).
    """
    for _ in range(rounds if len(points) else 0):
        points, offsets = _cut_corners(points, offsets)
    return points, offsets


def _cut_corners(
    points: NDArray[np.float64], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    x, y = points.T.copy()
    vertex = np.flatnonzero(~_ends(offsets, len(points)))
    vertex = vertex[_double_area(x, y, vertex - 1, vertex, vertex + 1) != 0.0]
    before = 0.75 * points[vertex] + 0.25 * points[vertex - 1]
    after = 0.75 * points[vertex] + 0.25 * points[vertex + 1]
    crowd, blocked = Crowd(x, y), np.zeros(len(vertex), np.bool_)
    for some in _portions(len(vertex)):
        triangles = Triangles(
            x=np.stack([before[some, 0], x[vertex[some]], after[some, 0]]),
            y=np.stack([before[some, 1], y[vertex[some]], after[some, 1]]),
            # Its neighbours are on the edges beyond the triangle.
            skip_from=vertex[some] - 1,
            skip_to=vertex[some] + 1,
        )
        for triangle, _ in crowd.inside(triangles):
            blocked[some][triangle] = True
    vertex, before, after = vertex[~blocked], before[~blocked], after[~blocked]
    counts = np.ones(len(points), np.int64)
    counts[vertex] = 2
    place = np.concatenate([[0], np.cumsum(counts)])
    smooth = np.repeat(points, counts, axis=0)
    smooth[place[vertex]], smooth[place[vertex] + 1] = before, after
    return smooth, place[offsets]


class _Lines:
    """Arcs while they lose vertices. A vertex is called by its index, an arc by its own.

    A vertex stays for now, is active (close, and as far as known nothing is in the way), or waits for one of
    its own arc, in the way, to go. ``kept`` (V,) tells which have not gone; ``_key`` orders the active ones.
    """

    def __init__(
        self,
        points: NDArray[np.float64],
        offsets: NDArray[np.int64],
        *,
        max_move: float,
        spare: NDArray[np.int64],
    ) -> None:
        """Weigh all vertices; arc a may lose ``spare[a]``."""
        count = len(points)
        self.kept = np.ones(count, np.bool_)
        self._x, self._y = points.T.copy()
        self._crowd = Crowd(self._x, self._y)
        self._max_move2, self._spare = max_move**2, spare.copy()
        self._first, self._last = offsets[:-1], offsets[1:] - 1
        self._arc = np.repeat(np.arange(len(spare), dtype=np.int32), np.diff(offsets))
        self._end = _ends(offsets, count)
        self._previous, self._next = np.arange(-1, count - 1), np.arange(1, count + 1)
        self._hash = _hash(self._x, self._y)
        self._key = np.full(count, _NEVER)
        self._state = np.full(count, _STAYS, np.uint8)
        self._waiting = self._awaited = np.empty(0, np.int64)
        self._weigh(np.flatnonzero(~self._end))
        self._retire(np.flatnonzero(self._spare == 0))

    def straighten(self) -> bool:
        """One round; returns whether there was anything to do."""
        self._wake()
        active = np.flatnonzero(self._state == _ACTIVE)
        key = self._key[active]
        lowest = active[(key < self._key[self._previous[active]]) & (key <= self._key[self._next[active]])]
        obstacle = self._obstacles(lowest)
        self._set_aside(lowest, obstacle)
        self._remove(self._spare_last(lowest[obstacle == _FREE]))
        return len(active) > 0

    def _weigh(self, vertices: NDArray[np.int64]) -> None:
        """Measure how far lines would move without vertices, none an end; those that may go become active."""
        for some in _portions_of(self._next[vertices] - self._previous[vertices]):
            vertex = vertices[some]
            move2 = self._move2(self._previous[vertex], self._next[vertex])
            small = move2 <= self._max_move2
            # The exponent and four bits after it, then the hash.
            rank = move2.astype(np.float32).view(np.uint32) >> np.uint32(19)
            key = rank.astype(np.uint64) << np.uint64(52) | self._hash[vertex]
            self._key[vertex] = np.where(small, key, _NEVER)
            self._state[vertex] = np.where(small, _ACTIVE, _STAYS)

    def _move2(self, previous: NDArray[np.int64], following: NDArray[np.int64]) -> NDArray[np.float64]:
        """Square of how far the furthest vertex in between is from the line between two vertices, (T,)."""
        counts = following - previous - 1
        line = np.repeat(np.arange(len(counts)), counts)
        between = np.arange(len(line)) + np.repeat(previous + 1 - (np.cumsum(counts) - counts), counts)
        # From the end that comes first in x, then y, so that the direction of the arc does not matter.
        x, y = self._x, self._y
        turned = (x[previous] > x[following]) | (x[previous] == x[following]) & (y[previous] > y[following])
        start, end = np.where(turned, following, previous), np.where(turned, previous, following)
        step_x, step_y = x[end] - x[start], y[end] - y[start]
        length2 = step_x**2 + step_y**2
        off_x, off_y = x[between] - x[start][line], y[between] - y[start][line]
        along = off_x * step_x[line] + off_y * step_y[line]
        beyond = (along <= 0.0) | (along >= length2[line])
        # A loop's ends are one point; what is on the line must come out as 0.
        across = (off_x * step_y[line] - off_y * step_x[line]) ** 2 / np.where(length2 > 0.0, length2, 1.0)[
            line
        ]
        past_x = np.where(along > 0.0, step_x[line], 0.0)
        past_y = np.where(along > 0.0, step_y[line], 0.0)
        square = np.where(beyond, (off_x - past_x) ** 2 + (off_y - past_y) ** 2, across)
        return np.maximum.reduceat(square, np.cumsum(counts) - counts) if len(counts) else square

    def _obstacles(self, vertices: NDArray[np.int64]) -> NDArray[np.int64]:
        """What is in the triangle of each vertex: one of its own arc, or _FOREIGN for another's, or _FREE."""
        obstacle = np.full(len(vertices), _FREE)
        for some in _portions(len(vertices)):
            vertex, found = vertices[some], obstacle[some]
            previous, following, arc = self._previous[vertex], self._next[vertex], self._arc[vertex]
            corners = np.stack([previous, vertex, following])
            # Between its neighbours in the arc all have gone.
            triangles = Triangles(
                x=self._x[corners], y=self._y[corners], skip_from=previous, skip_to=following
            )
            for triangle, point in self._crowd.inside(triangles):
                foreign = self._arc[point] != arc[triangle]
                own = ~foreign & self.kept[point] & (found[triangle] != _FOREIGN)
                found[triangle[own]] = point[own]
                found[triangle[foreign]] = _FOREIGN
        return obstacle

    def _set_aside(self, vertices: NDArray[np.int64], obstacle: NDArray[np.int64]) -> None:
        """Let those that have something in the way wait for it, or stay if it never goes."""
        self._key[vertices[obstacle != _FREE]] = _NEVER
        self._state[vertices[obstacle == _FOREIGN]] = _STAYS
        own = obstacle >= 0
        self._state[vertices[own]] = _WAITS
        self._waiting = np.concatenate([self._waiting, vertices[own]])
        self._awaited = np.concatenate([self._awaited, obstacle[own]])

    def _wake(self) -> None:
        """Make those active whose own arc is in their way no more."""
        wait = self._state[self._waiting] == _WAITS
        waiting, awaited = self._waiting[wait], self._awaited[wait]
        try_again = ~self.kept[awaited]
        self._waiting, self._awaited = waiting[~try_again], awaited[~try_again]
        vertices = waiting[try_again]
        obstacle = self._obstacles(vertices)
        self._set_aside(vertices, obstacle)
        self._weigh(vertices[obstacle == _FREE])

    def _spare_last(self, vertices: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those that may go at once without taking more from an arc than it can spare: the smallest."""
        arc = self._arc[vertices]
        scarce = np.flatnonzero((np.bincount(arc, minlength=len(self._spare)) > self._spare)[arc])
        if not len(scarce):
            return vertices
        scarce = scarce[np.lexsort((self._key[vertices[scarce]], arc[scarce]))]
        new = np.append(True, arc[scarce][1:] != arc[scarce][:-1])
        rank = np.arange(len(scarce)) - np.flatnonzero(new)[np.cumsum(new) - 1]
        return np.delete(vertices, scarce[rank >= self._spare[arc[scarce]]])

    def _remove(self, vertices: NDArray[np.int64]) -> None:
        """Take vertices away, no two of them neighbours, and weigh what they leave behind."""
        previous, following = self._previous[vertices], self._next[vertices]
        self._next[previous], self._previous[following] = following, previous
        self.kept[vertices] = False
        self._key[vertices], self._state[vertices] = _NEVER, _STAYS
        left = np.concatenate([previous, following])
        self._weigh(np.unique(left[~self._end[left]]))
        taken = np.bincount(self._arc[vertices], minlength=len(self._spare))
        self._spare -= taken
        self._retire(np.flatnonzero((taken > 0) & (self._spare == 0)))

    def _retire(self, arcs: NDArray[np.int64]) -> None:
        """Let all vertices that are left stay, in arcs that have two at most besides their ends."""
        for vertex in (self._next[self._first[arcs]], self._previous[self._last[arcs]]):
            self._key[vertex], self._state[vertex] = _NEVER, _STAYS


def _least_kept(
    points: NDArray[np.float64], offsets: NDArray[np.int64], cut_rows: tuple[float, float] | None
) -> NDArray[np.int64]:
    """How many vertices each arc needs besides its ends so that it cannot collapse, (A,)."""
    arcs = len(offsets) - 1
    # Zero is added to make -0 and 0 the same to a view of the bits.
    ends = np.concatenate([points[offsets[:-1]], points[offsets[1:] - 1]]) + 0.0
    _, node = np.unique(ends.view(np.complex128).ravel(), return_inverse=True)
    low, high = np.minimum(node[:arcs], node[arcs:]), np.maximum(node[:arcs], node[arcs:])
    _, pair, count = np.unique(low * np.int64(2 * arcs) + high, return_inverse=True, return_counts=True)
    one = count[pair] > 1
    if cut_rows is not None:
        one |= (ends[:arcs, 1] == ends[arcs:, 1]) & np.isin(ends[:arcs, 1], cut_rows)
    return np.where(low == high, 2, one.astype(np.int64))


def _ends(offsets: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    """Which vertices are the first or the last of an arc, (V,)."""
    ends = np.zeros(count, np.bool_)
    ends[offsets[:-1]] = ends[offsets[1:] - 1] = True
    return ends


def _double_area(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    previous: NDArray[np.int64],
    vertex: NDArray[np.int64],
    following: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Twice the area of triangles, (T,); bit for bit the same with the two neighbours exchanged."""
    xv, yv = x[vertex], y[vertex]
    area: NDArray[np.float64] = np.abs(
        (x[previous] - xv) * (y[following] - yv) - (y[previous] - yv) * (x[following] - xv)
    )
    return area


def _hash(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.uint64]:
    """52 bits, as if random, of coordinates (V,), with the mixing of SplitMix64 (Steele et al. 2014)."""
    mixed = np.zeros(len(x), np.uint64)
    for some in _portions(len(x)):
        bits = mixed[some]
        for axis in (x, y):
            bits ^= (axis[some] + 0.0).view(np.uint64)
            bits ^= bits >> np.uint64(30)
            bits *= np.uint64(0xBF58476D1CE4E5B9)
            bits ^= bits >> np.uint64(27)
            bits *= np.uint64(0x94D049BB133111EB)
            bits ^= bits >> np.uint64(31)
    mixed >>= np.uint64(12)
    return mixed


def _portions(count: int) -> Iterator[slice]:
    return (slice(start, start + _AT_ONCE) for start in range(0, count, _AT_ONCE))


def _portions_of(weights: NDArray[np.int64]) -> Iterator[slice]:
    """Portions of things that weigh this much, of about the same weight."""
    if len(weights):
        portion = np.cumsum(weights) // (4 * _AT_ONCE)
        edges = [0, *(np.flatnonzero(np.diff(portion)) + 1).tolist(), len(weights)]
        yield from map(slice, edges[:-1], edges[1:])
