"""Regions that go on below the band: what is known of their outlines so far.

Of an open region, pieces of its rings are kept, each with the piece that follows it once that is known. A
band adds pieces, joins pieces across the row it shares with the one before, and joins regions that turn out
to be one. A region that does not reach the last row of a band is whole: its pieces make rings and go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geoseg.vector.outlines import Rings


class Line(NamedTuple):
    """A piece of a ring, or a ring: see :class:`geoseg.vector.outlines.Rings`."""

    points: NDArray[np.float64]
    twice_area: int
    low: int
    left: int
    right: int
    bottom: int
    total: float
    known: int
    least: float


class Meeting(NamedTuple):
    """Where two open regions of one label touch at a corner: pieces that end there and those that follow.

    Should the regions turn out to be one, the followers have to be swapped.
    """

    regions: tuple[int, int]
    ends: tuple[int, int]


class Closed(NamedTuple):
    """A whole region: its feature, its label and its rings."""

    feature: int
    value: Any
    rings: list[Line]


@dataclass(kw_only=True)
class _Region:
    value: Any
    pieces: list[int] = field(default_factory=list)
    rings: list[Line] = field(default_factory=list)


class Openings:
    """Open regions between two bands. Regions and pieces are called by numbers that are never used twice."""

    def __init__(self) -> None:
        self._regions: dict[int, _Region] = {}
        self._ties: dict[int, set[int]] = {}
        self._parents: dict[int, int] = {}
        self._lines: dict[int, Line] = {}
        self._homes: dict[int, int] = {}
        self._followers: dict[int, int] = {}
        self._meetings: list[Meeting] = []
        self._regions_made = 0
        self._pieces_made = 0

    def __len__(self) -> int:
        return len(self._regions)

    def new_region(self, value: Any) -> int:
        """A region of pixels of one label."""
        number = self._regions_made
        self._regions_made += 1
        self._regions[number] = _Region(value=value)
        self._parents[number] = number
        return number

    def region_of(self, piece: int) -> int:
        """The region of a piece, by a number it once had."""
        return self._homes[piece]

    def find(self, region: int) -> int:
        """The number that a region goes by now."""
        parents = self._parents
        while parents[region] != region:
            parents[region] = parents[parents[region]]
            region = parents[region]
        return region

    def unite(self, first: int, second: int) -> None:
        """Two are one."""
        first, second = self.find(first), self.find(second)
        if first == second:
            return
        kept, gone = self._regions[first], self._regions[second]
        if len(gone.pieces) + len(gone.rings) > len(kept.pieces) + len(kept.rings):
            first, second, kept, gone = second, first, gone, kept
        kept.pieces += gone.pieces
        kept.rings += gone.rings
        self._parents[second] = first
        for tied in self._ties.pop(second, ()):
            self._tie(first, tied)
        del self._regions[second]

    def tie(self, first: int, second: int) -> None:
        """Two belong to one feature: neither is whole before the other is."""
        self._tie(self.find(first), self.find(second))

    def _tie(self, first: int, second: int) -> None:
        self._ties.setdefault(first, set()).add(second)
        self._ties.setdefault(second, set()).add(first)

    def add_piece(self, region: int, line: Line) -> int:
        """Add a piece of a ring to a region; returns its number."""
        number = self._pieces_made
        self._pieces_made += 1
        self._lines[number] = line
        self._homes[number] = region
        self._regions[self.find(region)].pieces.append(number)
        return number

    def add_ring(self, region: int, line: Line) -> None:
        """Add a whole ring to a region."""
        self._regions[self.find(region)].rings.append(line)

    def follow(self, piece: int, follower: int) -> None:
        """Where ``piece`` ends, ``follower`` begins."""
        self._followers[piece] = follower

    def meet(self, meeting: Meeting) -> None:
        """Keep a meeting in mind until it is known whether its regions are one."""
        self._meetings.append(meeting)

    def close(self, still_open: Iterable[int]) -> list[Closed]:
        """Take out the regions that are whole, as far as those they are tied to are.

        Args:
            still_open: those that reach the last row, by any of their numbers.
        """
        reach = {self.find(region) for region in still_open}
        self._settle(reach)
        held = self._tied_to(reach)
        closed = []
        for number in [number for number in self._regions if number not in held]:
            feature = min(self._tied_to({number})) if self._ties else number
            region = self._regions.pop(number)
            rings = region.rings + self._rings_of(region.pieces)
            closed.append(Closed(feature=feature, value=region.value, rings=rings))
        # Numbers that lead to a closed region are never asked for again.
        self._parents = {number: root for number in self._parents if (root := self.find(number)) in held}
        self._ties = {
            number: tied for number, tied in self._ties.items() if self._find_or_none(number) in held
        }
        return closed

    def _find_or_none(self, region: int) -> int | None:
        """As :meth:`find`; ``None`` for a region that was closed."""
        return self.find(region) if region in self._parents else None

    def _tied_to(self, regions: set[int]) -> set[int]:
        """Regions and all that they are tied to, however indirectly."""
        found, ahead = set(regions), list(regions)
        while ahead and self._ties:
            for tied in self._ties.get(ahead.pop(), ()):
                root = self.find(tied)
                if root not in found:
                    found.add(root)
                    ahead.append(root)
        return found

    def _settle(self, reach: set[int]) -> None:
        """Swap followers where regions turned out to be one; forget where one of them is whole."""
        undecided = []
        for meeting in self._meetings:
            first, second = (self.find(region) for region in meeting.regions)
            if first == second:
                one, other = meeting.ends
                self._followers[one], self._followers[other] = self._followers[other], self._followers[one]
            elif first in reach and second in reach:
                undecided.append(meeting)
        self._meetings = undecided

    def _rings_of(self, pieces: Sequence[int]) -> list[Line]:
        """Rings of the pieces of a whole region; the pieces are forgotten."""
        rings = []
        for piece in pieces:
            if piece not in self._lines:
                continue
            parts = []
            while (line := self._lines.pop(piece, None)) is not None:
                parts.append(line)
                del self._homes[piece]
                piece = self._followers.pop(piece)
            rings.append(_join(parts))
        return rings


def _join(parts: Sequence[Line]) -> Line:
    return Line(
        points=np.concatenate([part.points for part in parts]),
        twice_area=sum(part.twice_area for part in parts),
        low=min(part.low for part in parts),
        left=min(part.left for part in parts),
        right=max(part.right for part in parts),
        bottom=max(part.bottom for part in parts),
        total=sum(part.total for part in parts),
        known=sum(part.known for part in parts),
        least=min(part.least for part in parts),
    )


def rings_of(closed: Sequence[Closed], first_number: int, dtype: np.dtype[Any]) -> Rings:
    """Rings of closed regions as arrays; their regions and features are numbered from ``first_number``."""
    lines = [line for region in closed for line in region.rings]
    counts = [len(region.rings) for region in closed]
    numbers = np.array([line[1:6] for line in lines], np.int64).reshape(-1, 5)
    return Rings(
        feature=np.repeat([first_number + region.feature for region in closed], counts),
        region=np.repeat(np.arange(first_number, first_number + len(closed)), counts),
        value=np.repeat(np.array([region.value for region in closed], dtype), counts),
        twice_area=numbers[:, 0],
        low=numbers[:, 1],
        left=numbers[:, 2],
        right=numbers[:, 3],
        bottom=numbers[:, 4],
        total=np.array([line.total for line in lines], np.float64),
        known=np.array([line.known for line in lines], np.int64),
        least=np.array([line.least for line in lines], np.float64),
        points=np.concatenate([np.zeros((0, 2)), *(line.points for line in lines)]),
        lengths=np.array([len(line.points) for line in lines], np.int64),
    )
