"""Band statistics straight from numpy, for the tests of every room."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import BandStats


def stats_of(bands: NDArray[Any], valid: NDArray[np.bool_], *, limit_std: float | None = None) -> BandStats:
    """Statistics of all finite values of ``bands`` (B, H, W) where ``valid`` (H, W)."""
    values = [band[valid & np.isfinite(band)].astype(np.float64) for band in bands]
    return BandStats(
        count=tuple(len(band) for band in values),
        mean=tuple(float(band.mean()) for band in values),
        m2=tuple(float(band.var() * len(band)) for band in values),
        minimum=tuple(float(band.min()) for band in values),
        maximum=tuple(float(band.max()) for band in values),
        limit_std=limit_std,
    )
