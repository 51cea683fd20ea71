"""How odd label files are made: small, each odd in its own way. :mod:`labelzoo` is the table of them.

Shapes are given in pixels (col, row) of the scene that the labels are for.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import struct
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas
import pyogrio
import scenes
import shapely
from affine import Affine

Make = Callable[[Path], Path]
Ring = Sequence[tuple[float, ...]]

SHAPE = (40, 56)
"""Rows and columns of the scene."""

PLACE = scenes.north_up()
UTM_NAME = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}


def square(col: float, row: float, side: float) -> list[tuple[float, ...]]:
    """Corners of a square, not closed."""
    return [(col, row), (col + side, row), (col + side, row + side), (col, row + side)]


A, B = square(5, 5, 10), square(30, 5, 10)
"""Where the odd polygon is, if it is anywhere, and where a sound one is."""


def placed(ring: Ring, *, closed: bool = True, place: Affine = PLACE) -> list[tuple[float, ...]]:
    """A ring on the map; what follows col and row is kept."""
    points = [*ring, ring[0]] if closed else list(ring)
    return [(*(place @ (point[0], point[1])), *point[2:]) for point in points]


def polygon(*rings: Ring) -> shapely.Polygon:
    """A polygon with holes on the map."""
    return shapely.Polygon(placed(rings[0]), [placed(ring) for ring in rings[1:]])


SOUND = polygon(B)


# By geopandas


def wrote(
    *geometries: Any,
    name: str = "labels.gpkg",
    crs: Any = scenes.UTM,
    kinds: Sequence[Any] = (),
    **options: Any,
) -> Make:
    """Written as any program does; ``kinds`` is the column ``kind``."""

    def make(folder: Path) -> Path:
        columns = {"kind": list(kinds)} if len(kinds) else {}
        frame = geopandas.GeoDataFrame(columns, geometry=list(geometries), crs=crs)
        if name.endswith(".parquet"):
            frame.to_parquet(folder / name)
            return folder / name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            frame.to_file(folder / name, engine="pyogrio", **options)
        return folder / name

    return make


def classed(kinds: Sequence[Any], **options: Any) -> Make:
    """Small squares, one for each value of ``kind``, as :func:`spots` says."""
    return wrote(*map(polygon, spots(len(kinds))), kinds=kinds, **options)


def spots(count: int) -> list[list[tuple[float, ...]]]:
    """Squares side by side."""
    return [square(2 + 6 * (i % 9), 2 + 6 * (i // 9 % 6), 5) for i in range(count)]


# GeoJSON as text


def feature(rings: Any, kind: Any = None, *, shape: str = "Polygon") -> dict[str, Any]:
    """A feature whose coordinates are ``rings``."""
    properties = {} if kind is None else {"kind": kind}
    return {"type": "Feature", "properties": properties, "geometry": {"type": shape, "coordinates": rings}}


def sound_feature(ring: Ring = B, kind: Any = None) -> dict[str, Any]:
    """A feature that nothing is wrong with."""
    return feature([[list(point) for point in placed(ring)]], kind)


def collection(*features: Any, crs: Any = UTM_NAME) -> str:
    """A FeatureCollection as text."""
    members = {"type": "FeatureCollection", "features": list(features)}
    return json.dumps(members if crs is None else members | {"crs": crs})


def text(content: str | bytes, name: str = "labels.geojson") -> Make:
    """A file of this content."""

    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return make


def geojson(*features: Any, crs: Any = UTM_NAME) -> Make:
    """A FeatureCollection."""
    return text(collection(*features, crs=crs))


def geometries(*members: Any) -> dict[str, Any]:
    """A feature of a GeometryCollection."""
    return {
        "type": "Feature",
        "properties": {},
        "geometry": {"type": "GeometryCollection", "geometries": list(members)},
    }


# GeoPackages byte by byte


def wkb(*rings: Ring, kind: int = 3, closed: bool = True) -> bytes:
    """A polygon of rings on the map, in well-known binary; ``kind`` is 3, or one with further dimensions."""
    content = struct.pack("<BII", 1, kind, len(rings))
    for ring in rings:
        points = placed(ring, closed=closed)
        content += struct.pack("<I", len(points))
        content += b"".join(struct.pack(f"<{len(point)}d", *point) for point in points)
    return content


def at_vertex(value: float) -> bytes:
    """The square A with one more vertex, an x of ``value``."""
    points = placed(A)
    points.insert(2, (value, points[0][1]))
    return struct.pack("<BIII", 1, 3, 1, len(points)) + b"".join(struct.pack("<2d", *p) for p in points)


def curved(col: float, row: float, radius: float, *, half: bool = False) -> bytes:
    """A CURVEPOLYGON: a disc of a CIRCULARSTRING, or its upper half closed by a line (COMPOUNDCURVE)."""
    west, north, east, south = (
        PLACE @ point
        for point in [(col - radius, row), (col, row - radius), (col + radius, row), (col, row + radius)]
    )
    if not half:
        return _curve(10, [_line(8, [west, north, east, south, west])])
    return _curve(10, [_curve(9, [_line(8, [west, north, east]), _line(2, [east, west])])])


def _line(kind: int, points: Sequence[tuple[float, ...]]) -> bytes:
    return struct.pack("<BII", 1, kind, len(points)) + b"".join(struct.pack("<2d", *p) for p in points)


def _curve(kind: int, parts: Sequence[bytes]) -> bytes:
    return struct.pack("<BII", 1, kind, len(parts)) + b"".join(parts)


def surfaces(kind: int, *parts: bytes) -> bytes:
    """A MULTISURFACE (12), POLYHEDRALSURFACE (15) or TIN (16) of these parts."""
    return _curve(kind, parts)


def blobs(*contents: bytes | None, header: bytes = b"GP\x00\x01") -> Make:
    """A GeoPackage whose features have these geometries in well-known binary, whatever they are."""

    def make(folder: Path) -> Path:
        path = wrote(*[SOUND] * len(contents), SPATIAL_INDEX="NO")(folder)
        head = header + struct.pack("<i", 32633)
        sql(
            path,
            *[
                ("update labels set geom = ? where fid = ?", (head + content if content else None, fid))
                for fid, content in enumerate(contents, 1)
            ],
            ("update gpkg_geometry_columns set geometry_type_name = 'GEOMETRY', z = 2, m = 2", ()),
        )
        return path

    return make


def sql(path: Path, *statements: tuple[str, tuple[Any, ...]] | str) -> None:
    """Change a GeoPackage behind GDAL's back."""
    database = sqlite3.connect(path)
    for name in ("ST_IsEmpty", "ST_MinX", "ST_MaxX", "ST_MinY", "ST_MaxY"):  # which indexes call
        database.create_function(name, 1, lambda _: 0)
    for statement in statements:
        database.execute(*((statement, ()) if isinstance(statement, str) else statement))
    database.commit()
    database.close()


