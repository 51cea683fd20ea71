"""Depthwise convolutions whose gradients are computed in float32.

In bfloat16 on a CPU their gradients take two to eight times as long as in float32, for which alone oneDNN has
fast kernels: a fifth of a training step of MobileNetV3. The forward pass stays in bfloat16, where it is the
faster one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution of the same weights; differs under bfloat16 autocast on a CPU only."""

    def forward(self, maps: Tensor) -> Tensor:
        """``maps`` (N, C, H, W) convolved."""
        lower = torch.is_autocast_enabled("cpu") and torch.is_grad_enabled() and maps.device.type == "cpu"
        if not lower or self.bias is not None or isinstance(self.padding, str):
            return super().forward(maps)
        dtype = torch.get_autocast_dtype("cpu")
        shape = (self.stride, self.padding, self.dilation, self.groups)
        convolved: Tensor = _Depthwise.apply(maps.to(dtype), self.weight.to(dtype), *shape)
        return convolved


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.shape = stride, padding, dilation, groups
        return F.conv2d(maps, weight, None, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.shape
        layout = torch.channels_last
        of_maps, of_weight, _ = torch.ops.aten.convolution_backward(
            gradients[0].to(torch.float32, memory_format=layout),
            maps.to(torch.float32, memory_format=layout),
            weight.float(),
            None,
            stride,
            padding,
            dilation,
            False,
            [0, 0],
            groups,
            [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False],
        )
        wide = None if of_maps is None else of_maps.to(maps.dtype)
        return wide, of_weight.to(weight.dtype), None, None, None, None


def widen_depthwise_gradients(network: nn.Module) -> None:
    """Make every depthwise convolution of ``network`` a :class:`DepthwiseConv2d`; weights and names stay."""
    for module in network.modules():
        if type(module) is nn.Conv2d and module.groups == module.in_channels > 1:
            # It differs by one method; parameters and settings are those of its base.
            module.__class__ = DepthwiseConv2d
