"""The only door to GDAL: rasters are opened here, vector files by :mod:`geoseg.raster.vectors`, or nowhere.

Importing this module makes both GDALs of the process safe and quiet (:mod:`geoseg.raster.tame`). On top, a
file is opened only after :mod:`geoseg.raster.formats` knew it by content, by the one driver that may read it.
"""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio._err
import rasterio.errors
import rasterio.shutil
import shapely.errors

from geoseg.errors import GeosegError, ReadError, SceneError, WriteError
from geoseg.raster import beside, formats, tame
from geoseg.raster.lean import pyogrio
from geoseg.raster.mosaic import open_mosaic
from geoseg.raster.remote import shown, without_secrets
from geoseg.raster.server import RemoteFile

if TYPE_CHECKING:
    pass

MAX_BLOCK_BYTES = 512 * 1024**2
"""Largest block (strip or tile) that is decoded: a file of 160 bytes may declare one of gigabytes."""

HINT = "is the file damaged?"
"""What the user may look after where a file cannot be read."""

MAX_PIXELS = 2**40
MAX_BANDS = 4096

_NO_PLACE = re.compile(r" at (row|scanline) 4294967295(, col 4294967295)?")
_SQL = re.compile(r".*sqlite3_exec\(.*\) failed: ", re.DOTALL)

tame.tame()

GDAL_ERRORS: tuple[type[Exception], ...] = (
    rasterio.errors.RasterioError,
    rasterio.errors.CRSError,
    rasterio._err.CPLE_BaseError,
    pyogrio.errors.DataSourceError,
    pyogrio.errors.DataLayerError,
    pyogrio.errors.FieldError,
    pyogrio.errors.GeometryError,
    pyogrio.errors.FeatureError,
    shapely.errors.ShapelyError,
    OSError,
    UnicodeDecodeError,
    # pyogrio, of a CRS that it cannot turn into text.
    UnboundLocalError,
)
"""What rasterio and pyogrio raise for damaged files; not all of it is documented."""


@contextlib.contextmanager
def gdal_errors(
    what: str, path: Path | str, *, error: type[GeosegError] = ReadError, hint: str = HINT
) -> Iterator[None]:
    """Turn what the GDALs raise into one line that names the file.

    Args:
        what: what was being done, such as ``reading scene`` or ``opening labels``.
        path: the file, or what messages call it.
        error: class of the error raised.
        hint: what the user may look after.

    Raises:
        GeosegError: of class ``error``.
    """
    try:
        yield
    except GDAL_ERRORS as reason:
        where = path if isinstance(path, str) else shown(path)
        told = reason_of(reason)
        if "missing codec" in told:
            hint = "rewrite it elsewhere with gdal_translate -co COMPRESS=DEFLATE"
        if isinstance(reason, FileNotFoundError) and issubclass(error, WriteError):
            hint = "is its folder still there?"
        raise error(f"{what} {where} failed: {told}; {hint}") from reason


@contextlib.contextmanager
def reading(what: str, source: Path | RemoteFile, *, hint: str = HINT) -> Iterator[None]:
    """Read pixels of an open raster; for one on a server, this thread may ask for it while the block runs.

    Args:
        what: what is read, such as ``reading rows 0..9 of scene``.
        source: what was opened.
        hint: what the user may do about a damaged file.

    Raises:
        ReadError: the file is damaged, or the server no longer gives it.
    """
    if not isinstance(source, RemoteFile):
        with gdal_errors(what, source, hint=hint):
            yield
        return
    try:
        with source.allowed():
            yield
    except GDAL_ERRORS as reason:
        raise source.read_error(what, reason_of(reason)) from reason


def reason_of(error: BaseException) -> str:
    """Text of an error without a line break; rasterio puts the telling part into the cause."""
    deepest = error
    while deepest.__cause__ is not None:
        deepest = deepest.__cause__
    text = str(deepest) or str(error) or type(error).__name__
    # What SQLite could not do: a statement of some lines.
    text = _SQL.sub("", text)
    if "disk is full" in text:
        return "the disk is full"
    if isinstance(deepest, OSError) and deepest.strerror:
        text = deepest.strerror.lower()
    if isinstance(deepest, UnboundLocalError):
        text = "its CRS cannot be read"
    # What follows a semicolon in our messages is what to do, and -1 as row or column is no place.
    text = _NO_PLACE.sub("", " ".join(text.split())).replace(";", ",")
    return without_secrets(text).rstrip(".,")[:300]


