"""Masks drawn by subdivision against what deciding every point gives."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from geoseg.models.mask_drawing import (
    Decide,
    doublings,
    draw_by,
    draw_masks,
    pixels_of,
    subdivide_boxes,
    windows,
)
from geoseg.models.pointrend import PointHead
from geoseg.models.points import FineRows, point_sample, upsample
from geoseg.models.roi_points import grid_points, points_in_chip


def disc(points: Tensor) -> Tensor:
    """Logits of a disc in the middle of each box, smooth at its rim: (R, P) of points (R, P, 2)."""
    return 20.0 * (0.4 - (points - 0.5).norm(dim=2))


def test_subdivision_agrees_with_deciding_every_point() -> None:
    boxes = torch.tensor([[0.0, 0.0, 100.0, 100.0]])
    asked = []

    def decide(points: Tensor) -> Tensor:
        asked.append(points.shape[1])
        return disc(points)

    found = subdivide_boxes(boxes, decide, 3)
    assert asked == [784, 784, 784, 784]
    dense = disc(grid_points(224, boxes)).view(1, 224, 224)
    assert torch.equal(found >= 0, dense >= 0)
    # It is more than upsampling: the doubled start alone is wrong somewhere.
    start = disc(grid_points(28, boxes)).view(1, 1, 28, 28)
    assert not torch.equal(upsample(start, (224, 224))[:, 0] >= 0, dense >= 0)


def test_maps_are_as_fine_as_the_pixels_and_of_small_objects_no_finer_than_needed() -> None:
    sides = [0.0, 5.0, 14.0, 14.1, 28.0, 57.0, 112.0, 224.0, 225.0, 448.0, 449.0, 1000.0]
    boxes = torch.tensor([[0.0, 0.0, side / 3, side] for side in sides])
    cells = [28 << steps for steps in doublings(boxes).tolist()]
    assert cells == [28, 28, 28, 56, 56, 224, 224, 224, 448, 448, 896, 1792]


@pytest.mark.parametrize("side", [9.0, 60.0, 300.0])
def test_pixels_are_decided_at_their_centres(side: float) -> None:
    """A disc on the ground, drawn at any size, is the disc of pixel centres but for those on its very rim."""
    box = torch.tensor([[3.3, 5.6, 3.3 + side, 5.6 + 1.5 * side]])
    shape = (480, 320)

    def decider(chosen: Tensor) -> Decide:
        assert chosen.tolist() == [0]
        return lambda points: disc(points)

    drawn = draw_by(box, decider, shape)
    (mask,), (top, left) = drawn.masks, drawn.offsets[0].tolist()
    assert (top, left) == (5, 3)
    assert mask.shape == (math.ceil(5.6 + 1.5 * side) - 5, math.ceil(3.3 + side) - 3)
    row, column = torch.meshgrid(
        torch.arange(mask.shape[0]) + top + 0.5, torch.arange(mask.shape[1]) + left + 0.5, indexing="ij"
    )
    points = torch.stack([(column - 3.3) / side, (row - 5.6) / (1.5 * side)], dim=2).view(1, -1, 2)
    truth = disc(points).view(mask.shape)
    wrong = truth[mask != (truth >= 0)].abs()
    # A pixel's step in it is 20 / side.
    assert float(wrong.max() if len(wrong) else 0.0) < 0.05 * 20.0 / side


def test_without_doublings_the_first_map_decides_alone() -> None:
    boxes = torch.tensor([[10.0, 20.0, 210.0, 220.0], [3.0, 3.0, 12.0, 9.0]])

    def decider(chosen: Tensor) -> Decide:
        del chosen
        return disc

    whole, first = (draw_by(boxes, decider, (240, 240), most=most) for most in (None, 0))
    # Of the large box the map of 28 x 28 cells, read bilinearly; the small one needs no more.
    start = disc(grid_points(28, boxes[:1])).view(28, 28)
    assert torch.equal(first.masks[0], pixels_of(start, boxes[0], (240, 240)))
    assert not torch.equal(first.masks[0], whole.masks[0])
    assert torch.equal(first.masks[1], whole.masks[1])
    assert torch.equal(first.offsets, whole.offsets)


def test_windows_stay_in_the_chip_and_are_never_empty() -> None:
    boxes = torch.tensor([[0.2, 0.2, 0.3, 0.3], [18.0, 9.0, 20.0, 10.0], [20.0, 10.0, 20.0, 10.0]])
    assert windows(boxes, (10, 20)).tolist() == [[0, 0, 1, 1], [18, 9, 20, 10], [19, 9, 20, 10]]
    logits = torch.ones(28, 28)
    # The centre of the first box's one pixel lies outside of the box.
    assert not bool(pixels_of(logits, boxes[0], (10, 20)).any())
    assert bool(pixels_of(logits, boxes[1], (10, 20)).all())


@torch.no_grad()
def test_the_head_sees_the_ground_under_each_point_and_the_class_of_each_object() -> None:
    torch.manual_seed(0)
    fine, coarse = torch.randn(5, 16, 24), torch.randn(2, 3, 7, 7)
    boxes = torch.tensor([[10.0, 4.0, 22.0, 13.0], [30.5, 20.0, 43.0, 31.0]])
    channels = torch.tensor([2, 0])
    head = PointHead(fine_channels=5, classes=3, width=8, depth=2)
    torch.nn.init.normal_(head.predictor.weight)
    # A map of 96 x 64 px; the chip is smaller and was padded.
    drawn = draw_masks(coarse, boxes, channels, FineRows.of(fine), head, extent=(96, 64), shape=(60, 90))
    for number in range(2):
        points = grid_points(28, boxes[number : number + 1])
        ground = points_in_chip(boxes[number : number + 1], points) / torch.tensor([96.0, 64.0])
        seen = point_sample(fine[None], ground)[0].T, point_sample(coarse[number : number + 1], points)[0].T
        logits = head(*seen)[:, channels[number]].view(28, 28)
        expected = pixels_of(logits, boxes[number], (60, 90))
        assert torch.equal(drawn.masks[number], expected)
        assert 0 < int(expected.sum()) < expected.numel()
