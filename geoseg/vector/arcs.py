"""The lines between nodes: every edge of the label raster lies on exactly one arc.

An arc is the border between two regions from one node to the next, or the closed border of a region that lies
inside of another. Both regions are outlined by it, so what is done to an arc is done to both of them alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.vector.corners import EAST, NORTH, OPPOSITE, SOUTH, WEST, Band, Corners
from geoseg.vector.lists import closed_lists, open_lists
from geoseg.vector.ragged import ranges

_BEND = np.array([code.bit_count() == 2 for code in range(16)])


@dataclass(frozen=True, kw_only=True)
class Arcs:
    """Arcs of a band.

    Attributes:
        corners: (V,) int32 corners of all arcs, arc by arc, both ends included; a loop begins and ends at its
            first corner in row-major order and runs clockwise round what it encloses.
        offsets: (A + 1,) where each begins.
        first_arm, last_arm: (A,) int8, the arm of the first corner by which it leaves, and that of the last
            corner by which it arrives.
        loops: number of loops; they are the last ones.
    """

    corners: NDArray[np.int32]
    offsets: NDArray[np.int64]
    first_arm: NDArray[np.int8]
    last_arm: NDArray[np.int8]
    loops: int

    def __len__(self) -> int:
        return len(self.first_arm)

    @property
    def first(self) -> NDArray[np.int32]:
        """First corner of each, (A,)."""
        return self.corners[self.offsets[:-1]]

    @property
    def last(self) -> NDArray[np.int32]:
        """Last corner of each, (A,)."""
        return self.corners[self.offsets[1:] - 1]


def find_arcs(corners: Corners, band: Band) -> Arcs:
    """Arcs between the nodes and stubs among ``corners``, and loops.

    The four corners of the raster count as nodes: no line may cut them off.
    """
    partner = _partners(corners)
    bend = _BEND[corners.code] & ~_corners_of_raster(corners, band)
    # A state is a bend, by its rank, with the way one arrived: 2 rank (+ 1 when along a vertical arm).
    rank = np.cumsum(bend) - 1
    bends = np.flatnonzero(bend)
    following = _following(corners, partner, bend, rank, bends)
    straight, starts, arms = _leaving(corners, partner, bend, rank)
    states, begins, first_arms, last_arms = _walk_open(following, starts, arms)
    visited = np.zeros(len(bends), np.bool_)
    visited[states >> 1] = True
    loop_states, loop_begins, loop_firsts = _walk_loops(following, visited, corners.code[bends])
    return _assemble(
        bends,
        straight=straight,
        straight_ends=partner[straight % 4, straight // 4],
        states=np.concatenate([states, loop_states]),
        begins=np.concatenate([begins, loop_begins + len(states)]),
        first_arms=first_arms,
        last_arms=last_arms,
        loop_firsts=loop_firsts,
    )


def _corners_of_raster(corners: Corners, band: Band) -> NDArray[np.bool_]:
    line = corners.line + band.top
    at_side = (corners.x == 0) | (corners.x == band.width)
    outermost: NDArray[np.bool_] = at_side & ((line == 0) | (line == band.height))
    return outermost


def _partners(corners: Corners) -> NDArray[np.int32]:
    """The corner at the other end of each arm, (4, C) by arm; nonsense where there is no arm."""
    partner = np.zeros((4, len(corners)), np.int32)
    east = np.flatnonzero(corners.code & (1 << EAST))
    partner[EAST, east], partner[WEST, east + 1] = east + 1, east
    order = corners.by_column
    south = np.flatnonzero(corners.code[order] & (1 << SOUTH))
    upper, lower = order[south], order[south + 1]
    partner[SOUTH, upper], partner[NORTH, lower] = lower, upper
    return partner


def _following(
    corners: Corners,
    partner: NDArray[np.int32],
    bend: NDArray[np.bool_],
    rank: NDArray[np.int64],
    bends: NDArray[np.int64],
) -> NDArray[np.int64]:
    """The state after each, or ``-1 - (4 node + arm)`` when a node is reached by one of its arms."""
    following = np.empty((len(bends), 2), np.int64)
    code = corners.code[bends]
    for arrived, (near, far) in enumerate(((SOUTH, NORTH), (EAST, WEST))):
        # Who arrives along a horizontal arm leaves along the vertical one, and the other way round.
        leaves = np.where(code & (1 << near), near, far)
        reached = partner[leaves, bends]
        following[:, arrived] = np.where(
            bend[reached],
            2 * rank[reached] + (1 - arrived),
            -1 - (4 * reached.astype(np.int64) + OPPOSITE[leaves]),
        )
    return following.ravel()


def _leaving(
    corners: Corners, partner: NDArray[np.int32], bend: NDArray[np.bool_], rank: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Arms of nodes, ``4 node + arm``: those that end at another node, once; states after the others."""
    nodes = np.flatnonzero(~bend)
    straight, starts, arms = [], [], []
    for arm in (NORTH, SOUTH, WEST, EAST):
        node = nodes[(corners.code[nodes] & (1 << arm)) > 0]
        reached = partner[arm, node]
        to_bend = bend[reached]
        arms.append(4 * node[to_bend] + arm)
        starts.append(2 * rank[reached[to_bend]] + (arm in (NORTH, SOUTH)))
        if arm in (SOUTH, EAST):
            straight.append(4 * node[~to_bend] + arm)
    return np.concatenate(straight), np.concatenate(starts), np.concatenate(arms)


