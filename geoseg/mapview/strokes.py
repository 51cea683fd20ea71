"""Outlines in few bytes, as the browser decodes them (``readStrokes`` in ``map.js``).

A stream of whole numbers, zigzag coded and written seven bits a byte, the last byte of a number below 128::

    number of features
      per feature: its number in the file, its class, number of rings
        per ring: number of vertices, then for each how far it lies right of and below the one before

The first vertex counts from the last one of the ring before it, the very first from the origin. Rings are not
closed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEAST_VERTICES = 3


def encoded(
    steps: NDArray[np.int64],
    ring_of: NDArray[np.int64],
    owner: NDArray[np.int64],
    numbers: NDArray[np.int64],
    class_ids: NDArray[np.uint8],
) -> bytes:
    """The stream of some features; rings and features of which nothing is left at this rounding are left out.

    Args:
        steps: (V, 2) vertices, ring after ring, in whole steps; closed or not.
        ring_of: (V,) the ring of each, ascending.
        owner: (R,) position in ``numbers`` of the feature of each ring, ascending.
        numbers: (F,) number of each feature in its file.
        class_ids: (F,).
    """
    steps, ring_of = _without_repeats(steps, ring_of)
    sizes = np.bincount(ring_of, minlength=len(owner))
    drawn = sizes >= _LEAST_VERTICES
    steps, ring_of = steps[drawn[ring_of]], ring_of[drawn[ring_of]]
    rings = np.flatnonzero(drawn)
    sizes, owner = sizes[rings], owner[rings]
    begins = np.cumsum(sizes) - sizes
    features, first_ring, rings_each = np.unique(owner, return_index=True, return_counts=True)
    moves = np.diff(steps, axis=0, prepend=np.zeros((1, 2), np.int64)).ravel()
    # Heads of rings go before their first vertex, those of features before the head of their first ring.
    at = np.concatenate([np.repeat(2 * begins[first_ring], 3), 2 * begins])
    heads = np.stack([numbers[features], class_ids[features].astype(np.int64), rings_each], axis=1).ravel()
    values = np.concatenate([heads, sizes])
    # For equal places np.insert keeps the order of what is inserted: features come first in it.
    body = np.insert(moves, at, values)
    return varints(np.concatenate([[len(features)], body]))


def varints(values: NDArray[np.int64]) -> bytes:
    """Whole numbers, each in as few bytes as it needs."""
    zigzag = ((values << 1) ^ (values >> 63)).astype(np.uint64)
    sizes = np.ones(len(zigzag), np.int64)
    for bits in range(7, 63, 7):
        sizes += zigzag >= np.uint64(1 << bits)
    ends = np.cumsum(sizes)
    made = np.zeros(int(ends[-1]) if len(ends) else 0, np.uint8)
    for part in range(int(sizes.max(initial=0))):
        has = sizes > part
        low = (zigzag[has] >> np.uint64(7 * part)) & np.uint64(127)
        more = (sizes[has] > part + 1).astype(np.uint64) << np.uint64(7)
        made[(ends - sizes)[has] + part] = low | more
    return made.tobytes()


def clipped(
    points: NDArray[np.float64], ring_of: NDArray[np.int64], box: tuple[float, float, float, float]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Rings cut off at a box (left, top, right, bottom), by Sutherland and Hodgman (1974).

    What leaves and comes back is joined along the edge of the box, where nothing is looked at.
    """
    left, top, right, bottom = box
    begins = np.flatnonzero(np.diff(ring_of, prepend=-1))
    if not len(begins):
        return points, ring_of
    lowest, highest = np.minimum.reduceat(points, begins), np.maximum.reduceat(points, begins)
    low, high = np.array([left, top]), np.array([right, bottom])
    out: NDArray[np.bool_] = np.asarray(((lowest < low) | (highest > high)).any(axis=1))
    pieces: list[NDArray[np.float64]] = []
    owners: list[NDArray[np.int64]] = []
    for at, piece in enumerate(np.split(points, begins[1:])):
        kept = _cut(piece, box) if out[at] else piece
        pieces.append(kept)
        owners.append(np.full(len(kept), ring_of[begins[at]]))
    return np.concatenate(pieces), np.concatenate(owners)


def _cut(ring: NDArray[np.float64], box: tuple[float, float, float, float]) -> NDArray[np.float64]:
    left, top, right, bottom = box
    for axis, limit, sign in ((0, left, 1.0), (0, right, -1.0), (1, top, 1.0), (1, bottom, -1.0)):
        if not len(ring):
            return ring
        depth = sign * (ring[:, axis] - limit)
        inside, depth_next = depth >= 0, np.roll(depth, -1)
        if inside.all():
            continue
        crosses = inside != (depth_next >= 0)
        share = np.divide(depth, depth - depth_next, out=np.zeros(len(depth)), where=crosses)
        between = ring + share[:, None] * (np.roll(ring, -1, axis=0) - ring)
        pairs: NDArray[Any] = np.stack([ring, between], axis=1)
        ring = pairs[np.stack([inside, crosses], axis=1)]
    return ring


def _without_repeats(
    steps: NDArray[np.int64], ring_of: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Without vertices that equal the next one of their ring; the last one's next is the first."""
    if not len(steps):
        return steps, ring_of
    begins = np.flatnonzero(np.diff(ring_of, prepend=-1))
    after = np.arange(1, len(steps) + 1)
    after[np.append(begins[1:], len(steps)) - 1] = begins
    kept = (steps != steps[after]).any(axis=1)
    return steps[kept], ring_of[kept]
