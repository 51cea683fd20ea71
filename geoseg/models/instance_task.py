"""Learning to find objects: what a training does to a Mask R-CNN with PointRend."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geoseg.config import Config
from geoseg.errors import ChipsError
from geoseg.models.instances import Detections, Target, targets_of
from geoseg.models.losses import ProcessMean
from geoseg.models.mask_rcnn import LOSSES, MaskRCNN, build_instance_model, weighted_sum
from geoseg.models.task import Labelled


class InstanceTask:
    """Every object of a chip: its class, its box and its pixels. See :class:`geoseg.models.task.Task`."""

    parts = ("loss", *LOSSES)

    def __init__(self, config: Config, *, bands: int, classes: int) -> None:
        """Build the network, with random weights from torch's global generator.

        Args:
            config: the run, of an instance model.
            bands: B.
            classes: K, with the background, which is class 0.
        """
        self._config = config
        self.network: MaskRCNN = build_instance_model(
            config.model, bands=bands, classes=classes, detection=config.detection
        )

    def compile(self) -> None:
        """Compile the backbone: all chips have one size, but the number of objects differs."""
        self.network.backbone.compile()

    def targets(self, batch: Labelled, part: slice, device: torch.device) -> list[Target]:
        """What each chip teaches; crowd areas are unknown land in ``labels`` already.

        Raises:
            ChipsError: the chips are not instance chips.
        """
        if batch.objects is None:
            raise ChipsError("chips without objects; make them with geoseg tile --task instance")
        labels = batch.labels[part].to(device, non_blocking=True)
        objects = batch.objects[part].to(device, non_blocking=True)
        return [targets_of(*chip) for chip in zip(labels, objects, strict=True)]

    def loss(
        self,
        images: Tensor,
        targets: Sequence[Target],
        generators: Sequence[torch.Generator],
        process_mean: ProcessMean,
    ) -> Tensor:
        """(7,): the weighted sum, and the losses it is made of, without weights."""
        losses = self.network(
            images,
            targets,
            points=self._config.points,
            generators=generators,
            process_mean=process_mean,
        )
        total = weighted_sum(losses, self._config.loss)
        return torch.stack([total, *(losses[name].detach() for name in LOSSES)])

    def answer(self, network: nn.Module, images: Tensor) -> list[Detections]:
        """The objects of each chip, by ``network``, this one's average."""
        assert isinstance(network, MaskRCNN)
        return network.detect(images)
