"""Noise that tiles the plane: the same place always gets the same value, whatever part is rendered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TILE_PX = 1024
TILE_STEP_M = 0.3
"""Side of a noise pixel; a tile covers about 307 m."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Textures:
    """Periodic noise tiles (TILE_PX, TILE_PX) float32 of mean 0 and standard deviation 1.

    Attributes:
        cloud: spots of all sizes (power spectrum of a fractal), for growth and soil.
        clump: spots of one to two metres, for leaves and tufts.
        streak: long in the first axis (x), thin in the second, for what tractors leave.
        grain: white noise.
    """

    cloud: Floats
    clump: Floats
    streak: Floats
    grain: Floats

    @classmethod
    def of(cls, rng: np.random.Generator) -> Textures:
        """New tiles."""
        frequency_y = np.fft.fftfreq(TILE_PX, TILE_STEP_M)[:, np.newaxis]
        frequency_x = np.fft.rfftfreq(TILE_PX, TILE_STEP_M)[np.newaxis, :]
        frequency = np.hypot(frequency_x, frequency_y)
        cloud = (frequency + 0.008) ** -1.7
        clump = np.exp(-((frequency - 0.45) ** 2) / (2 * 0.2**2))
        streak = np.exp(-((frequency_x * 30.0) ** 2)) * np.exp(-((frequency_y * 0.7) ** 2))
        return cls(
            cloud=_filtered(rng, cloud),
            clump=_filtered(rng, clump),
            streak=_filtered(rng, streak),
            grain=rng.standard_normal((TILE_PX, TILE_PX), np.float32),
        )


def _filtered(rng: np.random.Generator, gain: NDArray[np.float64]) -> Floats:
    """White noise whose spectrum is multiplied by ``gain`` (TILE_PX, TILE_PX // 2 + 1)."""
    spectrum = np.fft.rfft2(rng.standard_normal((TILE_PX, TILE_PX))) * gain
    spectrum[0, 0] = 0.0
    noise = np.fft.irfft2(spectrum, s=(TILE_PX, TILE_PX))
    even: Floats = (noise / noise.std()).astype(np.float32)
    return even


def sample(tile: Floats, x_m: Floats, y_m: Floats, *, stretch: float = 1.0) -> Floats:
    """Noise at places in metres (broadcast), nearest neighbour; ``stretch`` enlarges the pattern."""
    step = np.float32(1.0 / (TILE_STEP_M * stretch))
    columns = np.floor(x_m * step).astype(np.int32) & (TILE_PX - 1)
    rows = np.floor(y_m * step).astype(np.int32) & (TILE_PX - 1)
    found: Floats = tile.ravel()[rows * TILE_PX + columns]
    return found
