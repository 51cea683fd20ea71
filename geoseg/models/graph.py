"""The whole way from plain pixels to class probabilities as one network, for runtimes other than torch.

What :mod:`geoseg.models.normalise` does before the network and :func:`geoseg.models.inference.predict_logits`
after it becomes part of it, in operations that any graph format has. The refinement is the same one, point
for point: how many pixels are unsure depends on the image, so the graph finds them (``NonZero``), reads the
feature maps there and puts the decisions back, instead of deciding a fixed number or every pixel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from geoseg.models.card import ModelCard
from geoseg.models.deeplab import PointRendDeepLab
from geoseg.models.inference import DEFAULT_MARGIN, DEFAULT_POINTS_PER_PIXEL
from geoseg.models.point_choice import AREA_PX, area_cap, probability_margin, uncertainty
from geoseg.models.pointrend import step_margin
from geoseg.models.points import as_rows, pixel_centres, upsample

FED_UNIT = 255.0
"""What callers divide pixel values by, whatever their dtype: the custom of plugins made for 8 bits."""


class PixelsToProbabilities(nn.Module):
    """Normalisation, network, refinement and softmax in one.

    Shapes: (1, B, S, S) float32 pixel values / 255 -> (1, K, S, S) float32 class probabilities. S is
    ``size_px``, a multiple of :data:`geoseg.models.point_choice.AREA_PX`.
    """

    def __init__(self, network: PointRendDeepLab, card: ModelCard, *, size_px: int, refine: bool) -> None:
        super().__init__()
        if size_px % AREA_PX:
            raise ValueError(f"size_px {size_px} is no multiple of {AREA_PX}")
        self.normalise = FedNormaliser(card)
        self.network = network
        self.size_px = size_px
        self.refine = refine

    def forward(self, fed: Tensor) -> Tensor:
        """Class probabilities of one chip."""
        output = self.network(self.normalise(fed))
        if not self.refine:
            return upsample(output.logits, (self.size_px, self.size_px)).softmax(dim=1)
        fine = [_Rows(feature_map[0]) for feature_map in output.features]
        return _refined(output.logits[0], fine, self.network)[None].softmax(dim=1)


class FedNormaliser(nn.Module):
    """What :class:`geoseg.models.normalise.Normaliser` makes of pixels, from pixels that were divided by 255.

    Values of whole-number scenes come back exactly: rounding takes away what the division did (below 2^21).
    Where a scene of unsigned numbers is 0 in all bands, there is nothing: so plugins fill up chips at the
    scene's border, and so most scenes mark their collar. Values that are not finite are nothing either.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, card: ModelCard) -> None:
        super().__init__()
        shape = (1, -1, 1, 1)
        self.register_buffer("mean", torch.tensor(card.stats.mean, dtype=torch.float32).view(shape))
        scale = [1.0 / scale for scale in card.stats.scale]
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32).view(shape))
        self.limit = card.stats.limit_std
        self.kind = np.dtype(card.dtype).kind

    def forward(self, fed: Tensor) -> Tensor:
        """Normalised bands (1, B, S, S) of ``fed``, pixel values / 255."""
        pixels = fed * FED_UNIT
        if self.kind != "f":
            pixels = pixels.round()
        normal = (pixels - self.mean) * self.scale
        if self.limit is not None:
            normal = normal.clamp(-self.limit, self.limit)
        if self.kind == "u":
            return torch.where((pixels != 0.0).any(dim=1, keepdim=True), normal, 0.0)
        if self.kind == "f":
            return torch.where(torch.isfinite(pixels), normal, 0.0)
        return normal


def _refined(coarse: Tensor, fine: Sequence[_Rows], network: PointRendDeepLab) -> Tensor:
    """:func:`geoseg.models.pointrend.subdivide` of a whole map (K, h, w), as one graph without branches."""
    seen = _Rows(coarse)
    refined = coarse
    for step in range(1, network.steps + 1):
        left = network.steps - step
        size = (coarse.shape[1] << step, coarse.shape[2] << step)
        refined = upsample(refined[None], size)[0]
        chosen = _unsure(refined, left, network.steps).flatten().nonzero()[:, 0]
        points = pixel_centres(chosen, size)
        decided = network.point_head(torch.cat([rows.at(points) for rows in fine], dim=1), seen.at(points))
        refined = refined.flatten(1).index_copy(1, chosen, decided.T).reshape(refined.shape)
    return refined


def _unsure(logits: Tensor, left: int, steps: int) -> Tensor:
    """Which pixels of a map (K, h, w) are decided in a step: (h, w) bool.

    The choice of :func:`geoseg.models.point_choice.most_uncertain`. Where the cap binds, ties go to the
    first in an area, since ONNX's ``TopK`` breaks them so; torch's own may break them otherwise.
    """
    unsure = probability_margin(logits[None])[0] < step_margin(DEFAULT_MARGIN, left, steps)
    cap = area_cap(DEFAULT_POINTS_PER_PIXEL).points
    side = max(1, AREA_PX >> left)
    if cap >= side * side:
        return unsure
    height, width = logits.shape[1:]
    rows, columns = height // side, width // side
    values = torch.where(unsure, uncertainty(logits[None])[0], -math.inf)
    areas = values.reshape(rows, side, columns, side).permute(0, 2, 1, 3).reshape(rows * columns, side * side)
    foremost = torch.zeros_like(areas, dtype=torch.bool).scatter(1, areas.topk(cap, dim=1).indices, True)
    foremost = foremost.reshape(rows, columns, side, side).permute(0, 2, 1, 3).reshape(height, width)
    return unsure & foremost


class _Rows:
    """A map (C, h, w), read at points as :class:`geoseg.models.points.FineRows` does.

    That one looks up bags of an embedding, which ONNX has no operation for; here each of the four
    neighbours is a gather.
    """

    def __init__(self, values: Tensor) -> None:
        self.rows = as_rows(values)
        self.height, self.width = values.shape[1:]

    def at(self, points: Tensor) -> Tensor:
        """(P, C) at ``points`` (P, 2), (x, y) in [0, 1]."""
        x = (points[:, 0] * self.width - 0.5).clamp(0, self.width - 1)
        y = (points[:, 1] * self.height - 0.5).clamp(0, self.height - 1)
        left, top = x.floor(), y.floor()
        right, below = (left + 1).clamp(max=self.width - 1), (top + 1).clamp(max=self.height - 1)
        across, down = (x - left)[:, None], (y - top)[:, None]
        upper = self._pixels(top, left) * (1 - across) + self._pixels(top, right) * across
        lower = self._pixels(below, left) * (1 - across) + self._pixels(below, right) * across
        return upper * (1 - down) + lower * down

    def _pixels(self, row: Tensor, column: Tensor) -> Tensor:
        return self.rows.index_select(0, row.long() * self.width + column.long())
