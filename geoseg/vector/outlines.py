"""Finished outlines in ragged arrays: no Python object for a polygon, a ring or a vertex."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vector.ragged import ranges


@dataclass(frozen=True, kw_only=True)
class Outlines:
    """Outlines of whole regions in pixel space, (x, y) = (column, row) of pixel corners.

    Features are in the order of their last row, then of their first pixel, and so are the regions of each. A
    region has its outer ring first,
    then its holes by their first corner; a ring begins and ends at its uppermost point, of these the
    leftmost.

    Attributes:
        value: (R,) label of each region.
        area: (R,) int64 pixels of each.
        first_pixel: (R,) int64 flat index in the raster.
        last_row: (R,) int64.
        touches_edge: (R,) bool, whether it reaches the edge of the raster.
        total, known, least: (R,) sum, number and smallest of the values of its pixels; infinite without any.
        features: (F + 1,) where each feature begins in the regions. A feature is a region, or all regions
            that hang together by their corners.
        points: (V, 2) float64 points of all rings.
        rings: (N + 1,) where each ring begins in ``points``.
        regions: (R + 1,) where the rings of each region begin in ``rings``.
    """

    value: NDArray[Any]
    area: NDArray[np.int64]
    first_pixel: NDArray[np.int64]
    last_row: NDArray[np.int64]
    touches_edge: NDArray[np.bool_]
    total: NDArray[np.float64]
    known: NDArray[np.int64]
    least: NDArray[np.float64]
    features: NDArray[np.int64]
    points: NDArray[np.float64]
    rings: NDArray[np.int64]
    regions: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.value)

    def polygons(self) -> NDArray[np.object_]:
        """Shapely polygons, (R,)."""
        polygons: NDArray[np.object_] = shapely.from_ragged_array(
            shapely.GeometryType.POLYGON, self.points, offsets=(self.rings, self.regions)
        )
        return polygons

    def points_of(self, regions: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Indices of the points of the regions where ``regions`` (R,) is true."""
        begins = self.rings[self.regions[:-1]][regions]
        return ranges(begins, self.rings[self.regions[1:]][regions] - begins)

    def only(self, regions: NDArray[np.bool_]) -> Outlines:
        """The regions where ``regions`` (R,) is true; whole features, or each is a region."""
        counts = np.diff(self.regions)[regions]
        rings = ranges(self.regions[:-1][regions], counts)
        kept = np.concatenate([[0], np.cumsum(regions)])[self.features]
        return replace(
            self,
            value=self.value[regions],
            area=self.area[regions],
            first_pixel=self.first_pixel[regions],
            last_row=self.last_row[regions],
            touches_edge=self.touches_edge[regions],
            total=self.total[regions],
            known=self.known[regions],
            least=self.least[regions],
            features=np.unique(kept) if len(kept) else kept,
            points=self.points[self.points_of(regions)],
            rings=np.concatenate([[0], np.cumsum(np.diff(self.rings)[rings])]),
            regions=np.concatenate([[0], np.cumsum(counts)]),
        )


@dataclass(frozen=True, kw_only=True)
class Rings:
    """Closed rings of whole regions, in any order, not yet closed by a last point.

    Attributes:
        feature: (N,) a number that the rings of a feature share.
        region: (N,) a number that the rings of a region share.
        value: (N,) its label.
        twice_area: (N,) twice the pixels enclosed, negative round a hole.
        low: (N,) ``2 y (W + 1) + x`` of the first corner of the pixel edges it follows.
        left, right: (N,) least and greatest column.
        bottom: (N,) twice the greatest line.
        total, known, least: (N,) sum, number and smallest of the values of pixels; of rings of one region,
            all stand at one of them.
        points: (V, 2) float64.
        lengths: (N,) number of points.
    """

    feature: NDArray[np.int64]
    region: NDArray[np.int64]
    value: NDArray[Any]
    twice_area: NDArray[np.int64]
    low: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    bottom: NDArray[np.int64]
    total: NDArray[np.float64]
    known: NDArray[np.int64]
    least: NDArray[np.float64]
    points: NDArray[np.float64]
    lengths: NDArray[np.int64]

    @classmethod
    def joined(cls, parts: list[Rings]) -> Rings:
        """Several as one."""
        return cls(
            **{
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in cls.__dataclass_fields__
            }
        )


