"""Hostile labels: vector files of every format."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow
import pyarrow.parquet
import shapely
from hostile_files import Lures
from scenes import UTM, geojson_with_crs, write_labels

Maker = Callable[[Path, Path, Lures], Path]
LABELS: dict[str, Maker] = {}
CASES: dict[str, dict[str, Maker]] = {"labels": LABELS}


def labels(make: Maker) -> Maker:
    """Register a maker."""
    LABELS[make.__name__] = make
    return make


BOX = shapely.box(500_005, 4_999_945, 500_030, 4_999_970)


@labels
def ogr_vrt_of_text(folder: Path, kit: Path, lures: Lures) -> Path:
    return _ogr_vrt(folder / "a.gpkg", f"CSV:{lures.text}")


@labels
def ogr_vrt_of_a_url(folder: Path, kit: Path, lures: Lures) -> Path:
    return _ogr_vrt(folder / "a.geojson", f"/vsicurl/{lures.url}/a.csv")


@labels
def ogr_vrt_of_sql(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.shp"
    path.write_text(
        f"<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{kit}/labels.gpkg</SrcDataSource>"
        f"<SrcSQL>ATTACH '{lures.new}' AS x</SrcSQL></OGRVRTLayer></OGRVRTDataSource>"
    )
    return path


def _ogr_vrt(path: Path, source: str) -> Path:
    path.write_text(
        f"<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{source}</SrcDataSource></OGRVRTLayer>"
        "</OGRVRTDataSource>"
    )
    return path


@labels
def gml_with_entity(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.gml"
    path.write_text(
        f'<!DOCTYPE x [<!ENTITY x SYSTEM "{lures.url}/x">]><gml:FeatureCollection>&x;</gml:FeatureCollection>'
    )
    return path


@labels
def geojson_crs_link(folder: Path, kit: Path, lures: Lures) -> Path:
    return geojson_with_crs(
        folder / "a.geojson", {"type": "link", "properties": {"href": f"{lures.url}/a.prj"}}
    )


@labels
def geojson_crs_url(folder: Path, kit: Path, lures: Lures) -> Path:
    return geojson_with_crs(
        folder / "a.geojson", {"type": "url", "properties": {"url": f"{lures.url}/a.prj"}}
    )


@labels
def geojson_crs_named_url(folder: Path, kit: Path, lures: Lures) -> Path:
    return geojson_with_crs(
        folder / "a.geojson", {"type": "name", "properties": {"name": f"{lures.url}/a.prj"}}
    )


@labels
def geojson_crs_named_file(folder: Path, kit: Path, lures: Lures) -> Path:
    return geojson_with_crs(folder / "a.geojson", {"type": "name", "properties": {"name": lures.text}})


@labels
def geojson_crs_init_file(folder: Path, kit: Path, lures: Lures) -> Path:
    name = f"+init={lures.text}:1"
    return geojson_with_crs(folder / "a.geojson", {"type": "name", "properties": {"name": name}})


@labels
def geojson_crs_with_grids(folder: Path, kit: Path, lures: Lures) -> Path:
    name = f"+proj=longlat +ellps=bessel +nadgrids={lures.text} +type=crs"
    return geojson_with_crs(folder / "a.geojson", {"type": "name", "properties": {"name": name}})


@labels
def geojson_crs_hidden(folder: Path, kit: Path, lures: Lures) -> Path:
    path = geojson_crs_link(folder, kit, lures)
    path.write_text(path.read_text().replace('"crs"', '"\\u0063rs"'))
    return path


@labels
def geojson_deep(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.geojson"
    path.write_text('{"type":"FeatureCollection","features":' + "[" * 200_000 + "]" * 200_000 + "}")
    return path


@labels
def geojson_deep_attribute(folder: Path, kit: Path, lures: Lures) -> Path:
    return _geojson(folder, {"a": "DEEP"}, ('"DEEP"', '{"a":' * 20_000 + "1" + "}" * 20_000))


@labels
def geojson_deep_geometry(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.geojson"
    inner = '{"type":"GeometryCollection","geometries":[' * 5000 + "]}" * 5000
    path.write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{},"geometry":'
        + inner
        + "}]}"
    )
    return path


@labels
def geojson_many_columns(folder: Path, kit: Path, lures: Lures) -> Path:
    return _geojson(folder, {f"k{at}": 1 for at in range(20_000)})


@labels
def geojson_markup(folder: Path, kit: Path, lures: Lures) -> Path:
    return _geojson(folder, {NASTY: NASTY, "class_id": 1, "class_name": NASTY})


@labels
def geojson_numbers(folder: Path, kit: Path, lures: Lures) -> Path:
    return _geojson(folder, {"a": "N", "b": "N"}, ('"N"', "1e400"), ('"N"', "9" * 5000))


NASTY = "\x1b[31m[red][link=file:///x]x[/link]\u202e</script><img src=x onerror=document.title='hit'>\n'\";--"


def _geojson(folder: Path, properties: dict[str, Any], *swaps: tuple[str, str]) -> Path:
    ring = [
        [14.9999, 45.1528],
        [15.0005, 45.1528],
        [15.0005, 45.1531],
        [14.9999, 45.1531],
        [14.9999, 45.1528],
    ]
    feature = {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    text = json.dumps({"type": "FeatureCollection", "features": [feature]})
    for old, new in swaps:
        text = text.replace(old, new, 1)
    path = folder / "a.geojson"
    path.write_text(text)
    return path


def geopackage(*statements: str | tuple[str, Sequence[Any]], layer: str = "parcels") -> Maker:
    """A GeoPackage of one polygon after some SQL, as whoever made it may run."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        path = folder / "a.gpkg"
        frame = geopandas.GeoDataFrame({"kind": ["field"]}, geometry=[BOX], crs=UTM)
        frame.to_file(path, layer=layer, engine="pyogrio")
        base = sqlite3.connect(path)
        for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):
            base.create_function(name, 1, lambda _: 0)
        base.execute("PRAGMA writable_schema=ON")
        for statement in statements:
            text, values = (statement, ()) if isinstance(statement, str) else statement
            text = text.replace("TEXT_LURE", lures.text).replace("RASTER_LURE", lures.raster)
            base.execute(text.replace("NEW_LURE", lures.new).replace("URL_LURE", lures.url), values)
        base.commit()
        base.close()
        return path

    return make


