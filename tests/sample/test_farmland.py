from __future__ import annotations

import hashlib
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import rasterio.features
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.errors import InputError, OutputError
from geoseg.raster.scene import Scene
from geoseg.raster.vectors import read_vector
from geoseg.sample.farmland import CLASS_COLUMN, CLASSES, Farmland, make_farmland, write_farmland
from geoseg.sample.styles import CROPS

SIZE_PX = 640


@pytest.fixture(scope="module")
def land() -> Farmland:
    return make_farmland(3, size_px=SIZE_PX)


def burned(land: Farmland, labels: geopandas.GeoDataFrame) -> NDArray[np.bool_]:
    """(H, W), which pixel centres lie in ``labels``."""
    mask = np.zeros(land.geobox.shape, np.uint8)
    shapes = [(geometry, 1) for geometry in labels.geometry]
    return rasterio.features.rasterize(shapes, out=mask, transform=land.geobox.transform).astype(bool)


def of_class(land: Farmland, name: str) -> NDArray[np.bool_]:
    return burned(land, land.labels[land.labels[CLASS_COLUMN] == name]) & land.valid


def test_the_same_seed_gives_the_same_scene() -> None:
    first, second = make_farmland(5, size_px=256), make_farmland(5, size_px=256)
    assert first.geobox == second.geobox
    assert np.array_equal(first.bands, second.bands)
    assert first.labels.equals(second.labels)


def test_another_seed_gives_another_scene_elsewhere() -> None:
    first, second = make_farmland(5, size_px=256), make_farmland(6, size_px=256)
    assert not np.array_equal(first.bands, second.bands)
    assert not first.geobox.footprint().intersects(second.geobox.footprint())


def test_files_hold_what_was_made(tmp_path: Path) -> None:
    scene, labels = tmp_path / "scene.tif", tmp_path / "labels.gpkg"
    land = write_farmland(scene, labels, seed=2, size_px=256, gsd_m=0.5)
    with Scene.open(scene) as source:
        assert source.geobox.same_grid(land.geobox)
        assert source.geobox.crs is not None
        assert source.geobox.crs.to_epsg() == 32632
        assert source.geobox.gsd_m == pytest.approx(0.5)
        assert source.band_names == ("red", "green", "blue")
        assert (source.dtype, source.nodata) == ("uint8", 0)
        bands, valid = source.read(Window(0, 0, 256, 256))
    assert np.array_equal(bands, land.bands)
    assert np.array_equal(valid, land.valid)
    read = read_vector(labels)
    assert read.crs == land.labels.crs
    assert list(read[CLASS_COLUMN]) == list(land.labels[CLASS_COLUMN])
    assert shapely.equals_exact(read.geometry.values, land.labels.geometry.values, 1e-6).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.gpkg", "scene.tif"]


def test_scene_files_are_the_same_byte_for_byte(tmp_path: Path) -> None:
    digests = set()
    for name in ("a", "b"):
        scene = tmp_path / f"{name}.tif"
        write_farmland(scene, tmp_path / f"{name}.gpkg", seed=4, size_px=128)
        digests.add(hashlib.sha256(scene.read_bytes()).hexdigest())
    assert len(digests) == 1


def test_existing_files_are_kept(tmp_path: Path) -> None:
    scene, labels = tmp_path / "scene.tif", tmp_path / "labels.gpkg"
    labels.write_text("mine")
    with pytest.raises(OutputError, match=r"labels\.gpkg exists"):
        write_farmland(scene, labels, seed=0, size_px=128)
    assert labels.read_text() == "mine"
    assert not scene.exists()


def test_zero_is_nodata_and_nothing_else(land: Farmland) -> None:
    assert 0.9 < land.valid.mean() < 1.0
    assert (land.bands[:, land.valid] > 0).all()
    assert (land.bands[:, ~land.valid] == 0).all()


