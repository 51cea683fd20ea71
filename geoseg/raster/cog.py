"""Writes masks: Cloud-Optimised GeoTIFFs of class ids that show their classes in any GIS."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg import __version__
from geoseg.classes import IGNORE, ClassMap
from geoseg.errors import WriteError
from geoseg.outputs import staged_file
from geoseg.raster.categories import write_categories
from geoseg.raster.gdal import gdal_errors, quiet
from geoseg.raster.geobox import GeoBox
from geoseg.raster.mask import CLASSES_TAG

VERSION_TAG = "GEOSEG_VERSION"
MODEL_TAG = "GEOSEG_MODEL"
BLOCK_PX = 512


class MaskWriter:
    """Writes a mask row by row; it appears at its path, whole, when the ``with`` block ends well.

    GDAL's COG driver wants the whole raster at once, so rows go to a plain tiled GeoTIFF first, which is
    then copied: memory does not grow with the scene. CRS, transform (rotated, south-up) and ground control
    points are those of the geobox, bit for bit; a CRS that GeoTIFF keys cannot hold goes to the ``.aux.xml``
    beside it, as do the class names.
    """

    def __init__(
        self, output: Path, geobox: GeoBox, classes: ClassMap, tags: Mapping[str, str] | None = None
    ) -> None:
        """Prepare; nothing is written before the ``with`` block is entered.

        Args:
            output: path of the mask.
            geobox: its grid.
            classes: names and colours of the ids.
            tags: further TIFF tags, such as ``GEOSEG_MODEL``.
        """
        self.output = output
        self.geobox = geobox
        self.classes = classes
        self._tags = {
            **(tags or {}),
            VERSION_TAG: __version__,
            CLASSES_TAG: json.dumps(classes.to_json(), sort_keys=True),
        }
        self._rows_written = 0
        self._open = contextlib.ExitStack()
        self._staged: Path
        self._draft: Path
        self._dataset: Any = None

    def __enter__(self) -> MaskWriter:
        with contextlib.ExitStack() as stack:
            self._staged = stack.enter_context(staged_file(self.output))
            folder = Path(tempfile.mkdtemp(dir=self._staged.parent))
            self._draft = folder / "draft.tif"
            with self._write_errors(), quiet():
                self._dataset = rasterio.open(self._draft, "w", **self._profile())
                self._describe()
            # Runs before staged_file hears of the end, which then moves or removes what is there.
            stack.push(self._close)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.__exit__(kind, error, trace)

    def _close(
        self,
        kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        # After an error, that closing fails as well is no news.
        with contextlib.suppress(*(() if kind is None else (WriteError,))), self._write_errors(), quiet():
            self._dataset.close()
        if kind is None:
            self._finish()

    def write_rows(self, row_off: int, ids: NDArray[np.uint8]) -> None:
        """Write full-width rows.

        Args:
            row_off: first row.
            ids: (rows, W) uint8 class ids, 255 for nodata.

        Raises:
            WriteError: the disk is full or not writable.
        """
        window = Window(0, row_off, self.geobox.width, len(ids))
        with self._write_errors():
            self._dataset.write(ids, 1, window=window)
        self._rows_written += len(ids)

    def _write_errors(self) -> contextlib.AbstractContextManager[None]:
        return gdal_errors("writing mask", self.output, error=WriteError, hint="is the disk full?")

    def _profile(self) -> dict[str, Any]:
        layout = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "BIGTIFF": "IF_SAFER"}
        kind = {"driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": IGNORE, "compress": "lzw"}
        return kind | layout | self.geobox.profile()

    def _describe(self) -> None:
        self._dataset.update_tags(**self._tags)
        self._dataset.set_band_description(1, "class")
        colormap = {class_id: (*self.classes.rgb(class_id), 255) for class_id in range(len(self.classes))}
        self._dataset.write_colormap(1, colormap | {IGNORE: (0, 0, 0, 0)})

    def _finish(self) -> None:
        if self._rows_written != self.geobox.height:
            raise ValueError(f"{self._rows_written} of {self.geobox.height} rows were written")
        with self._write_errors(), quiet():
            rasterio.shutil.copy(
                self._draft,
                self._staged,
                driver="COG",
                compress="DEFLATE",
                blocksize=BLOCK_PX,
                overview_resampling="MODE",
                BIGTIFF="IF_SAFER",
                NUM_THREADS="ALL_CPUS",
            )
            write_categories(self._staged, self.classes)
        shutil.rmtree(self._draft.parent)
