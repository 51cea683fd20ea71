"""PointRend's mask branch: a coarse map of each object, and the head that decides points of it.

Kirillov et al., "PointRend" (arXiv 1912.08193), section 4.1: the coarse head reads 14 x 14 points of the
stride-4 map in each box and puts out 7 x 7 logits a class; the point head reads the same map and the coarse
logits at points. A network of K classes has K - 1 channels here, since background has no mask.

Shapes: N chips, R boxes of all chips, P points of a box, M true objects of a chip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geoseg.config import PointConfig
from geoseg.models.instances import Target
from geoseg.models.losses import ProcessMean
from geoseg.models.mask_drawing import Drawing, draw_masks
from geoseg.models.point_choice import training_points
from geoseg.models.pointrend import PREDICTOR_STD, PointHead
from geoseg.models.points import FineRows, point_sample
from geoseg.models.roi_points import features_at, grid_points, known_at, masks_at, points_in_chip

COARSE_SIDE = 7
_READ_SIDE = 14
WIDER = 4
"""Hidden features of the heads of boxes and coarse maps, for a channel of the pyramid."""
FINE_STRIDE = 4
FINE_MAP = "0"


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What the mask branch learns from one chip's boxes that hold an object.

    Attributes:
        boxes: (R, 4) float32.
        labels: (R,) int64 class ids of their objects, from 1.
        matched: (R,) int64, their objects' places in the target.
        target: the chip's.
    """

    boxes: Tensor
    labels: Tensor
    matched: Tensor
    target: Target


