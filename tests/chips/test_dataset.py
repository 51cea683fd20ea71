from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from chip_folders import make_chips
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from geoseg.chips.augment import d4, jitter, random_crop
from geoseg.chips.dataset import ChipDataset
from geoseg.chips.store import ChipStore
from geoseg.config import AugmentConfig
from geoseg.errors import ConfigError

FLIPS = AugmentConfig(flips=True, gain=0.0, offset=0.0, noise=0.0)
RADIOMETRY = AugmentConfig(flips=False)


@pytest.fixture
def store(tmp_path: Path) -> ChipStore:
    return ChipStore.open(make_chips(tmp_path))


def test_plain_items_are_the_normalised_chips(store: ChipStore) -> None:
    dataset = ChipDataset(store, "train", seed=0)
    assert len(dataset) == len(store.chips("train")) > 0
    for index, chip in enumerate(store.chips("train")):
        bands, valid, labels = store.read(chip)
        image, ids = dataset[index]
        assert (image.dtype, ids.dtype) == (torch.float32, torch.int64)
        mean, std = (np.array(v).reshape(-1, 1, 1) for v in (store.stats.mean, store.stats.std))
        expected = np.where(valid, (bands - mean) / std, 0.0)
        assert np.allclose(image.numpy(), expected, atol=1e-5)
        assert np.array_equal(ids.numpy(), labels)


