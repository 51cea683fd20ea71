"""Runs geoseg on hostile files and sees what it does besides: files opened, requests, processes, memory.

GDAL, PROJ and SQLite open files past Python, so audit hooks alone see little. A folder of canaries is
watched by the kernel (inotify), and a listening socket counts whoever calls. Every run is a fork of a process
that has imported all of geoseg, as in ``faults.py``.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

PEAK_MB = 1200
"""Most memory that any try may take on top of what the libraries take."""

_LINE = re.compile(r"geoseg: error: [^\n]+; [^\n]+|geoseg: error: [^\n]+")
_CANARY_EVENTS = (
    0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80 | 0x100 | 0x200
)  # read, written, opened, made, ...
_ADDRESS = re.compile(rb"http://127\.0\.0\.1:\d+/\S+\n")
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True, kw_only=True)
class Tried:
    """What came of a try.

    Attributes:
        code: exit code; ``None`` when it did not end in time.
        out, err: what was printed.
        peak_mb: memory beyond what the libraries take.
        made: paths in the folder of the try that were not there before, or have changed.
        wrongs: what it did that it must not, in words; empty when all is well.
    """

    code: int | None
    out: str
    err: str
    peak_mb: int
    made: tuple[str, ...]
    wrongs: tuple[str, ...] = field(default=())

    @property
    def outcome(self) -> str:
        """``done``, ``error`` (one clear line) or ``neither``."""
        if self.wrongs:
            return "neither"
        return "done" if self.code == 0 else "error"

    @property
    def line(self) -> str:
        """The last line on stderr."""
        return self.err.rstrip("\n").rpartition("\n")[2]


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
        self._log = folder / "log"
        self._log.mkdir()

    def __enter__(self) -> Self:
        self.canaries.__enter__()
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        self.canaries.__exit__()

    def run(
        self,
        args: Sequence[str | Path],
        cwd: Path,
        *,
        timeout_s: float = 60.0,
        peak_mb: int = PEAK_MB,
        may_make: Sequence[str] = ("out*",),
    ) -> Tried:
        """Try ``geoseg ARGS`` in ``cwd``.

        Args:
            args: after the program's name.
            cwd: folder of the try, with the hostile files in it.
            timeout_s: what ends not until then is wrong.
            peak_mb: more memory is wrong.
            may_make: patterns of paths in ``cwd`` that it may write.
        """
        self.canaries.calls(), self.canaries.touched()  # forget what the makers did
        before = _state(cwd)
        words = [os.fsdecode(word) for word in args]
        names = {name: str(self._log / name) for name in ("stdout", "stderr", "events")}
        for name in names.values():
            Path(name).write_bytes(b"")
        answer = self._ask(args=words, cwd=str(cwd), timeout_s=timeout_s, **names)
        out, err = (Path(names[name]).read_bytes().decode("utf-8", "surrogateescape") for name in names if
                    name != "events")  # fmt: skip
        events = Path(names["events"]).read_text("utf-8", "surrogateescape").splitlines()
        after = _state(cwd)
        made = tuple(sorted(name for name in {*before, *after} if before.get(name) != after.get(name)))
        code = answer["code"]
        viewed = words[:1] == ["view"] and code == 130
        code = 0 if viewed else code
        wrongs = [
            *([] if code in {0, 1, 2} else [f"exit code {code}"]),
            *([f"{answer['peak_mb']} MB of memory"] if answer["peak_mb"] > peak_mb else []),
            *(["no line of error"] if code in {1, 2} and not _LINE.fullmatch(_last(err)) else []),
            *(["a bug"] if "Traceback" in err or "is a bug" in err else []),
            *([f"a raw control character: {found[0]!r}"] if (found := _CONTROLS.search(out + err)) else []),
            *(
                [
                    "wrote " + name
                    for name in made
                    if not any(Path(name.partition("/")[0]).match(may) for may in may_make)
                ]
            ),
            *(["touched " + name for name in self.canaries.touched()]),
            *(["asked a server"] * self.canaries.calls()),
            *(event for event in events if not _is_fine(event, cwd)),
        ]
        return Tried(code=code, out=out, err=err, peak_mb=answer["peak_mb"], made=made, wrongs=tuple(wrongs))

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def _last(err: str) -> str:
    return err.rstrip("\n").rpartition("\n")[2]


def _state(folder: Path) -> dict[str, Any]:
    found = {}
    for base, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(base) / name
            told = path.lstat()
            key = (told.st_size, told.st_mtime_ns, told.st_ino) if name in files else None
            found[os.fsdecode(path.relative_to(folder))] = key
    return found


def _is_fine(event: str, cwd: Path) -> bool:
    kind, _, path = event.partition(" ")
    return kind == "open" and path.startswith((f"{cwd}/", "/dev/null"))


# What follows runs in the process that forks.

_SPAWN = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty", "pty.spawn"}
_CALLS = {"socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"}


def _audit(events: int) -> None:
    def heard(name: str, args: tuple[Any, ...]) -> None:
        text = None
        if name == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR):
            path = args[0]
            if isinstance(path, str | bytes):
                text = f"open {os.path.abspath(os.fsdecode(path))}"  # noqa: PTH100
        elif name in _SPAWN or name in _CALLS or name == "pickle.find_class":
            text = f"{name} {args!r:.200}"
        if text is not None:
            os.write(events, os.fsencode(text.replace("\n", "?") + "\n"))

    sys.addaudithook(heard)


def _serve() -> None:
    import gc

    import geopandas  # noqa: F401
    import onnx  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import pyproj  # noqa: F401
    import rich.progress
    import rich.table  # noqa: F401

    import geoseg.demo
    import geoseg.doctor
    import geoseg.export
    import geoseg.info
    import geoseg.merge
    import geoseg.models.trainer
    import geoseg.predict_objects
    import geoseg.report
    import geoseg.training.session
    import geoseg.view  # noqa: F401
    import geoseg_cli.app  # noqa: F401

    gc.freeze()
    requests, answers = os.dup(0), os.dup(1)
    with os.fdopen(requests) as lines:
        for line in lines:
            os.write(answers, (json.dumps(_try(json.loads(line), (requests, answers))) + "\n").encode())


def _try(request: dict[str, Any], close: Sequence[int]) -> dict[str, Any]:
    begun = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    pid = os.fork()
    if not pid:
        os.setsid()
        for handle in close:
            os.close(handle)
        _become(request)
    deadline = time.monotonic() + request["timeout_s"]
    viewed, stopped = request["args"][:1] != ["view"], False
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done:
            break
        if not viewed:
            viewed = _look(Path(request["stdout"]).read_bytes(), pid)
        if time.monotonic() > deadline and not stopped:
            stopped = True
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.01)
    code = None if stopped else os.waitstatus_to_exitcode(status)
    return {"code": code, "peak_mb": max(0, round(used.ru_maxrss * 1024 / 1e6 - begun))}


def _look(out: bytes, pid: int) -> bool:
    """Look at what ``view`` shows as a browser does, then press Ctrl-C."""
    found = _ADDRESS.search(out)
    if found is None:
        return False
    for path in ("", "r/0/0/0/0", "r/0/1/0/0", "r/1/0/0/0", "v/0/0/0/0", "f/0/0/0"):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(found[0].decode().strip() + path, timeout=20).read()
    os.kill(pid, signal.SIGINT)
    return True


def _become(request: dict[str, Any]) -> None:
    from geoseg_cli.main import run

    os.chdir(request["cwd"])
    for number, name in ((0, None), (1, "stdout"), (2, "stderr")):
        path = os.devnull if name is None else request[name]
        handle = os.open(path, os.O_RDONLY if name is None else os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False, encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    _audit(os.open(request["events"], os.O_WRONLY | os.O_APPEND))
    sys.argv = ["geoseg", *request["args"]]
    try:
        run()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(70)
    os._exit(0)


def lines_of(tried: Sequence[Tried]) -> Iterator[str]:
    """The distinct lines of error."""
    yield from dict.fromkeys(each.line for each in tried if each.outcome == "error")


if __name__ == "__main__":
    _serve()
