"""Writes polygon layers, in the format of the suffix, whole or not at all."""

from __future__ import annotations

import importlib.util
import math
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio.raw
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoseg.errors import OutputError, WriteError
from geoseg.outputs import check_output, staged_file
from geoseg.raster.gdal import gdal_errors, quiet
from geoseg.vector.style import add_style

LAYER = "parcels"
PARQUET = "Parquet"
DRIVERS = {
    ".gpkg": "GPKG",
    ".fgb": "FlatGeobuf",
    ".geojson": "GeoJSON",
    ".shp": "ESRI Shapefile",
    ".parquet": PARQUET,
}
"""Driver by suffix of the output."""

SHAPEFILE_PARTS = (".shx", ".dbf", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".shp.xml")
# A dBASE column has at most ten letters.
_SHAPEFILE_NAMES = {"perimeter_m": "perim_m", "touches_edge": "edge"}

_METRES_PER_DEGREE = 111_320.0
_RFC7946_DIGITS = 7


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A polygon layer.

    Attributes:
        polygons: (R,) shapely polygons in ``crs``.
        columns: name to (R,) values.
        crs: ``None`` when unknown.
        styles: name and ``#RRGGBB`` of every class id; none for a layer without style.
        gsd_m: side of the pixels it came from, which tells how many digits its coordinates need.
    """

    polygons: NDArray[np.object_]
    columns: Mapping[str, NDArray[Any]]
    crs: CRS | None
    styles: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    gsd_m: float | None = None


def check_layer_output(output: Path, *, overwrite: bool, inputs: Iterable[Path]) -> None:
    """Refuse an output that cannot or must not be written, before any work is done.

    Raises:
        OutputError: unknown suffix, pyarrow missing for ``.parquet``, characters that GDAL does not take, or
            as :func:`geoseg.outputs.check_output`.
    """
    driver = DRIVERS.get(output.suffix.lower())
    if driver is None:
        ending = f"ends in {output.suffix}" if output.suffix else "has no suffix"
        raise OutputError(f"output {output} {ending}; write to one of {', '.join(DRIVERS)}")
    if driver == PARQUET and importlib.util.find_spec("pyarrow") is None:
        raise OutputError(
            f"output {output} needs pyarrow; pip install 'geoseg[parquet]' or write to {output.stem}.gpkg"
        )
    if driver != PARQUET and any(sign in str(output.absolute()) for sign in ";?!"):
        # pyogrio reads them as parts of a URL and would write another file.
        raise OutputError(f"output {output} has one of ; ? ! in its path; choose another")
    check_output(output, overwrite=overwrite, inputs=inputs)
    if driver == "ESRI Shapefile" and not overwrite:
        for part in _shapefile_parts(output):
            if part.exists():
                raise OutputError(f"{part} exists; use --overwrite to replace it")


def write_layer(layer: Layer, output: Path) -> None:
    """Write a layer in the format of the suffix of ``output``; it appears there whole or not at all.

    GeoPackage 1.2 with a table of styles, FlatGeobuf, GeoJSON of RFC 7946 (WGS 84), Shapefile (all parts;
    column names within ten letters), or GeoParquet 1.1.

    Raises:
        WriteError: the disk is full or not writable, or the format cannot hold the layer.
    """
    driver = DRIVERS[output.suffix.lower()]
    with gdal_errors("writing polygons", output, error=WriteError, hint="is the disk full?"), quiet():
        with staged_file(output) as staged:
            if driver == PARQUET:
                _write_parquet(layer, staged)
            else:
                _write_ogr(layer, staged, driver)
            if driver == "GPKG" and layer.styles:
                _write_style(layer, staged, output)
            made = {part.name for part in staged.parent.iterdir()}
        if driver == "ESRI Shapefile":
            # An index or .prj of the layer that was here before would lie about this one.
            for part in _shapefile_parts(output):
                if part.name not in made:
                    part.unlink(missing_ok=True)


def _shapefile_parts(output: Path) -> list[Path]:
    return [output.with_suffix(suffix) for suffix in SHAPEFILE_PARTS]


def _write_ogr(layer: Layer, path: Path, driver: str) -> None:
    columns = layer.columns
    if driver == "ESRI Shapefile":
        columns = {_SHAPEFILE_NAMES.get(name, name): _no_bool(values) for name, values in columns.items()}
    pyogrio.raw.write(
        path,
        geometry=shapely.to_wkb(layer.polygons),
        field_data=list(columns.values()),
        fields=list(columns),
        layer=path.stem if driver == "ESRI Shapefile" else LAYER,
        driver=driver,
        geometry_type="Polygon",
        crs=None if layer.crs is None else layer.crs.to_wkt(version="WKT2_2019"),
        dataset_options={"VERSION": "1.2"} if driver == "GPKG" else {},
        layer_options=_layer_options(layer, driver),
    )


def _no_bool(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(np.int16) if values.dtype == np.bool_ else values


def _layer_options(layer: Layer, driver: str) -> dict[str, str]:
    if driver == "GeoJSON" and layer.crs is not None:
        return {
            "RFC7946": "YES",
            "COORDINATE_PRECISION": str(_digits(layer.gsd_m)),
            "SIGNIFICANT_FIGURES": "15",
        }
    return {"ESRI Shapefile": {"ENCODING": "UTF-8"}}.get(driver, {})


def _digits(gsd_m: float | None) -> int:
    """Decimals of a degree that hold a hundredth of a pixel, and never fewer than RFC 7946 has in mind."""
    if gsd_m is None:
        return _RFC7946_DIGITS
    return max(_RFC7946_DIGITS, math.ceil(-math.log10(gsd_m / 100.0 / _METRES_PER_DEGREE)))


def _write_style(layer: Layer, staged: Path, output: Path) -> None:
    try:
        add_style(staged, LAYER, layer.styles)
    except sqlite3.Error as reason:
        raise WriteError(f"writing polygons {output} failed: {reason}; is the disk full?") from reason


def _write_parquet(layer: Layer, path: Path) -> None:
    crs = None if layer.crs is None else layer.crs.to_wkt(version="WKT2_2019")
    frame = geopandas.GeoDataFrame(dict(layer.columns), geometry=layer.polygons, crs=crs)
    frame.to_parquet(path, index=False, schema_version="1.1.0", write_covering_bbox=True, compression="zstd")
