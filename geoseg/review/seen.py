"""One chip after the other through a model: the coarse and the refined prediction from a single pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geoseg.chips.store import Chip
from geoseg.classes import BandStats
from geoseg.page.picture import Ids

if TYPE_CHECKING:
    import torch

    from geoseg.models.deeplab import CoarseOutput, PointRendDeepLab


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A chip, its pixels, and what the model says of them.

    Attributes:
        chip: the chip.
        bands: (B, S, S) in their own dtype.
        valid: (S, S).
        labels: (S, S) class ids, 255 where unknown.
        coarse: (S, S) class ids of the coarse map, upsampled bilinearly.
        refined: (S, S) class ids with refinement.
        uncertainty: (S, S), one minus the margin between the two best refined probabilities.
    """

    chip: Chip
    bands: NDArray[Any]
    valid: NDArray[np.bool_]
    labels: Ids
    coarse: Ids
    refined: Ids
    uncertainty: NDArray[np.float32]


class Runner:
    """A model, run on chips one by one as predict does it.

    Attributes:
        parameters: numbers the model learned.
        device: where it runs, and at which precision, in words.
    """

    def __init__(
        self,
        network: PointRendDeepLab,
        stats: BandStats,
        where: torch.device,
        autocast: torch.dtype | None,
        why: str,
    ) -> None:
        self.parameters = sum(values.numel() for values in network.parameters())
        self.device = f"{where}, {why}"
        self._network = network
        self._stats = stats
        self._where = where
        self._autocast = autocast
        self._outputs: list[CoarseOutput] = []
        # Refinement starts from the coarse map: kept, it need not be computed a second time.
        network.register_forward_hook(lambda _module, _images, output: self._outputs.append(output))

    @classmethod
    def load(cls, model: Path, stats: BandStats, device: str) -> Runner:
        """Read a model.

        Args:
            model: its file.
            stats: of the bands, as the model has them.
            device: ``auto``, ``cpu`` or ``cuda[:N]``.

        Raises:
            ConfigError: no such device.
            ModelError: the model is damaged.
        """
        import torch

        from geoseg.models.checkpoint import load_model
        from geoseg.models.inference import choose_device, choose_precision

        where = choose_device(device)
        autocast, why = choose_precision("auto", where)
        network = load_model(model, device=where)[0].to(memory_format=torch.channels_last)
        return cls(network, stats, where, autocast, why)

    def run(self, chip: Chip, bands: NDArray[Any], valid: NDArray[np.bool_], labels: Ids) -> Seen:
        """What the model says of one chip as :meth:`geoseg.chips.store.ChipStore.read` returns it."""
        import torch

        from geoseg.models.inference import predict_logits
        from geoseg.models.point_choice import probability_margin
        from geoseg.models.points import upsample

        images = torch.from_numpy(self._stats.normalise(bands, valid)[np.newaxis]).to(self._where)
        images = images.contiguous(memory_format=torch.channels_last)
        enabled = self._autocast is not None
        with torch.autocast(self._where.type, dtype=self._autocast, enabled=enabled):
            refined = predict_logits(self._network, images)
        coarse, stride = self._outputs.pop().logits.float(), self._network.stride
        coarse = upsample(coarse, (coarse.shape[2] * stride, coarse.shape[3] * stride))
        coarse = coarse[..., : labels.shape[0], : labels.shape[1]]
        return Seen(
            chip=chip,
            bands=bands,
            valid=valid,
            labels=labels,
            coarse=coarse.argmax(dim=1)[0].to(torch.uint8).cpu().numpy(),
            refined=refined.argmax(dim=1)[0].to(torch.uint8).cpu().numpy(),
            uncertainty=1 - probability_margin(refined)[0].cpu().numpy(),
        )
