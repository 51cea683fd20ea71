"""From class ids to outlines: every 4-connected region of equal ids becomes one polygon in pixel space.

Outlines run along pixel edges with the region on their right. At every pixel corner where one turns, or where
it passes a point that ends an edge between two others, a vertex is made for each region concerned; the
vertices are linked along the grid lines, and the links are followed round the rings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.vector.regions import Runs

_ROWS_AT_ONCE = 512
_OUTSIDE = -1

_EAST, _SOUTH, _WEST, _NORTH = range(4)


@dataclass(frozen=True, kw_only=True)
class Regions:
    """The regions of a raster, in row-major order of their first pixel; together they cover all of it.

    Attributes:
        class_id: (R,) uint8, 255 where there is no data.
        polygons: (R,) shapely polygons in pixel space, (x, y) = (column, row) of pixel corners, all valid.
            Neighbours have the same vertices along their shared edges: the set is a coverage as GEOS wants
            it.
        touches_edge: (R,) bool, whether the region reaches the edge of the raster.
    """

    class_id: NDArray[np.uint8]
    polygons: NDArray[np.object_]
    touches_edge: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.class_id)


def trace(ids: NDArray[np.uint8]) -> Regions:
    """Outline every 4-connected region along its pixel edges.

    Regions of one class that only touch at a corner stay apart: joined, they would be invalid polygons.

    Args:
        ids: (H, W) class ids; 255 is traced like any other, so that the regions leave no gap.
    """
    height, width = ids.shape
    runs = Runs.of(ids)
    corners = _Corners.of(ids)
    vertices = _Vertices.of(corners, runs, width)
    order, ring_start = _walk(_link(vertices, corners))

    start = order[ring_start]
    is_hole = vertices.leaves[start] == _SOUTH
    # A ring starts at its upper left corner: right below it lies the region, or for holes right above it.
    first_pixel = (corners.y[vertices.corner[start]] - is_hole) * width + corners.x[vertices.corner[start]]
    region = runs.region_at(first_pixel)
    polygons = _assemble(corners, vertices.corner[order], ring_start, np.lexsort((is_hole, region)), is_hole)
    bounds = shapely.bounds(polygons)
    return Regions(
        class_id=runs.class_id[runs.first_run],
        polygons=polygons,
        touches_edge=(bounds[:, :2] == 0).any(axis=1) | (bounds[:, 2:] == (width, height)).any(axis=1),
    )


@dataclass(frozen=True, kw_only=True)
class _Corners:
    """Pixel corners that are a vertex of some outline, in row-major order.

    Attributes:
        x, y: (C,) column and row of the corner.
        pixels: (4, C) int16, ids of the pixels north-west, north-east, south-west and south-east of it.
    """

    x: NDArray[np.int64]
    y: NDArray[np.int64]
    pixels: NDArray[np.int16]

    @classmethod
    def of(cls, ids: NDArray[np.uint8]) -> _Corners:
        height, width = ids.shape
        xs, ys, pixels = [], [], []
        for top in range(0, height + 1, _ROWS_AT_ONCE):
            stop = min(top + _ROWS_AT_ONCE, height + 1)
            # Pixel rows from above the first of these rows of corners to below the last, and a frame around.
            rows = np.full((stop - top + 1, width + 2), _OUTSIDE, np.int16)
            low, high = max(top - 1, 0), min(stop, height)
            rows[low - top + 1 : high - top + 1, 1:-1] = ids[low:high]
            across, along = rows[:, 1:] != rows[:, :-1], rows[1:] != rows[:-1]
            north, south, west, east = across[:-1], across[1:], along[:, :-1], along[:, 1:]
            y, x = np.nonzero((north != south) | (west != east) | (north & south & west & east))
            xs.append(x)
            ys.append(y + top)
            pixels.append(np.stack([rows[y, x], rows[y, x + 1], rows[y + 1, x], rows[y + 1, x + 1]]))
        return cls(x=np.concatenate(xs), y=np.concatenate(ys), pixels=np.concatenate(pixels, axis=1))


@dataclass(frozen=True, kw_only=True)
class _Vertices:
    """Vertices of the outlines, in row-major order: one corner may be a vertex of up to four.

    Attributes:
        corner: (V,) index of the corner.
        arrives, leaves: (V,) heading of the outline before and after it.
    """

    corner: NDArray[np.int64]
    arrives: NDArray[np.int8]
    leaves: NDArray[np.int8]

    @classmethod
    def of(cls, corners: _Corners, runs: Runs, width: int) -> _Vertices:
        nw, ne, sw, se = corners.pixels
        n, s, w, e = nw != ne, sw != se, nw != sw, ne != se
        rising, falling = _joined(corners, runs, width, n & s & w & e)
        # Whether there is a vertex, its two headings, and one pixel of the region on the right.
        kinds = (
            (s & e & ~falling, _NORTH, _EAST, se),
            (s & w & ~rising, _EAST, _SOUTH, sw),
            (n & w & ~falling, _SOUTH, _WEST, nw),
            (n & e & ~rising, _WEST, _NORTH, ne),
            (n & w & ~s & ~e | rising, _EAST, _NORTH, sw),
            (s & e & ~n & ~w | rising, _WEST, _SOUTH, ne),
            (s & w & ~n & ~e | falling, _NORTH, _WEST, se),
            (n & e & ~s & ~w | falling, _SOUTH, _EAST, nw),
            (n & w & e & ~s, _EAST, _EAST, sw),
            (n & s & e & ~w, _SOUTH, _SOUTH, nw),
            (s & w & e & ~n, _WEST, _WEST, ne),
            (n & s & w & ~e, _NORTH, _NORTH, se),
        )
        found = [np.flatnonzero(there & (pixel != _OUTSIDE)) for there, _, _, pixel in kinds]
        counts = [len(corner) for corner in found]
        corner = np.concatenate(found)
        order = np.argsort(corner, kind="stable")
        return cls(
            corner=corner[order],
            arrives=np.repeat(np.array([kind[1] for kind in kinds], np.int8), counts)[order],
            leaves=np.repeat(np.array([kind[2] for kind in kinds], np.int8), counts)[order],
        )


def _joined(
    corners: _Corners, runs: Runs, width: int, crossing: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Crossings (C,) where the pixels on the rising (SW-NE) or the falling (NW-SE) diagonal are one region.

    Such a region goes round and meets itself there. To be a valid polygon its outline must turn left, as if
    the pixels were joined: what it encloses then becomes a hole that touches the outline, not a loop of it.
    """
    nw, ne, sw, se = corners.pixels
    joined = []
    for equal, upper, lower in ((ne == sw, 0, -1), (nw == se, -1, 0)):
        at = np.flatnonzero(crossing & equal & (ne != _OUTSIDE) & (nw != _OUTSIDE))
        x, y = corners.x[at], corners.y[at]
        same = runs.region_at((y - 1) * width + x + upper) == runs.region_at(y * width + x + lower)
        diagonal = np.zeros(len(nw), np.bool_)
        diagonal[at[same]] = True
        joined.append(diagonal)
    return joined[0], joined[1]


