"""One chip after the other through a model that finds objects, with and without PointRend's subdivision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geoseg.chips.store import Chip, ChipStore
from geoseg.config import DetectionConfig
from geoseg.metrics.image_objects import TrueObjects, cut_outs
from geoseg.metrics.regions import Region
from geoseg.models.card import ModelCard
from geoseg.page.picture import Ids

if TYPE_CHECKING:
    import torch

    from geoseg.models.instances import Detections
    from geoseg.models.mask_rcnn import MaskRCNN


@dataclass(frozen=True, kw_only=True)
class FoundObjects:
    """D objects that a model found in a chip, of any score, the surest first.

    Attributes:
        regions: D of them.
        unrefined: the same without subdivision.
        class_ids: (D,) int64, from 1.
        scores: (D,) float32.
    """

    regions: tuple[Region, ...]
    unrefined: tuple[Region, ...]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32]

    @classmethod
    def of(cls, found: Detections, unrefined: Detections) -> FoundObjects:
        """From what :meth:`geoseg.models.mask_rcnn.MaskRCNN.detect_both` tells of one chip."""
        told, first = found.numpy(), unrefined.numpy()
        return cls(
            regions=tuple(cut_outs(told.masks, told.offsets)),
            unrefined=tuple(cut_outs(first.masks, first.offsets)),
            class_ids=told.labels,
            scores=told.scores,
        )


@dataclass(frozen=True, kw_only=True)
class SeenObjects:
    """A chip, its pixels, its true objects, and those that were found.

    Attributes:
        chip: the chip.
        bands: (B, S, S) in their own dtype.
        valid: (S, S).
        labels: (S, S) class ids, 255 where unknown.
        truth: its objects.
        found: what the model says.
    """

    chip: Chip
    bands: NDArray[Any]
    valid: NDArray[np.bool_]
    labels: Ids
    truth: TrueObjects
    found: FoundObjects


class Finder:
    """A model, run on chips one by one as training's validation does it.

    Attributes:
        parameters: numbers the model learned.
        device: where it runs, and at which precision, in words.
    """

    def __init__(
        self,
        network: MaskRCNN,
        card: ModelCard,
        where: torch.device,
        autocast: torch.dtype | None,
        why: str,
    ) -> None:
        self.parameters = sum(values.numel() for values in network.parameters())
        self.device = f"{where}, {why}"
        self._network = network
        self._stats = card.stats
        self._where = where
        self._autocast = autocast

    @classmethod
    def load(cls, model: Path, card: ModelCard, rules: DetectionConfig, device: str) -> Finder:
        """Read a model.

        Args:
            model: its file.
            card: what it says of itself.
            rules: how objects are chosen.
            device: ``auto``, ``cpu`` or ``cuda[:N]``.

        Raises:
            ConfigError: no such device.
            ModelError: the model is damaged.
        """
        import torch

        from geoseg.models.checkpoint import load_instance_model
        from geoseg.models.inference import choose_device, choose_precision

        where = choose_device(device)
        autocast, why = choose_precision("auto", where)
        network = load_instance_model(model, where, detection=rules)[0].to(memory_format=torch.channels_last)
        return cls(network, card, where, autocast, why)

    def run(self, store: ChipStore, chip: Chip) -> SeenObjects:
        """What the model says of one chip.

        Raises:
            ChipsError, ReadError: the chip is damaged.
        """
        bands, valid, labels = store.read(chip)
        numbers = store.read_objects(chip).numbers
        return SeenObjects(
            chip=chip,
            bands=bands,
            valid=valid,
            labels=labels,
            truth=TrueObjects.of(labels, numbers, len(store.classes)),
            found=self._found(bands, valid),
        )

    def _found(self, bands: NDArray[Any], valid: NDArray[np.bool_]) -> FoundObjects:
        import torch

        images = torch.from_numpy(self._stats.normalise(bands, valid)[np.newaxis]).to(self._where)
        images = images.contiguous(memory_format=torch.channels_last)
        enabled = self._autocast is not None
        with torch.autocast(self._where.type, dtype=self._autocast, enabled=enabled):
            ((found, unrefined),) = self._network.detect_both(images)
        return FoundObjects.of(found, unrefined)
