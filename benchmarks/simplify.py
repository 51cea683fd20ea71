"""How near simplified polygons come to the true ones, and whether neighbours stay together.

Usage: python benchmarks/simplify.py [--truth POLYGONS.gpkg --like RASTER] [--tolerance 0.5 1 2 4]
True polygons are burned by pixel centre, one id each, and vectorized again in three ways: by geoseg, by
simplifying each exact polygon alone (Douglas-Peucker, as geopandas does), and by gdal_polygonize.py with
ogr2ogr -simplify. Without --truth, parcels are made up (Voronoi cells). Prints the mean IoU with the true
polygons, vertices, overlap and gaps in pixels, and whether the polygons are a valid coverage.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import rasterio.features
import shapely
from numpy.typing import NDArray
from rasterio.transform import from_origin

SIDE = 1000


def made_up() -> tuple[NDArray[np.object_], dict[str, Any]]:
    """Voronoi cells of 411 places, and the grid they lie on."""
    places = shapely.MultiPoint(np.random.default_rng(3).random((411, 2)) * SIDE)
    square = shapely.box(0, 0, SIDE, SIDE)
    cells = shapely.get_parts(shapely.voronoi_polygons(places, extend_to=square))
    grid = {"height": SIDE, "width": SIDE, "transform": from_origin(0, SIDE, 1, 1), "crs": "EPSG:32633"}
    return shapely.intersection(cells, square), grid


def told(truth: Path, like: Path) -> tuple[NDArray[np.object_], dict[str, Any]]:
    """Polygons of a file in the CRS of a raster, and its grid."""
    with rasterio.open(like) as raster:
        grid = {key: raster.profile[key] for key in ("height", "width", "transform", "crs")}
    frame = geopandas.read_file(truth).to_crs(grid["crs"])
    return shapely.get_parts(shapely.make_valid(shapely.force_2d(frame.geometry.to_numpy()))), grid


def burn(polygons: NDArray[np.object_], grid: dict[str, Any], path: Path) -> None:
    """Write a mask of the numbers of polygons, from 1; 0 is nodata."""
    shape = (grid["height"], grid["width"])
    pairs = zip(polygons, range(1, len(polygons) + 1), strict=True)
    ids = rasterio.features.rasterize(pairs, shape, fill=0, transform=grid["transform"], dtype="int32")
    with rasterio.open(path, "w", driver="GTiff", count=1, dtype="int32", nodata=0, **grid) as mask:
        mask.write(ids, 1)


def by_geoseg(mask: Path, folder: Path, tolerance: float) -> geopandas.GeoDataFrame:
    """Polygons of ``geoseg vectorize``."""
    output = folder / "ours.gpkg"
    command = [sys.executable, "-m", "geoseg_cli", "-q", "vectorize", mask, "-o", output, "--overwrite"]
    subprocess.run([*command, "--simplify", str(tolerance)], check=True, stderr=subprocess.DEVNULL)
    return geopandas.read_file(output, layer="parcels")


def by_gdal(mask: Path, folder: Path, tolerance: float) -> geopandas.GeoDataFrame:
    """Polygons of ``gdal_polygonize.py`` and ``ogr2ogr -simplify``."""
    exact, output = folder / "exact.gpkg", folder / "theirs.gpkg"
    if not exact.exists():
        subprocess.run(["gdal_polygonize.py", "-q", mask, exact, "parcels", "class_id"], check=True)
    output.unlink(missing_ok=True)
    with rasterio.open(mask) as raster:
        units = tolerance * raster.res[0]
    subprocess.run(["ogr2ogr", output, exact, "-simplify", str(units)], check=True, stderr=subprocess.DEVNULL)
    return geopandas.read_file(output)


def score(frame: geopandas.GeoDataFrame, truth: NDArray[np.object_], mask: Path) -> str:
    """A line of figures."""
    with rasterio.open(mask) as raster:
        pixel = abs(raster.transform.determinant)
        covered = int(np.count_nonzero(raster.read(1))) * pixel
    ious = []
    for number, parts in frame.groupby("class_id"):
        shape = shapely.union_all(shapely.make_valid(parts.geometry.to_numpy()))
        true = truth[int(number) - 1]
        ious.append(shape.intersection(true).area / shape.union(true).area)
    shapes = frame.geometry.to_numpy()
    valid = bool(shapely.is_valid(shapes).all() and shapely.coverage_is_valid(shapes))
    sound = shapely.make_valid(shapes)
    union = shapely.union_all(sound).area
    overlap = (shapely.area(sound).sum() - union) / pixel
    vertices = int(shapely.get_num_coordinates(shapes).sum())
    return (
        f"IoU {np.mean(ious):.4f}   {vertices:9,} vertices   overlap {overlap:10.2f} px   "
        f"covers {union / covered:.5f} of the burned area   valid coverage: {valid}"
    )


def main() -> None:
    """Print a line for each way and tolerance."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", type=Path)
    parser.add_argument("--like", type=Path)
    parser.add_argument("--tolerance", type=float, nargs="*", default=[0.5, 1.0, 2.0, 4.0])
    options = parser.parse_args()
    truth, grid = told(options.truth, options.like) if options.truth else made_up()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mask = folder / "mask.tif"
        burn(truth, grid, mask)
        exact = by_geoseg(mask, folder, 0.0)
        print(f"{'exact':18s} {score(exact, truth, mask)}", flush=True)
        for tolerance in options.tolerance:
            alone = exact.assign(geometry=exact.geometry.simplify(tolerance * grid["transform"].a))
            ways = {"geoseg": by_geoseg(mask, folder, tolerance), "each alone": alone}
            if shutil.which("gdal_polygonize.py") and shutil.which("ogr2ogr"):
                ways["GDAL"] = by_gdal(mask, folder, tolerance)
            for way, frame in ways.items():
                print(f"{tolerance:4g} px {way:10s} {score(frame, truth, mask)}", flush=True)


if __name__ == "__main__":
    main()
