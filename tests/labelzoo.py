"""A zoo of odd labels, each small and made here: what people draw, export and damage.

Every file is odd in one way, and says what land its features cover, told in pixels, so that results can be
compared exactly; or with which words it must be refused. The odd shapes are here, odd places and classes in
:mod:`labelzoo_columns`, odd files in :mod:`labelzoo_files`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import labelzoo_makers as made
import numpy as np
import pyogrio
import scenes
import shapely
from affine import Affine
from labelzoo_makers import PLACE, SOUND, A, B, Make, feature, placed, polygon, sound_feature, square
from labelzoo_truth import Land
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Odd:
    """An odd file of labels.

    Attributes:
        make: writes it into a folder.
        lands: what its features cover.
        names: of the classes after the background, those of ``lands`` when not given.
        burned: class ids (H, W) instead, of a raster of labels; 255 where unknown.
        column: that tells the class.
        options: further ones of ``tile`` and ``evaluate``; ``doctor`` has none of them.
        warned: pieces of the warnings, in any order; there must be no others.
        refused: piece of the error line, if no verb can use it.
        found: pieces of what ``doctor`` finds. Refused labels: of an error; ``refused`` when not given.
        place: transform of the scene.
        crs: of the scene.
    """

    make: Make
    lands: tuple[Land, ...] = ()
    names: tuple[str, ...] | None = None
    burned: Callable[[], NDArray[np.uint8]] | None = None
    column: str | None = None
    options: tuple[str, ...] = ()
    warned: tuple[str, ...] = ()
    refused: str | None = None
    found: tuple[str, ...] = ()
    place: Affine = PLACE
    crs: str = scenes.UTM

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes after the background."""
        if self.names is not None:
            return self.names
        return tuple(sorted({land.name for land in self.lands if land.name not in (None, "background")}))


AB = (Land((A,)), Land((B,)))
ONLY_B = (Land((B,)),)
REPAIRED = ("that cross themselves, repaired: 1",)
CROSSES = ("1 feature of 2 that cross themselves",)
NOWHERE = "with a vertex that lies nowhere (no number, or beyond 1e+15)"
NO_PLACE: dict[str, Any] = {"lands": ONLY_B, "warned": (f": 1 {NOWHERE}",), "found": (f"of 2 {NOWHERE}",)}
NOT_CLOSED: dict[str, Any] = {
    "warned": ("with rings that were not closed, closed: 1",),
    "found": ("with rings that are not closed",),
}


def beside(odd: Any, **keywords: Any) -> Odd:
    """A geometry beside a sound one."""
    return Odd(make=made.wrote(odd, SOUND), **keywords)


def no_feature(what: str, count: int = 1) -> dict[str, Any]:
    """Only B burns, and it is said what else there is."""
    return {"lands": ONLY_B, "warned": (f": {count} {what}",)}


