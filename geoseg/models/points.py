"""Maps read at points: where a point lies, and what is seen there.

Coordinates, everywhere: a point is (x, y) = (column, row) in [0, 1] x [0, 1], and (0, 0) is the OUTER corner
of the top-left pixel. The centre of column ``j`` of ``W`` is ``(j + 0.5) / W``, so any map is read
at ``x * W - 0.5`` (``align_corners=False``). Outside of the outermost pixel centres the nearest pixel's value
holds (border padding): zero padding would pull every map towards 0 along the chip's edges. A flat index is
``row * W + column``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


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


def pixel_centres(indices: Tensor, shape: tuple[int, int]) -> Tensor:
    """Centres (P, 2) float32 in [0, 1] of the pixels ``indices`` (P,) of a map of ``shape`` (h, w)."""
    height, width = shape
    x = (indices % width + 0.5) / width
    y = (indices.div(width, rounding_mode="floor") + 0.5) / height
    return torch.stack([x, y], dim=1).float()
