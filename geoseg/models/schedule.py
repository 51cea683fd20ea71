"""Learning rate as a function of the step, so that a resumed run is exactly where it was.

Nothing here has state: the rate of step ``t`` follows from ``t`` and the length of the run alone.
"""

from __future__ import annotations

import math
from typing import Literal

WARM_UP_SHARE = 0.3
FIRST_RATIO = 25.0
LAST_RATIO = 1e4
POLY_POWER = 0.9


def learning_rate(
    schedule: Literal["one_cycle", "poly", "constant"], step: float, steps: int, *, peak: float
) -> float:
    """Learning rate of one step.

    Args:
        schedule: ``one_cycle``: up along a half cosine during the first 30 % of the run, then down along
            another (Smith and Topin, "Super-Convergence", arXiv 1708.07120, in the shape of torch's
            ``OneCycleLR``); ``poly``: ``(1 - t / T) ** 0.9`` (DeepLab, arXiv 1606.00915); ``constant``.
        step: steps done before this one, from 0, below ``steps``; a run that changed its batch size may
            stand between two.
        steps: steps of the whole run.
        peak: the highest rate of the run.

    Raises:
        ValueError: ``step`` lies outside of the run.
    """
    if not 0 <= step < steps:
        raise ValueError(f"step {step} of a run of {steps} steps")
    if schedule == "constant":
        return peak
    if schedule == "poly":
        return float(peak * (1.0 - step / steps) ** POLY_POWER)
    return _one_cycle(step, steps, peak)


def _one_cycle(step: float, steps: int, peak: float) -> float:
    first = peak / FIRST_RATIO
    # In a run of a few steps the top may lie before the first step, or after the last one.
    top = max(0.0, WARM_UP_SHARE * steps - 1.0)
    if step <= top and top > 0.0:
        return _half_cosine(first, peak, step / top)
    rest = steps - 1.0 - top
    return _half_cosine(peak, first / LAST_RATIO, (step - top) / rest if rest > 0.0 else 0.0)


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) / 2.0 * (1.0 + math.cos(math.pi * share))
