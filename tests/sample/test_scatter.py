from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from rasterio.windows import Window

from geoseg.errors import InputError
from geoseg.raster.vectors import read_vector
from geoseg.sample.scatter import BRIGHT, scatter, write_scattered

SHAPE = (700, 1100)


def test_any_window_gives_the_same_pixels(tmp_path: Path) -> None:
    made = scatter(5, shape=SHAPE, count=200)
    whole = made.read(Window(0, 0, SHAPE[1], SHAPE[0]))
    for window in (Window(3, 5, 100, 60), Window(600, 500, 500, 200), Window(1099, 699, 1, 1)):
        rows, cols = window.toslices()
        assert np.array_equal(made.read(window), whole[:, rows, cols])
    assert np.array_equal(scatter(5, shape=SHAPE, count=200).read(Window(0, 0, 90, 90)), whole[:, :90, :90])
    assert not np.array_equal(
        scatter(6, shape=SHAPE, count=200).read(Window(0, 0, 90, 90)), whole[:, :90, :90]
    )
    scene, labels = tmp_path / "many.tif", tmp_path / "many.gpkg"
    write_scattered(scene, labels, made)
    with rasterio.open(scene) as dataset:
        assert np.array_equal(dataset.read(), whole)
        transform = dataset.transform
    # What is bright is in the labels, and nothing else; on the map as in pixels.
    truth = rasterio.features.rasterize(read_vector(labels).geometry, out_shape=SHAPE, transform=transform)
    assert np.array_equal((whole > BRIGHT).all(axis=0), truth > 0)
    assert np.array_equal((whole > BRIGHT).any(axis=0), truth > 0)


@pytest.mark.parametrize(("shape", "count"), [(SHAPE, 200), ((10_000, 10_000), 20_000), ((300, 300), 1)])
def test_objects_are_as_many_as_wanted_and_apart(shape: tuple[int, int], count: int) -> None:
    outlines = scatter(0, shape=shape, count=count).outlines
    assert len(outlines) == count
    left, top, right, bottom = shapely.total_bounds(outlines)
    assert min(left, top) >= 0.0
    assert right <= shape[1]
    assert bottom <= shape[0]
    one, other = shapely.STRtree(outlines).query(outlines, predicate="intersects")
    pairs = one < other
    assert (
        shapely.area(shapely.intersection(outlines[one[pairs]], outlines[other[pairs]])).max(initial=0.0)
        < 1e-6
    )
    # Halves touch each other, and nothing else is near.
    assert pairs.sum() == count // 5


def test_no_more_than_fit() -> None:
    with pytest.raises(InputError, match="1 to 300 fit"):
        scatter(0, shape=(300, 300), count=500)
