"""Label rasters for tests: cut into bands, flooded one pixel at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.vector.corners import Band
from geoseg.vector.outlines import Outlines
from geoseg.vector.trace import trace

BESIDE = ((-1, 0), (0, -1), (0, 1), (1, 0))
AROUND = (*BESIDE, (-1, -1), (-1, 1), (1, -1), (1, 1))


def bands(labels: NDArray[Any], rows: int, values: NDArray[np.float32] | None = None) -> Iterator[Band]:
    """``labels`` (H, W) cut every ``rows`` rows."""
    for top in range(0, len(labels), rows):
        own = labels[top : top + rows]
        above = labels[top - 1 : top] if top else own[:1]
        yield Band(
            labels=np.concatenate([above, own]),
            top=top,
            height=len(labels),
            values=None if values is None else values[top : top + rows],
        )


def traced(labels: NDArray[Any], rows: int = 1000, **options: Any) -> list[Outlines]:
    """Outlines of ``labels`` cut every ``rows`` rows."""
    return list(trace(bands(labels, rows), **options))


def flood(
    labels: NDArray[Any], neighbours: tuple[tuple[int, int], ...] = BESIDE
) -> tuple[NDArray[np.int64], int]:
    """Number regions from 0 in row-major order of their first pixels, one pixel at a time; their number."""
    numbers = np.full(labels.shape, -1)
    count = 0
    for start in np.ndindex(*labels.shape):
        if numbers[start] >= 0:
            continue
        numbers[start] = count
        queue = deque([start])
        while queue:
            row, col = queue.popleft()
            for down, right in neighbours:
                near = (row + down, col + right)
                inside = 0 <= near[0] < labels.shape[0] and 0 <= near[1] < labels.shape[1]
                if inside and numbers[near] < 0 and labels[near] == labels[start]:
                    numbers[near] = count
                    queue.append(near)
        count += 1
    return numbers, count
