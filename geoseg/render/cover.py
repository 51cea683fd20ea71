"""Which objects are left out because surer ones cover them: duplicates, of which a sliver would remain.

A pixel that several objects claim goes to the surest. Often the others are the same thing once more, a little
shifted or of another class, and what they keep is a rim that nothing on the ground looks like. So objects are
gone through from the surest to the least sure, and one that keeps too little of itself beside those before it
is left out. What was left out covers nothing: the object below it gets its pixels back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.render.fuse import Fusion
from geoseg.render.gather import Gathered
from geoseg.render.paint import Strokes
from geoseg.vector.source import band_rows


def uncovered(
    gathered: Gathered, fusion: Fusion, part: Window, *, least: float, advance: Callable[[int], None]
) -> tuple[Fusion, int]:
    """Leave out what surer objects cover.

    Counted are all pixels of an object that the chips show, whether or not they are asked for: of a part of a
    scene the same objects are left out as of the whole, as far as chips that see the part can tell.

    Args:
        gathered: the detections.
        fusion: which object each is of.
        part: what is asked for.
        least: share of its pixels that an object must keep; with 0 none is left out.
        advance: told the rows of every band.

    Returns:
        The fusion, in which the detections of objects left out are of none; and how many objects those are.
    """
    whole = _seen(gathered, part)
    if least <= 0.0:
        advance(whole.height)
        return fusion, 0
    claims = _Claims(objects=len(fusion))
    strokes = Strokes(gathered=gathered, fusion=fusion)
    for band in _bands(whole):
        claims.add(strokes, band)
        advance(band.height)
    kept = claims.kept(fusion.rank, least)
    number = fusion.object_of
    object_of = np.where(np.append(kept, False)[number], number, -1).astype(np.int32)
    return replace(fusion, object_of=object_of), int(np.count_nonzero(~kept & (claims.area() > 0)))


def seen_rows(gathered: Gathered, part: Window) -> int:
    """How many rows :func:`uncovered` goes through."""
    return int(_seen(gathered, part).height)


def _seen(gathered: Gathered, part: Window) -> Window:
    """What chips show that see the part."""
    grid = gathered.blocks.grid
    top, left = max(part.row_off - grid.size_px, 0), max(part.col_off - grid.size_px, 0)
    bottom = min(part.row_off + part.height + grid.size_px, grid.rows.length)
    right = min(part.col_off + part.width + grid.size_px, grid.columns.length)
    return Window(left, top, right - left, bottom - top)


def _bands(whole: Window) -> Iterator[Window]:
    rows = band_rows(whole.width)
    for top in range(0, whole.height, rows):
        height = min(rows, whole.height - top)
        yield Window(whole.col_off, whole.row_off + top, whole.width, height)


@dataclass(kw_only=True)
class _Claims:
    """How many pixels are claimed by which objects.

    Pixels of a band that the very same objects claim are counted together, as a *knot* if they are several:
    there are far fewer of these than pixels.

    Attributes:
        objects: O.
        alone: (O,) int64 pixels that nothing else claims.
    """

    objects: int
    alone: NDArray[np.int64] = field(init=False)
    _pixels: list[int] = field(default_factory=list)
    """Of each knot."""
    _members: list[NDArray[np.int32]] = field(default_factory=list)
    _sizes: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.alone = np.zeros(self.objects, np.int64)

    def add(self, strokes: Strokes, band: Window) -> None:
        """Count a band of the scene."""
        knots = np.zeros((band.height, band.width), np.int32)
        # Of each knot the one without its last object, and that object; 0 is nobody's.
        below, last = [0], [-1]
        known: dict[tuple[int, int], int] = {}

        def with_also(knot: int, number: int) -> int:
            if last[knot] == number:
                return knot  # parts of one object follow each other, and may overlap
            found = known.setdefault((knot, number), len(below))
            if found == len(below):
                below.append(knot)
                last.append(number)
            return found

        for number, rows, columns, mask in strokes.of(band):
            here = knots[rows, columns]
            claimed = here[mask]
            if claimed.any():
                found, which = np.unique(claimed, return_inverse=True)
                here[mask] = np.array([with_also(knot, number) for knot in found.tolist()], np.int32)[which]
            else:
                here[mask] = with_also(0, number)
        self._take(np.bincount(knots.ravel(), minlength=len(below)), below, last)

    def _take(self, pixels: NDArray[np.int64], below: list[int], last: list[int]) -> None:
        for knot in (1 + np.flatnonzero(pixels[1:])).tolist():
            if below[knot] == 0:
                self.alone[last[knot]] += pixels[knot]
                continue
            members = []
            at = knot
            while at:
                members.append(last[at])
                at = below[at]
            self._pixels.append(int(pixels[knot]))
            self._members.append(np.array(members, np.int32))
            self._sizes.append(len(members))

    def area(self) -> NDArray[np.int64]:
        """Pixels (O,) of each object."""
        owner, pixels, _ = self._flat()
        return self.alone + np.bincount(owner, weights=pixels, minlength=self.objects).astype(np.int64)

    def kept(self, rank: NDArray[np.int64], least: float) -> NDArray[np.bool_]:
        """Which objects (O,) keep enough.

        Args:
            rank: (O,) of objects; the higher one has the pixel.
            least: share of its pixels.
        """
        owner, pixels, knot = self._flat()
        taken = np.zeros(len(self._pixels), np.bool_)
        kept = self.alone > 0
        order = np.argsort(-rank[owner], kind="stable")
        begins = np.flatnonzero(np.diff(rank[owner[order]], prepend=-1))
        for own in np.split(order, begins[1:]):
            if not len(own):
                continue
            number = int(owner[own[0]])
            free = own[~taken[knot[own]]]
            visible = int(self.alone[number]) + int(pixels[free].sum())
            kept[number] = visible >= least * (int(self.alone[number]) + int(pixels[own].sum()))
            if kept[number]:
                taken[knot[own]] = True
        return kept

    def _flat(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Of all members of all knots: the object, the pixels of the knot, and its number."""
        sizes = np.array(self._sizes, np.int64)
        pixels = np.repeat(np.array(self._pixels, np.int64), sizes)
        owner = np.concatenate([np.zeros(0, np.int32), *self._members]).astype(np.int64)
        return owner, pixels, np.repeat(np.arange(len(sizes)), sizes)
