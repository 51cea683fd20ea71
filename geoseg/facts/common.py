"""What the facts of several kinds of files have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rasterio.crs import CRS

from geoseg.classes import BandStats, ClassMap
from geoseg.raster.gdal import GDAL_ERRORS

Facts = dict[str, Any]
"""Names and what JSON knows: text, numbers, truths, ``None``, lists and dicts of them.

A number's unit ends its name, as in ``gsd_m`` or ``size_px``. What is unknown is ``None``.
"""

ROLES = {"background": "background", "boundary": "between polygons"}


def class_rows(classes: ClassMap) -> list[Facts]:
    """A row for each class, in the order of their ids."""
    roles = {classes.background: ROLES["background"], classes.boundary: ROLES["boundary"]}
    return [
        {"id": class_id, "class": name, "color": color, "role": roles.get(class_id)}
        for class_id, (name, color) in enumerate(zip(classes.names, classes.colors, strict=True))
    ]


def band_rows(names: tuple[str, ...], stats: BandStats) -> list[Facts]:
    """A row for each band that a network looks at."""
    columns = (stats.mean, stats.std, stats.minimum, stats.maximum)
    return [
        {"band": name, **dict(zip(("mean", "std", "least", "most"), map(_digits, values), strict=True))}
        for name, *values in zip(names, *columns, strict=True)
    ]


def _digits(value: float) -> float:
    return float(f"{value:.6g}") if math.isfinite(value) else value


def file_mb(path: Path) -> float:
    """Size of a file in MB (10^6 bytes)."""
    return round(path.stat().st_size / 1e6, 6)


def files_mb(folder: Path) -> float:
    """Size of the files in a folder, not in those within it, in MB (10^6 bytes)."""
    return round(sum(found.stat().st_size for found in _files(folder)) / 1e6, 6)


def _files(folder: Path) -> Iterator[Path]:
    return (found for found in folder.iterdir() if found.is_file() and not found.is_symlink())


def share(part: float, whole: float) -> float | None:
    """``part / whole``; ``None`` of nothing."""
    return round(float(part) / float(whole), 6) if whole else None


def crs_facts(crs: CRS | None) -> Facts:
    """A CRS by its code, where it has one, and by its name."""
    if crs is None:
        return {"crs": None, "crs_name": None, "units": None}
    import pyproj
    from pyproj.exceptions import CRSError

    text: str = crs.to_string()
    name: str | None
    try:
        name = str(pyproj.CRS.from_user_input(crs.to_wkt(version="WKT2_2019")).name)
    except CRSError:
        name = None  # PROJ is choosier than GDAL
    return {"crs": text if len(text) <= 40 else None, "crs_name": name, "units": _units(crs)}


def _units(crs: CRS) -> str | None:
    try:
        return str(crs.units_factor[0])
    except GDAL_ERRORS:
        return None
