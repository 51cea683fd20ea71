from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window

from geoseg.raster.mosaic import Mosaic, taper
from geoseg.raster.windows import chip_windows


def run(
    shape: tuple[int, int], chips: np.ndarray, overlap: int, *, left_out: frozenset[int] = frozenset()
) -> tuple[np.ndarray, np.ndarray]:
    """Winner and confidence of the whole scene, out of the mosaic's bands."""
    _, classes, size, _ = chips.shape
    mosaic = Mosaic(shape, classes, size, overlap)
    winner, confidence = np.full(shape, 99, np.uint8), np.full(shape, np.nan, np.float32)
    next_row = 0

    def take(row: int | None) -> None:
        nonlocal next_row
        for row_off, ids, sure in mosaic.release_before(row):
            assert row_off == next_row
            next_row += len(ids)
            winner[row_off:next_row], confidence[row_off:next_row] = ids, sure

    for number, (window, chip) in enumerate(zip(chip_windows(shape, size, overlap), chips, strict=True)):
        if number not in left_out:
            mosaic.add(window, chip)
        if number % 3 == 0:  # released late: nothing may depend on when
            take(window.row_off)
    take(None)
    assert next_row == shape[0]
    return winner, confidence


def brute_force(
    shape: tuple[int, int], chips: np.ndarray, overlap: int, left_out: frozenset[int]
) -> tuple[np.ndarray, np.ndarray]:
    """The same by accumulating the whole scene in float64, pixel weights from the definition."""
    _, classes, size, _ = chips.shape
    sums, weights = np.zeros((classes, *shape)), np.zeros(shape)
    ramp = [min(1.0, (min(i, size - 1 - i) + 0.5) / max(overlap, 1)) for i in range(size)]
    for number, (window, chip) in enumerate(zip(chip_windows(shape, size, overlap), chips, strict=True)):
        if number in left_out:
            continue
        for i in range(min(size, shape[0] - window.row_off)):
            for j in range(min(size, shape[1] - window.col_off)):
                weight = ramp[i] * ramp[j]
                sums[:, window.row_off + i, window.col_off + j] += weight * chip[:, i, j]
                weights[window.row_off + i, window.col_off + j] += weight
    with np.errstate(invalid="ignore"):
        return sums / weights, weights


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_equals_brute_force(data: st.DataObject) -> None:
    shape = (data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40)))
    size = data.draw(st.integers(1, 16))
    overlap = data.draw(st.integers(0, size - 1))
    classes = data.draw(st.integers(1, 4))
    count = len(chip_windows(shape, size, overlap))
    left_out = data.draw(st.frozensets(st.integers(0, count - 1), max_size=3))
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    chips = rng.random((count, classes, size, size)).astype(np.float32)

    winner, confidence = run(shape, chips, overlap, left_out=left_out)

    blended, weights = brute_force(shape, chips, overlap, left_out)
    known = weights > 0
    np.testing.assert_array_equal(winner == 255, ~known)
    np.testing.assert_allclose(confidence[known], np.minimum(blended.max(axis=0)[known], 1.0), rtol=2e-5)
    assert (confidence[~known] == 0).all()
    ordered = np.sort(blended, axis=0)
    clear = known & (ordered[-1] - ordered[-2] > 1e-4) if classes > 1 else known
    np.testing.assert_array_equal(winner[clear], blended.argmax(axis=0)[clear])


@pytest.mark.parametrize("overlap", [0, 1, 5, 15])
def test_constant_probabilities_stay_constant(overlap: int) -> None:
    shape = (37, 53)
    chips = np.empty((len(chip_windows(shape, 16, overlap)), 3, 16, 16), np.float32)
    chips[:] = np.float32([0.2, 0.7, 0.1])[:, None, None]
    winner, confidence = run(shape, chips, overlap)
    assert (winner == 1).all()
    np.testing.assert_allclose(confidence, 0.7, rtol=1e-6)


def test_ties_go_to_the_lowest_id() -> None:
    chips = np.full((1, 4, 8, 8), 0.25, np.float32)
    winner, _ = run((8, 8), chips, 0)
    assert (winner == 0).all()


@pytest.mark.parametrize(("size", "overlap"), [(8, 0), (8, 3), (9, 8), (1, 0)])
def test_taper_never_vanishes_and_adds_up(size: int, overlap: int) -> None:
    ramp = taper(size, overlap)
    assert ramp.min() > 0
    assert ramp.max() <= 1
    np.testing.assert_array_equal(ramp, ramp[::-1])
    if 0 < overlap <= size // 2:
        np.testing.assert_allclose(ramp[:overlap] + ramp[-overlap:], 1.0, rtol=1e-6)


def test_memory_does_not_grow_with_height() -> None:
    low, high = Mosaic((64, 100), 3, 32, 8), Mosaic((100_000, 100), 3, 32, 8)
    assert low._sums.nbytes == high._sums.nbytes == 3 * 32 * 100 * 4


def test_chips_out_of_order_and_of_other_shapes_are_refused() -> None:
    mosaic = Mosaic((64, 32), 2, 32, 0)
    chip = np.zeros((2, 32, 32), np.float32)
    mosaic.add(Window(0, 32, 32, 32), chip)
    with pytest.raises(ValueError, match="after rows"):
        mosaic.add(Window(0, 0, 32, 32), chip)
    with pytest.raises(ValueError, match="expected"):
        mosaic.add(Window(0, 32, 32, 32), chip[:1])