def _link(vertices: _Vertices, corners: _Corners) -> NDArray[np.int64]:
    """The vertex that follows each, (V,).

    Along a grid line, edges of one heading do not overlap: the first that begins is the first that ends. At a
    corner at most one outline arrives, and one leaves, under a heading.
    """
    following = np.empty(len(vertices.corner), np.int64)
    by_column = np.lexsort((corners.y, corners.x))
    column_rank = np.empty_like(by_column)
    column_rank[by_column] = np.arange(len(by_column))
    for heading in (_EAST, _SOUTH, _WEST, _NORTH):
        begin = np.flatnonzero(vertices.leaves == heading)
        end = np.flatnonzero(vertices.arrives == heading)
        if heading in (_SOUTH, _NORTH):
            begin = begin[np.argsort(column_rank[vertices.corner[begin]])]
            end = end[np.argsort(column_rank[vertices.corner[end]])]
        following[begin] = end
    return following


def _walk(following: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Vertices ring by ring, (V,), and the position each ring starts at, which is its smallest.

    A plain loop, linear in the vertices; array operations would need many passes for a long ring.
    """
    steps = following.tolist()
    order: list[int] = []
    starts: list[int] = []
    seen = bytearray(len(steps))
    for vertex in range(len(steps)):
        if seen[vertex]:
            continue
        starts.append(len(order))
        while not seen[vertex]:
            seen[vertex] = 1
            order.append(vertex)
            vertex = steps[vertex]
    return np.array(order, np.int64), np.array(starts, np.int64)


def _assemble(
    corners: _Corners,
    corner: NDArray[np.int64],
    ring_start: NDArray[np.int64],
    ring_order: NDArray[np.int64],
    is_hole: NDArray[np.bool_],
) -> NDArray[np.object_]:
    """Polygons from rings.

    Args:
        corners: the corners.
        corner: (V,) corner of each vertex, ring by ring.
        ring_start: (N,) first vertex of each ring.
        ring_order: (N,) rings by polygon, its outer ring first.
        is_hole: (N,) whether a ring is a hole.
    """
    counts = np.diff(np.append(ring_start, len(corner)))[ring_order]
    offsets = np.concatenate([[0], np.cumsum(counts + 1)])
    within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts + 1)
    # Rings close: after the last vertex comes the first.
    closed = np.repeat(ring_start[ring_order], counts + 1) + within % np.repeat(counts, counts + 1)
    points = np.stack([corners.x[corner[closed]], corners.y[corner[closed]]], axis=1).astype(np.float64)
    first_rings = np.append(np.flatnonzero(~is_hole[ring_order]), len(ring_order))
    polygons: NDArray[np.object_] = shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, points, offsets=(offsets, first_rings)
    )
    return polygons