class CoarseHead(nn.Module):
    """Coarse masks of boxes.

    Shapes: features (R, C, 14, 14) -> logits (R, classes, 7, 7).
    """

    def __init__(self, *, channels: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        width = WIDER * channels
        self.reduce = nn.Conv2d(channels, channels, 2, stride=2)
        self.hidden = nn.ModuleList([nn.Linear(channels * COARSE_SIDE**2, width), nn.Linear(width, width)])
        self.predictor = nn.Linear(width, classes * COARSE_SIDE**2)
        for layer in (self.reduce, *self.hidden):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.predictor.weight, std=PREDICTOR_STD)
        nn.init.zeros_(self.predictor.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (R, classes, 7, 7) float32 of ``features`` (R, C, 14, 14)."""
        values = F.relu(self.reduce(features)).flatten(1)
        for layer in self.hidden:
            values = F.relu(layer(values))
        logits: Tensor = self.predictor(values)
        return logits.float().view(-1, self.classes, COARSE_SIDE, COARSE_SIDE)


class PointRendMasks(nn.Module):
    """Masks of objects by PointRend."""

    def __init__(self, *, channels: int, classes: int, width: int, depth: int) -> None:
        super().__init__()
        self.coarse_head = CoarseHead(channels=channels, classes=classes - 1)
        self.point_head = PointHead(fine_channels=channels, classes=classes - 1, width=width, depth=depth)

    def losses(
        self,
        maps: dict[str, Tensor],
        lessons: Sequence[Lesson],
        *,
        points: PointConfig,
        generators: Sequence[torch.Generator | None],
        process_mean: ProcessMean,
    ) -> dict[str, Tensor]:
        """Cross-entropy of the coarse maps and of the points: means over those where the truth is known.

        Args:
            maps: of the pyramid, of the padded chips.
            lessons: one a chip.
            points: how points are drawn.
            generators: one a chip, or ``None`` for torch's own.
            process_mean: see :func:`geoseg.models.losses.training_loss`.

        Returns:
            ``coarse`` and ``point``, scalars; 0 with gradients 0 where there is no object.
        """
        fine = maps[FINE_MAP]
        boxes = [lesson.boxes for lesson in lessons]
        every = torch.arange(sum(map(len, boxes)), device=fine.device)
        channel = torch.cat([lesson.labels for lesson in lessons]) - 1
        coarse = self._coarse(fine, boxes)
        of_class = coarse[every, channel]
        grid = [grid_points(COARSE_SIDE, own) for own in boxes]
        where = self._draw(of_class.detach(), boxes, points, generators)
        places = [points_in_chip(own, at) for own, at in zip(boxes, where, strict=True)]
        seen = point_sample(coarse, torch.cat(where)).movedim(1, -1)
        decided = self.point_head(features_at(fine, FINE_STRIDE, places), seen).float()
        chosen = decided.gather(2, channel[:, None, None].expand(-1, decided.shape[1], 1))[..., 0]
        return {
            "coarse": mask_loss(of_class.flatten(1), lessons, grid, process_mean),
            "point": mask_loss(chosen, lessons, where, process_mean),
        }

    def draw(
        self,
        maps: dict[str, Tensor],
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        shape: tuple[int, int],
        *,
        most: int | None = None,
    ) -> list[Drawing]:
        """The masks of boxes in each chip, see :func:`geoseg.models.mask_drawing.draw_masks`.

        Args:
            maps: of the pyramid, of the padded chips.
            boxes: N times (D, 4) float32, in the chip.
            labels: N times (D,) int64 class ids, from 1.
            shape: H, W of the chips.
            most: doublings at most.
        """
        fine = maps[FINE_MAP]
        extent = (fine.shape[3] * FINE_STRIDE, fine.shape[2] * FINE_STRIDE)
        coarse = torch.split(self._coarse(fine, boxes), [len(own) for own in boxes])
        return [
            draw_masks(
                coarse[chip],
                own,
                labels[chip] - 1,
                FineRows.of(fine[chip].float()),
                self.point_head,
                extent=extent,
                shape=shape,
                most=most,
            )
            for chip, own in enumerate(boxes)
        ]

    def _coarse(self, fine: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """Coarse logits (R, K-1, 7, 7) float32 of the boxes of all chips."""
        places = [points_in_chip(own, grid_points(_READ_SIDE, own)) for own in boxes]
        features = features_at(fine, FINE_STRIDE, places).movedim(-1, 1)
        logits: Tensor = self.coarse_head(features.reshape(*features.shape[:2], _READ_SIDE, _READ_SIDE))
        return logits

    def _draw(
        self,
        of_class: Tensor,
        boxes: Sequence[Tensor],
        points: PointConfig,
        generators: Sequence[torch.Generator | None],
    ) -> list[Tensor]:
        """Training points (R, P, 2) of each chip's boxes, of their coarse logits (sum of R, 7, 7)."""
        count = points.per_object
        anywhere = count - int(points.importance * count)
        chosen = []
        maps = torch.split(of_class, [len(own) for own in boxes])
        for own, logits, generator in zip(boxes, maps, generators, strict=True):
            candidates, coverage = (
                torch.rand(
                    len(own), wanted, 2, generator=generator, device=generator.device if generator else None
                )
                for wanted in (points.over_generation * count, anywhere)
            )
            # A mask's logit l is a tie of two classes where it is 0: |l| is their margin.
            pair = torch.stack([logits, torch.zeros_like(logits)], dim=1)
            chosen.append(training_points(pair, candidates, coverage, count))
        return chosen


def mask_loss(
    logits: Tensor, lessons: Sequence[Lesson], where: Sequence[Tensor], process_mean: ProcessMean
) -> Tensor:
    """Binary cross-entropy with the true masks at points, averaged over the points where the truth is known.

    Args:
        logits: (R, P) float32 of the objects' classes, of all chips.
        lessons: one a chip.
        where: points (R, P, 2) of each chip's boxes.
        process_mean: averages the number of points over the processes.

    Returns:
        Scalar; 0 with gradients 0 where nothing is known.
    """
    truth, known = [], []
    for lesson, points in zip(lessons, where, strict=True):
        places = points_in_chip(lesson.boxes, points)
        truth.append(masks_at(lesson.target["masks"], lesson.matched, places))
        known.append(known_at(lesson.target["ignore"], places))
    counted = torch.cat(known).to(logits.dtype)
    each = F.binary_cross_entropy_with_logits(logits, torch.cat(truth).to(logits.dtype), reduction="none")
    share = process_mean(counted.sum())
    return (each * counted).sum() / share.where(share > 0, 1.0)
