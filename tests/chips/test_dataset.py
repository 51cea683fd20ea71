from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from chip_folders import make_chips
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import ramp, write_class_raster, write_scene

from geoseg.chips.augment import d4, draw_jitter, random_crop
from geoseg.chips.dataset import ChipDataset, ChipItem
from geoseg.chips.rim import ignore_rim
from geoseg.chips.store import ChipStore
from geoseg.config import AugmentConfig, TileConfig
from geoseg.errors import ConfigError
from geoseg.tile import tile

FLIPS = AugmentConfig(flips=True, gain=0.0, offset=0.0, noise=0.0)


@pytest.fixture
def store(tmp_path: Path) -> ChipStore:
    return ChipStore.open(make_chips(tmp_path))


def content(item: ChipItem) -> bytes:
    arrays = (item.bands, item.valid, item.labels, item.gain, item.offset, item.noise)
    return b"".join(array.tobytes() for array in arrays) + str(item.seed).encode()


def test_plain_items_are_the_chips(store: ChipStore) -> None:
    dataset = ChipDataset(store, "train", seed=0)
    assert len(dataset) == len(store.chips("train")) > 0
    for index, chip in enumerate(store.chips("train")):
        bands, valid, labels = store.read(chip)
        item = dataset.item(index)
        assert (item.bands.dtype, item.labels.dtype) == (np.dtype(store.dtype), np.uint8)
        assert np.array_equal(item.bands, bands)
        assert np.array_equal(item.valid, valid)
        assert np.array_equal(item.labels, labels)
        assert (item.gain == 1.0).all()
        assert not item.offset.any()
        assert not item.noise.any()


def test_turns_and_flips_move_image_and_labels_alike(store: ChipStore) -> None:
    plain = ChipDataset(store, "train", seed=0)
    moved = ChipDataset(store, "train", augment=FLIPS, seed=0)
    seen = set()
    for epoch in range(12):
        for index in range(4):
            before, now = plain.item(index), moved.item(index, epoch=epoch)
            fits = [
                element
                for element in range(8)
                if np.array_equal(d4(before.bands, element), now.bands)
                and np.array_equal(d4(before.labels, element), now.labels)
                and np.array_equal(d4(before.valid, element), now.valid)
            ]
            assert len(fits) == 1
            seen.update(fits)
    assert seen == set(range(8))


def test_d4_is_the_group_of_the_square() -> None:
    square = np.arange(9).reshape(1, 3, 3)
    images = [d4(square, element) for element in range(8)]
    assert len({image.tobytes() for image in images}) == 8
    assert np.array_equal(images[0], square)
    assert images[4].tolist() == [[[2, 1, 0], [5, 4, 3], [8, 7, 6]]]


def test_randomness_depends_on_seed_epoch_and_index_only(store: ChipStore) -> None:
    def all_items(dataset: ChipDataset, epoch: int) -> list[bytes]:
        return [content(dataset.item(index, epoch=epoch)) for index in range(len(dataset))]

    def fresh(seed: int, cache_bytes: int = 2**30) -> ChipDataset:
        config = AugmentConfig()
        return ChipDataset(store, "train", augment=config, crop_px=32, seed=seed, cache_bytes=cache_bytes)

    one = fresh(1)
    first, second = all_items(one, 0), all_items(one, 1)
    assert len(set(first) | set(second)) == 2 * len(one)
    # As after a restart: another object, straight to epoch 1, in reverse, without a cache.
    other = fresh(1, cache_bytes=0)
    backwards = {index: content(other.item(index, epoch=1)) for index in reversed(range(len(other)))}
    assert [backwards[index] for index in range(len(other))] == second
    assert all_items(fresh(2), 0) != first
    with ThreadPoolExecutor(4) as pool:
        threaded = fresh(1)
        items = pool.map(lambda index: threaded.item(index, epoch=1), range(len(threaded)))
        assert [content(item) for item in items] == second


