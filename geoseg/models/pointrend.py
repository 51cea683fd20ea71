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

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PREDICTOR_STD = 0.001
"""Spread of the initial predictor weights: the head starts with equal logits and grows from there."""


def upsample(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear upsampling of ``maps`` (N, C, h, w) to ``size`` (H, W), half-pixel centres."""
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def point_sample(maps: Tensor, points: Tensor) -> Tensor:
    """Read ``maps`` at ``points``, bilinearly, border values beyond the outer pixel centres. Differentiable.

    Args:
        maps: (N, C, h, w), any floating dtype.
        points: (N, P, 2) float32, (x, y) in [0, 1].

    Returns:
        (N, C, P) float32 (float64 for float64 maps).
    """
    maps = maps if maps.dtype == torch.float64 else maps.float()
    grid = (2.0 * points - 1.0).unsqueeze(2).to(maps.dtype)
    sampled = F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return sampled.squeeze(3)


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
    x = (points[:, 0] * width - 0.5).clamp(0, width - 1)
    y = (points[:, 1] * height - 0.5).clamp(0, height - 1)
    left, top = x.floor(), y.floor()
    x_share, y_share = x - left, y - top
    left, top = left.long(), top.long()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    taps = torch.stack(
        [top * width + left, top * width + right, bottom * width + left, bottom * width + right], dim=1
    )
    weights = torch.stack(
        [
            (1 - y_share) * (1 - x_share),
            (1 - y_share) * x_share,
            y_share * (1 - x_share),
            y_share * x_share,
        ],
        dim=1,
    )
    return F.embedding_bag(taps, rows, mode="sum", per_sample_weights=weights.to(rows.dtype))


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
    chips: int,
    count: int,
    *,
    over_generation: int,
    importance: float,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """The uniform draws :func:`training_points` chooses from, on the generator's device.

    Returns:
        Candidates (N, over_generation * count, 2) of the importance points and coverage points
        (N, count - importance share, 2), float32 in [0, 1).
    """
    device = generator.device if generator is not None else torch.device("cpu")
    shapes = (over_generation * count, count - int(importance * count))
    candidates, coverage = (
        torch.rand(chips, points, 2, generator=generator, device=device) for points in shapes
    )
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
    paper's.

    Shapes: fine (..., P, C), coarse (..., P, K) -> logits (..., P, K).
    """

    def __init__(self, *, fine_channels: int, classes: int, width: int = 256, depth: int = 3) -> None:
        super().__init__()
        inputs = [fine_channels] + [width] * (depth - 1)
        layers = [nn.Linear(channels + classes, width) for channels in inputs]
        self.layers = nn.ModuleList(layers)
        self.predictor = nn.Linear(width + classes, classes)
        for layer in layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.predictor.weight, std=PREDICTOR_STD)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Logits (..., P, K) of points with fine features (..., P, C) and coarse logits (..., P, K)."""
        hidden = fine
        for layer in self.layers:
            hidden = F.relu(layer(_beside(hidden, coarse)))
        logits: Tensor = self.predictor(_beside(hidden, coarse))
        return logits


def _beside(hidden: Tensor, coarse: Tensor) -> Tensor:
    # The hidden dtype rules: under autocast the next layer would round the coarse logits anyway.
    return torch.cat([hidden, coarse.to(hidden.dtype)], dim=-1)


def pixel_centres(indices: Tensor, shape: tuple[int, int]) -> Tensor:
    """Centres (P, 2) float32 in [0, 1] of the pixels ``indices`` (P,) of a map of ``shape`` (h, w)."""
    height, width = shape
    x = (indices % width + 0.5) / width
    y = (indices.div(width, rounding_mode="floor") + 0.5) / height
    return torch.stack([x, y], dim=1).float()


def most_uncertain(
    logits: Tensor, count: int, *, margin: float | None, inside: tuple[int, int] | None = None
) -> Tensor:
    """The pixels of one map worth refining: unsure ones, the most uncertain first, at most ``count``.

    Args:
        logits: (K, h, w) float32.
        count: most pixels chosen.
        margin: pixels whose two best class probabilities differ by this or more are sure; ``None``: none is.
        inside: rows and columns to choose from, counted from the top left; the whole map when not given.

    Returns:
        Flat indices (P,) int64 into the h*w pixels, ascending. Among equally uncertain pixels the first in
        row-major order are chosen, so the choice never depends on how a sort breaks ties.
    """
    width = logits.shape[2]
    rows, columns = inside or logits.shape[1:]
    unsure = uncertainty(logits[None, :, :rows, :columns])[0]
    if margin is None:
        found = torch.ones_like(unsure, dtype=torch.bool).nonzero()
    else:
        # Cheap bound first, exact softmax only for the few pixels that pass it.
        found = (unsure > -_surest_gap(margin, logits.shape[0])).nonzero()
        at_found = logits[:, found[:, 0], found[:, 1]]
        found = found[probability_margin(at_found[None])[0] < margin]
    row, column = found.unbind(1)
    return _largest(unsure[row, column], row * width + column, count)


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


PointDecider = Callable[[Tensor, Tensor], Tensor]
"""What :func:`subdivide` asks at points: fine (P, C), coarse (P, K) to logits (P, K): a PointHead."""


def subdivide(
    coarse: Tensor,
    fine: Sequence[Tensor],
    head: PointDecider,
    *,
    steps: int,
    count: int,
    margin: float | None,
    shape: tuple[int, int] | None = None,
) -> Tensor:
    """Refine one coarse map: double it ``steps`` times, and each time decide the unsure pixels anew.

    The coarse logits the head sees always come from the map the network made, as in training, never from the
    map being refined. A map without unsure pixels is only upsampled.

    Args:
        coarse: (K, h, w) logits.
        fine: feature maps (C, h', w') of any stride that cover the same ground.
        head: decides points.
        steps: doublings; log2 of the stride of ``coarse`` gives full size.
        count: most pixels decided in one step.
        margin: see :func:`most_uncertain`.
        shape: H, W of the image inside of the full-size map; pixels beyond it (padding) are never decided.

    Returns:
        (K, h * 2**steps, w * 2**steps) float32.
    """
    coarse = coarse.float()
    coarse_rows, coarse_shape = as_rows(coarse), (coarse.shape[1], coarse.shape[2])
    fine_rows: list[Tensor] = []
    refined = coarse
    for step in range(1, steps + 1):
        size = (coarse.shape[1] << step, coarse.shape[2] << step)
        refined = upsample(refined[None], size)[0]
        scale = 1 << (steps - step)
        inside = None if shape is None else (-(-shape[0] // scale), -(-shape[1] // scale))
        chosen = most_uncertain(refined, count, margin=margin, inside=inside)
        if not len(chosen):
            continue
        fine_rows = fine_rows or [as_rows(feature_map) for feature_map in fine]
        points = pixel_centres(chosen, size)
        seen = [
            gather_bilinear(rows, (feature_map.shape[1], feature_map.shape[2]), points)
            for rows, feature_map in zip(fine_rows, fine, strict=True)
        ]
        decided = head(torch.cat(seen, dim=1), gather_bilinear(coarse_rows, coarse_shape, points))
        refined.flatten(1).index_copy_(1, chosen, decided.float().T)
    return refined
