"""`geoseg vectorize` to GeoPackage against `gdal_polygonize.py` to GeoPackage, both without simplification.

Usage: python benchmarks/vectorize.py [MASK] [--side 4096] [--runs 3]
Without MASK, a made-up land-cover mask is used. Both run as whole processes, in turn.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin


def write_land_cover(path: Path, side: int) -> None:
    """Eight classes in patches of many sizes: the winner of eight smooth random fields, a little speckled."""
    rng = np.random.default_rng(0)
    best = np.full((side, side), -np.inf, np.float32)
    ids = np.zeros((side, side), np.uint8)
    for class_id in range(8):
        field = np.zeros((side, side), np.float32)
        for cell in (16, 64, 256):
            small = rng.normal(size=(side // cell + 2, side // cell + 2)).astype(np.float32)
            field += np.kron(small, np.ones((cell, cell), np.float32))[:side, :side] * cell**0.5
        better = field > best
        ids[better], best[better] = class_id, field[better]
    speckle = rng.random((side, side)) < 0.002
    ids[speckle] = rng.integers(0, 8, int(speckle.sum()))
    profile = {"driver": "GTiff", "count": 1, "height": side, "width": side, "dtype": "uint8", "nodata": 255}
    with rasterio.open(
        path, "w", **profile, crs="EPSG:32633", transform=from_origin(5e5, 5e6, 1, 1), compress="deflate"
    ) as mask:
        mask.write(ids, 1)


def seconds_of(command: list[str], output: Path) -> float:
    """Wall seconds of a whole process that writes ``output``."""
    output.unlink(missing_ok=True)
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Run the pairs in turn and print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mask", nargs="?", type=Path)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    polygonize = shutil.which("gdal_polygonize.py")
    if polygonize is None:
        sys.exit("gdal_polygonize.py is not installed (Debian: gdal-bin); there is nothing to compare with")
    with tempfile.TemporaryDirectory() as folder:
        mask = options.mask or Path(folder, "mask.tif")
        if options.mask is None:
            write_land_cover(mask, options.side)
        ours, theirs = Path(folder, "ours.gpkg"), Path(folder, "theirs.gpkg")
        geoseg = [
            sys.executable,
            "-m",
            "geoseg_cli",
            "vectorize",
            str(mask),
            "-o",
            str(ours),
            "--simplify",
            "0",
        ]
        gdal = [polygonize, "-q", str(mask), str(theirs), "parcels", "class_id"]
        pairs = [(seconds_of(geoseg, ours), seconds_of(gdal, theirs)) for _ in range(options.runs)]
    mine, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{mask.name}: geoseg vectorize {mine:.1f} s, gdal_polygonize.py {peer:.1f} s, both to GeoPackage")
    print(f"gdal_polygonize.py / geoseg: {statistics.median(b / a for a, b in pairs):.2f}")


if __name__ == "__main__":
    main()
