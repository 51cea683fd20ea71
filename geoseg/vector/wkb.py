"""Polygons as one block of bytes, straight from their coordinates: no object is made for any of them.

WKB as OGC 06-103r4, section 8, has it, little-endian: byte order (1 byte), type (4), number of rings (4); of
each ring the number of points (4) and the points (16 each). A multipolygon is byte order, type, number of
polygons, and its polygons like that.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

_POLYGON, _MULTI_POLYGON = 3, 6
HEAD_BYTES = 9
"""Byte order, type and number of parts: all there is of a feature without points."""

_COUNT_BYTES, _POINT_BYTES = 4, 16

Offsets: TypeAlias = NDArray[np.integer[Any]]


class PackedWkb(NamedTuple):
    """WKB of many features, one after the other.

    Attributes:
        data: (B,) uint8.
        offsets: (N + 1,) int64, where each feature begins in ``data``, and where the last one ends.
    """

    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, features: Sequence[bytes] | NDArray[np.object_]) -> PackedWkb:
        """Pack single WKBs, (N,) ``bytes``."""
        offsets = np.zeros(len(features) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, features), np.int64, len(features)), out=offsets[1:])
        return cls(np.frombuffer(b"".join(features), np.uint8), offsets)

    def unpack(self) -> NDArray[np.object_]:
        """Single WKBs, (N,) ``bytes``."""
        block, edges = self.data.tobytes(), self.offsets.tolist()
        single = np.empty(len(edges) - 1, np.object_)
        single[:] = [block[begin:end] for begin, end in pairwise(edges)]
        return single


def pack_wkb(points: NDArray[np.float64], ring_offsets: Offsets, polygon_ring_offsets: Offsets) -> PackedWkb:
    """WKB of polygons from ragged coordinates, as :func:`shapely.to_ragged_array` orders them.

    Offsets need not begin at 0: a slice of ``polygon_ring_offsets`` packs those polygons only.

    Args:
        points: (V, 2) x and y; the first point of each ring again at its end.
        ring_offsets: (R + 1,) where each ring begins in ``points``.
        polygon_ring_offsets: (P + 1,) where each polygon begins in the rings; its exterior comes first.

    Returns:
        The P polygons, byte by byte what :func:`shapely.to_wkb` makes of them.
    """
    return _pack(points, ring_offsets, polygon_ring_offsets, np.zeros(len(polygon_ring_offsets), np.int64))


def pack_multi_wkb(
    points: NDArray[np.float64],
    ring_offsets: Offsets,
    polygon_ring_offsets: Offsets,
    feature_polygon_offsets: Offsets,
) -> PackedWkb:
    """WKB of multipolygons from ragged coordinates.

    Args:
        points: as for :func:`pack_wkb`.
        ring_offsets: as for :func:`pack_wkb`.
        polygon_ring_offsets: as for :func:`pack_wkb`.
        feature_polygon_offsets: (F + 1,) where each multipolygon begins in the polygons.

    Returns:
        The F multipolygons, byte by byte what :func:`shapely.to_wkb` makes of them.
    """
    first, last = feature_polygon_offsets[0], feature_polygon_offsets[-1]
    parts = np.diff(feature_polygon_offsets)
    feature = np.arange(len(parts) + 1)
    heads = np.append(np.repeat(feature[1:], parts), len(parts))
    data, polygon_at = _pack(points, ring_offsets, polygon_ring_offsets[first : last + 1], heads)
    # Before its first polygon, and before the heads of features in between that have none.
    first_polygon = feature_polygon_offsets - first
    at = polygon_at[first_polygon] - (heads[first_polygon] - feature) * HEAD_BYTES
    _put(data, at[:-1], _head_bytes(_MULTI_POLYGON, parts))
    return PackedWkb(data, at)


def _pack(
    points: NDArray[np.float64],
    ring_offsets: Offsets,
    polygon_ring_offsets: Offsets,
    heads: NDArray[np.int64],
) -> PackedWkb:
    """Polygons, each after ``heads`` (P + 1,) heads of features, which are left free."""
    ring_offsets = ring_offsets[polygon_ring_offsets[0] : polygon_ring_offsets[-1] + 1]
    points = np.ascontiguousarray(points[ring_offsets[0] : ring_offsets[-1]], "<f8")
    ring_at = (ring_offsets - ring_offsets[0]).astype(np.int64)
    first_ring = (polygon_ring_offsets - polygon_ring_offsets[0]).astype(np.int64)
    counts, rings = np.diff(ring_at), np.diff(first_ring)

    heads = heads + np.arange(len(first_ring))
    polygon_at = ring_at[first_ring] * _POINT_BYTES + first_ring * _COUNT_BYTES + heads * HEAD_BYTES
    # What lies before the points of each ring and is no point.
    before = np.arange(1, len(counts) + 1) * _COUNT_BYTES + np.repeat((heads[:-1] + 1) * HEAD_BYTES, rings)
    data = np.empty(polygon_at[-1], np.uint8)
    _put(data, np.arange(len(points)) * _POINT_BYTES + np.repeat(before, counts), points)
    _put(data, ring_at[:-1] * _POINT_BYTES + before - _COUNT_BYTES, counts.astype("<u4"))
    _put(data, polygon_at[:-1], _head_bytes(_POLYGON, rings))
    return PackedWkb(data, polygon_at)


def _head_bytes(kind: int, parts: Offsets) -> NDArray[np.uint8]:
    heads = np.empty((len(parts), HEAD_BYTES), np.uint8)
    heads[:, :5] = (1, kind, 0, 0, 0)
    heads[:, 5:] = parts.astype("<u4")[:, np.newaxis].view(np.uint8)
    return heads


def _put(data: NDArray[np.uint8], at: NDArray[np.int64], items: NDArray[Any]) -> None:
    """Write items of equal size, (K,) or rows of (K, n), each at its own byte, (K,)."""
    if not len(items):
        return
    size = items.nbytes // len(items)
    anywhere = np.ndarray((len(data) - size + 1,), f"V{size}", data, strides=(1,))
    anywhere[at] = np.ascontiguousarray(items).view(f"V{size}").ravel()
