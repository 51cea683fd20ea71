"""Columns in batches, for GDAL and others to read in place: an Arrow stream, made without pyarrow."""

from __future__ import annotations

import contextlib
import ctypes
import errno
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.vector import arrow_abi

STRING = "U"
BINARY = "Z"
_NUMBERS = {"b1": "b", "u1": "C", "i2": "s", "i4": "i", "i8": "l", "f4": "f", "f8": "g"}
_ROWS = "+s"


def format_of(dtype: np.dtype[Any]) -> str:
    """Arrow's letter for a type of number or bool.

    Raises:
        ValueError: there is none here.
    """
    letter = _NUMBERS.get(dtype.str[1:])
    if letter is None:
        raise ValueError(f"no column can be of type {dtype}")
    return letter


@dataclass(frozen=True, kw_only=True)
class Field:
    """What a column is in all batches.

    Attributes:
        name: its name.
        format: Arrow's letter for its type.
        extension: what its bytes mean, such as ``ogc.wkb``; ``None`` for plain columns.
    """

    name: str
    format: str
    extension: str | None = None


@dataclass(frozen=True, kw_only=True)
class Column:
    """Values of one field in one batch.

    Attributes:
        buffers: as Arrow lays the type out: which values there are (a bit each; ``None`` for all of them),
            then the values, or for texts and bytes their (N + 1,) int64 offsets and the bytes pointed to.
        null_count: how many values there are not.
    """

    buffers: tuple[NDArray[Any] | None, ...]
    null_count: int = 0


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Rows: ``columns`` for all fields, each of ``length`` values."""

    length: int
    columns: tuple[Column, ...]


def numbers(values: NDArray[Any]) -> Column:
    """A column of numbers or bools, (N,); not-a-number becomes null."""
    if values.dtype == np.bool_:
        return Column(buffers=(None, np.packbits(values, bitorder="little")))
    values = np.ascontiguousarray(values)
    if values.dtype.kind == "f" and (missing := np.isnan(values)).any():
        present = np.packbits(~missing, bitorder="little")
        return Column(buffers=(present, values), null_count=int(missing.sum()))
    return Column(buffers=(None, values))


def strings(values: Sequence[str] | NDArray[np.object_]) -> Column:
    """A column of texts, (N,)."""
    encoded = [text.encode() for text in values]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
    return binary(np.frombuffer(b"".join(encoded), np.uint8), offsets)


def binary(data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> Column:
    """A column of bytes: the N pieces of ``data`` that (N + 1,) offsets cut out."""
    return Column(buffers=(None, np.ascontiguousarray(offsets, np.int64), np.ascontiguousarray(data)))


@contextlib.contextmanager
def exported(fields: Sequence[Field], batch: Batch) -> Iterator[tuple[Any, Any]]:
    """Pointers to ``ArrowSchema`` and ``ArrowArray``, as C functions take them, while the block runs."""
    schema, array = _schema(fields), _array(batch)
    try:
        yield ctypes.byref(schema), ctypes.byref(array)
    finally:
        arrow_abi.release(array)
        arrow_abi.release(schema)


class Stream:
    """Batches as an object that consumers of Arrow take: it has ``__arrow_c_stream__``.

    Batches are asked of an iterator when the consumer wants them, in the thread of the consumer. When the
    iterator raises, the consumer is told of an error, and ``error`` is what was raised.
    """

    def __init__(self, fields: Sequence[Field], batches: Iterator[Batch]) -> None:
        """A stream of ``batches``, all with columns for ``fields``; it can be consumed once."""
        self.error: BaseException | None = None
        self._fields = tuple(fields)
        self._batches = batches

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """A capsule with the stream; a requested schema is not heeded, as the protocol allows."""
        return arrow_abi.make_capsule(
            arrow_abi.GetSchema(lambda _, out: self._hand_over(lambda: _schema(self._fields), out)),
            arrow_abi.GetNext(lambda _, out: self._hand_over(self._next, out)),
        )

    def _next(self) -> ctypes.Structure:
        batch = next(self._batches, None)
        # An array that says of itself that it is released ends the stream.
        return arrow_abi.Array() if batch is None else _array(batch)

    def _hand_over(self, make: Callable[[], ctypes.Structure], out: Any) -> int:
        try:
            made = make()
        except BaseException as error:  # ctypes would print it and report success
            self.error = error
            return errno.EIO
        ctypes.memmove(out, ctypes.addressof(made), ctypes.sizeof(made))
        return 0


def _schema(fields: Sequence[Field]) -> arrow_abi.Schema:
    children = [arrow_abi.make_schema(field.format, field.name, field.extension) for field in fields]
    return arrow_abi.make_schema(_ROWS, "", None, children)


def _array(batch: Batch) -> arrow_abi.Array:
    children = [
        arrow_abi.make_array(batch.length, column.buffers, column.null_count) for column in batch.columns
    ]
    return arrow_abi.make_array(batch.length, (None,), 0, children)
