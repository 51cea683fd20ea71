"""From arcs to outlines: which arcs, in which direction, go round a region.

Every arc is gone along twice, once for the region on either side: these are its two sides, ``2 a`` in the
direction of arc ``a`` and ``2 a + 1`` against it, each with its region on the right. At a node, a side is
followed by the side that turns right as far as the region reaches; so the sides fall into closed rings and,
where lines go on beyond the band, into pieces of rings that begin and end at stubs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.vector.arcs import Arcs
from geoseg.vector.corners import EAST, NORTH, SOUTH, WEST, Band, Corners
from geoseg.vector.lists import closed_lists, open_lists
from geoseg.vector.ragged import ranges
from geoseg.vector.regions import components

_NONE = -1
_TURN = {WEST: SOUTH, SOUTH: EAST, EAST: NORTH, NORTH: WEST}
"""The arm to try after each: from the one that a side arrives by, round its region on the right."""

_ALL_ARMS = 15
_FAR = np.iinfo(np.int64).max


def _leaving_arms() -> NDArray[np.int8]:
    """The arm by which a side leaves, by the arm it arrives by and the code of the corner; -1 at a stub."""
    table = np.full((4, 16), _NONE, np.int8)
    for arrives in range(4):
        for code in range(16):
            arm = _TURN[arrives]
            while arm != arrives and not code & (1 << arm):
                arm = _TURN[arm]
            if arm != arrives:
                table[arrives, code] = arm
    return table


_LEAVES = _leaving_arms()


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Both sides of every arc of a band; S is twice the number of arcs.

    Attributes:
        value: (S,) label of the region on the right; nonsense where ``inside`` is false.
        inside: (S,) whether that is inside of the raster.
        leaving: (4, C) the side that leaves each corner by each arm, -1 where there is none.
        following: (S,) the side after each; -1 at a stub.
    """

    value: NDArray[Any]
    inside: NDArray[np.bool_]
    leaving: NDArray[np.int32]
    following: NDArray[np.int32]


def find_sides(band: Band, corners: Corners, arcs: Arcs) -> Sides:
    """Sides of ``arcs`` and how they follow each other, regions that touch at a corner kept apart."""
    count = len(arcs)
    begin = np.stack([arcs.first, arcs.last], axis=1).ravel()
    begin_arm = np.stack([arcs.first_arm, arcs.last_arm], axis=1).ravel()
    value, inside = _right_of(band, corners, begin, begin_arm)
    leaving = np.full((4, len(corners)), _NONE, np.int32)
    ends = 2 * (count - arcs.loops)
    leaving[begin_arm[:ends], begin[:ends]] = np.arange(ends)
    # What arrives at a corner is the other side of what leaves there.
    twin = np.arange(2 * count) ^ 1
    end, end_arm = begin[twin], begin_arm[twin]
    arm = _LEAVES[end_arm, corners.code[end]]
    following = np.where(arm == _NONE, _NONE, leaving[arm, end])
    following[ends:] = np.arange(ends, 2 * count)
    return Sides(value=value, inside=inside, leaving=leaving, following=following.astype(np.int32))


