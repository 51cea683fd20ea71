"""Counts the values of bands, so that their statistics can leave out what is far off.

Some scenes have values that are none of the land's: fill that no tag declares (65535, -3.4e38), saturated
clouds, hot pixels. A few of them move a mean and blow up a standard deviation, and the network is then fed
land without contrast. What is far off shows only when all is counted, and so values are counted in bins.

Bins have the width of a 64th of their value or less (the six leading bits of a float's mantissa; integers up
to 128 have one each). A bin knows how many values it has, their mean and their spread, so the statistics of
bins together are exact; only what is left out is decided by the bin. Adding up in any order gives the same,
up to the last digit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import BandStats

LIMIT_STD = 8.0
"""Limit of normalised values in models trained on new chips."""

FENCE = 20.0
"""Values further from the quartiles than this many distances between them are left out. Of normally
distributed values none are: the fence is 28 standard deviations away. Nor are bright soil and roofs in a dark
scene, of which a fence of 10 still left out 2 % in blocks of a Sentinel-2 scene, and one of 5 nearly 5 %."""

SUSPICIOUS_SHARE = 0.05
"""Share of a band's values at one extreme from which a user is asked whether they are fill."""

_SHIFT = 17
_BINS = 2 ** (32 - _SHIFT)
_QUANTILES = ((0.25, 0.75), (0.10, 0.90), (0.01, 0.99))
_USUAL_FILL = frozenset({0.0, -9999.0, -32768.0, -32767.0, -99999.0, 65535.0})
_HUGE = 1e30
"""No measured value is beyond this; such values are counted as this, so that no square is infinite."""


