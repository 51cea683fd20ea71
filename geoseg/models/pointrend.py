"""PointRend's own operations: where to look, what is seen there, and the small network that decides.

Method: Kirillov, Wu, He, Girshick, "PointRend: Image Segmentation as Rendering" (CVPR 2020, arXiv
1912.08193), sections 3.1 (inference: subdivision) and 3.2 (training: point selection).

Coordinates, everywhere: a point is (x, y) = (column, row) in [0, 1] x [0, 1], and (0, 0) is the OUTER corner
of the top-left pixel. The centre of column ``j`` of ``W`` is ``(j + 0.5) / W``, so any map is read
at ``x * W - 0.5`` (``align_corners=False``). Outside of the outermost pixel centres the nearest pixel's value
holds (border padding): zero padding would pull every map towards 0 along the chip's edges. A flat index is
``row * W + column``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geoseg.models.randomness import draw

PREDICTOR_STD = 0.001
"""Spread of the initial predictor weights: the head starts with equal logits and grows from there."""


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear upsampling of ``maps`` (N, C, h, w) to ``size`` (H, W), half-pixel centres."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def point_sample(maps: Tensor, points: Tensor) -> Tensor:
    """Read ``maps`` at ``points``, bilinearly, border values beyond the outer pixel centres. Differentiable.

    Where torch is told to use deterministic algorithms, gradients on a GPU are the same each time too.

    Args:
        maps: (N, C, h, w), any floating dtype.
        points: (N, P, 2) float32, (x, y) in [0, 1].

    Returns:
        (N, C, P) float32 (float64 for float64 maps).
    """
    maps = maps if maps.dtype == torch.float64 else maps.float()
    if torch.are_deterministic_algorithms_enabled():
        return _point_sample_by_index(maps, points)
    grid = (2.0 * points - 1.0).unsqueeze(2).to(maps.dtype)
    sampled = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.squeeze(3)


def _point_sample_by_index(maps: Tensor, points: Tensor) -> Tensor:
    """The same by plain look-ups: torch has no deterministic gradient of ``grid_sample`` on a GPU."""
    height, width = maps.shape[2:]
    limit = points.new_tensor([width - 1, height - 1])
    at = (points * points.new_tensor([width, height]) - 0.5).clamp(min=0).minimum(limit)
    corner = at.floor()
    share = (at - corner).to(maps.dtype)
    step = (corner < limit).long()
    first = corner[..., 1].long() * width + corner[..., 0].long()
    sampled = maps.new_zeros(())
    flat = maps.flatten(2)
    for right in (0, 1):
        for below in (0, 1):
            tap = first + right * step[..., 0] + below * step[..., 1] * width
            weight = (share[..., 0] if right else 1 - share[..., 0]) * (
                share[..., 1] if below else 1 - share[..., 1]
            )
            read = flat.gather(2, tap.unsqueeze(1).expand(-1, flat.shape[1], -1))
            sampled = sampled + read * weight.unsqueeze(1)
    return sampled


def gather_bilinear(rows: Tensor, shape: tuple[int, int], points: Tensor) -> Tensor:
    """What :func:`point_sample` reads, for one map given as rows: some ten times faster, not differentiable.

    Each point's four neighbours are one bag of an embedding lookup whose weights are the bilinear ones, so
    the channels of a pixel are read as one stretch of memory.

    Args:
        rows: (h*w, C), the map's pixels row by row.
        shape: h, w.
        points: (P, 2) float32, (x, y) in [0, 1].

    Returns:
        (P, C) in the dtype of ``rows``.
    """
    height, width = shape
    # Few operations on small arrays: with a few thousand points their number is what takes the time.
    limit = points.new_tensor([width - 1, height - 1])
    at = (points * points.new_tensor([width, height]) - 0.5).clamp_(min=0).minimum(limit)
    corner = at.floor()
    share = at - corner
    x_shares, y_shares = torch.stack([1 - share, share], dim=2).unbind(1)
    weights = (y_shares[:, :, None] * x_shares[:, None, :]).flatten(1)
    # Past the last pixel its own value is read again, with a share of 0.
    step = (corner < limit).long()
    first = corner[:, 1].long() * width + corner[:, 0].long()
    right, below = first + step[:, 0], step[:, 1] * width
    taps = torch.stack([first, right, first + below, right + below], dim=1)
    return F.embedding_bag(taps, rows, mode="sum", per_sample_weights=weights.to(rows.dtype))


@dataclass(frozen=True, kw_only=True)
class FineRows:
    """One feature map, kept the way points are read from it.

    Attributes:
        rows: (h*w, C), the map's pixels row by row.
        shape: h, w.
    """

    rows: Tensor
    shape: tuple[int, int]

    @classmethod
    def of(cls, feature_map: Tensor) -> FineRows:
        """Of a map (C, h, w); no copy when it is laid out channels-last."""
        return cls(rows=as_rows(feature_map), shape=(feature_map.shape[1], feature_map.shape[2]))

    def at(self, points: Tensor) -> Tensor:
        """(P, C) at ``points`` (P, 2); see :func:`gather_bilinear`."""
        return gather_bilinear(self.rows, self.shape, points)


def as_rows(feature_map: Tensor) -> Tensor:
    """One map (C, h, w) as rows (h*w, C); no copy when it is laid out channels-last."""
    return feature_map.permute(1, 2, 0).reshape(-1, feature_map.shape[0]).contiguous()


def labels_at(labels: Tensor, points: Tensor) -> Tensor:
    """Class ids of the pixels the points lie in, by integer gather: no blending, no rounding, no edge case.

    Args:
        labels: (N, H, W) integer ids.
        points: (N, P, 2) float32 in [0, 1]; 1.0 belongs to the last pixel.

    Returns:
        (N, P), dtype of ``labels``.
    """
    height, width = labels.shape[1:]
    column = (points[..., 0] * width).floor().long().clamp(0, width - 1)
    row = (points[..., 1] * height).floor().long().clamp(0, height - 1)
    return labels.flatten(1).gather(1, row * width + column)


def uncertainty(logits: Tensor) -> Tensor:
    """Second-highest minus highest logit over the classes: 0 at a tie, more negative the surer.

    A running top-2 by maxima and minima: some ten times faster than sorting the class axis.

    Args:
        logits: (N, K, ...).

    Returns:
        (N, ...). With a single class everything is sure: minus infinity.
    """
    best = logits[:, 0]
    second = torch.full_like(best, -math.inf)
    for class_id in range(1, logits.shape[1]):
        challenger = logits[:, class_id]
        second = torch.maximum(second, torch.minimum(best, challenger))
        best = torch.maximum(best, challenger)
    return second - best


def probability_margin(logits: Tensor) -> Tensor:
    """Highest minus second-highest class probability, in [0, 1]; 1 with a single class.

    Args:
        logits: (N, K, ...).

    Returns:
        (N, ...).
    """
    return -uncertainty(logits.softmax(dim=1)).clamp(min=-1.0)


def training_count(shape: tuple[int, int], per_pixel: float) -> int:
    """Training points of a chip of ``shape`` (H, W) pixels: a share of its area, at least one."""
    return max(1, round(shape[0] * shape[1] * per_pixel))


def draw_points(
    count: int, generators: Sequence[torch.Generator], *, over_generation: int, importance: float
) -> tuple[Tensor, Tensor]:
    """The uniform draws :func:`training_points` chooses from.

    Args:
        count: points wanted of each chip, P.
        generators: one for each of the N chips, on one device.
        over_generation: candidates for one point, k.
        importance: share of the points chosen for their uncertainty, beta.

    Returns:
        Candidates (N, k*P, 2) of the importance points and coverage points (N, P - importance share, 2),
        float32 in [0, 1), on the generators' device.
    """
    shapes = (over_generation * count, 2), (count - int(importance * count), 2)
    candidates, coverage = (draw(generators, shape) for shape in shapes)
    return candidates, coverage


@torch.no_grad()
def training_points(logits: Tensor, candidates: Tensor, coverage: Tensor, count: int) -> Tensor:
    """Choose training points: the most uncertain of the candidates, then the coverage points.

    The logits are sampled at the candidates first, and the uncertainty is taken of what was sampled. The
    other order (sort the classes, then interpolate) blends unlike classes and picks no better than chance.

    Args:
        logits: (N, K, h, w) coarse map.
        candidates: (N, k*P, 2) uniform draws in [0, 1].
        coverage: (N, P - importance share, 2) uniform draws.
        count: points wanted of each chip, P.

    Returns:
        (N, P, 2) float32 on the device of ``logits``.
    """
    candidates, coverage = candidates.to(logits.device), coverage.to(logits.device)
    wanted = count - coverage.shape[1]
    unsure = uncertainty(point_sample(logits, candidates))
    chosen = unsure.topk(wanted, dim=1, sorted=False).indices
    important = candidates.gather(1, chosen.unsqueeze(2).expand(-1, -1, 2))
    return torch.cat([important, coverage], dim=1)


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


def pixel_centres(indices: Tensor, shape: tuple[int, int]) -> Tensor:
    """Centres (P, 2) float32 in [0, 1] of the pixels ``indices`` (P,) of a map of ``shape`` (h, w)."""
    height, width = shape
    x = (indices % width + 0.5) / width
    y = (indices.div(width, rounding_mode="floor") + 0.5) / height
    return torch.stack([x, y], dim=1).float()


@dataclass(frozen=True, kw_only=True)
class Cap:
    """Most points decided in one step, per area: a busy corner takes nothing from a calm one.

    Attributes:
        points: at most this many in each area, in each step: the N of the paper, for an area.
        area_px: side of an area in full-size pixels, counted from the map's top left corner; the
            whole map is one area when not given.
    """

    points: int
    area_px: int | None = None


AREA_PX = 32
"""Side of the areas the cap binds in at prediction: two cells of a stride-16 map."""


def area_cap(points_per_pixel: float, scale: int = 1) -> Cap:
    """At most this share of each area of :data:`AREA_PX` squared pixels in one step, but one at least.

    Args:
        points_per_pixel: the share.
        scale: pixels rendered for one of the scene, along an axis; the area is one of the scene's pixels.
    """
    side = AREA_PX * scale
    return Cap(points=max(1, round(side**2 * points_per_pixel)), area_px=side)


def most_uncertain(
    logits: Tensor,
    count: int,
    *,
    margin: float | None,
    allowed: Tensor | None = None,
    area: int | None = None,
    origin: tuple[int, int] = (0, 0),
) -> Tensor:
    """The pixels of one map worth refining: unsure ones, the most uncertain first, at most ``count`` an area.

    Args:
        logits: (K, h, w) float32.
        count: most pixels chosen in one area.
        margin: pixels whose two best class probabilities differ by this or more are sure; ``None``: none is.
        allowed: (h, w) bool, where to choose from; everywhere when not given.
        area: side of an area in pixels of this map; all of it is one when not given.
        origin: row and column of the map's first pixel, counted from a corner of an area.

    Returns:
        Flat indices (P,) int64 into the h*w pixels, ascending. Among equally uncertain pixels the first in
        row-major order are chosen, so the choice never depends on how a sort breaks ties.
    """
    width = logits.shape[2]
    unsure = uncertainty(logits[None])[0]
    if margin is None:
        candidates = torch.ones_like(unsure, dtype=torch.bool)
    else:
        # Cheap bound first, exact softmax only for the few pixels that pass it.
        candidates = unsure > -_surest_gap(margin, logits.shape[0])
    if allowed is not None:
        candidates &= allowed
    found = candidates.flatten().nonzero()[:, 0]
    if margin is not None:
        found = found[probability_margin(logits.flatten(1).index_select(1, found)[None])[0] < margin]
    values = unsure.flatten().index_select(0, found)
    if area is None or len(found) <= count:
        return _largest(values, found, count)
    row, column = found.div(width, rounding_mode="floor") + origin[0], found % width + origin[1]
    across = (width + origin[1]) // area + 1
    member = row.div(area, rounding_mode="floor") * across + column.div(area, rounding_mode="floor")
    full = (member.bincount() > count).nonzero()[:, 0]
    keep = torch.ones_like(found, dtype=torch.bool)
    for number in full.tolist():
        inside = (member == number).nonzero()[:, 0]
        keep[inside] = False
        keep[_largest(values[inside], inside, count)] = True
    return found[keep]


def _surest_gap(margin: float, classes: int) -> float:
    """Logit gap from which on a softmax margin is at least ``margin`` whatever the other classes are.

    With gap g and t = exp(-g) the margin is smallest when all others tie for second: it then is
    (1 - t) / (1 + (K - 1) t).
    A little slack lets rounding err on the side of the exact test.
    """
    tail = (1.0 - margin) / (1.0 + margin * max(classes - 1, 1))
    return -math.log(tail) + 1e-3 if tail > 0 else math.inf


def _largest(values: Tensor, indices: Tensor, count: int) -> Tensor:
    """The ``indices`` of the ``count`` largest ``values`` (both (P,)), in their order; ties: first come."""
    surplus = len(values) - count
    if surplus <= 0:
        return indices
    threshold = values.kthvalue(surplus + 1).values
    above = values > threshold
    equal = (values == threshold).nonzero()[:, 0]
    keep = above
    keep[equal[: count - int(above.sum())]] = True
    return indices[keep]


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
