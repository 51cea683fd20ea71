"""What makes rare classes count: weights in the loss, and chips that are seen more often (no torch)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def class_weights(kind: str | Sequence[float], pixels: ArrayLike) -> list[float] | None:
    """Weight of each class in the loss, with mean 1 over the classes that have pixels.

    Of a class's number of pixels n, and before scaling, the laws are:

    - ``inverse``: 1 / n.
    - ``inverse_sqrt``: 1 / sqrt(n).
    - ``median_frequency``: the median of all f over the class's f, where f is the share the class has of the
      labelled pixels of those chips that hold it (Eigen and Fergus 2015). A class that is rare because few
      chips hold it gets less weight than by ``inverse``, and one that is thin wherever it is, as much.
    - ``effective``: one over the effective number of pixels, (1 - b^n) / (1 - b) (Cui et al. 2019). Of their
      b = (N - 1) / N, N is how many different samples a class can have. It is the geometric mean of the
      classes' pixels here: classes above it weigh nearly alike, and far below it the law is ``inverse``.
      Twice as many chips of the same land give the same weights, as by the other laws; a fixed b would not.

    No law is clipped: whoever fears the ratio of ``inverse`` has three that are gentler.

    Args:
        kind: ``none``, one of the laws, or the weights themselves.
        pixels: (K,) training pixels of each class, or (N, K) those of each chip, which ``median_frequency``
            wants; it takes one row for a single chip.

    Returns:
        One a class (1 for classes without pixels, which no loss sees), or ``None`` for ``none``.
    """
    if kind == "none":
        return None
    by_chip = np.atleast_2d(np.asarray(pixels, np.float64))
    present: NDArray[np.bool_] = by_chip.sum(axis=0) > 0
    weights = np.ones(len(present))
    if not present.any():
        return weights.tolist()
    if isinstance(kind, str):
        weights[present] = _by_law(kind, by_chip[:, present])
    else:
        weights[:] = kind
    weights[present] /= weights[present].mean()
    weights[~present] = 1.0
    return weights.tolist()


def _by_law(kind: str, by_chip: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of classes that all have pixels, (K,), not yet scaled."""
    counts: NDArray[np.float64] = by_chip.sum(axis=0)
    if kind == "inverse":
        return 1.0 / counts
    if kind == "inverse_sqrt":
        return 1.0 / np.sqrt(counts)
    if kind == "median_frequency":
        labelled = by_chip.sum(axis=1, keepdims=True)
        frequency = counts / np.where(by_chip > 0, labelled, 0.0).sum(axis=0)
        return np.asarray(np.median(frequency) / frequency)
    if kind == "effective":
        different = np.exp(np.log(counts).mean())
        # 1 - b^n by logarithms: b is so near to 1 that its powers would lose all digits.
        return np.asarray(-1.0 / np.expm1(counts * np.log1p(-1.0 / max(different, 1.0 + 1e-9))))
    raise ValueError(f"there is no law of class weights called {kind}")


def rare_order(
    class_pixels: ArrayLike, order: Sequence[int], share: float, *, seed: int, epoch: int
) -> list[int]:
    """The order of an epoch in which chips of rare classes come up more often.

    ``share`` of the places are dealt to the classes, the same number to each, and filled with chips that
    hold the class, as often as they have pixels of it: so every pixel of a class has the same chance to be
    shown. The other places keep the plain order, cut at its end.

    Repeat factors (Gupta et al. 2019, LVIS) were the alternative. They go by the number of images that hold
    a class, below a threshold made for a thousand classes; of a dozen classes of land most are in most chips,
    a few pixels of them, and no threshold fits all data. A share is what it says on any.

    Args:
        class_pixels: (N, K) pixels of each class in each chip.
        order: the plain order, chip numbers below N.
        share: 0 keeps it, 1 deals all places to classes.
        seed: of the randomness; with ``epoch`` it decides everything.
        epoch: number of the epoch.

    Returns:
        As many numbers as ``order`` has. A chip that comes up again has N added to its number each time, by
        which :class:`~geoseg.chips.dataset.ChipDataset` knows to change it in another way.
    """
    pixels = np.asarray(class_pixels, np.float64).reshape(len(order), -1)
    classes = np.flatnonzero(pixels.any(axis=0))
    dealt = round(share * len(order)) if len(classes) else 0
    if not dealt:
        return list(order)
    rng = np.random.default_rng([seed % 2**64, epoch, _RARE_ORDER])
    # Classes that get one place more than others change from epoch to epoch.
    places = np.bincount(np.arange(dealt) % len(classes), minlength=len(classes))[
        rng.permutation(len(classes))
    ]
    chosen = [
        _evenly(pixels[:, number], int(count), rng) for number, count in zip(classes, places, strict=True)
    ]
    everything = np.concatenate([np.asarray(order[: len(order) - dealt], np.int64), *chosen])
    return _told_apart(everything[rng.permutation(len(everything))].tolist())


_RARE_ORDER = 0x5241_5245
"""Keeps the draws of this order apart from those of chips, whose generators are seeded alike."""


def _evenly(weights: NDArray[np.float64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """``count`` numbers, each as often as its weight says, up or down by less than one (systematic)."""
    shuffled = rng.permutation(len(weights))
    reached = np.cumsum(weights[shuffled])
    marks = (np.arange(count) + rng.random()) * (reached[-1] / max(count, 1))
    at = np.minimum(np.searchsorted(reached, marks, side="right"), np.flatnonzero(weights[shuffled])[-1])
    chosen: NDArray[np.int64] = shuffled[at].astype(np.int64)
    return chosen


def _told_apart(chips: Sequence[int]) -> list[int]:
    times: dict[int, int] = {}
    apart = []
    for chip in chips:
        apart.append(chip + times.get(chip, 0) * len(chips))
        times[chip] = times.get(chip, 0) + 1
    return apart
