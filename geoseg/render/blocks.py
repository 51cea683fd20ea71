"""Blocks: the pieces of a prediction that are finished, kept and counted one by one.

A block is what a rectangle of chips owns. Its size follows from what is rendered alone, never from the
machine, so that blocks of different machines, memory limits and runs fit together.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import IGNORE
from geoseg.render.grid import Chip, ChipGrid

CHIPS_HIGH, CHIPS_WIDE = 4, 8
"""Chips of a block: half a minute of work for a large network, and few enough files for a huge scene."""

MAX_BLOCK_BYTES = 48_000_000
"""Blocks with more values than this hold fewer chips."""

MAX_HEADER_BYTES = 4096

_MAGIC = b"geoseg block 1\n"
_ZLIB_LEVEL = 1

MAX_FREE_BYTES = 2**30
"""Most bytes of a layer without a shape."""

Layers = Mapping[str, NDArray[np.uint8]]
"""Values of a block by the name of the layer: (h, w), (K, h, w) for probabilities, or (n,) bytes."""


@dataclass(frozen=True, kw_only=True)
class BlockGrid:
    """The blocks of a scene.

    Attributes:
        grid: the chips.
        chips_high: rows of chips in a block.
        chips_wide: columns of chips in a block.
        scale: pixels of the mask for one of the scene, along an axis.
        layers: number of bands of each layer rendered, by name; 0 for bytes that are no pixels.
    """

    grid: ChipGrid
    chips_high: int
    chips_wide: int
    scale: int
    layers: Mapping[str, int]

    @classmethod
    def of(cls, grid: ChipGrid, *, scale: int, layers: Mapping[str, int]) -> BlockGrid:
        """Blocks of as many chips as :data:`MAX_BLOCK_BYTES` allows."""
        stride = grid.rows.size - grid.rows.overlap
        chip_bytes = (stride * scale) ** 2 * sum(layers.values())
        high, wide = CHIPS_HIGH, CHIPS_WIDE
        while high * wide * chip_bytes > MAX_BLOCK_BYTES and high * wide > 1:
            high, wide = (high // 2, wide) if high > 1 else (1, wide // 2)
        return cls(grid=grid, chips_high=high, chips_wide=wide, scale=scale, layers=dict(layers))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        rows, columns = self.grid.shape
        return -(-rows // self.chips_high), -(-columns // self.chips_wide)

    def __len__(self) -> int:
        return self.shape[0] * self.shape[1]

    def place(self, block: int) -> tuple[int, int]:
        """Row and column of a block; blocks are numbered row by row."""
        return divmod(block, self.shape[1])

    def block_of(self, chip: Chip) -> int:
        """The block whose pixels a chip decides."""
        return (chip[0] // self.chips_high) * self.shape[1] + chip[1] // self.chips_wide

    def chips(self, block: int) -> Iterator[Chip]:
        """Chips of a block that own any pixel, row by row."""
        rows, columns = self.chip_rows(block), self.chip_columns(block)
        for row in rows:
            for column in columns:
                if not self.window_of((row, column)).width or not self.window_of((row, column)).height:
                    continue
                yield row, column

    def chip_rows(self, block: int) -> range:
        """Rows of the grid in a block."""
        first = self.place(block)[0] * self.chips_high
        return range(first, min(first + self.chips_high, self.grid.shape[0]))

    def chip_columns(self, block: int) -> range:
        """Columns of the grid in a block."""
        first = self.place(block)[1] * self.chips_wide
        return range(first, min(first + self.chips_wide, self.grid.shape[1]))

    def window_of(self, chip: Chip) -> Window:
        """Pixels of the scene that a chip owns."""
        (top, bottom), (left, right) = self.grid.rows.owned(chip[0]), self.grid.columns.owned(chip[1])
        return Window(left, top, right - left, bottom - top)

    def view_of(self, chip: Chip) -> Window:
        """Pixels a chip sees, in the scene; it may reach beyond."""
        size = self.grid.size_px
        return Window(self.grid.columns.starts[chip[1]], self.grid.rows.starts[chip[0]], size, size)

    def window(self, block: int) -> Window:
        """Pixels of the scene in a block."""
        rows, columns = self.chip_rows(block), self.chip_columns(block)
        top, left = self.grid.rows.bounds[rows.start], self.grid.columns.bounds[columns.start]
        bottom, right = self.grid.rows.bounds[rows.stop], self.grid.columns.bounds[columns.stop]
        return Window(left, top, right - left, bottom - top)

    def empty(self, block: int) -> dict[str, NDArray[np.uint8]]:
        """Layers of a block in which nothing is decided yet: all 255, or no bytes."""
        window = self.window(block)
        shape = (window.height * self.scale, window.width * self.scale)
        shapes = {0: (0,), 1: shape}
        return {
            name: np.full(shapes.get(count, (count, *shape)), IGNORE, np.uint8)
            for name, count in self.layers.items()
        }

    def encode(self, block: int, layers: Layers) -> bytes:
        """A block as the bytes of a file: a line of JSON, then each layer deflated."""
        packed = {name: zlib.compress(layers[name].tobytes(), _ZLIB_LEVEL) for name in self.layers}
        header = {"block": block, "bytes": {name: len(data) for name, data in packed.items()}}
        line = json.dumps(header, sort_keys=True).encode() + b"\n"
        return b"".join([_MAGIC, line, *packed.values()])

    def decode(self, block: int, data: bytes) -> dict[str, NDArray[np.uint8]]:
        """What :meth:`encode` packed.

        Raises:
            ValueError: the bytes are no such block: damaged, truncated, or of another one.
        """
        line_end = data.find(b"\n", len(_MAGIC), MAX_HEADER_BYTES)
        if not data.startswith(_MAGIC) or line_end < 0:
            raise ValueError("no geoseg block")
        lengths = _lengths(data[len(_MAGIC) : line_end], block, tuple(self.layers))
        at = line_end + 1
        layers = self.empty(block)
        for name, values in layers.items():
            packed = data[at : at + lengths[name]]
            if self.layers[name]:
                values[...] = _inflate(packed, values.nbytes).reshape(values.shape)
            else:
                layers[name] = _inflate(packed, None)
            at += lengths[name]
        if at != len(data):
            raise ValueError("longer than its header says")
        return layers


def _lengths(line: bytes, block: int, names: tuple[str, ...]) -> dict[str, int]:
    try:
        header = json.loads(line)
        lengths = {name: int(header["bytes"][name]) for name in names}
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        raise ValueError("a damaged header") from error
    if header.get("block") != block or len(header["bytes"]) != len(names):
        raise ValueError("another block")
    if min(lengths.values()) < 0:
        raise ValueError("a damaged header")
    return lengths


def _inflate(data: bytes, size: int | None) -> NDArray[np.uint8]:
    """``size`` values, or as many as there are; never more than allowed, whatever the data claims."""
    inflater = zlib.decompressobj()
    try:
        values = inflater.decompress(data, MAX_FREE_BYTES if size is None else size)
        rest = inflater.decompress(inflater.unconsumed_tail, 1)
    except zlib.error as error:
        raise ValueError("damaged data") from error
    whole = size is None or len(values) == size
    if not whole or rest or not inflater.eof or inflater.unused_data:
        raise ValueError("truncated data")
    return np.frombuffer(values, np.uint8)
