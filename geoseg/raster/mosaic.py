"""Blends the probabilities of overlapping chips into one seamless scene, row by row.

Neighbouring chips disagree most near their edges, where the network sees least context. So each chip is
weighted by a taper that falls linearly towards its edges over the overlap, and a pixel's probabilities are
the weighted mean over the chips that cover it. Only rows that a later chip can still touch stay in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import IGNORE
from geoseg.raster.windows import clip, slices_within

_ROWS_AT_ONCE = 64
"""Rows whose winners are found together; few enough to stay in the processor's cache."""

FinishedRows = tuple[int, NDArray[np.uint8], NDArray[np.float32]]
"""First row, class ids (rows, W), their probabilities (rows, W)."""


def taper(size_px: int, overlap_px: int) -> NDArray[np.float32]:
    """Weights (size_px,) of a chip's pixels along one axis: 1 inside, a linear ramp over the overlap.

    Never 0: the outermost pixel of a scene is covered by a chip's outermost pixel alone.
    """
    from_edge = np.minimum(np.arange(size_px), np.arange(size_px)[::-1]) + 0.5
    return np.minimum(1.0, from_edge / max(overlap_px, 1)).astype(np.float32)


class Mosaic:
    """Takes chips in row-major order, gives finished rows.

    ::

        for window in chip_windows(shape, size_px, overlap_px):
            mosaic.add(window, probabilities)
            for row_off, winner, confidence in mosaic.release_before(window.row_off):
                ...
        for row_off, winner, confidence in mosaic.release_before(None):
            ...

    Chips may be left out (those without any valid pixel). Memory is (K + 1) x size_px x W float32, whatever
    the scene's height.
    """

    def __init__(self, shape: tuple[int, int], classes: int, size_px: int, overlap_px: int) -> None:
        """Start with no chip added.

        Args:
            shape: (H, W) of the scene in pixels.
            classes: number of classes K.
            size_px: side of the chips.
            overlap_px: overlap of neighbouring chips, below ``size_px``.
        """
        self.shape = shape
        height, width = shape
        rows = min(size_px, height)
        ramp = taper(size_px, overlap_px)
        self._chip_weights = np.outer(ramp, ramp)
        self._sums = np.zeros((classes, rows, width), np.float32)
        self._weights = np.zeros((rows, width), np.float32)
        self._top = 0
        self._finished: list[FinishedRows] = []

    def add(self, window: Window, probabilities: NDArray[np.float32]) -> None:
        """Add a chip.

        Args:
            window: one of :func:`geoseg.raster.windows.chip_windows`, not above the one added before.
            probabilities: (K, size_px, size_px) float32, also where the window reaches beyond the scene.

        Raises:
            ValueError: rows of the window are finished already, or ``probabilities`` has another shape.
        """
        chip_shape = (len(self._sums), *self._chip_weights.shape)
        if probabilities.shape != chip_shape or (window.height, window.width) != chip_shape[1:]:
            raise ValueError(f"chip {probabilities.shape} for {window}; expected {chip_shape}")
        if window.row_off < self._top:
            raise ValueError(f"chip {window} comes after rows above {self._top} were finished")
        self._finish_above(window.row_off)
        inside = clip(window, self.shape)
        if inside is None:
            return
        rows, cols = slices_within(inside, window)
        here = slice(inside.row_off - self._top, inside.row_off - self._top + inside.height)
        there = slice(inside.col_off, inside.col_off + inside.width)
        weights = self._chip_weights[rows, cols]
        self._weights[here, there] += weights
        for total, probability in zip(self._sums, probabilities, strict=True):
            total[here, there] += probability[rows, cols] * weights

    def release_before(self, row: int | None) -> Iterator[FinishedRows]:
        """Rows above ``row`` that were not released yet, top to bottom; all that are left for ``None``.

        Chips added later must not reach above ``row``.

        Yields:
            ``row_off``, then ``winner`` (rows, W) uint8: the class with the highest blended probability, the
            lowest id in a tie, 255 where no chip was added; and ``confidence`` (rows, W) float32: that
            probability, 0 where none.
        """
        self._finish_above(self.shape[0] if row is None else row)
        finished, self._finished = self._finished, []
        yield from finished

    def _finish_above(self, row: int) -> None:
        while self._top < row:
            count = min(row - self._top, self._weights.shape[0])
            self._finished.append((self._top, *self._decide(count)))
            for plane in (*self._sums, self._weights):
                plane[: len(plane) - count] = plane[count:]
                plane[len(plane) - count :] = 0.0
            self._top += count

    def _decide(self, rows: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        winner = np.zeros((rows, self.shape[1]), np.uint8)
        best = self._sums[0, :rows].copy()
        for start in range(0, rows, _ROWS_AT_ONCE):
            part = slice(start, min(start + _ROWS_AT_ONCE, rows))
            # A running maximum: argmax over the class axis is several times slower.
            for class_id in range(1, len(self._sums)):
                challenger = self._sums[class_id, part]
                better = challenger > best[part]
                np.copyto(winner[part], class_id, where=better, casting="unsafe")
                np.copyto(best[part], challenger, where=better)
        weights = self._weights[:rows]
        unknown = weights == 0.0
        winner[unknown] = IGNORE
        confidence = np.divide(best, weights, out=np.zeros_like(best), where=~unknown)
        return winner, np.minimum(confidence, np.float32(1.0))
