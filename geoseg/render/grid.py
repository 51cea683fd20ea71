"""The one grid a scene is predicted on: chips overlap, yet every pixel belongs to exactly one of them.

The grid hangs at the scene's corner and nothing else: not at a window, a block, a batch or a memory limit. So
what a pixel is decided from never depends on how the work is cut.

All lines of the grid are multiples of :data:`ALIGN_PX`: cells of the coarse map (16 px, or 8) of overlapping
chips then lie exactly on each other, and the areas the cap on refined points binds in are never cut.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import InputError

ALIGN_PX = 32

Chip = tuple[int, int]
"""Row and column of a chip in the grid, not in pixels."""

Span = tuple[int, int]
"""First pixel, and the one after the last."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """The grid along one axis, in pixels.

    Attributes:
        length: of the scene.
        size: side of a chip.
        overlap: of neighbours; the last two may overlap by more.
        starts: first pixel of each chip; chips may reach beyond the scene.
        bounds: where what one chip owns ends and the next one's begins: ``starts + 1`` numbers from 0 to
            ``length``, each in the middle of an overlap.
    """

    length: int
    size: int
    overlap: int
    starts: tuple[int, ...]
    bounds: tuple[int, ...]

    @classmethod
    def of(cls, length: int, size: int, overlap: int, shift: int = 0) -> Axis:
        """Lay chips of ``size`` over ``length`` pixels; the first one begins ``shift`` pixels before them."""
        stride = size - overlap
        starts = [-shift]
        while starts[-1] + size < length:
            starts.append(starts[-1] + stride)
        # The last chip moves back so that it reaches no further beyond the scene than the alignment asks.
        last = -((size - length) // ALIGN_PX) * ALIGN_PX
        if len(starts) > 1:
            starts[-1] = max(starts[-2] + ALIGN_PX, min(starts[-1], last))
        bounds = [0]
        for before, after in itertools.pairwise(starts):
            # Rounded down, the middle may fall before a chip that overlaps little; then its start it is.
            middle = (before + size + after) // 2 // ALIGN_PX * ALIGN_PX
            bounds.append(max(after, middle, 0))
        return cls(length=length, size=size, overlap=overlap, starts=tuple(starts), bounds=(*bounds, length))

    def __len__(self) -> int:
        return len(self.starts)

    def owned(self, index: int) -> Span:
        """What the chip decides."""
        return self.bounds[index], self.bounds[index + 1]

    def region(self, index: int) -> Span:
        """What it must know for that: a margin more on each side, but never more than it sees."""
        first, end = self.owned(index)
        start = self.starts[index]
        return (
            max(start, first // ALIGN_PX * ALIGN_PX - ALIGN_PX),
            min(start + self.size, -(-end // ALIGN_PX) * ALIGN_PX + ALIGN_PX),
        )

    @functools.cached_property
    def touching(self) -> tuple[tuple[int, ...], ...]:
        """For each chip those that see any of its region, in order; most often itself and its neighbours."""
        found = []
        for index in range(len(self)):
            first, end = self.region(index)
            low = bisect.bisect_right(self.starts, first - self.size)
            found.append(tuple(range(low, bisect.bisect_left(self.starts, end))))
        return tuple(found)


@dataclass(frozen=True, kw_only=True)
class ChipGrid:
    """All chips of a scene.

    Attributes:
        rows: the grid from top to bottom.
        columns: the grid from left to right.
    """

    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, shape: tuple[int, int], *, size_px: int, overlap_px: int, shift_px: int = 0) -> ChipGrid:
        """The grid of a scene.

        Args:
            shape: height and width of the scene.
            size_px: side of a chip, a multiple of 32.
            overlap_px: overlap of neighbours, a multiple of 32 below ``size_px``.
            shift_px: moves all chips up and left, to see what the place of the grid changes.

        Raises:
            InputError: sizes that make no grid.
        """
        for name, value in (("chip size", size_px), ("overlap", overlap_px), ("shift", shift_px)):
            if value % ALIGN_PX:
                near = value // ALIGN_PX * ALIGN_PX
                raise InputError(
                    f"{name} of {value} px is no multiple of {ALIGN_PX}; use {near} or {near + ALIGN_PX}"
                )
        if not overlap_px < size_px:
            raise InputError(
                f"overlap of {overlap_px} px is not below the chip size of {size_px} px; lower it"
            )
        if not 0 <= shift_px < size_px:
            raise InputError(f"shift of {shift_px} px is not below the chip size of {size_px} px; lower it")
        rows, columns = (Axis.of(length, size_px, overlap_px, shift_px) for length in shape)
        return cls(rows=rows, columns=columns)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of chips."""
        return len(self.rows), len(self.columns)

    @property
    def size_px(self) -> int:
        """Side of a chip."""
        return self.rows.size

    def touching(self, chip: Chip) -> Iterator[Chip]:
        """Chips whose coarse logits count in the region of ``chip``, row by row."""
        columns = self.columns.touching[chip[1]]
        for row in self.rows.touching[chip[0]]:
            for column in columns:
                yield row, column


def default_overlap(size_px: int) -> int:
    """A quarter of a chip, as a multiple of 32 px."""
    return max(ALIGN_PX, size_px // 4 // ALIGN_PX * ALIGN_PX)


@functools.lru_cache(maxsize=64)
def taper(cells: int, overlap_cells: int) -> NDArray[np.float32]:
    """Weights (cells,) of a chip's cells along one axis: 1 inside, a linear ramp over the overlap.

    Never 0: the outermost pixels of a scene are seen by one chip's outermost cells alone.
    """
    from_edge = np.minimum(np.arange(cells), np.arange(cells)[::-1]) + 0.5
    return np.minimum(1.0, from_edge / max(overlap_cells, 1)).astype(np.float32)
