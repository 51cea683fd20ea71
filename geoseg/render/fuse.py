"""From detections of overlapping chips to objects: each once, whole, and apart from its neighbours.

A detection that keeps away from the border of its chip shows all of an object. Of several such detections of
one object that one is taken which lies deepest in its chip, and whatever other chips have of it is left out.
What then remains is cut by the border of its chip, and no chip shows all of it: such parts are joined where
both chips see the same, through as many chips as it takes, and each pixel is taken from the chip that sees it
deepest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.render.overlap import RIM_PX, Pairs, Table
from geoseg.vector.regions import components

COVERED = 0.5
"""A detection of which so much belongs to objects that other chips show whole is left out."""


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """What became of D detections: O objects.

    Attributes:
        object_of: (D,) int32 number of the object, -1 for what is left out.
        whole: (D,) bool, whether all pixels of it count, or those only that its chip sees deepest.
        label: (O,) uint8 class id of each object.
        score: (O,) float32.
        rank: (O,) int64; of objects that overlap, the one with the higher rank has the pixel.
    """

    object_of: NDArray[np.int32]
    whole: NDArray[np.bool_]
    label: NDArray[np.uint8]
    score: NDArray[np.float32]
    rank: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.label)


def fuse(table: Table, pairs: Pairs) -> Fusion:
    """Decide which detections are of one object."""
    is_cut = table.depth < RIM_PX
    taken = _take_whole(table, pairs, is_cut)
    left = is_cut & ~_covered(table, pairs, taken)
    parts = left[pairs.one] & left[pairs.other] & pairs.joins
    root = components(len(table), pairs.one[parts], pairs.other[parts])
    used = taken | left
    number = np.full(len(table), -1, np.int32)
    roots = np.unique(root[used])
    number[used] = np.searchsorted(roots, root[used])
    label, score = _vote(table, number, len(roots), taken)
    rank = np.empty(len(roots), np.int64)
    # Of equal scores the first one wins.
    rank[np.lexsort((-np.arange(len(roots)), score))] = np.arange(len(roots))
    return Fusion(object_of=number, whole=taken, label=label, score=score, rank=rank)


def _take_whole(table: Table, pairs: Pairs, is_cut: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which detections (D,) show all of an object and are the best to do so."""
    taken = ~is_cut
    both = np.flatnonzero(taken[pairs.one] & taken[pairs.other] & _compete(table, pairs))
    member = np.concatenate([pairs.one[both], pairs.other[both]])
    order = np.argsort(member, kind="stable")
    rival = np.concatenate([pairs.other[both], pairs.one[both]])[order]
    common = np.tile(pairs.common[both], 2)[order]
    contested, begins = np.unique(member[order], return_index=True)
    ends = np.append(begins[1:], len(order))
    decided = np.zeros(len(table), np.bool_)
    for at in np.lexsort((contested, -table.score[contested], -table.depth[contested])).tolist():
        rivals = slice(int(begins[at]), int(ends[at]))
        number = int(contested[at])
        covered = common[rivals][decided[rival[rivals]]].sum()
        taken[number] = decided[number] = covered < COVERED * table.area[number]
    return taken


def _covered(table: Table, pairs: Pairs, taken: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which detections (D,) belong mostly to objects that are shown whole elsewhere."""
    competes = _compete(table, pairs)
    covered = np.zeros(len(table), np.int64)
    for member, rival in ((pairs.one, pairs.other), (pairs.other, pairs.one)):
        counts = competes & taken[rival]
        np.add.at(covered, member[counts], pairs.common[counts])
    mostly: NDArray[np.bool_] = covered >= COVERED * table.area
    return mostly


def _compete(table: Table, pairs: Pairs) -> NDArray[np.bool_]:
    """Pairs (P,) of which one may take the other's place: a pool in a garden does not take the garden's."""
    competes: NDArray[np.bool_] = pairs.alike | (table.label[pairs.one] == table.label[pairs.other])
    return competes


def _vote(
    table: Table, number: NDArray[np.int32], count: int, whole: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Class and score of objects: parts count by the pixels they give."""
    used = np.flatnonzero(number >= 0)
    member = number[used].astype(np.int64)
    weight = np.where(whole[used], table.area[used], table.own[used]).astype(np.float64)
    # An object none of whose parts gives a pixel will not be seen, but needs some class.
    weight = np.maximum(weight, 1e-6)
    total = np.bincount(member, weights=weight, minlength=count)
    score = np.bincount(member, weights=weight * table.score[used], minlength=count) / total
    keys, at = np.unique(member * 256 + table.label[used], return_inverse=True)
    votes = np.bincount(at, weights=weight * table.score[used], minlength=len(keys))
    owner, label = np.divmod(keys, 256)
    best = np.lexsort((-label, votes, owner))
    last = np.append(owner[best][1:] != owner[best][:-1], True)[: len(best)]
    return label[best][last].astype(np.uint8), score.astype(np.float32)
