"""A class between polygons that touch, so that a network learns to keep them apart.

Works on a raster of owners: the number of the polygon each pixel belongs to, 0 for none. Distances are those
of pixel centres, so everything follows from the pixels around, and chips that overlap agree on every one. The
higher number is the smaller polygon (:mod:`geoseg.raster.vector_labels` burns the smaller ones last).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import IGNORE, ClassMap
from geoseg.raster.geobox import GeoBox
from geoseg.raster.vector_labels import VectorLabels

_FAR = 2**30
"""Squared distance where no other polygon is in reach, and the number above that of any polygon."""

_TIP_WIDTHS = 2
"""A tip of a polygon, too narrow for its inside, counts as its end up to this many boundary widths."""


class BoundaryLabels:
    """Polygon labels with a boundary class drawn into them."""

    def __init__(self, labels: VectorLabels, classes: ClassMap, width_px: float) -> None:
        """Draw into ``labels`` lines of ``width_px`` pixels of the boundary class of ``classes``."""
        if classes.boundary is None:
            raise ValueError("the classes have no boundary")
        self._labels = labels
        self._background = classes.background
        self._boundary = np.uint8(classes.boundary)
        self._width_px = width_px

    def burn(self, geobox: GeoBox) -> NDArray[np.uint8]:
        """Class ids of the grid's pixels, as the labels burn them, with the boundary on top.

        Polygons of the background class are land without a polygon; those of no class stay 255, and their
        edges are no boundary.

        Args:
            geobox: any grid; what lies beyond its edge counts too.

        Returns:
            (H, W) uint8.

        Raises:
            LabelsError: as :meth:`VectorLabels.burn`.
        """
        halo, (height, width) = halo_px(self._width_px), geobox.shape
        wide = geobox.window(Window(-halo, -halo, width + 2 * halo, height + 2 * halo))
        owner = self._labels.burn_owners(wide)
        ids = self._labels.owner_ids[owner]
        unlabelled = (owner == 0) | (ids == self._background)
        parcels = np.where(unlabelled | (ids == IGNORE), np.int32(0), owner)
        ids[boundary(parcels, unlabelled, self._width_px)] = self._boundary
        return ids[halo : halo + height, halo : halo + width]


def halo_px(width_px: float) -> int:
    """How far around a pixel :func:`boundary` looks."""
    tip = _TIP_WIDTHS * width_px
    return math.ceil(width_px) + math.ceil((width_px + 1) / 2) + math.ceil(tip) + 2


def boundary(owner: NDArray[np.int32], unlabelled: NDArray[np.bool_], width_px: float) -> NDArray[np.bool_]:
    """Pixels of the line between different polygons.

    Where a gap between two polygons is narrower than ``width_px`` it is all line, and its middle is their
    border. Pixels whose centre is nearer to a border than half of ``width_px`` are line too; of those at
    just that distance only the larger polygon's. So a line is ``width_px`` wide, odd or even. Where a polygon
    meets unlabelled land only, there is none.

    A polygon that would be all line keeps its deepest pixels (its ridge, where it is long), unless they touch
    a smaller polygon that keeps its own. So no pixels left of two polygons ever touch.

    Args:
        owner: (H, W) number of the pixel's polygon, 0 for none; below 2^30.
        unlabelled: (H, W) pixels without polygon that may become line.
        width_px: width of the line, at least 1.

    Returns:
        (H, W), right for pixels at least :func:`halo_px` away from the edge.
    """
    closed = _close_gaps(owner, unlabelled, width_px)
    depth, line = _depth(owner, closed, width_px)
    line.ravel()[_ridges(owner, line, depth, width_px)] = False
    line |= closed != owner
    return line


def _close_gaps(
    owner: NDArray[np.int32], unlabelled: NDArray[np.bool_], width_px: float
) -> NDArray[np.int32]:
    """Owners, with gaps narrower than ``width_px`` given to the nearer polygon.

    A pixel is in a gap when the polygons lie at least a right angle apart around it, not side by side.
    """
    closed = owner.copy()
    pixels = np.flatnonzero(unlabelled & _between(owner, int(width_px)))
    first, first_row, first_col = np.zeros((3, len(pixels)), np.int32)
    narrow = np.zeros(len(pixels), np.bool_)
    for (row, col), other in _around(owner, pixels, width_px):
        opposite = (first > 0) & (other > 0) & (other != first) & (first_row * row + first_col * col <= 0)
        # A gap of n pixels has n + 1 steps from centre to centre across it.
        narrow |= opposite & (np.hypot(first_row, first_col) + math.hypot(row, col) < width_px + 1.0)
        fresh = (first == 0) & (other > 0)
        first[fresh], first_row[fresh], first_col[fresh] = other[fresh], row, col
    closed.ravel()[pixels[narrow]] = first[narrow]
    return closed


def _depth(
    owner: NDArray[np.int32], closed: NDArray[np.int32], width_px: float
) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Squared distance (H, W) to the nearest other polygon, where it matters, and pixels (H, W) on the line.

    A border lies half a pixel before the first pixel of the other polygon.
    """
    reach = (width_px + 1.0) / 2.0
    pixels = np.flatnonzero((owner > 0) & _between(closed, int(reach)))
    mine = owner.ravel()[pixels]
    nearest = np.full(len(pixels), _FAR, np.int32)
    near = np.zeros(len(pixels), np.bool_)
    for (row, col), other in _around(closed, pixels, reach):
        squared = row * row + col * col
        different = (other > 0) & (other != mine)
        nearest[different] = np.minimum(nearest[different], squared)
        near |= different if squared < reach * reach else different & (other > mine)
    depth = np.full(owner.shape, _FAR, np.int32)
    line = np.zeros(owner.shape, np.bool_)
    depth.ravel()[pixels], line.ravel()[pixels] = nearest, near
    return depth, line


