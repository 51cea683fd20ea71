"""Outlines of the objects of a chip, along the edges of their pixels.

An edge runs along a pixel with the pixel to its right (rows count downwards), so outlines go clockwise and
those of holes the other way. Where two pixels of an object touch at a corner only, the way goes on around the
same pixel: what hangs together by corners alone is several parts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# East, south, west, north: a right turn adds one.
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))
_RIGHT, _STRAIGHT, _LEFT = 1, 0, 3


def polygons(numbers: NDArray[np.uint16]) -> dict[int, list[list[int]]]:
    """Outlines of the objects without holes.

    Args:
        numbers: (H, W), 0 where no object is.

    Returns:
        For each number the corners of its parts, as x, y, x, y, ... from the upper left corner of the chip.
        Objects with holes are left out.
    """
    found: dict[int, list[list[int]]] = {}
    holed = set()
    for number, ring in rings(numbers):
        if _twice_area(ring) < 0:
            holed.add(number)
        found.setdefault(number, []).append(ring.ravel().tolist())
    return {number: parts for number, parts in found.items() if number not in holed}


def rings(numbers: NDArray[np.uint16]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Outlines of the objects (H, W), and those of their holes: number, and corners (M, 2) as (x, y)."""
    owner, following = _edges(numbers)
    successor = following.tolist()
    seen = np.zeros(owner.size, np.bool_)
    for start in np.flatnonzero(owner.ravel()).tolist():
        if seen[start]:
            continue
        loop, edge = [start], successor[start]
        while edge != start:
            loop.append(edge)
            edge = successor[edge]
        seen[loop] = True
        yield int(owner.ravel()[start]), _corners(np.array(loop), numbers.shape)


def _edges(numbers: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], NDArray[np.intp]]:
    """Edges by direction and the corner they start at, and which one comes after each.

    Returns:
        ``owner`` (4, H + 1, W + 1), the object of each edge, 0 where there is none; and ``following`` of as
        many values, flat, the flat index of the next edge.
    """
    height, width = numbers.shape
    wide = np.pad(numbers, 1)
    middle = wide[1:-1, 1:-1]
    owner = np.zeros((4, height + 1, width + 1), np.uint16)
    owner[0, :-1, :-1] = np.where(middle != wide[:-2, 1:-1], middle, 0)
    owner[1, :-1, 1:] = np.where(middle != wide[1:-1, 2:], middle, 0)
    owner[2, 1:, 1:] = np.where(middle != wide[2:, 1:-1], middle, 0)
    owner[3, 1:, :-1] = np.where(middle != wide[1:-1, :-2], middle, 0)
    following = np.zeros(owner.size, np.intp)
    edges = np.flatnonzero(owner.ravel())
    direction, corner = np.divmod(edges, (height + 1) * (width + 1))
    steps = np.array([x + y * (width + 1) for x, y in _STEPS])
    end, mine = corner + steps[direction], owner.ravel()[edges]
    for turn in (_LEFT, _STRAIGHT, _RIGHT):  # the last that fits is taken
        candidate = (direction + turn) % 4 * ((height + 1) * (width + 1)) + end
        fits = owner.ravel()[candidate] == mine
        following[edges[fits]] = candidate[fits]
    return owner, following


def _corners(loop: NDArray[np.intp], shape: tuple[int, int]) -> NDArray[np.intp]:
    """Corners (M, 2) as (x, y) at which a loop of edges turns, on a chip of ``shape``."""
    height, width = shape
    direction, corner = np.divmod(loop, (height + 1) * (width + 1))
    row, col = np.divmod(corner[direction != np.roll(direction, 1)], width + 1)
    return np.stack([col, row], axis=1)


def _twice_area(ring: NDArray[np.intp]) -> int:
    """Twice the area of a ring (M, 2), above 0 when it goes clockwise."""
    x, y = ring.T
    return int(x @ np.roll(y, -1) - y @ np.roll(x, -1))
