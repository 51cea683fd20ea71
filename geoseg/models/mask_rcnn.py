"""The network for objects: Mask R-CNN with PointRend in place of its mask branch.

Methods: He et al., "Mask R-CNN" (arXiv 1703.06870) with torchvision's parts; Kirillov et al., "PointRend"
(arXiv 1912.08193), section 4.1. Nothing is resized and nothing normalised here: chips come at their own
resolution, normalised as for every network of geoseg (:mod:`geoseg.models.normalise`).

A chip is learned from and predicted alone: with group norm, which is the default, no other chip of the batch
changes its loss or its objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from geoseg.config import DetectionConfig, LossConfig, ModelConfig, PointConfig
from geoseg.models.deeplab import pad_to_multiple
from geoseg.models.instances import Detections, Target, without_crowds
from geoseg.models.losses import ProcessMean
from geoseg.models.mask_branch import PointRendMasks
from geoseg.models.norms import replace_batch_norms
from geoseg.models.proposals import ChipProposals
from geoseg.models.pyramid import SIDE_MULTIPLE, build_pyramid
from geoseg.models.randomness import drawing_from
from geoseg.models.roi_heads import InstanceHeads

LOSSES = ("objectness", "proposal", "class", "box", "coarse", "point")
"""Parts of the loss: of the proposals' scores and boxes, the objects' classes and boxes, and their masks."""


class MaskRCNN(nn.Module):
    """Finds objects.

    Attributes:
        bands: number of bands, B.
        classes: number of classes with the background, K.
        task: ``instance``.
    """

    task = "instance"

    def __init__(self, config: ModelConfig, detection: DetectionConfig, *, bands: int, classes: int) -> None:
        super().__init__()
        self.bands = bands
        self.classes = classes
        self.backbone = build_pyramid(config, bands=bands)
        self.rpn = ChipProposals(config, detection)
        self.roi_heads = InstanceHeads(config, detection, classes=classes)

    def forward(
        self,
        images: Tensor,
        targets: Sequence[Target],
        *,
        points: PointConfig | None = None,
        generators: Sequence[torch.Generator] | None = None,
        process_mean: ProcessMean = lambda value: value,
    ) -> dict[str, Tensor]:
        """What training minimises the weighted sum of, see :func:`weighted_sum`.

        Args:
            images: (N, B, H, W) float32 normalised.
            targets: what each chip teaches, see :func:`geoseg.models.instances.targets_of`; on one device
                with the images.
            points: how mask points are drawn.
            generators: of all that is random, one a chip; torch's own when not given.
            process_mean: makes the mean of all parts' losses the loss of the whole batch.

        Returns:
            Scalars float32 by name, see :data:`LOSSES`; 0 with gradients 0 where there is nothing to learn.
        """
        targets = [without_crowds(target) for target in targets]
        self.rpn.process_mean = process_mean
        with drawing_from(self, generators):
            maps, proposals, found = self._propose(images, list(targets))
            losses = self.roi_heads.learn(
                maps,
                proposals,
                targets,
                (images.shape[2], images.shape[3]),
                points=points or PointConfig(),
                process_mean=process_mean,
            )
        return {"objectness": found["loss_objectness"], "proposal": found["loss_rpn_box_reg"], **losses}

    @torch.inference_mode()
    def detect(self, images: Tensor) -> list[Detections]:
        """The objects of each chip; in eval mode.

        Works under autocast; boxes and scores are float32 all the same.

        Args:
            images: (N, B, H, W) float32 normalised, any H and W.
        """
        if images.device.type == "cpu" and len(images) > 1:
            # One by one is as fast on a CPU, and the result cannot depend on the batch.
            return [found for image in images[:, None] for found in self.detect(image)]
        maps, proposals, _ = self._propose(images, None)
        return self.roi_heads.find(maps, proposals, (images.shape[2], images.shape[3]))

    @torch.inference_mode()
    def detect_both(self, images: Tensor) -> list[tuple[Detections, Detections]]:
        """The objects of each chip as :meth:`detect` finds them, and with masks that nothing refined.

        The latter are those of PointRend's first map, of 28 x 28 points a box; or of the network's only map,
        where its mask head has no other.

        Args:
            images: (N, B, H, W) float32 normalised, any H and W.
        """
        shape = (images.shape[2], images.shape[3])
        maps, proposals, _ = self._propose(images, None)
        found = self.roi_heads.find(maps, proposals, shape)
        masks = self.roi_heads.masks
        if not isinstance(masks, PointRendMasks):
            return [(each, each) for each in found]
        boxes, labels = [each.boxes for each in found], [each.labels for each in found]
        first = masks.draw(maps, boxes, labels, shape, most=0)
        return [(each, replace(each, masks=drawn.masks)) for each, drawn in zip(found, first, strict=True)]

    def choose(self, detection: DetectionConfig) -> None:
        """Propose and report objects by these rules from now on."""
        self.rpn.detection = detection
        self.roi_heads.score_thresh = detection.min_score
        self.roi_heads.nms_thresh = detection.nms_iou
        self.roi_heads.detections_per_img = detection.max_objects

    def _propose(
        self, images: Tensor, targets: list[Target] | None
    ) -> tuple[dict[str, Tensor], list[Tensor], dict[str, Tensor]]:
        """Maps of the padded chips, boxes (A, 4) that may hold objects, and what that costs in training."""
        padded = pad_to_multiple(images, SIDE_MULTIPLE)
        # Anchors and boxes take their dtype from the maps, and bfloat16 knows no odd number above 256.
        maps = {name: values.float() for name, values in self.backbone(padded).items()}
        sizes = [(images.shape[2], images.shape[3])] * len(images)
        proposals, losses = self.rpn(ImageList(padded, sizes), maps, targets)
        return maps, proposals, losses


def weighted_sum(losses: dict[str, Tensor], weights: LossConfig) -> Tensor:
    """What to minimise: the sum of :data:`LOSSES`, those of the masks by their weights."""
    own = {"coarse": weights.coarse_weight, "point": weights.point_weight}
    return torch.stack([own.get(name, 1.0) * losses[name] for name in LOSSES]).sum()


def build_instance_model(
    config: ModelConfig, *, bands: int, classes: int, detection: DetectionConfig | None = None
) -> MaskRCNN:
    """The network of ``config``, with random weights but for a chosen backbone; all of it is trained.

    Args:
        config: an instance model's.
        bands: B.
        classes: K, with the background, which is class 0.
        detection: how objects are chosen; see also :meth:`MaskRCNN.choose`.

    Raises:
        ModelError: the pretrained backbone cannot be had.
    """
    network = MaskRCNN(config, detection or DetectionConfig(), bands=bands, classes=classes)
    if config.norm != "batch":
        # Batches hold one or two chips, and a norm over so few is mostly noise.
        replace_batch_norms(network)
    return network
