"""The network of a session: how it is loaded, and what a chip costs it in memory."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geoseg.classes import BandStats
from geoseg.config import DetectionConfig
from geoseg.models.card import ModelCard
from geoseg.raster.rows import rows_ahead
from geoseg.raster.scene import Scene
from geoseg.render.blocks import BlockGrid
from geoseg.render.memory import Appetite
from geoseg.render.plan import Plan, Precision

if TYPE_CHECKING:
    from geoseg.models.engine import ChipNetwork
    from geoseg.render.job import Area, Craft
    from geoseg.render.objects import Detector

_LOOK_VALUES_PX = {"mobilenet": 60, "resnet": 220}

_DETECTOR_BYTES = 450_000_000
_DETECTOR_VALUES_PX = 80
"""What a detector takes for a chip beyond its weights: for its proposals and the masks it draws, whatever the
chip, and for each pixel. Measured in float32 with 500 objects a chip, in MB a worker:

========================  ======  ======  =======
peak RSS of a worker      256 px  512 px  1024 px
========================  ======  ======  =======
mobilenet                    433     461      527
mobilenet, large objects                      750
resnet50                     372     458      720
estimate                     471     534      785
========================  ======  ======  =======

bfloat16 took 373, 398, 449 (mobilenet) and 359, 387, 455 (resnet50). A CPU looks at chips one by one, so the
batch does not count.
"""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model that was loaded.

    Attributes:
        pixels: it, if it tells the class of every pixel.
        detector: it, if it detects objects.
        channels: channels of the stages of its backbone.
    """

    pixels: ChipNetwork | None = None
    detector: Detector | None = None
    channels: Mapping[str, int] = field(default_factory=dict)


def load_network(model: Path, plan: Plan, device: str) -> Loaded:
    """The network of a plan, kept for the next scene."""
    min_score = plan.min_score if plan.is_objects else None
    return _load(model, plan.model, device, plan.precision, min_score)


@functools.lru_cache(maxsize=1)
def _load(
    model: Path, fingerprint: str, device: str, precision: Precision, min_score: float | None
) -> Loaded:
    from geoseg.models.inference import DTYPES

    del fingerprint  # only tells files of one path apart
    if min_score is not None:
        from geoseg.models.checkpoint import load_instance_model
        from geoseg.render.objects import MaskRCNNDetector

        detection = DetectionConfig(min_score=min_score)
        found, _ = load_instance_model(model, device=device, detection=detection)
        return Loaded(detector=MaskRCNNDetector(found, dtype=DTYPES[precision]))
    from geoseg.models.checkpoint import load_model
    from geoseg.models.engine import ChipNetwork

    loaded, _ = load_model(model, device=device)
    channels = dict(loaded.backbone.channels)
    return Loaded(pixels=ChipNetwork(loaded, dtype=DTYPES[precision]), channels=channels)


def craft_of(loaded: Loaded, plan: Plan, blocks: BlockGrid, stats: BandStats, area: Area | None) -> Craft:
    """What is made of the chips of a plan."""
    if loaded.detector is not None:
        from geoseg.render.objects import Objects

        return Objects(plan=plan, blocks=blocks, stats=stats, detector=loaded.detector, area=area)
    from geoseg.render.chip import Pixels

    assert loaded.pixels is not None
    return Pixels(plan=plan, blocks=blocks, stats=stats, network=loaded.pixels, area=area)


def detector_bytes(size_px: int, *, bands: int, value_bytes: int) -> int:
    """What a detector takes for a chip, in bytes.

    Args:
        size_px: side of the chip.
        bands: B.
        value_bytes: of a number that it computes with.
    """
    return _DETECTOR_BYTES + size_px**2 * (_DETECTOR_VALUES_PX * value_bytes + 12 * bands)


def appetite_of(card: ModelCard, loaded: Loaded, plan: Plan, scene: Scene) -> Appetite:
    """What a chip costs in memory; the network's own part was measured, the rest is arithmetic."""
    value_bytes = 4 if plan.precision == "fp32" else 2
    pixels = plan.size_px**2
    scene_px = len(plan.bands) * np.dtype(scene.dtype).itemsize + 1
    if loaded.pixels is None:
        return Appetite(
            look=detector_bytes(plan.size_px, bands=len(plan.bands), value_bytes=value_bytes),
            fine=2 * pixels,
            coarse=0,
            scene_px=scene_px,
            ahead_rows=rows_ahead(scene),
        )
    kind = "mobilenet" if "mobilenet" in card.architecture.architecture else "resnet"
    fine_px = sum(
        loaded.channels[stage] / int(stage.removeprefix("stride")) ** 2
        for stage in card.architecture.fine_stages
    )
    # Logits of the pixels a chip decides, and what is computed of them.
    decided_px = plan.classes * 4 * 3 * plan.scale**2
    return Appetite(
        look=int(pixels * (_LOOK_VALUES_PX[kind] * value_bytes + decided_px + 12 * len(plan.bands))),
        fine=int(pixels * (fine_px * value_bytes + 1)),
        coarse=pixels * plan.classes * 4 // loaded.pixels.stride**2,
        scene_px=scene_px,
        ahead_rows=rows_ahead(scene),
    )
