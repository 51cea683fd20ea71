"""Where objects may be: torchvision's region proposal network, taught by what is known only.

Ren et al., "Faster R-CNN" (arXiv 1506.01497).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.rpn import RegionProposalNetwork, RPNHead

from geoseg.config import DetectionConfig, ModelConfig
from geoseg.models.instances import Target
from geoseg.models.losses import ProcessMean
from geoseg.models.points import point_sample
from geoseg.models.randomness import ChipSampler

_ASPECT_RATIOS = (0.5, 1.0, 2.0)
_BEFORE_NMS = 2
"""Boxes of each map that go into non-maximum suppression, for one that is wanted of all maps."""
_MOSTLY = 0.5
_BOX_BETA = 1 / 9
"""Where the smooth L1 loss of boxes turns from a parabola into a line."""


class _FloatHead(RPNHead):  # type: ignore[misc]
    """torchvision's head, whose answers are float32 under autocast too."""

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Objectness and box changes of each of ``maps`` (N, C, h, w)."""
        scores, changes = super().forward(maps)
        return [each.float() for each in scores], [each.float() for each in changes]


class ChipProposals(RegionProposalNetwork):  # type: ignore[misc]
    """torchvision's proposals; what it learns by is drawn from the chips' generators.

    Where nothing is known there are no negative boxes.

    Attributes:
        detection: how many boxes are proposed; may be replaced at any time.
        process_mean: see :func:`geoseg.models.losses.training_loss`.
    """

    def __init__(self, config: ModelConfig, detection: DetectionConfig) -> None:
        anchors = AnchorGenerator(
            tuple((side,) for side in config.anchor_px), (_ASPECT_RATIOS,) * len(config.anchor_px)
        )
        depth = 2 if "_v2_" in config.architecture else 1
        super().__init__(
            anchors,
            _FloatHead(config.pyramid_width, len(_ASPECT_RATIOS), conv_depth=depth),
            fg_iou_thresh=0.7,
            bg_iou_thresh=0.3,
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_top_n={},
            post_nms_top_n={},
            nms_thresh=0.7,
        )
        self.fg_bg_sampler = ChipSampler(256, 0.5)
        self.detection = detection
        self.process_mean: ProcessMean = _itself

    def pre_nms_top_n(self) -> int:
        """Boxes of each map that go into non-maximum suppression."""
        return _BEFORE_NMS * self.detection.proposals

    def post_nms_top_n(self) -> int:
        """Boxes that come out of it."""
        return self.detection.proposals

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Labels (A,) of each chip's anchors: 1 object, 0 background, -1 neither; and their boxes (A, 4)."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        known = [
            own.where((own != 0) | ~mostly_unknown(sides, target["ignore"]), -1.0)
            for own, sides, target in zip(labels, anchors, targets, strict=True)
        ]
        return known, boxes

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """Losses of the objectness and of the boxes: means over the boxes drawn, 0 if there are none."""
        positive, negative = (torch.cat(drawn) for drawn in self.fg_bg_sampler(labels))
        drawn = (positive | negative).nonzero()[:, 0]
        positive = positive.nonzero()[:, 0]
        count = share_of(drawn, self.process_mean)
        scores = F.binary_cross_entropy_with_logits(
            objectness.flatten()[drawn], torch.cat(labels)[drawn], reduction="sum"
        )
        boxes = box_distance(pred_bbox_deltas[positive], torch.cat(regression_targets)[positive])
        return scores / count, boxes / count


def _itself(value: Tensor) -> Tensor:
    return value


def share_of(drawn: Tensor, process_mean: ProcessMean) -> Tensor:
    """What to divide the sum over ``drawn`` (n, ...) by: their number, averaged over the processes."""
    count = process_mean(torch.tensor(float(len(drawn)), device=drawn.device))
    return count.where(count > 0, 1.0)


def box_distance(found: Tensor, wanted: Tensor) -> Tensor:
    """Summed smooth L1 distance of box changes (n, 4)."""
    return F.smooth_l1_loss(found, wanted, beta=_BOX_BETA, reduction="sum")


def mostly_unknown(boxes: Tensor, ignore: Tensor) -> Tensor:
    """Which ``boxes`` (n, 4) lie by more than half of their area, inside of the chip, where ``ignore`` is.

    Args:
        boxes: (x1, y1, x2, y2) in pixels, with fractions.
        ignore: (H, W) bool.

    Returns:
        (n,) bool.
    """
    if not bool(ignore.any()):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    height, width = ignore.shape
    x, y = boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)
    # The area up to each pixel corner is bilinear between the corners: reading it there is exact.
    total = F.pad(ignore.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    corners = [(x[:, column], y[:, row]) for row in (0, 1) for column in (0, 1)]
    upper_left, upper_right, lower_left, lower_right = _read(total, corners)
    unknown: Tensor = lower_right - lower_left - upper_right + upper_left
    area = (x[:, 1] - x[:, 0]).double() * (y[:, 1] - y[:, 0]).double()
    return unknown > _MOSTLY * area + 1e-9


def _read(corners: Tensor, places: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """``corners`` (H+1, W+1), a value a pixel corner, at ``places``, each n times x and y in pixels."""
    height, width = corners.shape
    points = torch.cat(
        [torch.stack([(x + 0.5) / width, (y + 0.5) / height], dim=1).double() for x, y in places]
    )
    return point_sample(corners[None, None], points[None])[0, 0].view(len(places), -1)
