"""Facts of vector files: their layers, and of those that geoseg made, what became of each class."""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg import strict_json
from geoseg.errors import LabelsError
from geoseg.facts.common import Facts, file_mb
from geoseg.raster import formats
from geoseg.raster.gdal import gdal_errors, quiet
from geoseg.raster.geopackage import STANDARD_VIEWS
from geoseg.raster.lean import pyogrio
from geoseg.raster.qml import style_of
from geoseg.raster.vectors import check_ogr, undisturbed

MAX_COUNTED = 5_000_000
"""Features of a layer whose classes are counted: some 200 bytes of memory each."""
MAX_LAYERS = 100

_CLASS_COLUMNS = ("class_id", "class_name")
_AREA = "area_m2"
_STYLES = "layer_styles"
_WHAT = "file"


def layer_facts(path: Path) -> Facts:
    """What a vector file holds.

    Raises:
        LabelsError: no vector file that geoseg reads, or a damaged one.
    """
    head = formats.read_head(path, what=_WHAT, error=LabelsError)
    driver = formats.vector_driver(head, path.suffix)
    if driver is None:
        raise LabelsError(f"{_WHAT} {path} is {formats.describe(head)}; give polygons")
    layers = [_parquet_layer(path)] if driver == formats.GEOPARQUET else _ogr_layers(path, driver)
    with_geometry = [layer for layer in layers if layer["geometry"] is not None]
    facts: Facts = {"kind": "polygons", "path": str(path), "format": driver, "file_mb": file_mb(path)}
    facts["layers"] = layers
    facts["style"] = style_of(path).name if style_of(path).is_file() else None
    if len(with_geometry) == 1:
        (layer,) = with_geometry
        is_polygons = "polygon" in str(layer["geometry"]).lower()
        facts |= {"kind": "polygons" if is_polygons else "layer"}
        facts |= {
            key: layer[key] for key in ("layer", "features", "geometry", "crs", "bounds", "fields", "styled")
        }
        facts["classes"] = _classes(path, driver, layer)
    return facts


def _ogr_layers(path: Path, driver: str) -> list[Facts]:
    with undisturbed(path, driver) as here, gdal_errors(f"reading {_WHAT}", path, error=LabelsError), quiet():
        check_ogr(path, driver, layer=None, what=_WHAT, here=here)
        path = here
        names = [str(name) for name, _ in pyogrio.list_layers(path.absolute())]
        styled = _styled(path) if _STYLES in names else set()
        names = [name for name in names if name != _STYLES and name not in STANDARD_VIEWS]
        return [_ogr_layer(path, name, styled) for name in names[:MAX_LAYERS]]


def _ogr_layer(path: Path, name: str, styled: set[str]) -> Facts:
    told = pyogrio.read_info(path.absolute(), layer=name, force_feature_count=True, force_total_bounds=True)
    bounds = told["total_bounds"]
    bounds = None if bounds is None or not np.isfinite(bounds).all() else bounds
    return {
        "layer": name,
        "features": int(told["features"]),
        "geometry": told["geometry_type"],
        "crs": _short(told["crs"]),
        "bounds": None if bounds is None else [float(value) for value in bounds],
        "fields": dict(zip(map(str, told["fields"]), map(_kind, told["dtypes"]), strict=True)),
        "styled": name in styled,
    }


def _styled(path: Path) -> set[str]:
    """Layers of a GeoPackage that bring their style."""
    _, _, _, columns = pyogrio.raw.read(
        path.absolute(), layer=_STYLES, columns=["f_table_name"], read_geometry=False, max_features=1000
    )
    # None when another program's table is called so.
    return {str(name) for column in columns for name in column}


