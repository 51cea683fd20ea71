"""Hostile labels: vector files of every format."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import shapely
from hostile_files import BOX, NASTY, Lures, Maker, written
from hostile_geopackages import GEOPACKAGES
from labelzoo_makers import wrote
from scenes import geojson_with_crs


def _ogr_vrt(source: str, more: str = "") -> str:
    return (
        f"<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{source}</SrcDataSource>{more}</OGRVRTLayer>"
        "</OGRVRTDataSource>"
    )


def ogr_vrt_of_sql(folder: Path, kit: Path, lures: Lures) -> Path:
    """It wants another database attached."""
    text = _ogr_vrt(f"{kit}/labels.gpkg", f"<SrcSQL>ATTACH '{lures.new}' AS x</SrcSQL>")
    return written("a.shp", text)(folder, kit, lures)


def _gml(lures: Lures) -> str:
    declared = f'<!DOCTYPE x [<!ENTITY x SYSTEM "{lures.url}/x">]>'
    return f"{declared}<gml:FeatureCollection>&x;</gml:FeatureCollection>"


OTHERS: dict[str, Maker] = {
    "ogr_vrt_of_text": written("a.gpkg", lambda lures: _ogr_vrt(f"CSV:{lures.text}")),
    "ogr_vrt_of_a_url": written("a.geojson", lambda lures: _ogr_vrt(f"/vsicurl/{lures.url}/a.csv")),
    ogr_vrt_of_sql.__name__: ogr_vrt_of_sql,
    "gml_with_entity": written("a.gml", _gml),
}
"""Other formats of GDAL under names of good ones."""


def crs(kind: str, key: str, value: Callable[[Lures], str]) -> Maker:
    """A GeoJSON whose CRS leads somewhere."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        return geojson_with_crs(folder / "a.geojson", {"type": kind, "properties": {key: value(lures)}})

    return make


def _prj(lures: Lures) -> str:
    return f"{lures.url}/a.prj"


def geojson_crs_hidden(folder: Path, kit: Path, lures: Lures) -> Path:
    """The key of its CRS is written with an escape."""
    path = crs("link", "href", _prj)(folder, kit, lures)
    path.write_text(path.read_text().replace('"crs"', '"\\u0063rs"'))
    return path


def geojson(properties: Mapping[str, Any], *swaps: tuple[str, str]) -> Maker:
    """A GeoJSON of one polygon with these attributes, and then other text in it."""
    west, south, east, north = 14.9999, 45.1528, 15.0005, 45.1531
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    shape = {"type": "Polygon", "coordinates": [ring]}
    feature = {"type": "Feature", "properties": properties, "geometry": shape}
    text = json.dumps({"type": "FeatureCollection", "features": [feature]})
    for old, new in swaps:
        text = text.replace(old, new, 1)
    return written("a.geojson", text)


_DEEP_GEOMETRY = '{"type":"GeometryCollection","geometries":[' * 5000 + "]}" * 5000
GEOJSON: dict[str, Maker] = {
    "geojson_crs_link": crs("link", "href", _prj),
    "geojson_crs_url": crs("url", "url", _prj),
    "geojson_crs_named_url": crs("name", "name", _prj),
    "geojson_crs_named_file": crs("name", "name", lambda lures: lures.text),
    "geojson_crs_init_file": crs("name", "name", lambda lures: f"+init={lures.text}:1"),
    "geojson_crs_with_grids": crs(
        "name", "name", lambda lures: f"+proj=longlat +ellps=bessel +nadgrids={lures.text} +type=crs"
    ),
    geojson_crs_hidden.__name__: geojson_crs_hidden,
    "geojson_deep": written(
        "a.geojson", '{"type":"FeatureCollection","features":' + "[" * 200_000 + "]" * 200_000 + "}"
    ),
    "geojson_deep_attribute": geojson({"a": "DEEP"}, ('"DEEP"', '{"a":' * 20_000 + "1" + "}" * 20_000)),
    "geojson_deep_geometry": written(
        "a.geojson",
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{},"geometry":'
        f"{_DEEP_GEOMETRY}}}]}}",
    ),
    "geojson_many_columns": geojson({f"k{at}": 1 for at in range(20_000)}),
    "geojson_markup": geojson({NASTY: NASTY, "class_id": 1, "class_name": NASTY}),
    "geojson_numbers": geojson({"a": "N", "b": "N"}, ('"N"', "1e400"), ('"N"', "9" * 5000)),
}


def _shapefile(folder: Path) -> Path:
    return wrote(BOX, name="a.shp", kinds=["field"])(folder)


def projected(text: Callable[[Lures], str]) -> Maker:
    """A Shapefile of this CRS."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        path = _shapefile(folder)
        written("a.prj", text)(folder, kit, lures)
        return path

    return make


def with_pipe(name: str) -> Maker:
    """A Shapefile of which one file is a pipe."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        path = _shapefile(folder)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        return path

    return make


