"""Pixels of a mask by class, counted window by window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import SceneError
from geoseg.facts.common import Facts, share
from geoseg.progress import Progress
from geoseg.raster.mask import Mask
from geoseg.raster.windows import block_windows
from geoseg.vector.place import Place

MAX_IDS = 100_000
"""Most different ids that are counted."""

_WINDOW_PX = 2048


def counted(mask: Mask, rows: Sequence[Facts], colors: Mapping[int, str], progress: Progress) -> Facts:
    """The classes with pixels, share of the pixels with data, and area on the ground.

    Args:
        mask: memory does not grow with it.
        rows: what is known of the classes; ids that nothing tells about get a row of their own.
        colors: ``#RRGGBB`` by id.
        progress: told about every window.

    Raises:
        SceneError: a value is no id, or there are too many.
        ReadError: the file is damaged.
    """
    pixels, area_m2 = _count(mask, progress)
    nodata = pixels.pop(mask.absent, 0)
    known = {row["id"]: row for row in rows}
    for class_id in pixels.keys() - known.keys():
        known[class_id] = {"id": class_id, "class": None, "color": colors.get(class_id), "role": None}
    whole = pixels.total()
    return {
        "classes": [
            {
                **known[class_id],
                "pixels": pixels[class_id],
                "share": share(pixels[class_id], whole),
                "area_m2": None if area_m2 is None else round(area_m2.get(class_id, 0.0), 3),
            }
            for class_id in sorted(known)
        ],
        "nodata_pixels": nodata,
        "nodata_share": share(nodata, mask.geobox.height * mask.geobox.width),
    }


def _count(mask: Mask, progress: Progress) -> tuple[Counter[int], dict[int, float] | None]:
    """Pixels and area of each id; no areas where the size of a pixel is not known."""
    rows_m2 = Place.of(mask.geobox, mask.path).row_areas_m2()
    pixels, area_m2 = Counter[int](), dict[int, float]()
    windows = list(block_windows(mask.geobox.shape, _WINDOW_PX))
    progress.begin("count", len(windows), "windows")
    for window in windows:
        ids = mask.read_ids(window)
        found, place = _distinct(ids)
        counts = np.bincount(place.ravel(), minlength=len(found))
        pixels.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
        if rows_m2 is not None:
            of_rows = rows_m2[window.row_off : window.row_off + window.height]
            areas = np.bincount(place.ravel(), np.repeat(of_rows, ids.shape[1]), minlength=len(found))
            for class_id, area in zip(found.tolist(), areas.tolist(), strict=True):
                area_m2[class_id] = area_m2.get(class_id, 0.0) + area
        if len(pixels) > MAX_IDS:
            raise SceneError(f"file {mask.path} has more than {MAX_IDS:,} different values; is it a mask?")
        progress.advance()
    progress.end()
    return +pixels, None if rows_m2 is None else area_m2


def _distinct(ids: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Values that occur (of bytes all that may), and where each pixel's stands among them."""
    if ids.dtype == np.uint8:
        return np.arange(256), ids
    found, place = np.unique(ids, return_inverse=True)
    return found, place
