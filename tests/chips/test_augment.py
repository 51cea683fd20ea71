"""Random changes of chips, by the generator handed in alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.chips.augment import draw_dropped, random_crop, rare_pixel


def test_each_class_of_the_chip_is_shown_alike() -> None:
    labels = np.zeros((32, 32), np.uint8)
    labels[:, 16:] = 255
    labels[4, 7], labels[9, 2], labels[9, 3] = 5, 7, 7
    found = [rare_pixel(labels, 1.0, np.random.default_rng(seed)) for seed in range(900)]
    ids = [int(labels[pixel]) for pixel in found if pixel is not None]
    counts = np.bincount(ids, minlength=256)
    assert counts[[0, 5, 7]] == pytest.approx(300, abs=60)
    assert counts.sum() == 900
    places = {pixel for pixel in found if pixel is not None and labels[pixel] == 7}
    assert places == {(9, 2), (9, 3)}


def test_a_share_of_the_cases_has_a_pixel_to_show() -> None:
    labels = np.zeros((8, 8), np.uint8)
    hits = sum(rare_pixel(labels, 0.3, np.random.default_rng(seed)) is not None for seed in range(1000))
    assert hits == pytest.approx(300, abs=60)
    unknown = np.full((8, 8), 255, np.uint8)
    assert rare_pixel(unknown, 1.0, np.random.default_rng(0)) is None
    rng, untouched = np.random.default_rng(4), np.random.default_rng(4)
    assert rare_pixel(labels, 0.0, rng) is None
    assert rng.random() == untouched.random()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 24), st.integers(0, 23), st.integers(0, 23))
def test_crops_hold_the_pixel_to_show(seed: int, size_px: int, row: int, col: int) -> None:
    labels = np.zeros((24, 24), np.uint8)
    rows, cols = random_crop(labels, size_px, np.random.default_rng(seed), keep=(row, col))
    assert rows.stop - rows.start == cols.stop - cols.start == size_px
    assert 0 <= rows.start <= row < rows.stop <= 24
    assert 0 <= cols.start <= col < cols.stop <= 24


def test_the_pixel_to_show_is_anywhere_in_the_crop() -> None:
    labels = np.zeros((64, 64), np.uint8)
    at = [
        30 - random_crop(labels, 8, np.random.default_rng(seed), keep=(30, 30))[0].start
        for seed in range(800)
    ]
    assert np.bincount(at, minlength=8) == pytest.approx(100, abs=40)


@pytest.mark.parametrize("bands", [1, 2, 5])
@pytest.mark.parametrize("share", [0.2, 0.9, 1.0])
def test_bands_are_dropped_as_often_as_said_and_never_all(bands: int, share: float) -> None:
    dropped = np.zeros(bands)
    for seed in range(2000):
        gone = draw_dropped(bands, share, np.random.default_rng(seed))
        assert not gone.all()
        dropped += gone
    # Of the cases in which all would go, each band is saved in its share.
    wanted = share - share**bands / bands
    assert dropped / 2000 == pytest.approx(wanted, abs=0.05)


def test_without_a_share_nothing_is_drawn() -> None:
    rng, untouched = np.random.default_rng(1), np.random.default_rng(1)
    assert not draw_dropped(3, 0.0, rng).any()
    assert rng.random() == untouched.random()