def test_seeds_differ_between_chips_and_epochs(store: ChipStore) -> None:
    dataset = ChipDataset(store, "train", seed=3)
    seeds = {dataset.item(index, epoch=epoch).seed for index in range(4) for epoch in range(8)}
    assert len(seeds) == 32
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_crops_are_parts_of_the_chip(store: ChipStore) -> None:
    whole, crops = ChipDataset(store, "train"), ChipDataset(store, "train", crop_px=32, seed=9)
    places = set()
    for index in range(len(crops)):
        chip, part = whole.item(index), crops.item(index)
        assert part.bands.shape == (3, 32, 32)
        found = [
            (row, col)
            for row in range(33)
            for col in range(33)
            if np.array_equal(chip.labels[row : row + 32, col : col + 32], part.labels)
        ]
        assert len(found) == 1
        (row, col) = found[0]
        assert np.array_equal(chip.bands[:, row : row + 32, col : col + 32], part.bands)
        places.add(found[0])
    assert len(places) > 1
    with pytest.raises(ConfigError, match=r"crop_px 96 is larger than the chips of .*, 64 px; lower it"):
        ChipDataset(store, "train", crop_px=96)


def test_crops_look_for_labelled_pixels() -> None:
    labels = np.full((64, 64), 255, np.uint8)
    labels[:, :48] = 1
    hits = sum(
        (labels[random_crop(labels, 8, np.random.default_rng(seed))] != 255).any() for seed in range(200)
    )
    assert hits >= 198


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000))
def test_jitter_stays_within_its_bounds(seed: int) -> None:
    config = AugmentConfig(gain=0.2, offset=0.3, noise=0.1)
    gain, offset, noise = draw_jitter(5, config, np.random.default_rng(seed))
    assert gain.dtype == offset.dtype == noise.dtype == np.float32
    assert (np.abs(gain - 1.0) <= 0.2 + 1e-6).all()
    assert (np.abs(offset) <= 0.3 + 1e-6).all()
    assert np.allclose(noise, 0.1)
    assert len(set(gain.tolist()) | set(offset.tolist())) == 10


def test_the_cache_saves_reading_up_to_its_limit(store: ChipStore) -> None:
    size = 3 * 64 * 64 + 2 * 64 * 64
    dataset = ChipDataset(store, "train", cache_bytes=2 * size + 1)
    expected = [dataset.item(index).bands for index in range(4)]
    for chip in store.chips("train"):
        store.image_path(chip).unlink()
    assert all(np.array_equal(dataset.item(index).bands, expected[index]) for index in range(2))
    with pytest.raises(Exception, match="does not exist"):
        dataset.item(2)


def test_an_index_below_zero_is_refused(store: ChipStore) -> None:
    with pytest.raises(IndexError, match="chip -1 of"):
        ChipDataset(store, "val").item(-1)


EVERYTHING = AugmentConfig(scale=0.7, band_dropout=0.4)


def all_on(store: ChipStore, cache_bytes: int = 2**30) -> ChipDataset:
    return ChipDataset(
        store, "train", augment=EVERYTHING, crop_px=32, rare_share=0.5, ignore_rim_px=1, seed=1,
        cache_bytes=cache_bytes,
    )  # fmt: skip


def test_with_everything_on_an_item_depends_on_seed_epoch_and_index_only(store: ChipStore) -> None:
    dataset = all_on(store)
    # Chips that come up twice are told apart by an index beyond the last.
    indices = [*range(len(dataset)), len(dataset), 2 * len(dataset) + 3]
    expected = [content(dataset.item(index, epoch=2)) for index in indices]
    assert len(set(expected)) == len(indices)
    other = all_on(store, cache_bytes=0)
    other.item(0, epoch=1)
    assert [content(other.item(index, epoch=2)) for index in reversed(indices)] == expected[::-1]
    with ThreadPoolExecutor(4) as pool:
        fresh = all_on(store)
        assert list(pool.map(lambda index: content(fresh.item(index, epoch=2)), indices)) == expected
    item = dataset.item(len(dataset), epoch=2)
    assert (item.bands.dtype, item.bands.shape, item.labels.shape) == (np.float32, (3, 32, 32), (32, 32))


def test_dropped_bands_are_their_mean_and_noiseless(store: ChipStore) -> None:
    dataset = ChipDataset(store, "train", augment=AugmentConfig(band_dropout=0.5, offset=0.3), seed=0)
    items = [dataset.item(index, epoch=epoch) for epoch in range(9) for index in range(len(dataset))]
    gains = np.array([item.gain for item in items])
    assert 0.3 < (gains == 0).mean() < 0.5
    assert (gains != 0).any(axis=1).all()
    for item in items:
        assert not item.offset[item.gain == 0].any()
        assert not item.noise[item.gain == 0].any()
        assert (item.noise[item.gain != 0] > 0).all()


