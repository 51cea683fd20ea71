"""Reads a strip of a scene from top to bottom, every pixel once, one row of chips ahead of the network."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

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
    width = grid.columns.starts[columns.stop - 1] + size - left

    def read(row: int, before: ChipRow | None) -> ChipRow:
        top = grid.rows.starts[row]
        known = 0 if before is None else max(0, before.top + size - top)
        bands, valid = scene.read(Window(left, top + known, width, size - known))
        if before is not None and known:
            bands = np.concatenate([before.bands[:, size - known :], bands], axis=1)
            valid = np.concatenate([before.valid[size - known :], valid], axis=0)
        return ChipRow(top=top, left=left, bands=bands, valid=valid)

    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        ahead: Future[ChipRow] | None = None
        order = list(rows)
        for index, row in enumerate(order):
            current = (ahead or reader.submit(read, row, None)).result()
            more = index + 1 < len(order)
            ahead = reader.submit(read, order[index + 1], current) if more else None
            yield current
