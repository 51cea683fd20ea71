"""The structs by which libraries of one process hand each other columns, as ctypes.

They, and the rules of who frees what, are those of https://arrow.apache.org/docs/format/CDataInterface.html
and CStreamInterface.html. A struct made here keeps what it points to until it is released, by whoever got it.
"""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NULLABLE = 2


class Schema(ctypes.Structure):
    """``ArrowSchema``."""


class Array(ctypes.Structure):
    """``ArrowArray``."""


class Stream(ctypes.Structure):
    """``ArrowArrayStream``."""


_ReleaseSchema = ctypes.CFUNCTYPE(None, ctypes.POINTER(Schema))
_ReleaseArray = ctypes.CFUNCTYPE(None, ctypes.POINTER(Array))
_ReleaseStream = ctypes.CFUNCTYPE(None, ctypes.POINTER(Stream))
GetSchema = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Stream), ctypes.POINTER(Schema))
GetNext = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Stream), ctypes.POINTER(Array))

Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_char_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(Schema))),
    ("dictionary", ctypes.POINTER(Schema)),
    ("release", _ReleaseSchema),
    ("private_data", ctypes.c_void_p),
]
Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(Array))),
    ("dictionary", ctypes.POINTER(Array)),
    ("release", _ReleaseArray),
    ("private_data", ctypes.c_void_p),
]
Stream._fields_ = [
    ("get_schema", GetSchema),
    ("get_next", GetNext),
    ("get_last_error", ctypes.c_void_p),
    ("release", _ReleaseStream),
    ("private_data", ctypes.c_void_p),
]

_keys = itertools.count(1)
_kept: dict[int, object] = {}
"""What structs point to, until they are released; their ``private_data`` is the key."""


def _keep(*things: object) -> int:
    key = next(_keys)
    _kept[key] = things
    return key


def _release_parent(pointer: Any) -> None:
    parent = pointer.contents
    for index in range(parent.n_children):
        release(parent.children[index].contents)
    _kept.pop(parent.private_data)
    # A null function: released.
    parent.release = type(parent.release)()


def release(struct: Any) -> None:
    """Release a struct, unless that was done, or a consumer took what it holds and marked it as released."""
    if struct.release:
        struct.release(ctypes.byref(struct))


def _release_stream(pointer: Any) -> None:
    pointer.contents.release = _ReleaseStream()
    # The struct itself may go with it.
    _kept.pop(pointer.contents.private_data)


# C calls them as long as the process runs.
_schema_releaser, _array_releaser = _ReleaseSchema(_release_parent), _ReleaseArray(_release_parent)
_stream_releaser = _ReleaseStream(_release_stream)
# What an error was, is not told.
_no_words = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(Stream))(lambda _: None)


def make_schema(format_: str, name: str, extension: str | None, children: Sequence[Schema] = ()) -> Schema:
    """A schema of one column, or with children of rows.

    Args:
        format_: Arrow's letters for the type.
        name: of the column.
        extension: what its bytes mean, such as ``ogc.wkb``.
        children: the columns of rows.
    """
    texts = (format_.encode(), name.encode(), _metadata(extension))
    links = (ctypes.POINTER(Schema) * len(children))(*map(ctypes.pointer, children))
    made = Schema(*texts, _NULLABLE, len(children), links, None, _schema_releaser)
    made.private_data = _keep(texts, children, links)
    return made


def _metadata(extension: str | None) -> bytes | None:
    """Number of pairs; of each the lengths and bytes of key and value; integers as the machine has them."""
    if extension is None:
        return None
    texts = (b"ARROW:extension:name", extension.encode(), b"ARROW:extension:metadata", b"")
    return np.int32(2).tobytes() + b"".join(np.int32(len(text)).tobytes() + text for text in texts)


def make_array(
    length: int, buffers: Sequence[NDArray[Any] | None], null_count: int, children: Sequence[Array] = ()
) -> Array:
    """Values of one column, or with children of rows, which read the buffers in place."""
    addresses = (None if buffer is None else buffer.ctypes.data for buffer in buffers)
    pointers = (ctypes.c_void_p * len(buffers))(*addresses)
    links = (ctypes.POINTER(Array) * len(children))(*map(ctypes.pointer, children))
    sizes = (length, null_count, 0, len(buffers), len(children))
    made = Array(*sizes, pointers, links, None, _array_releaser)
    made.private_data = _keep(buffers, pointers, children, links)
    return made


_CAPSULE_NAME = b"arrow_array_stream"
_new_capsule = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)


def make_capsule(get_schema: Any, get_next: Any) -> object:
    """A capsule of the Arrow PyCapsule interface with a stream of these two functions.

    It has no destructor, which would be Python code that runs while an error is on its way: whoever gets the
    capsule has to release the stream in it, as pyogrio does whatever happens.
    """
    stream = Stream(get_schema, get_next, ctypes.cast(_no_words, ctypes.c_void_p), _stream_releaser)
    stream.private_data = _keep(get_schema, get_next, stream)
    return _new_capsule(ctypes.addressof(stream), _CAPSULE_NAME, None)
