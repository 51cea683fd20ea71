"""Mask R-CNN's own mask branch, to compare PointRend with: a map of 28 x 28 cells for every object.

He et al., "Mask R-CNN" (arXiv 1703.06870), with torchvision's parts. What it learns from, and how its map
becomes pixels, is as in :mod:`geoseg.models.mask_branch`, so that nothing but the branch differs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from geoseg.config import PointConfig
from geoseg.models.losses import ProcessMean
from geoseg.models.mask_branch import FINE_MAP, FINE_STRIDE, Lesson, mask_loss
from geoseg.models.mask_drawing import Drawing, pixels_of, windows
from geoseg.models.roi_points import grid_points

_READ_SIDE = 14
_LEVELS = ["0", "1", "2", "3"]


class ConvMasks(nn.Module):
    """Masks of objects by convolutions; stands in for :class:`geoseg.models.mask_branch.PointRendMasks`."""

    def __init__(self, *, channels: int, classes: int, norm: type[nn.Module] | None) -> None:
        super().__init__()
        self.pool = MultiScaleRoIAlign(_LEVELS, output_size=_READ_SIDE, sampling_ratio=2)
        self.head = MaskRCNNHeads(channels, (channels,) * 4, 1, norm_layer=norm)
        self.predictor = MaskRCNNPredictor(channels, channels, classes - 1)

    def losses(
        self,
        maps: dict[str, Tensor],
        lessons: Sequence[Lesson],
        *,
        points: PointConfig,  # noqa: ARG002
        generators: Sequence[torch.Generator | None],  # noqa: ARG002
        process_mean: ProcessMean,
    ) -> dict[str, Tensor]:
        """Cross-entropy of the maps as ``coarse``; ``point`` is 0."""
        boxes = [lesson.boxes for lesson in lessons]
        logits = self._maps(maps, boxes)
        every = torch.arange(len(logits), device=logits.device)
        of_class = logits[every, torch.cat([lesson.labels for lesson in lessons]) - 1]
        grid = [grid_points(logits.shape[-1], own) for own in boxes]
        loss = mask_loss(of_class.flatten(1), lessons, grid, process_mean)
        return {"coarse": loss, "point": torch.zeros_like(loss)}

    def draw(
        self,
        maps: dict[str, Tensor],
        boxes: Sequence[Tensor],
        labels: Sequence[Tensor],
        shape: tuple[int, int],
    ) -> list[Drawing]:
        """The masks of boxes in each chip: their maps, read at the pixels' centres."""
        logits = self._maps(maps, boxes)
        every = torch.arange(len(logits), device=logits.device)
        of_class = torch.split(logits[every, torch.cat(list(labels)) - 1], [len(own) for own in boxes])
        return [
            Drawing(
                masks=tuple(pixels_of(one, box, shape) for one, box in zip(own_maps, own, strict=True)),
                offsets=windows(own, shape)[:, [1, 0]],
            )
            for own_maps, own in zip(of_class, boxes, strict=True)
        ]

    def _maps(self, maps: dict[str, Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Logits (R, K-1, 28, 28) float32 of the boxes of all chips."""
        fine = maps[FINE_MAP]
        padded = (fine.shape[2] * FINE_STRIDE, fine.shape[3] * FINE_STRIDE)
        read = self.pool(maps, list(boxes), [padded] * len(boxes))
        logits: Tensor = self.predictor(self.head(read))
        return logits.float()