def _right_of(
    band: Band, corners: Corners, corner: NDArray[np.int32], arm: NDArray[np.int8]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Label on the right of who leaves a corner by an arm, and whether there is one."""
    column = corners.x[corner] - ((arm == SOUTH) | (arm == WEST))
    row = corners.line[corner] - ((arm == NORTH) | (arm == WEST))
    inside = (column >= 0) & (column < band.width) & (row < band.rows) & (row >= (0 if band.is_first else -1))
    at = np.where(inside, (row.astype(np.int64) + 1) * band.width + column, 0)
    return band.labels.ravel()[at], inside


def crossings(band: Band, corners: Corners, sides: Sides) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Pairs of sides that arrive where pixels of one label touch at a corner, one side for either pixel.

    When both pixels are one region, their followers must be swapped: the region goes round and meets itself
    there, and to be a valid polygon its outline must turn left, as if the pixels were joined. What it
    encloses then becomes a hole that touches the outline, not a loop of it.
    """
    node = np.flatnonzero(corners.code == _ALL_ARMS)
    at = (corners.line[node].astype(np.int64) + 1) * band.width + corners.x[node]
    labels = band.labels.ravel()
    south_east, south_west = labels[at], labels[at - 1]
    north_east, north_west = labels[at - band.width], labels[at - band.width - 1]
    rising, falling = node[north_east == south_west], node[north_west == south_east]
    return (
        np.concatenate([sides.leaving[WEST, rising] ^ 1, sides.leaving[SOUTH, falling] ^ 1]),
        np.concatenate([sides.leaving[EAST, rising] ^ 1, sides.leaving[NORTH, falling] ^ 1]),
    )


@dataclass(frozen=True, kw_only=True)
class Chains:
    """Sides in the order they follow each other: closed rings, and pieces of rings from end to end.

    Attributes:
        sides: (T,) the sides, chain by chain.
        offsets: (N + 1,) where each chain begins.
        pieces: number of pieces; they come before the rings.
    """

    sides: NDArray[np.int32]
    offsets: NDArray[np.int64]
    pieces: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of sides of each chain, (N,)."""
        return np.diff(self.offsets)

    def only(self, kept: NDArray[np.bool_]) -> Chains:
        """The chains where ``kept`` (N,) is true."""
        lengths = self.lengths[kept]
        return Chains(
            sides=self.sides[np.repeat(kept, self.lengths)],
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            pieces=int(np.count_nonzero(kept[: self.pieces])),
        )

    @classmethod
    def joined(cls, first: Chains, second: Chains) -> tuple[Chains, NDArray[np.int64]]:
        """Two as one, and where each of its chains was: those of ``second`` counted on after ``first``'s."""
        count = len(first)
        order = np.concatenate(
            [
                np.arange(first.pieces),
                np.arange(count, count + second.pieces),
                np.arange(first.pieces, count),
                np.arange(count + second.pieces, count + len(second)),
            ]
        )
        begins = np.concatenate([first.offsets[:-1], second.offsets[:-1] + len(first.sides)])[order]
        lengths = np.concatenate([first.lengths, second.lengths])[order]
        sides = np.concatenate([first.sides, second.sides])[ranges(begins, lengths)]
        return cls(
            sides=sides,
            offsets=np.concatenate([[0], np.cumsum(lengths)]),
            pieces=first.pieces + second.pieces,
        ), order

    def chain_of(self, count: int) -> NDArray[np.int64]:
        """Chain of each of ``count`` sides, -1 for those that are in none."""
        chain = np.full(count, _NONE)
        chain[self.sides] = np.repeat(np.arange(len(self)), self.lengths)
        return chain


def walk(following: NDArray[np.int32], wanted: NDArray[np.int64]) -> Chains:
    """Chains of the wanted sides (T,), ascending, which hold whole chains."""
    has_before = np.zeros(len(following), np.bool_)
    after = following[wanted]
    has_before[after[after >= 0]] = True
    place = np.full(len(following) + 1, _NONE)  # the last one stands for the end of a piece, which is -1
    place[wanted] = np.arange(len(wanted))
    onward = place[after]
    pieces, begins, _ = open_lists(onward, place[wanted[~has_before[wanted]]])
    in_ring = np.ones(len(wanted), np.bool_)
    in_ring[pieces] = False
    ringed = np.flatnonzero(in_ring)
    place[:] = _NONE
    place[ringed] = np.arange(len(ringed))
    rings, ring_begins = closed_lists(place[onward[ringed]], np.arange(len(ringed)))
    return Chains(
        sides=wanted[np.concatenate([pieces, ringed[rings]])].astype(np.int32),
        offsets=np.concatenate([begins, ring_begins[1:] + len(pieces)]),
        pieces=len(begins) - 1,
    )


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What chains enclose and where, (N,) each, of the pixel edges themselves.

    Attributes:
        twice_area: twice the area on the right in pixels; negative round a hole. Of a piece: its share.
        low: twice the least corner index, + 1 unless the chain leaves that corner southward. Only a hole, or
            a piece of one, leaves its first corner in row-major order southward.
        left, right: least and greatest column.
        bottom: greatest line of the raster, twice.
    """

    twice_area: NDArray[np.int64]
    low: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    bottom: NDArray[np.int64]

    @property
    def low_corner(self) -> NDArray[np.int64]:
        """First corner of each chain in row-major order, (N,); a piece's last corner is not its own."""
        return self.low >> 1

    @property
    def goes_south(self) -> NDArray[np.bool_]:
        """Whether it leaves that corner southward, (N,)."""
        south: NDArray[np.bool_] = (self.low & 1) == 0
        return south


def extent_of_arcs(arcs: Arcs, corners: Corners, twice_y: NDArray[np.int64]) -> Extent:
    """The same of both sides of each arc, (S,)."""
    x, y = corners.x[arcs.corners].astype(np.int64), twice_y[arcs.corners]
    begins, ends = arcs.offsets[:-1], arcs.offsets[1:] - 1
    rise = np.diff(y, append=0)
    rise[ends] = 0
    twice_area = np.add.reduceat(x * rise, begins)
    key = 2 * arcs.corners.astype(np.int64) + 1
    # Forward, a corner is left southward when the next lies below; backward, when the one before does.
    forward, backward = key - (rise > 0), key.copy()
    backward[1:] -= rise[:-1] < 0
    forward[ends], backward[begins] = _FAR, _FAR
    low = np.stack([np.minimum.reduceat(forward, begins), np.minimum.reduceat(backward, begins)], axis=1)
    return Extent(
        twice_area=np.stack([twice_area, -twice_area], axis=1).ravel(),
        low=low.ravel(),
        left=np.repeat(np.minimum.reduceat(x, begins), 2),
        right=np.repeat(np.maximum.reduceat(x, begins), 2),
        bottom=np.repeat(np.maximum.reduceat(y, begins), 2),
    )


def extent_of_chains(chains: Chains, sides: Extent) -> Extent:
    """Extent of chains from that of their sides."""
    begins, order = chains.offsets[:-1], chains.sides
    if not len(begins):
        none = np.zeros(0, np.int64)
        return Extent(twice_area=none, low=none, left=none, right=none, bottom=none)
    return Extent(
        twice_area=np.add.reduceat(sides.twice_area[order], begins),
        low=np.minimum.reduceat(sides.low[order], begins),
        left=np.minimum.reduceat(sides.left[order], begins),
        right=np.maximum.reduceat(sides.right[order], begins),
        bottom=np.maximum.reduceat(sides.bottom[order], begins),
    )


def one_region(
    chains: Chains,
    chain_of: NDArray[np.int64],
    extent: Extent,
    band: Band,
    corners: Corners,
    arcs: Arcs,
    sides: Sides,
) -> NDArray[np.int64]:
    """The smallest chain of the region that each chain outlines, as far as the band tells, (N,).

    A hole belongs to what lies left of it: from its first corner the run of pixels is followed to the edge
    where it begins, which some other ring of the region passes northward. And in the band's last row, the two
    edges of a run belong to one region.
    """
    # A piece that comes down from the row above has its first corner up there.
    hole = np.flatnonzero(extent.goes_south & (extent.low_corner >= corners.tops))
    corner = extent.low_corner[hole]
    owner = _left_of(corners.x[corner], corners.line[corner], band, corners, arcs) if len(hole) else hole
    at = np.arange(len(corners) - corners.bottoms, len(corners))
    up = sides.leaving[NORTH, at]
    from_left, to_right = chain_of[up[:-1]], chain_of[up[1:] ^ 1]
    real = from_left >= 0
    return components(
        len(chains),
        np.concatenate([hole, from_left[real]]),
        np.concatenate([chain_of[owner], to_right[real]]),
    )


def _left_of(
    x: NDArray[np.int32], line: NDArray[np.int32], band: Band, corners: Corners, arcs: Arcs
) -> NDArray[np.int64]:
    """The side going north along the first vertical edge left of pixels, each below and left of a corner."""
    edges = np.flatnonzero(corners.vertical)
    row_start = line.astype(np.int64) * (band.width + 1)
    edge_x = edges[np.searchsorted(edges, row_start + x) - 1] - row_start
    return _along(edge_x, line, band, corners, arcs)


def _along(
    x: NDArray[np.int64], row: NDArray[np.int64] | NDArray[np.int32], band: Band, corners: Corners, arcs: Arcs
) -> NDArray[np.int64]:
    """The side that goes north along vertical edges, each in a column of corners and a row of the band."""
    # The corner at the upper end of an edge: the last one in its column down to the line above the row.
    order = corners.by_column
    lines = band.rows + 2
    keys = corners.x[order].astype(np.int64) * lines + corners.line[order]
    upper = order[np.searchsorted(keys, x * lines + row, side="right") - 1]
    return _northward(arcs, corners)[upper]


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Of the values of a band's pixels by chain, (N,) each: all of a region's stand at one chain of it.

    Attributes:
        total: sum.
        known: number of pixels that have a value.
        least: smallest, infinite without any.
    """

    total: NDArray[np.float64]
    known: NDArray[np.int64]
    least: NDArray[np.float64]

    @classmethod
    def none(cls, chains: int) -> Sums:
        """Of pixels without values."""
        return cls(total=np.zeros(chains), known=np.zeros(chains, np.int64), least=np.full(chains, np.inf))


def sum_up(
    values: NDArray[np.float32],
    region: NDArray[np.int64],
    chain_of: NDArray[np.int64],
    band: Band,
    corners: Corners,
    arcs: Arcs,
) -> Sums:
    """Sum up values (h, W) over the regions: run by run, each of which belongs to the edge on its left."""
    start = np.flatnonzero(corners.vertical[:, :-1])
    row, x = np.divmod(start, band.width)
    chain = chain_of[_along(x, row, band, corners, arcs)]
    known = np.isfinite(values)
    flat = values.ravel()
    total = np.add.reduceat(np.where(known.ravel(), flat, 0.0).astype(np.float64), start)
    count = np.add.reduceat(known.ravel().astype(np.int64), start)
    least = np.minimum.reduceat(np.where(known.ravel(), flat, np.inf), start)
    used = chain >= 0
    owner = region[chain[used]]
    sums = Sums.none(len(region))
    np.minimum.at(sums.least, owner, least[used])
    return Sums(
        total=np.bincount(owner, weights=total[used], minlength=len(region)).astype(np.float64),
        known=np.bincount(owner, weights=count[used], minlength=len(region)).astype(np.int64),
        least=sums.least,
    )


def _northward(arcs: Arcs, corners: Corners) -> NDArray[np.int64]:
    """The side that comes up to each corner by its southern arm, (C,)."""
    arc = np.repeat(np.arange(len(arcs)), np.diff(arcs.offsets))
    line = corners.line[arcs.corners]
    rise = np.diff(line)
    rise[arcs.offsets[1:-1] - 1] = 0
    down, up = np.flatnonzero(rise > 0), np.flatnonzero(rise < 0)
    side = np.full(len(corners), _NONE)
    side[arcs.corners[down]] = 2 * arc[down] + 1
    side[arcs.corners[up + 1]] = 2 * arc[up]
    return side