@dataclass(frozen=True, kw_only=True)
class BandTally:
    """Counted values of one band; M bins that are not empty.

    Attributes:
        bins: (M,) uint16, ascending by value.
        count: (M,) int64.
        mean: (M,) float64.
        m2: (M,) float64, sum of squared distances from ``mean``.
        extremes: smallest and largest value.
        at_extremes: how many values equal them.
    """

    bins: NDArray[np.uint16]
    count: NDArray[np.int64]
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]
    extremes: tuple[float, float]
    at_extremes: tuple[int, int]

    @classmethod
    def of(cls, values: NDArray[Any]) -> BandTally:
        """Count ``values`` (N,) of any real dtype; those that are not finite are left out."""
        numbers, times = _distinct(values)
        if not len(numbers):
            nothing = np.zeros(0)
            return cls(
                bins=nothing.astype(np.uint16),
                count=nothing.astype(np.int64),
                mean=nothing,
                m2=nothing,
                extremes=(np.inf, -np.inf),
                at_extremes=(0, 0),
            )
        low, high = float(numbers.min()), float(numbers.max())
        at_extremes = _times_of(low, numbers, times), _times_of(high, numbers, times)
        numbers = numbers if max(-low, high) < _HUGE else np.clip(numbers, -_HUGE, _HUGE)
        places = _bin_of(numbers)
        count = np.bincount(places, times, minlength=_BINS)
        bins = np.flatnonzero(count)
        mean = _sums(places, numbers, times) / np.maximum(count, 1)
        # What summing rounded away: of a constant 0.1 it would make a spread, and hide one of 1e-6 at 1e8.
        mean += _sums(places, numbers - mean[places], times) / np.maximum(count, 1)
        m2 = _sums(places, np.square(numbers - mean[places]), times)
        return cls(
            bins=bins.astype(np.uint16),
            count=count[bins].astype(np.int64),
            mean=mean[bins],
            m2=m2[bins],
            extremes=(low, high),
            at_extremes=at_extremes,
        )

    def merge(self, other: BandTally) -> BandTally:
        """Both together (Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm")."""
        bins = np.union1d(self.bins, other.bins)
        (n_a, mean_a, m2_a), (n_b, mean_b, m2_b) = (tally._spread_over(bins) for tally in (self, other))
        n = n_a + n_b
        delta = np.where((n_a > 0) & (n_b > 0), mean_b - mean_a, 0.0)
        start = np.where(n_a > 0, mean_a, mean_b)
        low, high = min(self.extremes[0], other.extremes[0]), max(self.extremes[1], other.extremes[1])
        at = [
            sum(tally.at_extremes[end] for tally in (self, other) if tally.extremes[end] == extreme)
            for end, extreme in enumerate((low, high))
        ]
        return BandTally(
            bins=bins,
            count=n.astype(np.int64),
            mean=start + delta * n_b / n,
            m2=m2_a + m2_b + np.square(delta) * n_a * n_b / n,
            extremes=(low, high),
            at_extremes=(at[0], at[1]),
        )

    def _spread_over(
        self, bins: NDArray[np.uint16]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        spread = np.zeros((3, len(bins)))
        spread[:, np.searchsorted(bins, self.bins)] = self.count, self.mean, self.m2
        return spread[0], spread[1], spread[2]

    def fences(self) -> tuple[float, float]:
        """Values beyond these are far off; infinite where nothing can be.

        Quartiles tell what is usual as long as less than a quarter is not. Where they are the same (most of
        a band is zero), quantiles further out are taken.
        """
        reached = np.cumsum(self.count)
        for below, above in _QUANTILES:
            first, last = np.searchsorted(reached, [below * reached[-1], above * reached[-1]])
            if first != last:
                low, high = _edge(self.bins[first]), _edge(self.bins[last] + 1)
                return low - FENCE * (high - low), high + FENCE * (high - low)
        return -np.inf, np.inf

    def kept(self) -> NDArray[np.bool_]:
        """(M,) bins within the fences."""
        low, high = self.fences()
        return np.array([_edge(b + 1) > low and _edge(b) < high for b in self.bins.astype(int)], np.bool_)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counted values of all bands.

    Attributes:
        bands: one a band.
        fenced: whether far values are left out. Those of 8 bits never are: no value can be far off.
    """

    bands: tuple[BandTally, ...]
    fenced: bool

    @classmethod
    def empty(cls, bands: int, dtype: str) -> Tally:
        """Of no value at all."""
        nothing = BandTally.of(np.zeros(0, dtype))
        return cls(bands=(nothing,) * bands, fenced=np.dtype(dtype).itemsize > 1)

    @classmethod
    def of(cls, bands: NDArray[Any], valid: NDArray[np.bool_]) -> Tally:
        """Of one block: ``bands`` (B, H, W) where ``valid`` (H, W) or (B, H, W); finite values only."""
        masks = np.broadcast_to(valid, bands.shape)
        counted = tuple(BandTally.of(band[mask]) for band, mask in zip(bands, masks, strict=True))
        return cls(bands=counted, fenced=bands.dtype.itemsize > 1)

    def merge(self, other: Tally) -> Tally:
        """Both together."""
        pairs = zip(self.bands, other.bands, strict=True)
        return Tally(bands=tuple(one.merge(two) for one, two in pairs), fenced=self.fenced)

    @property
    def counts(self) -> tuple[int, ...]:
        """Values of each band."""
        return tuple(int(band.count.sum()) for band in self.bands)

    def stats(self) -> BandStats:
        """Statistics of the values that are not far off; every band must have one."""
        parts = [_moments(band, band.kept() if self.fenced else None) for band in self.bands]
        count, mean, m2 = zip(*parts, strict=True)
        return BandStats(
            count=count,
            mean=mean,
            m2=m2,
            minimum=tuple(band.extremes[0] for band in self.bands),
            maximum=tuple(band.extremes[1] for band in self.bands),
            limit_std=LIMIT_STD,
        )

    def left_out(self) -> tuple[float, ...]:
        """Share of each band's values that the statistics leave out."""
        if not self.fenced:
            return (0.0,) * len(self.bands)
        return tuple(
            float(1.0 - band.count[band.kept()].sum() / max(band.count.sum(), 1)) for band in self.bands
        )


def doubts(tally: Tally, names: Sequence[str], dtype: str, nodata: Collection[float] = ()) -> list[str]:
    """What a user should look at: bands that hold one value much too often, as fill without a tag does.

    Args:
        tally: of the whole land.
        names: one a band.
        dtype: of the bands.
        nodata: values known as nodata: where a band has one, others have values, or it would not be counted.
    """
    found: dict[tuple[float, bool], list[tuple[str, float]]] = {}
    for name, band in zip(names, tally.bands, strict=True):
        total = int(band.count.sum())
        constant = band.extremes[0] == band.extremes[1]
        fences = band.fences() if tally.fenced and total else (-np.inf, np.inf)
        for value, times in list(zip(band.extremes, band.at_extremes, strict=True))[: 1 if constant else 2]:
            far = value < fences[0] or value > fences[1]
            doubtful = constant or (value not in nodata and (far or _may_be_fill(value, dtype)))
            if times > SUSPICIOUS_SHARE * total and doubtful:
                found.setdefault((value, constant), []).append((name, times / total))
    return [_doubt(value, constant, bands) for (value, constant), bands in found.items()]


def _doubt(value: float, constant: bool, bands: Sequence[tuple[str, float]]) -> str:
    names = ", ".join(name for name, _ in bands)
    # All digits: a nodata value is compared with the pixels.
    shown = repr(value).removesuffix(".0")
    if constant:
        return f"{names}: the value is {shown} everywhere; leave it out with --bands"
    share = max(share for _, share in bands)
    return (
        f"{names}: {share:.0%} of the values are exactly {shown}; "
        f"if that means no data, tell it with --nodata {shown}"
    )


def _may_be_fill(value: float, dtype: str) -> bool:
    if np.issubdtype(np.dtype(dtype), np.integer):
        limits = np.iinfo(dtype)
        if value in (float(limits.min), float(limits.max)):
            return True
    return value in _USUAL_FILL or abs(value) > _HUGE


def _distinct(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Finite values as float64 and how often each is there; ``None`` for once each."""
    if values.dtype.itemsize <= 2 and np.issubdtype(values.dtype, np.integer):
        lowest = int(np.iinfo(values.dtype).min)
        histogram = np.bincount(values.astype(np.intp) - lowest)
        there = np.flatnonzero(histogram)
        return (there + lowest).astype(np.float64), histogram[there].astype(np.float64)
    numbers = values.astype(np.float64)
    return (
        (numbers[np.isfinite(numbers)], None) if np.issubdtype(values.dtype, np.floating) else (numbers, None)
    )


def _sums(
    places: NDArray[np.intp], values: NDArray[np.float64], times: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Sum of the values in each bin, (2^15,)."""
    weights = values if times is None else values * times
    return np.asarray(np.bincount(places, weights, minlength=_BINS), np.float64)


def _times_of(value: float, numbers: NDArray[np.float64], times: NDArray[np.float64] | None) -> int:
    there = numbers == value
    return int(np.count_nonzero(there) if times is None else times[there].sum())


def _bin_of(numbers: NDArray[np.float64]) -> NDArray[np.intp]:
    """Number of each value's bin: the leading bits of it as float32, in the order of the values."""
    # Adding zero makes one zero of two.
    bits = (numbers.astype(np.float32) + np.float32(0)).view(np.int32)
    ordered = bits ^ ((bits >> 31) & np.int32(0x7FFF_FFFF))
    return np.asarray((ordered >> _SHIFT) + _BINS // 2, np.intp)


def _edge(number: int) -> float:
    """Smallest value of a bin."""
    ordered = np.int64(int(number) - _BINS // 2) << _SHIFT
    bits = ordered if ordered >= 0 else ordered ^ 0x7FFF_FFFF
    edge = float(np.int32(bits).view(np.float32))
    # The bin after the last one begins at what is no number.
    return edge if np.isfinite(edge) else float("inf" if ordered > 0 else "-inf")


def _moments(band: BandTally, kept: NDArray[np.bool_] | None) -> tuple[int, float, float]:
    """Count, mean and sum of squared distances of the kept bins together."""
    chosen = slice(None) if kept is None else kept
    count, means, m2 = band.count[chosen], band.mean[chosen], band.m2[chosen]
    total = int(count.sum())
    if not total:
        return 0, 0.0, 0.0
    mean = float((count * (means - means[0])).sum() / total + means[0])
    return total, mean, float((m2 + count * np.square(means - mean)).sum())
