"""From labels to outlines, band by band: every 4-connected region of equal labels becomes one polygon.

Within a band everything is done with arrays: the corners where edges turn or meet, the arcs between them, the
sides of the arcs that follow each other round a region (:mod:`~geoseg.vector.corners`, ``arcs``, ``rings``).
What goes on below the band is kept open (``openings``) until the region ends. So memory is bounded by the
band and the regions that are open, and the outlines do not depend on where the bands are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.vector.arcs import Arcs, find_arcs
from geoseg.vector.corners import NORTH, SOUTH, Band, Corners, find_corners
from geoseg.vector.openings import Line, Meeting, Openings, rings_of
from geoseg.vector.outlines import Outlines, Rings, finish
from geoseg.vector.ragged import ranges
from geoseg.vector.regions import components
from geoseg.vector.rings import (
    Chains,
    Extent,
    Sides,
    Sums,
    crossings,
    extent_of_arcs,
    extent_of_chains,
    find_sides,
    one_region,
    sum_up,
    walk,
)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Points of the arcs of a band in pixel space.

    Attributes:
        points: (P, 2) float64, arc by arc, both ends included.
        offsets: (A + 1,) where each arc begins.
        stubs: whether the points of stubs are to be kept. Without, the lines go straight through them.
    """

    points: NDArray[np.float64]
    offsets: NDArray[np.int64]
    stubs: bool


Draw = Callable[[Band, Corners, Arcs], Drawing]
Wanted = Callable[[NDArray[Any]], NDArray[np.bool_]]


def along_pixels(band: Band, corners: Corners, arcs: Arcs) -> Drawing:
    """Draw arcs along the edges of the pixels, exactly."""
    points = np.stack([corners.x[arcs.corners], corners.twice_y(band)[arcs.corners] / 2], axis=1)
    return Drawing(points=points, offsets=arcs.offsets, stubs=False)


def trace(
    bands: Iterable[Band],
    *,
    wanted: Wanted | None = None,
    draw: Draw = along_pixels,
    clockwise: bool = True,
    by_corners: bool = False,
) -> Iterator[Outlines]:
    """Outline regions along their pixel edges.

    Regions of one label that only touch at a corner stay apart: joined, they would be invalid polygons. Where
    three or four regions meet there is a vertex in each of their outlines, also where one of them goes on
    straight: so all regions together are a coverage as GEOS wants it.

    Args:
        bands: all of a raster, from top to bottom.
        wanted: which labels to outline; all when not given.
        draw: how arcs run between their nodes.
        clockwise: whether outer rings shall run clockwise as one sees a raster.
        by_corners: whether regions of one label that touch at a corner are one feature (8-connectivity); they
            are polygons of their own all the same.

    Yields:
        for each band the regions whose end was seen. All of them together are in the order of
        :class:`geoseg.vector.outlines.Outlines`.
    """
    openings = Openings()
    frontier = np.zeros((2, 0), np.int64)
    for band in bands:
        step = _Step.of(band, wanted, draw)
        frontier, rings = step.take(openings, frontier, by_corners=by_corners)
        yield finish(rings, shape=(band.height, band.width), clockwise=clockwise)