def _parquet_layer(path: Path) -> Facts:
    parquet = _opened_parquet(path)
    try:
        geo = strict_json.loads(parquet.metadata.metadata[b"geo"])
        column = geo["columns"][geo["primary_column"]]
        types, bounds, crs = (
            column.get("geometry_types") or [],
            column.get("bbox"),
            column.get("crs", "OGC:CRS84"),
        )
        geometry, primary = ", ".join(map(str, types)) or "unknown", geo["primary_column"]
    except (KeyError, TypeError, AttributeError, ValueError) as reason:
        raise LabelsError(
            f"{_WHAT} {path} is Parquet, but no GeoParquet; write it with geopandas"
        ) from reason
    return {
        "layer": path.stem,
        "features": int(parquet.metadata.num_rows),
        "geometry": geometry,
        "crs": _projjson(crs),
        "bounds": [float(value) for value in bounds] if _is_box(bounds) else None,
        "fields": {field.name: str(field.type) for field in parquet.schema_arrow if field.name != primary},
        "styled": False,
    }


def _is_box(bounds: Any) -> bool:
    return isinstance(bounds, list) and len(bounds) == 4 and all(isinstance(v, int | float) for v in bounds)


def _opened_parquet(path: Path) -> Any:
    if importlib.util.find_spec("pyarrow") is None:
        raise LabelsError(f"{_WHAT} {path} is GeoParquet, which needs pyarrow; pip install 'geoseg[parquet]'")
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError, ValueError) as reason:
        text = " ".join(str(reason).split())[:200]
        raise LabelsError(f"reading {_WHAT} {path} failed: {text}; is it GeoParquet?") from reason


def _projjson(crs: Any) -> str | None:
    """A CRS as GeoParquet tells it: PROJJSON, or none."""
    if not isinstance(crs, dict):
        return crs if isinstance(crs, str) else None
    code = crs.get("id")
    if isinstance(code, dict) and "authority" in code and "code" in code:
        return f"{code['authority']}:{code['code']}"[:80]
    name = crs.get("name")
    return name[:80] if isinstance(name, str) else None


def _short(crs: str | None) -> str | None:
    """A CRS in a few words."""
    if crs is None or len(crs) <= 40:
        return crs
    import pyproj
    from pyproj.exceptions import CRSError

    try:
        return str(pyproj.CRS.from_user_input(crs).name)
    except CRSError:
        return None


def _kind(dtype: Any) -> str:
    return "text" if str(dtype) == "object" else str(dtype)


def _classes(path: Path, driver: str, layer: Facts) -> list[Facts] | None:
    """Polygons and area of each class; ``None`` of a layer of another program, or of too many features."""
    if not set(_CLASS_COLUMNS) <= layer["fields"].keys() or layer["features"] > MAX_COUNTED:
        return None
    columns = _columns(path, driver, layer)
    keys = list(zip(columns["class_id"].tolist(), columns["class_name"].tolist(), strict=True))
    counts: Counter[tuple[Any, Any]] = Counter(keys)
    areas: dict[tuple[Any, Any], float] = {}
    for key, area in zip(keys, columns[_AREA].tolist() if _AREA in columns else (), strict=False):
        areas[key] = areas.get(key, 0.0) + (area if isinstance(area, int | float) else 0.0)
    rows = [
        {
            "id": class_id if isinstance(class_id, int) else None,
            "class": str(name)[:200],
            "polygons": count,
            _AREA: round(areas[class_id, name], 3) if areas else None,
        }
        for (class_id, name), count in counts.items()
    ]
    return sorted(rows, key=lambda row: (row["id"] is None, row["id"] or 0, row["class"]))[:1000]


def _columns(path: Path, driver: str, layer: Facts) -> dict[str, NDArray[Any]]:
    wanted = [name for name in (*_CLASS_COLUMNS, _AREA) if name in layer["fields"]]
    if driver == formats.GEOPARQUET:
        table = _opened_parquet(path).read(columns=wanted)
        return {name: np.array(table.column(name).to_pylist(), object) for name in wanted}
    with undisturbed(path, driver) as here, gdal_errors(f"reading {_WHAT}", path, error=LabelsError), quiet():
        told, _, _, values = pyogrio.raw.read(
            here.absolute(), layer=layer["layer"], columns=wanted, read_geometry=False
        )
    return dict(zip(map(str, told["fields"]), values, strict=True))
