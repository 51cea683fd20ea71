"""Runs geoseg on hostile files and sees what it does besides: files opened, requests, processes, memory.

GDAL, PROJ and SQLite open files past Python, so audit hooks alone see little. A folder of canaries is
watched by the kernel (inotify), and a listening socket counts whoever calls. The processes are those of
``faults.py``.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from faults import SUFFIX, Ended, Job, Launcher
from hostile_audit import is_fine

PEAK_MB = 1200
"""Most memory that any try may take on top of what it begins with."""

PATIENCE_S = 60.0
"""After this time a try is told to end."""

_LINE = re.compile(r"geoseg: error: [^\n]+; [^\n]+|geoseg: error: [^\n]+")
_CANARY_EVENTS = (
    0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200
)  # read, written, opened, made, ...
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/\S+\n")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_MODULES = (
    "geopandas", "geoseg.doctor", "geoseg.info", "onnx", "pyarrow.parquet", "pyproj", "rich.progress",
    "rich.table",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What came of a try.

    Attributes:
        outcome: ``done``; ``error``, one clear line; ``stopped``: at work when told to end, which it did and
            left nothing; ``neither``.
        wrongs: what it did that it must not, in words; empty when all is well.
        line: the last line on stderr.
        peak_mb: most memory that it held beyond what it began with.
        seconds: how long it took.
    """

    outcome: str
    wrongs: tuple[str, ...]
    line: str
    peak_mb: int
    seconds: float


class Canaries:
    """A folder that no try may touch, and a server that none may ask; use it in a ``with`` block.

    Attributes:
        folder: where what must not be touched lies.
        url: of the server.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare; ``folder`` is made."""
        self.folder = folder
        folder.mkdir(parents=True)
        self._libc = ctypes.CDLL(None, use_errno=True)

    def __enter__(self) -> Self:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.setblocking(False)
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._eyes = self._libc.inotify_init1(os.O_NONBLOCK)
        self._libc.inotify_add_watch(self._eyes, os.fsencode(self.folder), _CANARY_EVENTS)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        os.close(self._eyes)

    def calls(self) -> int:
        """How often somebody called since the last look."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self._server.accept()[0].close()
                count += 1
        return count

    def touched(self) -> set[str]:
        """Names of what was opened, read, made or changed since the last look."""
        found = set()
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._eyes, 65536):
                at = 0
                while at < len(data):
                    length = int.from_bytes(data[at + 12 : at + 16], sys.byteorder)
                    found.add(os.fsdecode(data[at + 16 : at + 16 + length].rstrip(b"\0")) or ".")
                    at += 16 + length
        return found


class Watch:
    """Tries geoseg; use it in a ``with`` block.

    Attributes:
        canaries: what no try may touch or ask.
    """

    def __init__(self, folder: Path) -> None:
        """Prepare; ``folder`` holds the canaries and what is printed."""
        self.canaries = Canaries(folder / "canaries")
        self._events = folder / "events"
        (folder / "log").mkdir()
        self._launcher = Launcher(folder / "log", *_MODULES, small_blocks=False)

    def __enter__(self) -> Self:
        self.canaries.__enter__()
        self._launcher.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._launcher.__exit__()
        self.canaries.__exit__()

    def run(self, args: Sequence[str], folder: Path, *, patience_s: float = PATIENCE_S) -> Tried:
        """Try ``geoseg ARGS``.

        Args:
            args: after the program's name.
            folder: of the try, with the hostile files in it; what is called ``out...`` may be written.
            patience_s: after this time it is told to end, by SIGTERM.
        """
        self.canaries.calls(), self.canaries.touched()  # forget what the makers did
        self._events.write_bytes(b"")
        before = _state(folder)
        job, begin = self._launcher.start(args, folder, events=str(self._events)), time.monotonic()
        stopped = _wait(job, begin + patience_s, view=args[0] == "view")
        ended = job.end(timeout_s=60.0)
        seconds, after = time.monotonic() - begin, _state(folder)
        made = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
        code = 0 if args[0] == "view" and ended.code == 130 else ended.code
        told = stopped and code == 128 + signal.SIGTERM
        wrongs = (
            *([] if told else _wrongs_at_end(code, ended.err)),
            *_wrongs_of(ended),
            *("left " + name for name in made if not _may_be_left(name, told)),
            *("touched " + name for name in self.canaries.touched()),
            *["asked a server"] * self.canaries.calls(),
            *(event for event in self._events.read_text("utf-8", "surrogateescape").splitlines()
              if not is_fine(event, folder)),
        )  # fmt: skip
        outcome = "neither" if wrongs else "stopped" if told else "error" if code else "done"
        return Tried(outcome=outcome, wrongs=wrongs, line=ended.line, peak_mb=ended.peak_mb, seconds=seconds)


def _wait(job: Job, until: float, *, view: bool) -> bool:
    """Wait until a job is over; otherwise tell it to end, and say so. What ``view`` shows is looked at."""
    while not job.is_over(0.01):
        if time.monotonic() > until:
            job.send(signal.SIGTERM)
            return True
        found = _ADDRESS.search(job.out()) if view else None
        if found:
            _look(found[0].strip(), until)
            job.send(signal.SIGINT)
            view = False
    return False


def _look(address: str, until: float) -> None:
    """What a browser asks ``view`` for."""
    for path in ("", "r/0/0/0/0", "r/0/1/0/0", "r/1/0/0/0", "v/0/0/0/0", "f/0/0/0"):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(address + path, timeout=max(1.0, until - time.monotonic())).read()


def _wrongs_at_end(code: int | None, err: str) -> Iterator[str]:
    if code not in {0, 1, 2}:
        yield f"exit code {code}"
    if code in {1, 2} and not _LINE.fullmatch(err.rstrip("\n").rpartition("\n")[2]):
        yield "no line of error"


def _wrongs_of(ended: Ended) -> Iterator[str]:
    if ended.peak_mb > PEAK_MB:
        yield f"{ended.peak_mb} MB of memory"
    if "Traceback" in ended.err or "is a bug" in ended.err:
        yield "a bug"
    if found := _CONTROLS.search(ended.out + ended.err):
        yield f"a raw control character: {found[0]!r}"
    yield from (f"the process {words} goes on" for words in ended.left)


def _may_be_left(name: str, told: bool) -> bool:
    """Outputs; of what was told to end only what it goes on with."""
    return name.startswith("out") and (name.endswith(SUFFIX) or not told)


def _state(folder: Path) -> dict[str, Any]:
    found = {}
    for base, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(base) / name
            told = path.lstat()
            key = (told.st_size, told.st_mtime_ns, told.st_ino) if name in files else ()
            found[os.fsdecode(path.relative_to(folder))] = key
    return found
