"""Tells whether all of a written layer has arrived on the disk.

GDAL writes the ends of files, and the index of a GeoPackage, when it closes them, and keeps to itself (3.12
does) when that fails: a full disk made layers without an index or without their last polygon.
"""

from __future__ import annotations

import contextlib
import sqlite3
import struct
from pathlib import Path

_FLATGEOBUF_NODE_ITEMS = 16
_FLATGEOBUF_NODE_BYTES = 40
_SHAPEFILE_HEADER_BYTES = 100
_SHX_RECORD_BYTES = 8


def check_whole(path: Path, driver: str, layer: str, count: int, empty: int = 0) -> None:
    """Look where the end of a file shows.

    Args:
        path: the closed file.
        driver: the one of GDAL that wrote it.
        layer: name of the layer in it.
        count: number of its features.
        empty: how many of them have no points.

    Raises:
        OSError: something is missing.
    """
    try:
        if driver == "GPKG":
            whole = _is_whole_geopackage(path, layer, count, empty)
        elif driver == "FlatGeobuf":
            whole = _is_whole_flatgeobuf(path, count)
        elif driver == "GeoJSON":
            whole = _read(path, max(path.stat().st_size - 4, 0), 4) == b"]\n}\n"
        else:
            whole = _is_whole_shapefile(path, count)
    except struct.error:
        whole = False  # shorter than what should say where it ends
    if not whole:
        raise OSError("not all of it arrived on the disk")


def _read(path: Path, offset: int, size: int) -> bytes:
    """Bytes of a file from an offset; fewer, or none, where it ends earlier."""
    with path.open("rb") as file:
        file.seek(min(offset, path.stat().st_size))
        return file.read(size)


def _is_whole_geopackage(path: Path, layer: str, count: int, empty: int) -> bool:
    """Feature count and index are written last; what has no points is in no index."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        try:
            counted = connection.execute(
                "SELECT feature_count FROM gpkg_ogr_contents WHERE table_name = ?", (layer,)
            ).fetchone()
            indexed = connection.execute(f'SELECT count(*) FROM "rtree_{layer}_geom_rowid"').fetchone()
        except sqlite3.Error:
            return False
    return bool(counted == (count,) and indexed == (count - empty,))


def _is_whole_flatgeobuf(path: Path, count: int) -> bool:
    """Signature, header and its size, packed tree, features, https://flatgeobuf.org.

    The tree's last node is the last feature; it ends with where that begins, which begins with its size.
    """
    begin: int = 12 + struct.unpack("<I", _read(path, 8, 4))[0]
    nodes = level = count
    while level > 1 or nodes == 1:
        level = -(-level // _FLATGEOBUF_NODE_ITEMS)
        nodes += level
    begin += nodes * _FLATGEOBUF_NODE_BYTES
    if count:
        begin += struct.unpack("<Q", _read(path, begin - 8, 8))[0]
        begin += 4 + struct.unpack("<I", _read(path, begin, 4))[0]
    return path.stat().st_size == begin


def _is_whole_shapefile(path: Path, count: int) -> bool:
    """Sizes are in the headers: ESRI Shapefile Technical Description (1998); dBASE III."""
    for part in (path, path.with_suffix(".shx")):
        # In words of two bytes.
        if part.stat().st_size != 2 * struct.unpack(">I", _read(part, 24, 4))[0]:
            return False
    table = path.with_suffix(".dbf")
    records, header_bytes, record_bytes = struct.unpack("<IHH", _read(table, 4, 8))
    sizes = (path.with_suffix(".shx").stat().st_size, records, table.stat().st_size)
    # One more byte ends the table.
    return sizes == (
        _SHAPEFILE_HEADER_BYTES + _SHX_RECORD_BYTES * count,
        count,
        header_bytes + record_bytes * count + 1,
    )
