"""Facts of chips folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geoseg.chips.store import SPLITS, Chip, ChipStore
from geoseg.facts.common import Facts, band_rows, class_rows, crs_facts, share


def chips_facts(folder: Path) -> Facts:
    """What a chips folder holds, from its ``chips.json`` alone.

    Shares count a pixel as often as chips show it, as training does.

    Raises:
        ChipsError: it is no chips folder, or a damaged one.
    """
    store = ChipStore.open(folder)
    by_split = {split: store.chips(split) for split in SPLITS}
    pixels = {
        split: np.array([chip.class_pixels for chip in chips], np.int64).sum(axis=0)
        for split, chips in by_split.items()
        if chips
    }
    rows = class_rows(store.classes)
    for row in rows:
        for split in SPLITS:
            counts = pixels.get(split)
            row[f"{split}_share"] = None if counts is None else share(counts[row["id"]], counts.sum())
    return {
        "kind": "chips",
        "path": str(folder),
        "chips": {split: len(chips) for split, chips in by_split.items()},
        "splits": [_split_row(split, chips, store.size_px) for split, chips in by_split.items()],
        "classes": rows,
        "bands": band_rows(store.band_names, store.stats),
        "dtype": store.dtype,
        "gsd_m": store.gsd_m,
        "gsd_range_m": None if store.gsd_range_m is None else list(store.gsd_range_m),
        "chip_size_px": store.size_px,
        "overlap_px": store.overlap_px,
        **_crs(store.crs_wkt),
        "scene_count": len(store.scenes),
        "scenes": list(store.scenes),
        "sha256": store.fingerprint(),
    }


def _split_row(split: str, chips: Sequence[Chip], size_px: int) -> Facts:
    area = len(chips) * size_px**2
    labelled = sum(sum(chip.class_pixels) for chip in chips)
    valid = sum(chip.valid_share for chip in chips)
    return {
        "split": split,
        "chips": len(chips),
        "scenes": len({chip.scene for chip in chips}),
        "nodata_share": share(len(chips) - valid, len(chips)),
        "labelled_share": share(labelled, area),
    }


def _crs(wkt: str | None) -> Facts:
    """The CRS that all scenes have; of text that is none, nothing is known."""
    from rasterio.crs import CRS

    from geoseg.raster.crs_text import names_a_file
    from geoseg.raster.gdal import GDAL_ERRORS

    try:
        return crs_facts(None if wkt is None or names_a_file(wkt) else CRS.from_wkt(wkt))
    except GDAL_ERRORS:
        return crs_facts(None)
