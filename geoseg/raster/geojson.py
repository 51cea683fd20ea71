"""What GDAL passes over in GeoJSON without a word: CRSs by address or unknown name, lines it cannot read."""

from __future__ import annotations

import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geoseg.errors import LabelsError
from geoseg.raster.crs_text import names_a_file

_IS_WGS84 = re.compile(r".*(crs:?84|wgs ?84|4326)", re.IGNORECASE | re.DOTALL)
_RECORD = b"\x1e"


def check_crs(path: Path, what: str) -> None:
    """Refuse a GeoJSON that gives its CRS as an address; GDAL would try to fetch it.

    Raises:
        LabelsError: it does; ``what`` is how a message calls the file.
    """
    for crs in _crs_members(path):
        if crs.get("type") not in ("name", "EPSG"):  # no set: it may be a list
            raise LabelsError(f"{what} {path} gives its CRS as {crs.get('type')!r}; give it by name")
        if names_a_file(json.dumps(crs).replace("\\", "")):
            raise LabelsError(f"{what} {path} has a CRS that leads to another file; give it as EPSG:CODE")


def check_read(path: Path, what: str, *, features: int, lines: bool, crs: Any) -> None:
    """Make sure that all was read, in the CRS that the file names.

    Args:
        path: the file.
        what: how a message calls it.
        features: how many were read.
        lines: whether it has a feature on every line.
        crs: that GDAL found (pyproj).

    Raises:
        LabelsError: there are lines that GDAL could not read and left out, or a CRS it took for WGS 84.
    """
    if lines:
        expected = _records(path)
        if features != expected:
            raise LabelsError(
                f"{what} {path} has {expected:,} lines, of which {features:,} could be read as a feature; "
                "repair the others"
            )
        return
    for member in _crs_members(path):
        properties = member.get("properties")
        name = properties.get("name") if isinstance(properties, dict) else None
        if isinstance(name, str) and not _is_known(name, crs):
            raise LabelsError(
                f"{what} {path} gives its CRS as {name[:80]!r}, which is none that GDAL knows; "
                "give it as EPSG:CODE"
            )


def _is_known(name: str, crs: Any) -> bool:
    """Whether GDAL, which takes a name that it does not know for WGS 84, can have known it."""
    import pyproj
    from pyproj.exceptions import ProjError

    if crs is None or not crs.is_geographic or _IS_WGS84.fullmatch(name):
        return True
    try:
        return bool(pyproj.CRS.from_user_input(name).is_geographic)
    except (ProjError, ValueError):  # ValueError: it cannot be written as UTF-8
        return False


def _crs_members(path: Path) -> Iterator[dict[str, Any]]:
    """Objects that stand in the file as a ``crs``."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        for found in re.finditer(rb'"crs"\s*:\s*(?=\{)', content):
            text = content[found.end() : found.end() + 4096].decode("utf-8", "replace")
            try:
                crs, _ = json.JSONDecoder().raw_decode(text)
            except (ValueError, RecursionError):
                continue  # too long for a CRS, or damaged: GDAL says which
            yield crs


def _records(path: Path) -> int:
    """How many features a file of one a line, or one after each record separator, should have."""
    with path.open("rb") as file:
        if file.read(1) == _RECORD:
            file.seek(0)
            return sum(line.count(_RECORD) for line in file)
        file.seek(0)
        return sum(bool(line.strip()) for line in file)
