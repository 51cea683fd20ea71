"""Weights that make rare classes count (no torch)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def class_weights(kind: str | Sequence[float], pixels: Sequence[int]) -> list[float] | None:
    """Weight of each class in the loss, with mean 1 over the classes that have pixels.

    Args:
        kind: ``none``, ``inverse`` or ``inverse_sqrt`` (of the number of pixels), or the weights themselves.
        pixels: training pixels of each class.

    Returns:
        One a class (1 for classes without pixels, which no loss sees), or ``None`` for ``none``.
    """
    if kind == "none":
        return None
    counts = np.asarray(pixels, np.float64)
    present = counts > 0
    weights = np.ones(len(counts))
    if isinstance(kind, str):
        weights[present] = counts[present] ** (-1.0 if kind == "inverse" else -0.5)
    else:
        weights[:] = kind
    weights[present] /= weights[present].mean()
    weights[~present] = 1.0
    return [float(weight) for weight in weights]