def _as_view(query: str) -> tuple[str, ...]:
    """Let a view stand for the layer."""
    return (
        "ALTER TABLE parcels RENAME TO hidden",
        f"CREATE VIEW parcels AS {query}",
    )


SQL: dict[str, Maker] = {
    "gpkg_trigger": geopackage(
        "CREATE TRIGGER t AFTER INSERT ON parcels BEGIN SELECT load_extension('NEW_LURE'); END",
        "CREATE TRIGGER u AFTER UPDATE ON gpkg_contents BEGIN DELETE FROM parcels; END",
    ),
    "gpkg_view": geopackage(*_as_view("SELECT fid, geom, kind FROM hidden")),
    "gpkg_view_without_end": geopackage(
        *_as_view(
            "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
            "SELECT x AS fid, geom, kind FROM hidden, c"
        )
    ),
    "gpkg_view_of_a_raster": geopackage(
        *_as_view(
            "SELECT fid, geom, gdal_get_pixel_value('RASTER_LURE', 1, 'pixel', 1, 1) AS kind FROM hidden"
        )
    ),
    "gpkg_view_loads_code": geopackage(
        *_as_view("SELECT fid, geom, load_extension('TEXT_LURE') AS kind FROM hidden")
    ),
    "gpkg_view_of_gigabytes": geopackage(
        *_as_view("SELECT fid, geom, hex(zeroblob(900000000)) AS kind FROM hidden")
    ),
    "gpkg_view_reads_a_file": geopackage(
        *_as_view("SELECT fid, geom, readfile('TEXT_LURE') AS kind FROM hidden")
    ),
    "gpkg_generated_column": geopackage(
        "ALTER TABLE parcels ADD COLUMN big TEXT GENERATED ALWAYS AS (hex(zeroblob(900000000))) VIRTUAL"
    ),
    "gpkg_generated_pixel": geopackage(
        'UPDATE sqlite_master SET sql = \'CREATE TABLE "parcels" ("fid" INTEGER PRIMARY KEY, "geom" BLOB, '
        "\"kind\" TEXT, x REAL AS (gdal_get_pixel_value(''RASTER_LURE'', 1, ''pixel'', 1, 1)))' "
        "WHERE name='parcels'"
    ),
    "gpkg_virtual_table": geopackage(
        "DELETE FROM sqlite_master WHERE name = 'parcels'",
        "INSERT INTO sqlite_master VALUES ('table', 'parcels', 'parcels', 0, "
        "'CREATE VIRTUAL TABLE parcels USING VirtualOGR(''CSV:TEXT_LURE'')')",
    ),
    "gpkg_extension": geopackage(
        "CREATE TABLE IF NOT EXISTS gpkg_extensions (table_name TEXT, column_name TEXT, extension_name TEXT, "
        "definition TEXT, scope TEXT)",
        "INSERT INTO gpkg_extensions VALUES (NULL, NULL, 'load', 'TEXT_LURE', 'read-write')",
    ),
    "gpkg_layer_called_sql": geopackage(layer='x"; DROP TABLE gpkg_contents; --'),
    "gpkg_layer_called_a_path": geopackage(
        "UPDATE gpkg_contents SET identifier = '../../etc/passwd'",
        "ALTER TABLE parcels RENAME TO '../../x'",
        "UPDATE gpkg_contents SET table_name = '../../x'",
        "UPDATE gpkg_geometry_columns SET table_name = '../../x'",
    ),
    "gpkg_column_called_sql": geopackage('ALTER TABLE parcels ADD COLUMN """; DROP TABLE parcels; --" TEXT'),
    "gpkg_column_nasty": geopackage(
        f"ALTER TABLE parcels ADD COLUMN '{NASTY.replace(chr(39), chr(39) * 2)}' TEXT"
    ),
    "gpkg_many_columns": geopackage(*(f"ALTER TABLE parcels ADD COLUMN c{at} TEXT" for at in range(900))),
    "gpkg_crs_with_grids": geopackage(
        "INSERT INTO gpkg_spatial_ref_sys VALUES ('x', 99999, 'NONE', 99999, 'GEOGCS[\"x\",DATUM[\"x\","
        'SPHEROID["x",6378137,298.25],EXTENSION["PROJ4_GRIDS","TEXT_LURE"]],PRIMEM["Greenwich",0],'
        "UNIT[\"degree\",0.0174532925199433]]', '')",
        "UPDATE gpkg_geometry_columns SET srs_id = 99999",
    ),
    "gpkg_crs_is_a_url": geopackage(
        "INSERT INTO gpkg_spatial_ref_sys VALUES ('x', 99999, 'NONE', 99999, 'URL_LURE/x.prj', '')",
        "UPDATE gpkg_geometry_columns SET srs_id = 99999",
    ),
    "gpkg_many_layers": geopackage(
        *(
            text
            for at in range(60)
            for text in (
                f"CREATE TABLE l{at} (fid INTEGER PRIMARY KEY, geom BLOB)",
                "INSERT INTO gpkg_contents (table_name, data_type, srs_id) "
                f"VALUES ('l{at}', 'features', 32633)",
                f"INSERT INTO gpkg_geometry_columns VALUES ('l{at}', 'geom', 'POLYGON', 32633, 0, 0)",
            )
        )
    ),
    "gpkg_style_bomb": geopackage(
        "CREATE TABLE layer_styles (f_table_name TEXT, styleQML TEXT)",
        "INSERT INTO layer_styles VALUES ('parcels', hex(zeroblob(50000000)))",
    ),
}
LABELS |= SQL