def test_turns_and_flips_move_image_and_labels_alike(store: ChipStore) -> None:
    plain = ChipDataset(store, "train", seed=0)
    moved = ChipDataset(store, "train", augment=FLIPS, seed=0)
    seen = set()
    for epoch in range(12):
        moved.set_epoch(epoch)
        for index in range(4):
            (image, labels), (image_now, labels_now) = plain[index], moved[index]
            fits = [
                element
                for element in range(8)
                if np.array_equal(d4(image.numpy(), element), image_now.numpy())
                and np.array_equal(d4(labels.numpy(), element), labels_now.numpy())
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
        dataset.set_epoch(epoch)
        return [b"".join(part.numpy().tobytes() for part in dataset[i]) for i in range(len(dataset))]

    def fresh(seed: int, cache_bytes: int = 2**30) -> ChipDataset:
        config = AugmentConfig()
        return ChipDataset(store, "train", augment=config, crop_px=32, seed=seed, cache_bytes=cache_bytes)

    one = fresh(1)
    first, second = all_items(one, 0), all_items(one, 1)
    assert len(set(first) | set(second)) == 2 * len(one)
    # As after a restart: another object, straight to epoch 1, in reverse, without a cache.
    other = fresh(1, cache_bytes=0)
    other.set_epoch(1)
    backwards = {i: b"".join(p.numpy().tobytes() for p in other[i]) for i in reversed(range(len(other)))}
    assert [backwards[i] for i in range(len(other))] == second
    assert all_items(fresh(2), 0) != first
    with ThreadPoolExecutor(4) as pool:
        threaded = fresh(1)
        threaded.set_epoch(1)
        items = pool.map(threaded.__getitem__, range(len(threaded)))
        assert [b"".join(p.numpy().tobytes() for p in item) for item in items] == second


@pytest.mark.slow
def test_worker_processes_that_live_on_hear_of_the_epoch(store: ChipStore) -> None:
    dataset = ChipDataset(store, "train", augment=FLIPS, seed=4)
    loader = DataLoader(
        dataset, batch_size=4, num_workers=1, persistent_workers=True, multiprocessing_context="spawn"
    )
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        images = torch.cat([images for images, _ in loader])
        expected = torch.stack([dataset[index][0] for index in range(len(dataset))])
        assert torch.equal(images, expected)


def test_crops_are_parts_of_the_chip(store: ChipStore) -> None:
    whole, crops = ChipDataset(store, "train"), ChipDataset(store, "train", crop_px=32, seed=9)
    places = set()
    for index in range(len(crops)):
        (image, labels), (part, ids) = whole[index], crops[index]
        assert part.shape == (3, 32, 32)
        found = [
            (row, col)
            for row in range(33)
            for col in range(33)
            if torch.equal(labels[row : row + 32, col : col + 32], ids)
        ]
        assert len(found) == 1
        (row, col) = found[0]
        assert torch.equal(image[:, row : row + 32, col : col + 32], part)
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


def test_invalid_pixels_stay_zero(store: ChipStore) -> None:
    for split in ("train", "val", "test"):
        plain = ChipDataset(store, split)
        changed = ChipDataset(store, split, augment=RADIOMETRY, seed=1)
        for index, chip in enumerate(plain.chips):
            if chip.valid_share == 1.0:
                continue
            _, valid, _ = store.read(chip)
            image, labels = changed[index]
            assert (image.numpy()[:, ~valid] == 0.0).all()
            assert (labels.numpy()[~valid] == 255).all()
            assert not torch.equal(image, plain[index][0])
            return
    pytest.fail("no chip with invalid pixels")


def test_bands_that_are_not_a_number_stay_zero(tmp_path: Path) -> None:
    from scenes import ramp, write_class_raster, write_scene

    from geoseg.config import TileConfig
    from geoseg.tile import tile

    bands = ramp(2, 64, 64, "float32")
    bands[0, 5, 6] = np.nan
    scene = write_scene(tmp_path / "s.tif", bands)
    truth = write_class_raster(tmp_path / "t.tif", np.ones((64, 64), np.uint8))
    tile([scene], [truth], tmp_path / "c", TileConfig(size_px=64, overlap_px=0, val_share=0, test_share=0))
    image, labels = ChipDataset(ChipStore.open(tmp_path / "c"), "train", augment=RADIOMETRY)[0]
    assert image[0, 5, 6] == 0.0
    assert image[1, 5, 6] != 0.0
    assert labels[5, 6] == 1
    assert torch.isfinite(image).all()


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1000))
def test_jitter_stays_within_its_bounds(seed: int) -> None:
    config = AugmentConfig(gain=0.2, offset=0.3, noise=0.0)
    image = np.stack([np.zeros((8, 8)), np.ones((8, 8))]).astype(np.float32)
    changed = jitter(image, np.ones((8, 8), bool), config, np.random.default_rng(seed))
    assert np.ptp(changed[0]) == 0.0
    assert abs(changed[0, 0, 0]) <= 0.3 + 1e-6
    assert 0.5 - 1e-6 <= changed[1, 0, 0] <= 1.5 + 1e-6


def test_noise_has_the_wanted_spread() -> None:
    config = AugmentConfig(gain=0.0, offset=0.0, noise=0.5)
    zeros = np.zeros((2, 200, 200), np.float32)
    changed = jitter(zeros, np.ones((200, 200), bool), config, np.random.default_rng(0))
    assert changed.std() == pytest.approx(0.5, rel=0.02)
    assert abs(np.corrcoef(changed[0].ravel(), changed[1].ravel())[0, 1]) < 0.02


def test_the_cache_saves_reading_up_to_its_limit(store: ChipStore) -> None:
    size = 3 * 64 * 64 + 2 * 64 * 64
    dataset = ChipDataset(store, "train", cache_bytes=2 * size + 1)
    expected = [image for image, _ in (dataset[index] for index in range(4))]
    for chip in store.chips("train"):
        store.image_path(chip).unlink()
    assert all(torch.equal(dataset[index][0], expected[index]) for index in range(2))
    with pytest.raises(Exception, match="does not exist"):
        dataset[2]


def test_an_index_beyond_the_end_ends_iteration(store: ChipStore) -> None:
    assert len(list(ChipDataset(store, "val"))) == len(store.chips("val"))


def test_import_needs_no_rasterio() -> None:
    code = (
        "import sys, geoseg.chips.dataset; print([m for m in ('rasterio', 'geopandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