@dataclass(frozen=True, kw_only=True)
class _Step:
    """What is known of a band by itself.

    ``region`` is the smallest chain of the region of each chain; ``chain_of`` the chain of each side;
    ``sums`` are by region.
    """

    band: Band
    corners: Corners
    arcs: Arcs
    sides: Sides
    drawing: Drawing
    low: NDArray[np.int64]
    side_extent: Extent
    chains: Chains
    extent: Extent
    region: NDArray[np.int64]
    chain_of: NDArray[np.int64]
    sums: Sums

    @classmethod
    def of(cls, band: Band, wanted: Wanted | None, draw: Draw) -> _Step:
        corners = find_corners(band)
        arcs = find_arcs(corners, band)
        sides = find_sides(band, corners, arcs)
        chosen = sides.inside if wanted is None else sides.inside & wanted(sides.value)
        twice_y = corners.twice_y(band)
        side_extent = extent_of_arcs(arcs, corners, twice_y)
        chains = walk(sides.following, np.flatnonzero(chosen))
        chain_of = chains.chain_of(len(sides.value))
        extent = extent_of_chains(chains, side_extent)
        region = one_region(chains, chain_of, extent, band, corners, arcs, sides)
        sums = Sums.none(len(chains))
        if band.values is not None:
            sums = sum_up(band.values, region, chain_of, band, corners, arcs)
        return cls(
            band=band,
            corners=corners,
            arcs=arcs,
            sides=sides,
            drawing=draw(band, corners, arcs),
            low=twice_y * (band.width + 1) + corners.x,
            side_extent=side_extent,
            chains=chains,
            extent=extent,
            region=region,
            chain_of=chain_of,
            sums=sums,
        )

    def take(
        self, openings: Openings, frontier: NDArray[np.int64], *, by_corners: bool
    ) -> tuple[NDArray[np.int64], Rings]:
        """Add the band to what is open.

        Args:
            openings: changed in place.
            frontier: (2, n) of the row above, as returned for it.
            by_corners: whether regions that touch at a corner are one feature.

        Returns:
            pieces that end (0) and that begin (1) at each vertical edge of the last row, -1 for none, and the
            rings of the regions that are whole.
        """
        one, other = self._crossings()
        feature = self.region
        if by_corners:
            feature = components(
                len(self.chains), *(self.region[self.chain_of[side]] for side in (one, other))
            )[self.region]
        numbers = self._open_regions(openings, frontier, feature)
        if by_corners:
            self._tie(openings, numbers, one, other)
        reach = self._reaching(numbers)
        step, meetings = self._decide_crossings(openings, numbers, reach, one, other)
        is_open = numbers[step.region] >= 0
        whole = step._rings(np.flatnonzero(~is_open), feature)
        below = step._add_lines(openings, numbers, frontier, meetings, np.flatnonzero(is_open), feature)
        closed = openings.close(reach)
        if not closed:
            return below, whole
        rest = rings_of(closed, len(self.chains), self.band.labels.dtype)
        return below, Rings.joined([whole, rest])

    def _crossings(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Pairs of :func:`geoseg.vector.rings.crossings` that are wanted."""
        one, other = crossings(self.band, self.corners, self.sides)
        used = self.chain_of[one] >= 0
        return one[used], other[used]

    def _tie(
        self, openings: Openings, numbers: NDArray[np.int64], one: NDArray[np.int32], other: NDArray[np.int32]
    ) -> None:
        pairs = np.stack([numbers[self.region[self.chain_of[side]]] for side in (one, other)], axis=1)
        for first, second in np.unique(pairs[pairs[:, 0] >= 0], axis=0).tolist():
            if first != second:
                openings.tie(first, second)

    def _open_regions(
        self, openings: Openings, frontier: NDArray[np.int64], feature: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Number of the region of each chain among the open ones, -1 for those within the band, (N,).

        Regions of the band whose feature has pieces are open, and are one with those that they continue.
        """
        numbers = np.full(len(self.chains), -1)
        is_open = np.zeros(len(self.chains), np.bool_)
        is_open[feature[: self.chains.pieces]] = True
        first = np.unique(self.region[is_open[feature]])
        value = self.sides.value[self.chains.sides[self.chains.offsets[first]]]
        numbers[first] = [openings.new_region(label) for label in value]
        down, up = self._at_tops()
        for above, below in ((frontier[0], down), (frontier[1], up)):
            for piece, chain in zip(above.tolist(), self.chain_of[below].tolist(), strict=True):
                if piece >= 0:
                    openings.unite(openings.region_of(piece), int(numbers[self.region[chain]]))
        return numbers

    def _at_tops(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Sides that go down from each stub at the top, and sides that come up to it."""
        down = self.sides.leaving[SOUTH, : self.corners.tops]
        return down, down ^ 1

    def _at_bottoms(self) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Sides that come down to each stub at the bottom, and sides that go up from it."""
        up = self.sides.leaving[NORTH, len(self.corners) - self.corners.bottoms :]
        return up ^ 1, up

    def _reaching(self, numbers: NDArray[np.int64]) -> list[int]:
        """Open regions that reach the last row."""
        chains = self.chain_of[np.concatenate(self._at_bottoms())]
        reaching: list[int] = np.unique(numbers[self.region[chains[chains >= 0]]]).tolist()
        return reaching

    def _decide_crossings(
        self,
        openings: Openings,
        numbers: NDArray[np.int64],
        reach: list[int],
        one: NDArray[np.int32],
        other: NDArray[np.int32],
    ) -> tuple[_Step, list[tuple[int, int]]]:
        """Join the outline of regions that meet themselves at a corner; cut it where that is not known yet.

        Returns:
            the band with its chains walked again where they changed, and the pairs of sides that end at cuts.
        """
        region_one, region_other = self.region[self.chain_of[one]], self.region[self.chain_of[other]]
        joined = region_one == region_other
        undecided = []
        still_open = {openings.find(region) for region in reach}
        both_open = ~joined & (numbers[region_one] >= 0) & (numbers[region_other] >= 0)
        for at in np.flatnonzero(both_open).tolist():
            first = openings.find(int(numbers[region_one[at]]))
            second = openings.find(int(numbers[region_other[at]]))
            if first == second:
                joined[at] = True
            elif first in still_open and second in still_open:
                undecided.append((int(one[at]), int(other[at])))
        following = self.sides.following.copy()
        following[one[joined]], following[other[joined]] = following[other[joined]], following[one[joined]]
        cut = np.array(undecided, np.int64).ravel()
        following[cut] = -1
        changed = np.unique(self.chain_of[np.concatenate([one[joined], other[joined], cut])])
        return self._rewalked(following, changed), undecided

    def _rewalked(self, following: NDArray[np.int32], changed: NDArray[np.int64]) -> _Step:
        """With the given chains walked again, by new ``following``."""
        if not len(changed):
            return self
        again = np.zeros(len(self.chains), np.bool_)
        again[changed] = True
        stale = np.repeat(again, self.chains.lengths)
        new = walk(following, np.sort(self.chains.sides[stale]).astype(np.int64))
        new_region = self.region[self.chain_of[new.sides[new.offsets[:-1]]]]
        kept = self.chains.only(~again)
        chains, order = Chains.joined(kept, new)
        region = np.concatenate([self.region[~again], new_region])[order]
        return replace(
            self,
            chains=chains,
            extent=extent_of_chains(chains, self.side_extent),
            region=region,
            chain_of=chains.chain_of(len(following)),
        )

    def _rings(self, chosen: NDArray[np.int64], feature: NDArray[np.int64]) -> Rings:
        """Rings of the chosen chains; ``feature`` is that of each region."""
        begins, counts = self.chains.offsets[chosen], self.chains.lengths[chosen]
        points, lengths = self._points(self.chains.sides[ranges(begins, counts)])
        per_ring = np.add.reduceat(lengths, np.cumsum(counts) - counts) if len(counts) else counts
        extent, region = self.extent, self.region[chosen]
        _, first = np.unique(region, return_index=True)
        at, sums = region[first], Sums.none(len(chosen))
        sums.total[first], sums.known[first] = self.sums.total[at], self.sums.known[at]
        sums.least[first] = self.sums.least[at]
        return Rings(
            feature=feature[region],
            region=region,
            value=self.sides.value[self.chains.sides[begins]],
            twice_area=extent.twice_area[chosen],
            low=self.low[extent.low_corner[chosen]],
            left=extent.left[chosen],
            right=extent.right[chosen],
            bottom=extent.bottom[chosen],
            total=sums.total,
            known=sums.known,
            least=sums.least,
            points=points,
            lengths=per_ring,
        )

    def _points(self, sides: NDArray[np.int32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Points of sides one after the other, each without its last, and the number of points of each."""
        arc, backward = sides >> 1, sides & 1
        offsets = self.drawing.offsets
        step = 1 - 2 * backward.astype(np.int64)
        start = np.where(backward, offsets[arc + 1] - 1, offsets[arc])
        count = offsets[arc + 1] - offsets[arc] - 1
        if not self.drawing.stubs:
            begin = np.where(backward, self.arcs.last[arc], self.arcs.first[arc])
            at_stub = (begin < self.corners.tops) | (begin >= len(self.corners) - self.corners.bottoms)
            start, count = start + step * at_stub, count - at_stub
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return self.drawing.points[np.repeat(start, count) + np.repeat(step, count) * within], count

    def _add_lines(
        self,
        openings: Openings,
        numbers: NDArray[np.int64],
        frontier: NDArray[np.int64],
        meetings: list[tuple[int, int]],
        chosen: NDArray[np.int64],
        feature: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Give the chosen chains to the open regions; returns the frontier of the last row."""
        rings = self._rings(chosen, feature)
        table = zip(*(getattr(rings, name).tolist() for name in Line._fields[1:]), strict=True)
        ends = np.cumsum(rings.lengths).tolist()
        piece_of = np.full(len(self.chains) + 1, -1)  # the last one stands for no chain, which is -1
        start = 0
        for chain, region, row, end in zip(
            chosen.tolist(), numbers[self.region[chosen]].tolist(), table, ends, strict=True
        ):
            line = Line(rings.points[start:end].copy(), *row)
            start = end
            if chain < self.chains.pieces:
                piece_of[chain] = openings.add_piece(region, line)
            else:
                openings.add_ring(region, line)
        self._link(openings, frontier, piece_of, meetings)
        return self._frontier(piece_of)

    def _link(
        self,
        openings: Openings,
        frontier: NDArray[np.int64],
        piece_of: NDArray[np.int64],
        meetings: list[tuple[int, int]],
    ) -> None:
        """Tell which piece follows which, across the row above and at cuts."""
        down, up = self._at_tops()
        for above, below in zip(frontier[0].tolist(), piece_of[self.chain_of[down]].tolist(), strict=True):
            if above >= 0:
                openings.follow(above, below)
        for above, below in zip(frontier[1].tolist(), piece_of[self.chain_of[up]].tolist(), strict=True):
            if above >= 0:
                openings.follow(below, above)
        for sides in meetings:
            first, second = (int(piece_of[self.chain_of[side]]) for side in sides)
            for piece, side in ((first, sides[0]), (second, sides[1])):
                follower = int(self.sides.following[side])
                openings.follow(piece, int(piece_of[self.chain_of[follower]]))
            openings.meet(
                Meeting(regions=(openings.region_of(first), openings.region_of(second)), ends=(first, second))
            )

    def _frontier(self, piece_of: NDArray[np.int64]) -> NDArray[np.int64]:
        return piece_of[self.chain_of[np.stack(self._at_bottoms())]]
