"""The only place that writes to the terminal: data to stdout, everything for people to stderr."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TextIO, cast

from geoseg.errors import WriteError
from geoseg.raster.remote import without_secrets

if TYPE_CHECKING:
    from rich.console import Console

# Control, format (bidirectional overrides, zero width), surrogate, line and paragraph separator.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}

_WIDE = 200
"""Columns of a log file: rich takes 80 when it is no terminal, and would fold paths."""


def replace_closed_streams() -> None:
    """Give a process started without stdout or stderr (``>&-``) one that leads nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123


def one_line(text: str) -> str:
    """``text`` with everything a terminal could act on, or a reader could not see, escaped.

    Passwords in addresses are taken out: what a library says may hold one.
    """
    return "".join(
        sign.encode("unicode_escape").decode() if unicodedata.category(sign) in _UNSAFE else sign
        for sign in without_secrets(text)
    )


def say(text: str) -> None:
    """Write one line for people to stderr; a stderr that is gone is no reason to fail."""
    _write_line(sys.stderr, one_line(text))


def say_text(text: str) -> None:
    """Write text of several lines, such as a traceback, to stderr."""
    for line in text.rstrip("\n").split("\n"):
        _write_line(sys.stderr, one_line(line))


def _write_line(stream: TextIO, line: str) -> None:
    try:
        stream.write(line + "\n")
        stream.flush()
    except UnicodeEncodeError:
        stream.write(line.encode("ascii", "backslashreplace").decode() + "\n")
        stream.flush()
    except (OSError, ValueError):
        _nobody_reads(stream)


def _nobody_reads(stream: TextIO) -> None:
    """The reader is gone, the disk of the log is full, or it was closed: what comes now leads nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        # What is still buffered would be complained about when Python exits.
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class _Patient:
    """A stream for rich, where what cannot be written is no reason to fail."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError):
            _nobody_reads(self._stream)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError):
            _nobody_reads(self._stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def emit(text: str) -> None:
    """Write data to stdout.

    Raises:
        SystemExit: 1, quietly, when nobody reads any more (``geoseg ... | head -1``).
        WriteError: it leads to a full disk.
    """
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _nobody_reads(sys.stdout)
        raise SystemExit(1) from None
    except OSError as error:
        _nobody_reads(sys.stdout)
        reason = (error.strerror or str(error)).lower()
        raise WriteError(f"writing to stdout failed: {reason}; make room where it leads to") from error


def emit_json(values: Mapping[str, Any]) -> None:
    """Write one JSON object to stdout; numbers that JSON does not know become ``null``."""
    emit(json.dumps(_plain(values), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    # numpy's numbers know how to become Python's; the rest, such as paths, is text.
    return _plain(value.item()) if hasattr(value, "item") else without_secrets(str(value))


def is_live() -> bool:
    """Whether stderr is a terminal that can redraw a line."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def console(*, stderr: bool = True) -> Console:
    """A rich console that never highlights by itself; it honours ``NO_COLOR``."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    file = cast(TextIO, _Patient(stream)) if stderr else stream
    return Console(file=file, highlight=False, width=None if stream.isatty() else _WIDE)


def clock(seconds: float) -> str:
    """``0:41`` or ``1:02:03``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
