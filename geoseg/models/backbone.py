"""Backbones of the coarse network: torchvision classifiers without their classifier, for any number of bands.

Nothing is ever downloaded unless ``imagenet`` is asked for.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import (
    MobileNet_V3_Large_Weights,
    ResNet50_Weights,
    ResNet101_Weights,
    mobilenet_v3_large,
    resnet50,
    resnet101,
)

from geoseg.config import Architecture, ModelConfig
from geoseg.errors import ModelError

BATCH_NORM_MOMENTUM = 0.1
"""torchvision's MobileNetV3 has 0.01: after a short training its running statistics have hardly moved."""


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """Where a backbone keeps what the network taps.

    Attributes:
        taps: tapped layer of each stage; ``deep`` feeds the classifier, ``middle`` the auxiliary head.
        channels: channels of each tap.
        first: name of the first convolution.
        weights: torchvision's ImageNet weights.
    """

    taps: Mapping[str, str]
    channels: Mapping[str, int]
    first: str
    weights: Any


def _resnet_layout(weights: Any) -> _Layout:
    return _Layout(
        taps={
            "stride2": "relu",
            "stride4": "layer1",
            "stride8": "layer2",
            "middle": "layer3",
            "deep": "layer4",
        },
        channels={"stride2": 64, "stride4": 256, "stride8": 512, "middle": 1024, "deep": 2048},
        first="conv1",
        weights=weights,
    )


_LAYOUTS: dict[Architecture, _Layout] = {
    "deeplabv3_resnet50": _resnet_layout(ResNet50_Weights.IMAGENET1K_V2),
    "deeplabv3_resnet101": _resnet_layout(ResNet101_Weights.IMAGENET1K_V2),
    "deeplabv3_mobilenet_v3_large": _Layout(
        # The last block of each stride; "12" is the last one before the dilated blocks.
        taps={"stride2": "1", "stride4": "3", "stride8": "6", "middle": "12", "deep": "16"},
        channels={"stride2": 16, "stride4": 24, "stride8": 40, "middle": 112, "deep": 960},
        first="0.0",
        weights=MobileNet_V3_Large_Weights.IMAGENET1K_V2,
    ),
}


class Backbone(nn.Module):
    """Runs a chain of layers and keeps what the tapped ones put out.

    Attributes:
        channels: channels of each stage: ``stride2``, ``stride4``, ``stride8``, ``middle``, ``deep``.

    Shapes: (N, B, H, W) -> by stage (N, C, H / stride, W / stride).
    """

    def __init__(self, layers: Mapping[str, nn.Module], layout: _Layout) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.channels = dict(layout.channels)
        self._stage_of = {layer: stage for stage, layer in layout.taps.items()}

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Feature maps of ``images`` (N, B, H, W) by stage."""
        stages: dict[str, Tensor] = {}
        values = images
        for name, layer in self.named_children():
            values = layer(values)
            if name in self._stage_of:
                stages[self._stage_of[name]] = values
        return stages


def build_backbone(config: ModelConfig, *, bands: int) -> Backbone:
    """The backbone of ``config`` for images of ``bands`` bands, pretrained only where the config says so.

    Raises:
        ModelError: the weights cannot be had, or belong to another network.
    """
    layout = _LAYOUTS[config.architecture]
    backbone = Backbone(_layers(config), layout)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = BATCH_NORM_MOMENTUM
    fit_bands(backbone, layout.first, bands)
    if config.backbone_weights is not None:
        load_pretrained(backbone, layout.first, layout.weights, config, bands)
    return backbone


def _layers(config: ModelConfig) -> Mapping[str, nn.Module]:
    """The layers of torchvision's network up to its pooling, with random weights."""
    if config.architecture == "deeplabv3_mobilenet_v3_large":
        layers = OrderedDict(mobilenet_v3_large(weights=None, dilated=True).features.named_children())
        if config.output_stride == 8:
            _dilate_further(layers)
        return layers
    build: Callable[..., nn.Module] = resnet50 if config.architecture == "deeplabv3_resnet50" else resnet101
    whole = build(weights=None, replace_stride_with_dilation=[False, config.output_stride == 8, True])
    return OrderedDict(
        (name, layer) for name, layer in whole.named_children() if name not in {"avgpool", "fc"}
    )


