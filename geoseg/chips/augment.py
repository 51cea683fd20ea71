"""Random changes of training chips, each a pure function of a generator's state."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import IGNORE
from geoseg.config import AugmentConfig

_CROP_TRIES = 4


def d4(pixels: NDArray[Any], element: int) -> NDArray[Any]:
    """Turn and flip the last two axes.

    Args:
        pixels: (..., S, S).
        element: one of the eight symmetries of the square: quarter turns are ``element % 4``, and from 4 on
            columns are reversed after them. 0 changes nothing.

    Returns:
        (..., S, S), a view.
    """
    turned = np.rot90(pixels, element % 4, axes=(-2, -1))
    return turned[..., ::-1] if element >= 4 else turned


def random_crop(
    labels: NDArray[np.uint8], size_px: int, rng: np.random.Generator, keep: tuple[int, int] | None = None
) -> tuple[slice, slice]:
    """A random square of a chip, drawn again a few times while it holds nothing but 255.

    Args:
        labels: (S, S) of the chip.
        size_px: side of the square.
        rng: where the randomness comes from.
        keep: a pixel (row, column) that must be in the square, anywhere in it with the same chance.
    """
    height, width = labels.shape
    crop = (slice(0, size_px), slice(0, size_px))
    (low_row, high_row), (low_col, high_col) = (
        (0, length - size_px)
        if keep is None
        else (max(0, keep[axis] - size_px + 1), min(keep[axis], length - size_px))
        for axis, length in enumerate((height, width))
    )
    for _ in range(_CROP_TRIES):
        row = int(rng.integers(low_row, high_row + 1))
        col = int(rng.integers(low_col, high_col + 1))
        crop = (slice(row, row + size_px), slice(col, col + size_px))
        if (labels[crop] != IGNORE).any():
            break
    return crop


def rare_pixel(labels: NDArray[np.uint8], share: float, rng: np.random.Generator) -> tuple[int, int] | None:
    """A pixel (row, column) to show, in ``share`` of all cases: each class of the chip has the same chance.

    Args:
        labels: (H, W) class ids, 255 where unknown.
        share: 0 draws nothing from ``rng``.
        rng: where the randomness comes from.

    Returns:
        A labelled pixel; ``None`` in the other cases, or without one.
    """
    if share == 0.0 or rng.random() >= share:
        return None
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=IGNORE + 1)[:IGNORE])
    if not len(present):
        return None
    pixels = np.flatnonzero(labels.ravel() == present[rng.integers(len(present))])
    row, col = divmod(int(pixels[rng.integers(len(pixels))]), labels.shape[1])
    return row, col


def draw_jitter(
    bands: int, config: AugmentConfig, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """How much brighter, richer in contrast and noisier each band becomes.

    Args:
        bands: B.
        config: how much at most.
        rng: where the randomness comes from.

    Returns:
        Gain, offset and standard deviation of the noise, (B,) float32 each, of normalised values: in standard
        deviations from the band's mean.
    """
    gain = rng.uniform(1.0 - config.gain, 1.0 + config.gain, bands).astype(np.float32)
    offset = rng.uniform(-config.offset, config.offset, bands).astype(np.float32)
    return gain, offset, np.full(bands, config.noise, np.float32)


def draw_dropped(bands: int, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Bands to show as nothing but their mean, so that the network learns not to lean on one of them.

    Args:
        bands: B.
        share: chance of each band; 0 draws nothing from ``rng``. One band always stays.
        rng: where the randomness comes from.

    Returns:
        (B,) bool.
    """
    if share == 0.0:
        return np.zeros(bands, np.bool_)
    dropped = rng.random(bands) < share
    # Drawn whether it is needed or not, so that what follows does not hang on it.
    kept = int(rng.integers(bands))
    if dropped.all():
        dropped[kept] = False
    return dropped
