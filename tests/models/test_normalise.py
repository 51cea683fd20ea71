"""What the network sees of raw bands: the same bits as at prediction, and jitter that spares the unknown."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from band_stats import stats_of

from geoseg.classes import BandStats
from geoseg.models.normalise import Normaliser
from geoseg.models.randomness import chip_generators

CPU = torch.device("cpu")


def bands_and_stats(dtype: str, limit_std: float | None = None) -> tuple[np.ndarray, np.ndarray, BandStats]:
    rng = np.random.default_rng(3)
    limits = (0, 255) if dtype == "uint8" else (-100, 20000) if dtype != "uint16" else (0, 65535)
    bands = rng.uniform(*limits, (2, 3, 9, 11)).astype(dtype)
    valid = rng.random((2, 9, 11)) < 0.8
    if np.issubdtype(bands.dtype, np.floating):
        bands[0, 1, 2, 3] = np.nan
        bands[1, 0, 0, 0] = np.inf
    together = np.concatenate(list(bands), axis=1), np.concatenate(list(valid))
    stats = stats_of(*together, limit_std=limit_std)
    return bands, valid, stats


@pytest.mark.parametrize("limit_std", [None, 1.3])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_the_device_normalises_as_prediction_does_bit_for_bit(dtype: str, limit_std: float | None) -> None:
    bands, valid, stats = bands_and_stats(dtype, limit_std)
    normalise = Normaliser(stats, CPU)
    seen = normalise(torch.from_numpy(bands), torch.from_numpy(valid))
    expected = np.stack([stats.normalise(*chip) for chip in zip(bands, valid, strict=True)])
    assert seen.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(seen.numpy(), expected)
    if limit_std is not None:
        assert (np.abs(expected) > 1.29).mean() > 0.1
        assert np.abs(expected).max() <= np.float32(1.3)
        infinite = np.isinf(bands.astype(np.float64))
        assert not expected[infinite].any()


def test_a_band_without_spread_is_only_centred() -> None:
    bands = np.full((1, 1, 4, 4), 7, np.uint8)
    valid = np.ones((1, 4, 4), bool)
    stats = stats_of(bands[0], valid[0])
    seen = Normaliser(stats, CPU)(torch.from_numpy(bands + 2), torch.from_numpy(valid))
    assert (seen == 2.0).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_jitter_changes_what_is_known_and_nothing_else(dtype: str) -> None:
    bands, valid, stats = bands_and_stats(dtype)
    normalise = Normaliser(stats, CPU)
    plain = normalise(torch.from_numpy(bands), torch.from_numpy(valid))
    gain = torch.tensor([[0.5, 1.0, 2.0], [1.0, 1.0, 1.0]])
    offset = torch.tensor([[0.0, 0.25, 0.0], [1.0, 0.0, 0.0]])
    changed = normalise.jittered(
        torch.from_numpy(bands),
        torch.from_numpy(valid),
        gain=gain,
        offset=offset,
        noise=torch.zeros(2, 3),
        generators=chip_generators(torch.tensor([1, 2]), CPU),
    )
    known = torch.from_numpy(valid)[:, None] & torch.from_numpy(np.isfinite(bands.astype(np.float64)))
    expected = plain * gain[:, :, None, None] + offset[:, :, None, None]
    assert torch.allclose(changed[known], expected[known], atol=1e-6)
    assert not changed[~known].any()


def test_noise_has_its_spread_and_follows_the_chips_seed() -> None:
    bands, valid = torch.zeros(2, 2, 200, 200), torch.ones(2, 200, 200, dtype=torch.bool)
    stats = BandStats(count=(1, 1), mean=(0.0, 0.0), m2=(0.0, 0.0), minimum=(0.0, 0.0), maximum=(0.0, 0.0))

    def noisy(seeds: list[int], chips: slice = slice(None)) -> torch.Tensor:
        count = len(bands[chips])
        return Normaliser(stats, CPU).jittered(
            bands[chips],
            valid[chips],
            gain=torch.ones(count, 2),
            offset=torch.zeros(count, 2),
            noise=torch.tensor([[0.5, 0.0]]).expand(count, 2),
            generators=chip_generators(torch.tensor(seeds), CPU),
        )

    both = noisy([5, 6])
    assert float(both[:, 0].std()) == pytest.approx(0.5, rel=0.02)
    assert not both[:, 1].any()
    assert abs(np.corrcoef(both[0, 0].ravel(), both[1, 0].ravel())[0, 1]) < 0.02
    assert torch.equal(noisy([6], slice(1, 2))[0], both[1])
