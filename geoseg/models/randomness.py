"""Random draws that follow from the chip alone.

What a chip's noise, dropout, boxes and points are depends on its seed only: not on the batch it is in, on the
process that works on it, or on how often training was interrupted. So a batch worked on in parts, by many
processes or after a restart gives what it gives in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def chip_generators(seeds: Tensor, device: torch.device) -> list[torch.Generator]:
    """One generator a chip, on ``device``, of ``seeds`` (N,) int64."""
    return [torch.Generator(device).manual_seed(seed) for seed in seeds.tolist()]


def draw(
    generators: Sequence[torch.Generator],
    shape: Sequence[int],
    *,
    kind: Callable[..., Tensor] = torch.rand,
) -> Tensor:
    """Draws (N, ...) float32 of ``shape``, each chip's from its own generator and on its device.

    Args:
        generators: one a chip; each goes on by one draw.
        shape: shape of one chip's draws.
        kind: ``torch.rand`` or ``torch.randn``.
    """
    return torch.stack([kind(*shape, generator=each, device=each.device) for each in generators])


class ChipDropout(nn.Module):
    """Dropout whose mask follows each chip's generator, see :func:`drawing_from`; torch's own without one."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.generators: Sequence[torch.Generator] | None = None

    def forward(self, maps: Tensor) -> Tensor:
        """``maps`` (N, ...) with a share of the values 0 and the others larger; unchanged in eval mode."""
        if not self.training or self.share == 0.0:
            return maps
        if self.generators is None:
            return F.dropout(maps, self.share)
        kept = draw(self.generators, maps.shape[1:]) >= self.share
        return maps * (kept.to(maps.dtype) / (1.0 - self.share))


class ChipSampler(nn.Module):
    """Which of its boxes a chip is learned by; drawn from each chip's generator, see :func:`drawing_from`.

    Stands in for torchvision's ``BalancedPositiveNegativeSampler``, which draws from torch's one generator.

    Attributes:
        count: boxes wanted of each chip.
        share: most of them that are positive; negative ones fill up.
    """

    def __init__(self, count: int, share: float) -> None:
        super().__init__()
        self.count = count
        self.share = share
        self.generators: Sequence[torch.Generator] | None = None

    def forward(self, labels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """The positive and the negative boxes drawn, each as (n,) bool a chip.

        Args:
            labels: (n,) of each chip: above 0 positive, 0 negative, below 0 neither.
        """
        positives, negatives = [], []
        for chip, own in enumerate(labels):
            generator = None if self.generators is None else self.generators[chip]
            positive = _some_of(own > 0, int(self.count * self.share), generator)
            positives.append(positive)
            negatives.append(_some_of(own == 0, self.count - int(positive.sum()), generator))
        return positives, negatives


def _some_of(candidates: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """At most ``count`` of the ``candidates`` (n,) bool, drawn without preference."""
    found = candidates.nonzero()[:, 0]
    device = candidates.device if generator is None else generator.device
    order = torch.randperm(len(found), generator=generator, device=device)[:count]
    drawn = torch.zeros_like(candidates)
    drawn[found[order.to(found.device)]] = True
    return drawn


def replace_dropout(network: nn.Module, share: float | None = None) -> None:
    """Put :class:`ChipDropout` in place of each of torch's, with another ``share`` if one is given."""
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, ChipDropout(child.p if share is None else share))


@contextmanager
def drawing_from(network: nn.Module, generators: Sequence[torch.Generator] | None) -> Iterator[None]:
    """Let every :class:`ChipDropout` and :class:`ChipSampler` of ``network`` draw from these meanwhile."""
    drawing = [module for module in network.modules() if isinstance(module, ChipDropout | ChipSampler)]
    for module in drawing:
        module.generators = generators
    try:
        yield
    finally:
        for module in drawing:
            module.generators = None
