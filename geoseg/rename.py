"""Renames that nothing comes between: neither Ctrl-C nor a moment in which there is no output."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hold signals back that would raise an exception in the block; they are heard at its end.

    In another thread than the main one none arrive anyway.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before: dict[int, Any] = {}

    def hold(number: int, _frame: FrameType | None) -> None:
        held.append(number)

    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGXCPU"):
            number = getattr(signal, name, None)
            if number is not None and callable(signal.getsignal(number)):
                before[number] = signal.getsignal(number)
                signal.signal(number, hold)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if held:
            signal.raise_signal(held[0])


def swap(new: Path, path: Path, *, aside: Path) -> None:
    """Put the folder ``new`` where the folder ``path`` is; the latter ends as ``new`` or as ``aside``.

    Linux does it at one stroke. Elsewhere there is a moment without ``path``.
    """
    if _exchange(new, path):
        return
    path.rename(aside)
    try:
        new.rename(path)
    except BaseException:
        aside.rename(path)
        raise


def _exchange(one: Path, other: Path) -> bool:
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):  # not Linux, or an old one
        return False
    paths = os.fsencode(one), os.fsencode(other)
    return bool(renameat2(_AT_FDCWD, paths[0], _AT_FDCWD, paths[1], _RENAME_EXCHANGE) == 0)
