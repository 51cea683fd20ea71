"""Writes polygons as GeoParquet 1.1, one group of rows after the other; needs pyarrow.

The metadata and the column of bounding boxes are those of https://geoparquet.org/releases/v1.1.0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoseg import __version__
from geoseg.vector.arrow import Batch
from geoseg.vector.table import GEOMETRY, Table
from geoseg.vector.wkb import PackedWkb

_BBOX = "bbox"
_EDGES = ("xmin", "ymin", "xmax", "ymax")
# A group is written when it has so much. Readers leave out groups by their bounding boxes.
_GROUP_ROWS = 100_000
_GROUP_BYTES = 64 * 1024**2


def write_geoparquet(path: Path, table: Table, batches: Iterator[Batch]) -> None:
    """Write a file of all batches; returns when it is closed.

    Raises:
        OSError: the disk is full or not writable.
        Exception: what ``batches`` raises.
    """
    import pyarrow.parquet

    types = _types(table)
    box = pyarrow.struct(dict.fromkeys(_EDGES, pyarrow.float64()))
    schema = pyarrow.schema([*types.items(), (_BBOX, box)])
    extent = np.full(4, np.nan)
    with pyarrow.parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        group: list[Any] = []
        while (batch := next(batches, None)) is not None:
            bounds = _bounds(batch)
            _widen(extent, bounds)
            group.append(pyarrow.RecordBatch.from_arrays(_arrays(batch, bounds, types), schema=schema))
            del batch, bounds
            if sum(map(len, group)) >= _GROUP_ROWS or sum(each.nbytes for each in group) >= _GROUP_BYTES:
                writer.write_table(pyarrow.Table.from_batches(group), row_group_size=2 * _GROUP_ROWS)
                group.clear()
        if group:
            writer.write_table(pyarrow.Table.from_batches(group), row_group_size=2 * _GROUP_ROWS)
        writer.add_key_value_metadata({"geo": json.dumps(_metadata(table, extent))})


def _types(table: Table) -> dict[str, Any]:
    """What pyarrow calls the type of every column, the geometry last."""
    import pyarrow

    by_letter = {
        "b": pyarrow.bool_(),
        "C": pyarrow.uint8(),
        "s": pyarrow.int16(),
        "i": pyarrow.int32(),
        "l": pyarrow.int64(),
        "f": pyarrow.float32(),
        "g": pyarrow.float64(),
        "U": pyarrow.large_string(),
        "Z": pyarrow.large_binary(),
    }
    return {field.name: by_letter[field.format] for field in table.fields()}


def _arrays(batch: Batch, bounds: NDArray[np.float64], types: dict[str, Any]) -> list[Any]:
    """Columns as pyarrow has them, reading the same memory, and the bounding boxes."""
    import pyarrow

    arrays = []
    for kind, column in zip(types.values(), batch.columns, strict=True):
        buffers = [None if buffer is None else pyarrow.py_buffer(buffer) for buffer in column.buffers]
        arrays.append(pyarrow.Array.from_buffers(kind, batch.length, buffers, column.null_count))
    edges = [pyarrow.array(np.ascontiguousarray(edge)) for edge in bounds.T]
    return [*arrays, pyarrow.StructArray.from_arrays(edges, _EDGES)]


def _bounds(batch: Batch) -> NDArray[np.float64]:
    """Left, lower, right and upper edge of every polygon, (N, 4)."""
    _, offsets, data = batch.columns[-1].buffers
    assert offsets is not None
    assert data is not None
    bounds: NDArray[np.float64] = shapely.bounds(shapely.from_wkb(PackedWkb(data, offsets).unpack()))
    return bounds


def _widen(extent: NDArray[np.float64], bounds: NDArray[np.float64]) -> None:
    """Widen an extent (4,) in place to hold bounds (N, 4); not-a-number is no edge."""
    extent[:2] = np.fmin(extent[:2], np.fmin.reduce(bounds[:, :2], initial=np.nan))
    extent[2:] = np.fmax(extent[2:], np.fmax.reduce(bounds[:, 2:], initial=np.nan))


def _metadata(table: Table, extent: NDArray[np.float64]) -> dict[str, Any]:
    known = bool(np.isfinite(extent).all())
    column = {
        "encoding": "WKB",
        "crs": None if table.crs is None else _projjson(table.crs),
        "geometry_types": [table.geometry_type] if known else [],
        "covering": {_BBOX: {edge: [_BBOX, edge] for edge in _EDGES}},
        **({"bbox": extent.tolist()} if known else {}),
    }
    return {
        "version": "1.1.0",
        "primary_column": GEOMETRY,
        "columns": {GEOMETRY: column},
        "creator": {"library": "geoseg", "version": __version__},
    }


def _projjson(crs: CRS) -> dict[str, Any]:
    import pyproj

    json_dict: dict[str, Any] = pyproj.CRS.from_user_input(crs.to_wkt(version="WKT2_2019")).to_json_dict()
    _drop_ids_of_members(json_dict)
    return json_dict


def _drop_ids_of_members(node: dict[str, Any]) -> None:
    """Take out the ids of members of datum ensembles, which older PROJs do not know and then refuse."""
    for key, value in node.items():
        if isinstance(value, dict):
            _drop_ids_of_members(value)
        elif key == "members" and isinstance(value, list):
            for member in value:
                member.pop("id", None)
