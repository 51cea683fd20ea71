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


def random_crop(labels: NDArray[np.uint8], size_px: int, rng: np.random.Generator) -> tuple[slice, slice]:
    """A random square of ``labels`` (S, S), drawn again a few times while it holds nothing but 255."""
    height, width = labels.shape
    crop = (slice(0, size_px), slice(0, size_px))
    for _ in range(_CROP_TRIES):
        row = int(rng.integers(height - size_px + 1))
        col = int(rng.integers(width - size_px + 1))
        crop = (slice(row, row + size_px), slice(col, col + size_px))
        if (labels[crop] != IGNORE).any():
            break
    return crop


def jitter(
    image: NDArray[np.float32], seen: NDArray[np.bool_], config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Change brightness and contrast of each band, and add noise.

    Args:
        image: (B, H, W) normalised: in standard deviations from the band's mean.
        seen: pixels to change, (H, W) or (B, H, W); all others stay 0.
        config: how much.
        rng: where the randomness comes from.

    Returns:
        (B, H, W) float32.
    """
    shape = (len(image), 1, 1)
    gain = rng.uniform(1.0 - config.gain, 1.0 + config.gain, shape).astype(np.float32)
    offset = rng.uniform(-config.offset, config.offset, shape).astype(np.float32)
    changed = image * gain + offset
    if config.noise > 0.0:
        changed += np.float32(config.noise) * rng.standard_normal(image.shape, np.float32)
    return np.where(seen, changed, np.float32(0.0))
