"""Run lengths of masks as COCO writes them: column by column, the first run is of zeros.

Uncompressed they are a list of numbers. Compressed they are text: every run less the last one of its kind, in
groups of five bits, each with a sixth that says whether more follow, as the characters from ``0`` on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ZERO = 48
_GROUPS = 13
"""Groups of five bits in the longest number read: more than any run that fits into an image has."""


def encode(mask: NDArray[np.bool_]) -> list[int]:
    """Runs of a mask (H, W): zeros, ones, zeros, ... in turn; the first may be 0 long."""
    flat = mask.ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs: list[int] = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *runs] if flat.size and flat[0] else runs


def decode(runs: Sequence[int] | NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask (H, W) of runs.

    Raises:
        ValueError: their sum is not that of the pixels. Nothing large was made by then.
    """
    lengths, (height, width) = np.asarray(runs, np.int64), shape
    check(lengths, shape)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T


def check(runs: NDArray[np.int64], shape: tuple[int, int]) -> None:
    """Make sure that runs are those of a mask of ``shape``.

    Raises:
        ValueError: they are not.
    """
    pixels = shape[0] * shape[1]
    # Each one first: a sum of many huge ones could come round to the right number.
    if len(runs) and (runs.min() < 0 or runs.max() > pixels):
        raise ValueError(f"a run of {int(runs.max() if runs.min() >= 0 else runs.min())} pixels")
    if int(runs.sum()) != pixels:
        raise ValueError(f"runs of {int(runs.sum())} pixels in all, not {shape[1]} x {shape[0]}")


def compress(runs: Sequence[int]) -> str:
    """Runs as text."""
    text = []
    for at, run in enumerate(runs):
        value, more = run - (runs[at - 2] if at > 2 else 0), True
        while more:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            text.append(chr(_ZERO + (group | 32 if more else group)))
    return "".join(text)


def decompress(text: str) -> list[int]:
    """Runs of a text; :func:`check` tells whether they make sense.

    Raises:
        ValueError: it is not such a text.
    """
    runs: list[int] = []
    value = groups = 0
    for sign in text:
        group = ord(sign) - _ZERO
        if not 0 <= group < 64 or groups == _GROUPS:
            raise ValueError("its runs are no compressed text")
        value |= (group & 31) << 5 * groups
        groups += 1
        if group & 32:
            continue
        if group & 16:
            value -= 1 << 5 * groups
        value += runs[-2] if len(runs) > 2 else 0
        if not 0 <= value < 2**62:
            raise ValueError("its runs are no compressed text")
        runs.append(value)
        value = groups = 0
    if groups:
        raise ValueError("its text ends within a run")
    return runs
