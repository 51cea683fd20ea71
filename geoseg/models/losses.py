"""What training minimises: cross-entropy of the coarse map, of the points, and of the auxiliary head if any.

Paper, section 3.2. Everything is compared on the padded image, whose padding has no labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from geoseg.classes import IGNORE
from geoseg.config import LossConfig, PointConfig
from geoseg.models.deeplab import CoarseOutput, PointRendDeepLab, pad_to_multiple
from geoseg.models.pointrend import (
    draw_points,
    labels_at,
    point_sample,
    training_count,
    training_points,
    upsample,
)


@dataclass(frozen=True, kw_only=True)
class LossParts:
    """The loss and what it is made of: scalars float32; only ``total`` is weighted.

    Attributes:
        total: what to minimise.
        coarse: of the upsampled coarse map.
        point: of the points.
        auxiliary: of the auxiliary head; 0 without one.
    """

    total: Tensor
    coarse: Tensor
    point: Tensor
    auxiliary: Tensor


def training_loss(
    model: PointRendDeepLab,
    images: Tensor,
    labels: Tensor,
    *,
    points: PointConfig,
    loss: LossConfig,
    class_weights: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> LossParts:
    """Loss of one batch.

    Args:
        model: the network, in train mode.
        images: (N, B, H, W) float32 normalised.
        labels: (N, H, W) int64 class ids, 255 = unknown.
        points: how training points are chosen.
        loss: weights of the parts.
        class_weights: (K,) float32, or ``None`` for equal ones.
        generator: of the random points; on any device.
    """
    count = training_count((labels.shape[1], labels.shape[2]), points.per_pixel)
    labels = pad_to_multiple(labels, model.stride, IGNORE)
    output: CoarseOutput = model(images)
    coarse = _map_loss(output.logits, labels, class_weights)
    candidates, coverage = draw_points(
        len(labels),
        count,
        over_generation=points.over_generation,
        importance=points.importance,
        generator=generator,
    )
    where = training_points(output.logits, candidates, coverage, count)
    point = mean_cross_entropy(
        point_logits(model, output, where).movedim(-1, 1), labels_at(labels, where), class_weights
    )
    if output.auxiliary is None:
        auxiliary = torch.zeros_like(coarse)
    else:
        auxiliary = _map_loss(output.auxiliary, labels, class_weights)
    total = loss.coarse_weight * coarse + loss.point_weight * point + loss.auxiliary_weight * auxiliary
    return LossParts(total=total, coarse=coarse.detach(), point=point.detach(), auxiliary=auxiliary.detach())


def point_logits(model: PointRendDeepLab, output: CoarseOutput, points: Tensor) -> Tensor:
    """What the point head says at ``points`` (N, P, 2) in [0, 1] of the padded images: (N, P, K)."""
    fine = torch.cat([point_sample(feature_map, points) for feature_map in output.features], dim=1)
    coarse = point_sample(output.logits, points)
    logits: Tensor = model.point_head(fine.movedim(1, -1), coarse.movedim(1, -1))
    return logits


def mean_cross_entropy(logits: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Cross-entropy averaged over the labelled pixels, by class weight; 0 with gradients 0 if there is none.

    Args:
        logits: (N, K, ...).
        labels: (N, ...) int64, 255 = unknown.
        class_weights: (K,) float32.
    """
    logits = logits.float()
    weights = None if class_weights is None else class_weights.to(logits)
    summed = F.cross_entropy(logits, labels, weight=weights, ignore_index=IGNORE, reduction="sum")
    known = labels != IGNORE
    if weights is None:
        share = known.sum().to(logits.dtype)
    else:
        share = (weights[labels.where(known, 0)] * known).sum()
    # The plain mean is 0 / 0 = nan for a chip of nodata.
    return summed / share.where(share > 0, 1.0)


def _map_loss(logits: Tensor, labels: Tensor, class_weights: Tensor | None) -> Tensor:
    full = upsample(logits.float(), (labels.shape[1], labels.shape[2]))
    return mean_cross_entropy(full, labels, class_weights)
