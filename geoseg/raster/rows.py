"""Reads some columns of a scene from top to bottom, every row once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.raster.scene import Scene

Rows = tuple[NDArray[Any], NDArray[np.bool_]]
"""Bands (B, h, w) and valid (h, w)."""

MAX_AHEAD_PX = 2048
"""Rows of blocks of a remote scene are read whole up to this height."""


def rows_ahead(scene: Scene) -> int:
    """Rows that :class:`RowReader` may hold beyond those asked for.

    Where a read ends within a row of blocks, the next one needs those blocks again. GDAL's cache has them
    still, unless a row of blocks is large; of a file here they are then decoded twice, but of one on a server
    they are fetched twice. So there whole rows of blocks are read, and what is beyond the wish is kept.
    """
    if scene.remote is None or scene.block_rows > MAX_AHEAD_PX:
        return 0
    return scene.block_rows - 1


class RowReader:
    """Reads windows of equal columns, each no higher up than the one before.

    Rows that two windows share are kept in between. Nothing else may read the scene meanwhile.
    """

    def __init__(self, scene: Scene, left: int, width: int) -> None:
        """Prepare; columns may reach beyond the scene.

        Args:
            scene: what to read.
            left: first column.
            width: how many columns.
        """
        self._scene = scene
        self._left = left
        self._width = width
        self._step = rows_ahead(scene) + 1
        self._top = 0
        self._rows: Rows | None = None

    def read(self, top: int, height: int) -> Rows:
        """Bands (B, height, width) and valid (height, width) of the rows from ``top`` on; views.

        Raises:
            ReadError: as :meth:`geoseg.raster.scene.Scene.read`.
        """
        below = top - self._top
        kept = None if self._rows is None or below < 0 else (self._rows[0][:, below:], self._rows[1][below:])
        if kept is None or kept[0].shape[1] < height:
            # Of what is no longer needed, nothing is held while more is read.
            kept = None if kept is None else (kept[0].copy(), kept[1].copy())
            self._rows = None
            kept = self._more(kept, top, top + height)
        self._top, self._rows = top, kept
        return kept[0][:, :height], kept[1][:height]

    def _more(self, kept: Rows | None, top: int, wanted: int) -> Rows:
        """``kept``, which begins at ``top``, and what follows on it as far as ``wanted``, or further."""
        first, end = top + (0 if kept is None else kept[0].shape[1]), self._end_of(wanted)
        bands, valid = self._scene.read(Window(self._left, first, self._width, end - first))
        if kept is None or not kept[0].shape[1]:
            return bands, valid
        return np.concatenate([kept[0], bands], axis=1), np.concatenate([kept[1], valid], axis=0)

    def _end_of(self, end: int) -> int:
        """Where to stop reading: at the end of a row of blocks, but never beyond the scene for that alone."""
        return max(end, min(-(-end // self._step) * self._step, self._scene.geobox.height))