def changed(*statements: str) -> Make:
    """A GeoPackage of the squares A and B, changed."""

    def make(folder: Path) -> Path:
        path = wrote(polygon(A), SOUND)(folder)
        sql(path, *statements)
        return path

    return make


def layers(*names: str, table: bool = False) -> Make:
    """A GeoPackage with several layers, and a table without geometries."""

    def make(folder: Path) -> Path:
        path = folder / "labels.gpkg"
        for name in names:
            geopandas.GeoDataFrame(geometry=[SOUND], crs=scenes.UTM).to_file(path, layer=name, mode="a")
        if table:
            pyogrio.write_dataframe(pandas.DataFrame({"a": [1]}), path, layer="table", append=True)
        return path

    return make


def log_beside(folder: Path) -> Path:
    """A GeoPackage of which a feature is still in the write-ahead log."""
    path = wrote(polygon(A), SPATIAL_INDEX="NO")(folder)
    database = sqlite3.connect(path)
    database.execute("pragma journal_mode = wal")
    database.execute("insert into labels (geom) select ? ", (_blob(SOUND),))
    database.commit()
    copy = folder / "copy.gpkg"
    shutil.copy(path, copy)
    shutil.copy(f"{path}-wal", f"{copy}-wal")
    database.close()
    path.unlink()
    return copy


def _blob(geometry: Any) -> bytes:
    return b"GP\x00\x01" + struct.pack("<i", 32633) + shapely.to_wkb(geometry)


# Shapefiles


def shapefile(
    *without: str, kinds: Sequence[Any] = ("é", "ü"), name: str = "labels.shp", **others: Any
) -> Make:
    """A Shapefile of A and B without some of its files, and with others of its own content."""

    def make(folder: Path) -> Path:
        options = {key: value for key, value in others.items() if key == "encoding"}
        path = wrote(polygon(A), SOUND, name=name, kinds=kinds, **options)(folder)
        for suffix in without:
            path.with_suffix(f".{suffix}").unlink()
        for suffix, content in others.items():
            if suffix != "encoding":
                path.with_suffix(f".{suffix}").write_bytes(content)
        return path

    return make


def cut_table(folder: Path) -> Path:
    """A Shapefile whose table ends too early."""
    path = shapefile()(folder)
    table = path.with_suffix(".dbf")
    table.write_bytes(table.read_bytes()[:-60])
    return path


def in_capitals(folder: Path) -> Path:
    """A Shapefile as Windows wrote it."""
    shapefile()(folder)
    for file in sorted(folder.glob("labels.*")):
        file.rename(folder / file.name.upper())
    return folder / "LABELS.SHP"


# Rasters


def ids() -> np.ndarray[Any, Any]:
    """Class ids (H, W) of 0, 1 and 2."""
    values = np.zeros(SHAPE, np.uint8)
    values[5:15, 5:15] = 1
    values[20:30, 20:40] = 2
    return values


def raster(values: np.ndarray[Any, Any], **options: Any) -> Make:
    """Labels as a raster."""
    return lambda folder: scenes.write_class_raster(folder / "labels.tif", values, **options)


def plain_table(folder: Path) -> Path:
    """A Parquet file that has no geometries."""
    pandas.DataFrame({"a": [1]}).to_parquet(folder / "labels.parquet")
    return folder / "labels.parquet"


def parquet_of_nan(folder: Path) -> Path:
    """A GeoParquet with a vertex that is no number."""
    with np.errstate(invalid="ignore"):
        return wrote(shapely.from_wkb(at_vertex(np.nan)), SOUND, name="labels.parquet")(folder)
