"""From coarse maps of objects to their pixels: PointRend's subdivision, for all objects of a chip at once.

The head decides a regular grid of 28 x 28 points of each box. Then the map is doubled, and each time the
points nearest to the outline are decided anew: 784 of them, 3136 in all until 224 x 224, as in the paper.
Two changes: the map of a small object is doubled until there are two cells for a pixel, no further; that of
an object of more than 224 px until there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg.models.pointrend import PointDecider
from geoseg.models.points import FineRows, pixel_centres, point_sample, upsample
from geoseg.models.roi_points import grid_points, points_in_chip

START_SIDE = 28
FULL_SIDE = 224
STEP_POINTS = START_SIDE**2
_CELLS_A_PIXEL = 2
_BOXES_AT_ONCE = 32
"""Boxes worked on together: what their points see stays small."""

Decide = Callable[[Tensor], Tensor]
"""Points (R, P, 2) of boxes to the logits (R, P) of their masks there."""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Masks of one chip's objects, as in :class:`geoseg.models.instances.Detections`."""

    masks: tuple[Tensor, ...]
    offsets: Tensor


def draw_masks(
    coarse: Tensor,
    boxes: Tensor,
    channels: Tensor,
    fine: FineRows,
    head: PointDecider,
    *,
    extent: tuple[int, int],
    shape: tuple[int, int],
    most: int | None = None,
) -> Drawing:
    """Masks of objects at the chip's resolution.

    Args:
        coarse: (D, K-1, 7, 7) logits of the boxes.
        boxes: (D, 4) in pixels.
        channels: (D,) int64, which of the K-1 is each object's.
        fine: the feature map.
        head: decides points.
        extent: width and height of the ground that the map covers, in pixels.
        shape: H, W of the chip.
        most: doublings at most; with 0 the map of 28 x 28 points decides alone.
    """
    size = torch.tensor(extent, dtype=torch.float32, device=boxes.device)

    def decider(chosen: Tensor) -> Decide:
        own, seen, which = boxes[chosen], coarse[chosen], channels[chosen]

        def decide(points: Tensor) -> Tensor:
            places = points_in_chip(own, points).reshape(-1, 2) / size
            logits = head(fine.at(places), point_sample(seen, points).movedim(1, -1).flatten(0, 1)).float()
            logits = logits.view(*points.shape[:2], -1)
            return logits.gather(2, which[:, None, None].expand(-1, points.shape[1], 1)).squeeze(2)

        return decide

    return draw_by(boxes, decider, shape, most=most)


def draw_by(
    boxes: Tensor, decider: Callable[[Tensor], Decide], shape: tuple[int, int], *, most: int | None = None
) -> Drawing:
    """:func:`draw_masks`, of any way to decide points.

    Args:
        boxes: (D, 4) in pixels.
        decider: of the numbers (R,) of some boxes, what decides their points.
        shape: H, W of the chip.
        most: doublings at most.
    """
    steps = doublings(boxes) if most is None else doublings(boxes).clamp(max=most)
    masks: dict[int, Tensor] = {}
    for count in sorted(set(steps.tolist())):
        for chosen in torch.split((steps == count).nonzero()[:, 0], _BOXES_AT_ONCE):
            maps = subdivide_boxes(boxes[chosen], decider(chosen), count)
            for number, logits in zip(chosen.tolist(), maps, strict=True):
                masks[number] = pixels_of(logits, boxes[number], shape)
    return Drawing(
        masks=tuple(masks[number] for number in range(len(boxes))), offsets=windows(boxes, shape)[:, [1, 0]]
    )


def doublings(boxes: Tensor) -> Tensor:
    """How often the maps of ``boxes`` (D, 4) are doubled: (D,) int64."""
    length = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1).clamp(min=1.0)
    wanted = torch.minimum(_CELLS_A_PIXEL * length, length.clamp(min=FULL_SIDE))
    return (wanted / START_SIDE).log2().ceil().clamp(min=0).long()


def subdivide_boxes(boxes: Tensor, decide: Decide, steps: int) -> Tensor:
    """Mask logits of boxes: (R, S, S) float32 with S = 28 * 2**steps.

    Args:
        boxes: (R, 4).
        decide: their points.
        steps: doublings.
    """
    side = START_SIDE
    maps = decide(grid_points(side, boxes)).view(-1, side, side)
    for _ in range(steps):
        side *= 2
        maps = upsample(maps[:, None], (side, side)).flatten(1)
        # An outline crosses cells in proportion to the side, so beyond the paper's sizes it needs more.
        count = min(side * side, max(STEP_POINTS, STEP_POINTS * side // FULL_SIDE))
        chosen = (-maps.abs()).topk(count, dim=1).indices
        points = pixel_centres(chosen.flatten(), (side, side)).view(len(boxes), count, 2)
        maps = maps.scatter(1, chosen, decide(points)).view(-1, side, side)
    return maps


def windows(boxes: Tensor, shape: tuple[int, int]) -> Tensor:
    """The least windows of whole pixels around ``boxes`` (D, 4), in the chip: (D, 4) int64, never empty."""
    height, width = shape
    limit = torch.tensor([width, height], device=boxes.device)
    first = boxes[:, :2].floor().long().clamp(min=0).minimum(limit - 1)
    last = boxes[:, 2:].ceil().long().minimum(limit).maximum(first + 1)
    return torch.cat([first, last], dim=1)


def pixels_of(logits: Tensor, box: Tensor, shape: tuple[int, int]) -> Tensor:
    """Which pixels of a box's window are the object's: (h, w) bool.

    Args:
        logits: (S, S) of the box, read at the pixels' centres; from 0 on, which is a probability of a half.
        box: (4,) in pixels.
        shape: H, W of the chip.
    """
    left, top, right, bottom = windows(box[None], shape)[0].tolist()
    x1, y1, x2, y2 = box.tolist()
    columns = (torch.arange(left, right, device=box.device) + 0.5 - x1) / max(x2 - x1, 1e-6)
    rows = (torch.arange(top, bottom, device=box.device) + 0.5 - y1) / max(y2 - y1, 1e-6)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    points = torch.stack([x, y], dim=2).view(1, -1, 2).float()
    read = point_sample(logits[None, None], points).view(len(rows), len(columns))
    inside = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
    return (read >= 0) & inside
