"""GDAL at work without Python's lock.

pyogrio (0.13) keeps the lock while GDAL writes and closes a file, so that making polygons and writing them
would take turns. Here the same library is called by ctypes, which lets go of the lock: both cores are busy,
and Ctrl-C and the progress are not held up by a file that takes long to close.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyogrio._io
from pyogrio.errors import DataLayerError, DataSourceError

from geoseg.vector import arrow_abi
from geoseg.vector.arrow import Batch, Field, exported

_int, _handle, _text = ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p
_texts = ctypes.POINTER(_text)
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "GDALGetDriverByName": (_handle, [_text]),
    "GDALCreate": (_handle, [_handle, _text, _int, _int, _int, _int, _texts]),
    "GDALDatasetCreateLayer": (_handle, [_handle, _text, _handle, _int, _texts]),
    "GDALClose": (_int, [_handle]),
    "OSRNewSpatialReference": (_handle, [_text]),
    "OSRSetFromUserInput": (_int, [_handle, _text]),
    "OSRSetAxisMappingStrategy": (None, [_handle, _int]),
    "OSRRelease": (None, [_handle]),
    "OGR_L_CreateFieldFromArrowSchema": (ctypes.c_bool, [_handle, _handle, _texts]),
    "OGR_L_WriteArrowBatch": (ctypes.c_bool, [_handle, _handle, _handle, _texts]),
    "CPLPushErrorHandler": (None, [_handle]),
    "CPLQuietErrorHandler": (None, [_int, _int, _text]),
    "CPLPopErrorHandler": (None, []),
    "CPLErrorReset": (None, []),
    "CPLGetLastErrorMsg": (_text, []),
}
_GEOMETRY_TYPES = {"Polygon": 3, "MultiPolygon": 6}
_EAST_FIRST = 0  # OAMS_TRADITIONAL_GIS_ORDER


@functools.cache
def library() -> Any:
    """The GDAL that pyogrio has loaded, not a second one; ``None`` where it cannot be called like this."""
    # Looking into pyogrio's own module finds the GDAL it is linked to, wherever that lies.
    found = ctypes.CDLL(pyogrio._io.__file__)
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(found, name, None)
        if function is None:
            return None
        function.restype, function.argtypes = result, arguments
    return found


@dataclass(frozen=True, kw_only=True)
class NewLayer:
    """What GDAL is to make: a file with one layer.

    Attributes:
        path: of the file.
        driver: GDAL's name of the format.
        name: of the layer.
        fields: its columns, the geometry last.
        geometry_type: ``Polygon`` or ``MultiPolygon``.
        wkt: its CRS; ``None`` when unknown.
        dataset_options: of the driver.
        layer_options: of the driver.
    """

    path: Path
    driver: str
    name: str
    fields: Sequence[Field]
    geometry_type: str
    wkt: str | None
    dataset_options: Mapping[str, str]
    layer_options: Mapping[str, str]


def write_unlocked(new: NewLayer, batches: Iterator[Batch]) -> None:
    """Write a file with one layer of all batches; returns when it is closed.

    Raises:
        pyogrio.errors.DataSourceError: the file cannot be made or closed.
        pyogrio.errors.DataLayerError: a batch cannot be written.
        Exception: what ``batches`` raises.
    """
    gdal = library()
    gdal.CPLErrorReset()
    # Of this thread only; what GDAL said last is kept nevertheless.
    gdal.CPLPushErrorHandler(ctypes.cast(gdal.CPLQuietErrorHandler, _handle))
    try:
        dataset = _create(new)
        try:
            _write(_create_layer(dataset, new), new.fields, batches)
        except BaseException:
            gdal.GDALClose(dataset)
            raise
        _check(gdal.GDALClose(dataset) == 0, DataSourceError)
    finally:
        gdal.CPLPopErrorHandler()


def _create(new: NewLayer) -> int:
    gdal = library()
    driver = gdal.GDALGetDriverByName(new.driver.encode())
    _check(driver, DataSourceError)
    # A vector file has no size in pixels, no bands and no type of them.
    dataset = gdal.GDALCreate(driver, os.fsencode(new.path), 0, 0, 0, 0, _list(new.dataset_options))
    _check(dataset, DataSourceError)
    return int(dataset)


def _create_layer(dataset: int, new: NewLayer) -> int:
    gdal = library()
    kind = _GEOMETRY_TYPES[new.geometry_type]
    with _spatial_reference(new.wkt) as crs:
        layer = gdal.GDALDatasetCreateLayer(dataset, new.name.encode(), crs, kind, _list(new.layer_options))
    _check(layer, DataLayerError)
    for field in new.fields[:-1]:
        schema = arrow_abi.make_schema(field.format, field.name, field.extension)
        try:
            done = gdal.OGR_L_CreateFieldFromArrowSchema(layer, ctypes.byref(schema), None)
        finally:
            arrow_abi.release(schema)
        _check(done, DataLayerError)
    return int(layer)


def _write(layer: int, fields: Sequence[Field], batches: Iterator[Batch]) -> None:
    while (batch := next(batches, None)) is not None:
        with exported(fields, batch) as (schema, array):
            done = library().OGR_L_WriteArrowBatch(layer, schema, array, None)
        _check(done, DataLayerError)
        # Before the next one is waited for.
        del batch


@contextmanager
def _spatial_reference(wkt: str | None) -> Iterator[int | None]:
    if wkt is None:
        yield None
        return
    gdal = library()
    crs = gdal.OSRNewSpatialReference(None)
    try:
        _check(gdal.OSRSetFromUserInput(crs, wkt.encode()) == 0, DataLayerError)
        # Coordinates here are always east, then north, whatever the authority says.
        gdal.OSRSetAxisMappingStrategy(crs, _EAST_FIRST)
        yield crs
    finally:
        gdal.OSRRelease(crs)


def _list(options: Mapping[str, str]) -> Any:
    """Options as GDAL takes them: texts, and null at the end."""
    texts = [f"{key}={value}".encode() for key, value in options.items()]
    return (ctypes.c_char_p * (len(texts) + 1))(*texts, None)


def _check(done: object, error: type[Exception]) -> None:
    """Raise what GDAL said last, in this thread, if something failed."""
    if not done:
        raise error(library().CPLGetLastErrorMsg().decode(errors="replace") or "GDAL does not tell why")
