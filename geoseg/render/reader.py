"""Reads a strip of a scene from top to bottom, every pixel once, one row of chips ahead of the network."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.raster.rows import RowReader
from geoseg.raster.scene import Scene
from geoseg.render.grid import ChipGrid


@dataclass(frozen=True, kw_only=True)
class ChipRow:
    """All pixels that one row of chips sees, or a part of it.

    Attributes:
        top: first row in the scene.
        left: first column in the scene.
        bands: (B, size, width) in the scene's dtype.
        valid: (size, width) bool.
    """

    top: int
    left: int
    bands: NDArray[Any]
    valid: NDArray[np.bool_]

    def chip(self, start: int, size: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Bands (B, size, size) and valid (size, size) of the chip that begins at column ``start``; views."""
        columns = slice(start - self.left, start - self.left + size)
        return self.bands[:, :, columns], self.valid[:, columns]


def chip_rows(
    scene: Scene, grid: ChipGrid, columns: range, rows: Iterable[int]
) -> Generator[ChipRow, None, None]:
    """The pixels of some rows of chips, top to bottom; a thread reads one row ahead.

    Rows of the scene that two rows of chips share are read once.

    Args:
        scene: what to read; nothing else may read it meanwhile.
        grid: the chips.
        columns: columns of chips in the strip.
        rows: rows of chips wanted, ascending.

    Raises:
        ReadError: the scene is damaged.
    """
    size = grid.size_px
    left = grid.columns.starts[columns.start]
    source = RowReader(scene, left, grid.columns.starts[columns.stop - 1] + size - left)

    def read(row: int) -> ChipRow:
        top = grid.rows.starts[row]
        bands, valid = source.read(top, size)
        return ChipRow(top=top, left=left, bands=bands, valid=valid)

    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        ahead: Future[ChipRow] | None = None
        order = list(rows)
        for index, row in enumerate(order):
            current = (ahead or reader.submit(read, row)).result()
            ahead = reader.submit(read, order[index + 1]) if index + 1 < len(order) else None
            yield current
