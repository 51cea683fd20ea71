"""Views of chips against torch's own resampling, and against land that tells where it lies."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.chips.view import View, mix, pick, random_view

SIDE = 64


def show(
    view: View, bands: np.ndarray, usable: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bands, valid and labels of a view."""
    rows, cols = view.axes(labels.shape)
    part = (..., rows.part, cols.part)
    image = mix(np.where(usable, bands, 0).astype(np.float32)[part], usable[part], rows, cols)
    return image, pick(usable[part], False, rows, cols), pick(labels[part], 255, rows, cols)


@pytest.mark.parametrize("size_px", [64, 65, 100, 128])
def test_a_whole_chip_comes_as_torch_magnifies_it(size_px: int) -> None:
    bands = np.random.default_rng(size_px).normal(size=(2, SIDE, SIDE)).astype(np.float32)
    view = View(row=0.0, col=0.0, size_px=size_px, step=SIDE / size_px)
    everywhere, labels = np.ones((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), np.uint8)
    image, valid, _ = show(view, bands, everywhere, labels)
    expected = F.interpolate(torch.from_numpy(bands)[None], size=(size_px, size_px), mode="bilinear")
    np.testing.assert_allclose(image, expected[0].numpy(), atol=2e-5)
    assert valid.all()


@settings(deadline=None, max_examples=60)
@given(st.floats(-1.0, 1.0), st.floats(-20.0, 50.0), st.floats(-20.0, 50.0), st.sampled_from([32, 48, SIDE]))
def test_bands_and_labels_show_the_same_ground(octaves: float, row: float, col: float, size_px: int) -> None:
    """Bands hold the coordinates of their pixels, labels those of cells of four by four pixels."""
    at = np.arange(SIDE) + 0.5
    bands = np.stack(np.meshgrid(at, at, indexing="ij"))
    cells = (bands // 4).astype(np.uint8)
    labels = cells[0] * 16 + np.minimum(cells[1], 14)
    view = View(row=row, col=col, size_px=size_px, step=2.0**octaves)
    image, valid, ids = show(view, bands, np.ones((SIDE, SIDE), bool), labels)
    wanted = np.stack(
        np.meshgrid(*(start + (np.arange(size_px) + 0.5) * view.step for start in (row, col)), indexing="ij")
    )
    inside = ((wanted >= 0) & (wanted < SIDE)).all(axis=0)
    np.testing.assert_array_equal(valid, inside)
    assert (ids[~inside] == 255).all()
    assert (image[:, ~inside] == 0).all()
    # Away from the chip's edge the land in the image lies where it should, to a thousandth of a pixel.
    margin = 2 * max(1.0, view.step)
    deep = ((wanted >= margin) & (wanted < SIDE - margin)).all(axis=0)
    np.testing.assert_allclose(image[:, deep], wanted[:, deep], atol=1e-3)
    # And so do the labels: that of the pixel whose square holds the point.
    row_cell, col_cell = (wanted[:, inside] // 4).astype(int)
    np.testing.assert_array_equal(ids[inside], row_cell * 16 + np.minimum(col_cell, 14))


@pytest.mark.parametrize("octaves", [-0.8, 0.0, 0.7])
@pytest.mark.parametrize("by_band", [True, False])
def test_what_is_not_usable_does_not_bleed(octaves: float, by_band: bool) -> None:
    rng = np.random.default_rng(0)
    usable = rng.random((2, SIDE, SIDE) if by_band else (SIDE, SIDE)) < 0.5
    bands = np.full((2, SIDE, SIDE), 5.0)
    bands[~np.broadcast_to(usable, bands.shape)] = 1e6
    view = View(row=3.3, col=1.8, size_px=40, step=2.0**octaves)
    image, valid, _ = show(view, bands, usable, np.zeros((SIDE, SIDE), np.uint8))
    seen = np.broadcast_to(valid, image.shape)
    assert 0.3 < seen.mean() < 0.7
    np.testing.assert_allclose(image[seen], 5.0, rtol=1e-4)


@pytest.mark.parametrize("step", [1.2, 1.5, 2.0, 2.6])
def test_shrinking_averages_the_line_between_the_pixels(step: float) -> None:
    bands = np.random.default_rng(1).normal(size=(SIDE, SIDE))
    size_px = int(40 / step)
    view = View(row=10.3, col=9.6, size_px=size_px, step=step)
    image, _, _ = show(view, bands[None], np.ones((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), np.uint8))
    piece = (np.arange(2000) + 0.5) / 2000 - 0.5

    def shrunk(line: np.ndarray, start: float) -> np.ndarray:
        places = start + (np.arange(size_px)[:, None] + 0.5) * step + piece * min(2 * (step - 1), step)
        return np.interp(places, np.arange(SIDE) + 0.5, line).mean(axis=1)

    upright = np.stack([shrunk(column, view.row) for column in bands.T], axis=1)
    np.testing.assert_allclose(image[0], [shrunk(row, view.col) for row in upright], atol=2e-3)


def test_shrinking_makes_no_aliases() -> None:
    """Stripes one pixel wide are grey from far away, not a pattern of their own."""
    stripes = np.broadcast_to(np.arange(SIDE) % 2 * 2.0 - 1.0, (1, SIDE, SIDE))
    view = View(row=0.0, col=0.0, size_px=32, step=2.0)
    image, _, _ = show(view, stripes, np.ones((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), np.uint8))
    assert np.abs(image[:, 2:-2, 2:-2]).max() < 1e-5


def test_only_what_is_needed_is_read() -> None:
    rows, cols = View(row=10.0, col=20.0, size_px=16, step=0.5).axes((SIDE, SIDE))
    assert (rows.part, cols.part) == (slice(9, 19), slice(19, 29))
    rows, cols = View(row=200.0, col=-200.0, size_px=16, step=1.0).axes((SIDE, SIDE))
    assert not rows.inside.any()
    assert not cols.inside.any()


@settings(deadline=None, max_examples=80)
@given(
    st.integers(0, 10**6), st.floats(0.0, 1.5), st.sampled_from([16, 48, SIDE]),
    st.none() | st.tuples(st.integers(0, SIDE - 1), st.integers(0, SIDE - 1)),
)  # fmt: skip
def test_random_views_are_within_the_chip_or_around_it(
    seed: int, octaves: float, size_px: int, keep: tuple[int, int] | None
) -> None:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    view = random_view(labels, size_px, octaves, np.random.default_rng(seed), keep)
    assert view.size_px == size_px
    assert abs(math.log2(view.step)) <= octaves + 1e-12
    side = size_px * view.step
    for start in (view.row, view.col):
        if side <= SIDE:
            assert -1e-9 <= start <= SIDE - side + 1e-9
        else:
            assert SIDE - side - 1e-9 <= start <= 1e-9
    if keep is not None:
        for start, pixel in zip((view.row, view.col), keep, strict=True):
            assert start - 1e-9 <= pixel + 0.5 <= start + side + 1e-9


def test_scales_are_spread_evenly_over_the_octaves() -> None:
    labels = np.zeros((SIDE, SIDE), np.uint8)
    logs = [math.log2(random_view(labels, 32, 0.5, np.random.default_rng(seed)).step) for seed in range(1000)]
    assert np.histogram(logs, 5, (-0.5, 0.5))[0] == pytest.approx(200, abs=50)


def test_views_look_for_labelled_pixels() -> None:
    labels = np.full((SIDE, SIDE), 255, np.uint8)
    labels[:, :48] = 1
    hits = 0
    for seed in range(200):
        view = random_view(labels, 8, 0.2, np.random.default_rng(seed))
        rows, cols = view.axes(labels.shape)
        hits += bool((pick(labels[rows.part, cols.part], 255, rows, cols) != 255).any())
    assert hits >= 197