def _dilate_further(layers: Mapping[str, nn.Module]) -> None:
    """Take the stride out of a dilated MobileNetV3's blocks that go to stride 16.

    Those after them see the same ground by twice the dilation, as in torchvision's ResNets.
    """
    for number in range(7, 16):
        for module in layers[str(number)].modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size[0] > 1:
                rate = 1 if number == 7 else 2 * module.dilation[0]
                margin = (module.kernel_size[0] - 1) // 2 * rate
                module.stride, module.dilation, module.padding = (1, 1), (rate, rate), (margin, margin)


def fit_bands(backbone: nn.Module, name: str, bands: int) -> None:
    """Put a first convolution for ``bands`` bands in place of the RGB one, which is called ``name``."""
    if bands == 3:
        return
    parent_name, _, child = name.rpartition(".")
    parent, old = backbone.get_submodule(parent_name), backbone.get_submodule(name)
    if not isinstance(old, nn.Conv2d):
        raise TypeError(f"{name} is no convolution")
    size, stride = old.kernel_size[0], old.stride[0]
    new = nn.Conv2d(bands, old.out_channels, size, stride=stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    setattr(parent, child, new)


def adapt_first_weights(weights: Tensor, bands: int) -> Tensor:
    """RGB weights (C, 3, k, k) for any number of bands: (C, bands, k, k).

    The first three bands take those of R, G, B, and all others, or fewer than three bands, their mean; all
    scaled by 3 / bands, so that the sum over the bands, and with it what the next layers see of a grey image,
    stays as it was trained.
    """
    colors = weights.shape[1]
    if bands == colors:
        return weights
    grey = weights.mean(dim=1, keepdim=True)
    if bands < colors:
        return grey.expand(-1, bands, -1, -1) * (colors / bands)
    return torch.cat([weights, grey.expand(-1, bands - colors, -1, -1)], dim=1) * (colors / bands)


def load_pretrained(backbone: nn.Module, first: str, weights: Any, config: ModelConfig, bands: int) -> None:
    """Give ``backbone`` the pretrained weights of ``config``.

    Args:
        backbone: layers with torchvision's names.
        first: name of the first convolution.
        weights: torchvision's ImageNet weights of it.
        config: says where weights are taken from.
        bands: what the first convolution takes.

    Raises:
        ModelError: the weights cannot be had, or belong to another network.
    """
    where = str(config.backbone_weights)
    found = _download(weights) if where == "imagenet" else _read_weights(Path(where))
    found = {_own_name(name): values for name, values in found.items()}
    first = f"{first}.weight"
    if first in found and found[first].ndim == 4 and found[first].shape[1] == 3:
        found[first] = adapt_first_weights(found[first], bands)
    state = backbone.state_dict()
    for name, own in state.items():
        if name.endswith("num_batches_tracked"):
            continue
        if name not in found or found[name].shape != own.shape:
            problem = "has no" if name not in found else "has another shape of"
            raise ModelError(
                f"backbone weights {where}: {problem} {name}; "
                f"give torchvision weights of {_classifier_of(config.architecture)}"
            )
        state[name] = found[name]
    backbone.load_state_dict(state)


def _own_name(name: str) -> str:
    """The name a layer has here, of a name in the weights of a classifier, a DeepLabV3 or a Mask R-CNN."""
    return name.removeprefix("backbone.").removeprefix("body.").removeprefix("features.")


def _classifier_of(architecture: Architecture) -> str:
    """The classifier whose layers the backbone is made of, by torchvision's name."""
    return re.sub(r"^(deeplabv3|maskrcnn)_|_fpn(_v2)?_pointrend$", "", architecture)


def _download(weights: Any) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (URLError, OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise ModelError(
            f"ImageNet weights could not be fetched ({' '.join(str(error).split())}); "
            "give a file of torchvision weights as model.backbone_weights"
        ) from error
    return state


def _read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors by name, of a safetensors file or of a PyTorch file that holds nothing but tensors."""
    if not path.is_file():
        raise ModelError(
            f"backbone weights {path} do not exist; give a file of torchvision weights or imagenet"
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise ModelError(
            f"backbone weights {path} are not readable; give a file of torchvision weights"
        ) from error
    if not isinstance(found, Mapping) or not all(isinstance(values, Tensor) for values in found.values()):
        raise ModelError(
            f"backbone weights {path} hold more than tensors; give a file of torchvision weights"
        )
    return dict(found)
