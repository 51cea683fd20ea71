"""Feature pyramids: a torchvision classifier's layers with an FPN on them, for any number of bands.

Lin et al., "Feature Pyramid Networks for Object Detection" (arXiv 1612.03144), with torchvision's parts.
Layers have the names they have in torchvision's detectors. Nothing is ever downloaded unless ``imagenet`` is
asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torchvision.models import MobileNet_V3_Large_Weights, ResNet50_Weights, mobilenet_v3_large, resnet50
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from geoseg.config import ModelConfig
from geoseg.models.backbone import BATCH_NORM_MOMENTUM, fit_bands, load_pretrained

COARSEST_STRIDE = 64
"""Stride of the coarsest map, which is a pooled one."""
SIDE_MULTIPLE = 32
"""What chips are padded to: the stride of the deepest layer."""


@dataclass(frozen=True, kw_only=True)
class _Trunk:
    """What a pyramid stands on.

    Attributes:
        build: makes the classifier with random weights.
        taps: the last layers of stride 4, 8, 16 and 32, and their channels.
        first: name of the first convolution.
        weights: torchvision's ImageNet weights.
    """

    build: Callable[[], nn.Module]
    taps: Mapping[str, int]
    first: str
    weights: Any


_RESNET = _Trunk(
    build=lambda: resnet50(weights=None),
    taps={"layer1": 256, "layer2": 512, "layer3": 1024, "layer4": 2048},
    first="conv1",
    weights=ResNet50_Weights.IMAGENET1K_V2,
)
_MOBILENET = _Trunk(
    # torchvision's own detector taps two maps of stride 32 only: too coarse for things of a few pixels.
    build=lambda: mobilenet_v3_large(weights=None).features,
    taps={"3": 24, "6": 40, "12": 112, "16": 960},
    first="0.0",
    weights=MobileNet_V3_Large_Weights.IMAGENET1K_V2,
)


def build_pyramid(config: ModelConfig, *, bands: int) -> BackboneWithFPN:
    """The pyramid of ``config``: images (N, B, H, W) to maps "0" .. "3" and "pool", strides 4 to 64.

    Args:
        config: an instance model's.
        bands: B.

    Raises:
        ModelError: the pretrained weights cannot be had, or belong to another network.
    """
    trunk = _MOBILENET if "mobilenet" in config.architecture else _RESNET
    body = trunk.build()
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = BATCH_NORM_MOMENTUM
    fit_bands(body, trunk.first, bands)
    pyramid = BackboneWithFPN(
        body,
        return_layers={layer: str(level) for level, layer in enumerate(trunk.taps)},
        in_channels_list=list(trunk.taps.values()),
        out_channels=config.pyramid_width,
        norm_layer=nn.BatchNorm2d if "_v2_" in config.architecture else None,
    )
    if config.backbone_weights is not None:
        load_pretrained(pyramid.body, trunk.first, trunk.weights, config, bands)
    return pyramid
