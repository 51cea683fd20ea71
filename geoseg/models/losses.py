"""What training minimises: cross-entropy of the coarse map, of the points, and what the configuration adds.

Paper, section 3.2. Everything is compared on the padded image, whose padding has no labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from geoseg.classes import IGNORE
from geoseg.config import LossConfig, PointConfig
from geoseg.models.deeplab import CoarseOutput, PointRendDeepLab, pad_to_multiple
from geoseg.models.point_choice import draw_points, training_count, training_points
from geoseg.models.points import labels_at, point_sample, upsample
from geoseg.models.randomness import drawing_from

_FAR = 2**20
_DICE_SMOOTHING = 1.0

ProcessMean = Callable[[Tensor], Tensor]
"""Mean of a value over the processes that train together."""


@dataclass(frozen=True, kw_only=True)
class LossParts:
    """The loss and what it is made of: scalars float32; only ``total`` is weighted.

    Attributes:
        total: what to minimise.
        coarse: cross-entropy of the upsampled coarse map.
        point: cross-entropy of the points.
        auxiliary: cross-entropy of the auxiliary head; 0 without one.
        dice: soft Dice loss of the coarse map; 0 where it has no weight.
    """

    total: Tensor
    coarse: Tensor
    point: Tensor
    auxiliary: Tensor
    dice: Tensor


def training_loss(
    model: PointRendDeepLab,
    images: Tensor,
    labels: Tensor,
    *,
    points: PointConfig,
    loss: LossConfig,
    generators: Sequence[torch.Generator],
    class_weights: Tensor | None = None,
    process_mean: ProcessMean = lambda value: value,
) -> LossParts:
    """Loss of one batch, or of one process's part of it.

    Args:
        model: the network, in train mode.
        images: (N, B, H, W) float32 normalised.
        labels: (N, H, W) int64 class ids, 255 = unknown.
        points: how training points are chosen.
        loss: weights of the parts.
        generators: of all that is random, one a chip, on the device of ``images``.
        class_weights: (K,) float32, or ``None`` for equal ones.
        process_mean: makes the mean of all parts' losses the loss of the whole batch.
    """
    count = training_count((labels.shape[1], labels.shape[2]), points.per_pixel)
    labels = pad_to_multiple(labels, model.stride, IGNORE)
    with drawing_from(model, generators):
        output: CoarseOutput = model(images)
    compared, truth, weights = _compared(output.logits, labels, points, loss, generators)
    coarse = mean_cross_entropy(compared, truth, class_weights, weights, process_mean=process_mean)
    total = loss.coarse_weight * coarse
    none = torch.zeros_like(coarse)
    point, auxiliary, dice = none, none, none
    if loss.point_weight > 0.0:
        candidates, coverage = draw_points(
            count, generators, over_generation=points.over_generation, importance=points.importance
        )
        where = training_points(output.logits, candidates, coverage, count)
        point = mean_cross_entropy(
            point_logits(model, output, where).movedim(-1, 1),
            labels_at(labels, where),
            class_weights,
            process_mean=process_mean,
        )
        total = total + loss.point_weight * point
    if output.auxiliary is not None:
        coarser = upsample(output.auxiliary.float(), (labels.shape[1], labels.shape[2]))
        auxiliary = mean_cross_entropy(coarser, labels, class_weights, process_mean=process_mean)
        total = total + loss.auxiliary_weight * auxiliary
    if loss.dice_weight > 0.0:
        dice = dice_loss(compared, truth)
        total = total + loss.dice_weight * dice
    return LossParts(
        total=total,
        coarse=coarse.detach(),
        point=point.detach(),
        auxiliary=auxiliary.detach(),
        dice=dice.detach(),
    )


def _compared(
    logits: Tensor,
    labels: Tensor,
    points: PointConfig,
    loss: LossConfig,
    generators: Sequence[torch.Generator],
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The coarse map and the labels where they are compared, and weights: everywhere, or at points.

    At points it is the loss of Cheng et al., "Masked-attention Mask Transformer" (arXiv 2112.01527).

    Returns:
        Logits (N, K, ...), labels (N, ...) and weights (N, ...), or ``None`` for equal ones.
    """
    near = None if loss.border_weight == 1.0 else near_borders(labels, loss.border_px)
    if loss.coarse_per_pixel == 0.0:
        compared, truth = upsample(logits.float(), (labels.shape[1], labels.shape[2])), labels
    else:
        count = training_count((labels.shape[1], labels.shape[2]), loss.coarse_per_pixel)
        candidates, coverage = draw_points(
            count, generators, over_generation=points.over_generation, importance=points.importance
        )
        where = training_points(logits, candidates, coverage, count)
        compared, truth = point_sample(logits.float(), where), labels_at(labels, where)
        near = None if near is None else labels_at(near, where)
    return compared, truth, None if near is None else 1.0 + (loss.border_weight - 1.0) * near


