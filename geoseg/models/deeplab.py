"""The network: DeepLabV3 for the coarse map, PointRend's head for the details.

Method: Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image Segmentation"
(arXiv 1706.05587) with torchvision's parts; :mod:`geoseg.models.pointrend` for the head. At output stride 16
the coarse map costs about a third of what it does at stride 8; PointRend buys the resolution back where it
matters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import DeepLabHead
from torchvision.models.segmentation.fcn import FCNHead

from geoseg.config import ModelConfig
from geoseg.models.backbone import Backbone, build_backbone
from geoseg.models.norms import replace_batch_norms
from geoseg.models.pointrend import PointHead
from geoseg.models.randomness import replace_dropout

_ATROUS_RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
"""Rates of the paper: the pyramid sees the same ground at either stride."""

_POOLING_GROUPS = 32


@dataclass(frozen=True, kw_only=True)
class CoarseOutput:
    """What the coarse network says of a batch, all of it on the padded images.

    Attributes:
        logits: (N, K, h, w), one cell for ``stride`` pixels.
        features: fine feature maps (N, C, h', w') the point head reads, one for each of ``fine_stages``.
        auxiliary: (N, K, h, w) logits of the auxiliary head, if there is one.
    """

    logits: Tensor
    features: tuple[Tensor, ...]
    auxiliary: Tensor | None


class PointRendDeepLab(nn.Module):
    """DeepLabV3 and a PointRend head on it.

    Attributes:
        stride: pixels of the image for one cell of the coarse map, a power of two.
        steps: doublings from the coarse map to full size.
        classes: number of classes, K.
        bands: number of bands, B.
        point_head: the head; :func:`geoseg.models.inference.predict_logits` and the loss run it.

    Shapes: (N, B, H, W) float32 normalised images of any size -> :class:`CoarseOutput`.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        classifier: nn.Module,
        auxiliary: nn.Module | None,
        point_head: PointHead,
        fine_stages: tuple[str, ...],
        stride: int,
        bands: int,
        classes: int,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.auxiliary = auxiliary
        self.point_head = point_head
        self.fine_stages = fine_stages
        self.stride = stride
        self.steps = int(math.log2(stride))
        self.bands = bands
        self.classes = classes

    def forward(self, images: Tensor) -> CoarseOutput:
        """Coarse logits and fine features of ``images`` (N, B, H, W), padded to a multiple of the stride."""
        stages = self.backbone(pad_to_multiple(images, self.stride))
        return CoarseOutput(
            logits=self.classifier(stages["deep"]),
            features=tuple(stages[stage] for stage in self.fine_stages),
            auxiliary=None if self.auxiliary is None else self.auxiliary(stages["middle"]),
        )


def pad_to_multiple(maps: Tensor, multiple: int, value: float = 0.0) -> Tensor:
    """Pad the last two axes at the bottom and right to multiples of ``multiple``.

    The default, 0, is what nodata looks like to the network.
    """
    height, width = maps.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    return F.pad(maps, (0, right, 0, bottom), value=value) if bottom or right else maps


def build_model(config: ModelConfig, *, bands: int, classes: int) -> PointRendDeepLab:
    """The network of ``config`` for images of ``bands`` bands, with random weights but for a chosen backbone.

    Raises:
        ModelError: the pretrained backbone cannot be had.
    """
    backbone = build_backbone(config, bands=bands)
    classifier = DeepLabHead(backbone.channels["deep"], classes, _ATROUS_RATES[config.output_stride])
    _free_pooling_of_batch(classifier)
    replace_dropout(classifier, config.dropout)
    auxiliary = FCNHead(backbone.channels["middle"], classes) if config.auxiliary else None
    if auxiliary is not None:
        replace_dropout(auxiliary)
    network = PointRendDeepLab(
        backbone=backbone,
        classifier=classifier,
        auxiliary=auxiliary,
        point_head=PointHead(
            fine_channels=sum(backbone.channels[stage] for stage in config.fine_stages),
            classes=classes,
            width=config.head_width,
            depth=config.head_depth,
        ),
        fine_stages=config.fine_stages,
        stride=config.output_stride,
        bands=bands,
        classes=classes,
    )
    if config.norm == "group":
        replace_batch_norms(network)
    return network


def _free_pooling_of_batch(classifier: nn.Module) -> None:
    """Let the pyramid's image pooling norm each image by itself.

    It pools each image to one pixel: batch norm cannot train there with a single image, and with a few its
    statistics are mostly noise.
    """
    pooling = classifier.get_submodule("0.convs.4")
    for name, module in pooling.named_children():
        if isinstance(module, nn.BatchNorm2d):
            setattr(pooling, name, nn.GroupNorm(_POOLING_GROUPS, module.num_features))
