"""Detections as blocks of the journal hold them: columns of numbers, then masks of one bit a pixel.

A mask is cut to the box of its pixels; packed and deflated it takes a few dozen bytes. The detections of a
block are in the order of its chips, then of the network's; nothing in them depends on which block it is.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from geoseg.render.grid import Chip

_COUNT = struct.Struct("<Q")
_TYPES = {
    "row": "<i4",
    "column": "<i4",
    "label": "u1",
    "score": "<f4",
    "top": "<i4",
    "left": "<i4",
    "height": "<i4",
    "width": "<i4",
}
_ROW_BYTES = sum(np.dtype(kind).itemsize for kind in _TYPES.values())


class Shown(Protocol):
    """What a network detects in a chip; :class:`geoseg.models.instances.DetectionArrays` is that."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """(D,) class ids."""

    @property
    def scores(self) -> NDArray[np.float32]:
        """(D,) 0 to 1."""

    @property
    def masks(self) -> Sequence[NDArray[np.bool_]]:
        """D masks (h, w)."""

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(D, 2) row and column in the chip of the first pixel of each mask."""


@dataclass(frozen=True, kw_only=True)
class PackedDetections:
    """What chips show: D detections.

    Attributes:
        row, column: (D,) int32 place of the chip in the grid.
        label: (D,) uint8 class id.
        score: (D,) float32.
        top, left, height, width: (D,) int32 box of the mask's pixels, in pixels of the chip.
        bits: (n,) uint8 masks, row by row, eight pixels a byte, each mask from a byte of its own.
    """

    row: NDArray[np.int32]
    column: NDArray[np.int32]
    label: NDArray[np.uint8]
    score: NDArray[np.float32]
    top: NDArray[np.int32]
    left: NDArray[np.int32]
    height: NDArray[np.int32]
    width: NDArray[np.int32]
    bits: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.row)

    @classmethod
    def of_chip(cls, chip: Chip, found: Shown, valid: NDArray[np.bool_]) -> PackedDetections:
        """Detections of one chip; pixels that are not valid are taken off, and detections without any left.

        Args:
            chip: which one.
            found: what was detected in it.
            valid: (S, S) of the chip.
        """
        rows: list[tuple[Any, ...]] = []
        bits: list[NDArray[np.uint8]] = []
        for index, mask in enumerate(found.masks):
            cut = _tight(mask, found.offsets[index].tolist(), valid)
            if cut is not None:
                top, left, pixels = cut
                rows.append((*chip, found.labels[index], found.scores[index], top, left, *pixels.shape))
                bits.append(np.packbits(pixels))
        columns = zip(*rows, strict=True) if rows else [()] * len(_TYPES)
        return cls(
            **{name: np.array(values, _TYPES[name]) for name, values in zip(_TYPES, columns, strict=True)},
            bits=np.concatenate([np.zeros(0, np.uint8), *bits]),
        )

    @classmethod
    def joined(cls, parts: Sequence[PackedDetections]) -> PackedDetections:
        """Several as one."""
        empty = {name: np.zeros(0, kind) for name, kind in (*_TYPES.items(), ("bits", "u1"))}
        return cls(
            **{
                name: np.concatenate([none, *(getattr(part, name) for part in parts)])
                for name, none in empty.items()
            }
        )

    def to_bytes(self) -> bytes:
        """The bytes of a block; :meth:`from_bytes` reads them back."""
        columns = [getattr(self, name).astype(kind).tobytes() for name, kind in _TYPES.items()]
        return b"".join([_COUNT.pack(len(self)), *columns, self.bits.tobytes()])

    @classmethod
    def from_bytes(cls, data: bytes, *, size_px: int) -> PackedDetections:
        """What :meth:`to_bytes` made.

        Args:
            data: perhaps of a stranger.
            size_px: side of a chip; no detection reaches beyond it.

        Raises:
            ValueError: the bytes are no detections.
        """
        if not data:
            return cls.joined(())
        if len(data) < _COUNT.size:
            raise ValueError("truncated detections")
        (count,) = _COUNT.unpack_from(data)
        at = _COUNT.size
        if count * _ROW_BYTES > len(data) - at:
            raise ValueError("truncated detections")
        columns = {}
        for name, kind in _TYPES.items():
            columns[name] = np.frombuffer(data, kind, count, at)
            at += columns[name].nbytes
        found = cls(**columns, bits=np.frombuffer(data, np.uint8, offset=at))
        found._check(size_px)
        return found

    def _check(self, size_px: int) -> None:
        inside = (self.top >= 0) & (self.left >= 0) & (self.height > 0) & (self.width > 0)
        # Compared apart: sums of what a stranger wrote may overflow.
        inside &= (self.height <= size_px) & (self.width <= size_px)
        inside &= (self.top <= size_px - self.height) & (self.left <= size_px - self.width)
        if not inside.all() or not ((self.score >= 0) & (self.score <= 1)).all():
            raise ValueError("damaged detections")
        if self.offsets()[-1] != len(self.bits):
            raise ValueError("masks that do not fit their boxes")

    def offsets(self) -> NDArray[np.int64]:
        """(D + 1,) where each mask begins in ``bits``."""
        lengths = -(-self.height.astype(np.int64) * self.width // 8)
        return np.concatenate([[0], np.cumsum(lengths)])

    def only(self, chosen: NDArray[np.int64]) -> PackedDetections:
        """The chosen ones (n,), in this order."""
        offsets = self.offsets()
        pieces = [self.bits[offsets[i] : offsets[i + 1]] for i in chosen.tolist()]
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "bits"}
        return PackedDetections(
            **{name: values[chosen] for name, values in columns.items()},
            bits=np.concatenate([np.zeros(0, np.uint8), *pieces]),
        )


def _tight(
    mask: NDArray[np.bool_], corner: Sequence[int], valid: NDArray[np.bool_]
) -> tuple[int, int, NDArray[np.bool_]] | None:
    """Row, column and pixels of what is valid of a mask, cut to the box of its pixels."""
    top, left = max(corner[0], 0), max(corner[1], 0)
    shown = mask[top - corner[0] :, left - corner[1] :]
    here = valid[top : top + shown.shape[0], left : left + shown.shape[1]]
    pixels = shown[: here.shape[0], : here.shape[1]] & here
    rows, columns = np.flatnonzero(pixels.any(axis=1)), np.flatnonzero(pixels.any(axis=0))
    if not len(rows):
        return None
    box = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return top + int(rows[0]), left + int(columns[0]), box