def _ridges(
    owner: NDArray[np.int32], line: NDArray[np.bool_], depth: NDArray[np.int32], width_px: float
) -> NDArray[np.intp]:
    """Flat indices of the pixels on the line that a polygon keeps because it has no others around."""
    pixels = np.flatnonzero(line)
    mine, own_depth = owner.ravel()[pixels], depth.ravel()[pixels]
    kept = np.ones(len(pixels), np.bool_)
    neighbours = zip(_around(owner, pixels, math.sqrt(2)), _around(depth, pixels, math.sqrt(2)), strict=True)
    for (_, other), (_, other_depth) in neighbours:
        kept &= (other != mine) | (other_depth <= own_depth)
    pixels, mine = pixels[kept], mine[kept]
    inside = np.where(line, np.int32(0), owner)
    alone = np.ones(len(pixels), np.bool_)
    for _, other in _around(inside, pixels, _TIP_WIDTHS * width_px):
        alone &= other != mine
    pixels, mine = pixels[alone], mine[alone]
    ridge = np.zeros_like(owner)
    ridge.ravel()[pixels] = mine
    free = np.ones(len(pixels), np.bool_)
    for (_, other), (_, rival) in zip(_around(inside, pixels, 1), _around(ridge, pixels, 1), strict=True):
        free &= ((other == 0) | (other == mine)) & (rival <= mine)
    return pixels[free]


def _between(owner: NDArray[np.int32], reach: int) -> NDArray[np.bool_]:
    """Pixels with two different polygons in the square that reaches ``reach`` pixels around them."""
    highest = _spread(owner, reach, np.maximum, 0)
    lowest = _spread(np.where(owner > 0, owner, np.int32(_FAR)), reach, np.minimum, _FAR)
    return np.asarray(lowest < highest)


def _spread(values: NDArray[np.int32], reach: int, extreme: np.ufunc, fill: int) -> NDArray[np.int32]:
    """Maximum or minimum over squares of side ``2 * reach + 1``; the steps double, so there are few."""
    for _ in range(2):
        spread, span = np.pad(values, ((reach, reach), (0, 0)), constant_values=fill), 1
        while span <= 2 * reach:
            step = min(span, 2 * reach + 1 - span)
            spread = extreme(spread[:-step], spread[step:])
            span += step
        values = spread.T
    return values


def _around(
    values: NDArray[Any], pixels: NDArray[np.intp], reach: float
) -> Iterator[tuple[tuple[int, int], NDArray[Any]]]:
    """For every step (rows, columns) of at most ``reach``, the shortest first: what is there.

    Args:
        values: (H, W); 0 beyond its edge.
        pixels: (N,) flat indices.
        reach: longest step, in pixels.
    """
    pad = int(reach)
    flat = np.pad(values, pad).ravel()
    row, col = np.divmod(pixels, values.shape[1])
    width = values.shape[1] + 2 * pad
    start = (row + pad) * width + col + pad
    span = range(-pad, pad + 1)
    steps = [(y * y + x * x, y, x) for y in span for x in span if 0 < y * y + x * x <= reach * reach + 1e-9]
    for _, y, x in sorted(steps):
        yield (y, x), flat[start + (y * width + x)]