def _with_grids(lures: Lures) -> str:
    return (
        f'GEOGCS["x",DATUM["x",SPHEROID["x",6378137,298.25],EXTENSION["PROJ4_GRIDS","{lures.text}"]],'
        'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'
    )


def shapefile_dbf_links_elsewhere(folder: Path, kit: Path, lures: Lures) -> Path:
    """Its table is a link."""
    path = _shapefile(folder)
    (folder / "a.dbf").unlink()
    (folder / "a.dbf").symlink_to(lures.text)
    return path


def shapefile_lies_about_records(folder: Path, kit: Path, lures: Lures) -> Path:
    """Its table and its index say that there are billions."""
    path = _shapefile(folder)
    for suffix, at, number in ((".dbf", 4, b"\xff\xff\xff\x7f"), (".shx", 24, b"\x7f\xff\xff\xf0")):
        content = bytearray(path.with_suffix(suffix).read_bytes())
        content[at : at + 4] = number
        path.with_suffix(suffix).write_bytes(content)
    return path


def flatgeobuf_lies_about_features(folder: Path, kit: Path, lures: Lures) -> Path:
    """It says that it has 2^40."""
    path = wrote(BOX, name="a.fgb", kinds=["field"])(folder)
    content = path.read_bytes()
    at = content.index((1).to_bytes(8, "little"), 12)
    path.write_bytes(content[:at] + (2**40).to_bytes(8, "little") + content[at + 8 :])
    return path


SHAPEFILES: dict[str, Maker] = {
    "shapefile_prj_with_grids": projected(_with_grids),
    "shapefile_prj_is_a_url": projected(_prj),
    "shapefile_prj_is_a_path": projected(lambda lures: lures.text),
    "shapefile_dbf_is_a_pipe": with_pipe("a.dbf"),
    "shapefile_cpg_is_a_pipe": with_pipe("a.cpg"),
    shapefile_dbf_links_elsewhere.__name__: shapefile_dbf_links_elsewhere,
    shapefile_lies_about_records.__name__: shapefile_lies_about_records,
    flatgeobuf_lies_about_features.__name__: flatgeobuf_lies_about_features,
}


def parquet(
    value: bytes,
    rows: int = 1,
    *,
    crs: Callable[[Lures], str] | None = None,
    swap: tuple[str, str] = ("", ""),
) -> Maker:
    """A GeoParquet that says one geometry so many times."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        column = {"encoding": "WKB", "geometry_types": [], "crs": None if crs is None else crs(lures)}
        geo = {"version": "1.0.0", "primary_column": "geometry", "columns": {"geometry": column}}
        kind = pyarrow.dictionary(pyarrow.int32(), pyarrow.binary())
        told = json.dumps(geo).replace(*swap).encode()
        schema = pyarrow.schema([("geometry", kind)], metadata={b"geo": told})
        values = pyarrow.DictionaryArray.from_arrays(
            np.zeros(rows, np.int32), pyarrow.array([value], pyarrow.binary())
        )
        options = {"compression": "gzip", "dictionary_pagesize_limit": 2**26}
        pyarrow.parquet.write_table(pyarrow.table([values], schema=schema), folder / "a.parquet", **options)
        return folder / "a.parquet"

    return make


_SOUND = shapely.to_wkb(BOX)
PARQUET: dict[str, Maker] = {
    "parquet_rows_without_end": parquet(_SOUND, 11_000_000),
    "parquet_of_one_huge_value": parquet(bytes(5_000_000), 500),
    "parquet_crs_is_a_path": parquet(_SOUND, crs=lambda lures: lures.text),
    "parquet_crs_is_a_url": parquet(_SOUND, crs=_prj),
    "parquet_metadata_deep": parquet(_SOUND, crs=lambda _: "DEEP", swap=('"DEEP"', "[" * 900 + "]" * 900)),
}


def link_to_itself(folder: Path, kit: Path, lures: Lures) -> Path:
    """Never ends."""
    (folder / "a.gpkg").symlink_to("a.gpkg")
    return folder / "a.gpkg"


def labels_are_a_pipe(folder: Path, kit: Path, lures: Lures) -> Path:
    """Nobody writes into it."""
    os.mkfifo(folder / "a.gpkg")
    return folder / "a.gpkg"


def name_with_controls(folder: Path, kit: Path, lures: Lures) -> Path:
    """Good labels of a nasty name."""
    path = folder / "a\n\x1b[31m\u202e[red].gpkg"
    shutil.copy(kit / "labels.gpkg", path)
    return path


NAMES: dict[str, Maker] = {
    make.__name__: make for make in (link_to_itself, labels_are_a_pipe, name_with_controls)
}
LABELS: dict[str, Maker] = {**OTHERS, **GEOJSON, **GEOPACKAGES, **SHAPEFILES, **PARQUET, **NAMES}