@labels
def gpkg_wal(folder: Path, kit: Path, lures: Lures) -> Path:
    """In write-ahead mode, which makes readers write files beside it."""
    path = SQL["gpkg_trigger"](folder, kit, lures)
    base = sqlite3.connect(path)
    base.execute("PRAGMA journal_mode=WAL")
    base.close()
    return path


@labels
def gpkg_with_a_journal(folder: Path, kit: Path, lures: Lures) -> Path:
    """Beside it lies a journal that undoes what is in it, and names another file."""
    path = SQL["gpkg_trigger"](folder, kit, lures)
    name = lures.text.encode()
    end = len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
    head = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + (1).to_bytes(4, "big") + bytes(4) + (1).to_bytes(4, "big")
    head += (512).to_bytes(4, "big") + (4096).to_bytes(4, "big")
    Path(f"{path}-journal").write_bytes(
        head.ljust(512, b"\0") + b"\0\0\0\1" + bytes(4100) + b"\0\0\0\0" + name + end
    )
    return path


@labels
def shapefile_prj_with_grids(folder: Path, kit: Path, lures: Lures) -> Path:
    path = write_labels(folder / "a.shp", [BOX], columns={"kind": ["field"]})
    (folder / "a.prj").write_text(
        f'GEOGCS["x",DATUM["x",SPHEROID["x",6378137,298.25],EXTENSION["PROJ4_GRIDS","{lures.text}"]],'
        'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]]'
    )
    return path


@labels
def shapefile_prj_is_a_url(folder: Path, kit: Path, lures: Lures) -> Path:
    path = write_labels(folder / "a.shp", [BOX], columns={"kind": ["field"]})
    (folder / "a.prj").write_text(f"{lures.url}/a.prj")
    return path


@labels
def shapefile_prj_is_a_path(folder: Path, kit: Path, lures: Lures) -> Path:
    path = write_labels(folder / "a.shp", [BOX], columns={"kind": ["field"]})
    (folder / "a.prj").write_text(lures.text)
    return path