def test_a_view_at_another_scale_is_resampled_from_its_part_of_the_chip(tmp_path: Path) -> None:
    """Bands hold where they lie, so that an item tells its own scale and place; labels are stripes."""
    rows, cols = np.meshgrid(np.arange(128), np.arange(128), indexing="ij")
    bands = np.stack([rows + 0.5, cols + 0.5]).astype(np.float32)
    bands[1, 40:, 40:] = np.nan
    truth = ((rows // 8) % 2).astype(np.uint8)
    truth[:, :3] = 255
    scene = write_scene(tmp_path / "s.tif", bands)
    labels = write_class_raster(tmp_path / "t.tif", truth)
    options = TileConfig(size_px=128, overlap_px=0, val_share=0, test_share=0)
    tile([scene], [labels], tmp_path / "c", options)
    plain = AugmentConfig(flips=False, gain=0, offset=0, noise=0, scale=1.0)
    steps = []
    for crop_px in (64, None):
        dataset = ChipDataset(ChipStore.open(tmp_path / "c"), "train", augment=plain, crop_px=crop_px)
        for epoch in range(12):
            item = dataset.item(0, epoch=epoch)
            assert item.bands.shape == (2, crop_px or 128, crop_px or 128)
            at = item.bands[0, item.valid].astype(np.float64)
            deep = (at > 4) & (at < 124)
            step = float(np.median(np.diff(item.bands[0], axis=0)[item.valid[1:] & item.valid[:-1]]))
            steps.append(step)
            known = item.labels[item.valid] != 255
            wanted = (at // 8) % 2
            sure = deep & known & (np.abs(at / 8 - np.round(at / 8)) > 0.02)
            assert (item.labels[item.valid][sure] == wanted[sure]).all()
            # The second band is missing in a corner, and nowhere else.
            col_at = item.bands[1][item.valid]
            missing = np.isnan(col_at)
            assert (at[missing] > 39).all()
            assert (col_at[~missing & (at > 41)] < 40.5).all()
            # What is beyond the chip is not valid, and only that; the view is full where it fits.
            assert not item.bands[:, ~item.valid].any()
            assert (item.labels[~item.valid] == 255).all()
            assert item.valid.all() == (len(item.labels) * step <= 128 + 1e-3)
    assert min(steps) < 0.75
    assert max(steps) > 1.33
    assert max(steps) <= 2.001


def test_the_rim_is_left_out_of_training_only(store: ChipStore) -> None:
    plain, rimmed = ChipDataset(store, "train"), ChipDataset(store, "train", ignore_rim_px=1)
    for index in range(len(plain)):
        before, now = plain.item(index).labels, rimmed.item(index).labels
        assert np.array_equal(now, ignore_rim(before, 1))
        # Labels of noise are nearly all rim.
        assert (now != 255).mean() < 0.1 < (before != 255).mean()


def test_crops_come_around_rare_pixels_as_often_as_said(tmp_path: Path) -> None:
    ids = np.zeros((256, 256), np.uint8)
    ids[131, 77] = 1
    scene = write_scene(tmp_path / "s.tif", ramp(3, 256, 256))
    labels = write_class_raster(tmp_path / "t.tif", ids)
    options = TileConfig(size_px=256, overlap_px=0, val_share=0, test_share=0)
    tile([scene], [labels], tmp_path / "c", options)
    for scale in (0.0, 0.3):
        augment = AugmentConfig(scale=scale)
        shown = []
        for share in (0.0, 1.0):
            dataset = ChipDataset(
                ChipStore.open(tmp_path / "c"), "train", augment=augment, crop_px=64, rare_share=share
            )
            shown.append(sum((dataset.item(0, epoch=epoch).labels == 1).any() for epoch in range(100)))
        # A crop of a sixteenth of the chip rarely has the pixel; of two classes, half of the crops are its.
        assert shown[0] < 20
        assert 38 <= shown[1] <= 75


def test_import_needs_neither_torch_nor_rasterio() -> None:
    heavy = ("torch", "rasterio", "geopandas")
    code = f"import sys, geoseg.chips.dataset; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
