"""What the network sees of a batch of raw bands, computed where the network runs.

The twin of :meth:`geoseg.classes.BandStats.normalise`, bit for bit: chips travel to a GPU in their own dtype,
a quarter of the bytes for the usual 8 bits, and the arithmetic happens there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geoseg.classes import BandStats
from geoseg.models.randomness import draw


class Normaliser:
    """Centres and scales bands by the statistics of the training chips."""

    def __init__(self, stats: BandStats, device: torch.device) -> None:
        def by_band(values: Sequence[float]) -> dict[torch.dtype, Tensor]:
            exact = torch.tensor(values, dtype=torch.float64, device=device).view(1, -1, 1, 1)
            return {dtype: exact.to(dtype) for dtype in (torch.float32, torch.float64)}

        self._mean = by_band(stats.mean)
        self._scale = by_band([1.0 / scale for scale in stats.scale])
        self._limit = stats.limit_std

    def __call__(self, bands: Tensor, valid: Tensor) -> Tensor:
        """Normalised bands.

        Args:
            bands: (N, B, H, W) of any real dtype.
            valid: (N, H, W) bool.

        Returns:
            (N, B, H, W) float32, channels last, 0 where not ``valid`` or not finite.
        """
        normal, usable = self._normalised(bands, valid)
        return torch.where(usable, normal, 0.0)

    def jittered(
        self,
        bands: Tensor,
        valid: Tensor,
        *,
        gain: Tensor,
        offset: Tensor,
        noise: Tensor,
        generators: Sequence[torch.Generator],
    ) -> Tensor:
        """Normalised bands, brighter or darker, richer or poorer in contrast, and noisy.

        Args:
            bands: (N, B, H, W) of any real dtype.
            valid: (N, H, W) bool.
            gain: (N, B) float32, to multiply normalised bands by.
            offset: (N, B) float32, to add then.
            noise: (N, B) float32, standard deviation of the noise.
            generators: of the noise, one a chip.

        Returns:
            (N, B, H, W) float32, channels last, 0 where not ``valid`` or not finite.
        """
        normal, usable = self._normalised(bands, valid)
        normal.mul_(gain[:, :, None, None]).add_(offset[:, :, None, None])
        if bool((noise > 0.0).any()):
            drawn = draw(generators, normal.shape[1:], kind=torch.randn)
            normal.addcmul_(drawn, noise[:, :, None, None])
        return torch.where(usable, normal, 0.0)

    def _normalised(self, bands: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised bands, and which of their pixels may be used: (N, 1 or B, H, W) bool."""
        exact = _exact_float(bands.dtype)
        normal = bands.to(exact, copy=True, memory_format=torch.channels_last)
        usable, floating = valid.unsqueeze(1), bands.dtype.is_floating_point
        if floating and self._limit is not None:
            # Before values grow beyond all numbers, as they may, up to the limit.
            usable = usable & torch.isfinite(normal.to(torch.float32))
        normal.sub_(self._mean[exact]).mul_(self._scale[exact])
        if self._limit is not None:
            normal.clamp_(-self._limit, self._limit)
        normal = normal.to(torch.float32)
        if floating and self._limit is None:
            usable = usable & torch.isfinite(normal)
        return normal, usable


def _exact_float(dtype: torch.dtype) -> torch.dtype:
    """:func:`geoseg.classes.exact_float` of torch."""
    return torch.float64 if dtype.itemsize > 2 and dtype != torch.float32 else torch.float32
