"""The zoo of labels, part three: odd texts, containers and rasters."""

from __future__ import annotations

import json
from typing import Any

import geopandas
import labelzoo_makers as made
import numpy as np
import scenes
import shapely.geometry
from affine import Affine
from labelzoo import AB, ONLY_B, Land, Odd
from labelzoo_makers import PLACE, SHAPE, SOUND, A, B, collection, geojson, polygon, sound_feature, text

_TEXT = collection(sound_feature())
_NO_GEOJSON = "is JSON, but no GeoJSON; write it anew with ogr2ogr"
_ONE, _OTHER = (
    json.dumps({"type": "Feature", "properties": {}, "geometry": shapely.geometry.mapping(shape)})
    for shape in geopandas.GeoSeries([polygon(A), SOUND], crs=scenes.UTM).to_crs("EPSG:4326")
)


def _text(content: str | bytes, **keywords: Any) -> Odd:
    return Odd(make=text(content), **keywords)


def _kind(content: str, name: str = "B") -> Odd:
    return _text(content, lands=(Land((B,), name),), column="kind")


TEXTS: dict[str, Odd] = {
    "byte order mark": _text(b"\xef\xbb\xbf" + _TEXT.encode(), lands=ONLY_B),
    "utf-16": _text(_TEXT.encode("utf-16"), refused="is text in UTF-16; save it as UTF-8"),
    "utf-16 without a mark": _text(_TEXT.encode("utf-16-le"), refused="is text in UTF-16; save it as UTF-8"),
    "utf-16, the other way round": _text(
        _TEXT.encode("utf-16-be"), refused="is text in UTF-16; save it as UTF-8"
    ),
    "latin-1": _text(
        json.dumps(json.loads(collection(sound_feature(B, "é"))), ensure_ascii=False).encode("latin-1"),
        refused="has text in another encoding than it should have; save it as UTF-8",
    ),
    "a key twice": _kind(_TEXT.replace('"properties": {}', '"properties": {"kind": "A", "kind": "B"}')),
    "nan as a class": Odd(
        make=geojson(sound_feature(A, float("nan")), sound_feature(B, 1)),
        lands=(Land((A,), None), Land((B,), "1")),
        column="kind",
    ),
    "cut short": _text(_TEXT[:-40], refused="is the file damaged?"),
    "more after the end": _text(_TEXT + "x", refused="Unexpected character (x); is the file damaged?"),
    "comma at the end": _text(_TEXT.replace("]}]}", "]}],}").replace("}]}", "}],}"), lands=ONLY_B),
    "comment before": _text("/* x */" + _TEXT, refused="is of an unknown format; give a GeoPackage"),
    "very deep": _text('{"a":' * 100_000, refused=_NO_GEOJSON),
    "very deep coordinates": _text(
        collection({"type": "Feature", "geometry": {"type": "Polygon", "coordinates": "@"}}).replace(
            '"@"', "[" * 5000 + "]" * 5000
        ),
        refused="Too many nested objects and/or arrays; is the file damaged?",
    ),
    "empty collection": _text(
        collection(), refused="is empty; draw some polygons", found=("has no features",)
    ),
    "one feature": _text(json.dumps(sound_feature() | {"crs": made.UTM_NAME}), lands=ONLY_B),
    "bare geometry": _text(json.dumps(sound_feature()["geometry"] | {"crs": made.UTM_NAME}), lands=ONLY_B),
    "no properties": _text(_TEXT.replace('"properties": {}', '"properties": null'), lands=ONLY_B),
    "null among the features": _text(_TEXT.replace("[{", "[null, {", 1), lands=ONLY_B),
    "feature without geometry": _text(
        collection({"type": "Feature", "properties": {}}, sound_feature()),
        lands=ONLY_B,
        warned=("1 without geometry",),
    ),
    "no geojson": _text('{"hello": 1}', refused=_NO_GEOJSON),
    "an array": _text("[1, 2]", refused="is of an unknown format; give a GeoPackage"),
    "topojson": _text('{"type": "Topology", "objects": {}, "arcs": []}', refused=_NO_GEOJSON),
    "esri's json": _text('{"geometryType": "esriGeometryPolygon", "features": []}', refused=_NO_GEOJSON),
    "lines": Odd(make=text(f"{_ONE}\n\n{_OTHER}\n", "labels.geojsonl"), lands=AB),
    "lines in a geojson": Odd(make=text(f"{_ONE}\n{_OTHER}"), lands=AB),
    "collection called lines": Odd(make=text(_TEXT, "labels.geojsonl"), lands=ONLY_B),
    "text sequence": Odd(make=text(f"\x1e{_ONE}\n\x1e{_OTHER}\n", "labels.geojsons"), lands=AB),
    "lines, one broken": Odd(
        make=text(f"{_ONE}\n{{broken\n{_OTHER}", "labels.geojsonl"),
        refused="has 3 lines, of which 2 could be read as a feature; repair the others",
    ),
    "lines, the last cut short": Odd(
        make=text(f"{_ONE}\n{_OTHER[:80]}", "labels.geojsonl"),
        refused="has 2 lines, of which 1 could be read as a feature; repair the others",
    ),
}
_GHOST = (
    "insert into gpkg_contents (table_name, data_type, identifier, srs_id) "
    "values ('x', 'features', 'x', 32633)",
    "insert into gpkg_geometry_columns values ('x', 'geom', 'POLYGON', 32633, 0, 0)",
)
_LETTERS = {"lands": (Land((A,), "é"), Land((B,), "ü")), "column": "kind"}
_GARBLED = {
    "column": "kind",
    "refused": "has 'Ã©' in column kind, 'é' in the wrong encoding; for a Shapefile write UTF-8",
}
CONTAINERS: dict[str, Odd] = {
    "two layers": Odd(make=made.layers("a", "b"), refused="has layers a, b; give a file with one of them"),
    "layer and table": Odd(make=made.layers("a", table=True), lands=ONLY_B),
    "layer called like sql": Odd(make=made.layers('x"; drop table y; --'), lands=ONLY_B),
    "no layer": Odd(
        make=made.changed("delete from gpkg_contents"), refused="has no layer with geometries; give polygons"
    ),
    "no tables": Odd(
        make=made.changed("drop table gpkg_contents"),
        refused="gpkg_contents, is missing; is the file damaged?",
    ),
    "layer that is not there": Odd(make=made.changed(*_GHOST), lands=AB),
    "view": Odd(
        make=made.changed(
            "create view x as select fid, geom from labels",
            *_GHOST,
            "delete from gpkg_contents where table_name = 'labels'",
            "delete from gpkg_geometry_columns where table_name = 'labels'",
        ),
        refused="has the view 'x', whose rows are made by SQL in the file; export the layer",
    ),
    "empty layer": Odd(make=made.wrote(), refused="is empty; draw some polygons", found=("has no features",)),
    "empty spatial index": Odd(make=made.changed("delete from rtree_labels_geom"), lands=AB),
    "broken spatial index": Odd(
        make=made.changed("update rtree_labels_geom_node set data = x'00'"), lands=AB
    ),
    "write-ahead mode": Odd(make=made.changed("pragma journal_mode = wal"), lands=AB),
    "write-ahead log": Odd(make=made.log_beside, lands=AB),
    "shapefile": Odd(make=made.shapefile(), **_LETTERS),
    "shapefile in capitals": Odd(make=made.in_capitals, **_LETTERS),
    "shapefile in code page 1252": Odd(make=made.shapefile(encoding="cp1252"), **_LETTERS),
    "shapefile without prj": Odd(
        make=made.shapefile("prj"), **_LETTERS, warned=("has no CRS: taken to be in",), found=("has no CRS;",)
    ),
    "shapefile with a broken prj": Odd(
        make=made.shapefile(prj=b"GARBAGE"), **_LETTERS, warned=("has no CRS: taken to be in",)
    ),
    "shapefile without dbf": Odd(make=made.shapefile("dbf"), lands=AB),
    "shapefile without dbf, by class": Odd(
        make=made.shapefile("dbf"), column="kind", refused="has no column kind; it has none"
    ),
    "shapefile without shx": Odd(
        make=made.shapefile("shx"), refused="is without its labels.shx; copy all files of"
    ),
    "shapefile without cpg": Odd(make=made.shapefile("cpg"), **_GARBLED),
    "shapefile with an unknown cpg": Odd(make=made.shapefile(cpg=b"KLINGON"), **_GARBLED),
    "shapefile with a wrong cpg": Odd(
        make=made.shapefile(encoding="cp1252", cpg=b"UTF-8"),
        column="kind",
        refused="has text in another encoding than it should have; correct its .cpg",
    ),
    "shapefile with a broken shx": Odd(
        make=made.shapefile(shx=bytes(100)),
        refused=".shx file is unreadable, or corrupt; is the file damaged?",
    ),
    "shapefile with a short dbf": Odd(
        make=made.cut_table, column="kind", refused="failed on DBF file; is the file"
    ),
    "flatgeobuf": Odd(make=made.wrote(polygon(A), SOUND, name="labels.fgb"), lands=AB),
    "flatgeobuf without index": Odd(
        make=made.wrote(polygon(A), SOUND, name="labels.fgb", SPATIAL_INDEX="NO"), lands=AB
    ),
    "empty flatgeobuf": Odd(
        make=made.wrote(name="labels.fgb"), refused="is empty; draw some", found=("no features",)
    ),
    "geoparquet": Odd(
        make=made.wrote(polygon(A), SOUND, None, name="labels.parquet", kinds=["a", None, "b"]),
        lands=(Land((A,), "a"), Land((B,), None)),
        names=("a", "b"),
        column="kind",
        warned=("1 without geometry",),
    ),
    "geoparquet without crs": Odd(
        make=made.wrote(SOUND, name="labels.parquet", crs=None),
        lands=ONLY_B,
        warned=("has no CRS: taken to be in",),
    ),
    "parquet without geometries": Odd(make=made.plain_table, refused="; is it GeoParquet?"),
}