def test_the_missing_corner_is_one_corner(land: Farmland) -> None:
    corners = land.valid[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert corners.sum() == 3


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_labels_are_valid_polygons_that_do_not_overlap(seed: int) -> None:
    labels = make_farmland(seed, size_px=512).labels
    assert set(labels[CLASS_COLUMN]) <= set(CLASSES)
    assert (labels.geometry.geom_type == "Polygon").all()
    assert labels.geometry.is_valid.all()
    assert (labels.geometry.area > 0).all()
    tree = shapely.STRtree(labels.geometry.values)
    left, right = tree.query(labels.geometry.values, predicate="intersects")
    pairs = left < right
    shared = shapely.intersection(labels.geometry.values[left[pairs]], labels.geometry.values[right[pairs]])
    assert shapely.area(shared).max(initial=0.0) < 1e-6


def test_labels_stay_within_the_valid_pixels(land: Farmland) -> None:
    inside = land.labels.geometry.within(land.geobox.footprint().buffer(1e-6))
    assert inside.all()
    beyond = burned(land, land.labels) & ~land.valid
    assert not beyond.any()


def test_kind_names_the_crop_of_a_field(land: Farmland) -> None:
    fields = land.labels[land.labels[CLASS_COLUMN] == "field"]
    assert set(fields["kind"]) <= set(CROPS)
    assert fields["kind"].nunique() > 3


def test_every_class_is_there_and_background_too(land: Farmland) -> None:
    for name in CLASSES:
        assert of_class(land, name).sum() > 300
    rest = land.valid & ~burned(land, land.labels)
    assert 0.08 < rest.mean() < 0.5


def test_trees_are_darker_and_rougher_than_fields(land: Farmland) -> None:
    trees, fields = of_class(land, "trees"), of_class(land, "field")
    grey = land.bands.astype(float).mean(axis=0)
    rough = np.abs(np.diff(grey, axis=0, prepend=grey[:1]))
    assert grey[trees].mean() < 0.75 * grey[fields].mean()
    assert rough[trees].mean() > 1.5 * rough[fields].mean()


def test_labels_lie_on_the_pixels_they_name(land: Farmland) -> None:
    """Roofs and crowns stand out against what surrounds them, and do so most without any shift."""
    grey = land.bands.astype(float).mean(axis=0)
    crowns = of_class(land, "trees")

    def contrast(shift: int) -> float:
        moved = np.roll(crowns, shift, axis=1)
        return float(grey[~moved & land.valid].mean() - grey[moved & land.valid].mean())

    shifts = [-6, -4, 0, 4, 6]
    contrasts = [contrast(shift) for shift in shifts]
    # Shadows fall to the north-west and look like trees, so a small shift may do as well as none.
    assert contrasts[2] > max(contrasts[0], contrasts[4])


def test_colour_alone_does_not_tell_classes() -> None:
    """The nearest class colour is a poor guess for fields and background, as in real imagery."""
    land = make_farmland(0, size_px=768)
    ids = np.zeros(land.geobox.shape, np.int64)
    for class_id, name in enumerate(CLASSES, 1):
        ids[of_class(land, name)] = class_id
    colors, truth = land.bands[:, land.valid].T.astype(float), ids[land.valid]
    means = np.array([colors[truth == class_id].mean(axis=0) for class_id in range(4)])
    guess = ((colors[:, np.newaxis] - means) ** 2).sum(axis=2).argmin(axis=1)
    iou = [((guess == k) & (truth == k)).sum() / ((guess == k) | (truth == k)).sum() for k in range(4)]
    assert np.mean(iou) < 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1, "size_px": 256}, "negative"),
        ({"seed": 0, "size_px": 64}, "size_px 64"),
        ({"seed": 0, "size_px": 10_000}, "size_px 10000"),
        ({"seed": 0, "size_px": 256, "gsd_m": 5.0}, "gsd_m 5"),
    ],
)
def test_sizes_out_of_range_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_farmland(**options)  # type: ignore[arg-type]
