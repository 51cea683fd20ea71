from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import InputError, OutputError
from geoseg.raster.scene import Scene
from geoseg.raster.vectors import read_vector
from geoseg.sample.render import render
from geoseg.sample.streets import lay_out_village
from geoseg.sample.village import CLASS, CLASS_COLUMN, Village, make_village, write_village

SHAPE = (400, 360)
GSD_M = 0.3


@pytest.fixture(scope="module")
def village() -> Village:
    return make_village(3, shape=SHAPE, gsd_m=GSD_M)


def burned(polygons: NDArray[np.object_], transform: Affine) -> NDArray[np.bool_]:
    """(H, W), which pixel centres lie in polygons."""
    mask = np.zeros(SHAPE, np.uint8)
    return rasterio.features.rasterize(list(polygons), out=mask, transform=transform).astype(bool)


def shrunk(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels whose eight neighbours are in the mask as well."""
    padded = np.pad(mask, 1, constant_values=False)
    steps = [(y, x) for y in range(3) for x in range(3)]
    return np.all([padded[y : y + mask.shape[0], x : x + mask.shape[1]] for y, x in steps], axis=0)


@pytest.mark.parametrize("seed", [0, 6])
def test_roofs_cover_what_is_drawn_of_houses(seed: int) -> None:
    """Painted magenta, without trees, roofs are where the truth has them, but for mixed pixels at edges."""
    height_m, width_m = SHAPE[0] * GSD_M, SHAPE[1] * GSD_M
    layout, houses = lay_out_village(np.random.default_rng([seed, 11]), width_m, height_m)
    magenta = tuple(replace(each, color=(255.0, 0.0, 255.0), panels=False) for each in layout.buildings)
    bands = render(replace(layout, buildings=magenta, trees=(), crowns=()), SHAPE, GSD_M, seed).astype(int)
    drawn = np.minimum(bands[0], bands[2]) > bands[1] + 60
    polygons = np.array([house.polygon for house in houses], object)
    truth = burned(polygons, Affine(GSD_M, 0.0, 0.0, 0.0, -GSD_M, height_m))
    assert 0.1 < truth.mean() < 0.6
    assert drawn[shrunk(truth)].all()
    assert not drawn[shrunk(~truth)].any()


@pytest.mark.parametrize("seed", [1, 2])
def test_roofs_are_valid_touch_and_do_not_overlap(seed: int) -> None:
    labels = make_village(seed, shape=SHAPE, gsd_m=GSD_M).labels
    roofs = labels.geometry.to_numpy()
    assert set(labels[CLASS_COLUMN]) == {CLASS}
    assert shapely.is_valid(roofs).all()
    assert (shapely.get_type_id(roofs) == 3).all()
    assert shapely.area(roofs).min() >= GSD_M**2
    one, other = shapely.STRtree(roofs).query(roofs, predicate="dwithin", distance=1e-6)
    one, other = one[one < other], other[one < other]
    assert shapely.area(shapely.intersection(roofs[one], roofs[other])).max() < 1e-6
    # Walls that are shared along some metres, not corners only: what makes the scene hard.
    fat = shapely.buffer(roofs[one], 1e-3)
    shared = shapely.length(shapely.intersection(fat, shapely.boundary(roofs[other])))
    assert np.count_nonzero(shared > 3.0) > 0.1 * len(roofs)
    per_megapixel = len(roofs) / (SHAPE[0] * SHAPE[1] / 1e6)
    assert 150 < per_megapixel < 600  # 150 to 400 in scenes large enough to cut few roofs


def test_the_same_seed_gives_the_same_village(village: Village) -> None:
    again, other = make_village(3, shape=SHAPE, gsd_m=GSD_M), make_village(4, shape=(64, 64))
    assert np.array_equal(again.bands, village.bands)
    assert again.labels.equals(village.labels)
    assert not np.array_equal(other.bands, village.bands[:, :64, :64])
    assert not other.geobox.footprint().intersects(village.geobox.footprint())


def test_trees_hide_a_little_of_some_roofs_and_the_truth_goes_on_below() -> None:
    layout, houses = lay_out_village(np.random.default_rng([3, 11]), 150.0, 150.0)
    roofs = np.array([house.polygon for house in houses], object)
    crowns = shapely.union_all(layout.crowns)
    hidden = shapely.area(shapely.intersection(roofs, crowns)) / shapely.area(roofs)
    assert 0.02 < hidden.max() <= 0.2 + 1e-9
    assert len({house.kind for house in houses}) >= 4
    assert any(len(shapely.get_coordinates(house.polygon)) == 7 for house in houses)  # an L


def test_colour_alone_does_not_tell_houses(village: Village) -> None:
    """Of 512 colours each is given to what it mostly is, seen with the truth itself: still a poor map."""
    truth = burned(village.labels.geometry.to_numpy(), village.geobox.transform)
    r, g, b = (village.bands >> 5).astype(int)
    color = (r * 8 + g) * 8 + b
    share = np.bincount(color[truth], minlength=512) / np.maximum(
        1, np.bincount(color.ravel(), minlength=512)
    )
    guess = share[color] > 0.5
    assert (guess & truth).sum() / (guess | truth).sum() < 0.7


def test_files_hold_what_was_made(tmp_path: Path, village: Village) -> None:
    scene, labels = tmp_path / "scene.tif", tmp_path / "labels.gpkg"
    write_village(scene, labels, seed=3, shape=SHAPE, gsd_m=GSD_M)
    with Scene.open(scene) as source:
        assert source.geobox.same_grid(village.geobox)
        bands, valid = source.read(Window(0, 0, SHAPE[1], SHAPE[0]))
    assert np.array_equal(bands, village.bands)
    assert valid.all()
    read = read_vector(labels)
    assert read.crs == village.labels.crs
    assert read["kind"].tolist() == village.labels["kind"].tolist()
    assert shapely.equals_exact(read.geometry.values, village.labels.geometry.values, 1e-6).all()
    with pytest.raises(OutputError, match="exists"):
        write_village(scene, labels, seed=3, shape=SHAPE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (400, 20)}, "side 20 px"),
        ({"shape": (400, 400), "gsd_m": 5.0}, "gsd_m 5"),
        ({"shape": (400, 400), "seed": -1}, "negative"),
    ],
)
def test_sizes_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_village(**{"seed": 0, **options})  # type: ignore[arg-type]
