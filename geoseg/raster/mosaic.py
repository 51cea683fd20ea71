"""A VRT mosaic as if it were one raster: pixels are copied from its files by geoseg, not by GDAL's driver.

Pixels that no file covers are the mosaic's nodata value; where it has none, they are hidden by a mask.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import rasterio.crs
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import Interleaving, MaskFlags, Resampling
from rasterio.errors import RasterioError, RasterioIOError
from rasterio.windows import Window

from geoseg.errors import SceneError
from geoseg.raster.band_choice import as_dtype
from geoseg.raster.vrt import Piece, VirtualRaster, read_vrt

BLOCK_PX = 256
"""Side of what is read at once where the mosaic is read block by block."""

MAX_OPEN = 64
"""Files that are kept open."""

Opener = Callable[[Path], Any]
"""Opens a file of the mosaic as a ``rasterio.DatasetReader``; raises SceneError."""


def open_mosaic(path: Path, where: str, opener: Opener) -> Mosaic:
    """Open a VRT mosaic; of its files only the first is opened now.

    Args:
        path: the VRT.
        where: how messages call it.
        opener: opens its files.

    Raises:
        SceneError: see :func:`geoseg.raster.vrt.read_vrt`; the first file is no raster or not what the mosaic
            takes it for.
    """
    mosaic = Mosaic(path, read_vrt(path, where), opener)
    first = next((layer.pieces[0] for layer in mosaic.layers if layer.pieces), None)
    if first is None:
        raise SceneError(f"{where} is a mosaic of nothing; make it anew with gdalbuildvrt")
    try:
        mosaic.source(first)
    except RasterioIOError as reason:
        raise SceneError(f"{where} is a mosaic whose {reason}; make it anew with gdalbuildvrt") from reason
    return mosaic


class _Layer:
    """Bands whose pieces have the same places, and what is laid where.

    Attributes:
        pieces: of the first band.
        bands: which, from 0.
        has_holes: whether pieces are copied but in part.
    """

    def __init__(self, pieces: Sequence[Piece], bands: Iterable[int]) -> None:
        self.pieces = pieces
        self.bands = list(bands)
        self.has_holes = any(piece.masked or piece.nodata is not None for piece in pieces)
        self._edges = np.array(
            [
                (
                    piece.target.row_off,
                    piece.target.row_off + piece.target.height,
                    piece.target.col_off,
                    piece.target.col_off + piece.target.width,
                )
                for piece in pieces
            ],
            np.int64,
        ).reshape(-1, 4)

    def within(self, window: Window) -> list[int]:
        """Numbers of the pieces that meet a window, in their order."""
        top, bottom, left, right = self._edges.T
        meets = (top < window.row_off + window.height) & (bottom > window.row_off)
        meets &= (left < window.col_off + window.width) & (right > window.col_off)
        return np.flatnonzero(meets).tolist()

    def covers(self, shape: tuple[int, int]) -> bool:
        """Whether there are pieces everywhere."""
        top, bottom, left, right = np.clip(self._edges, 0, np.repeat(shape, 2)).T
        area = shapely.union_all(shapely.box(left, top, right, bottom)).area
        return bool(area >= shape[0] * shape[1] - 0.5)


class Mosaic:
    """What is used of ``rasterio.DatasetReader``, of a VRT mosaic; its attributes are those there."""

    driver = "VRT"
    interleaving = Interleaving.band

    def __init__(self, path: Path, raster: VirtualRaster, opener: Opener) -> None:
        self._raster = raster
        self._opener = opener
        self._open: OrderedDict[Path, Any] = OrderedDict()
        places: dict[tuple[Any, ...], list[int]] = {}
        for number, band in enumerate(raster.bands):
            key = (band.dtype, str(band.nodata), *map(_place, band.pieces))
            places.setdefault(key, []).append(number)
        self.layers = [_Layer(raster.bands[numbers[0]].pieces, numbers) for numbers in places.values()]
        self._mask = None if raster.mask is None else _Layer(raster.mask, [0])
        self._has_holes = any(band.nodata is None for band in raster.bands) and not all(
            layer.covers(raster.shape) and not layer.has_holes for layer in self.layers
        )
        self.name = str(path)
        self.height, self.width = raster.shape
        self.crs: rasterio.crs.CRS | None = raster.crs
        self.transform: Affine = raster.transform
        self.gcps: tuple[list[Any], None] = ([], None)
        self.rpcs = None
        self.count = len(raster.bands)
        self.indexes = tuple(range(1, self.count + 1))
        self.dtypes = tuple(band.dtype for band in raster.bands)
        self.nodatavals = tuple(band.nodata for band in raster.bands)
        self.descriptions = tuple(band.description for band in raster.bands)
        self.scales = tuple(band.scale for band in raster.bands)
        self.offsets = tuple(band.offset for band in raster.bands)
        self.colorinterp = tuple(band.color for band in raster.bands)
        self.block_shapes = [(min(BLOCK_PX, self.height), min(BLOCK_PX, self.width))] * self.count

    def __enter__(self) -> Mosaic:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files."""
        while self._open:
            self._open.popitem()[1].close()

    @property
    def sources(self) -> list[Path]:
        """All files whose pixels it shows."""
        pieces = [piece for band in self._raster.bands for piece in band.pieces]
        return list(dict.fromkeys(piece.path for piece in (*pieces, *(self._raster.mask or ()))))

    @property
    def mask_flag_enums(self) -> list[list[MaskFlags]]:
        """What hides pixels of each band."""
        if self._mask is not None or self._has_holes:
            return [[MaskFlags.per_dataset]] * self.count
        return [[MaskFlags.all_valid if nodata is None else MaskFlags.nodata] for nodata in self.nodatavals]

    def tags(self, ns: str | None = None) -> dict[str, str]:
        """Metadata of the mosaic; it has some of no domain only."""
        return {} if ns else dict(self._raster.tags)

    def colormap(self, band: int) -> dict[int, tuple[int, int, int, int]]:
        """Colours of the values of a band.

        Raises:
            ValueError: it has none.
        """
        palette = self._raster.bands[band - 1].palette
        if not palette:
            raise ValueError("NULL color table")
        return palette

    def overviews(self, band: int) -> list[int]:
        """By how much the smaller copies that the first file has are smaller; others may have others."""
        pieces = self._raster.bands[band - 1].pieces
        return list(self.source(pieces[0]).overviews(pieces[0].band)) if pieces else []

    def read(
        self,
        indexes: int | Sequence[int],
        *,
        window: Window,
        out_shape: tuple[int, ...] | None = None,
        resampling: Resampling = Resampling.nearest,
    ) -> NDArray[Any]:
        """Pixels of a window within the mosaic.

        Args:
            indexes: 1-based bands, or one.
            window: its edges may lie within pixels when it is shrunk.
            out_shape: what it is shrunk to; its last two numbers count.
            resampling: how.

        Returns:
            (B, h, w), or (h, w) of one band.

        Raises:
            rasterio.errors.RasterioIOError: a file is damaged or missing; it is named.
        """
        wanted = [indexes] if isinstance(indexes, int) else list(indexes)
        shape = _shape(window, out_shape)
        result = np.empty((len(wanted), *shape), np.result_type(*(self.dtypes[band - 1] for band in wanted)))
        for layer in self.layers:
            rows = [row for row, band in enumerate(wanted) if band - 1 in layer.bands]
            if rows:
                bands = [wanted[row] - 1 for row in rows]
                result[rows], _ = self._paint(layer, bands, window, shape, resampling)
        return result[0] if isinstance(indexes, int) else result

    def read_masks(
        self, indexes: Sequence[int], *, window: Window, out_shape: tuple[int, ...] | None = None
    ) -> NDArray[np.uint8]:
        """What hides pixels of a window, (B, h, w): 0 where it does."""
        shape = _shape(window, out_shape)
        if self._mask is not None:
            values, painted = self._paint(self._mask, None, window, shape, Resampling.nearest)
            seen = painted & (values[0] > 0)
        else:
            seen = np.zeros(shape, np.bool_)
            for layer in self.layers:
                # Without holes of their own all bands of a layer have the same.
                bands = layer.bands if layer.has_holes else layer.bands[:1]
                seen |= self._paint(layer, bands, window, shape, Resampling.nearest)[1]
        return np.repeat(np.where(seen, np.uint8(255), np.uint8(0))[None], len(indexes), axis=0)

    def source(self, piece: Piece) -> Any:
        """The open file of a piece.

        Raises:
            rasterio.errors.RasterioIOError: it cannot be opened, or is not what the mosaic takes it for.
        """
        found = self._open.pop(piece.path, None)
        if found is None:
            try:
                found = self._opener(piece.path)
            except SceneError as reason:
                raise RasterioIOError(str(reason)) from None
            if len(self._open) >= MAX_OPEN:
                self._open.popitem(last=False)[1].close()
        self._open[piece.path] = found
        right, bottom = (
            piece.source.col_off + piece.source.width,
            piece.source.row_off + piece.source.height,
        )
        inside = min(piece.source.row_off, piece.source.col_off) >= 0
        if not inside or right > found.width or bottom > found.height:
            raise RasterioIOError(
                f"file {piece.path.name} has {found.width} x {found.height} pixels, too few"
            )
        if not 1 <= piece.band <= found.count:
            raise RasterioIOError(f"file {piece.path.name} has no band {piece.band}")
        return found

    def _paint(
        self,
        layer: _Layer,
        bands: list[int] | None,
        window: Window,
        shape: tuple[int, int],
        resampling: Resampling,
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Pixels (B, h, w) of bands of a layer, or of its own pieces, and which of them any piece covers."""
        virtual = [] if bands is None else [self._raster.bands[band] for band in bands]
        dtype = np.dtype(virtual[0].dtype if virtual else "uint8")
        nodata = as_dtype(virtual[0].nodata, dtype) if virtual else None
        if virtual and virtual[0].nodata is not None and np.isnan(virtual[0].nodata) and dtype.kind == "f":
            nodata = dtype.type(np.nan)
        values = np.full((max(1, len(virtual)), *shape), 0 if nodata is None else nodata, dtype)
        painted = np.zeros(shape, np.bool_)
        for number in layer.within(window):
            pieces = [band.pieces[number] for band in virtual] or [layer.pieces[number]]
            place = _overlap(pieces[0], window, shape)
            if place is None:
                continue
            rows, cols, source = place
            part = (rows.stop - rows.start, cols.stop - cols.start)
            try:
                found, copied = self._copy(pieces, source, part, dtype, resampling)
            except RasterioIOError:
                raise
            except RasterioError as reason:
                told = " ".join(str(reason.__cause__ or reason).split())
                raise RasterioIOError(f"file {pieces[0].path.name}: {told}") from None
            if copied is None:
                values[:, rows, cols] = found
                painted[rows, cols] = True
            else:
                np.copyto(values[:, rows, cols], found, where=copied)
                painted[rows, cols] |= copied.any(axis=0)
        return values, painted

    def _copy(
        self,
        pieces: Sequence[Piece],
        window: Window,
        shape: tuple[int, int],
        dtype: np.dtype[Any],
        resampling: Resampling,
    ) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """Pixels (B, h, w) of pieces at the same place of a file, and which of them are copied; all: None."""
        first = pieces[0]
        dataset = self.source(first)
        bands = [piece.band for piece in pieces]
        if max(bands) > dataset.count:
            raise RasterioIOError(f"file {first.path.name} has no band {max(bands)}")
        options = {"window": window, "out_shape": (len(bands), *shape), "resampling": resampling}
        if first.constant is not None:
            values = np.full((len(bands), *shape), first.constant, dtype)
        elif first.of_mask:
            values = dataset.read_masks(bands, **options).astype(dtype, copy=False)
        else:
            values = dataset.read(bands, **options)
            if not np.can_cast(values.dtype, dtype):
                raise RasterioIOError(f"file {first.path.name} holds {values.dtype}, which {dtype} cannot")
            values = values.astype(dtype, copy=False)
        copied: NDArray[np.bool_] | None = None
        if first.nodata is not None:
            nodata = as_dtype(first.nodata, dtype)
            is_nan = np.isnan(first.nodata)
            copied = ~np.isnan(values) if is_nan else np.ones(values.shape, np.bool_)
            copied = copied if nodata is None else values != nodata
        if first.masked:
            seen = dataset.read_masks(bands, **(options | {"resampling": Resampling.nearest})) > 0
            copied = seen if copied is None else copied & seen
        return values, copied


def _place(piece: Piece) -> tuple[Any, ...]:
    """What must be the same for bands to be read together."""
    windows = (piece.source.flatten(), piece.target.flatten())
    return piece.path, windows, str(piece.nodata), piece.masked, piece.constant, piece.of_mask


def _shape(window: Window, out_shape: tuple[int, ...] | None) -> tuple[int, int]:
    height, width = (window.height, window.width) if out_shape is None else out_shape[-2:]
    return int(height), int(width)


def _overlap(piece: Piece, window: Window, shape: tuple[int, int]) -> tuple[slice, slice, Window] | None:
    """Where a piece lies in what a window is shrunk to, and the pixels of its file to be seen there."""
    target, source = piece.target, piece.source
    along = _span(target.row_off, target.height, window.row_off, window.height, shape[0])
    across = _span(target.col_off, target.width, window.col_off, window.width, shape[1])
    if along is None or across is None:
        return None
    (rows, top, bottom), (cols, left, right) = along, across
    shown = Window(
        source.col_off + left - target.col_off,
        source.row_off + top - target.row_off,
        right - left,
        bottom - top,
    )
    return rows, cols, shown


def _span(start: int, size: int, begin: float, length: float, cells: int) -> tuple[slice, Any, Any] | None:
    """Cells that a piece fills, and from where to where they reach in pixels of the mosaic, within it."""
    if length == cells:
        first, end = max(start, int(begin)), min(start + size, int(begin) + cells)
        return (slice(first - int(begin), end - int(begin)), first, end) if first < end else None
    pixels = length / cells
    first = max(0, round((start - begin) / pixels))
    end = min(cells, round((start + size - begin) / pixels))
    if first >= end:
        return None
    top, bottom = begin + first * pixels, begin + end * pixels
    return slice(first, end), max(top, float(start)), min(bottom, float(start + size))
