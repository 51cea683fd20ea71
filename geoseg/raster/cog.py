"""Writes predictions: Cloud-Optimised GeoTIFFs that any GIS shows as what they are, of any size."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

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
from geoseg.raster.layers import Layer, mask_layer
from geoseg.raster.mask import CLASSES_TAG
from geoseg.raster.qml import layer_style, style_of

VERSION_TAG = "GEOSEG_VERSION"
MODEL_TAG = "GEOSEG_MODEL"
BLOCK_PX = 512


class RasterWriter:
    """Writes a raster window by window; it appears at its path, whole, when the ``with`` block ends well.

    GDAL's COG driver wants the whole raster at once, so windows go to a plain tiled GeoTIFF first, which is
    then copied: memory does not grow with the raster. Pixels never written are nodata and take no room there.
    CRS, transform (rotated, south-up) and ground control points are those of the geobox, bit for bit; a CRS
    that GeoTIFF keys cannot hold goes to the ``.aux.xml`` beside it, as do the names of shown classes. The
    bytes depend on pixels, grid, layer and tags only, never on how the windows were cut or ordered.

    Bands are interleaved by pixel: readers mostly want all classes of a place, and it is the one layout that
    every GDAL with a COG driver writes. Not for use by several threads at once.
    """

    def __init__(
        self,
        output: Path,
        geobox: GeoBox,
        layer: Layer,
        tags: Mapping[str, str] | None = None,
        *,
        qml: bool = False,
    ) -> None:
        """Prepare; nothing is written before the ``with`` block is entered.

        Args:
            output: path of the raster.
            geobox: its grid.
            layer: what it holds.
            tags: further TIFF tags, such as ``GEOSEG_MODEL``.
            qml: write the style of the layer beside it, if there is one for such a layer.
        """
        self.output = output
        self.geobox = geobox
        self.layer = layer
        self._qml = layer_style(layer) if qml else None
        own = {VERSION_TAG: __version__}
        if layer.classes is not None:
            own[CLASSES_TAG] = json.dumps(layer.classes.to_json(), sort_keys=True)
        self._tags = dict(sorted({**(tags or {}), **own}.items()))
        self._written: dict[tuple[int, int], int] = {}
        self._open = contextlib.ExitStack()
        self._staged: Path
        self._draft: Path
        self._dataset: Any = None

    def __enter__(self) -> Self:
        with self._write_errors(), quiet(), contextlib.ExitStack() as stack:
            self._staged = stack.enter_context(staged_file(self.output))
            self._draft = Path(tempfile.mkdtemp(dir=self._staged.parent)) / "draft.tif"
            # For reading as well: a window may cover a block in part.
            self._dataset = rasterio.open(self._draft, "w+", **self._profile())
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
        with self._write_errors():
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

    def write(self, window: Window, values: NDArray[Any]) -> None:
        """Write a window. Windows may come in any order and overlap; the last one wins.

        Windows whose edges are multiples of 512 px (or the raster's own) are fastest: blocks that others
        touch are read, filled up and written again, which leaves gaps in the draft of several bands.

        Args:
            window: whole pixels inside of the raster.
            values: (count, h, w), or (h, w) for one band, in the layer's dtype.

        Raises:
            WriteError: the disk is full or not writable.
            ValueError: the window reaches beyond the raster, or the values do not fit it.
        """
        values = values[np.newaxis] if values.ndim == 2 else values
        top, left, height, width = self._check(window, values)
        if height == 0 or width == 0:
            return
        outer = self._whole_blocks(top, left, height, width)
        with self._write_errors():
            if (outer.height, outer.width) != (height, width):
                blocks = self._dataset.read(window=outer)
                row, col = top - outer.row_off, left - outer.col_off
                blocks[:, row : row + height, col : col + width] = values
                values = blocks
            self._dataset.write(values, window=outer)
        for row in range(0, outer.height, BLOCK_PX):
            for col in range(0, outer.width, BLOCK_PX):
                block = values[:, row : row + BLOCK_PX, col : col + BLOCK_PX]
                self._written[outer.row_off + row, outer.col_off + col] = _fingerprint(block)

    def _check(self, window: Window, values: NDArray[Any]) -> tuple[int, int, int, int]:
        edges = (window.row_off, window.col_off, window.height, window.width)
        top, left, height, width = (int(edge) for edge in edges)
        if (top, left, height, width) != edges:
            raise ValueError(f"{window} is not of whole pixels")
        rows, cols = self.geobox.shape
        if min(top, left, height, width) < 0 or top + height > rows or left + width > cols:
            raise ValueError(f"{window} reaches beyond the raster of {cols} x {rows} pixels")
        shape, dtype = (self.layer.count, height, width), self.layer.dtype
        if values.shape != shape or values.dtype != dtype:
            raise ValueError(f"{values.dtype} values {values.shape} where {dtype} ones {shape} are wanted")
        return top, left, height, width

    def _whole_blocks(self, top: int, left: int, height: int, width: int) -> Window:
        """The smallest window of whole blocks around a window."""
        rows, cols = self.geobox.shape
        first_row, first_col = top - top % BLOCK_PX, left - left % BLOCK_PX
        # -(-a // b) rounds up.
        end_row = min(-(-(top + height) // BLOCK_PX) * BLOCK_PX, rows)
        end_col = min(-(-(left + width) // BLOCK_PX) * BLOCK_PX, cols)
        return Window(first_col, first_row, end_col - first_col, end_row - first_row)

    @contextlib.contextmanager
    def _write_errors(self) -> Iterator[None]:
        what = f"writing {self.layer.what}"
        with gdal_errors(what, self.output, error=WriteError, hint="is the disk full?"):
            try:
                yield
            except SystemError:
                # What rasterio raises when a thread of GDAL's failed, whose words it has not heard.
                raise OSError("GDAL does not tell why") from None

    def _profile(self) -> dict[str, Any]:
        layout = {"tiled": True, "blockxsize": BLOCK_PX, "blockysize": BLOCK_PX, "BIGTIFF": "IF_SAFER"}
        layer = self.layer
        kind = {"driver": "GTiff", "count": layer.count, "dtype": layer.dtype, "nodata": layer.nodata}
        draft = {"SPARSE_OK": "TRUE", "interleave": "band"}
        if self.layer.count > 1:
            # Without photometric, three bands would be red, green and blue, and a fourth one alpha.
            draft |= {"photometric": "MINISBLACK", "compress": "deflate", "zlevel": "1"}
        return kind | layout | draft | self.geobox.profile()

    def _describe(self) -> None:
        self._dataset.update_tags(**self._tags)
        for band, description in enumerate(self.layer.descriptions, 1):
            # Control characters are no XML, which is how GDAL keeps descriptions.
            self._dataset.set_band_description(band, "".join(filter(str.isprintable, description)))
        if self.layer.scale is not None:
            self._dataset.scales = (self.layer.scale,) * self.layer.count
            self._dataset.offsets = (0.0,) * self.layer.count
        if self.layer.shows_classes and (classes := self.layer.classes) is not None:
            colormap = {class_id: (*classes.rgb(class_id), 255) for class_id in range(len(classes))}
            self._dataset.write_colormap(1, colormap | {IGNORE: (0, 0, 0, 0)})

    def _finish(self) -> None:
        with self._write_errors(), quiet():
            rasterio.shutil.copy(
                self._draft,
                self._staged,
                driver="COG",
                blocksize=BLOCK_PX,
                overview_resampling=self.layer.overviews,
                BIGTIFF="IF_SAFER",
                NUM_THREADS="ALL_CPUS",
                **self.layer.storage,
            )
            shutil.rmtree(self._draft.parent)
            self._verify()
            if self.layer.shows_classes and self.layer.classes is not None:
                write_categories(self._staged, self.layer.classes)
            if self._qml is not None:
                style_of(self._staged).write_text(self._qml, encoding="utf-8", newline="\n")

    def _verify(self) -> None:
        """Read the finished file back.

        GDAL writes some blocks and the end of a file only when it closes it, or when another file needs its
        cache, and rasterio does not tell that this failed: a full disk made truncated files, or nodata.
        """
        with rasterio.open(self._staged, driver="GTiff") as raster:
            for (row, col), fingerprint in sorted(self._written.items()):
                if _fingerprint(raster.read(window=self._whole_blocks(row, col, 1, 1))) != fingerprint:
                    raise OSError("not all of it arrived on the disk")
            levels = len(raster.overviews(1))
        for level in range(levels):
            with rasterio.open(self._staged, driver="GTiff", overview_level=level) as overview:
                for _, window in overview.block_windows(1):
                    overview.read(window=window)


class MaskWriter(RasterWriter):
    """Writes a mask row by row, with all that :class:`RasterWriter` promises; no row may be left out."""

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
        super().__init__(output, geobox, mask_layer(classes), tags)
        self._rows_written = 0

    def write_rows(self, row_off: int, ids: NDArray[np.uint8]) -> None:
        """Write full-width rows.

        Args:
            row_off: first row.
            ids: (rows, W) uint8 class ids, 255 for nodata.

        Raises:
            WriteError: the disk is full or not writable.
        """
        self.write(Window(0, row_off, self.geobox.width, len(ids)), ids)
        self._rows_written += len(ids)

    def _finish(self) -> None:
        if self._rows_written != self.geobox.height:
            raise ValueError(f"{self._rows_written} of {self.geobox.height} rows were written")
        super()._finish()


def _fingerprint(block: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(block).data)
