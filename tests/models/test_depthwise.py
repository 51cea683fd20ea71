"""Gradients of depthwise convolutions in float32: those of torch, to the precision of bfloat16."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from geoseg.config import ModelConfig
from geoseg.models.deeplab import build_model
from geoseg.models.depthwise import DepthwiseConv2d, widen_depthwise_gradients


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation"),
    [
        ((12, 16), 3, 1, 1),
        ((13, 9), 5, 1, 1),
        ((12, 16), 3, 2, 1),
        ((12, 16), 5, 1, 2),
        ((11, 16), 3, 1, 2),
        ((12, 15), 3, 1, 3),
    ],
)
def test_gradients_are_those_of_float32(
    size: tuple[int, int], kernel: int, stride: int, dilation: int
) -> None:
    torch.manual_seed(0)
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(6, 6, kernel, stride, padding, dilation, groups=6, bias=False)
    # Values that bfloat16 holds exactly: then only the gradients' own precision counts.
    conv.weight.data = conv.weight.data.bfloat16().float()
    maps = torch.randn(2, 6, *size).bfloat16().float().to(memory_format=torch.channels_last)
    weights = torch.randn_like(conv(maps)).bfloat16().float()

    def gradients(autocast: bool) -> list[torch.Tensor]:
        given = maps.clone().requires_grad_()
        conv.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
            result = conv(given)
        assert result.dtype == (torch.bfloat16 if autocast else torch.float32)
        (result.float() * weights).sum().backward()
        assert given.grad is not None
        assert conv.weight.grad is not None
        return [given.grad, conv.weight.grad.clone()]

    expected = gradients(autocast=False)
    widen_depthwise_gradients(holder := nn.Sequential(conv))
    assert type(holder[0]) is DepthwiseConv2d
    assert all(torch.equal(*pair) for pair in zip(gradients(autocast=False), expected, strict=True))
    for found, wanted in zip(gradients(autocast=True), expected, strict=True):
        # One rounding to bfloat16, at the very end.
        assert torch.allclose(found, wanted, rtol=2**-8, atol=1e-6)


def test_only_depthwise_convolutions_change_and_predictions_do_not() -> None:
    torch.manual_seed(0)
    network = build_model(ModelConfig(head_width=8), bands=3, classes=2).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        before = network(images).logits
    names = list(network.state_dict())
    widen_depthwise_gradients(network)
    changed = [module for module in network.modules() if isinstance(module, DepthwiseConv2d)]
    assert len(changed) == 15
    assert all(module.weight.shape[1] == 1 for module in changed)
    assert list(network.state_dict()) == names
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(network(images).logits, before)
