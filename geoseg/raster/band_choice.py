"""Which bands of a raster are read, as what, and which of them say where there is no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from rasterio.enums import MaskFlags

from geoseg.errors import SceneError

MAX_UNCHOSEN_BANDS = 64
"""A scene with more bands needs a choice: nobody means all 285 of them."""


def choose_bands(count: int, alpha: int | None, wanted: Sequence[int] | None, where: str) -> tuple[int, ...]:
    """1-based bands to read of ``count``: those wanted, else all but alpha.

    Raises:
        SceneError: there is no such band, or too many where none were chosen; ``where`` names the file.
    """
    if wanted is not None:
        wrong = [band for band in wanted if not 1 <= band <= count]
        if wrong or not wanted:
            named = f"no band {wrong[0]}" if wrong else "no such bands"
            raise SceneError(f"{where} has {named}; choose from 1..{count}")
        return tuple(wanted)
    # A file that is nothing but alpha is read as what it is: one band.
    chosen = tuple(band for band in range(1, count + 1) if band != alpha or count == 1)
    if len(chosen) > MAX_UNCHOSEN_BANDS:
        raise SceneError(f"{where} has {count} bands; choose some of them with --bands")
    return chosen


def band_name(description: str | None, band: int) -> str:
    """A band's description, else ``band N``."""
    name = " ".join((description or "").split())[:80]
    return name if name.isprintable() and name else f"band {band}"


def common_dtype(dtypes: Sequence[str], where: str) -> str:
    """The numpy dtype that holds all values of bands of some rasterio dtypes.

    Raises:
        SceneError: the numbers are complex.
    """
    if any(dtype.startswith("complex") for dtype in dtypes):
        raise SceneError(f"{where} holds complex numbers; give amplitude or intensity as real numbers")
    return str(np.result_type(*dtypes))


def mask_sources(dataset: Any, chosen: Sequence[int]) -> tuple[int, ...]:
    """Bands whose GDAL mask says more than their nodata value and alpha do."""
    flags = {band: set(dataset.mask_flag_enums[band - 1]) for band in chosen}
    sources = [
        band
        for band, flag in flags.items()
        if not flag & {MaskFlags.all_valid, MaskFlags.alpha} and flag != {MaskFlags.nodata}
    ]
    shared = all(MaskFlags.per_dataset in flags[band] for band in sources)
    return tuple(sources[:1] if shared else sources)


def as_dtype(nodata: float | None, dtype: np.dtype[Any]) -> Any:
    """``nodata`` as the bands hold it, or ``None`` when no pixel can equal it."""
    if nodata is None or np.isnan(nodata):
        return None  # not-a-number is invalid anyway
    if np.issubdtype(dtype, np.floating):
        return dtype.type(nodata)
    limits = np.iinfo(dtype)
    return dtype.type(nodata) if float(nodata).is_integer() and limits.min <= nodata <= limits.max else None
