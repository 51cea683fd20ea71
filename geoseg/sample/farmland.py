"""The made-up farmland of ``geoseg demo``: an aerial scene and its exact labels, from a seed.

Made up, because no real imagery with labels may be shipped; made with care, because what a demo shows must
carry over: colours overlap between classes, edges are mixed pixels, there are shadows, noise and nodata.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from shapely.geometry import Polygon

from geoseg.errors import InputError
from geoseg.outputs import check_output, staged_file
from geoseg.raster.geobox import GeoBox
from geoseg.sample.files import NODATA, write_rgb, writing
from geoseg.sample.layout import lay_out
from geoseg.sample.render import render
from geoseg.sample.things import Layout, polygons_of

CLASS_COLUMN = "class"
CLASSES = ("field", "house", "trees")
"""What is labelled; all else (verges, ways, water, yards, gardens) is left unlabelled."""

MIN_SIDE_PX, MAX_SIDE_PX = 128, 8192

_CRS = CRS.from_epsg(32632)
# Somewhere in the middle of Germany; scenes of different seeds lie apart.
_EAST_M, _NORTH_M, _APART_M = 562_000, 5_640_000, 10_000


@dataclass(frozen=True, kw_only=True)
class Farmland:
    """A scene and its truth.

    Attributes:
        geobox: north-up, UTM zone 32N.
        bands: (3, H, W) uint8 red, green, blue; 0 in all bands exactly where not ``valid``.
        valid: (H, W) bool; a corner is missing, as at the edge of a flight.
        labels: non-overlapping valid polygons in the CRS of the scene, cut to its valid part, with columns
            ``class`` (one of :data:`CLASSES`) and ``kind`` (the crop of a field, what sort of house).
    """

    geobox: GeoBox
    bands: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    labels: geopandas.GeoDataFrame


def make_farmland(seed: int, *, size_px: int, gsd_m: float = 0.5) -> Farmland:
    """Make a square scene of ``size_px`` pixels of ``gsd_m`` metres; the same seed gives the same scene.

    Raises:
        InputError: a size out of range.
    """
    if not MIN_SIDE_PX <= size_px <= MAX_SIDE_PX:
        raise InputError(f"size_px {size_px} is not within {MIN_SIDE_PX}..{MAX_SIDE_PX}; choose another size")
    if not 0.2 <= gsd_m <= 2.0:
        raise InputError(f"gsd_m {gsd_m} is not within 0.2..2.0; choose another pixel size")
    if seed < 0:
        raise InputError(f"seed {seed} is negative; choose another seed")
    side_m = size_px * gsd_m
    layout = lay_out(np.random.default_rng([seed, 1]), side_m, side_m)
    geobox = _geobox(seed, size_px, gsd_m)
    missing = _missing_corner(np.random.default_rng([seed, 3]), side_m)
    local = Affine(gsd_m, 0.0, 0.0, 0.0, -gsd_m, side_m)
    valid = rasterio.features.geometry_mask([missing], geobox.shape, local)
    bands = np.where(valid, render(layout, geobox.shape, gsd_m, seed), np.uint8(NODATA))
    shown = shapely.box(0.0, 0.0, side_m, side_m).difference(missing)
    offset = (geobox.transform.c, geobox.transform.f - side_m)
    return Farmland(geobox=geobox, bands=bands, valid=valid, labels=_labels(layout, shown, offset))


def write_farmland(
    scene: Path,
    labels: Path,
    *,
    seed: int,
    size_px: int,
    gsd_m: float = 0.5,
    overwrite: bool = False,
) -> Farmland:
    """Make a scene and write it as GeoTIFF, its labels as GeoPackage.

    Raises:
        OutputError: an output exists or cannot be written.
        InputError: a size out of range.
        WriteError: writing failed.
    """
    check_output(scene, overwrite=overwrite)
    check_output(labels, overwrite=overwrite)
    land = make_farmland(seed, size_px=size_px, gsd_m=gsd_m)
    with writing("scene", scene), staged_file(scene) as staged:
        write_rgb(staged, land.geobox, land.bands)
    with writing("labels", labels), staged_file(labels) as staged:
        land.labels.to_file(staged, driver="GPKG", layer="labels", engine="pyogrio")
    return land


def _geobox(seed: int, size_px: int, gsd_m: float) -> GeoBox:
    east, north = _EAST_M + _APART_M * (seed % 7), _NORTH_M + _APART_M * (seed // 7 % 7)
    transform = Affine(gsd_m, 0.0, float(east), 0.0, -gsd_m, float(north))
    return GeoBox(crs=_CRS, transform=transform, shape=(size_px, size_px))


def _missing_corner(rng: np.random.Generator, side_m: float) -> Polygon:
    """The part of the square that the flight did not see."""
    right, top = rng.random(2) < 0.5
    near, far = rng.uniform(0.1, 0.17) * side_m, rng.uniform(0.2, 0.3) * side_m
    along_x, along_y = (near, far) if rng.random() < 0.5 else (far, near)
    x, y = (side_m, -1.0) if right else (0.0, 1.0), (side_m, -1.0) if top else (0.0, 1.0)
    return Polygon([(x[0], y[0]), (x[0] + x[1] * along_x, y[0]), (x[0], y[0] + y[1] * along_y)])


def _labels(layout: Layout, shown: Polygon, offset: tuple[float, float]) -> geopandas.GeoDataFrame:
    """What is seen from above: buildings hide ground, crowns hide ground, neither hides the other."""
    crowns = shapely.union_all(layout.crowns)
    roofs = shapely.union_all([building.polygon() for building in layout.buildings])
    hidden = shapely.union_all([crowns, roofs, *(patch.polygon for patch in layout.patches)])
    found = [("field", parcel.crop, parcel.polygon.difference(hidden)) for parcel in layout.parcels]
    found += [("house", building.kind, building.polygon()) for building in layout.buildings]
    found += [("trees", "trees", crown) for crown in layout.crowns]
    rows = [
        (name, kind, part)
        for name, kind, geometry in found
        for part in polygons_of(shapely.intersection(geometry, shown))
    ]
    names, kinds, polygons = zip(*rows, strict=True) if rows else ((), (), ())
    moved = shapely.transform(np.array(polygons, object), lambda points: points + offset)
    return geopandas.GeoDataFrame({CLASS_COLUMN: names, "kind": kinds}, geometry=moved, crs=_CRS)
