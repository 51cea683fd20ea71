"""Scenes and labels to chips, checked at the pixels of the chips."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scenes import (
    north_up,
    not_georeferenced_is_fine,
    pixel_box,
    ramp,
    rotated,
    some_gcps,
    south_up,
    write_class_raster,
    write_labels,
    write_scene,
)

from geoseg.chips.store import Chip, ChipStore
from geoseg.config import TileConfig
from geoseg.errors import ConfigError, LabelsError, OutputError, ReadError, SceneError
from geoseg.progress import SilentProgress
from geoseg.raster.geobox import GeoBox
from geoseg.raster.mask import open_mask
from geoseg.tile import TileReport, tile

SMALL = TileConfig(size_px=64, overlap_px=16)


class Heard(SilentProgress):
    """Keeps what a stage says."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.warnings: list[str] = []
        self.total = 0
        self.done = 0

    def begin(self, name: str, total: int, unit: str) -> None:  # noqa: ARG002
        self.total += total

    def advance(self, count: int = 1) -> None:
        self.done += count

    def note(self, text: str) -> None:
        self.notes.append(text)

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def config(**values: Any) -> TileConfig:
    return TileConfig(**({"size_px": 64, "overlap_px": 16} | values))


def noise(bands: int, height: int, width: int, dtype: str = "uint8", seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(1, 120, (bands, height, width)).astype(dtype)


def some_ids(height: int, width: int, classes: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, classes, (height, width)).astype(np.uint8)


def inside(chip: Chip, shape: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Slices of the scene and of the chip where they meet."""
    col, row, width, height = chip.window
    bottom, right = min(row + height, shape[0]), min(col + width, shape[1])
    return (slice(row, bottom), slice(col, right)), (slice(0, bottom - row), slice(0, right - col))


def put_together(store: ChipStore, scene: str, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
    """What the chips say of a scene: pixels, labels, how often covered and owned, by which splits."""
    found: dict[str, NDArray[Any]] = {
        "bands": np.zeros((len(store.band_names), *shape), store.dtype),
        "valid": np.zeros(shape, bool),
        "labels": np.full(shape, 254, np.uint8),
        "covered": np.zeros(shape, int),
        "owned": np.zeros(shape, int),
        "splits": np.zeros((3, *shape), bool),
    }
    for chip in store.chips():
        if chip.scene != scene:
            continue
        there, here = inside(chip, shape)
        bands, valid, labels = store.read(chip)
        if found["covered"][there].any():
            before = found["covered"][there] > 0
            assert np.array_equal(found["labels"][there][before], labels[here][before])
        found["bands"][:, *there] = bands[:, *here]
        found["valid"][there], found["labels"][there] = valid[here], labels[here]
        found["covered"][there] += 1
        col, row, width, height = chip.own
        found["owned"][row : row + height, col : col + width] += 1
        found["splits"][("train", "val", "test").index(chip.split)][there] = True
    return found


def one_scene(
    folder: Path, height: int, width: int, *, seed: int = 0, **keywords: Any
) -> tuple[Path, Path, NDArray[Any], NDArray[np.uint8]]:
    bands, ids = noise(3, height, width, seed=seed), some_ids(height, width, seed=seed)
    scene = write_scene(folder / "scene.tif", bands, **keywords)
    labels = write_class_raster(folder / "truth.tif", ids, nodata=255)
    return scene, labels, bands, ids


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_every_pixel_is_covered_and_none_is_shared(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("cover")
    height, width = data.draw(st.integers(1, 230)), data.draw(st.integers(1, 230))
    overlap, seed = data.draw(st.integers(0, 63)), data.draw(st.integers(0, 9))
    val, test = data.draw(st.sampled_from([(0.15, 0.15), (0.4, 0.3), (0.0, 0.5), (0.5, 0.0)]))
    block_px = data.draw(st.none() | st.integers(64, 200))
    scene, labels, bands, ids = one_scene(folder, height, width, seed=seed)
    options = config(overlap_px=overlap, val_share=val, test_share=test, block_px=block_px, seed=seed)
    report = tile([scene], [labels], folder / "chips", options)
    store = ChipStore.open(folder / "chips")
    found = put_together(store, "scene", (height, width))
    assert (found["covered"] > 0).all()
    assert (found["owned"] == 1).all()
    assert (found["splits"].sum(axis=0) == 1).all()
    assert found["valid"].all()
    assert np.array_equal(found["bands"], bands)
    assert np.array_equal(found["labels"], ids)
    assert report.shared_pixels == 0
    assert sum(report.chips.values()) == len(store.chips())
    for split, counts in report.class_pixels.items():
        mine = ids[found["splits"][("train", "val", "test").index(split)]]
        assert list(counts.values()) == np.bincount(mine, minlength=len(counts)).tolist()
    units = sum(report.blocks.values())
    assert report.blocks["train"] >= 1
    assert (report.blocks["val"] >= 1) == (val > 0 and units >= 2)
    assert (report.blocks["test"] >= 1) == (test > 0 and units >= (3 if val > 0 else 2))


@pytest.mark.parametrize("transform", [north_up(), south_up(), rotated(), north_up(0.3, pixel_y=0.7)])
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4979", None])
def test_chips_lie_where_their_window_lies(tmp_path: Path, transform: Affine, crs: str | None) -> None:
    if crs == "EPSG:4979":
        transform = (
            Affine.translation(15.0, 45.0)
            @ Affine.scale(1e-5)
            @ Affine(*transform[:2], 0, *transform[3:5], 0)
        )
    scene, labels, _, _ = one_scene(tmp_path, 150, 100, crs=crs, transform=transform)
    ids = some_ids(150, 100)
    labels = write_class_raster(tmp_path / "truth.tif", ids, crs=crs, transform=transform)
    tile([scene], [labels], tmp_path / "chips", SMALL)
    store = ChipStore.open(tmp_path / "chips")
    assert len(store.chips()) > 4
    with rasterio.open(scene) as whole:
        for chip in store.chips():
            for path in (store.image_path(chip), store.label_path(chip)):
                with rasterio.open(path) as part:
                    assert part.transform == whole.transform @ Affine.translation(*chip.window[:2])
                    assert part.crs == whole.crs
    assert np.array_equal(put_together(store, "scene", (150, 100))["labels"], ids)


def test_ground_control_points_move_with_the_window(tmp_path: Path) -> None:
    points = some_gcps(100, 130)
    bands, ids = noise(3, 100, 130), some_ids(100, 130)
    scene = write_scene(tmp_path / "s.tif", bands, gcps=points)
    labels = write_class_raster(tmp_path / "t.tif", ids, gcps=points)
    tile([scene], [labels], tmp_path / "chips", SMALL)
    store = ChipStore.open(tmp_path / "chips")
    assert np.array_equal(put_together(store, "s", (100, 130))["labels"], ids)
    for chip in store.chips():
        with not_georeferenced_is_fine(), rasterio.open(store.image_path(chip)) as part:
            assert [(p.col + chip.window[0], p.row + chip.window[1], p.x, p.y) for p in part.gcps[0]] == [
                (p.col, p.row, p.x, p.y) for p in points
            ]


def test_without_georeferencing(tmp_path: Path) -> None:
    bands, ids = noise(1, 100, 130), some_ids(100, 130)
    scene = write_scene(tmp_path / "s.tif", bands, crs=None)
    labels = write_class_raster(tmp_path / "t.tif", ids, crs=None)
    tile([scene], [labels], tmp_path / "chips", SMALL)
    store = ChipStore.open(tmp_path / "chips")
    assert store.crs_wkt is None
    assert store.gsd_m is None
    assert np.array_equal(put_together(store, "s", (100, 130))["labels"], ids)


def test_polygons_become_ids(tmp_path: Path) -> None:
    transform = north_up()
    scene = write_scene(tmp_path / "s.tif", noise(3, 128, 128), transform=transform)
    shapes = [pixel_box(transform, 10, 20, 60, 70), pixel_box(transform, 30, 30, 10, 10)]
    labels = write_labels(tmp_path / "l.gpkg", shapes, columns={"kind": ["field", "pond"]})
    tile([scene], [labels], tmp_path / "chips", config(class_column="kind"))
    store = ChipStore.open(tmp_path / "chips")
    assert store.classes.names == ("background", "field", "pond")
    assert store.classes.background == 0
    expected = np.zeros((128, 128), np.uint8)
    expected[10:70, 20:90] = 1
    expected[30:40, 30:40] = 2
    assert np.array_equal(put_together(store, "s", (128, 128))["labels"], expected)


def test_unlabelled_land_can_be_ignored_and_chips_without_labels_are_left_out(tmp_path: Path) -> None:
    transform = north_up()
    scene = write_scene(tmp_path / "s.tif", noise(3, 128, 256), transform=transform)
    labels = write_labels(tmp_path / "l.gpkg", [pixel_box(transform, 0, 0, 128, 70)])
    heard = Heard()
    options = config(unlabelled="ignore", overlap_px=0, block_px=64, class_name="field")
    report = tile([scene], [labels], tmp_path / "chips", options, progress=heard)
    store = ChipStore.open(tmp_path / "chips")
    assert store.classes.names == ("field",)
    assert store.classes.background is None
    assert report.dropped == {"without_valid": 0, "without_labels": 4}
    assert sorted({chip.window[0] for chip in store.chips()}) == [0, 64]
    assert np.bincount(put_together(store, "s", (128, 256))["labels"].ravel())[[0, 255]].tolist() == [
        128 * 70,
        128 * 58,
    ]
    assert (heard.done, heard.total) == (8, 8)


def test_invalid_pixels_are_255_and_empty_chips_are_dropped(tmp_path: Path) -> None:
    bands = noise(3, 128, 192)
    bands[:, :64, :64] = 0
    bands[:, 100:, 150:] = 0
    scene = write_scene(tmp_path / "s.tif", bands, nodata=0)
    labels = write_class_raster(tmp_path / "t.tif", some_ids(128, 192))
    report = tile([scene], [labels], tmp_path / "chips", config(overlap_px=0, block_px=64))
    assert report.dropped == {"without_valid": 1, "without_labels": 0}
    store = ChipStore.open(tmp_path / "chips")
    found = put_together(store, "s", (128, 192))
    expected = (bands > 0).any(axis=0)
    assert np.array_equal(found["valid"], expected)
    assert np.array_equal(found["labels"] == 255, ~expected & (found["covered"] > 0))
    shares = {chip.name: chip.valid_share for chip in store.chips()}
    assert shares["s_r00064_c00128"] == pytest.approx(1 - 28 * 42 / 64**2)


@pytest.mark.parametrize("shape", [(40, 30), (40, 200), (200, 1), (64, 64)])
def test_small_scenes_are_padded_with_what_is_invalid(tmp_path: Path, shape: tuple[int, int]) -> None:
    scene, labels, bands, _ = one_scene(tmp_path, *shape)
    tile([scene], [labels], tmp_path / "chips", SMALL)
    store = ChipStore.open(tmp_path / "chips")
    found = put_together(store, "scene", shape)
    assert np.array_equal(found["bands"], bands)
    for chip in store.chips():
        _, valid, labels_read = store.read(chip)
        assert valid.shape == (64, 64)
        real = np.zeros((64, 64), bool)
        _, here = inside(chip, shape)
        real[here] = True
        assert np.array_equal(valid, real)
        assert (labels_read[~real] == 255).all()
        assert chip.valid_share == pytest.approx(real.mean(), abs=1e-6)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"]
)
@pytest.mark.parametrize("bands", [1, 4])
def test_any_dtype_and_band_count(tmp_path: Path, dtype: str, bands: int) -> None:
    pixels = noise(bands, 70, 90, dtype)
    mask = np.ones((70, 90), bool)
    mask[:5] = False
    # Said to be grey: GDAL would otherwise take the fourth 8-bit band for alpha.
    scene = write_scene(tmp_path / "s.tif", pixels, mask=mask, photometric="MINISBLACK")
    labels = write_class_raster(tmp_path / "t.tif", some_ids(70, 90))
    tile([scene], [labels], tmp_path / "chips", config(bands=tuple(range(1, bands + 1))))
    store = ChipStore.open(tmp_path / "chips")
    assert (store.dtype, len(store.band_names)) == (dtype, bands)
    found = put_together(store, "s", (70, 90))
    assert found["bands"].dtype == dtype
    assert np.array_equal(found["bands"][:, 5:], pixels[:, 5:])
    assert np.array_equal(found["valid"], mask)


def test_the_fourth_band_is_no_alpha_and_255_is_in_the_file(tmp_path: Path) -> None:
    mask = np.ones((64, 64), bool)
    mask[:, :9] = False
    scene = write_scene(tmp_path / "s.tif", noise(4, 64, 64), mask=mask, photometric="MINISBLACK")
    labels = write_class_raster(tmp_path / "t.tif", some_ids(64, 64))
    tile([scene], [labels], tmp_path / "c", config(bands=(1, 2, 3, 4)))
    with rasterio.open(tmp_path / "c" / "images" / "s_r00000_c00000.tif") as image:
        assert rasterio.enums.ColorInterp.alpha not in image.colorinterp
        assert np.array_equal(image.read_masks(4) > 0, mask)
        assert (image.read()[:, ~mask] == 0).all()
    with rasterio.open(tmp_path / "c" / "labels" / "s_r00000_c00000.tif") as truth:
        assert np.array_equal(truth.read(1) == 255, ~mask)


def test_bands_are_chosen_in_order_and_keep_their_names(tmp_path: Path) -> None:
    pixels = noise(5, 64, 64)
    scene = write_scene(tmp_path / "s.tif", pixels, descriptions=["blue", "green", "red", "", "nir"])
    labels = write_class_raster(tmp_path / "t.tif", some_ids(64, 64))
    tile([scene], [labels], tmp_path / "chips", config(bands=(5, 3, 4)))
    store = ChipStore.open(tmp_path / "chips")
    assert store.band_names == ("nir", "red", "band 4")
    assert np.array_equal(store.read(store.chips()[0])[0], pixels[[4, 2, 3]])


def test_statistics_are_those_of_the_training_pixels_each_counted_once(tmp_path: Path) -> None:
    pixels = noise(3, 300, 220, "uint16").astype(np.uint16) * 7
    mask = np.random.default_rng(1).random((300, 220)) > 0.2
    scene = write_scene(tmp_path / "s.tif", pixels, mask=mask)
    labels = write_class_raster(tmp_path / "t.tif", some_ids(300, 220))
    for options in (config(overlap_px=40), config(overlap_px=40, val_share=0, test_share=0)):
        report = tile([scene], [labels], tmp_path / "chips", options, overwrite=True)
        store = ChipStore.open(tmp_path / "chips")
        train = put_together(store, "s", (300, 220))["splits"][0]
        values = pixels[:, mask & train].astype(float)
        assert store.stats.count == (values.shape[1],) * 3
        assert store.stats.mean == pytest.approx(values.mean(axis=1))
        assert store.stats.std == pytest.approx(values.std(axis=1))
        assert store.stats.minimum == tuple(values.min(axis=1))
        assert store.stats.maximum == tuple(values.max(axis=1))
        assert report.mean == store.stats.mean
    assert train.all()


def test_fill_that_no_tag_declares_is_asked_after(tmp_path: Path) -> None:
    pixels = noise(3, 256, 256)
    pixels[:, :64] = 255
    labels = write_class_raster(tmp_path / "t.tif", some_ids(256, 256))
    question = "25% of the values are exactly 255; if that means no data, tell it with --nodata 255"
    for nodata, asked in ((None, True), (255, False)):
        scene = write_scene(tmp_path / "s.tif", pixels, nodata=nodata)
        heard = Heard()
        tile([scene], [labels], tmp_path / "c", SMALL, overwrite=True, progress=heard)
        assert any(question in text for text in heard.warnings) == asked


def test_values_far_off_are_left_out_and_told(tmp_path: Path) -> None:
    pixels = noise(2, 256, 256).astype(np.float32)
    pixels[0, :, 100] = 1e9
    scene = write_scene(tmp_path / "s.tif", pixels, descriptions=["height", "slope"])
    labels = write_class_raster(tmp_path / "t.tif", some_ids(256, 256))
    heard = Heard()
    tile([scene], [labels], tmp_path / "c", config(val_share=0, test_share=0), progress=heard)
    stats = ChipStore.open(tmp_path / "c").stats
    assert stats.mean[0] == pytest.approx(np.delete(pixels[0], 100, axis=1).mean(dtype=np.float64))
    assert (stats.count, stats.maximum[0]) == ((256 * 255, 256 * 256), 1e9)
    assert "values far off the others, left out of the band statistics: height 0.39%" in heard.notes


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_nodata_of_one_band_alone_is_no_value_of_it(tmp_path: Path, dtype: str) -> None:
    pixels = noise(2, 64, 64).astype(dtype)
    pixels[0, :30], pixels[:, 30:32] = -7, -7
    scene = write_scene(tmp_path / "s.tif", pixels, nodata=-7)
    labels = write_class_raster(tmp_path / "t.tif", some_ids(64, 64))
    tile([scene], [labels], tmp_path / "c", config(overlap_px=0, val_share=0, test_share=0))
    stats = ChipStore.open(tmp_path / "c").stats
    assert stats.count == (64 * 32, 64 * 62)
    assert stats.mean[0] == pytest.approx(pixels[0, 32:].mean(dtype=np.float64))
    assert min(stats.minimum) > 0


def test_same_input_same_bytes_and_another_seed_another_split(tmp_path: Path) -> None:
    scene, labels, _, _ = one_scene(tmp_path, 300, 300)
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        tile([scene], [labels], tmp_path / name, config(seed=seed))
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) > 20
    for file in files:
        if file.suffix != ".gpkg":
            assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    splits = [[chip.split for chip in ChipStore.open(tmp_path / name).chips()] for name in "abc"]
    assert splits[0] == splits[1] != splits[2]


def test_tiled_and_striped_scenes_give_the_same_chips(tmp_path: Path) -> None:
    bands = noise(3, 200, 300)
    labels = write_class_raster(tmp_path / "t.tif", some_ids(200, 300))
    stores = []
    for name, layout in (("tiled", {"tiled": True, "blockxsize": 64, "blockysize": 64}), ("striped", {})):
        (tmp_path / name).mkdir()
        scene = write_scene(tmp_path / name / "s.tif", bands, **layout)
        tile([scene], [labels], tmp_path / name / "chips", SMALL)
        stores.append(ChipStore.open(tmp_path / name / "chips"))
    assert stores[0].fingerprint() == stores[1].fingerprint()
    one, other = (put_together(store, "s", (200, 300)) for store in stores)
    assert np.array_equal(one["bands"], other["bands"])


def many(
    folder: Path, places: list[tuple[float, float]], size: int = 64, **keywords: Any
) -> tuple[list[Path], list[Path]]:
    """Scenes of 1 m pixels at (x, -y) metres from one origin, with a raster of ids each."""
    scenes, labels = [], []
    (folder / "truth").mkdir(exist_ok=True)
    for number, (x, y) in enumerate(places):
        transform = north_up(1.0, origin=(500_000.0 + x, 5_000_000.0 - y))
        scenes.append(
            write_scene(
                folder / f"s{number}.tif", noise(3, size, size, seed=number), transform=transform, **keywords
            )
        )
        ids = some_ids(size, size, seed=number)
        labels.append(write_class_raster(folder / "truth" / f"s{number}.tif", ids, transform=transform))
    return scenes, labels


def test_many_small_scenes_with_labels_by_order_and_by_folder(tmp_path: Path) -> None:
    scenes, labels = many(tmp_path, [(i * 1000.0, 0.0) for i in range(12)])
    report = tile(scenes, labels, tmp_path / "a", config(split="scene"))
    other = tile(scenes, [tmp_path / "truth"], tmp_path / "b", SMALL)
    assert report.blocks == other.blocks == {"train": 8, "val": 2, "test": 2}
    assert report.least_distance_px == pytest.approx(936.0)
    for name in "ab":
        store = ChipStore.open(tmp_path / name)
        for number in range(12):
            found = put_together(store, f"s{number}", (64, 64))
            assert np.array_equal(found["labels"], some_ids(64, 64, seed=number))
            assert np.array_equal(found["bands"], noise(3, 64, 64, seed=number))


def test_scenes_that_overlap_go_to_the_same_split(tmp_path: Path) -> None:
    places = [(i * 1000.0 + j * 30.0, 0.0) for i in range(5) for j in range(2)]
    scenes, labels = many(tmp_path, places)
    for rule in ("scene", "blocks"):
        report = tile(scenes, labels, tmp_path / rule, config(split=rule))
        splits = {chip.scene: chip.split for chip in ChipStore.open(tmp_path / rule).chips()}
        assert all(splits[f"s{2 * i}"] == splits[f"s{2 * i + 1}"] for i in range(5))
        assert set(splits.values()) == {"train", "val", "test"}
        assert report.shared_pixels == 0


def test_a_file_tells_the_split(tmp_path: Path) -> None:
    scenes, labels = many(tmp_path, [(i * 1000.0, 0.0) for i in range(3)])
    (tmp_path / "split.csv").write_text("scene,split\ns0,test\ns1.tif, Validation\ns2,train\n")
    report = tile(scenes, labels, tmp_path / "c", config(split_file=tmp_path / "split.csv"))
    chips = ChipStore.open(tmp_path / "c").chips()
    assert {chip.scene: chip.split for chip in chips} == {"s0": "test", "s1": "val", "s2": "train"}
    assert report.block_px is None
    assert json.loads((tmp_path / "c" / "chips.json").read_text())["split"]["rule"] == "file"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("scene,split\ns0,train\n", r"does not name s1\.tif; add a line"),
        ("scene,split\ns0,train\ns1,holdout\n", "line 3 of .* says 'holdout'; write train, val or test"),
        ("scene,split\ns0,train\ns1,val\ns0,test\n", "names s0 twice"),
        ("s0,train\n", "has no columns scene and split"),
        ("", "has no columns scene and split"),
        ("scene,split\ns0,train\ns1,test\n", r"s0\.tif into train and s1\.tif into test, but they overlap"),
        (None, "cannot be read: No such file"),
    ],
)
def test_wrong_split_files(tmp_path: Path, text: str | None, message: str) -> None:
    scenes, labels = many(tmp_path, [(0.0, 0.0), (30.0, 0.0)])
    if text is not None:
        (tmp_path / "split.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        tile(scenes, labels, tmp_path / "c", config(split_file=tmp_path / "split.csv"))


def test_a_column_tells_the_split(tmp_path: Path) -> None:
    transform = north_up()
    scene = write_scene(tmp_path / "s.tif", noise(3, 64, 256), transform=transform)
    boxes = [pixel_box(transform, 5, 5 + 64 * i, 50, 50) for i in range(3)]
    columns = {"part": ["train", "VAL", "test"]}
    labels = write_labels(tmp_path / "l.gpkg", boxes, columns=columns)
    options = config(split_column="part", block_px=64, overlap_px=0)
    tile([scene], [labels], tmp_path / "c", options)
    chips = ChipStore.open(tmp_path / "c").chips()
    # The last block has no polygon: it goes with the nearest.
    assert [chip.split for chip in chips] == ["train", "val", "test", "test"]
    for wrong, message in (({"part": ["a", "b", "c"]}, "says 'a'"), ({"part": [None] * 3}, "has no value")):
        labels = write_labels(tmp_path / "w.gpkg", boxes, columns=wrong)
        with pytest.raises((ConfigError, LabelsError), match=message):
            tile([scene], [labels], tmp_path / "d", options)


def test_too_little_land_for_a_split_is_said(tmp_path: Path) -> None:
    scene, labels, _, _ = one_scene(tmp_path, 100, 100)
    heard = Heard()
    report = tile([scene], [labels], tmp_path / "c", SMALL, progress=heard)
    assert report.chips == {"train": 4, "val": 0, "test": 0}
    assert len(heard.warnings) == 2
    assert "no val chips: the labelled land makes only 1 block apart" in heard.warnings[0]
    assert report.least_distance_px is None
    heard = Heard()
    scenes, truths = many(tmp_path, [(0.0, 0.0), (5000.0, 0.0)])
    report = tile(scenes, truths, tmp_path / "d", SMALL, progress=heard)
    assert report.blocks == {"train": 1, "val": 1, "test": 0}
    assert [text[:13] for text in heard.warnings] == ["no test chips"]


def test_labels_of_a_corner_are_cut_by_smaller_blocks(tmp_path: Path) -> None:
    transform = north_up()
    scene = write_scene(tmp_path / "s.tif", noise(1, 1000, 1000), transform=transform)
    labels = write_labels(tmp_path / "l.gpkg", [pixel_box(transform, 0, 0, 190, 190)])
    heard = Heard()
    options = config(unlabelled="ignore", overlap_px=0)
    report = tile([scene], [labels], tmp_path / "c", options, progress=heard)
    assert report.block_px == 64
    assert sum(report.blocks.values()) == 9
    assert min(report.blocks.values()) >= 1
    assert heard.done == heard.total
    assert any("cutting again by 64 px" in note for note in heard.notes)
    chips = ChipStore.open(tmp_path / "c").chips()
    files = {path.stem for path in (tmp_path / "c" / "images").iterdir()}
    assert files == {chip.name for chip in chips}
    # A wish is a wish.
    report = tile([scene], [labels], tmp_path / "d", config(unlabelled="ignore", block_px=500))
    assert report.block_px == 500


def test_the_index_opens_without_warning_and_tells_the_truth(tmp_path: Path) -> None:
    scene, labels, _, _ = one_scene(tmp_path, 200, 150, transform=rotated())
    write_class_raster(tmp_path / "truth.tif", some_ids(200, 150), transform=rotated())
    tile([scene], [labels], tmp_path / "c", SMALL)
    store = ChipStore.open(tmp_path / "c")
    frame = pyogrio.read_dataframe(tmp_path / "c" / "chips.gpkg")
    assert pyogrio.read_info(tmp_path / "c" / "chips.gpkg")["layer_name"] == "chips"
    assert frame.crs == "EPSG:32633"
    with rasterio.open(scene) as whole:
        box = GeoBox.of(whole)
    for chip, row in zip(store.chips(), frame.itertuples(), strict=True):
        assert (row.name, row.scene, row.split) == (chip.name, "scene", chip.split)
        assert row.valid_share == pytest.approx(chip.valid_share)
        assert row.share_1_class_1 == pytest.approx(chip.class_pixels[1] / sum(chip.class_pixels))
        outline = box.window(rasterio.windows.Window(*chip.window)).footprint()
        assert shapely.equals_exact(shapely.normalize(row.geometry), shapely.normalize(outline), 1e-6)
    header = (tmp_path / "c" / "chips.gpkg").read_bytes()[:100]
    assert header[68:72] == b"GPKG"
    assert int.from_bytes(header[60:64], "big") == 10200


def test_mixed_crss(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    one = write_scene(tmp_path / "s.tif", noise(3, 100, 100), transform=north_up(1.0))
    degrees = Affine(1e-5, 0.0, 15.1, 0.0, -1e-5, 45.2)
    two = write_scene(tmp_path / "b" / "s.tif", noise(3, 100, 100), crs="EPSG:4326", transform=degrees)
    land = [shapely.box(14.9, 45.0, 15.0005, 45.3), shapely.box(15.1005, 45.0, 15.3, 45.3)]
    labels = write_labels(tmp_path / "l.geojson", land, crs="EPSG:4326")
    tile([one, two], [labels], tmp_path / "c", SMALL)
    store = ChipStore.open(tmp_path / "c")
    assert store.crs_wkt is None
    assert store.scenes == ("s", "s-2")
    assert len({chip.name for chip in store.chips()}) == len(store.chips()) == 8
    frame = pyogrio.read_dataframe(tmp_path / "c" / "chips.gpkg")
    assert frame.crs == "EPSG:4326"
    assert frame.total_bounds == pytest.approx([15.0, 45.152, 15.101, 45.2], abs=2e-3)
    second = put_together(store, "s-2", (100, 100))
    assert (second["labels"][:, :50] == 0).all()
    assert (second["labels"][:, 50:] == 1).all()


def test_label_files_are_brought_to_one_class_map(tmp_path: Path) -> None:
    scenes, _ = many(tmp_path, [(0.0, 0.0), (5000.0, 0.0)])
    labels = []
    for number, kind in enumerate(["pond", "field"]):
        transform = north_up(1.0, origin=(500_000.0 + 5000 * number, 5_000_000.0))
        box = pixel_box(transform, 0, 0, 32, 64)
        labels.append(write_labels(tmp_path / f"l{number}.gpkg", [box], columns={"kind": [kind]}))
    tile(scenes, labels, tmp_path / "c", config(class_column="kind"))
    store = ChipStore.open(tmp_path / "c")
    assert store.classes.names == ("background", "field", "pond")
    counts = {chip.scene: chip.class_pixels for chip in store.chips()}
    assert counts == {"s0": (2048, 0, 2048), "s1": (2048, 2048, 0)}


def test_raster_labels_may_lack_the_highest_ids(tmp_path: Path) -> None:
    scenes, labels = many(tmp_path, [(0.0, 0.0), (5000.0, 0.0)])
    with rasterio.open(labels[0], "r+") as raster:
        raster.write(np.ones((64, 64), np.uint8), 1)
    tile(scenes, labels, tmp_path / "c", SMALL)
    assert len(ChipStore.open(tmp_path / "c").classes) == 3


def test_label_chips_are_masks_of_their_own(tmp_path: Path) -> None:
    scene, labels, _, _ = one_scene(tmp_path, 64, 64)
    tile([scene], [labels], tmp_path / "c", SMALL)
    store = ChipStore.open(tmp_path / "c")
    with open_mask(store.label_path(store.chips()[0])) as mask:
        assert mask.classes == store.classes
        assert mask.nodata == 255


def test_label_notes_are_told_once(tmp_path: Path) -> None:
    transform = north_up()
    scene = write_scene(tmp_path / "s.tif", noise(3, 200, 200), transform=transform)
    bow = shapely.Polygon([transform @ p for p in [(0, 0), (90, 90), (90, 0), (0, 90)]])
    heard = Heard()
    tile([scene], [write_labels(tmp_path / "l.gpkg", [bow])], tmp_path / "c", SMALL, progress=heard)
    assert [text for text in heard.warnings if "repaired" in text] == [
        "polygons of l.gpkg that cross themselves, repaired: 1"
    ]


def test_labels_elsewhere_name_both_places(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "s.tif", noise(3, 64, 64))
    labels = write_labels(tmp_path / "l.gpkg", [shapely.box(2.0, 48.0, 2.1, 48.1)], crs="EPSG:4326")
    with pytest.raises(LabelsError) as caught:
        tile([scene], [labels], tmp_path / "c", SMALL)
    text = str(caught.value)
    assert "lie elsewhere on Earth than the scene" in text
    assert "labels at lon 2.0000..2.1000 lat 48.0000..48.1000" in text
    assert "s.tif at lon 15.0000..15.0004 lat 45.15" in text


def test_one_scene_without_labels_is_a_warning(tmp_path: Path) -> None:
    scenes, _ = many(tmp_path, [(0.0, 0.0), (5000.0, 0.0)])
    box = pixel_box(north_up(1.0), 0, 0, 32, 64)
    heard = Heard()
    labels = write_labels(tmp_path / "l.gpkg", [box])
    tile(scenes, [labels], tmp_path / "c", SMALL, progress=heard)
    assert f"no labels of {labels} lie in {scenes[1]}" in heard.warnings


def test_pixel_sizes_far_apart_are_a_warning(tmp_path: Path) -> None:
    scenes, labels = many(tmp_path, [(0.0, 0.0)])
    coarse = north_up(3.0, origin=(600_000.0, 5_000_000.0))
    scenes.append(write_scene(tmp_path / "s1.tif", noise(3, 64, 64), transform=coarse))
    labels.append(write_class_raster(tmp_path / "truth" / "s1.tif", some_ids(64, 64), transform=coarse))
    heard = Heard()
    tile(scenes, labels, tmp_path / "c", SMALL, progress=heard)
    assert any("has 1 m pixels and" in text and "3 m" in text for text in heard.warnings)


def refuse(error: type[Exception], message: str, *arguments: Any, **keywords: Any) -> None:
    with pytest.raises(error, match=message) as caught:
        tile(*arguments, **keywords)
    assert "\n" not in str(caught.value)


def test_scenes_that_do_not_go_together(tmp_path: Path) -> None:
    scene, labels, bands, _ = one_scene(tmp_path, 64, 64)
    fewer = write_scene(tmp_path / "two.tif", bands[:2])
    wider = write_scene(tmp_path / "wide.tif", bands.astype(np.uint16))
    out = tmp_path / "c"
    refuse(
        SceneError,
        r"scene\.tif has 3 bands and .*two\.tif has 2; choose",
        [scene, fewer],
        [labels],
        out,
        SMALL,
    )
    refuse(SceneError, r"scene\.tif is uint8 and .*wide\.tif is uint16", [scene, wider], [labels], out, SMALL)
    refuse(SceneError, "is given twice", [scene, tmp_path / "." / "scene.tif"], [labels], out, SMALL)
    refuse(SceneError, "no scenes", [], [labels], out, SMALL)
    refuse(SceneError, "does not exist", [tmp_path / "gone.tif"], [labels], out, SMALL)
    refuse(SceneError, "has no band 9", [scene], [labels], out, config(bands=(9,)))
    assert not out.exists()


def test_labels_that_do_not_go_with_the_scenes(tmp_path: Path) -> None:
    scenes, labels = many(tmp_path, [(0.0, 0.0), (5000.0, 0.0), (9000.0, 0.0)])
    out = tmp_path / "c"
    refuse(LabelsError, "2 labels for 3 scenes", scenes, labels[:2], out, SMALL)
    refuse(LabelsError, "no labels; name", scenes, [], out, SMALL)
    refuse(LabelsError, r"s1\.tif lie elsewhere", scenes[:2], [labels[0], labels[1]][::-1], out, SMALL)
    (tmp_path / "truth" / "s2.tif").unlink()
    refuse(
        LabelsError,
        r"has no labels s2\.gpkg or alike for .*s2\.tif",
        scenes,
        [tmp_path / "truth"],
        out,
        SMALL,
    )
    write_labels(tmp_path / "truth" / "s1.gpkg", [shapely.box(0, 0, 1, 1)])
    refuse(LabelsError, r"has s1\.gpkg and s1\.tif for", scenes[:2], [tmp_path / "truth"], out, SMALL)
    refuse(LabelsError, "has no columns", [scenes[0]], [labels[0]], out, config(split_column="x"))
    mixed = [
        labels[0],
        write_labels(tmp_path / "m.gpkg", [shapely.box(504_900, 4_999_900, 505_100, 5_000_100)]),
    ]
    refuse(LabelsError, "are of different kinds", scenes[:2], mixed, out, SMALL)
    assert not out.exists()


def test_nothing_to_cut(tmp_path: Path) -> None:
    _, labels, bands, _ = one_scene(tmp_path, 64, 64)
    empty = write_scene(tmp_path / "empty.tif", np.zeros_like(bands), nodata=0)
    refuse(SceneError, r"empty\.tif has no valid pixel", [empty], [labels], tmp_path / "c", SMALL)
    half = write_scene(tmp_path / "half.tif", np.where(np.arange(64) < 32, bands, 0), nodata=0)
    ids = np.where(np.arange(64) < 32, 255, 1).astype(np.uint8) * np.ones((64, 1), np.uint8)
    other = write_class_raster(tmp_path / "other.tif", ids, nodata=255)
    refuse(LabelsError, r"no valid pixel of .*half\.tif is labelled", [half], [other], tmp_path / "c", SMALL)
    floats = write_scene(
        tmp_path / "f.tif", np.stack([ramp(1, 64, 64, "float32")[0], np.full((64, 64), np.nan)])
    )
    refuse(SceneError, "band 2 has no valid value in any scene", [floats], [labels], tmp_path / "c", SMALL)


def test_outputs(tmp_path: Path) -> None:
    scene, labels, _, _ = one_scene(tmp_path, 64, 64)
    out = tmp_path / "chips"
    tile([scene], [labels], out, SMALL)
    refuse(OutputError, "use --overwrite", [scene], [labels], out, SMALL)
    tile([scene], [labels], out, SMALL, overwrite=True)
    chip = next((out / "images").iterdir())
    refuse(OutputError, "lies inside output", [chip], [labels], out, SMALL, overwrite=True)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.odt").write_text("x")
    refuse(
        OutputError,
        r"has no chips\.json, so it is not replaced",
        [scene],
        [labels],
        mine,
        SMALL,
        overwrite=True,
    )
    refuse(OutputError, "one of ; \\? !", [scene], [labels], tmp_path / "a;b", SMALL)
    refuse(OutputError, "does not exist; create it", [scene], [labels], tmp_path / "no" / "c", SMALL)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chips", "mine", "scene.tif", "truth.tif"]


def test_a_damaged_scene_leaves_nothing(tmp_path: Path) -> None:
    scene, labels, _, _ = one_scene(tmp_path, 300, 300, compress="deflate")
    content = scene.read_bytes()
    scene.write_bytes(content[: len(content) // 2])
    refuse((ReadError, SceneError), "failed", [scene], [labels], tmp_path / "c", SMALL)  # type: ignore[arg-type]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["scene.tif", "truth.tif"]


def test_a_killed_run_leaves_no_chips_folder(tmp_path: Path) -> None:
    scene, labels, _, _ = one_scene(tmp_path, 700, 700)
    code = (
        "import time; from pathlib import Path; from geoseg.tile import tile; from geoseg.config import *\n"
        "from geoseg.progress import SilentProgress\n"
        "class Slow(SilentProgress):\n"
        "    def advance(self, count=1):\n"
        "        print('chip', flush=True); time.sleep(0.05)\n"
        f"tile([Path({str(scene)!r})], [Path({str(labels)!r})], Path({str(tmp_path / 'c')!r}),\n"
        "     TileConfig(size_px=64, overlap_px=0), progress=Slow())\n"
    )
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    for _ in range(5):
        assert run.stdout.readline().strip() == "chip"
    run.send_signal(signal.SIGKILL)
    run.stdout.close()
    run.wait()
    assert not (tmp_path / "c").exists()
    tile([scene], [labels], tmp_path / "c", config(overlap_px=0))
    assert ChipStore.open(tmp_path / "c").chips()


def test_the_report_is_json(tmp_path: Path) -> None:
    scene, labels, _, ids = one_scene(tmp_path, 200, 200)
    heard = Heard()
    report = tile([scene], [labels], tmp_path / "c", SMALL, progress=heard)
    assert isinstance(report, TileReport)
    values: Mapping[str, Any] = json.loads(json.dumps(report.to_json()))
    assert values["output"] == str(tmp_path / "c")
    assert values["shared_pixels"] == 0
    assert values["least_distance_px"] == 0.0
    assert sum(sum(counts.values()) for counts in values["class_pixels"].values()) == ids.size
    assert any("pixels shared between splits: 0" in note for note in heard.notes)


def test_inputs_stay_as_they_are(tmp_path: Path) -> None:
    scene, labels, _, _ = one_scene(tmp_path, 100, 100)
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (scene, labels)}
    time.sleep(0.01)
    tile([scene], [labels], tmp_path / "c", SMALL)
    assert {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in (scene, labels)} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "scene.tif", "truth.tif"]


def test_a_scene_that_is_replaced_before_its_turn_is_refused(tmp_path: Path) -> None:
    scenes = [write_scene(tmp_path / f"{name}.tif", noise(3, 64, 64)) for name in "ab"]
    labels = write_labels(tmp_path / "labels.gpkg", [pixel_box(north_up(), 8, 8, 40, 40)])

    class Replaces(SilentProgress):
        def advance(self, count: int = 1) -> None:  # noqa: ARG002
            write_scene(scenes[1], noise(3, 64, 64), transform=rotated())

    with pytest.raises(ReadError, match=r"b\.tif was replaced meanwhile; run it again"):
        tile(scenes, [labels], tmp_path / "chips", config(), progress=Replaces())
    assert not (tmp_path / "chips").exists()