def point_logits(model: PointRendDeepLab, output: CoarseOutput, points: Tensor) -> Tensor:
    """What the point head says at ``points`` (N, P, 2) in [0, 1] of the padded images: (N, P, K)."""
    fine = torch.cat([point_sample(feature_map, points) for feature_map in output.features], dim=1)
    coarse = point_sample(output.logits, points)
    logits: Tensor = model.point_head(fine.movedim(1, -1), coarse.movedim(1, -1))
    return logits


def mean_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    class_weights: Tensor | None = None,
    weights: Tensor | None = None,
    *,
    process_mean: ProcessMean = lambda value: value,
) -> Tensor:
    """Cross-entropy averaged over the labelled pixels, by weight; 0 with gradients 0 if there is none.

    Args:
        logits: (N, K, ...).
        labels: (N, ...) int64, 255 = unknown.
        class_weights: (K,) float32.
        weights: (N, ...) float32, of each pixel.
        process_mean: see :func:`training_loss`; the number of labelled pixels is averaged over all processes.
    """
    logits = logits.float()
    by_class = None if class_weights is None else class_weights.to(logits)
    known = labels != IGNORE
    if weights is None:
        summed = F.cross_entropy(logits, labels, weight=by_class, ignore_index=IGNORE, reduction="sum")
    else:
        each = F.cross_entropy(logits, labels, weight=by_class, ignore_index=IGNORE, reduction="none")
        summed = (each * weights).sum()
    if by_class is None and weights is None:
        share = known.sum().to(logits.dtype)
    else:
        counted = known.to(logits.dtype)
        if by_class is not None:
            counted = counted * by_class[labels.where(known, 0)]
        share = (counted if weights is None else counted * weights).sum()
    share = process_mean(share)
    # The plain mean is 0 / 0 = nan for a chip of nodata.
    return summed / share.where(share > 0, 1.0)


def dice_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """One minus the soft Dice coefficient, averaged over the chips and classes.

    Milletari, Navab, Ahmadi, "V-Net" (arXiv 1606.04797), with squares in the denominator and one pixel added
    above and below, so that a class neither there nor predicted costs nothing.

    Args:
        logits: (N, K, H, W) or, of points, (N, K, P), float32.
        labels: (N, H, W) or (N, P) int64, 255 = unknown: such pixels do not count.
    """
    over = tuple(range(2, logits.ndim))
    known = (labels != IGNORE).unsqueeze(1)
    shares = logits.softmax(dim=1) * known
    truth = F.one_hot(labels.where(known[:, 0], 0), logits.shape[1]).movedim(-1, 1) * known
    both = (shares * truth).sum(dim=over)
    sizes = shares.square().sum(dim=over) + truth.sum(dim=over)
    return 1.0 - ((2.0 * both + _DICE_SMOOTHING) / (sizes + _DICE_SMOOTHING)).mean()


def near_borders(labels: Tensor, within_px: int) -> Tensor:
    """Where a pixel of another class lies within a square of ``2 * within_px + 1`` pixels: (N, H, W) bool.

    Args:
        labels: (N, H, W) int64. Unknown (255) is no class: no border runs along it.
        within_px: distance of columns and of rows.
    """
    side = 2 * within_px + 1
    known = labels != IGNORE

    def greatest(values: Tensor) -> Tensor:
        # max_pool2d keeps no integers on a GPU; ids are exact in float32.
        pooled = F.max_pool2d(values.float().unsqueeze(1), side, stride=1, padding=within_px)
        return pooled[:, 0]

    highest = greatest(labels.where(known, -_FAR))
    lowest = -greatest(-labels.where(known, _FAR))
    return known & (highest > lowest)
