"""Where the chips of a scene lie: blocks first, then chips inside each block.

Blocks tile the scene. Chips overlap within a block and never leave it, so however blocks are given to splits,
no pixel is in two of them. Both are products of a row axis and a column axis.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from geoseg.raster.windows import cover

_BLOCKS_WANTED = 60
"""Blocks an automatic block size aims at: enough to meet shares of 15 % within a few percent."""

_BLOCKS_TOO_FEW = 12


@dataclass(frozen=True, kw_only=True)
class Span:
    """One chip along one axis, in pixels.

    Attributes:
        offset: first pixel of the chip.
        own: (start, stop) of the pixels no span before it covers; the own parts of all spans tile the axis.
        block: number of the block it lies in.
    """

    offset: int
    own: tuple[int, int]
    block: int


def block_spans(length: int, size_px: int, block_px: int | None) -> list[tuple[int, int]]:
    """(start, stop) of the blocks along an axis: near ``block_px`` long, never shorter than a chip.

    Args:
        length: pixels of the scene along the axis.
        size_px: side of the chips. A length below it is one block.
        block_px: wanted length; ``None`` makes the whole axis one block.
    """
    wanted = 1 if block_px is None else round(length / block_px)
    count = max(1, min(wanted, length // size_px))
    borders = [length * i // count for i in range(count + 1)]
    return list(itertools.pairwise(borders))


def chip_spans(length: int, size_px: int, overlap_px: int, block_px: int | None) -> list[Span]:
    """Chips along an axis, block by block; they cover every pixel and cross no block border."""
    spans = []
    for block, (start, stop) in enumerate(block_spans(length, size_px, block_px)):
        reached = start
        for offset in cover(stop - start, size_px, size_px - overlap_px):
            end = min(start + offset + size_px, stop)
            spans.append(Span(offset=start + offset, own=(reached, end), block=block))
            reached = end
    return spans


def choose_block_px(shapes: Sequence[tuple[int, int]], size_px: int) -> int:
    """Block size that cuts scenes of these (height, width) into about 60 blocks, if chips fit into them."""
    pixels = sum(height * width for height, width in shapes)
    return max(size_px, round(math.sqrt(pixels / _BLOCKS_WANTED)))


def finer_block_px(block_px: int, labelled_blocks: int, size_px: int) -> int | None:
    """A smaller block size when labels turned out to lie in few of the blocks; ``None`` when it is fine.

    Labels of a corner of a large scene would otherwise all be in one block, and one split.
    """
    if not 0 < labelled_blocks < _BLOCKS_TOO_FEW:
        return None
    finer_px = max(size_px, round(block_px * math.sqrt(labelled_blocks / _BLOCKS_WANTED)))
    return finer_px if finer_px < 0.8 * block_px else None
