"""Objects of a chip: what training learns from, and what a network finds.

Boxes are (x1, y1, x2, y2) in pixels of the chip, counted from its outer top left corner along pixel EDGES: a
thing of one pixel at row 3, column 5 has the box (5, 3, 6, 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.classes import IGNORE

Target = dict[str, Tensor]
"""What one chip teaches, see :func:`targets_of`."""


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Objects found in one chip, the surest first.

    Attributes:
        boxes: (D, 4) float32.
        labels: (D,) int64 class ids, from 1.
        scores: (D,) float32 in [0, 1].
        masks: D times (h, w) bool, the pixels of the object in the least window of whole pixels around its
            box; never empty, but perhaps without a pixel that is the object's.
        offsets: (D, 2) int64, row and column of each mask's first pixel in the chip.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: tuple[Tensor, ...]
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def numpy(self) -> DetectionArrays:
        """The same as numpy arrays."""
        return DetectionArrays(
            boxes=self.boxes.cpu().numpy(),
            labels=self.labels.cpu().numpy(),
            scores=self.scores.cpu().numpy(),
            masks=tuple(mask.cpu().numpy() for mask in self.masks),
            offsets=self.offsets.cpu().numpy(),
        )


@dataclass(frozen=True, kw_only=True)
class DetectionArrays:
    """:class:`Detections` as numpy arrays of the same names, shapes and types."""

    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    masks: tuple[NDArray[np.bool_], ...]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.boxes)


def targets_of(labels: Tensor, objects: Tensor, *, crowd: Tensor | None = None) -> Target:
    """What a chip teaches, of its two rasters.

    An object's class is that of most of its pixels. Objects of which no pixel has the class of a thing are
    left out.

    Args:
        labels: (H, W) uint8 class ids; 0 = background, 255 = unknown.
        objects: (H, W) integers; 0 = no object, n = the n-th object of the chip.
        crowd: (n,) bool, which of the n objects are many things in one; none when not given.

    Returns:
        Of the M objects left, in the order of their numbers:

        - ``boxes`` (M, 4) float32, ``labels`` (M,) int64 class ids, ``masks`` (M, H, W) bool,
        - ``crowd`` (M,) bool, ``numbers`` (M,) int64 in ``objects``,
        - ``ignore`` (H, W) bool: where nothing is known. Crowds are not marked there.
    """
    height, width = objects.shape
    found, member = torch.unique(objects, return_inverse=True)
    member = member.flatten()
    votes = torch.bincount(member * 256 + labels.flatten().long(), minlength=len(found) * 256)
    votes = votes.view(len(found), 256)
    votes[:, [0, IGNORE]] = 0
    kept = ((found > 0) & (votes.amax(dim=1) > 0)).nonzero()[:, 0]
    flat = torch.arange(height * width, device=objects.device)
    rows, columns = flat.div(width, rounding_mode="floor"), flat % width
    sides = [
        _extremes(columns, member, len(found), "amin"),
        _extremes(rows, member, len(found), "amin"),
        _extremes(columns, member, len(found), "amax") + 1,
        _extremes(rows, member, len(found), "amax") + 1,
    ]
    numbers = found[kept].long()
    if crowd is None:
        crowd = torch.zeros(int(numbers.amax()) if len(numbers) else 0, dtype=torch.bool)
    return {
        "boxes": torch.stack(sides, dim=1)[kept].float(),
        "labels": votes[kept].argmax(dim=1),
        "masks": objects[None] == found[kept][:, None, None],
        "crowd": crowd.to(objects.device)[numbers - 1],
        "numbers": numbers,
        "ignore": labels == IGNORE,
    }


def _extremes(values: Tensor, member: Tensor, count: int, kind: Any) -> Tensor:
    """The least or largest of the ``values`` (P,) of each of ``count`` sets that ``member`` (P,) tells."""
    return values.new_zeros(count).scatter_reduce(0, member, values, kind, include_self=False)


def without_crowds(target: Target) -> Target:
    """``target`` with its crowds as land where nothing is known, and no longer as objects."""
    crowd = target["crowd"]
    if not bool(crowd.any()):
        return target
    own = {name: target[name][~crowd] for name in ("boxes", "labels", "masks", "crowd", "numbers")}
    return own | {"ignore": target["ignore"] | target["masks"][crowd].any(dim=0)}
