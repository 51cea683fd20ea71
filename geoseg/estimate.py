"""What a prediction would take, without making it: ``geoseg predict --dry-run``."""

from __future__ import annotations

import dataclasses
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geoseg.json_report import JsonReport
from geoseg.progress import SILENT, Progress
from geoseg.render.grid import Chip
from geoseg.render.memory import strips
from geoseg.render.session import Request, Session, open_session

if TYPE_CHECKING:
    from geoseg.render.blocks import Layers
    from geoseg.render.job import Job
    from geoseg.render.memory import Division

_ASSEMBLED_PX_A_SECOND = 40e6
_DELIVERED_PX_A_SECOND = 4e6
"""Where objects are made of detections, drawn twice and traced."""
_OVERVIEW_SHARE = 4 / 3


@dataclass(frozen=True, kw_only=True)
class Estimate(JsonReport):
    """What :func:`estimate` expects.

    Attributes:
        scene: the scene.
        model: the model file.
        shape: height and width of the mask in pixels.
        chips: chips whose pixels would be decided.
        looks: times a chip would go through the network: neighbours of a part, and borders of strips, too.
        chip_px: side of a chip.
        overlap_px: overlap of neighbouring chips.
        blocks: blocks of the journal.
        strips: strips the scene would be worked on in, one after the other.
        workers: threads.
        memory_mb: peak memory of the process, in MB (10^6 bytes).
        seconds: wall time; ``None`` when no pixel of the scene's middle is valid, so that nothing was timed.
        output_bytes: size of all outputs.
        journal_bytes: disk needed beside them while the work goes on.
        device: where the network would run, and at which precision.
    """

    scene: Path
    model: Path
    shape: tuple[int, int]
    chips: int
    looks: int
    chip_px: int
    overlap_px: int
    blocks: int
    strips: int
    workers: int
    memory_mb: float
    seconds: float | None
    output_bytes: int
    journal_bytes: int
    device: str


def estimate(
    request: Request,
    *,
    workers: int | None = None,
    memory_mb: float | None = None,
    progress: Progress = SILENT,
) -> Estimate:
    """Plan a prediction, and time a few chips in the middle of it.

    Args:
        request: what would be predicted.
        workers: threads; one for each core when not given.
        memory_mb: limit in MB (10^6 bytes); half of what is free when not given.
        progress: told which model and device would be used.

    Raises:
        InputError: as :func:`geoseg.predict.predict`.
    """
    with open_session(dataclasses.replace(request, fingerprints=False), progress) as session:
        job = session.job()
        division = session.divide(job, memory_mb=memory_mb, workers=workers)
        looks = sum(
            len({other for block in strip for chip in chips[block] for other in job.craft.touching(chip)})
            for chips in [session.wanted_chips]
            for strip in strips(session.blocks, list(chips), division.blocks_wide)
        )
        sample = _sample(session, job, division)
        height, width = session.geobox.shape
        bands = sum(session.blocks.layers.values())
        packed = int(height * width * bands * sample.packed_share)
        return Estimate(
            scene=request.scene,
            model=session.model,
            shape=session.geobox.shape,
            chips=sum(map(len, session.wanted_chips.values())),
            looks=looks,
            chip_px=session.plan.size_px,
            overlap_px=session.plan.overlap_px,
            blocks=len(session.wanted_chips),
            strips=-(-session.blocks.shape[1] // division.blocks_wide),
            workers=division.workers,
            memory_mb=division.peak_mb,
            seconds=None
            if sample.seconds_a_look is None
            else looks * sample.seconds_a_look + height * width * bands / _assembled_px_a_second(session),
            output_bytes=int(packed * _OVERVIEW_SHARE),
            journal_bytes=packed + height * width * bands,
            device=session.label,
        )


def _assembled_px_a_second(session: Session) -> float:
    return _DELIVERED_PX_A_SECOND if session.plan.is_objects else _ASSEMBLED_PX_A_SECOND


@dataclass(frozen=True, kw_only=True)
class _Sample:
    seconds_a_look: float | None
    packed_share: float


def _sample(session: Session, job: Job, division: Division) -> _Sample:
    """Render a few chips of the block in the middle."""
    from geoseg.render.renderer import render

    wanted = list(session.wanted_chips)
    block = wanted[len(wanted) // 2]
    chips: set[Chip] = set(session.wanted_chips[block][: 2 * division.workers])
    kept: list[Layers] = []
    some = dataclasses.replace(job, wanted=chips.__contains__)
    started = time.monotonic()
    counts = render(
        some, [[block]], lambda _, layers: kept.append(layers), workers=division.workers, progress=SILENT
    )
    seconds = time.monotonic() - started
    decided = sum(
        session.blocks.window_of(chip).height * session.blocks.window_of(chip).width for chip in chips
    )
    decided *= session.plan.scale**2 * sum(session.blocks.layers.values())
    packed = sum(len(zlib.compress(values.tobytes(), 1)) for layers in kept for values in layers.values())
    return _Sample(
        seconds_a_look=seconds / counts.seen if counts.seen else None,
        packed_share=min(1.0, packed / max(decided, 1)),
    )
