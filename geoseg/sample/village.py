"""A made-up village from above, and the outlines of its roofs, from a seed.

For detectors of single objects: houses of many shapes and materials that often share walls, among streets,
gardens, trees, cars and shadows whose colours are those of roofs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import geopandas
import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoseg.errors import InputError
from geoseg.outputs import check_output, staged_file
from geoseg.raster.geobox import GeoBox
from geoseg.sample.files import write_rgb, writing
from geoseg.sample.houses import House
from geoseg.sample.render import render
from geoseg.sample.streets import lay_out_village
from geoseg.sample.things import polygons_of

CLASS_COLUMN = "class"
CLASS = "building"

MIN_SIDE_PX, MAX_SIDE_PX = 64, 8192

_CRS = CRS.from_epsg(32632)
# South of the farmlands; villages of different seeds lie apart.
_EAST_M, _NORTH_M, _APART_M = 562_000, 5_440_000, 10_000


@dataclass(frozen=True, kw_only=True)
class Village:
    """A scene and its truth.

    Attributes:
        geobox: north-up, UTM zone 32N.
        bands: (3, H, W) uint8 red, green, blue; never 0.
        labels: valid polygons of whole roofs, also where a tree hangs over one, in the CRS of the scene and
            cut to it. Neighbours share walls and overlap nowhere. Columns ``class`` and ``kind`` (see
            :class:`geoseg.sample.houses.House`).
    """

    geobox: GeoBox
    bands: NDArray[np.uint8]
    labels: geopandas.GeoDataFrame


def make_village(seed: int, *, shape: tuple[int, int], gsd_m: float = 0.3) -> Village:
    """Make a scene of ``shape`` (height, width) pixels; the same seed and size give the same scene.

    Raises:
        InputError: a size out of range.
    """
    for side in shape:
        if not MIN_SIDE_PX <= side <= MAX_SIDE_PX:
            raise InputError(
                f"side {side} px is not within {MIN_SIDE_PX}..{MAX_SIDE_PX}; choose another size"
            )
    if not 0.1 <= gsd_m <= 1.0:
        raise InputError(f"gsd_m {gsd_m} is not within 0.1..1.0; choose another pixel size")
    if seed < 0:
        raise InputError(f"seed {seed} is negative; choose another seed")
    height_m, width_m = shape[0] * gsd_m, shape[1] * gsd_m
    layout, houses = lay_out_village(np.random.default_rng([seed, 11]), width_m, height_m)
    east, north = _EAST_M + _APART_M * (seed % 7), _NORTH_M + _APART_M * (seed // 7 % 7)
    geobox = GeoBox(
        crs=_CRS, transform=Affine(gsd_m, 0.0, float(east), 0.0, -gsd_m, float(north)), shape=shape
    )
    bands = render(layout, shape, gsd_m, seed)
    labels = _labels(houses, shapely.box(0.0, 0.0, width_m, height_m), (float(east), north - height_m), gsd_m)
    return Village(geobox=geobox, bands=bands, labels=labels)


def write_village(
    scene: Path,
    labels: Path,
    *,
    seed: int,
    shape: tuple[int, int],
    gsd_m: float = 0.3,
    overwrite: bool = False,
) -> Village:
    """Make a village and write it as GeoTIFF, its roofs as GeoPackage.

    Raises:
        OutputError: an output exists or cannot be written.
        InputError: a size out of range.
        WriteError: writing failed.
    """
    check_output(scene, overwrite=overwrite)
    check_output(labels, overwrite=overwrite)
    village = make_village(seed, shape=shape, gsd_m=gsd_m)
    with writing("scene", scene), staged_file(scene) as staged:
        write_rgb(staged, village.geobox, village.bands)
    with writing("labels", labels), staged_file(labels) as staged:
        village.labels.to_file(staged, driver="GPKG", layer="labels", engine="pyogrio")
    return village


def _labels(
    houses: tuple[House, ...], shown: shapely.Polygon, offset: tuple[float, float], gsd_m: float
) -> geopandas.GeoDataFrame:
    """Roofs cut to the scene; slivers of less than a pixel at its edge are none."""
    rows = [
        (house.kind, part)
        for house in houses
        for part in polygons_of(shapely.intersection(house.polygon, shown))
        if part.area >= gsd_m**2
    ]
    polygons = np.empty(len(rows), object)
    polygons[:] = [part for _, part in rows]
    moved = shapely.transform(polygons, lambda points: points + offset)
    columns = {CLASS_COLUMN: [CLASS] * len(rows), "kind": [kind for kind, _ in rows]}
    return geopandas.GeoDataFrame(columns, geometry=moved, crs=_CRS)
