"""What a chip of objects teaches, and reading masks at points, against plain loops."""

from __future__ import annotations

import numpy as np
import torch
from models.test_golden import close, golden, interior
from torch import Tensor

from geoseg.models.instances import targets_of, without_crowds
from geoseg.models.points import point_sample
from geoseg.models.proposals import mostly_unknown
from geoseg.models.roi_points import grid_points, known_at, masks_at, points_in_chip

UNKNOWN = 255


def rasters() -> tuple[Tensor, Tensor]:
    """Five objects: a square, a single pixel, a row of pixels, one of unknown class, one of two classes."""
    labels = torch.zeros(12, 16, dtype=torch.uint8)
    objects = torch.zeros(12, 16, dtype=torch.int32)
    for number, class_id, rows, columns in [
        (1, 1, slice(1, 4), slice(2, 6)),
        (2, 2, slice(11, 12), slice(15, 16)),
        (3, 1, slice(6, 7), slice(0, 9)),
        (7, UNKNOWN, slice(8, 10), slice(0, 3)),
        (9, 2, slice(8, 11), slice(5, 9)),
    ]:
        objects[rows, columns] = number
        labels[rows, columns] = class_id
    labels[8, 5:8] = 1
    labels[1, 2] = UNKNOWN
    return labels, objects


def test_targets_are_what_a_loop_over_the_objects_finds() -> None:
    labels, objects = rasters()
    crowd = torch.zeros(9, dtype=torch.bool)
    crowd[2] = True
    target = targets_of(labels, objects, crowd=crowd)
    numbers = [1, 2, 3, 9]
    assert target["numbers"].tolist() == numbers
    assert target["labels"].tolist() == [1, 2, 1, 2]
    assert target["crowd"].tolist() == [False, False, True, False]
    assert target["ignore"].nonzero().tolist() == (labels == UNKNOWN).nonzero().tolist()
    for place, number in enumerate(numbers):
        rows, columns = np.nonzero(objects.numpy() == number)
        box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert target["boxes"][place].tolist() == box
        assert torch.equal(target["masks"][place], objects == number)
    assert target["boxes"].dtype == torch.float32
    assert target["labels"].dtype == torch.int64

    known = without_crowds(target)
    assert known["numbers"].tolist() == [1, 2, 9]
    assert torch.equal(known["ignore"], (labels == UNKNOWN) | (objects == 3))
    assert len(known["masks"]) == len(known["boxes"]) == len(known["labels"]) == 3


def test_a_chip_without_objects_has_empty_targets() -> None:
    target = targets_of(torch.zeros(4, 6, dtype=torch.uint8), torch.zeros(4, 6, dtype=torch.int32))
    assert target["boxes"].shape == (0, 4)
    assert target["masks"].shape == (0, 4, 6)
    assert target["labels"].shape == target["crowd"].shape == (0,)
    assert without_crowds(target) is target


def test_boxes_and_masks_at_points_agree_with_the_golden_numbers() -> None:
    data = golden("instance")
    close(points_in_chip(data["boxes"], data["box_points"]), data["points_image"])
    found = masks_at(data["gt_masks"].bool(), torch.arange(3), data["points_image"])
    inside = interior(data["points_image"] / torch.tensor([80.0, 64.0]), (64, 80))
    close(found[inside], data["point_labels_bilinear"][inside])
    close(grid_points(4, data["boxes"][:1]), data["regular_grid_4"])


def test_masks_at_any_point_are_what_the_point_sampler_reads() -> None:
    generator = torch.Generator().manual_seed(1)
    masks = torch.rand(3, 9, 13, generator=generator) > 0.5
    index = torch.tensor([2, 0, 2, 1])
    points = torch.rand(4, 50, 2, generator=generator) * torch.tensor([15.0, 11.0]) - 1.0
    expected = point_sample(masks[index][:, None].float(), points / torch.tensor([13.0, 9.0]))[:, 0]
    assert torch.allclose(masks_at(masks, index, points), expected, atol=1e-5)


def test_mostly_unknown_is_a_share_of_the_area_within_the_chip() -> None:
    ignore = torch.zeros(20, 30, dtype=torch.bool)
    ignore[:, 10:] = True
    ignore[4:8, 2:6] = True
    boxes = torch.tensor(
        [
            [0.0, 0.0, 10.0, 4.0],
            [5.0, 10.0, 15.0, 20.0],  # exactly half
            [5.2, 10.0, 15.2, 20.0],
            [4.5, 9.0, 14.5, 19.0],
            [2.4, 4.4, 5.6, 7.6],
            [25.0, 5.0, 90.0, 9.0],
            [-40.0, 5.0, 8.0, 25.0],
            [40.0, 5.0, 50.0, 9.0],
        ]
    )
    # Each pixel by 10 x 10 parts of it: an integral by counting.
    fine = ignore.repeat_interleave(10, 0).repeat_interleave(10, 1)
    expected = []
    for x1, y1, x2, y2 in (boxes * 10).round().long().tolist():
        part = fine[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
        expected.append(bool(part.numel()) and float(part.float().mean()) > 0.5)
    assert mostly_unknown(boxes, ignore).tolist() == expected
    assert expected == [False, False, True, False, True, True, False, False]
    assert not bool(mostly_unknown(boxes, torch.zeros_like(ignore)).any())


def test_points_in_unknown_pixels_are_not_known() -> None:
    ignore = torch.zeros(4, 5, dtype=torch.bool)
    ignore[1, 2] = True
    points = torch.tensor([[[2.0, 1.0], [2.99, 1.99], [3.0, 1.5], [1.99, 1.5], [5.0, 4.0]]])
    assert known_at(ignore, points).tolist() == [[False, False, True, True, True]]
