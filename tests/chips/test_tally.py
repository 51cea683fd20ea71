"""Counted values against numpy's own statistics, with and without values that are none of the land's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.chips.tally import Tally, doubts

DTYPES = ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "float32", "float64"]


def of(values: np.ndarray, valid: np.ndarray | None = None) -> Tally:
    """Of one band (H, W)."""
    return Tally.of(values[None], np.ones(values.shape, bool) if valid is None else valid)


def land(dtype: str, size: int = 200, seed: int = 0) -> np.ndarray:
    """Normally distributed values with a bright tail, as reflectances have."""
    rng = np.random.default_rng(seed)
    values = rng.normal(60, 15, (size, size)) + rng.exponential(5, (size, size))
    factor = {"uint8": 1, "int8": 1}.get(dtype, 10 if np.issubdtype(np.dtype(dtype), np.integer) else 0.003)
    return np.clip(values * factor, factor, 120 * factor).astype(dtype)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3),
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
    st.sampled_from(DTYPES),
)
def test_statistics_are_those_of_all_pixels_in_any_order(
    bands: int, heights: list[int], seed: int, dtype: str
) -> None:
    rng = np.random.default_rng(seed)
    blocks = [(rng.normal(50, 9, (bands, height, 7)) % 120).astype(dtype) for height in heights]
    valid = [rng.random((height, 7)) < 0.7 for height in heights]
    parts = [Tally.of(block, mask) for block, mask in zip(blocks, valid, strict=True)]
    everything = np.concatenate([b[:, m] for b, m in zip(blocks, valid, strict=True)], axis=1).astype(float)
    if not everything.size:
        assert Tally.empty(bands, dtype).counts == (0,) * bands
        return
    for order in (range(len(parts)), reversed(range(len(parts)))):
        merged = Tally.empty(bands, dtype)
        for number in order:
            merged = merged.merge(parts[number])
        stats = merged.stats()
        kept = 1 - np.array(merged.left_out())
        assert stats.count == tuple(np.round(kept * everything.shape[1]).astype(int).tolist())
        assert merged.counts == (everything.shape[1],) * bands
        if (kept == 1).all():
            np.testing.assert_allclose(stats.mean, everything.mean(axis=1), rtol=1e-12)
            np.testing.assert_allclose(stats.std, everything.std(axis=1), rtol=1e-9, atol=1e-9)
        assert stats.minimum == tuple(everything.min(axis=1))
        assert stats.maximum == tuple(everything.max(axis=1))


def test_statistics_survive_a_large_mean() -> None:
    """The sum-of-squares formula loses all digits here; Welford's and Chan's do not."""
    values = 1e9 + np.arange(4000, dtype=np.float64).reshape(40, 100) % 7
    tally = Tally.empty(1, "float64")
    for row in values:
        tally = tally.merge(of(row[None]))
    assert tally.stats().std[0] == pytest.approx(values.std(), rel=1e-9)
    assert tally.stats().count == (4000,)


@pytest.mark.parametrize("dtype", DTYPES)
def test_of_land_alone_nothing_is_left_out(dtype: str) -> None:
    values = land(dtype)
    tally = of(values)
    assert tally.left_out() == (0.0,)
    assert tally.stats().mean[0] == pytest.approx(values.mean(dtype=np.float64))
    assert tally.stats().std[0] == pytest.approx(values.std(dtype=np.float64))
    assert tally.stats().limit_std == 8.0
    assert doubts(tally, ["b"], dtype) == []


@pytest.mark.parametrize("share", [0.001, 0.1, 0.2])
@pytest.mark.parametrize(
    ("dtype", "fill"),
    [
        ("uint16", 65535), ("int16", -32768), ("int16", -9999), ("int32", 2**31 - 1), ("float32", -9999),
        ("float32", -3.4028234663852886e38), ("float32", 1000000), ("float64", -1.7976931348623157e308),
    ],
)  # fmt: skip
def test_fill_that_no_tag_declares_is_left_out(dtype: str, fill: float, share: float) -> None:
    values = land(dtype)
    filled = np.random.default_rng(1).random(values.shape) < share
    tally = of(np.where(filled, np.array(fill, dtype), values))
    stats = tally.stats()
    assert stats.count == (int((~filled).sum()),)
    assert stats.mean[0] == pytest.approx(values[~filled].mean(dtype=np.float64))
    assert stats.std[0] == pytest.approx(values[~filled].std(dtype=np.float64))
    assert fill in (stats.minimum[0], stats.maximum[0])
    assert tally.left_out()[0] == pytest.approx(filled.mean())
    told = doubts(tally, ["red"], dtype)
    if share < 0.05:
        assert told == []
    else:
        assert told == [
            f"red: {filled.mean():.0%} of the values are exactly {fill}; "
            f"if that means no data, tell it with --nodata {fill}"
        ]


def test_mostly_fill_is_told_and_breaks_nothing() -> None:
    for dtype in ("float32", "float64"):
        values = land(dtype)
        values[:150] = np.finfo(dtype).min
        tally = of(values[:80]).merge(of(values[80:]))
        assert len(doubts(tally, ["red"], dtype)) == 1
        assert np.isfinite([*tally.stats().mean, *tally.stats().std]).all()
        assert tally.stats().minimum == (float(np.finfo(dtype).min),)


def test_hot_pixels_and_saturated_clouds_do_not_count() -> None:
    values = land("uint16").astype(np.int64)
    values[:20] = 12000 + values[:20] % 900
    values[5::40, 3::40] = 60000
    ground = values[values < 6000]
    stats = of(values.astype(np.uint16)).stats()
    assert stats.count[0] == len(ground)
    assert stats.std[0] == pytest.approx(ground.std())


def test_eight_bits_are_taken_as_they_are() -> None:
    values = land("uint8")
    values[values < 90] = 40
    values[:3] = 255
    tally = of(values)
    assert tally.left_out() == (0.0,)
    assert tally.stats().std[0] == pytest.approx(values.std(dtype=np.float64))


def test_a_band_of_mostly_zeros_keeps_what_it_has() -> None:
    rng = np.random.default_rng(0)
    for share in (0.2, 0.002):
        heights = np.where(rng.random((300, 300)) < share, rng.uniform(2, 30, (300, 300)), 0).astype(
            np.float32
        )
        tally = of(heights)
        assert tally.left_out() == (0.0,)
        assert tally.stats().mean[0] == pytest.approx(heights.mean(dtype=np.float64))


def test_values_that_are_no_number_and_pixels_that_are_not_valid_do_not_count() -> None:
    bands = np.stack([land("float32"), land("float32", seed=1)])
    bands[0, 0, :5] = [np.nan, np.inf, -np.inf, np.nan, np.nan]
    valid = np.ones((2, 200, 200), bool)
    valid[1, :, :50] = False
    tally = Tally.of(bands, valid)
    assert tally.counts == (200 * 200 - 5, 200 * 150)
    assert tally.stats().mean[1] == pytest.approx(bands[1, :, 50:].mean(dtype=np.float64))


def test_what_is_doubtful_is_told_once_for_all_bands() -> None:
    holes = land("uint8", seed=3)
    holes[:30] = 255
    other = land("uint8", seed=4)
    other[:20] = 255
    constant, plain = np.full_like(holes, 7), land("uint8")
    tally = Tally.of(np.stack([holes, other, constant, plain]), np.ones(holes.shape, bool))
    assert doubts(tally, ["red", "green", "alpha", "blue"], "uint8") == [
        "red, green: 15% of the values are exactly 255; if that means no data, tell it with --nodata 255",
        "alpha: the value is 7 everywhere; leave it out with --bands",
    ]
    assert doubts(tally, ["red", "green", "alpha", "blue"], "uint8", {255.0}) == [
        "alpha: the value is 7 everywhere; leave it out with --bands"
    ]
    # A common value within the range, or at an end that no fill has, is no fill.
    values = land("uint16")
    values[:40] = values.min()
    assert values.min() > 0
    assert doubts(of(values), ["b"], "uint16") == []


def test_fences_are_twenty_distances_between_the_quartiles_away() -> None:
    (band,) = of(np.linspace(1000.0, 2000.0, 10_000).reshape(100, 100)).bands
    # The quartiles are 1250 and 1750; bins are up to 16 and 32 wide here.
    assert band.fences() == (pytest.approx(-8750, abs=1000), pytest.approx(11750, abs=1000))
