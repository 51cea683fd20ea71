"""Are there seams? Predict a scene on two grids and look where the answers differ.

Where a chip begins is an accident. Moving all chips by half a stride moves every line between them to where
the middle of a chip was, so a method with seams changes more pixels near the lines than elsewhere. Some
pixels change everywhere: the network sees other surroundings in another chip.
"""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import IGNORE, ClassMap
from geoseg.json_report import JsonReport
from geoseg.outputs import check_output
from geoseg.progress import SILENT, Progress
from geoseg.raster.cog import RasterWriter
from geoseg.raster.layers import mask_layer
from geoseg.raster.mask import Mask, open_mask
from geoseg.raster.remote import local
from geoseg.raster.windows import block_windows
from geoseg.render.assemble import assemble
from geoseg.render.grid import ALIGN_PX, Axis
from geoseg.render.journal import journal_folder, open_journal
from geoseg.render.plan import Plan
from geoseg.render.session import Request, Session, open_session
from geoseg.render.work import Resources, render_missing

NEAR_PX = 16
"""Pixels within this of a line count as near it."""

EDGES_PX = (0, 2, 4, 8, 16, 32, 64)
"""Where the classes of distance to the next line begin."""

CHANGES = ClassMap.from_names(["same", "changed"], background=0)

_WINDOW_PX = 2048


@dataclass(frozen=True, kw_only=True)
class SeamsReport(JsonReport):
    """What :func:`check_seams` found.

    Attributes:
        scene: the scene.
        model: the model file.
        output: the raster of changes, if one was asked for.
        shift_px: how far the second grid was moved.
        pixels: pixels by distance to the next line of either grid, such as ``"2..3 px"``.
        changed: those of them that the two grids disagree on.
        near_share: share that changed within :data:`NEAR_PX` of a line.
        far_share: share that changed elsewhere; ``None`` when there is no elsewhere.
        seconds: wall time.
    """

    scene: Path
    model: Path
    output: Path | None
    shift_px: int
    pixels: dict[str, int]
    changed: dict[str, int]
    near_share: float | None
    far_share: float | None
    seconds: float


def check_seams(
    request: Request,
    output: Path | None = None,
    *,
    shift_px: int | None = None,
    resources: Resources | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> SeamsReport:
    """Predict twice, the second time with all chips moved, and compare by distance to the chips' lines.

    Args:
        request: what to predict.
        output: where to write what changed: 0 same, 1 changed, 255 nodata.
        shift_px: how far chips move up and left, a multiple of 32; half a stride when not given.
        resources: memory and threads.
        overwrite: replace an existing output.
        progress: told about every chip.

    Raises:
        InputError: as for :func:`geoseg.predict.predict`, or a shift that is no multiple of 32.
    """
    started = time.monotonic()
    if output is not None:
        check_output(output, overwrite=overwrite, inputs=local([request.scene]))
    resources = resources or Resources()
    # Beside the output: a temporary folder elsewhere may be too small for two masks of a large scene.
    where = Path.cwd() if output is None else output.absolute().parent
    with tempfile.TemporaryDirectory(prefix=".geoseg-seams-", dir=where) as folder:
        plain, moved = Path(folder) / "plain.tif", Path(folder) / "moved.tif"
        first = _predict(request, plain, resources, progress)
        shift = default_shift(first.plan) if shift_px is None else shift_px
        second = _predict(replace(request, shift_px=shift), moved, resources, progress)
        with open_mask(plain) as before, open_mask(moved) as after:
            pixels, changed = _compare(before, after, [first.plan, second.plan], output)
    near = sum(1 for edge in EDGES_PX if edge < NEAR_PX)
    return SeamsReport(
        scene=request.scene,
        model=first.model,
        output=output,
        shift_px=shift,
        pixels=dict(zip(_names(), pixels.tolist(), strict=True)),
        changed=dict(zip(_names(), changed.tolist(), strict=True)),
        near_share=_share(changed[:near], pixels[:near]),
        far_share=_share(changed[near:], pixels[near:]),
        seconds=time.monotonic() - started,
    )


def default_shift(plan: Plan) -> int:
    """Half a stride, as a multiple of 32 px."""
    return max(ALIGN_PX, (plan.size_px - plan.overlap_px) // 2 // ALIGN_PX * ALIGN_PX)


def _predict(request: Request, mask: Path, resources: Resources, progress: Progress) -> Session:
    """Write a mask; the session that comes back is closed and good for what it knows only."""
    with open_session(request, progress) as session:
        wanted = list(session.wanted_chips)
        journal = open_journal(
            journal_folder(mask), session.plan, session.blocks, resume=False, replace=False
        )
        with journal as blocks:
            render_missing(session, blocks, wanted, resources, progress)
            assemble(
                session.blocks,
                wanted,
                blocks.read,
                {"mask": mask},
                part=session.plan.part,
                geobox=session.geobox,
                classes=session.card.classes,
                tags=session.tags,
                progress=progress,
            )
        return session


def _compare(
    before: Mask, after: Mask, plans: Sequence[Plan], output: Path | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pixels, and changed ones, of each class of distance."""
    part, scale = plans[0].part, plans[0].scale
    grids = [plan.grid() for plan in plans]
    rows = _distance([grid.rows for grid in grids], part.row_off, part.height, scale)
    columns = _distance([grid.columns for grid in grids], part.col_off, part.width, scale)
    pixels, changed = (np.zeros(len(EDGES_PX), np.int64) for _ in range(2))
    with contextlib.ExitStack() as stack:
        writer = None
        if output is not None:
            writer = stack.enter_context(RasterWriter(output, before.geobox, mask_layer(CHANGES)))
        for window in block_windows(before.geobox.shape, _WINDOW_PX):
            one, other = before.read(window), after.read(window)
            known = (one != IGNORE) & (other != IGNORE)
            differs = known & (one != other)
            if writer is not None:
                writer.write(window, np.where(known, differs, IGNORE).astype(np.uint8))
            distance = np.minimum(
                rows[window.row_off : window.row_off + window.height, None],
                columns[window.col_off : window.col_off + window.width],
            )
            kind = np.searchsorted(EDGES_PX, distance, side="right") - 1
            pixels += np.bincount(kind[known], minlength=len(EDGES_PX))
            changed += np.bincount(kind[differs], minlength=len(EDGES_PX))
    return pixels, changed


def _distance(axes: Sequence[Axis], first: int, length: int, scale: int) -> NDArray[np.int64]:
    """Pixels of the scene between each pixel (length * scale,) and the next line between two owners."""
    lines = sorted({bound for axis in axes for bound in axis.bounds[1:-1]})
    at = first + np.arange(length * scale) // scale
    nearest = np.full(len(at), np.iinfo(np.int64).max)
    for line in lines:
        # A line lies before its pixel: the pixels on both sides touch it.
        np.minimum(nearest, np.where(at < line, line - 1 - at, at - line), out=nearest)
    return nearest


def _names() -> list[str]:
    ends = [f"{a}..{b - 1} px" for a, b in itertools.pairwise(EDGES_PX)]
    return [*ends, f"{EDGES_PX[-1]} px and more"]


def _share(changed: NDArray[np.int64], pixels: NDArray[np.int64]) -> float | None:
    return float(changed.sum() / pixels.sum()) if pixels.sum() else None
