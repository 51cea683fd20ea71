"""What the pixels of a scene, or of its chips, are like: counted piece by piece, judged at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.health.finding import Finding, finding, plural

MOSTLY_NODATA = 0.9
HALF_NODATA = 0.5
BLANK_SHARE = 0.03
"""Share of valid pixels that are 0 (or the greatest value) in every band, from which on it is told."""

SATURATED_SHARE = 0.1


class Tally:
    """Counts of pixels.

    Attributes:
        pixels: pixels seen.
        valid: those of them that are valid.
        labelled: those of them that are labelled too.
        low: smallest value of each band among the valid pixels.
        high: greatest value of each band among them.
        full: (B,) valid pixels of each band at the greatest value of the dtype; 0 for floating point.
        all_zero: valid pixels that are 0 in every band.
        all_full: valid pixels at the greatest value in every band.
        ids: (256,) labelled and unknown valid pixels of each class id.
    """

    def __init__(self, bands: int, dtype: str) -> None:
        self.pixels = self.valid = self.labelled = self.all_zero = self.all_full = 0
        self.low, self.high = np.full(bands, np.inf), np.full(bands, -np.inf)
        self.full = np.zeros(bands, np.int64)
        self.ids = np.zeros(256, np.int64)
        kind = np.dtype(dtype)
        self.top = int(np.iinfo(kind).max) if np.issubdtype(kind, np.integer) else None

    def add(self, bands: NDArray[Any], valid: NDArray[np.bool_], ids: NDArray[np.uint8]) -> None:
        """Count a piece: ``bands`` (B, H, W), ``valid`` (H, W), class ``ids`` (H, W), 255 where unknown."""
        self.pixels += valid.size
        values = bands[:, valid]
        self.valid += values.shape[1]
        counts = np.bincount(ids[valid], minlength=256)
        self.ids += counts
        self.labelled += int(counts[:255].sum())
        if not values.shape[1]:
            return
        finite = np.where(np.isfinite(values), values, np.nan) if values.dtype.kind == "f" else values
        some = np.isfinite(values).any(axis=1)
        self.low[some] = np.minimum(self.low[some], np.nanmin(finite[some], axis=1))
        self.high[some] = np.maximum(self.high[some], np.nanmax(finite[some], axis=1))
        self.all_zero += int((values == 0).all(axis=0).sum())
        if self.top is not None:
            full = values == self.top
            self.full += full.sum(axis=1)
            self.all_full += int(full.all(axis=0).sum())

    def share(self, count: int) -> float:
        """``count`` as a share of the valid pixels."""
        return count / self.valid if self.valid else 0.0


def pixel_findings(
    tallies: Mapping[str, Tally], band_names: Mapping[str, Sequence[str]], *, sampled: bool
) -> list[Finding]:
    """Judge the pixels of scenes.

    Args:
        tallies: by name of the scene.
        band_names: by name of the scene.
        sampled: whether only some windows of the scenes were looked at.
    """
    found = _nodata(tallies, "of what was looked at" if sampled else "of the pixels")
    found += _blank(tallies, 0, lambda tally: tally.all_zero)
    for top in sorted({tally.top for tally in tallies.values() if tally.top is not None}):
        alike = {name: tally for name, tally in tallies.items() if tally.top == top}
        found += _blank(alike, top, lambda tally: tally.all_full)
    found += _bands(tallies, band_names, "of what was looked at" if sampled else "of the pixels")
    return found


def _nodata(tallies: Mapping[str, Tally], of_what: str) -> list[Finding]:
    missing = {name: 1.0 - tally.valid / tally.pixels for name, tally in tallies.items() if tally.pixels}
    none = [name for name, share in missing.items() if share == 1.0]
    most = {name: share for name, share in missing.items() if MOSTLY_NODATA <= share < 1.0}
    half = {name: share for name, share in missing.items() if HALF_NODATA <= share < MOSTLY_NODATA}
    found = []
    if none:
        found.append(
            finding(
                "warning" if len(none) < len(missing) else "error",
                "nodata",
                f"{plural(len(none), 'scene')} without a valid pixel",
                "leave them out, or give the right nodata value with --nodata",
                none,
            )
        )
    if most:
        found.append(
            finding(
                "warning",
                "nodata",
                f"more than {MOSTLY_NODATA:.0%} {of_what} are nodata in {plural(len(most), 'scene')}",
                "check the nodata value and the mask of the scene in a GIS",
                _with_shares(most),
            )
        )
    if half:
        found.append(
            finding(
                "note",
                "nodata",
                f"more than half {of_what} are nodata in {plural(len(half), 'scene')}",
                "nothing, if the scenes are meant to have such edges: invalid pixels are not trained on",
                _with_shares(half),
            )
        )
    return found


def _blank(tallies: Mapping[str, Tally], value: int, count_of: Callable[[Tally], int]) -> list[Finding]:
    shares = {name: tally.share(count_of(tally)) for name, tally in tallies.items() if len(tally.full) > 1}
    blank = {
        name: share
        for name, share in shares.items()
        # A scene of one value everywhere is told as constant.
        if share >= BLANK_SHARE and bool((tallies[name].low < tallies[name].high).any())
    }
    if not blank:
        return []
    return [
        finding(
            "warning",
            "blank",
            f"pixels that are {value} in every band but count as valid, in {plural(len(blank), 'scene')}",
            f"if they are no ground, tile with --nodata {value}, else the model learns them as such",
            _with_shares(blank),
        )
    ]


def _bands(
    tallies: Mapping[str, Tally], band_names: Mapping[str, Sequence[str]], of_what: str
) -> list[Finding]:
    constant, saturated = [], {}
    for name, tally in tallies.items():
        if not tally.valid:
            continue
        for band, low, high, full in zip(band_names[name], tally.low, tally.high, tally.full, strict=True):
            share = tally.share(int(full) - tally.all_full)
            if low == high:
                constant.append(f"{name}: {band} is {low:g}")
            elif share >= SATURATED_SHARE:
                saturated[f"{name}: {band}"] = share
    found = []
    if constant:
        found.append(
            finding(
                "warning",
                "constant",
                f"{plural(len(constant), 'band')} with one value in all {of_what}",
                "leave such a band out with --bands, or check how the scene was written",
                constant,
            )
        )
    if saturated:
        found.append(
            finding(
                "warning",
                "saturated",
                f"{plural(len(saturated), 'band')} at the greatest possible value in more than "
                f"{SATURATED_SHARE:.0%} {of_what}",
                "check how the scene was scaled to its number type; what is cut off cannot be learnt from",
                _with_shares(saturated),
            )
        )
    return found


def _with_shares(shares: Mapping[str, float]) -> list[str]:
    """Names with their shares, the greatest first."""
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return [f"{name} ({share:.1%})" for name, share in ordered]
