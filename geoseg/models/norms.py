"""Other norms than torchvision's: by group, or by batch over several processes."""

from __future__ import annotations

import math

import torch
import torch.distributed
import torch.distributed.nn
from torch import Tensor, nn

GROUPS = 32
"""Wu and He, "Group Normalization" (arXiv 1803.08494), Table 3."""


class ProcessBatchNorm(nn.BatchNorm2d):
    """Batch norm over the chips of all processes, on any device (torch's own needs CUDA).

    The mean first and the squared distances from it afterwards, as in one process: taking the difference of
    large squares instead would lose digits. In eval mode, and with a single process, it is batch norm.
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normed ``maps`` (N, C, H, W)."""
        alone = not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1
        if not self.training or alone:
            return super().forward(maps)
        values = maps if maps.dtype == torch.float64 else maps.float()
        count = values.new_tensor(values.numel() // values.shape[1])
        torch.distributed.all_reduce(count)
        axes, shape = (0, 2, 3), (1, -1, 1, 1)
        mean = _sum_over_processes(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = _sum_over_processes(centred.square().sum(axes)) / count
        self._follow(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(maps.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.running_mean.lerp_(mean, self.momentum or 0.0)
        self.running_var.lerp_(variance, self.momentum or 0.0)
        self.num_batches_tracked.add_(1)


def _sum_over_processes(values: Tensor) -> Tensor:
    """The sum, through which gradients flow back to every process."""
    summed: Tensor = torch.distributed.nn.functional.all_reduce(values)  # type: ignore[no-untyped-call]
    return summed


def batch_norms_over_processes(network: nn.Module, device: torch.device) -> nn.Module:
    """``network`` with batch norms that see the chips of all processes; weights and names stay."""
    if device.type == "cuda":
        whole: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return whole
    for module in list(network.modules()):
        if type(module) is nn.BatchNorm2d:
            # It differs by one method; parameters, buffers and settings are those of its base.
            module.__class__ = ProcessBatchNorm
    return network


def replace_batch_norms(network: nn.Module) -> None:
    """Put group norm in place of every batch norm."""
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                groups = math.gcd(GROUPS, child.num_features)
                setattr(module, name, nn.GroupNorm(groups, child.num_features))
