"""Vector labels: GeoJSON of any grammar, GeoPackages with other rows and tables, Shapefiles and the rest."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import struct
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import rasterio
import scenes
import shapely

from fuzz.core import Files, Target
from fuzz.mutate import ODD, TEXTS, chance, damaged, damaged_json, json_bytes, number
from fuzz.shared import damage_one, files_in, seed_and_other, show_info
from geoseg.raster.geobox import GeoBox
from geoseg.raster.labels import open_labels

_SQUARE = scenes.pixel_box(scenes.north_up(), 2, 2, 10, 10)
_RING = _SQUARE.buffer(6).difference(_SQUARE)
_MANY = shapely.MultiPolygon([shapely.box(500_000, 4_999_990, 500_003, 4_999_994), _SQUARE])
_SHAPES: tuple[Any, ...] = (_SQUARE, _RING, _MANY)
_COLUMNS = {"kind": ["field", "house", None], "n": [1, 2, 300], "iscrowd": [0, 1, 0]}

_GEOMETRIES = ("Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon",
               "GeometryCollection", "CurvePolygon", "polygon", "", None)  # fmt: skip
_CRS_NAMES = (
    "EPSG:32633", "urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:EPSG::3857", "EPSG:999999", "",
    "EPSG:4979", "+proj=utm +zone=33", "LOCAL_CS[]", "http://127.0.0.1:9/x", "IGNF:LAMB93",
)  # fmt: skip
_SUFFIXES = {".gpkg", ".fgb", ".shp", ".parquet", ".geojson", ".geojsonl", ".json"}


# -------------------------------------------------------------------------------------------- GeoJSON


def _coordinate(rng: Random) -> float | int:
    return (
        number(rng)
        if chance(rng, 0.05)
        else rng.choice((15.0, 15.0001, 45.0, 45.0001, 15.00005, rng.random()))
    )


def _positions(rng: Random, depth: int) -> Any:
    if depth == 0:
        return [_coordinate(rng) for _ in range(rng.choice((2, 2, 2, 2, 3, 4, 1, 0)))]
    if depth == 1 and chance(rng, 0.7):
        # Rings that mostly close, and often cross themselves.
        ring = [_positions(rng, 0) for _ in range(rng.randint(0, 7))]
        return [*ring, *ring[:1]]
    return [_positions(rng, depth - 1) for _ in range(rng.choice((0, 1, 1, 2, 3)))]


def _geometry(rng: Random, depth: int = 0) -> Any:
    if chance(rng, 0.05):
        return rng.choice(ODD)
    kind = "Polygon" if chance(rng, 0.6) else rng.choice(_GEOMETRIES)
    if kind == "GeometryCollection":
        return {"type": kind, "geometries": [_geometry(rng, depth + 1) for _ in range(0 if depth > 3 else 2)]}
    deep = {
        "Point": 0,
        "LineString": 1,
        "Polygon": 2,
        "MultiPoint": 1,
        "MultiLineString": 2,
        "MultiPolygon": 3,
    }
    return {"type": kind, "coordinates": _positions(rng, deep.get(str(kind), rng.randint(0, 4)))}


def _feature(rng: Random) -> Any:
    if chance(rng, 0.02):
        return rng.choice(ODD)
    values = {
        "kind": rng.choice(TEXTS) if chance(rng, 0.3) else "field",
        "n": rng.choice((1, 2, 1.5, None, "x")),
    }
    if chance(rng, 0.2):
        values[rng.choice(("iscrowd", "class_id", "class_name", "area_m2", *TEXTS))] = rng.choice(ODD)
    feature = {"type": "Feature", "properties": values, "geometry": _geometry(rng)}
    return feature | ({"id": rng.choice(ODD)} if chance(rng, 0.1) else {})


def _crs(rng: Random) -> Any:
    name = rng.choice(_CRS_NAMES)
    return rng.choice((
        {"type": "name", "properties": {"name": name}},
        {"type": "EPSG", "properties": {"code": rng.choice((4326, "4326", -1, None, 32633))}},
        {"type": rng.choice(TEXTS), "properties": rng.choice(ODD)},
        {"type": "name"}, {"type": "name", "properties": {"name": rng.choice(ODD)}}, rng.choice(ODD), name,
    ))  # fmt: skip


def _geojson(rng: Random) -> bytes:
    features = [_feature(rng) for _ in range(rng.choice((0, 1, 2, 3, 5)))]
    told: Any = {"type": "FeatureCollection", "features": features}
    if chance(rng, 0.3):
        told["crs"] = _crs(rng)
    if chance(rng, 0.3):
        told = damaged_json(rng, told, most=2)
    return json_bytes(rng, told)


# ----------------------------------------------------------------------------------------- GeoPackage


def _blob(rng: Random, old: bytes) -> bytes:
    """Another GeoPackage geometry: header, envelope, and WKB whose counts and types lie."""
    kind = rng.randrange(6)
    if kind <= 1:
        return damaged(rng, old, most=3)
    points = b"".join(struct.pack("<dd", *(float(_far(rng)) for _ in "xy")) for _ in range(rng.randint(0, 6)))
    parts = rng.choice((0, 1, 1, 2, 2**31, 2**32 - 1))
    told = rng.choice((len(points) // 16, 0, 4, 2**28, 2**32 - 1))
    wkb = struct.pack("<BIII", rng.choice((0, 1, 1, 1, 2)), _wkb_type(rng), parts, told) + points
    if kind == 2:
        return wkb
    if kind == 3:
        deep = struct.pack("<BII", 1, 7, 1) * rng.choice((1, 5, 40, 3000))
        return b"GP\x00\x01" + struct.pack("<i", 32633) + deep + wkb
    flags = rng.choice((0, 1, 1, 3, 5, 7, 9, 11, 0x11, 0x21, 255))
    envelope = b"".join(
        struct.pack("<d", float(_far(rng))) for _ in range({1: 4, 2: 6, 3: 6, 4: 8}.get(flags >> 1 & 7, 0))
    )
    return (
        b"GP"
        + bytes([rng.choice((0, 0, 1)), flags])
        + struct.pack("<i", rng.choice((32633, 0, -1, 7)))
        + envelope
        + wkb
    )


def _far(rng: Random) -> float:
    value = number(rng) if chance(rng, 0.2) else 500_000 + rng.randint(0, 20)
    return float(value)


def _wkb_type(rng: Random) -> int:
    return rng.choice(
        (3, 3, 3, 1, 2, 4, 5, 6, 7, 10, 12, 15, 16, 17, 1003, 2003, 3003, 0x80000003, 0, 2**32 - 1)
    )


def _damaged_gpkg(rng: Random, data: bytes) -> bytes:
    """Other values in some places of a GeoPackage's tables, or other tables."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(data)
        # SQL functions of GDAL, called by triggers of the spatial index.
        for name, count in (
            ("ST_IsEmpty", 1),
            ("ST_MinX", 1),
            ("ST_MaxX", 1),
            ("ST_MinY", 1),
            ("ST_MaxY", 1),
        ):
            database.create_function(name, count, lambda _: 0)
        for _ in range(rng.randint(1, 3)):
            with contextlib.suppress(sqlite3.Error, OverflowError, UnicodeEncodeError):
                _change_table(rng, database)
        database.commit()
        made: bytes = database.serialize()
    return damaged(rng, made, most=3) if chance(rng, 0.1) else made


