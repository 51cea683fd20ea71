"""PointRend's own parts: the small network that decides points, and the subdivision that asks it.

Method: Kirillov, Wu, He, Girshick, "PointRend: Image Segmentation as Rendering" (CVPR 2020, arXiv
1912.08193), section 3.1 (inference). :mod:`geoseg.models.points` reads maps at points and tells the
coordinates, :mod:`geoseg.models.point_choice` chooses points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geoseg.models.point_choice import Cap, most_uncertain
from geoseg.models.points import FineRows, pixel_centres, upsample

PREDICTOR_STD = 0.001
"""Spread of the initial predictor weights: the head starts with equal logits and grows from there."""


class PointHead(nn.Module):
    """Decides the class of single points: an MLP shared by all points (paper, section 3).

    The coarse logits join the input of every layer, the last one included. Width 256 and depth 3 are the
    paper's; with depth 0 the head is linear.

    Shapes: fine (..., P, C), coarse (..., P, K) -> logits (..., P, K).
    """

    def __init__(self, *, fine_channels: int, classes: int, width: int = 256, depth: int = 3) -> None:
        super().__init__()
        widths = [fine_channels] + [width] * depth
        layers = [nn.Linear(channels + classes, width) for channels in widths[:-1]]
        self.layers = nn.ModuleList(layers)
        self.predictor = nn.Linear(widths[-1] + classes, classes)
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.predictor.weight, std=PREDICTOR_STD)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Logits (..., P, K) of points with fine features (..., P, C) and coarse logits (..., P, K)."""
        hidden = fine
        for layer in self.layers:
            hidden = F.relu(layer(_beside(hidden, coarse, layer)), inplace=True)
        logits: Tensor = self.predictor(_beside(hidden, coarse, self.predictor))
        return logits


def _beside(hidden: Tensor, coarse: Tensor, layer: nn.Module) -> Tensor:
    """The input of ``layer``: (..., P, C + K) in its dtype; under autocast in the hidden one."""
    if torch.is_autocast_enabled(hidden.device.type):
        # The layer would round the coarse logits anyway.
        dtype = hidden.dtype
    else:
        dtype = layer.get_parameter("weight").dtype
    return torch.cat([hidden.to(dtype), coarse.to(dtype)], dim=-1)


Inner = tuple[int, int, int, int]
"""A part of a map: (top, left, bottom, right) in pixels."""

PointDecider = Callable[[Tensor, Tensor], Tensor]
"""What :func:`subdivide` asks at points: fine (P, C), coarse (P, K) to logits (P, K): a PointHead."""


def subdivide(
    coarse: Tensor,
    fine: Sequence[FineRows],
    head: PointDecider,
    *,
    steps: int,
    cap: Cap,
    margin: float | None,
    inner: Inner | None = None,
    valid: Tensor | None = None,
) -> Tensor:
    """Refine one coarse map: double it ``steps`` times, and each time decide the unsure pixels anew.

    The coarse logits the head sees always come from the map that was given, as in training, never from the
    map being refined. A map without unsure pixels is only upsampled. With ``inner``, each step works on that
    part and the two pixels around it that the next step's interpolation reads.

    Args:
        coarse: (K, h, w) logits.
        fine: feature maps of any stride that cover the same ground.
        head: decides points.
        steps: doublings; log2 of the stride of ``coarse`` gives full size.
        cap: most pixels decided in one step.
        margin: of the first step, see :func:`most_uncertain` and :func:`step_margin`.
        inner: (top, left, bottom, right) of the part wanted, in full-size pixels; all when not given.
        valid: (h * 2**steps, w * 2**steps) bool, pixels worth deciding; all when not given.

    Returns:
        (K, bottom - top, right - left) float32.
    """
    coarse = coarse.float()
    coarse_rows = FineRows.of(coarse)
    full = (coarse.shape[1] << steps, coarse.shape[2] << steps)
    inner = inner or (0, 0, *full)
    at = _level_part(inner, (coarse.shape[1], coarse.shape[2]), steps, _HALO)
    refined = coarse[:, at[0] : at[2], at[1] : at[3]]
    for step in range(1, steps + 1):
        left = steps - step
        size = (coarse.shape[1] << step, coarse.shape[2] << step)
        wanted = _level_part(inner, size, left, _HALO if left else 0)
        refined = _doubled_part(refined, at, wanted)
        at = wanted
        allowed = None if valid is None else _any_within(valid, at, 1 << left)
        chosen = most_uncertain(
            refined,
            cap.points,
            margin=None if margin is None else step_margin(margin, left, steps),
            allowed=allowed,
            area=None if cap.area_px is None else max(1, cap.area_px >> left),
            origin=(at[0], at[1]),
        )
        if not len(chosen):
            continue
        points = _centres_of_part(chosen, at, size)
        seen = [rows.at(points) for rows in fine]
        decided = head(torch.cat(seen, dim=1), coarse_rows.at(points))
        refined.flatten(1).index_copy_(1, chosen, decided.float().T)
    return refined


def step_margin(margin: float, left: int, steps: int) -> float:
    """The margin of a step when ``left`` doublings of ``steps`` remain after it: smaller the finer.

    What is decided at a coarse step is what all finer pixels around are interpolated from, so it pays to
    decide pixels there that only seem sure. At the last step a decision changes one pixel. On aerial scenes
    this law agrees with deciding every pixel as well as one margin for all steps does, at half the points.
    """
    return margin * ((left + 1) / steps) ** 2


_HALO = 2
"""Pixels around a part that the next doubling may read, with one to spare for odd borders."""


def _level_part(inner: Inner, size: tuple[int, int], left: int, halo: int) -> Inner:
    """``inner`` in the pixels of a map of ``size`` that ``left`` doublings remain to be made of."""
    top, start, bottom, end = inner
    scale = 1 << left
    return (
        max(0, top // scale - halo),
        max(0, start // scale - halo),
        min(size[0], -(-bottom // scale) + halo),
        min(size[1], -(-end // scale) + halo),
    )


def _doubled_part(maps: Tensor, at: Inner, wanted: Inner) -> Tensor:
    """``maps``, which lie at ``at``, doubled; of them the part ``wanted``, in doubled pixels; contiguous."""
    doubled = upsample(maps[None], (maps.shape[1] * 2, maps.shape[2] * 2))[0]
    top, start = wanted[0] - 2 * at[0], wanted[1] - 2 * at[1]
    part = doubled[:, top : top + wanted[2] - wanted[0], start : start + wanted[3] - wanted[1]]
    return part.contiguous()


def _any_within(valid: Tensor, at: Inner, scale: int) -> Tensor:
    """Which pixels at ``at`` of a map ``scale`` times coarser than ``valid`` hold any valid one."""
    part = valid[at[0] * scale : at[2] * scale, at[1] * scale : at[3] * scale]
    if scale == 1:
        return part
    rows, columns = part.shape
    return part.reshape(rows // scale, scale, columns // scale, scale).any(dim=3).any(dim=1)


def _centres_of_part(indices: Tensor, at: Inner, size: tuple[int, int]) -> Tensor:
    """Centres (P, 2) in [0, 1] of pixels of the part ``at`` of a map of ``size``, given by flat index."""
    width = at[3] - at[1]
    row, column = indices.div(width, rounding_mode="floor") + at[0], indices % width + at[1]
    return pixel_centres(row * size[1] + column, size)
