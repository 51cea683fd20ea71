"""Blocks, the pieces a raster is stored in: what cannot be read is named, or gone around, by them.

Which pixels a damaged block hides follows from the file alone, never from the windows that were read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from rasterio.windows import Window

from geoseg.raster.windows import clip, show

OnError = Literal["stop", "nodata"]
"""What is done about a block that cannot be read: an error, or its pixels are taken for nodata."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A block.

    Attributes:
        column: counted from the left, from 0.
        row: counted from the top, from 0.
        window: its pixels.
    """

    column: int
    row: int
    window: Window

    def __str__(self) -> str:
        return f"block {self.column}, {self.row} ({show(self.window)})"


def blocks_of(window: Window, shape: tuple[int, int], block_shape: tuple[int, int]) -> Iterator[Block]:
    """Blocks that a window touches, in row-major order.

    Args:
        window: within the raster.
        shape: height and width of the raster.
        block_shape: height and width of its blocks; those at its edges are cut.
    """
    height, width = block_shape
    for row in range(window.row_off // height, -(-(window.row_off + window.height) // height)):
        for column in range(window.col_off // width, -(-(window.col_off + window.width) // width)):
            inside = clip(Window(column * width, row * height, width, height), shape)
            if inside is not None:
                yield Block(column=column, row=row, window=inside)


def joined(windows: Iterable[Window]) -> list[Window]:
    """Windows that do not overlap, in row-major order, with neighbours of one height or width made one."""
    rows: list[Window] = []
    for window in windows:
        last = rows[-1] if rows else None
        beside = last is not None and (last.row_off, last.height) == (window.row_off, window.height)
        if last is not None and beside and last.col_off + last.width == window.col_off:
            rows[-1] = Window(last.col_off, last.row_off, last.width + window.width, last.height)
        else:
            rows.append(window)
    found: dict[tuple[int, int, int], Window] = {}
    for window in rows:
        above = found.pop((window.col_off, window.width, window.row_off), None)
        if above is not None:
            height = above.height + window.height
            window = Window(above.col_off, above.row_off, above.width, height)
        found[window.col_off, window.width, window.row_off + window.height] = window
    return sorted(found.values(), key=lambda window: (window.row_off, window.col_off))