def open_raster(source: Path | RemoteFile, *, what: str = "scene") -> Any:
    """Open a raster of the allow-list for reading.

    Args:
        source: a file here. A path never leads to a server: what :func:`geoseg.raster.server.look` found
            there, because the user himself named it, does.
        what: how messages call the file.

    Returns:
        A ``rasterio.DatasetReader``, or what is like one of a VRT mosaic; the caller closes it.

    Raises:
        SceneError: missing, no regular file, not a raster geoseg reads, damaged, or of impossible size.
    """
    if isinstance(source, RemoteFile):
        return _check_open(_open_remote(source, what), None, source.shown, what)
    path = Path(source)
    head = formats.read_head(path, what=what, error=SceneError)
    if formats.is_mosaic(head, path):
        return _check_open(open_mosaic(path, f"{what} {path}", _open_file), None, str(path), what)
    return _open_file(path, head, what)


def _open_file(path: Path, head: bytes | None = None, what: str = "file") -> Any:
    if head is None:
        head = formats.read_head(path, what=what, error=SceneError)
    driver = formats.raster_driver(head)
    if driver is None:
        todo = formats.cure(head, "give a GeoTIFF, JPEG 2000, Erdas Imagine, PNG or JPEG")
        raise SceneError(f"{what} {path} is {formats.describe(head)}; {todo}")
    beside.check_sidecars(path.absolute(), what)
    # Not with NUM_THREADS: GDAL 3.10 then crashes on a damaged JPEG-compressed TIFF.
    with gdal_errors(f"opening {what}", path, error=SceneError), quiet(), tame.stderr_turned_away():
        dataset = rasterio.open(path.absolute(), driver=driver)
    return _check_open(dataset, path.absolute(), str(path), what)


def _open_remote(source: RemoteFile, what: str) -> Any:
    """A GeoTIFF on a server; of other formats a window costs the whole file."""
    driver = formats.raster_driver(source.head)
    if driver != "GTiff":
        kind = formats.describe(source.head) if driver is None else f"of the format {driver}"
        raise SceneError(
            f"{what} {source.shown} is {kind}; only a GeoTIFF can be read on a server, so download it first"
        )
    with (
        gdal_errors(f"opening {what}", source.shown, error=SceneError),
        quiet(),
        tame.stderr_turned_away(),
        source.allowed(),
    ):
        return rasterio.open(source.name.vsi, driver=driver)


def _check_open(dataset: Any, path: Path | None, where: str, what: str) -> Any:
    try:
        with gdal_errors(f"opening {what}", where, error=SceneError):
            _check_size(dataset, where, what)
            if path is not None:
                beside.check_parts(dataset, path, f"{what} {where}", MAX_BLOCK_BYTES)
    except BaseException:
        dataset.close()
        raise
    return dataset


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep GDAL's warnings from the terminal; what matters in them is checked by geoseg itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield


def _check_size(dataset: Any, path: str, what: str) -> None:
    """Refuse what would need absurd memory at the first read, however small."""
    if dataset.count == 0:
        raise SceneError(f"{what} {path} has no bands; give an image")
    if dataset.count > MAX_BANDS:
        raise SceneError(f"{what} {path} has {dataset.count} bands; at most {MAX_BANDS} are read")
    if dataset.width * dataset.height > MAX_PIXELS:
        raise SceneError(f"{what} {path} claims {dataset.width} x {dataset.height} pixels; cut it")
    together = dataset.count if dataset.interleaving is rasterio.enums.Interleaving.pixel else 1
    for (height, width), dtype in zip(dataset.block_shapes, dataset.dtypes, strict=True):
        block_bytes = height * width * _item_bytes(dtype) * together
        if block_bytes > MAX_BLOCK_BYTES:
            raise SceneError(
                f"{what} {path} is stored in blocks of {width} x {height} pixels, "
                f"{block_bytes / 1e9:.1f} GB each; rewrite it with gdal_translate -co TILED=YES"
            )


def _item_bytes(dtype: str) -> int:
    # rasterio calls GDAL's complex integers complex_int16; numpy has no such type.
    return np.dtype(dtype).itemsize if dtype != "complex_int16" else 4
