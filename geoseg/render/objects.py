"""What is done with one chip where objects are detected: the network looks at it, its detections are kept.

These are the parts of the work that run in a worker's thread; :mod:`geoseg.render.renderer` deals them out.
PackedDetections of different chips are compared when all of them are there (:mod:`geoseg.render.overlap`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.classes import IGNORE, BandStats
from geoseg.models.instances import Detections
from geoseg.models.mask_rcnn import MaskRCNN
from geoseg.render.blocks import BlockGrid, Layers
from geoseg.render.chip import normalised, pixels_of, together
from geoseg.render.detections import PackedDetections
from geoseg.render.grid import Chip
from geoseg.render.job import Area, Look
from geoseg.render.plan import Plan
from geoseg.render.reader import ChipRow


class Detector(Protocol):
    """A network that detects objects."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    def detect(self, images: Tensor) -> Sequence[Detections]:
        """Objects in each of images (N, B, S, S) float32 normalised, on its device.

        Those of an image never depend on the other ones, as long as there are equally many.
        """


class MaskRCNNDetector:
    """Mask R-CNN, computing in a precision of choice.

    Attributes:
        device: where it computes.
    """

    def __init__(self, network: MaskRCNN, *, dtype: torch.dtype) -> None:
        """Take ``network`` over; ``dtype`` is what it computes in, but for boxes and scores."""
        network.eval().requires_grad_(False)
        self.device = next(network.parameters()).device
        self._network = network
        self._dtype = dtype

    def detect(self, images: Tensor) -> Sequence[Detections]:
        """Objects in each of images (N, B, S, S)."""
        low = self._dtype != torch.float32
        with torch.autocast(self.device.type, self._dtype if low else None, enabled=low):
            return self._network.detect(images)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a chip keeps until it goes into its block: its detections, and which of its pixels are valid."""

    detections: PackedDetections
    valid: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Objects:
    """Tells the objects that chips show.

    Attributes:
        plan: what is rendered, and how.
        blocks: the plan's blocks.
        stats: how the model's bands are normalised.
        detector: the model.
        area: which pixels are asked for; all of them when not given.
    """

    plan: Plan
    blocks: BlockGrid
    stats: BandStats
    detector: Detector
    area: Area | None = None

    def touching(self, chip: Chip) -> Iterable[Chip]:
        """The chip alone."""
        return (chip,)

    def look(
        self, batch: Sequence[tuple[Chip, ChipRow]], known: set[Chip], owned: Mapping[Chip, int]
    ) -> list[Look]:
        """Detect objects; chips without a valid pixel are not run."""
        pixels = pixels_of([(chip, row) for chip, row in batch if chip not in known], self.blocks.grid)
        images = normalised(pixels, self.stats)
        found = dict(zip(images, self._detect(images), strict=True))
        result: list[Look] = []
        for chip, (_, valid) in pixels.items():
            kept = None
            if chip in found and chip in owned:
                detections = PackedDetections.of_chip(chip, found[chip].numpy(), valid)
                kept = Kept(detections=detections, valid=self._own(chip, valid).copy())
            result.append((chip, () if chip in found else None, kept))
        return result

    def _detect(self, images: Mapping[Chip, Tensor]) -> list[Detections]:
        chips, device = list(images), self.detector.device
        if not chips:
            return []
        with torch.inference_mode():
            if device.type == "cpu":
                # One by one: then nothing can depend on the batch.
                return [
                    self.detector.detect(together([chip], images, device, self.plan.batch_size))[0]
                    for chip in chips
                ]
            return list(self.detector.detect(together(chips, images, device, self.plan.batch_size)))[
                : len(chips)
            ]

    def _own(self, chip: Chip, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
        mine, view = self.blocks.window_of(chip), self.blocks.view_of(chip)
        top, left = mine.row_off - view.row_off, mine.col_off - view.col_off
        return valid[top : top + mine.height, left : left + mine.width]

    def begin(self, block: int) -> dict[str, Any]:
        """No detections, and no valid pixel."""
        return {"objects": {}, "valid": self.blocks.empty(block)["valid"]}

    def decide(
        self, chip: Chip, shared: Sequence[tuple[Chip, Any]], kept: Kept, contents: dict[str, Any], block: int
    ) -> None:
        """Put a chip's detections into its block, and the valid pixels that it owns and are asked for."""
        del shared
        contents["objects"][chip] = kept.detections
        mine, whole = self.blocks.window_of(chip), self.blocks.window(block)
        shown = kept.valid if self.area is None else kept.valid & self.area(mine)
        top, left = mine.row_off - whole.row_off, mine.col_off - whole.col_off
        own = contents["valid"][top : top + mine.height, left : left + mine.width]
        own[...] = np.where(shown, 0, IGNORE)

    def end(self, block: int, contents: dict[str, Any]) -> Layers:  # noqa: ARG002
        """PackedDetections chip by chip, as bytes, and 0 where pixels are valid."""
        parts = [contents["objects"][chip] for chip in sorted(contents["objects"])]
        data = PackedDetections.joined(parts).to_bytes()
        return {"objects": np.frombuffer(data, np.uint8), "valid": contents["valid"]}
