"""Labels that nobody should learn by: those at borders, which are drawn a pixel or two off."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import IGNORE
from geoseg.metrics import boundary_band


def ignore_rim(labels: NDArray[np.uint8], width_px: int, boundary: int | None = None) -> NDArray[np.uint8]:
    """Labels without the ``width_px`` pixels on either side of a border between two known classes.

    A pixel is one of them when a known pixel of another class is at most ``width_px`` away (Chebyshev
    distance). Edges of the chip and of unknown land (255) are no border. What is no wider than twice
    ``width_px`` is all rim and goes unlearned: choose it below half of the narrowest thing that matters.

    The boundary class is left alone, and so is the land beside it: its lines are as thin as a rim and would
    be gone. They are drawn by geometry to part things of one class, and where they lie is what a network
    is to learn. Two classes with a line between them that are near enough to each other have their rims.

    Args:
        labels: (H, W) class ids, 255 where unknown.
        width_px: 0 changes nothing.
        boundary: id of the class drawn between touching polygons, if there is one.

    Returns:
        (H, W), a copy unless nothing changes.
    """
    if width_px == 0:
        return labels
    sides = labels if boundary is None else np.where(labels == boundary, np.uint8(IGNORE), labels)
    # Unknown land all around, so that the outside of the array, which the band counts, is out of reach.
    wide = np.pad(sides, width_px, constant_values=IGNORE)
    rim = boundary_band(wide, width_px)[width_px:-width_px, width_px:-width_px]
    return np.where(rim, np.uint8(IGNORE), labels)
