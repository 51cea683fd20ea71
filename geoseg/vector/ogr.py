"""Writes polygons with GDAL: GeoPackage, FlatGeobuf, GeoJSON and Shapefile, batch by batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import pyogrio.raw

from geoseg.errors import OutputError, WriteError
from geoseg.vector.arrow import Batch, Field, Stream
from geoseg.vector.table import TEXT, Table
from geoseg.vector.unlocked import NewLayer, library, write_unlocked
from geoseg.vector.whole import check_whole
from geoseg.vector.wkb import HEAD_BYTES

LAYER = "parcels"
SHAPEFILE = "ESRI Shapefile"

# A dBASE column has at most ten letters.
_SHAPEFILE_NAMES = {"perimeter_m": "perim_m", "touches_edge": "edge", "confidence_min": "conf_min"}
_SHAPEFILE_NAME_BYTES = 10

# GDAL goes on to 4 GB, in files that others cannot read, and has a limit for the .shp only.
_SHAPEFILE_MAX_BYTES = 2**31 - 1

_METRES_PER_DEGREE = 111_320.0
_RFC7946_DIGITS = 7


def storable(table: Table, output: Path, driver: str) -> Table:
    """The table as a driver can store it: Shapefiles have no bools.

    Raises:
        OutputError: a name is too long for a Shapefile.
    """
    if driver != SHAPEFILE:
        return table
    for field in _named(table, driver):
        if len(field.name.encode()) > _SHAPEFILE_NAME_BYTES:
            raise OutputError(
                f"output {output} has no room for a column {field.name}: names in a Shapefile have at most "
                f"ten letters; write to {output.stem}.gpkg"
            )
    kinds = {
        name: np.int16 if kind != TEXT and np.dtype(kind) == np.bool_ else kind
        for name, kind in table.columns.items()
    }
    return replace(table, columns=kinds)


def write_ogr(path: Path, driver: str, table: Table, batches: Iterator[Batch]) -> None:
    """Write a file with one layer of all batches; returns when it is closed.

    GeoPackage 1.2 and FlatGeobuf get a spatial index: GDAL makes the first in a thread of its own, in up to a
    tenth of the memory, and the second at the end, in some 80 bytes of memory a polygon.

    Raises:
        pyogrio.errors.DataSourceError: the file cannot be made or closed; the disk is full.
        pyogrio.errors.DataLayerError: a batch cannot be written; the disk is full.
        OSError: not all of it arrived on the disk.
        WriteError: a Shapefile has become too large.
        Exception: what ``batches`` raises.
    """
    new = NewLayer(
        path=path,
        driver=driver,
        name=path.stem if driver == SHAPEFILE else LAYER,
        fields=_named(table, driver),
        geometry_type=table.geometry_type,
        wkt=None if table.crs is None else table.crs.to_wkt(version="WKT2_2019"),
        dataset_options={"VERSION": "1.2"} if driver == "GPKG" else {},
        layer_options=_layer_options(table, driver),
    )
    watched = _Watched(batches, path, driver)
    if library() is not None:
        write_unlocked(new, watched)
    else:
        _write_locked(new, watched)
    watched.check_size()
    check_whole(path, driver, new.name, watched.rows, watched.empty)


def _write_locked(new: NewLayer, batches: Iterator[Batch]) -> None:
    """The same by pyogrio's own means."""
    stream = Stream(new.fields, batches)
    try:
        pyogrio.raw.write_arrow(
            stream,
            new.path,
            layer=new.name,
            driver=new.driver,
            geometry_type=new.geometry_type,
            crs=new.wkt,
            dataset_options=new.dataset_options,
            layer_options=new.layer_options,
        )
    except RuntimeError:
        # How pyogrio tells that the stream failed; it does not know why.
        if stream.error is None:
            raise
        raise stream.error from None


class _Watched:
    """Batches on their way to a file, how many rows they had, and how many of these without points.

    No generator, which would keep each batch until the next one is there.
    """

    def __init__(self, batches: Iterator[Batch], path: Path, driver: str) -> None:
        self.rows = self.empty = 0
        self._batches = batches
        self._path = path
        self._limited = [path, path.with_suffix(".dbf")] if driver == SHAPEFILE else []

    def check_size(self) -> None:
        """Raise a :class:`WriteError` when the file is a Shapefile and has become too large."""
        for part in self._limited:
            if part.exists() and part.stat().st_size > _SHAPEFILE_MAX_BYTES:
                raise WriteError(
                    f"writing polygons {self._path.name} failed: a Shapefile holds no more than 2 GB; "
                    f"write to {self._path.stem}.gpkg"
                )

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Batch:
        self.check_size()
        batch = next(self._batches)
        self.rows += batch.length
        offsets = batch.columns[-1].buffers[1]
        self.empty += 0 if offsets is None else int(np.count_nonzero(np.diff(offsets) == HEAD_BYTES))
        return batch


def _named(table: Table, driver: str) -> tuple[Field, ...]:
    fields = table.fields()
    if driver != SHAPEFILE:
        return fields
    return tuple(replace(field, name=_SHAPEFILE_NAMES.get(field.name, field.name)) for field in fields)


def _layer_options(table: Table, driver: str) -> dict[str, str]:
    if driver == "GeoJSON" and table.crs is not None:
        return {
            "RFC7946": "YES",
            "COORDINATE_PRECISION": str(_digits(table.gsd_m)),
            "SIGNIFICANT_FIGURES": "15",
        }
    return {SHAPEFILE: {"ENCODING": "UTF-8"}}.get(driver, {})


def _digits(gsd_m: float | None) -> int:
    """Decimals of a degree that hold a hundredth of a pixel, and never fewer than RFC 7946 has in mind."""
    if gsd_m is None:
        return _RFC7946_DIGITS
    return max(_RFC7946_DIGITS, math.ceil(-math.log10(gsd_m / 100.0 / _METRES_PER_DEGREE)))
