"""Vector files: read by the one driver that may, after a look at what they are."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import shapely.errors

from geoseg.errors import LabelsError
from geoseg.raster import beside, formats, geojson, parquet
from geoseg.raster.gdal import GDAL_ERRORS, gdal_errors, quiet, reason_of
from geoseg.raster.geopackage import check_geopackage
from geoseg.raster.lean import pyogrio

if TYPE_CHECKING:
    import geopandas

CLOSED_RINGS = "geoseg_closed_rings"
"""Attribute of a frame: how many of its geometries had rings that were not closed, and were closed."""

# What a GeoPackage calls having no CRS, in metres or in degrees.
_UNDEFINED = ("Undefined Cartesian SRS", "Undefined geographic SRS")


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
            f"reading {what} {path} failed: {reason_of(reason)}; repair its geometries in a GIS"
        ) from reason
    except (pyarrow.ArrowException, ValueError, KeyError, OSError, ProjError, *GDAL_ERRORS) as reason:
        raise LabelsError(f"reading {what} {path} failed: {reason_of(reason)}; is it GeoParquet?") from reason
