"""Masks of any topology through the tracer, and through ``vectorize`` with any options.

Polygons without simplifying are the mask: cut into bands of any height they stay the same, they are valid,
and burned again they give the mask, pixel by pixel. Simplified ones cover the same ground once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyogrio
import scenes
import shapely
from label_rasters import traced
from numpy.typing import NDArray
from rasterio.features import rasterize

from fuzz.core import Files, Target
from fuzz.mutate import chance
from geoseg.config import VectorizeConfig
from geoseg.raster.gdal import quiet
from geoseg.vectorize import vectorize

_MOST_SIDE = 40


def _packed(ids: NDArray[np.uint8]) -> Files:
    """Height, width, and ids row by row."""
    return {"mask.ids": bytes(ids.shape) + ids.tobytes()}


def _ids(folder: Path) -> NDArray[np.uint8]:
    data = (folder / "mask.ids").read_bytes()
    return np.frombuffer(data[2:], np.uint8).reshape(data[0], data[1])


def seeds(folder: Path) -> list[Files]:
    """A checkerboard, rings in rings, a comb, a spiral, stairs, single pixels."""
    rows, columns = np.mgrid[:17, :17]
    spiral = np.zeros((17, 17), int)
    for ring in range(0, 8, 2):
        spiral[ring : 17 - ring, ring : 17 - ring] = 1
        spiral[ring + 1 : 16 - ring, ring + 1 : 16 - ring] = 0
        spiral[ring + 1, ring] = 0
        spiral[ring + 2 : ring + 3, ring + 1] = 1
    shapes = [
        (rows + columns) % 2,
        np.maximum(abs(rows - 8), abs(columns - 8)) % 2,
        np.where(rows == 0, 1, columns % 2),
        spiral,
        (rows >= columns).astype(int),
        (rows * columns) % 3,
        np.where((rows + columns) % 2, 255, 2),
        (abs(rows - 8) + abs(columns - 8)) // 2 % 3,
        np.zeros((17, 17), int),
        np.full((17, 17), 255),
    ]
    return [_packed(shape.astype(np.uint8)) for shape in shapes]


def _noise(rng: Random) -> NDArray[np.uint8]:
    height, width = rng.randint(1, _MOST_SIDE), rng.randint(1, _MOST_SIDE)
    values = rng.choice(((0, 1), (0, 1, 2), (0, 255), (0, 1, 254, 255), tuple(range(9))))
    coarse = rng.choice((1, 1, 2, 3))
    few = np.array([rng.choice(values) for _ in range(height * width)], np.uint8).reshape(height, width)
    return np.kron(few, np.ones((coarse, coarse), np.uint8))[:height, :width]


def damage(rng: Random, seeds: Sequence[Files]) -> Files:
    """Noise, or a seed that is cut, turned, set beside another, and has other pixels."""
    if chance(rng, 0.4):
        return _packed(_noise(rng))
    data, other = (rng.choice(seeds)["mask.ids"] for _ in range(2))
    ids, more = (np.frombuffer(d[2:], np.uint8).reshape(d[0], d[1]).copy() for d in (data, other))
    for _ in range(rng.randint(0, 3)):
        kind = rng.randrange(6)
        if kind == 0:
            ids = np.rot90(ids)
        elif kind == 1:
            ids = ids[rng.randrange(len(ids)) :, rng.randrange(ids.shape[1]) :]
        elif kind == 2 and len(ids) == len(more) and ids.shape[1] < 60:
            ids = np.hstack([ids, more])
        elif kind == 3 and ids.shape[1] == more.shape[1] and len(ids) < 60:
            ids = np.vstack([more, ids])
        elif kind == 4 and max(ids.shape) < 60:
            ids = np.kron(ids, np.ones((rng.choice((1, 2)), 2), np.uint8))
        else:
            ids = ids.copy()
            for _ in range(rng.randint(1, 12)):
                ids[rng.randrange(len(ids)), rng.randrange(ids.shape[1])] = rng.choice((0, 1, 2, 255))
    return _packed(np.ascontiguousarray(ids))


def _traced(ids: NDArray[np.uint8], rng: Random) -> None:
    labels: NDArray[Any] = (
        ids if chance(rng, 0.5) else np.where(ids == 255, -1, ids.astype(np.int32) * 70_000)
    )
    corners = chance(rng, 0.3)
    (whole,) = traced(labels, by_corners=corners)
    cut = traced(labels, rng.randint(1, len(ids)), by_corners=corners)
    shapes = whole.polygons()
    values = np.asarray(whole.value)
    assert np.concatenate([part.value for part in cut]).tolist() == values.tolist()
    pieces = np.concatenate([part.polygons() for part in cut])
    assert (shapely.to_wkb(pieces) == shapely.to_wkb(shapes)).all(), "bands change polygons"
    assert shapely.is_valid(shapes).all(), shapely.is_valid_reason(shapes)
    assert float(shapely.area(shapes).sum()) == labels.size
    with quiet():
        pairs = zip(shapes, values.astype(int).tolist(), strict=True)
        burned = rasterize(pairs, labels.shape, fill=-7, dtype="int32")
    assert (burned == labels).all(), f"{(burned != labels).sum()} pixels differ"


def _vectorized(ids: NDArray[np.uint8], folder: Path, rng: Random) -> None:
    transform = rng.choice(
        (scenes.north_up(), scenes.south_up(), scenes.rotated(), scenes.north_up(1e-5, origin=(15, 45)))
    )
    crs = "EPSG:4326" if abs(transform.a) < 1e-3 else scenes.UTM
    mask = scenes.write_class_raster(
        folder / "out" / "mask.tif", ids, nodata=255, transform=transform, crs=crs
    )
    exact = chance(rng, 0.4)
    config = VectorizeConfig(
        simplify_px=0.0 if exact else rng.choice((0.5, 1.0, 1.5, 3.0, 10.0)),
        min_area=None if exact else rng.choice((None, "2px", "9px", "1m2")),
        fill_holes=None,
        connectivity=rng.choice((4, 8)),
        dissolve=chance(rng, 0.15),
    )
    suffix = rng.choice(("gpkg", "gpkg", "fgb", "shp", "parquet"))
    out = folder / "out" / f"parcels.{suffix}"
    made = vectorize(mask, out, config)
    if suffix == "parquet":
        import geopandas

        shapes = geopandas.read_parquet(out).geometry.to_numpy()
    else:
        shapes = pyogrio.read_dataframe(out, layer="parcels").geometry.to_numpy()
    assert len(shapes) == sum(made.polygons.values())
    assert shapely.is_valid(shapes).all(), shapely.is_valid_reason(shapes)
    land = int((ids != 255).sum())
    area = float(shapely.area(shapes).sum()) / abs(transform.determinant)
    if exact:
        assert abs(area - land) < 1e-3 * max(land, 1), (area, land)
    # Where neighbours share their edges, the whole is as large as its parts.
    united = (
        float(shapely.area(shapely.unary_union(shapes))) / abs(transform.determinant) if len(shapes) else 0.0
    )
    assert abs(united - area) < 1e-4 * max(land, 1), f"overlaps: {area - united} of {land} pixels"


def run(folder: Path, rng: Random) -> None:
    """Trace a mask; one in eight goes all the way to a file."""
    ids = _ids(folder)
    if rng.randrange(8) == 0:
        _vectorized(ids, folder, rng)
    else:
        _traced(ids, rng)


TARGET = Target(name="masks", seeds=seeds, damage=damage, run=run)