@labels
def shapefile_dbf_is_a_pipe(folder: Path, kit: Path, lures: Lures) -> Path:
    path = write_labels(folder / "a.shp", [BOX], columns={"kind": ["field"]})
    (folder / "a.dbf").unlink()
    os.mkfifo(folder / "a.dbf")
    return path


@labels
def shapefile_cpg_is_a_pipe(folder: Path, kit: Path, lures: Lures) -> Path:
    path = write_labels(folder / "a.shp", [BOX], columns={"kind": ["field"]})
    (folder / "a.cpg").unlink()
    os.mkfifo(folder / "a.cpg")
    return path


@labels
def shapefile_dbf_links_elsewhere(folder: Path, kit: Path, lures: Lures) -> Path:
    path = write_labels(folder / "a.shp", [BOX], columns={"kind": ["field"]})
    (folder / "a.dbf").unlink()
    (folder / "a.dbf").symlink_to(lures.text)
    return path


@labels
def shapefile_lies_about_records(folder: Path, kit: Path, lures: Lures) -> Path:
    path = write_labels(folder / "a.shp", [BOX], columns={"kind": ["field"]})
    content = bytearray((folder / "a.dbf").read_bytes())
    content[4:8] = b"\xff\xff\xff\x7f"
    (folder / "a.dbf").write_bytes(content)
    content = bytearray((folder / "a.shx").read_bytes())
    content[24:28] = b"\x7f\xff\xff\xf0"
    (folder / "a.shx").write_bytes(content)
    return path


@labels
def flatgeobuf_lies_about_features(folder: Path, kit: Path, lures: Lures) -> Path:
    path = write_labels(folder / "a.fgb", [BOX], columns={"kind": ["field"]})
    content = path.read_bytes()
    at = content.index((1).to_bytes(8, "little"), 12)
    path.write_bytes(content[:at] + (2**40).to_bytes(8, "little") + content[at + 8 :])
    return path


@labels
def parquet_rows_without_end(folder: Path, kit: Path, lures: Lures) -> Path:
    """11 million equal polygons in a few kilobytes."""
    return _parquet(folder / "a.parquet", shapely.to_wkb(BOX), 11_000_000)


@labels
def parquet_of_one_huge_value(folder: Path, kit: Path, lures: Lures) -> Path:
    return _parquet(folder / "a.parquet", bytes(5_000_000), 500)


@labels
def parquet_crs_is_a_path(folder: Path, kit: Path, lures: Lures) -> Path:
    return _parquet(folder / "a.parquet", shapely.to_wkb(BOX), 1, crs=lures.text)


@labels
def parquet_crs_is_a_url(folder: Path, kit: Path, lures: Lures) -> Path:
    return _parquet(folder / "a.parquet", shapely.to_wkb(BOX), 1, crs=f"{lures.url}/a.prj")


@labels
def parquet_metadata_deep(folder: Path, kit: Path, lures: Lures) -> Path:
    return _parquet(
        folder / "a.parquet", shapely.to_wkb(BOX), 1, crs="DEEP", swap=('"DEEP"', "[" * 900 + "]" * 900)
    )


def _parquet(path: Path, value: bytes, rows: int, crs: Any = None, swap: tuple[str, str] = ("", "")) -> Path:
    geo = {"version": "1.0.0", "primary_column": "geometry",
           "columns": {"geometry": {"encoding": "WKB", "geometry_types": [], "crs": crs}}}  # fmt: skip
    text = json.dumps(geo).replace(*swap)
    kind = pyarrow.dictionary(pyarrow.int32(), pyarrow.binary())
    schema = pyarrow.schema([("geometry", kind)], metadata={b"geo": text.encode()})
    column = pyarrow.DictionaryArray.from_arrays(
        np.zeros(rows, np.int32), pyarrow.array([value], pyarrow.binary())
    )
    options = {"compression": "gzip", "dictionary_pagesize_limit": 2**26}
    pyarrow.parquet.write_table(pyarrow.table([column], schema=schema), path, **options)
    return path


@labels
def folder_of_itself(folder: Path, kit: Path, lures: Lures) -> Path:
    (folder / "a.gpkg").symlink_to("a.gpkg")
    return folder / "a.gpkg"


@labels
def labels_are_a_pipe(folder: Path, kit: Path, lures: Lures) -> Path:
    os.mkfifo(folder / "a.gpkg")
    return folder / "a.gpkg"


@labels
def name_with_controls(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a\n\x1b[31m\u202e[red].gpkg"
    shutil.copy(kit / "labels.gpkg", path)
    return path