_BOW, _SHIFTED = [(5, 5.3), (15, 14.8), (15, 5.1), (5, 15.2)], square(10, 10, 10)
_SOUND = made.wkb(B)
_DISC = [(12.13 + 8 * math.cos(step / 200), 12.21 + 8 * math.sin(step / 200)) for step in range(1257)]
SHAPES: dict[str, Odd] = {
    "bow-tie": beside(polygon(_BOW), lands=(Land((_BOW,)), *ONLY_B), warned=REPAIRED, found=CROSSES),
    "ring drawn twice": beside(polygon([*A, *A]), lands=AB, warned=REPAIRED, found=CROSSES),
    "spike": beside(polygon([*A[:3], (25, 25), *A[2:]]), lands=AB, warned=REPAIRED, found=CROSSES),
    "hole outside of its shell": beside(
        polygon(A, square(20, 20, 4)), lands=(Land((A, square(20, 20, 4))), *ONLY_B), warned=REPAIRED
    ),
    "hole across its shell": beside(
        polygon(A, _SHIFTED), lands=(Land((A, square(10, 10, 5))), *ONLY_B), warned=REPAIRED
    ),
    "hole like its shell": beside(polygon(A, A), **no_feature("without area"), found=CROSSES),
    "hole": beside(polygon(A, square(8, 8, 3)), lands=(Land((A, square(8, 8, 3))), *ONLY_B)),
    "polygon within a polygon": beside(
        shapely.MultiPolygon([polygon(A), polygon(square(7, 7, 3))]), lands=AB, warned=REPAIRED
    ),
    "parts apart": beside(
        shapely.MultiPolygon([polygon(A), polygon(square(20, 20, 4))]),
        lands=(Land((A, square(20, 20, 4))), *ONLY_B),
    ),
    "repeated vertices": beside(polygon([point for point in A for _ in range(50)]), lands=AB),
    "vertices by the thousand": beside(polygon(A).segmentize(0.002), lands=AB),
    "clockwise": beside(polygon(A[::-1]), lands=AB),
    "sliver": beside(polygon([(5, 5), (50, 5.000001), (5, 5.000002)]), lands=ONLY_B, names=("object",)),
    "smaller than a pixel": beside(polygon(square(5.6, 5.6, 0.3)), lands=ONLY_B),
    "on a pixel's centre": beside(
        polygon(square(5.4, 5.4, 0.2)), lands=(Land((square(5.4, 5.4, 0.2),)), *ONLY_B)
    ),
    "line as a polygon": beside(polygon([(5, 5), (50, 5), (20, 5)]), **no_feature("without area")),
    "wide as a continent": beside(
        shapely.box(-1e10, -1e10, 1e10, 1e10), lands=(Land((square(-1, -1, 99),)), *ONLY_B)
    ),
    "vertex far away": Odd(
        make=made.blobs(made.at_vertex(1e12), _SOUND),
        found=("with coordinates that EPSG:32633 does not have",),
        lands=(Land(([(5, 5), (15, 5), (60, 5), (60, 15), (15, 15), (5, 15)],)), *ONLY_B),
    ),
    "in three dimensions": Odd(
        make=made.blobs(made.wkb([(*p, 7.0) for p in A], kind=1003), _SOUND), lands=AB
    ),
    "heights that are no numbers": Odd(
        make=made.blobs(made.wkb([(*p, math.nan) for p in A], kind=1003), _SOUND), lands=AB
    ),
    "measures": Odd(make=made.blobs(made.wkb([(*p, 7.0) for p in A], kind=2003), _SOUND), lands=AB),
    "heights and measures": Odd(
        make=made.blobs(made.wkb([(*p, 7.0, 8.0) for p in A], kind=3003), _SOUND), lands=AB
    ),
    "curve": Odd(make=made.blobs(made.curved(12.13, 12.21, 8), _SOUND), lands=(Land((_DISC,)), *ONLY_B)),
    "curve and line": Odd(
        make=made.blobs(made.curved(12.13, 12.21, 8, half=True), _SOUND),
        lands=(Land(([p for p in _DISC if p[1] <= 12.21],)), *ONLY_B),
    ),
    "surfaces together": Odd(
        make=made.blobs(made.surfaces(12, made.curved(12.13, 12.21, 8), made.wkb(square(20, 25, 5))), _SOUND),
        lands=(Land((_DISC, square(20, 25, 5))), *ONLY_B),
    ),
}
_POINT, _LINE = shapely.Point(PLACE @ (5, 5)), shapely.LineString(placed(A))
_MEMBER = sound_feature(A)["geometry"]
_LINE_MEMBER = {"type": "LineString", "coordinates": [list(p) for p in placed(square(20, 20, 3))]}
NOTHING = "has no polygon to burn, only "
KINDS: dict[str, Odd] = {
    "points": Odd(
        make=made.wrote(_POINT), refused=f"{NOTHING}1 points or lines; draw some, or buffer points and"
    ),
    "lines": Odd(make=made.wrote(_LINE, _LINE), refused=f"{NOTHING}2 points or lines; draw some, or buffer "),
    "points and polygons": Odd(
        make=made.geojson(feature(_POINT.coords[0], shape="Point"), sound_feature()),
        **no_feature("points or lines"),
        found=("1 feature of 2 that are points or lines",),
    ),
    "no geometry": Odd(make=made.blobs(None, _SOUND), **no_feature("without geometry")),
    "no geometry at all": Odd(
        make=made.blobs(None, None),
        refused=f"{NOTHING}2 without geometry",
        found=("2 features of 2 without geometry",),
    ),
    "empty polygon": beside(shapely.Polygon(), **no_feature("without geometry")),
    "collection": Odd(make=made.geojson(made.geometries(_MEMBER, _LINE_MEMBER), sound_feature()), lands=AB),
    "collection in a collection": Odd(
        make=made.geojson(made.geometries(made.geometries(_MEMBER)["geometry"]), sound_feature()), lands=AB
    ),
    "collection of points": Odd(
        make=made.geojson(made.geometries({"type": "Point", "coordinates": [5e5, 5e6]}), sound_feature()),
        **no_feature("points or lines"),
    ),
    "collection of what overlaps": Odd(
        make=made.geojson(made.geometries(_MEMBER, sound_feature(_SHIFTED)["geometry"]), sound_feature()),
        lands=(Land((A, _SHIFTED, square(10, 10, 5))), *ONLY_B),
        warned=REPAIRED,
    ),
    "triangles in space": Odd(
        make=made.blobs(made.surfaces(16, made.wkb(A[:3], kind=17)), _SOUND), **no_feature("without geometry")
    ),
    "polyhedron": Odd(
        make=made.blobs(made.surfaces(15, made.wkb(A)), _SOUND), **no_feature("without geometry")
    ),
    "ring that is not closed": Odd(
        make=made.blobs(made.wkb(A, closed=False), _SOUND), lands=AB, **NOT_CLOSED
    ),
    "ring of geojson that is not closed": Odd(
        make=made.geojson(feature([[list(p) for p in placed(A, closed=False)]]), sound_feature()),
        lands=AB,
        **NOT_CLOSED,
    ),
    "ring of two points": Odd(
        make=made.geojson(feature([[list(p) for p in placed(A[:2], closed=False)]]), sound_feature()),
        lands=ONLY_B,
        warned=("closed: 1", ": 1 without area"),
    ),
    "no ring": Odd(make=made.geojson(feature([]), sound_feature()), **no_feature("without geometry")),
    "ring of words": Odd(
        make=made.geojson(feature([[["a", "b"]] * 4]), sound_feature()), **no_feature("without geometry")
    ),
    "geometry of an unknown type": Odd(
        make=made.geojson(feature([1, 2], shape="Circle"), sound_feature()), **no_feature("without geometry")
    ),
    "geometry cut short": Odd(make=made.blobs(made.wkb(A)[:40], _SOUND), **no_feature("without geometry")),
    "geometry of 2 billion rings": Odd(
        make=made.blobs(b"\1\3\0\0\0\xff\xff\xff\x7f" + bytes(50), _SOUND), **no_feature("without geometry")
    ),
    "geometry without a header": Odd(
        make=made.blobs(_SOUND, header=b"XXXX"),
        refused=f"{NOTHING}1 without geometry",
        found=("without geometry",),
    ),
    **{
        f"vertex of {value}": Odd(make=made.blobs(made.at_vertex(value), _SOUND), **NO_PLACE)
        for value in (math.nan, math.inf, -math.inf, 1e300, -1.7976931348623157e308, 1e16)
    },
    "vertex of nan in geojson": Odd(
        make=made.text(
            made.collection(sound_feature(A), sound_feature()).replace(str(placed(A)[2][0]), "NaN", 1)
        ),
        **NO_PLACE,
    ),
    "vertex of nan in geoparquet": Odd(make=made.parquet_of_nan, **NO_PLACE),
    "vertices of nan only": Odd(
        make=made.blobs(made.at_vertex(math.nan)), refused=f"{NOTHING}1 {NOWHERE}; draw "
    ),
    "vertex of 1e999": Odd(
        make=made.text(made.collection(sound_feature(A)).replace(str(placed(A)[2][0]), "1e999")),
        # Older ones take it for infinity.
        refused="Unrecognized number: 1e999; is the file damaged?"
        if pyogrio.__gdal_version__ >= (3, 12, 0)
        else f"{NOTHING}1 {NOWHERE}; draw ",
    ),
    "square of 1e300": beside(shapely.box(-1e300, -1e300, 1e300, 1e300), **NO_PLACE),
}
