"""A GeoPackage is a database, whose maker may have left SQL in it: what would run when its layers are read.

Triggers run when something is written, which never happens. But a view is SQL that runs whenever it is read:
it may have rows without end, values of gigabytes, or ask GDAL for pixels of other files. So may computed
columns, and virtual tables of other kinds than the index of places.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
from pathlib import Path
from urllib.parse import quote

from geoseg.errors import LabelsError
from geoseg.raster.crs_text import names_a_file

STANDARD_VIEWS = frozenset(
    {"st_geometry_columns", "st_spatial_ref_sys", "geometry_columns", "spatial_ref_sys"}
)
"""Views that other programs make, which are no layers; nobody reads them."""

_COMPUTED = (2, 3)
_INDEX = re.compile(
    r"\s*CREATE\s+VIRTUAL\s+TABLE\s.*\sUSING\s+\"?(rtree|rtree_i32|geopoly|fts[345])\"?\b", re.I | re.S
)
_VIRTUAL = re.compile(r"\s*CREATE\s+VIRTUAL\b", re.IGNORECASE)
_STEPS = 100_000
_MAX_CALLS = 2_000


def check_geopackage(path: Path, what: str, *, copy: Path | None = None) -> None:
    """Refuse a GeoPackage in which reading means running SQL of its maker.

    It is opened as a file that nobody changes, so that nothing is written beside it. What SQLite cannot read
    is left to GDAL, which says so.

    Args:
        path: the file.
        what: how messages call it.
        copy: of it and of the log beside it, whose changes count.

    Raises:
        LabelsError: it has a view, a computed column, a virtual table, or a CRS that names a file.
    """
    still = "&immutable=1" if copy is None else ""
    uri = f"file:{quote(os.fsencode((copy or path).absolute()))}?mode=ro{still}"
    calls = iter(range(_MAX_CALLS))
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as base:
            # A database without end stops here.
            base.set_progress_handler(lambda: next(calls, None) is None, _STEPS)
            base.execute("PRAGMA trusted_schema = OFF")
            found = base.execute("SELECT type, name, sql FROM sqlite_master").fetchall()
            tables = [str(name) for kind, name, _ in found if kind == "table"]
            leads = _leads_elsewhere(base) if "gpkg_spatial_ref_sys" in tables else False
            computed = [name for name in tables if _is_computed(base, name)]
    except (sqlite3.Error, UnicodeDecodeError):
        return
    views = [str(name) for kind, name, _ in found if kind == "view" and name not in STANDARD_VIEWS]
    virtual = [
        str(name) for _, name, sql in found if sql and _VIRTUAL.match(str(sql)) and not _INDEX.match(str(sql))
    ]
    kinds = (("the view", views), ("computed columns in", computed), ("the virtual table", virtual))
    if leads:
        raise LabelsError(f"{what} {path} has a CRS that leads to another file; give it as EPSG:CODE")
    for kind, names in kinds:
        if names:
            raise LabelsError(
                f"{what} {path} has {kind} {names[0]!r:.80}, whose rows are made by SQL in the file; "
                "export the layer to a new file with a GIS"
            )


def _leads_elsewhere(base: sqlite3.Connection) -> bool:
    return any(
        names_a_file(value)
        for row in base.execute("SELECT * FROM gpkg_spatial_ref_sys LIMIT 100000")
        for value in row
        if isinstance(value, str | bytes)
    )


def _is_computed(base: sqlite3.Connection, table: str) -> bool:
    marks = base.execute("SELECT hidden FROM pragma_table_xinfo(?)", (table,))
    return any(mark in _COMPUTED for (mark,) in marks)
