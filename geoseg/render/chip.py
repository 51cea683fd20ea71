"""What is done with one chip: the network looks at it, and later the pixels it owns are decided.

These are the parts of the work that run in a worker's thread; :mod:`geoseg.render.renderer` deals them out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.classes import IGNORE, BandStats
from geoseg.models.engine import ChipNetwork
from geoseg.models.point_choice import area_cap, probability_margin
from geoseg.models.points import FineRows, upsample
from geoseg.render.blocks import BlockGrid, Layers
from geoseg.render.grid import Axis, Chip, ChipGrid, taper
from geoseg.render.job import Area, Look
from geoseg.render.plan import Plan
from geoseg.render.reader import ChipRow

SHARE_LEVELS = 254
"""Probabilities are kept as 0..254; 255 is nodata."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """What a chip knows of its region: fine features, and which of its pixels are valid."""

    fine: tuple[FineRows, ...]
    valid: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Decides the class of every pixel: coarse logits are blended, unsure pixels are refined once.

    Attributes:
        plan: what is rendered, and how.
        blocks: the plan's blocks.
        stats: how the model's bands are normalised.
        network: the model.
        area: which pixels are asked for; all of them when not given.
    """

    plan: Plan
    blocks: BlockGrid
    stats: BandStats
    network: ChipNetwork
    area: Area | None = None

    def touching(self, chip: Chip) -> Iterable[Chip]:
        """Chips whose coarse logits count in the region of ``chip``."""
        return self.blocks.grid.touching(chip)

    def look(
        self, batch: Sequence[tuple[Chip, ChipRow]], known: set[Chip], owned: Mapping[Chip, int]
    ) -> list[Look]:
        """Coarse logits and fine features; chips without a valid pixel, or seen before, are not run again."""
        pixels = pixels_of(batch, self.blocks.grid)
        images = normalised(pixels, self.stats)
        fresh = [chip for chip in images if chip not in known]
        again = [chip for chip in images if chip in known and chip in owned]
        coarse: dict[Chip, Tensor] = {}
        fine: dict[Chip, tuple[Tensor, ...]] = {}
        device = self.network.device
        with torch.inference_mode():
            if fresh:
                views = self.network.look(
                    together(fresh, images, device, self.plan.batch_size), tta=self.plan.tta
                )
                for chip, view in zip(fresh, views, strict=False):
                    coarse[chip], fine[chip] = view.coarse, view.fine
            if again:
                maps = self.network.fine(together(again, images, device, self.plan.batch_size))
                fine |= dict(zip(again, maps, strict=False))
            result: list[Look] = [
                (
                    chip,
                    coarse.get(chip),
                    _ready(self, chip, fine[chip], valid) if chip in owned and chip in fine else None,
                )
                for chip, (_, valid) in pixels.items()
            ]
        if device.type == "cuda":
            torch.cuda.current_stream().synchronize()
        return result

    def begin(self, block: int) -> dict[str, Any]:
        """Layers that are all nodata."""
        return self.blocks.empty(block)

    def decide(
        self,
        chip: Chip,
        shared: Sequence[tuple[Chip, Tensor]],
        kept: Ready,
        contents: dict[str, Any],
        block: int,
    ) -> None:
        """Decide the pixels a chip owns."""
        decide(self, chip, shared, kept, contents, block)

    def end(self, block: int, contents: dict[str, Any]) -> Layers:  # noqa: ARG002
        """The layers as they are."""
        return contents


def pixels_of(
    batch: Sequence[tuple[Chip, ChipRow]], grid: ChipGrid
) -> dict[Chip, tuple[NDArray[Any], NDArray[np.bool_]]]:
    """Bands (B, S, S) and valid (S, S) of chips; views."""
    return {chip: row.chip(grid.columns.starts[chip[1]], grid.size_px) for chip, row in batch}


def normalised(
    pixels: Mapping[Chip, tuple[NDArray[Any], NDArray[np.bool_]]], stats: BandStats
) -> dict[Chip, Tensor]:
    """Normalised bands (B, S, S) float32 of chips that have a valid pixel."""
    return {
        chip: torch.from_numpy(stats.normalise(bands, valid))
        for chip, (bands, valid) in pixels.items()
        if valid.any()
    }


def together(
    chips: Sequence[Chip], images: Mapping[Chip, Tensor], device: torch.device, batch_size: int
) -> Tensor:
    """The images of chips as one batch (N, B, S, S) on a device; on a GPU always ``batch_size`` of them."""
    stacked = torch.stack([images[chip] for chip in chips])
    if device.type == "cpu":
        return stacked
    # Always the same batch size: another one may be computed by another kernel that rounds differently.
    padded = torch.zeros((batch_size, *stacked.shape[1:]), pin_memory=True)
    padded[: len(stacked)] = stacked
    return padded.to(device, non_blocking=True)


def _ready(craft: Pixels, chip: Chip, fine: Sequence[Tensor], valid: NDArray[np.bool_]) -> Ready | None:
    """What a chip keeps of its region until it is decided; ``None`` when none of its own pixels is valid."""
    rows, columns = _region(craft.blocks.grid, chip)
    mine = craft.blocks.window_of(chip)
    grid = craft.blocks.grid
    top, left = mine.row_off - grid.rows.starts[chip[0]], mine.col_off - grid.columns.starts[chip[1]]
    if not valid[top : top + mine.height, left : left + mine.width].any():
        return None
    size = grid.size_px
    kept = []
    for feature_map in fine if craft.plan.refine else ():
        stride = size // feature_map.shape[1]
        kept.append(FineRows.of(feature_map[:, _cells(rows, stride), _cells(columns, stride)]))
    return Ready(fine=tuple(kept), valid=valid[rows, columns].copy())


