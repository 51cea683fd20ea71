"""What all scores share: ids that are checked, shares without division by nothing, means of what is there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import IGNORE


def mean_present(scores: NDArray[np.float64]) -> float:
    """Mean of the scores that are not NaN; NaN when there is none."""
    present = scores[~np.isnan(scores)]
    return float(present.mean()) if present.size else math.nan


def json_score(score: float) -> float | None:
    """One score as JSON has it: ``null`` for NaN."""
    return None if math.isnan(score) else float(score)


def share(part: Any, whole: Any, *, empty: float = math.nan) -> NDArray[np.float64]:
    """``part / whole`` with ``empty`` where ``whole`` is 0."""
    shares: NDArray[np.float64] = np.full(np.shape(whole), empty)
    np.divide(part, whole, out=shares, where=np.greater(whole, 0))
    return shares


def checked_ids(
    truth: NDArray[Any], prediction: NDArray[Any], classes: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Both as uint8, when they fit each other and hold nothing but class ids and 255."""
    if truth.shape != prediction.shape:
        raise ValueError(f"truth of shape {truth.shape} and prediction of shape {prediction.shape}")
    return _as_ids(truth, classes, "truth"), _as_ids(prediction, classes, "prediction")


def _as_ids(ids: NDArray[Any], classes: int, name: str) -> NDArray[np.uint8]:
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{name} is {ids.dtype}; class ids are integers")
    foreign = (ids < 0) | (ids >= classes)
    foreign &= ids != IGNORE
    if foreign.any():
        raise ValueError(f"{name} holds id {ids[foreign].min()}; ids are 0..{classes - 1} and {IGNORE}")
    return ids.astype(np.uint8, copy=False)
