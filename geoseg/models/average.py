"""Running average of the weights: what is validated and saved."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def average_decay(decay: float, updates: int) -> float:
    """Decay of the average after ``updates`` earlier ones: ``min(decay, (1 + t) / (10 + t))``.

    The warm-up lets the random initial weights fade within a short run (the rule of TensorFlow's
    ``ExponentialMovingAverage``).
    """
    return min(decay, (1 + updates) / (10 + updates))


def average_of(network: NetworkT) -> NetworkT:
    """A copy of ``network`` in eval mode that :func:`update_average` keeps as the average."""
    average = copy.deepcopy(network).eval()
    return average.requires_grad_(False)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move ``average`` towards ``network``: ``decay * average + (1 - decay) * network``.

    Buffers (running statistics of batch norm) are averages already and are copied.
    """
    parameters = [parameter.detach() for parameter in network.parameters()]
    torch._foreach_lerp_(list(average.parameters()), parameters, 1.0 - decay)
    for kept, current in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(current)