def finish(rings: Rings, *, shape: tuple[int, int], clockwise: bool) -> Outlines:
    """Sort rings into regions, and regions into features.

    Args:
        rings: rings that have their region on the right.
        shape: (H, W) of the raster.
        clockwise: whether outer rings shall run clockwise as one sees a raster; holes run the other way.
    """
    height, width = shape
    order = np.lexsort((rings.low, rings.twice_area < 0, rings.region))
    begins = np.flatnonzero(np.diff(rings.region[order], prepend=-1))
    outer = order[begins]
    row, first_x = np.divmod(rings.low[outer], width + 1)
    first_pixel = row // 2 * width + first_x
    last_row = rings.bottom[outer] // 2 - 1
    rank, features = _rank(rings.feature[outer], first_pixel, last_row)
    counts = np.diff(np.append(begins, len(order)))
    points, offsets = _close(rings, order[ranges(begins[rank], counts[rank])], clockwise=clockwise)
    touches = (
        (rings.left == 0) | (rings.right == width) | (rings.low < width + 1) | (rings.bottom == 2 * height)
    )
    sums = {
        name: _reduce(np.add, getattr(rings, name)[order], begins)
        for name in ("twice_area", "total", "known")
    }
    least = _reduce(np.minimum, rings.least[order], begins)
    return Outlines(
        value=rings.value[outer][rank],
        area=sums["twice_area"][rank] // 2,
        first_pixel=first_pixel[rank],
        last_row=last_row[rank],
        touches_edge=touches[outer][rank],
        total=sums["total"][rank],
        known=sums["known"][rank],
        least=least[rank],
        features=features,
        points=points,
        rings=offsets,
        regions=np.concatenate([[0], np.cumsum(counts[rank])]),
    )


def _rank(
    feature: NDArray[np.int64], first_pixel: NDArray[np.int64], last_row: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Order of regions (R,), and where each feature begins in it (F + 1,)."""
    _, member = np.unique(feature, return_inverse=True)
    count = int(member.max(initial=-1)) + 1
    first, last = np.full(count, np.iinfo(np.int64).max), np.zeros(count, np.int64)
    np.minimum.at(first, member, first_pixel)
    np.maximum.at(last, member, last_row)
    rank = np.lexsort((first_pixel, last_row, first[member], last[member]))
    begins = np.flatnonzero(np.diff(member[rank], prepend=-1))
    return rank, np.append(begins, len(rank))


def _reduce(function: np.ufunc, values: NDArray[Any], begins: NDArray[np.int64]) -> NDArray[Any]:
    reduced: NDArray[Any] = function.reduceat(values, begins) if len(begins) else values[:0]
    return reduced


def _close(
    rings: Rings, order: NDArray[np.int64], *, clockwise: bool
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points of the rings in a new order, each turned to begin at its uppermost point and closed."""
    offsets = np.concatenate([[0], np.cumsum(rings.lengths)])
    first = _uppermost(rings, offsets)
    lengths = rings.lengths[order]
    closed = np.concatenate([[0], np.cumsum(lengths + 1)])
    within = np.arange(closed[-1]) - np.repeat(closed[:-1] - first[order], lengths + 1)
    if not clockwise:
        within = 2 * np.repeat(first[order], lengths + 1) - within
    # Once round at most; a remainder would take longer.
    length = np.repeat(lengths, lengths + 1)
    within -= np.where(within >= length, length, 0)
    within += np.where(within < 0, length, 0)
    at = np.repeat(offsets[order], lengths + 1) + within
    return rings.points[at], closed


def _uppermost(rings: Rings, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position in each ring of its uppermost point, of these the leftmost, (N,)."""
    if not len(rings.lengths):
        return rings.lengths
    x, y = rings.points[:, 0], rings.points[:, 1]
    begins = offsets[:-1]
    highest = y == np.repeat(np.minimum.reduceat(y, begins), rings.lengths)
    x = np.where(highest, x, np.inf)
    at = np.flatnonzero(x == np.repeat(np.minimum.reduceat(x, begins), rings.lengths))
    ring = np.searchsorted(offsets, at, side="right") - 1
    # A point occurs but once in a ring.
    return at - offsets[ring]
