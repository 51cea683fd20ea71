"""Which pixels hang together: runs of equal labels in the rows of a raster, joined to 4-connected regions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ROWS_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Runs of equal labels in the rows of a raster, in row-major order, and where they touch.

    Attributes:
        label: (N,) as the raster has it.
        start: (N,) flat index of the first pixel.
        length: (N,) pixels.
        row: (N,) row each lies in.
        above: (P,) a run; ``below``: another that lies under or after it; ``border``: pixel edges they share.
        region: (N,) 4-connected region of each run; regions count from 0 in row-major order of first pixels.
    """

    label: NDArray[Any]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    row: NDArray[np.int64]
    above: NDArray[np.int64]
    below: NDArray[np.int64]
    border: NDArray[np.int64]
    region: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[Any]) -> Runs:
        """Runs of a raster (H, W)."""
        width = labels.shape[1]
        begins = np.ones(labels.shape, np.bool_)
        np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
        start = np.flatnonzero(begins)
        label, row = labels.ravel()[start], start // width
        above, below, border = _touching(begins, start)
        same = label[above] == label[below]
        roots = components(len(start), above[same], below[same])
        return cls(
            label=label,
            start=start,
            length=np.diff(np.append(start, labels.size)),
            row=row,
            above=above,
            below=below,
            border=border,
            # A root is its region's first run.
            region=np.cumsum(roots == np.arange(len(roots)))[roots] - 1,
        )

    @property
    def first_run(self) -> NDArray[np.int64]:
        """First run of each region, (R,)."""
        return np.unique(self.region, return_index=True)[1]


def _touching(
    begins: NDArray[np.bool_], start: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of runs that share pixel edges, and how many."""
    height, width = begins.shape
    row = start // width
    beside = np.flatnonzero(row[1:] == row[:-1])
    pairs = [(beside, beside + 1, np.ones(len(beside), np.int64))]
    for top in range(0, height - 1, _ROWS_AT_ONCE):
        rows = begins[top : top + _ROWS_AT_ONCE + 1]
        run = np.cumsum(rows.ravel()).reshape(rows.shape) + (np.searchsorted(start, top * width) - 1)
        pieces = np.flatnonzero(rows[:-1] | rows[1:])
        border = np.diff(np.append(pieces, rows[1:].size))
        pairs.append((run[:-1].ravel()[pieces], run[1:].ravel()[pieces], border))
    above, below, border = (np.concatenate(column) for column in zip(*pairs, strict=True))
    return above, below, border


def components(count: int, first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.int64]:
    """Smallest member of the connected component of each of ``count`` things joined by pairs, (count,)."""
    root = np.arange(count)
    while True:
        first, second = root[first], root[second]
        differ = first != second
        if not differ.any():
            return root
        first, second = first[differ], second[differ]
        # Roots hang themselves under smaller roots, so there are no circles; then all paths are cut short.
        np.minimum.at(root, np.maximum(first, second), np.minimum(first, second))
        while not np.array_equal(root, shorter := root[root]):
            root = shorter