def _change_table(rng: Random, database: sqlite3.Connection) -> None:
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type='table'")]
    usual = [name for name in tables if name.startswith("gpkg_") or not name.startswith(("rtree", "sqlite"))]
    table = rng.choice(usual if chance(rng, 0.9) else tables)
    columns = [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]
    kind = rng.randrange(12)
    if kind == 0:
        database.execute(f'DROP TABLE "{table}"')
    elif kind == 1:
        database.execute(f'DELETE FROM "{table}"')
    elif kind == 2:
        database.execute(f'INSERT INTO "{table}" SELECT * FROM "{table}"')
    elif kind == 3:
        database.execute(f'ALTER TABLE "{table}" RENAME TO "{rng.choice(TEXTS)}"')
    elif kind == 4:
        database.execute(
            f'ALTER TABLE "{table}" RENAME COLUMN "{rng.choice(columns)}" TO "{rng.choice(TEXTS)}"'
        )
    elif kind == 5:
        database.execute(f'CREATE VIEW "{rng.choice(TEXTS)}" AS SELECT * FROM "{table}"')
    elif kind == 6:
        pragma = rng.choice(("application_id", "user_version"))
        database.execute(f"PRAGMA {pragma} = {rng.choice((0, 1, 10300, 1196437808, -1))}")
    else:
        column = rng.choice(columns)
        rows = database.execute(f'SELECT rowid, "{column}" FROM "{table}" ORDER BY rowid').fetchall()
        if not rows:
            return
        rowid, old = rng.choice(rows)
        value: Any = rng.choice([odd for odd in ODD if not isinstance(odd, list | dict)])
        if isinstance(old, bytes) and chance(rng, 0.9):
            value = _blob(rng, old)
        database.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = ?', (value, rowid))


