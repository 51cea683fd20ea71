"""How much of each class there is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import IGNORE
from geoseg.mapview.layers import ClassLayer
from geoseg.mapview.pyramid import TILE_PX
from geoseg.progress import Progress
from geoseg.raster.windows import block_windows
from geoseg.vector.place import Place

_WINDOW_PX = 2048


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Pixels of a mask by class.

    Attributes:
        pixels: (256,) of each id, the last without data.
        area_m2: (256,) on the ground; ``None`` where a pixel's size is not known.
        exact: whether all pixels were counted, or those of an overview.
    """

    pixels: NDArray[np.int64]
    area_m2: NDArray[np.float64] | None
    exact: bool

    @property
    def ids(self) -> list[int]:
        """Class ids that occur."""
        return [int(at) for at in np.flatnonzero(self.pixels[:IGNORE])]

    def share(self, class_id: int) -> float | None:
        """Share of the pixels with data."""
        known = int(self.pixels[:IGNORE].sum())
        return int(self.pixels[class_id]) / known if known else None

    def hectares(self, class_id: int) -> float | None:
        """Area on the ground."""
        return None if self.area_m2 is None else float(self.area_m2[class_id]) / 1e4


def count_all(layer: ClassLayer, progress: Progress) -> Tally:
    """Count every pixel of a mask; memory does not grow with it.

    Raises:
        SceneError, ReadError: as :meth:`geoseg.raster.mask.Mask.read`.
    """
    mask = layer.mask
    rows_m2 = Place.of(mask.geobox, mask.path).row_areas_m2()
    pixels, area = np.zeros(256, np.int64), np.zeros(256, np.float64)
    windows = list(block_windows(mask.geobox.shape, _WINDOW_PX))
    progress.begin("count", len(windows), "windows")
    for window in windows:
        counts = _by_row(mask.read(window))
        pixels += counts.sum(axis=0)
        if rows_m2 is not None:
            area += rows_m2[window.row_off : window.row_off + window.height] @ counts
        progress.advance()
    progress.end()
    return Tally(pixels=pixels, area_m2=None if rows_m2 is None else area, exact=True)


def count_some(layer: ClassLayer) -> Tally:
    """Estimate from a look at the whole mask in few pixels.

    Raises:
        SceneError, ReadError: as :meth:`geoseg.raster.mask.Mask.read`.
    """
    height, width = layer.mask.geobox.shape
    factor = max(1.0, max(height, width) / (2 * TILE_PX))
    shape = (max(1, round(height / factor)), max(1, round(width / factor)))
    counts = _by_row(layer.mask.read_shrunk(Window(0, 0, width, height), shape))
    weight = height * width / (shape[0] * shape[1])
    rows_m2 = Place.of(layer.mask.geobox, layer.mask.path).row_areas_m2()
    area = None
    if rows_m2 is not None:
        middles = ((np.arange(shape[0]) + 0.5) * height / shape[0]).astype(np.int64)
        area = weight * (rows_m2[middles] @ counts)
    return Tally(
        pixels=np.round(counts.sum(axis=0) * weight).astype(np.int64),
        area_m2=area,
        exact=factor == 1.0,
    )


def _by_row(ids: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Pixels (h, 256) of each id in each row."""
    rows = len(ids)
    keys = ids.astype(np.int64) + 256 * np.arange(rows)[:, np.newaxis]
    return np.bincount(keys.ravel(), minlength=256 * rows).reshape(rows, 256)
