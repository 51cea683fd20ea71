"""What a training learns, apart from how it is optimised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from geoseg.config import Config
from geoseg.models.deeplab import PointRendDeepLab, build_model
from geoseg.models.inference import predict_logits
from geoseg.models.losses import ProcessMean, training_loss


class Labelled(Protocol):
    """What the chips of a batch are labelled with; :class:`geoseg.chips.batches.ChipBatch` is one."""

    @property
    def labels(self) -> Tensor:
        """(N, H, W) uint8 class ids, 255 = unknown."""

    @property
    def objects(self) -> Tensor | None:
        """(N, H, W) int32 numbers of objects, each chip its own from 1; ``None`` but for instance chips."""


class Task(Protocol):
    """A network, what it is to learn of a batch, and the loss of that."""

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the figures that :meth:`loss` returns; the first one, ``loss``, is minimised."""

    @property
    def network(self) -> nn.Module:
        """The network in training."""

    def compile(self) -> None:
        """Compile what of the network gains by it."""

    def targets(self, batch: Labelled, part: slice, device: torch.device) -> Any:
        """What the network is to answer to ``part`` of the batch, on ``device``."""

    def loss(
        self, images: Tensor, targets: Any, generators: Sequence[torch.Generator], process_mean: ProcessMean
    ) -> Tensor:
        """Float32, one figure for each of ``parts``; the first one with gradients.

        Args:
            images: (N, B, H, W) float32 normalised.
            targets: of these images.
            generators: of all that is random, one a chip, on the device of ``images``.
            process_mean: makes the mean of all processes' losses the loss of the whole batch.
        """

    def answer(self, network: nn.Module, images: Tensor) -> Any:
        """What ``network``, this task's own or its average, says of images (N, B, H, W)."""


class SemanticTask:
    """The class of every pixel, by DeepLabV3 and PointRend."""

    parts = ("loss", "coarse", "point", "auxiliary", "dice")

    def __init__(
        self, config: Config, *, bands: int, classes: int, class_weights: Tensor | None = None
    ) -> None:
        """Build the network, with random weights from torch's global generator.

        Args:
            config: the run.
            bands: B.
            classes: K.
            class_weights: (K,) float32; equal ones when not given.
        """
        self._config = config
        self._class_weights = class_weights
        self.network: PointRendDeepLab = build_model(config.model, bands=bands, classes=classes)
        if config.loss.point_weight == 0.0:
            self.network.point_head.requires_grad_(False)

    def compile(self) -> None:
        """Compile the backbone; the rest works on a few points."""
        self.network.backbone.compile()

    def targets(self, batch: Labelled, part: slice, device: torch.device) -> Tensor:
        """(N, H, W) int64 class ids, 255 = unknown."""
        return batch.labels[part].to(device, non_blocking=True).long()

    def loss(
        self,
        images: Tensor,
        targets: Tensor,
        generators: Sequence[torch.Generator],
        process_mean: ProcessMean,
    ) -> Tensor:
        """See :func:`geoseg.models.losses.training_loss`; (5,), without weights but for the first."""
        parts = training_loss(
            self.network,
            images,
            targets,
            points=self._config.points,
            loss=self._config.loss,
            generators=generators,
            class_weights=self._class_weights,
            process_mean=process_mean,
        )
        return torch.stack([parts.total, parts.coarse, parts.point, parts.auxiliary, parts.dice])

    def answer(self, network: nn.Module, images: Tensor) -> Tensor:
        """Refined class ids, (N, H, W) uint8."""
        assert isinstance(network, PointRendDeepLab)
        refine = self._config.loss.point_weight > 0.0
        return predict_logits(network, images, refine=refine).argmax(dim=1).to(torch.uint8)
