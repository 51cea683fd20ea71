"""Objects as cut-out masks: how much of each other they and their outlines share, in whole pixels.

A chip holds hundreds of objects, each on a few hundred pixels; so each keeps the rectangle it lies in, and
only those whose rectangles meet are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.metrics.boundary import boundary_band
from geoseg.metrics.objects import Overlaps


@dataclass(frozen=True, kw_only=True)
class Region:
    """Pixels of one object, cut out of an image.

    Attributes:
        row: of the image, where the first row of ``mask`` lies.
        col: of the image, where its first column lies.
        mask: (h, w) bool, the object's pixels; all beyond are not its own.
    """

    row: int
    col: int
    mask: NDArray[np.bool_]

    @classmethod
    def of(cls, mask: NDArray[Any], row: int = 0, col: int = 0) -> Self:
        """The smallest cut-out of a mask (H, W), nonzero where the object is; of an empty one (0, 0).

        Args:
            mask: whole image or any part of it.
            row: of the image, where the first row of ``mask`` lies.
            col: where its first column lies.
        """
        mask = np.asarray(mask) != 0
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return cls(row=row, col=col, mask=np.zeros((0, 0), np.bool_))
        cut = mask[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1]
        return cls(row=row + int(rows[0]), col=col + int(cols[0]), mask=np.ascontiguousarray(cut))

    @property
    def area(self) -> int:
        """Its pixels."""
        return int(np.count_nonzero(self.mask))

    def band(self, width_px: int) -> Region:
        """The pixels just inside of its outline; the edge of the image is an outline, as in the paper.

        Args:
            width_px: how far from the outline at most (Chebyshev distance).
        """
        if not self.mask.size:
            return self
        return Region(
            row=self.row, col=self.col, mask=self.mask & boundary_band(self.mask.astype(np.uint8), width_px)
        )


def region_overlaps(
    truth: Sequence[Region],
    truth_class: NDArray[np.integer[Any]],
    prediction: Sequence[Region],
    prediction_class: NDArray[np.integer[Any]],
) -> Overlaps:
    """Find the pairs of one class that share pixels.

    Args:
        truth: N true objects of an image; they may overlap.
        truth_class: (N,) their class ids.
        prediction: M predicted ones.
        prediction_class: (M,) their class ids.
    """
    some, found = _meeting(truth, prediction)
    same = np.asarray(truth_class)[some] == np.asarray(prediction_class)[found]
    some, found = some[same], found[same]
    shared = _shared(truth, prediction, some, found)
    real = shared > 0.0
    return Overlaps(
        truth=some[real],
        prediction=found[real],
        shared=shared[real],
        truth_area=np.array([region.area for region in truth], np.float64),
        prediction_area=np.array([region.area for region in prediction], np.float64),
    )


def region_band_iou(
    truth: Sequence[Region],
    prediction: Sequence[Region],
    pairs: Overlaps,
    width_px: int,
    *,
    least: float = 0.5,
) -> NDArray[np.float64]:
    """Boundary IoU of pairs, (P,): IoU of the bands just inside of their outlines.

    Args:
        truth: as :func:`region_overlaps` had them.
        prediction: the same.
        pairs: what it found.
        width_px: width of the bands.
        least: pairs with a lower IoU cannot match and get 0, which saves most of the work.
    """
    iou = np.zeros(len(pairs.truth))
    able = np.flatnonzero(pairs.iou() >= least)
    some, found = pairs.truth[able], pairs.prediction[able]
    true_bands = {i: truth[i].band(width_px) for i in np.unique(some).tolist()}
    bands = {j: prediction[j].band(width_px) for j in np.unique(found).tolist()}
    shared = _shared(true_bands, bands, some, found)
    one = np.array([true_bands[i].area for i in some.tolist()], np.float64)
    other = np.array([bands[j].area for j in found.tolist()], np.float64)
    iou[able] = shared / (one + other - shared)
    return iou


def _meeting(
    truth: Sequence[Region], prediction: Sequence[Region]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (Q,) whose rectangles have a pixel in common, in the order of both."""
    if not truth or not prediction:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # Half a pixel less all around, so that neighbours do not touch; what is empty meets nothing.
    boxes = [
        np.array(
            [
                (each.col + 0.25, each.row + 0.25, each.col + each.mask.shape[1] - 0.25,
                 each.row + each.mask.shape[0] - 0.25) if each.mask.size else (np.nan,) * 4
                for each in some
            ]
        ).T
        for some in (truth, prediction)
    ]  # fmt: skip
    one, other = shapely.STRtree(shapely.box(*boxes[1])).query(shapely.box(*boxes[0]))
    order = np.lexsort((other, one))
    return one[order].astype(np.int64), other[order].astype(np.int64)


def _shared(
    truth: Any, prediction: Any, some: NDArray[np.int64], found: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Pixels in both of pairs (Q,) of regions; a view of each for a pair beats one gather for all."""
    shared = np.empty(len(some))
    for at, (i, j) in enumerate(zip(some.tolist(), found.tolist(), strict=True)):
        one, other = truth[i], prediction[j]
        top, left = max(one.row, other.row), max(one.col, other.col)
        bottom = min(one.row + one.mask.shape[0], other.row + other.mask.shape[0])
        right = min(one.col + one.mask.shape[1], other.col + other.mask.shape[1])
        here = one.mask[top - one.row : bottom - one.row, left - one.col : right - one.col]
        there = other.mask[top - other.row : bottom - other.row, left - other.col : right - other.col]
        shared[at] = np.count_nonzero(here & there)
    return shared
