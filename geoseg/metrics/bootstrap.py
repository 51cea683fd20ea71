"""How sure a score is: intervals by resampling blocks of land.

Neighbouring pixels are right or wrong together, so a million of them are no million independent trials, and
an interval over pixels would be far too narrow. Whole blocks of land are drawn instead, with replacement, and
the score is computed from what they add up to (Lahiri, 2003, "Resampling Methods for Dependent Data"). That
holds when blocks are larger than what they are of: fields, houses.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Interval: TypeAlias = tuple[float, float]
"""The 2.5 and the 97.5 percentile."""

MIN_BLOCKS = 10
"""Of fewer blocks no interval is made: it would say little, and be too narrow."""

MAX_BLOCKS = 20_000

_DRAWS = 1000
_DRAWS_AT_ONCE = 50
_SEED = 0


def resample(
    blocks: Mapping[Hashable, NDArray[Any]], among: Mapping[Hashable, Any] | None = None
) -> NDArray[np.float64] | None:
    """Sums over blocks drawn with replacement, as many as there are.

    The draws depend on the blocks' names and number only: two tables drawn ``among`` the same blocks are
    paired draw by draw.

    Args:
        blocks: counts of each block, all of one shape (...).
        among: blocks to draw from, those without counts included; ``blocks`` when not given.

    Returns:
        (1000, ...) float64, or ``None`` when there are fewer than :data:`MIN_BLOCKS`.
    """
    names = sorted(blocks if among is None else among, key=repr)
    if len(names) < MIN_BLOCKS or not blocks:
        return None
    shape = next(iter(blocks.values())).shape
    zero = np.zeros(shape)
    counts = np.stack([np.asarray(blocks.get(name, zero), np.float64).ravel() for name in names])
    rng = np.random.default_rng(_SEED)
    sums = np.empty((_DRAWS, counts.shape[1]))
    even = np.full(len(names), 1.0 / len(names))
    for first in range(0, _DRAWS, _DRAWS_AT_ONCE):
        sums[first : first + _DRAWS_AT_ONCE] = rng.multinomial(len(names), even, _DRAWS_AT_ONCE) @ counts
    return sums.reshape(_DRAWS, *shape)


def interval(scores: NDArray[np.float64]) -> Interval | None:
    """The interval that holds 95 % of (R,) scores; NaN is left out, ``None`` when nothing is left."""
    known = scores[~np.isnan(scores)]
    if not known.size:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
