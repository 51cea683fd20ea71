"""Which points are worth a look: the unsure ones, drawn in training, ranked at prediction.

Kirillov et al., "PointRend" (arXiv 1912.08193), sections 3.1 (the most uncertain pixels of a map) and 3.2
(uncertain ones of many random points, and some anywhere). Coordinates: :mod:`geoseg.models.points`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geoseg.models.points import point_sample
from geoseg.models.randomness import draw


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