def _grid(values: np.ndarray[Any, Any], place: Affine) -> np.ndarray[Any, Any]:
    """What a raster at another place shows at the centres of the scene's pixels; 255 beyond it."""
    seen = np.full(SHAPE, 255, np.uint8)
    for row, col in np.ndindex(*SHAPE):
        x, y = ~place @ (PLACE @ (col + 0.5, row + 0.5))
        if 0 <= x < values.shape[1] and 0 <= y < values.shape[0]:
            seen[row, col] = values[int(y), int(x)]
    return seen


def _raster(values: Any, burned: Any = None, **options: Any) -> Odd:
    seen = values if burned is None else burned
    return Odd(make=made.raster(values, **options), burned=lambda: seen)


def _no_raster(values: Any, text: str, *, tell: str | None = None, **options: Any) -> Odd:
    return Odd(
        make=made.raster(values, **options),
        refused=text,
        found=() if tell is None else (tell,),
        burned=made.ids,
    )


_IDS = made.ids()
_COARSE, _TURNED = scenes.north_up(0.7), scenes.rotated(10)
_HIDDEN = np.where(_IDS == 0, 255, _IDS - 1).astype(np.uint8)
_NAMED = {"names": ["a", "b\nc", "d"], "colors": ["#000000"] * 3}
RASTERS: dict[str, Odd] = {
    "raster": _raster(_IDS),
    "raster of 1 bit": _raster((_IDS > 0).astype(np.uint8), nbits=1),
    "raster of uint16": _raster(_IDS.astype(np.uint16), _IDS),
    "raster with nodata": _raster(_IDS.astype(np.int16) - 1, _HIDDEN, nodata=-1),
    "raster with 255": _raster(np.where(_IDS == 2, 255, _IDS).astype(np.uint8)),
    "raster with a palette": _raster(_IDS, colormap={0: (0, 0, 0), 1: (255, 0, 0), 2: (0, 255, 0)}),
    "raster on another grid": _raster(_IDS, _grid(_IDS, _COARSE), transform=_COARSE),
    "rotated raster": _raster(_IDS, _grid(_IDS, _TURNED), transform=_TURNED),
    "smaller raster": _raster(_IDS[:20, :30], _grid(_IDS[:20, :30], PLACE)),
    "raster of floats": _no_raster(
        _IDS.astype(np.float32), "holds float32 numbers; class ids are whole numbers"
    ),
    "raster of negative ids": _no_raster(
        _IDS.astype(np.int16) - 1, "holds the value -1; class ids are 0 to 254"
    ),
    "raster of 0 and 255": _no_raster(
        (_IDS > 0).astype(np.uint8) * 255, "means unknown; write 1 in place of 255"
    ),
    "raster of nodata": _no_raster(_IDS * 0, "is empty: every pixel is nodata; give labels", nodata=0),
    "picture": _no_raster(np.stack([_IDS] * 3), "has 3 bands; one band of class ids is wanted"),
    "raster of ids up to 300": _no_raster(
        _IDS.astype(np.uint16) * 150, "holds the value 300; class ids are 0 to"
    ),
    "raster of ids up to 254": _no_raster(_IDS * 127, "holds the id 254; ids are 0 to 253"),
    "raster elsewhere": _no_raster(
        _IDS,
        "lie elsewhere on Earth than ",
        transform=scenes.north_up(origin=(0, 0)),
        tell="does not meet the scene",
    ),
    "raster without a place": _no_raster(
        _IDS,
        "lie elsewhere on Earth than ",
        crs=None,
        tell="has no georeferencing, and the scene has; give it",
    ),
    "raster with broken names": _no_raster(
        _IDS, "a damaged GEOSEG_CLASSES tag: ", tags={"GEOSEG_CLASSES": "{"}
    ),
    "raster with a line break in a name": _no_raster(
        _IDS, r"the class name 'b\nc' has control characters; ", tags={"GEOSEG_CLASSES": json.dumps(_NAMED)}
    ),
}
FILES: dict[str, Odd] = {**TEXTS, **CONTAINERS, **RASTERS}
