"""What boxes hold: torchvision's box head, and a mask branch that sees the maps of the pyramid.

torchvision's ``RoIHeads`` hands its mask branch features of boxes only, never the maps; PointRend reads
points of the maps. So its mask parts stay unset, and masks are learned and drawn here.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.boxes import clip_boxes_to_image

from geoseg.config import DetectionConfig, ModelConfig, PointConfig
from geoseg.models.conv_masks import ConvMasks
from geoseg.models.instances import Detections, Target
from geoseg.models.losses import ProcessMean
from geoseg.models.mask_branch import FINE_MAP, FINE_STRIDE, WIDER, Lesson, PointRendMasks
from geoseg.models.proposals import box_distance, mostly_unknown, share_of
from geoseg.models.randomness import ChipSampler

_POOLED = 7
_POSITIVE_SHARE = 0.25
_BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)


class InstanceHeads(RoIHeads):  # type: ignore[misc]
    """torchvision's heads of boxes, and masks by :class:`PointRendMasks` or :class:`ConvMasks`."""

    def __init__(self, config: ModelConfig, detection: DetectionConfig, *, classes: int) -> None:
        v2 = "_v2_" in config.architecture
        channels, hidden = config.pyramid_width, WIDER * config.pyramid_width
        if v2:
            shape = (channels, _POOLED, _POOLED)
            box_head: nn.Module = FastRCNNConvFCHead(
                shape, [channels] * 4, [hidden], norm_layer=nn.BatchNorm2d
            )
        else:
            box_head = TwoMLPHead(channels * _POOLED**2, hidden)
        super().__init__(
            MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=_POOLED, sampling_ratio=2),
            box_head,
            FastRCNNPredictor(hidden, classes),
            fg_iou_thresh=0.5,
            bg_iou_thresh=0.5,
            batch_size_per_image=detection.train_boxes,
            positive_fraction=_POSITIVE_SHARE,
            bbox_reg_weights=_BOX_WEIGHTS,
            score_thresh=detection.min_score,
            nms_thresh=detection.nms_iou,
            detections_per_img=detection.max_objects,
        )
        self.fg_bg_sampler = ChipSampler(detection.train_boxes, _POSITIVE_SHARE)
        self.masks: PointRendMasks | ConvMasks
        if config.mask_head == "conv":
            self.masks = ConvMasks(channels=channels, classes=classes, norm=nn.BatchNorm2d if v2 else None)
        else:
            self.masks = PointRendMasks(
                channels=channels,
                classes=classes,
                width=config.head_width,
                depth=config.head_depth,
            )

    def learn(
        self,
        maps: dict[str, Tensor],
        proposals: Sequence[Tensor],
        targets: Sequence[Target],
        shape: tuple[int, int],
        *,
        points: PointConfig,
        process_mean: ProcessMean,
    ) -> dict[str, Tensor]:
        """Losses of classes, boxes and masks, each a mean over all that was drawn.

        Args:
            maps: of the pyramid, float32.
            proposals: N times (A, 4).
            targets: one a chip, without crowds.
            shape: H, W of the chips.
            points: how mask points are drawn.
            process_mean: see :func:`geoseg.models.losses.training_loss`.

        Returns:
            ``class``, ``box``, ``coarse``, ``point``, scalars.
        """
        boxes, matched, labels = self._drawn(proposals, targets)
        every = torch.cat(labels)
        logits, changes = self._judge(maps, boxes)
        count = share_of(every, process_mean)
        positive = (every > 0).nonzero()[:, 0]
        own = changes.view(len(every), changes.shape[1] // 4, 4)[positive, every[positive]]
        wanted = self.box_coder.encode(_true_boxes(targets, matched), list(boxes))
        losses = {
            "class": F.cross_entropy(logits, every, reduction="sum") / count,
            "box": box_distance(own, torch.cat(wanted)[positive]) / count,
        }
        moved = self._moved(changes.detach(), boxes, labels, shape)
        lessons = [
            Lesson(boxes=at[held], labels=of[held], matched=to[held], target=target)
            for at, of, to, target in zip(moved, labels, matched, targets, strict=True)
            for held in [of > 0]
        ]
        generators: Sequence[torch.Generator | None] = self.fg_bg_sampler.generators or [None] * len(lessons)
        return losses | self.masks.losses(
            maps, lessons, points=points, generators=generators, process_mean=process_mean
        )

    def find(
        self, maps: dict[str, Tensor], proposals: Sequence[Tensor], shape: tuple[int, int]
    ) -> list[Detections]:
        """The objects of each chip.

        Args:
            maps: of the pyramid, float32.
            proposals: N times (A, 4).
            shape: H, W of the chips.
        """
        logits, changes = self._judge(maps, proposals)
        boxes, scores, labels = self.postprocess_detections(
            logits, changes, list(proposals), [shape] * len(proposals)
        )
        drawings = self.masks.draw(maps, boxes, labels, shape)
        return [
            Detections(boxes=at, labels=of, scores=sure, masks=drawing.masks, offsets=drawing.offsets)
            for at, of, sure, drawing in zip(boxes, labels, scores, drawings, strict=True)
        ]

    def _judge(self, maps: dict[str, Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Class logits (R, K) and box changes (R, K * 4) of the boxes of all chips, float32."""
        fine = maps[FINE_MAP]
        padded = (fine.shape[2] * FINE_STRIDE, fine.shape[3] * FINE_STRIDE)
        features = self.box_head(self.box_roi_pool(maps, list(boxes), [padded] * len(boxes)))
        logits, changes = self.box_predictor(features)
        return logits.float(), changes.float()

    def _drawn(
        self, proposals: Sequence[Tensor], targets: Sequence[Target]
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Boxes to learn by, places of their objects in the target, and class ids (0 = background)."""
        truth = [target["boxes"] for target in targets]
        every = self.add_gt_proposals(list(proposals), truth)
        matched, labels = self.assign_targets_to_proposals(every, truth, [t["labels"] for t in targets])
        known = [
            own.where((own != 0) | ~mostly_unknown(boxes, target["ignore"]), -1)
            for own, boxes, target in zip(labels, every, targets, strict=True)
        ]
        chosen = self.subsample(known)
        return (
            [boxes[at] for boxes, at in zip(every, chosen, strict=True)],
            [own[at] for own, at in zip(matched, chosen, strict=True)],
            [own[at] for own, at in zip(known, chosen, strict=True)],
        )

    def _moved(
        self, changes: Tensor, boxes: Sequence[Tensor], labels: Sequence[Tensor], shape: tuple[int, int]
    ) -> list[Tensor]:
        """The boxes as the network sees them at prediction: (R, 4) of each chip, of each box's own class.

        One that would have less than a pixel's width or height stays where it was.
        """
        every, of = torch.cat(list(boxes)), torch.cat(list(labels))
        decoded = self.box_coder.decode(changes, list(boxes)).view(len(every), changes.shape[1] // 4, 4)
        own = clip_boxes_to_image(decoded[torch.arange(len(of), device=of.device), of], shape)
        large = ((own[:, 2:] - own[:, :2]) >= 1.0).all(dim=1, keepdim=True)
        return list(torch.split(own.where(large, every), [len(each) for each in boxes]))


def _true_boxes(targets: Sequence[Target], matched: Sequence[Tensor]) -> list[Tensor]:
    """The true box (R, 4) of each drawn box; of a chip without objects any box, since none is learned."""
    found = []
    for target, places in zip(targets, matched, strict=True):
        boxes = target["boxes"]
        found.append((boxes if len(boxes) else boxes.new_tensor([[0.0, 0.0, 1.0, 1.0]]))[places])
    return found
