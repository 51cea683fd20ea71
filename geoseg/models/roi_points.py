"""Points in boxes: where they lie in the chip, and what maps and masks of objects say there.

Points of a box are (x, y) in [0, 1] x [0, 1] of the box, points of a chip are in its pixels; both count from
the outer top left corner, as everywhere (:mod:`geoseg.models.points`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from geoseg.models.points import pixel_centres, point_sample


def points_in_chip(boxes: Tensor, points: Tensor) -> Tensor:
    """``points`` (R, P, 2) of ``boxes`` (R, 4) as points (R, P, 2) of the chip, in pixels."""
    return boxes[:, None, :2] + points * (boxes[:, 2:] - boxes[:, :2])[:, None]


def grid_points(side: int, boxes: Tensor) -> Tensor:
    """The centres (R, side * side, 2) of a square grid's cells, row by row, for each of ``boxes`` (R, 4)."""
    cells = torch.arange(side * side, device=boxes.device)
    return pixel_centres(cells, (side, side)).expand(len(boxes), -1, -1)


def features_at(maps: Tensor, stride: int, places: Sequence[Tensor]) -> Tensor:
    """Feature maps read at points of each chip.

    Args:
        maps: (N, C, h, w), one cell for ``stride`` pixels.
        stride: of the maps.
        places: N times (R, P, 2), points in pixels of the chip.

    Returns:
        (sum of R, P, C) float32. Differentiable.
    """
    extent = maps.new_tensor([maps.shape[3] * stride, maps.shape[2] * stride], dtype=torch.float32)
    read = []
    for chip, points in enumerate(places):
        flat = (points / extent).reshape(1, -1, 2)
        own = point_sample(maps[chip : chip + 1].contiguous(), flat)[0]
        read.append(own.T.reshape(*points.shape[:2], maps.shape[1]))
    return torch.cat(read)


def masks_at(masks: Tensor, index: Tensor, points: Tensor) -> Tensor:
    """Shares in [0, 1] of masks at points, bilinearly, without a copy of the masks.

    Args:
        masks: (M, H, W) bool.
        index: (R,) int64, which of the masks.
        points: (R, P, 2) in pixels of the chip.

    Returns:
        (R, P) float32.
    """
    height, width = masks.shape[1:]
    limit = points.new_tensor([width - 1, height - 1])
    at = (points - 0.5).clamp(min=0).minimum(limit)
    corner = at.floor()
    share = at - corner
    step = (corner < limit).long()
    first = index[:, None] * (height * width) + corner[..., 1].long() * width + corner[..., 0].long()
    flat = masks.reshape(-1)
    found = torch.zeros_like(share[..., 0])
    for right in (0, 1):
        for below in (0, 1):
            taps = flat[first + right * step[..., 0] + below * step[..., 1] * width]
            across = share[..., 0] if right else 1 - share[..., 0]
            down = share[..., 1] if below else 1 - share[..., 1]
            found += taps * across * down
    return found


def known_at(ignore: Tensor, points: Tensor) -> Tensor:
    """Whether the truth is known at ``points`` (R, P, 2) in pixels: not in a pixel of ``ignore`` (H, W)."""
    height, width = ignore.shape
    column = points[..., 0].floor().long().clamp(0, width - 1)
    row = points[..., 1].floor().long().clamp(0, height - 1)
    return ~ignore[row, column]
