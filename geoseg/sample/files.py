"""Made-up scenes as GeoTIFF."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from geoseg.errors import WriteError
from geoseg.raster.gdal import gdal_errors, quiet
from geoseg.raster.geobox import GeoBox

NODATA = 0


@contextlib.contextmanager
def writing(what: str, path: Path) -> Iterator[None]:
    """Turn GDAL's errors into a :class:`WriteError` about ``what`` at ``path``."""
    with gdal_errors(f"writing {what}", path, error=WriteError, hint="is the disk full?"), quiet():
        yield


@contextlib.contextmanager
def rgb_dataset(path: Path, geobox: GeoBox) -> Iterator[rasterio.io.DatasetWriter]:
    """A tiled RGB GeoTIFF of ``geobox`` to be written; 0 is nodata."""
    options = {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate", "predictor": 2}
    with rasterio.open(
        path, "w", driver="GTiff", count=3, dtype="uint8", nodata=NODATA, photometric="RGB",
        **geobox.profile(), **options,
    ) as dataset:  # fmt: skip
        yield dataset
        dataset.colorinterp = [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
        for band, name in enumerate(("red", "green", "blue"), 1):
            dataset.set_band_description(band, name)


def write_rgb(path: Path, geobox: GeoBox, bands: NDArray[np.uint8]) -> None:
    """Write bands (3, H, W) of a scene."""
    with rgb_dataset(path, geobox) as dataset:
        dataset.write(bands)
