"""The zoo of labels, part two: odd coordinate reference systems, and odd columns of classes."""

from __future__ import annotations

import datetime
import decimal
import math
from typing import Any

import geopandas
import labelzoo_makers as made
import scenes
import shapely
import zoo_makers
from affine import Affine
from labelzoo import AB, ONLY_B, Land, Odd
from labelzoo_makers import PLACE, SOUND, A, B, Make, placed, polygon, sound_feature, square


def _of_crs(crs: Any, **keywords: Any) -> Odd:
    """A and B, said to be in a CRS."""
    return Odd(make=made.wrote(polygon(A), SOUND, crs=crs), **keywords)


def _brought(crs: str, *rings: made.Ring, place: Affine = PLACE, source: str = scenes.UTM) -> Make:
    """Squares of the scene, in another CRS."""
    shapes = [shapely.Polygon(placed(ring, place=place)) for ring in rings]
    return made.wrote(*geopandas.GeoSeries(shapes, crs=source).to_crs(crs), crs=crs)


def _srs(number: int) -> Make:
    return made.changed(
        f"update gpkg_geometry_columns set srs_id = {number}", f"update gpkg_contents set srs_id = {number}"
    )


ELSEWHERE = "lie elsewhere on Earth than "
NO_DEGREES = "500020 y 4999992..4999998, no degrees"
NO_CRS: dict[str, Any] = {
    "lands": AB,
    "warned": ("has no CRS: taken to be in the scene's",),
    "found": ("has no CRS;",),
}
_FIJI = {"place": Affine(0.001, 0, 179.98, 0, -0.001, -17.0), "crs": "EPSG:4326"}
_SAMOA = {"place": Affine(0.001, 0, -180.03, 0, -0.001, -17.0), "crs": "EPSG:4326"}
_FIJI_UTM = {"place": scenes.north_up(1000.0, origin=(810_000.0, 8_100_000.0)), "crs": "EPSG:32760"}
WEST, EAST, ACROSS = square(3, 5, 10), square(40, 5, 10), square(15, 20, 10)
CRSS: dict[str, Odd] = {
    "no crs": _of_crs(None, **NO_CRS),
    "undefined crs in metres": Odd(make=_srs(-1), **NO_CRS),
    "undefined crs in degrees, of metres": Odd(make=_srs(0), **NO_CRS),
    "crs of an unknown number": Odd(make=_srs(777777), **NO_CRS),
    "crs of a broken text": Odd(
        make=made.changed("update gpkg_spatial_ref_sys set definition = 'X[' where srs_id = 32633"), lands=AB
    ),
    "degrees": Odd(make=_brought("EPSG:4326", A, B), lands=AB),
    "mercator": Odd(make=_brought("EPSG:3857", A, B), lands=AB),
    "degrees, latitude first": Odd(
        make=made.wrote(shapely.box(45.1533, 15.0, 45.1535, 15.0003), crs="EPSG:4326"),
        refused=ELSEWHERE,
        found=("read as EPSG:4326 with x and y swapped",),
    ),
    "metres said to be degrees": Odd(
        make=made.wrote(SOUND, crs="EPSG:4326"),
        refused=NO_DEGREES,
        found=("read as EPSG:32633, 1 of 1 label",),
    ),
    "geojson of metres": Odd(
        make=made.geojson(sound_feature(), crs=None),
        refused=NO_DEGREES,
        found=("read as EPSG:32633, 1 of 1",),
    ),
    "geojson of metres and an unknown crs": Odd(
        make=made.geojson(sound_feature(), crs={"type": "name", "properties": {"name": "EPSG:999999"}}),
        refused="gives its CRS as 'EPSG:999999', which is none that GDAL knows; give it as EPSG:CODE",
    ),
    "geojson with a crs in words": Odd(
        make=made.geojson(
            sound_feature(), crs={"type": "name", "properties": {"name": "WGS 84 / UTM zone 33N"}}
        ),
        refused="gives its CRS as 'WGS 84 / UTM zone 33N', which is none that",
    ),
    "geojson with an old crs": Odd(
        make=made.geojson(sound_feature(), crs={"type": "EPSG", "properties": {"code": 32633}}), lands=ONLY_B
    ),
    "another zone": Odd(
        make=made.wrote(SOUND, crs="EPSG:32634"),
        refused=ELSEWHERE,
        found=("read as EPSG:32633, 1 of 1 label",),
    ),
    "elsewhere": Odd(
        make=made.wrote(shapely.box(0, 0, 9, 9)), refused=ELSEWHERE, found=("labels at lon 10.5",)
    ),
    "building site": _of_crs(
        zoo_makers.LOCAL, refused="in site cannot be brought into the scene's CRS, WGS 84 / UTM"
    ),
    "the whole earth": Odd(
        make=made.wrote(
            shapely.box(-180, -90, 180, 90),
            *geopandas.GeoSeries([SOUND], crs=scenes.UTM).to_crs(4326),
            crs=4326,
        ),
        lands=ONLY_B,
        warned=("1 around all of a scene, but too large for its CRS; cut",),
    ),
    "on the other side of 180": Odd(
        make=made.wrote(
            *[shapely.box(x, -17.015, x + 0.01, -17.005) for x in (179.983, -179.98)], crs="EPSG:4326"
        ),
        lands=(Land((WEST,)), Land((EAST,))),
        **_FIJI,
    ),
    "cut at 180": Odd(
        make=made.wrote(
            shapely.MultiPolygon(
                [shapely.box(179.995, -17.03, 180, -17.02), shapely.box(-180, -17.03, -179.995, -17.02)]
            ),
            crs="EPSG:4326",
        ),
        lands=(Land((ACROSS,)),),
        **_FIJI,
    ),
    "beyond 180": Odd(
        make=made.wrote(shapely.box(179.995, -17.03, 180.005, -17.02), crs="EPSG:4326"),
        lands=(Land((ACROSS,)),),
        **_FIJI,
    ),
    "beyond 180, seen from the other side": Odd(
        make=made.wrote(shapely.box(179.985, -17.03, 179.995, -17.02), crs="EPSG:4326"),
        lands=(Land((ACROSS,)),),
        place=_SAMOA["place"],
        crs="EPSG:4326",
    ),
    "metres across 180": Odd(
        make=_brought("EPSG:3832", WEST, ACROSS, EAST, place=_FIJI["place"], source="EPSG:4326"),
        lands=(Land((WEST,)), Land((ACROSS,)), Land((EAST,))),
        **_FIJI,
    ),
    "degrees to metres across 180": Odd(
        make=_brought("EPSG:4326", square(2, 5, 5), EAST, place=_FIJI_UTM["place"], source="EPSG:32760"),
        lands=(Land((square(2, 5, 5),)), Land((EAST,))),
        **_FIJI_UTM,
    ),
}


