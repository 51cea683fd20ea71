from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from rasterio.crs import CRS
from scenes import UTM, north_up, some_gcps

from geoseg.chips.ground import Ground, overlapping_pairs
from geoseg.chips.split import assign, group_by_ground, prove
from geoseg.chips.store import SPLITS, Split
from geoseg.raster.geobox import GeoBox


def box(x: float = 0.0, y: float = 0.0, *, size: int = 100, crs: str | None = UTM) -> GeoBox:
    """A north-up scene of 1 m pixels whose corner is moved by (x, -y) metres."""
    transform = north_up(1.0, origin=(500_000.0 + x, 5_000_000.0 - y))
    return GeoBox(crs=None if crs is None else CRS.from_string(crs), transform=transform, shape=(size, size))


def windows(*rows: tuple[int, int, int, int]) -> NDArray[np.int64]:
    return np.array(rows, np.int64)


def scenes(*numbers: int) -> NDArray[np.intp]:
    return np.array(numbers, np.intp)


def test_shares_and_classes_are_met() -> None:
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 1000, (60, 4))
    splits = np.array(assign(pixels, val_share=0.15, test_share=0.15, seed=0))
    for split, wanted in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        mine = pixels[splits == split]
        assert mine.sum() / pixels.sum() == pytest.approx(wanted, abs=0.02)
        assert mine.sum(axis=0) / pixels.sum(axis=0) == pytest.approx(np.full(4, wanted), abs=0.04)


def test_the_seed_decides() -> None:
    pixels = np.full((40, 1), 100)
    draws = [tuple(assign(pixels, val_share=0.2, test_share=0.2, seed=seed)) for seed in (0, 0, 1, -3)]
    assert draws[0] == draws[1]
    assert len(set(draws)) == 3


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=12),
    st.sampled_from([(0.15, 0.15), (0.3, 0.0), (0.0, 0.3), (0.0, 0.0), (0.01, 0.9)]),
    st.integers(0, 99),
)
def test_no_wanted_split_stays_empty(counts: list[int], shares: tuple[float, float], seed: int) -> None:
    val, test = shares
    splits = assign(np.array(counts)[:, np.newaxis], val_share=val, test_share=test, seed=seed)
    wanted = ["train"] + ["val"] * (val > 0) + ["test"] * (test > 0)
    assert len(splits) == len(counts)
    assert set(splits) == set(wanted[: len(counts)])


def test_scenes_that_overlap_on_the_ground_stay_together() -> None:
    ground = Ground([box(), box(90.0), box(300.0), box(100.0, 90.0, size=10)])
    whole = windows((0, 0, 100, 100), (0, 0, 100, 100), (0, 0, 100, 100), (0, 0, 10, 10))
    groups = group_by_ground(ground, scenes(0, 1, 2, 3), whole)
    # Scene 3 touches 0 at an edge only, and overlaps 1.
    assert groups.tolist() == [0, 0, 1, 0]


def test_blocks_of_aligned_scenes_chain_no_further_than_they_must() -> None:
    ground = Ground([box(), box()])
    halves = windows((0, 0, 50, 100), (50, 0, 50, 100), (0, 0, 50, 100), (50, 0, 50, 100))
    assert group_by_ground(ground, scenes(0, 0, 1, 1), halves).tolist() == [0, 1, 0, 1]


def test_overlap_is_found_across_crss() -> None:
    # 15 degrees east is the central meridian of zone 33, 500 km; the same land in degrees and in zone 32.
    degrees = GeoBox(
        crs=CRS.from_epsg(4326), transform=Affine(1e-5, 0.0, 15.0, 0.0, -1e-5, 45.1535), shape=(100, 100)
    )
    ground = Ground([box(), degrees, box(5_000.0)])
    assert ground.mixed
    pairs, shared = overlapping_pairs(ground, scenes(0, 1, 2), windows(*[(0, 0, 100, 100)] * 3))
    assert pairs.tolist() == [[0, 1]]
    assert 0 < shared[0] <= 13_000


def test_scenes_without_a_place_lie_apart() -> None:
    nowhere = GeoBox(crs=None, transform=Affine.identity(), shape=(100, 100))
    ground = Ground([nowhere, nowhere, box(crs=None), box(crs=None)])
    groups = group_by_ground(ground, scenes(0, 1, 2, 3), windows(*[(0, 0, 100, 100)] * 4))
    assert groups.tolist() == [0, 1, 2, 2]


def test_ground_control_points_place_a_scene() -> None:
    tied = GeoBox(
        crs=None,
        transform=Affine.identity(),
        shape=(100, 100),
        gcps=tuple(some_gcps(100, 100, 1.0)),
        gcps_crs=CRS.from_string(UTM),
    )
    ground = Ground([tied, box(50.0)])
    pairs, shared = overlapping_pairs(ground, scenes(0, 1), windows(*[(0, 0, 100, 100)] * 2))
    assert pairs.tolist() == [[0, 1]]
    assert shared[0] == pytest.approx(5_000, rel=0.01)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_proof_counts_shared_pixels_as_brute_force_does(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 8))
    rect = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(1, 20), st.integers(1, 20))
    rects = [data.draw(rect) for _ in range(count)]
    splits: list[Split] = [data.draw(st.sampled_from(SPLITS)) for _ in rects]
    users = np.zeros((3, 60, 60), bool)
    for (col, row, width, height), split in zip(rects, splits, strict=True):
        users[SPLITS.index(split), row : row + height, col : col + width] = True
    proof = prove(Ground([box()]), np.zeros(count, np.intp), windows(*rects), splits)
    assert proof.shared_pixels == (users.sum(axis=0) > 1).sum()


def test_proof_measures_the_gap() -> None:
    ground = Ground([box(), box(160.0)])
    proof = prove(ground, scenes(0, 0), windows((0, 0, 10, 10), (13, 14, 10, 10)), ["train", "val"])
    assert (proof.shared_pixels, proof.least_distance_px) == (0, 5.0)
    across = prove(ground, scenes(0, 1), windows((0, 0, 100, 100), (0, 0, 100, 100)), ["train", "test"])
    assert (across.shared_pixels, across.least_distance_px) == (0, 60.0)
    assert prove(ground, scenes(0), windows((0, 0, 9, 9)), ["train"]).least_distance_px is None


def test_proof_finds_leaks_between_scenes() -> None:
    ground = Ground([box(), box(90.0)])
    leak = prove(ground, scenes(0, 1), windows((0, 0, 100, 100), (0, 0, 100, 100)), ["train", "val"])
    assert leak.shared_pixels == 1000
    assert leak.least_distance_px == 0.0