# --------------------------------------------------------------------------------------------- target


def seeds(folder: Path) -> list[Files]:
    """The same three polygons in every format."""
    made: list[Files] = []
    for suffix in ("gpkg", "fgb", "shp", "parquet", "geojson", "geojsonl"):
        (folder / suffix).mkdir()
        path = folder / suffix / f"labels.{suffix}"
        if suffix == "geojsonl":
            lines = json.loads((folder / "geojson" / "labels.geojson").read_text())["features"]
            path.write_text("\n".join(map(json.dumps, lines)))
        else:
            crs = "EPSG:4326" if suffix == "geojson" else scenes.UTM
            scenes.write_labels(path, _SHAPES, columns=_COLUMNS, crs=crs)
        made.append(files_in(folder / suffix))
    made.append({name.replace(".gpkg", ".fgb"): data for name, data in made[0].items()})
    return made


def damage(rng: Random, seeds: Sequence[Files]) -> Files:
    """Another file of labels."""
    if chance(rng, 0.35):
        return {rng.choice(("labels.geojson", "labels.geojson", "labels.json")): _geojson(rng)}
    seed, other = seed_and_other(rng, seeds)
    name = next(name for name in seed if Path(name).suffix in _SUFFIXES)
    if name.endswith(".gpkg") and chance(rng, 0.85):
        return {name: _damaged_gpkg(rng, seed[name])}
    if name.endswith(".shp") and chance(rng, 0.1):
        del seed[rng.choice(list(seed))]
        return seed
    return damage_one(rng, seed, other)


def run(folder: Path, rng: Random) -> None:
    """Look at labels, or burn them."""
    named = [path for path in folder.iterdir() if path.suffix in _SUFFIXES]
    path = named[0] if named else folder / "labels.shp"
    if chance(rng, 0.35):
        show_info(path)
        return
    column = rng.choice((None, "kind", "kind", "n"))
    box = GeoBox(crs=rasterio.crs.CRS.from_epsg(32633), transform=scenes.north_up(), shape=(24, 24))
    if path.suffix in {".geojson", ".json", ".geojsonl"}:
        box = GeoBox(
            crs=rasterio.crs.CRS.from_epsg(4326),
            transform=scenes.north_up(1e-5, origin=(15, 45)),
            shape=(24, 24),
        )
    with open_labels(path, class_column=column, objects=chance(rng, 0.3)) as labels:
        labels.bounds_lonlat()
        labels.covers(box)
        burned = labels.burn(box)
        assert burned.shape == box.shape
        assert set(burned.ravel().tolist()) <= {*range(len(labels.classes)), 255}
        owners = labels.burn_owners(box)
        present = sorted(set(owners.ravel().tolist()) - {0})
        if present:
            shares = labels.inside_shares(box, np.array(present), (20, 20))
            assert ((shares >= 0) & (shares <= 1 + 1e-6)).all(), shares
        for note in labels.notes:
            note.encode()


TARGET = Target(name="vectors", seeds=seeds, damage=damage, run=run)