def _spotted(*values: Any, names: tuple[str | None, ...], **keywords: Any) -> Odd:
    """Squares of these values in the column, and the classes they become."""
    return Odd(make=made.classed(values), **_named(*names), **keywords)


def _named(*names: str | None) -> dict[str, Any]:
    lands = tuple(Land((spot,), name) for spot, name in zip(made.spots(len(names)), names, strict=True))
    numbers = all(name is None or name.lstrip("-").isdecimal() for name in names)
    distinct = {name for name in names if name not in (None, "background")}
    return {"lands": lands, "column": "kind", "names": tuple(sorted(distinct, key=int if numbers else str))}


def _json(*values: Any) -> Make:
    return made.geojson(*map(sound_feature, made.spots(len(values)), values))


def _no_class(text: str, **keywords: Any) -> dict[str, Any]:
    return {"column": "kind", "refused": text} | keywords


_UNNAMED = ("without a value in column kind",)
_ALIKE: dict[str, Any] = {
    "warned": ("differ in case or accents only, kept apart",),
    "found": ("differ in case or accents only",),
}
_LISTS = "has lists or groups of values in column kind; choose a column of words or whole numbers"
_DATES = [datetime.datetime(2020, 1, 1), datetime.datetime(2021, 1, 1, 12)]
CLASSES: dict[str, Odd] = {
    "numbers": _spotted(10, 2, -1, 10, names=("10", "2", "-1", "10")),
    "255 and 0": _spotted(255, 0, names=("255", "0")),
    "large numbers": _spotted(2**40, 2**62, names=(str(2**40), str(2**62))),
    "whole numbers as floats": _spotted(1.0, 10.0, 2.0, names=("1", "10", "2")),
    "float and nan": _spotted(1.0, math.nan, names=("1", None), found=_UNNAMED),
    "fractions": Odd(
        make=made.classed([1.5, 2.0]), **_no_class("has fractions in column kind; choose a column")
    ),
    "inf": Odd(
        make=made.classed([math.inf, 2.0]), **_no_class("has fractions in column kind; choose a column")
    ),
    "1e308": Odd(make=made.classed([1e308, 2.0]), **_no_class("has 309 characters, and 200 are possible; ")),
    "decimals": Odd(
        make=made.classed([decimal.Decimal("1.5")], name="labels.parquet"),
        **_no_class("has fractions in column"),
    ),
    "whole decimals": Odd(
        make=made.classed([decimal.Decimal("7.0"), decimal.Decimal(12)], name="labels.parquet"),
        **_named("7", "12"),
    ),
    "words": _spotted("b", " a ", "b", names=("b", "a", "b")),
    "yes and no": _spotted(True, False, names=("True", "False")),
    "yes, no and null": Odd(make=_json(True, False, None), **_named("True", "False", None), found=_UNNAMED),
    "dates": _spotted(*_DATES, names=("2020-01-01 00:00:00", "2021-01-01 12:00:00")),
    "this and that": Odd(make=_json(1, "a", None, True), **_named("1", "a", None, "true"), found=_UNNAMED),
    "null only": Odd(
        make=made.classed([None, None]), **_no_class("has no value in column kind; choose another")
    ),
    "spaces": _spotted("   ", "a", names=(None, "a"), found=_UNNAMED),
    "spaces only": Odd(
        make=made.classed(["  ", "\t"]), **_no_class("has no value in column kind; choose another")
    ),
    "lists": Odd(make=_json(["a", "b"], ["c"]), **_no_class(_LISTS)),
    "groups": Odd(make=_json({"a": 1}, {"b": 2}), **_no_class(_LISTS)),
    "lists of geoparquet": Odd(make=made.classed([["a"]], name="labels.parquet"), **_no_class(_LISTS)),
    "groups of geoparquet": Odd(make=made.classed([{"a": 1}], name="labels.parquet"), **_no_class(_LISTS)),
    "bytes": Odd(
        make=made.classed([b"\xff\xfe"], name="labels.parquet"),
        **_no_class("has bytes in column kind; choose a column of words or whole numbers"),
    ),
    "200 characters": _spotted("x" * 200, "y", names=("x" * 200, "y")),
    "5000 characters": Odd(
        make=made.classed(["x" * 5000, "y"]),
        **_no_class("xxx...' in column kind, which has 5,000 characters, and 200 are possible; rename it"),
    ),
    "line break": Odd(
        make=made.classed(["a\nb"]), **_no_class(r"the class name 'a\nb' in column kind, which has con")
    ),
    "escape": Odd(
        make=made.classed(["a\x1b[31mb"]), **_no_class(r"the class name 'a\x1b[31mb' in column kind")
    ),
    "turned to the left": Odd(
        make=made.classed(["a\u202eb"]), **_no_class(r"the class name 'a\u202eb' in column")
    ),
    "right to left": _spotted("שדה", "حقل", names=("שדה", "حقل")),
    "emoji": _spotted("🌾", "👨‍🌾", names=("🌾", "👨‍🌾")),
    "markup": _spotted("<b>&amp;", "[red]x[/]", names=("<b>&amp;", "[red]x[/]")),
    "case": _spotted("Field", "field", "FIELD", names=("Field", "field", "FIELD"), **_ALIKE),
    "accents": _spotted("é", "e\u0301", names=("é", "e\u0301"), **_ALIKE),
    "background": _spotted("BackGround", "field", names=("background", "field")),
    "a class called boundary": _spotted("boundary", "field", names=("boundary", "field")),
    "253 classes": Odd(
        make=made.wrote(*(polygon(square(i % 50, i // 50, 1)) for i in range(253)), kinds=range(253)),
        lands=tuple(Land((square(i % 50, i // 50, 1),), str(i)) for i in range(253)),
        names=tuple(map(str, range(253))),
        column="kind",
    ),
    "254 classes": Odd(
        make=made.wrote(*[SOUND] * 254, kinds=range(254)),
        **_no_class(
            "has 254 different values in column kind, and 253 classes beside the background are possible; "
        ),
    ),
    "no such column": Odd(make=made.classed([1]), column="art", refused="has no column art; it has kind"),
    "column in another case": Odd(
        make=made.classed([1]), column="KIND", refused="has no column KIND; it has kind"
    ),
    "column with a line break": Odd(make=made.classed([1]), column="a\u202e\nb", refused="; it has kind"),
    "the geometry as a column": Odd(
        make=made.classed([1]), column="geometry", refused="has no column geometry; it"
    ),
    "class name of 5000 characters": Odd(
        make=made.wrote(SOUND), options=("--class-name", "x" * 5000), refused="..."
    ),
    "class name of spaces": Odd(make=made.wrote(SOUND), options=("--class-name", "  "), refused="'  '"),
    "class name with a line break": Odd(
        make=made.wrote(SOUND), options=("--class-name", "a\nb"), refused="a\\nb"
    ),
}
