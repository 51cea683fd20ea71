"""The only door to GDAL: files are opened here or nowhere.

Importing this module makes both GDALs of the process safe and quiet (:mod:`geoseg.raster.tame`). On top, a
file is opened only after :mod:`geoseg.raster.formats` knew it by content, by the one driver that may read it.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import rasterio._err
import rasterio.errors
import rasterio.shutil
import shapely.errors

from geoseg.errors import GeosegError, LabelsError, ReadError, SceneError, WriteError
from geoseg.raster import beside, formats, geojson, parquet, tame
from geoseg.raster.geopackage import check_geopackage
from geoseg.raster.lean import pyogrio
from geoseg.raster.mosaic import open_mosaic
from geoseg.raster.remote import shown, without_secrets
from geoseg.raster.server import RemoteFile

if TYPE_CHECKING:
    import geopandas

MAX_BLOCK_BYTES = 512 * 1024**2
"""Largest block (strip or tile) that is decoded: a file of 160 bytes may declare one of gigabytes."""

HINT = "is the file damaged?"
"""What the user may look after where a file cannot be read."""

CLOSED_RINGS = "geoseg_closed_rings"
"""Attribute of a frame: how many of its geometries had rings that were not closed, and were closed."""

MAX_PIXELS = 2**40
MAX_BANDS = 4096

# What a GeoPackage calls having no CRS, in metres or in degrees.
_UNDEFINED = ("Undefined Cartesian SRS", "Undefined geographic SRS")

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
        told = _reason(reason)
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
        raise source.read_error(what, _reason(reason)) from reason


def _reason(error: BaseException) -> str:
    """Text of an error; rasterio puts the telling part into the cause."""
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


def read_vector(
    path: Path,
    *,
    layer: str | None = None,
    columns: Sequence[str] | None = None,
    optional: Sequence[str] = (),
    what: str = "labels",
) -> geopandas.GeoDataFrame:
    """Read a vector file of the allow-list.

    Args:
        path: GeoPackage, GeoJSON, Shapefile, FlatGeobuf or GeoParquet (with pyarrow installed).
        layer: name of the layer; not needed when only one layer has geometries.
        columns: attribute columns to read; all when not given.
        optional: further ones, where the file has them.
        what: how messages call the file.

    Raises:
        LabelsError: missing, not a vector file geoseg reads, damaged, ambiguous, or a column is missing.
    """
    path = Path(path)
    head = formats.read_head(path, what=what, error=LabelsError)
    driver = formats.vector_driver(head, path.suffix)
    if driver is None:
        kind = formats.describe(head)
        todo = "give a GeoPackage, GeoJSON, Shapefile, FlatGeobuf, GeoParquet or a GeoTIFF of class ids"
        raise LabelsError(f"{what} {path} is {kind}; {'save it as UTF-8' if 'UTF-16' in kind else todo}")
    frame = (
        _read_parquet(path, what) if driver == formats.GEOPARQUET else _read_ogr(path, driver, layer, what)
    )
    if frame.crs is not None and frame.crs.name in _UNDEFINED and _beyond_degrees(frame):
        frame = frame.set_crs(None, allow_override=True)
    present = [str(column) for column in frame.columns if column != frame.geometry.name]
    missing = [column for column in columns or () if column not in present]
    if missing:
        raise LabelsError(f"{what} {path} has no column {missing[0]}; it has {', '.join(present) or 'none'}")
    if columns is None:
        return frame
    further = [name for name in optional if name in present and name not in columns]
    return frame[[*columns, *further, frame.geometry.name]]


def _read_ogr(path: Path, driver: str, layer: str | None, what: str) -> geopandas.GeoDataFrame:
    # Here, not above: it takes a third of a second that work on rasters alone has no use for.
    import geopandas

    with undisturbed(path, driver) as here, gdal_errors(f"reading {what}", path, error=LabelsError), quiet():
        opened_by = check_ogr(path, driver, layer=layer, what=what, here=here)
        try:
            frame = _read_layer(here, layer or _only_layer(here, path, what))
        except UnicodeDecodeError as reason:
            todo = "correct its .cpg" if driver == "ESRI Shapefile" else "save it as UTF-8"
            raise LabelsError(
                f"{what} {path} has text in another encoding than it should have; {todo}"
            ) from reason
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise LabelsError(f"{what} {path} has no geometries; give polygons")
    if opened_by in {"GeoJSON", "GeoJSONSeq"}:
        geojson.check_read(path, what, features=len(frame), lines=opened_by == "GeoJSONSeq", crs=frame.crs)
    return frame


def _read_layer(path: Path, layer: str) -> Any:
    def read(on_invalid: str) -> Any:
        return pyogrio.read_dataframe(path.absolute(), layer=layer, use_arrow=False, on_invalid=on_invalid)

    try:
        frame = read("raise")
    except shapely.errors.GEOSException:
        # Rings that are not closed can be; surfaces in space and the like are no geometries here.
        frame = read("fix")
        closed = frame.geometry.notna() & read("ignore").geometry.isna()
        frame.attrs[CLOSED_RINGS] = int(closed.sum())
    info = pyogrio.read_info(path.absolute(), layer=layer)
    for name, dtype in zip(info["fields"], info["dtypes"], strict=True):
        if dtype == "bool" and frame[name].dtype != bool:
            # With a null among them they come as 1.0 and 0.0.
            frame[name] = frame[name].map({1.0: True, 0.0: False}).astype(object)
    return frame


def _beyond_degrees(frame: geopandas.GeoDataFrame) -> bool:
    """Whether coordinates of a frame are no degrees."""
    if not frame.crs.is_geographic:
        return True
    left, bottom, right, top = frame.total_bounds
    return bool(max(abs(left), abs(right)) > 360.0 or max(abs(bottom), abs(top)) > 90.0)


@contextlib.contextmanager
def undisturbed(path: Path, driver: str) -> Iterator[Path]:
    """Where GDAL may open a vector file without changing it: there, or in a copy.

    A GeoPackage that was not closed, or is still open in QGIS, has its last changes in a log beside it. Who
    closes it last, if only after reading, moves them into the file and deletes the log.
    """
    log = path.with_name(f"{path.name}-wal")
    if driver != "GPKG" or not log.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="geoseg-") as folder:
        for file in (path, log):
            shutil.copyfile(file, Path(folder) / file.name)
        yield Path(folder) / path.name


def check_ogr(path: Path, driver: str, *, layer: str | None, what: str, here: Path | None = None) -> str:
    """Refuse a vector file that GDAL must not open, or opens as something else than it looks like.

    Args:
        path: the file.
        driver: that may open it.
        layer: to look at; the first when not given.
        what: how messages call the file.
        here: what to open, as of :func:`undisturbed`.

    Returns:
        The driver that opens it.

    Raises:
        LabelsError: its CRS is an address, its path has a meaning to pyogrio, or it is no such file.
    """
    if driver == "GeoJSON":
        geojson.check_crs(path, what)
    beside.check_further_files(path.absolute(), f"{what} {path}")
    if driver == "GPKG":
        check_geopackage(path, what, copy=None if here in {None, path} else here)
    if any(sign in str(path.absolute()) for sign in ";?!\n\r\t"):
        # pyogrio reads them as parts of a URL, or drops them, and would open another file.
        raise LabelsError(f"{what} {path} has one of ; ? ! or a line break or tab in its path; rename it")
    if driver == "ESRI Shapefile" and not any(path.with_suffix(end).exists() for end in (".shx", ".SHX")):
        raise LabelsError(f"{what} {path} is without its {path.stem}.shx; copy all files of the Shapefile")
    with gdal_errors(f"reading {what}", path, error=LabelsError), quiet():
        try:
            opened_by = pyogrio.read_info((here or path).absolute(), layer=layer or 0)["driver"]
        except pyogrio.errors.DataSourceError as reason:
            if "not recognized" not in str(reason):
                raise
            known = "JSON, but no GeoJSON" if driver.startswith("GeoJSON") else f"no {driver} to GDAL"
            raise LabelsError(f"{what} {path} is {known}; write it anew with ogr2ogr") from reason
        if opened_by != driver and {opened_by, driver} != {"GeoJSON", "GeoJSONSeq"}:
            raise LabelsError(f"{what} {path} looks like {driver} but opens as {opened_by}; convert it")
    return str(opened_by)


def _only_layer(here: Path, path: Path, what: str) -> str:
    layers = [str(name) for name, geometry in pyogrio.list_layers(here.absolute()) if geometry is not None]
    if not layers:
        raise LabelsError(f"{what} {path} has no layer with geometries; give polygons")
    if len(layers) > 1:
        names = ", ".join(layers[:9]) + (", ..." if len(layers) > 9 else "")
        raise LabelsError(f"{what} {path} has layers {names}; give a file with one of them")
    return layers[0]


def _read_parquet(path: Path, what: str) -> geopandas.GeoDataFrame:
    if importlib.util.find_spec("pyarrow") is None:
        raise LabelsError(f"{what} {path} is GeoParquet, which needs pyarrow; pip install 'geoseg[parquet]'")
    import geopandas
    import pyarrow
    from pyproj.exceptions import ProjError

    try:
        with path.open("rb") as file, quiet():
            parquet.check_size(file, path, what)
            return geopandas.read_parquet(file)
    except shapely.errors.GEOSException as reason:
        raise LabelsError(
            f"reading {what} {path} failed: {_reason(reason)}; repair its geometries in a GIS"
        ) from reason
    except (pyarrow.ArrowException, ValueError, KeyError, OSError, ProjError, *GDAL_ERRORS) as reason:
        raise LabelsError(f"reading {what} {path} failed: {_reason(reason)}; is it GeoParquet?") from reason
