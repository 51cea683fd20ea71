"""Reads the detections of a scene row of chips by row of chips, from the blocks that hold them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import ReadError
from geoseg.render.blocks import BlockGrid, Layers
from geoseg.render.detections import PackedDetections
from geoseg.render.grid import Axis

ReadBlock = Callable[[int], Layers]


@dataclass(frozen=True, kw_only=True)
class SeenRow:
    """PackedDetections of a row of chips, by chip from left to right.

    Attributes:
        first: number of the first of them among all detections of the scene.
        detections: D of them.
        top, left, bottom, right: (D,) int64 box of each in pixels of the scene.
        begins: (C + 1,) where the detections of each column of chips begin.
    """

    first: int
    detections: PackedDetections
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    bottom: NDArray[np.int64]
    right: NDArray[np.int64]
    begins: NDArray[np.int64]
    _offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.top)

    @classmethod
    def of(cls, detections: PackedDetections, first: int, blocks: BlockGrid) -> SeenRow:
        """From detections in the order of columns."""
        starts_x = np.array(blocks.grid.columns.starts, np.int64)
        starts_y = np.array(blocks.grid.rows.starts, np.int64)
        top: NDArray[np.int64] = starts_y[detections.row] + detections.top
        left: NDArray[np.int64] = starts_x[detections.column] + detections.left
        return cls(
            first=first,
            detections=detections,
            top=top,
            left=left,
            bottom=top + detections.height,
            right=left + detections.width,
            begins=np.searchsorted(detections.column, np.arange(len(starts_x) + 1)),
            _offsets=detections.offsets(),
        )

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Pixels (h, w) of a detection, in its box."""
        shape = (int(self.detections.height[index]), int(self.detections.width[index]))
        packed = self.detections.bits[self._offsets[index] : self._offsets[index + 1]]
        return np.unpackbits(packed, count=shape[0] * shape[1]).view(np.bool_).reshape(shape)

    def areas(self) -> NDArray[np.int64]:
        """Pixels (D,) of each detection."""
        counts = np.cumsum(np.bitwise_count(self.detections.bits), dtype=np.int64)
        ends: NDArray[np.int64] = np.concatenate([[0], counts])[self._offsets]
        return np.diff(ends)


@dataclass(frozen=True, kw_only=True)
class _BlockRow:
    """What a row of blocks holds: rows of chips, and which pixels are valid, a bit each."""

    rows: dict[int, SeenRow]
    top: int
    valid: NDArray[np.uint8]


class Gathered:
    """All detections of a scene, of which only some rows of blocks are in memory."""

    def __init__(self, blocks: BlockGrid, wanted: Iterable[int], read: ReadBlock) -> None:
        """Nothing is read yet.

        Args:
            blocks: the blocks of the scene.
            wanted: numbers of the blocks that hold anything.
            read: gives the layers of a block; raises ValueError or OSError when it is damaged.
        """
        self.blocks = blocks
        self._read = read
        self._wanted: dict[int, list[int]] = {}
        for block in sorted(wanted):
            self._wanted.setdefault(blocks.place(block)[0], []).append(block)
        self._firsts = [0]
        self._held: dict[int, _BlockRow] = {}

    def row(self, index: int) -> SeenRow:
        """PackedDetections of a row of chips; rows are asked for in order, at least the first time."""
        return self._block_row(index // self.blocks.chips_high).rows[index]

    def forget_above(self, index: int) -> None:
        """Let go of rows of blocks that lie above a row of chips."""
        for number in [n for n in self._held if (n + 1) * self.blocks.chips_high <= index]:
            del self._held[number]

    def rows_in(self, top: int, bottom: int) -> list[SeenRow]:
        """Rows of chips that see any of some rows of pixels; what lies above is let go of."""
        axis = self.blocks.grid.rows
        seeing = [i for i, start in enumerate(axis.starts) if start < bottom and start + axis.size > top]
        self.forget_above(seeing[0])
        return [self.row(index) for index in seeing]

    def valid(self, part: Window) -> NDArray[np.bool_]:
        """Which pixels (h, w) of a part of the scene are valid and asked for."""
        bottom, width = part.row_off + part.height, self.blocks.grid.columns.length
        valid = np.zeros((part.height, part.width), np.bool_)
        columns = slice(part.col_off, part.col_off + part.width)
        lines = self.blocks.grid.rows.bounds
        for number in range(self.blocks.shape[0]):
            rows = self.blocks.chip_rows(number * self.blocks.shape[1])
            first, end = max(lines[rows.start], part.row_off), min(lines[rows.stop], bottom)
            if first < end:
                held = self._block_row(number)
                bits = held.valid[first - held.top : end - held.top]
                shown = np.unpackbits(bits, axis=1, count=width).view(np.bool_)
                valid[first - part.row_off : end - part.row_off] = shown[:, columns]
        return valid

    def _block_row(self, number: int) -> _BlockRow:
        if number not in self._held:
            # PackedDetections are numbered through, so those above must have been counted.
            while len(self._firsts) <= number:
                self._load(len(self._firsts) - 1)
            self._load(number)
        return self._held[number]

    def _load(self, number: int) -> None:
        blocks, grid = self.blocks, self.blocks.grid
        chip_rows = blocks.chip_rows(number * blocks.shape[1])
        top, bottom = grid.rows.bounds[chip_rows.start], grid.rows.bounds[chip_rows.stop]
        valid = np.zeros((bottom - top, grid.columns.length), np.bool_)
        parts = []
        for block in self._wanted.get(number, ()):
            found, shown = self._decoded(block)
            window = blocks.window(block)
            valid[:, window.col_off : window.col_off + window.width] = shown == 0
            parts.append(found)
        every = PackedDetections.joined(parts)
        every = every.only(np.lexsort((every.column, every.row)))
        begins = np.searchsorted(every.row, np.arange(chip_rows.start, chip_rows.stop + 1))
        first = self._firsts[number]
        rows = {
            row: SeenRow.of(every.only(np.arange(begin, end)), first + int(begin), blocks)
            for row, (begin, end) in zip(chip_rows, itertools.pairwise(begins), strict=True)
        }
        if len(self._firsts) == number + 1:
            self._firsts.append(first + len(every))
        self._held[number] = _BlockRow(rows=rows, top=top, valid=np.packbits(valid, axis=1))

    def _decoded(self, block: int) -> tuple[PackedDetections, NDArray[np.uint8]]:
        blocks = self.blocks
        try:
            layers = self._read(block)
            found = PackedDetections.from_bytes(layers["objects"].tobytes(), size_px=blocks.grid.size_px)
            rows, columns = blocks.chip_rows(block), blocks.chip_columns(block)
            if not (_within(found.row, rows) and _within(found.column, columns)):
                raise ValueError("detections of another block")
        except (ValueError, OSError) as error:
            raise ReadError(f"block {block} of the journal is damaged; run it again with --resume") from error
        return found, layers["valid"]


def _within(values: NDArray[np.int32], span: range) -> bool:
    return bool(((values >= span.start) & (values < span.stop)).all())


def lines_between(axis: Axis) -> NDArray[np.int64]:
    """Where the pixels end that one chip sees deepest and those of the next one begin, (C + 1,).

    Unlike the lines of :class:`geoseg.render.grid.Axis` these are exactly in the middle of overlaps. A chip
    that begins at the edge of the scene sees the pixels there as deep as can be.
    """
    starts = np.array(axis.starts, np.int64)
    middles = np.where(starts[1:] <= 0, 0, (starts[:-1] + axis.size + starts[1:]) // 2)
    return np.concatenate([[0], middles, [axis.length]])
