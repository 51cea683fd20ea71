"""Objects of an image as rasters and detectors tell them, made ready to be compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import IGNORE
from geoseg.metrics.regions import Region


@dataclass(frozen=True, kw_only=True)
class TrueObjects:
    """True objects of an image, and its unknown land as a crowd of every class of things.

    Attributes:
        regions: N of them, the objects first.
        class_ids: (N,) int64, from 1.
        crowd: (N,) which of them is unknown land.
        numbers: of the objects, in the raster they are from.
    """

    regions: tuple[Region, ...]
    class_ids: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    numbers: tuple[int, ...]

    @classmethod
    def of(cls, labels: NDArray[np.uint8], objects: NDArray[np.integer[Any]], classes: int) -> TrueObjects:
        """Read two rasters.

        An object's class is that of most of its pixels. Objects of which no pixel has the class of a thing
        are left out.

        Args:
            labels: (H, W) class ids; 0 = background, 255 = unknown.
            objects: (H, W) numbers from 1, 0 where no object is.
            classes: K, with the background.
        """
        every = [
            (number, Region.of(objects == number)) for number in np.unique(objects[objects > 0]).tolist()
        ]
        votes = [(number, region, _class_of(labels, region)) for number, region in every]
        told = [vote for vote in votes if vote[2]]
        # What lies mostly on land where nothing is known is neither right nor wrong.
        unknown = Region.of((labels == IGNORE) & (objects == 0))
        things = range(1, classes) if unknown.mask.size else range(0)
        return cls(
            regions=(*(region for _, region, _ in told), *(unknown for _ in things)),
            class_ids=np.array([*(class_id for _, _, class_id in told), *things], np.int64),
            crowd=np.array([False] * len(told) + [True] * len(things), np.bool_),
            numbers=tuple(number for number, _, _ in told),
        )


def cut_outs(masks: Iterable[NDArray[np.bool_]], offsets: NDArray[np.integer[Any]]) -> list[Region]:
    """Masks of a detector, each (h, w), whose first pixels lie at ``offsets`` (D, 2), rows and columns."""
    return [Region.of(mask, *map(int, offset)) for mask, offset in zip(masks, offsets, strict=True)]


def _class_of(labels: NDArray[np.uint8], region: Region) -> int:
    """Class of most of an object's pixels; 0 when none of them has the class of a thing."""
    height, width = region.mask.shape
    inside = labels[region.row : region.row + height, region.col : region.col + width][region.mask]
    votes = np.bincount(inside, minlength=IGNORE + 1)[1:IGNORE]
    return int(votes.argmax()) + 1 if votes.any() else 0