def _region(grid: ChipGrid, chip: Chip) -> tuple[slice, slice]:
    """A chip's region, in its own pixels."""
    return _own_slice(grid.rows, chip[0]), _own_slice(grid.columns, chip[1])


def _own_slice(axis: Axis, index: int) -> slice:
    first, end = axis.region(index)
    return slice(first - axis.starts[index], end - axis.starts[index])


def _cells(pixels: slice, stride: int) -> slice:
    return slice(pixels.start // stride, pixels.stop // stride)


def blend(grid: ChipGrid, chip: Chip, coarse: Sequence[tuple[Chip, Tensor]], stride: int) -> Tensor:
    """Coarse logits in the region of ``chip``: the weighted mean over the chips that see a cell.

    Chips weigh less towards their edges, where they see least, but never nothing.

    Args:
        grid: the chips.
        chip: the one whose region is wanted.
        coarse: chips and their logits (K, S / stride, S / stride) float32, always in the same order.
        stride: pixels of a cell.

    Returns:
        (K, h, w) float32.
    """
    (top, bottom), (left, right) = grid.rows.region(chip[0]), grid.columns.region(chip[1])
    values = coarse[0][1]
    shape = ((bottom - top) // stride, (right - left) // stride)
    total = values.new_zeros((values.shape[0], *shape))
    weights = values.new_zeros(shape)
    ramp = torch.from_numpy(taper(grid.size_px // stride, grid.rows.overlap // stride)).to(values.device)
    for (row, column), logits in coarse:
        here, there = _shared(grid.rows, row, (top, bottom), stride)
        across, along = _shared(grid.columns, column, (left, right), stride)
        weight = ramp[here, None] * ramp[across]
        total[:, there, along] += logits[:, here, across] * weight
        weights[there, along] += weight
    return total / weights


def _shared(axis: Axis, index: int, region: tuple[int, int], stride: int) -> tuple[slice, slice]:
    """Cells a chip shares with a region: in the chip, and in the region."""
    start = axis.starts[index]
    first, end = max(start, region[0]), min(start + axis.size, region[1])
    return (
        slice((first - start) // stride, (end - start) // stride),
        slice((first - region[0]) // stride, (end - region[0]) // stride),
    )


def decide(
    craft: Pixels,
    chip: Chip,
    coarse: Sequence[tuple[Chip, Tensor]],
    ready: Ready,
    layers: Mapping[str, NDArray[np.uint8]],
    block: int,
) -> None:
    """Decide the pixels a chip owns and put them into its block."""
    grid, scale, plan = craft.blocks.grid, craft.blocks.scale, craft.plan
    mine, whole = craft.blocks.window_of(chip), craft.blocks.window(block)
    top = mine.row_off - grid.rows.region(chip[0])[0]
    left = mine.col_off - grid.columns.region(chip[1])[0]
    inner = (top * scale, left * scale, (top + mine.height) * scale, (left + mine.width) * scale)
    shown = ready.valid[top : top + mine.height, left : left + mine.width]
    if craft.area is not None:
        shown = shown & craft.area(mine)
    if not shown.any():
        return
    with torch.inference_mode():
        logits = _logits(craft, blend(grid, chip, coarse, craft.network.stride), ready, inner)
        values = {name: _values(name, logits).cpu().numpy() for name in plan.layers}
    hidden = ~_enlarged(shown, scale)
    rows = slice((mine.row_off - whole.row_off) * scale, (mine.row_off - whole.row_off + mine.height) * scale)
    cols = slice((mine.col_off - whole.col_off) * scale, (mine.col_off - whole.col_off + mine.width) * scale)
    for name, found in values.items():
        found[..., hidden] = IGNORE
        layers[name][..., rows, cols] = found


def _logits(craft: Pixels, coarse: Tensor, ready: Ready, inner: tuple[int, int, int, int]) -> Tensor:
    """Logits (K, h, w) float32 of the pixels in ``inner``."""
    network, plan, scale = craft.network, craft.plan, craft.blocks.scale
    steps = network.steps + scale.bit_length() - 1
    if not plan.refine:
        full = upsample(coarse[None], (coarse.shape[1] << steps, coarse.shape[2] << steps))[0]
        return full[:, inner[0] : inner[2], inner[1] : inner[3]]
    valid = None
    if not ready.valid.all():
        valid = torch.from_numpy(_enlarged(ready.valid, scale)).to(coarse.device)
    return network.refine(
        coarse,
        ready.fine,
        steps=steps,
        cap=area_cap(plan.points_per_pixel, scale),
        margin=plan.margin,
        inner=inner,
        valid=valid,
    )


def _enlarged(pixels: NDArray[np.bool_], scale: int) -> NDArray[np.bool_]:
    return pixels if scale == 1 else pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def _values(name: str, logits: Tensor) -> Tensor:
    """What a layer keeps of logits (K, h, w): (h, w) or (K, h, w) uint8."""
    if name == "mask":
        return winner(logits)
    if name == "probabilities":
        return _as_levels(logits.softmax(dim=0))
    return _as_levels(1.0 - probability_margin(logits[None])[0])


def _as_levels(shares: Tensor) -> Tensor:
    return (shares * SHARE_LEVELS).round_().clamp_(0, SHARE_LEVELS).to(torch.uint8)


def winner(logits: Tensor) -> Tensor:
    """The class (h, w) uint8 with the highest of logits (K, h, w); the lowest id in a tie.

    A running maximum: argmax over the class axis is several times slower.
    """
    best = logits[0].clone()
    ids = torch.zeros(best.shape, dtype=torch.uint8, device=logits.device)
    for class_id in range(1, logits.shape[0]):
        ids.masked_fill_(logits[class_id] > best, class_id)
        torch.maximum(best, logits[class_id], out=best)
    return ids