def _walk_open(
    following: NDArray[np.int64], starts: NDArray[np.int64], arms: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Go along the arcs that have bends: states of all, where each begins, its first and its last arm."""
    states, offsets, ends = open_lists(following, starts)
    # Every arc is found from both of its ends.
    once = arms < -1 - ends
    lengths = np.diff(offsets)[once]
    return (
        states[ranges(offsets[:-1][once], lengths)],
        np.cumsum(lengths) - lengths,
        arms[once],
        (-1 - ends)[once],
    )


def _walk_loops(
    following: NDArray[np.int64], visited: NDArray[np.bool_], code: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Go round loops: states after the first bend of each, where each begins, rank of its first bend."""
    left = np.flatnonzero(~visited)
    place = np.zeros(len(visited), np.int64)
    place[left] = np.arange(len(left))
    after = following.reshape(-1, 2)[left].ravel()
    # A loop's first bend goes down and right. It is left eastward, as by one who arrived from below.
    upper_left = np.flatnonzero(code[left] == (1 << SOUTH | 1 << EAST))
    members, offsets = closed_lists(2 * place[after >> 1] + (after & 1), 2 * upper_left + 1)
    states = 2 * left[members >> 1] + (members & 1)
    first = offsets[:-1]
    keep = np.ones(len(states), np.bool_)
    keep[first] = False
    return states[keep], first - np.arange(len(first)), states[first] >> 1


def _assemble(
    bends: NDArray[np.int64],
    *,
    straight: NDArray[np.int64],
    straight_ends: NDArray[np.int32],
    states: NDArray[np.int64],
    begins: NDArray[np.int64],
    first_arms: NDArray[np.int64],
    last_arms: NDArray[np.int64],
    loop_firsts: NDArray[np.int64],
) -> Arcs:
    """Put arcs without bends, arcs with bends and loops one after the other."""
    loops = len(loop_firsts)
    loop_corners = bends[loop_firsts]
    inner = np.concatenate([np.zeros(len(straight), np.int64), np.diff(np.append(begins, len(states)))])
    offsets = np.concatenate([[0], np.cumsum(inner + 2)])
    corners = np.empty(offsets[-1], np.int32)
    corners[offsets[:-1]] = np.concatenate([straight // 4, first_arms // 4, loop_corners])
    corners[offsets[1:] - 1] = np.concatenate([straight_ends, last_arms // 4, loop_corners])
    between = np.ones(len(corners), np.bool_)
    between[offsets[:-1]] = between[offsets[1:] - 1] = False
    corners[between] = bends[states >> 1]
    return Arcs(
        corners=corners,
        offsets=offsets,
        first_arm=np.concatenate([straight % 4, first_arms % 4, np.full(loops, EAST)]).astype(np.int8),
        last_arm=np.concatenate([OPPOSITE[straight % 4], last_arms % 4, np.full(loops, SOUTH)]).astype(
            np.int8
        ),
        loops=loops,
    )
