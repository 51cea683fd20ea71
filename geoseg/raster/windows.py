"""Windows in pixels: how a raster is cut so that every pixel is covered."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from rasterio.windows import Window


def cover(length: int, size: int, stride: int) -> list[int]:
    """Offsets of spans of ``size`` pixels, ``stride`` apart, that cover ``length`` pixels.

    The last span is shifted inwards to end at the end. A length up to ``size`` gives ``[0]``.

    Raises:
        ValueError: a length is not positive, or ``stride`` is above ``size`` and would leave gaps.
    """
    if length < 1 or size < 1 or not 1 <= stride <= size:
        raise ValueError(f"cannot cover {length} pixels by {size} with stride {stride}")
    if length <= size:
        return [0]
    offsets = list(range(0, length - size, stride))
    return [*offsets, length - size]


def row_windows(shape: tuple[int, int], rows: int) -> Iterator[Window]:
    """Full-width windows of up to ``rows`` rows, top to bottom."""
    height, width = shape
    for row in range(0, height, rows):
        yield Window(0, row, width, min(rows, height - row))


def block_windows(shape: tuple[int, int], size_px: int) -> Iterator[Window]:
    """Windows of up to ``size_px`` squared that tile a raster without overlap, in row-major order."""
    height, width = shape
    for row in range(0, height, size_px):
        for col in range(0, width, size_px):
            yield Window(col, row, min(size_px, width - col), min(size_px, height - row))


MOST_PX = 2**28
"""As many pixels are read in one call into GDAL, which nothing interrupts; some seconds of work."""


def strips(window: Window, shape: tuple[int, int], block_rows: int) -> Iterator[tuple[slice, Window]]:
    """Rows of a shrunk copy of ``window``, and the part of the window that they are made of.

    Args:
        window: in pixels; its edges may lie within some.
        shape: (h, w) of the copy.
        block_rows: of the file, which decodes blocks on an edge of two strips twice: strips are of eight
            rows of blocks or more.
    """
    each = max(MOST_PX // max(1, int(window.width)), 8 * block_rows)
    count = min(shape[0], -(-int(window.height) // each)) or 1
    edges = [shape[0] * number // count for number in range(count + 1)]
    step = window.height / shape[0]
    for top, bottom in itertools.pairwise(edges):
        part = Window(window.col_off, window.row_off + top * step, window.width, (bottom - top) * step)
        yield slice(top, bottom), window if count == 1 else part


def clip(window: Window, shape: tuple[int, int]) -> Window | None:
    """The part of ``window`` inside a raster of ``shape``, or ``None`` when there is none."""
    height, width = shape
    top, left = max(0, window.row_off), max(0, window.col_off)
    bottom = min(height, window.row_off + window.height)
    right = min(width, window.col_off + window.width)
    if bottom <= top or right <= left:
        return None
    return Window(left, top, right - left, bottom - top)


def overlap(one: Window, other: Window) -> Window | None:
    """The part that two windows share, or ``None`` when there is none."""
    top, left = max(one.row_off, other.row_off), max(one.col_off, other.col_off)
    bottom = min(one.row_off + one.height, other.row_off + other.height)
    right = min(one.col_off + one.width, other.col_off + other.width)
    return None if bottom <= top or right <= left else Window(left, top, right - left, bottom - top)


def slices_within(part: Window, whole: Window) -> tuple[slice, slice]:
    """(rows, columns) of an array read for ``whole`` that ``part``, which lies inside it, takes."""
    row, col = part.row_off - whole.row_off, part.col_off - whole.col_off
    return slice(row, row + part.height), slice(col, col + part.width)


def show(window: Window) -> str:
    """A window for messages."""
    return f"columns {window.col_off}..{window.col_off + window.width - 1}, " + (
        f"rows {window.row_off}..{window.row_off + window.height - 1}"
    )
