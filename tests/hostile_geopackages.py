"""Hostile GeoPackages: databases whose maker left SQL in them."""

from __future__ import annotations

from pathlib import Path

from hostile_files import BOX, NASTY, Lures, Maker
from labelzoo_makers import sql, wrote


def geopackage(*statements: str, layer: str = "parcels") -> Maker:
    """A GeoPackage of one polygon after some SQL, as whoever made it may run."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        path = wrote(BOX, name="a.gpkg", kinds=["field"], layer=layer)(folder)
        told = [
            text.replace("TEXT_LURE", lures.text)
            .replace("RASTER_LURE", lures.raster)
            .replace("NEW_LURE", lures.new)
            .replace("URL_LURE", lures.url)
            for text in statements
        ]
        sql(path, "PRAGMA writable_schema=ON", *told)
        return path

    return make


def _as_view(query: str) -> tuple[str, ...]:
    """Let a view stand for the layer."""
    return (
        "ALTER TABLE parcels RENAME TO hidden",
        f"CREATE VIEW parcels AS {query}",
    )


def gpkg_wal(folder: Path, kit: Path, lures: Lures) -> Path:
    """In write-ahead mode, which makes readers write files beside it."""
    path = GEOPACKAGES["gpkg_trigger"](folder, kit, lures)
    sql(path, "PRAGMA journal_mode=WAL")
    return path


def gpkg_with_a_journal(folder: Path, kit: Path, lures: Lures) -> Path:
    """Beside it lies a journal that undoes what is in it, and names another file."""
    path = GEOPACKAGES["gpkg_trigger"](folder, kit, lures)
    name = lures.text.encode()
    end = len(name).to_bytes(4, "big") + sum(name).to_bytes(4, "big") + b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"
    head = b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + (1).to_bytes(4, "big") + bytes(4) + (1).to_bytes(4, "big")
    head += (512).to_bytes(4, "big") + (4096).to_bytes(4, "big")
    Path(f"{path}-journal").write_bytes(
        head.ljust(512, b"\0") + b"\0\0\0\1" + bytes(4100) + b"\0\0\0\0" + name + end
    )
    return path


GEOPACKAGES: dict[str, Maker] = {
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
    gpkg_wal.__name__: gpkg_wal,
    gpkg_with_a_journal.__name__: gpkg_with_a_journal,
}
