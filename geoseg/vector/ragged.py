"""Ragged arrays: rings straight from their coordinates, without an object for any of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def ring_measures(
    points: NDArray[np.float64], ring_offsets: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Area and length of closed rings on the plane.

    Args:
        points: (V, 2) x and y; the first point of each ring again at its end.
        ring_offsets: (R + 1,) where each ring begins in ``points``, from 0 to V; no ring is empty.

    Returns:
        (R,) areas by the shoelace formula, positive for counter-clockwise rings, and (R,) lengths.
    """
    starts = ring_offsets[:-1]
    if not len(starts):
        return np.empty(0), np.empty(0)
    # From the first point of each ring: products of large coordinates would cost small areas their digits. It
    # also puts the ends of a ring where the next one starts, so that nothing comes from in between.
    counts = np.diff(ring_offsets)
    x, y = (axis - np.repeat(axis[starts], counts) for axis in points.T)
    double, steps = np.zeros(len(points)), np.zeros(len(points))
    double[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    steps[:-1] = np.sqrt(np.diff(x) ** 2 + np.diff(y) ** 2)
    return np.add.reduceat(double, starts) / 2.0, np.add.reduceat(steps, starts)


def ranges(begins: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """All of ``begins[i], begins[i] + 1, ...`` one after the other."""
    offsets = np.cumsum(counts) - counts
    return np.repeat(begins - offsets, counts) + np.arange(counts.sum())
