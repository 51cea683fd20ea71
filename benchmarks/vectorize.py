"""`geoseg vectorize` against `gdal_polygonize.py` and rasterio + shapely + geopandas, mask to GeoPackage.

Usage: python benchmarks/vectorize.py [MASK...] [--case land-cover|parcels|speckle ...] [--side 10000]
           [--runs 3] [--skip-python] [--check]
Whole processes, in turn; wall and CPU seconds, peak memory, their ratios. Nobody simplifies. Without MASK,
masks are made up. With --check, the polygons are compared with GDAL's: number, rings, area of each class.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import from_origin
from rasterio.windows import Window

STRIP = 512
PYTHON_WAY = """
import sys, geopandas, rasterio, rasterio.features, shapely.geometry
with rasterio.open(sys.argv[1]) as mask:
    pairs = rasterio.features.shapes(mask.read(1), mask=mask.dataset_mask() > 0, transform=mask.transform)
    shapes, ids = zip(*((shapely.geometry.shape(shape), int(value)) for shape, value in pairs))
    frame = geopandas.GeoDataFrame({"class_id": ids}, geometry=list(shapes), crs=mask.crs)
frame.to_file(sys.argv[2], layer="parcels", driver="GPKG")
"""


def noise(rng: np.random.Generator, side: int, cell: int) -> Callable[[int, int], NDArray[np.float32]]:
    """Smooth random numbers: rows ``top`` to ``stop`` of a square, bilinear between points ``cell`` apart."""
    points = rng.normal(size=(side // cell + 2, side // cell + 2)).astype(np.float32)
    at = np.arange(side) / cell
    left, share = at.astype(int), (at % 1).astype(np.float32)

    def rows(top: int, stop: int) -> NDArray[np.float32]:
        wide = points[:, left] * (1 - share) + points[:, left + 1] * share
        upper, down = left[top:stop], share[top:stop, None]
        return wide[upper] * (1 - down) + wide[upper + 1] * down

    return rows


def land_cover(side: int) -> Iterator[NDArray[np.uint8]]:
    """Eight classes in patches of many sizes: the greatest of eight smooth fields, a little speckled."""
    rng = np.random.default_rng(0)
    fields = [[(cell, noise(rng, side, cell)) for cell in (8, 32, 128)] for _ in range(8)]
    for top in range(0, side, STRIP):
        stop = min(top + STRIP, side)
        best = np.full((stop - top, side), -np.inf, np.float32)
        ids = np.zeros(best.shape, np.uint8)
        for class_id, scales in enumerate(fields):
            field = np.sum([rows(top, stop) * np.float32(cell**0.5) for cell, rows in scales], axis=0)
            ids[field > best] = class_id
            np.maximum(best, field, out=best)
        speckled = rng.random(ids.shape, np.float32) < 0.001
        ids[speckled] = rng.integers(0, 8, int(speckled.sum()), np.uint8)
        yield ids


def parcels(side: int, cell: int = 60) -> Iterator[NDArray[np.uint8]]:
    """Voronoi cells of a jittered grid, in ten classes."""
    rng = np.random.default_rng(1)
    count = side // cell + 3
    jitter = rng.uniform(-0.45, 0.45, (2, count, count)).astype(np.float32)
    classes = rng.integers(0, 10, (count, count), np.uint8)
    column = np.arange(side)
    for top in range(0, side, STRIP):
        row = np.arange(top, min(top + STRIP, side))
        nearest = np.full((len(row), side), np.inf, np.float32)
        ids = np.zeros(nearest.shape, np.uint8)
        for down in (0, 1, 2):
            for right in (0, 1, 2):
                i, j = np.meshgrid(row // cell + down, column // cell + right, indexing="ij")
                dy = (i - 0.5 + jitter[0, i, j]) * cell - row[:, None]
                dx = (j - 0.5 + jitter[1, i, j]) * cell - column
                distance = (dx * dx + dy * dy).astype(np.float32)
                nearer = distance < nearest
                ids[nearer] = classes[i, j][nearer]
                np.minimum(nearest, distance, out=nearest)
        yield ids


def speckle(side: int) -> Iterator[NDArray[np.uint8]]:
    """Land cover of which one pixel in twenty is of a random class: a noisy mask."""
    rng = np.random.default_rng(2)
    for ids in land_cover(side):
        noisy = rng.random(ids.shape, np.float32) < 0.05
        ids[noisy] = rng.integers(0, 8, int(noisy.sum()), np.uint8)
        yield ids


CASES = {"land-cover": land_cover, "parcels": parcels, "speckle": speckle}


def write_mask(path: Path, case: str, side: int) -> None:
    """Write a made-up mask, strip by strip."""
    profile = {"driver": "GTiff", "count": 1, "height": side, "width": side, "dtype": "uint8", "nodata": 255}
    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 1, 1)}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    with rasterio.open(path, "w", **profile, **place, **tiles) as mask:
        top = 0
        for ids in CASES[case](side):
            mask.write(ids, 1, window=Window(0, top, side, len(ids)))
            top += len(ids)


@dataclass(frozen=True)
class Run:
    """What a process took: seconds, seconds of processors, megabytes at most."""

    wall: float
    cpu: float
    peak: float


def measure(command: list[str], output: Path) -> Run:
    """Run a whole process that writes ``output``."""
    output.unlink(missing_ok=True)
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"failed: {' '.join(command)}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e3)


def compare(mask: Path, options: argparse.Namespace, polygonize: str) -> None:
    """Print medians and ratios for one mask."""
    with tempfile.TemporaryDirectory(dir=mask.parent) as folder:
        outputs = {name: Path(folder, f"{name}.gpkg") for name in ("geoseg", "gdal", "python")}
        plain = ["--simplify", "0", "--no-style"]
        ways = {
            "geoseg": [
                sys.executable,
                "-m",
                "geoseg_cli",
                "vectorize",
                str(mask),
                "-o",
                str(outputs["geoseg"]),
                *plain,
            ],
            "gdal": [polygonize, "-q", str(mask), str(outputs["gdal"]), "parcels", "class_id"],
            "python": [sys.executable, "-c", PYTHON_WAY, str(mask), str(outputs["python"])],
        }
        if options.skip_python:
            del ways["python"]
        turns = [
            {way: measure(command, outputs[way]) for way, command in ways.items()}
            for _ in range(options.runs)
        ]
        for way in ways:
            runs = [turn[way] for turn in turns]
            line = f"{mask.stem:24s} {way:8s}" + "".join(
                f"{name} {statistics.median(getattr(run, name) for run in runs):8.1f}   "
                for name in ("wall", "cpu", "peak")
            )
            if way != "geoseg":
                wall = statistics.median(turn[way].wall / turn["geoseg"].wall for turn in turns)
                cpu = statistics.median(turn[way].cpu / turn["geoseg"].cpu for turn in turns)
                line += f"{way} / geoseg: wall {wall:.2f}, CPU {cpu:.2f}"
            print(line, flush=True)
        if options.check:
            check(outputs["geoseg"], outputs["gdal"])


def check(ours: Path, theirs: Path) -> None:
    """Print how the polygons differ from GDAL's."""
    import geopandas
    import shapely

    mine = geopandas.read_file(ours, layer="parcels", columns=["class_id"])
    peer = geopandas.read_file(theirs, columns=["class_id"])
    mine = mine[mine.class_id.isin(peer.class_id.unique())]
    # Ours have a vertex wherever three regions meet; without those on straight lines the rings must be
    # GDAL's.
    sets = []
    for frame in (mine, peer):
        shapes = shapely.normalize(shapely.simplify(frame.geometry.to_numpy(), 0.0))
        wkb = shapely.to_wkb(shapes, byte_order=1).tolist()
        sets.append(sorted(zip(frame.class_id.tolist(), wkb, strict=True)))
    same = sum(1 for one, other in zip(*sets, strict=False) if one == other)
    areas = (
        (mine.geometry.area.groupby(mine.class_id).sum() - peer.geometry.area.groupby(peer.class_id).sum())
        .abs()
        .max()
    )
    print(
        f"    polygons {len(mine):,} and {len(peer):,}, equal {same:,}; "
        f"greatest difference of a class's area {areas:.6f}"
    )
    if same < len(peer):
        rest = [
            shapely.from_wkb([wkb for _, wkb in set(one) - set(other)]) for one, other in (sets, sets[::-1])
        ]
        difference = shapely.symmetric_difference(
            *(shapely.union_all(shapely.make_valid(part)) for part in rest)
        )
        print(f"    symmetric difference of those that are not equal: {difference.area:.6f}")


def main() -> None:
    """Compare for all masks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("masks", nargs="*", type=Path)
    parser.add_argument("--case", nargs="*", choices=list(CASES), default=list(CASES))
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--skip-python", action="store_true")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    polygonize = shutil.which("gdal_polygonize.py")
    if polygonize is None:
        sys.exit("gdal_polygonize.py is not installed (Debian: gdal-bin); there is nothing to compare with")
    for mask in options.masks:
        compare(mask, options, polygonize)
    with tempfile.TemporaryDirectory() as folder:
        for case in options.case if not options.masks else []:
            mask = Path(folder, f"{case}-{options.side}.tif")
            write_mask(mask, case, options.side)
            compare(mask, options, polygonize)


if __name__ == "__main__":
    main()
