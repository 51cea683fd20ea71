"""Real processes of geoseg, started fast so that hundreds of them can be killed.

A :class:`Launcher` is a process that has imported all of geoseg once; every job is a fork of it that becomes
the process ``geoseg`` in a session of its own. So a job lasts as long as its work, not as importing torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

LIMITS = {"file_size": resource.RLIMIT_FSIZE, "memory": resource.RLIMIT_AS, "files": resource.RLIMIT_NOFILE}
SUFFIX = ".geoseg-resume"
RENAMING = "renaming"
_POLL_S = 0.002


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a job ended.

    Attributes:
        code: exit code; minus the signal that killed it; ``None`` when it did not end in time.
        out: stdout.
        err: stderr.
        left: processes of its session that were still alive a while after it, by command line.
        peak_mb: most memory that it held, beyond what it began with.
    """

    code: int | None
    out: str
    err: str
    left: tuple[str, ...]
    peak_mb: int

    @property
    def line(self) -> str:
        """The last line on stderr."""
        return self.err.rstrip("\n").rpartition("\n")[2]


class Job:
    """A running process."""

    def __init__(self, launcher: Launcher, pid: int, out: Path, err: Path) -> None:
        self.pid = pid
        self._launcher = launcher
        self._out, self._err = out, err

    def send(self, number: int, *, group: bool = False) -> None:
        """Send a signal, to it alone or to all processes of its group, as Ctrl-C does."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def err(self) -> str:
        """What it said so far."""
        return self._err.read_text(errors="surrogateescape")

    def out(self) -> str:
        """What it printed so far."""
        return self._out.read_text(errors="surrogateescape")

    def is_over(self, timeout_s: float = 0.0) -> bool:
        """Whether it has ended, or does so in time."""
        return self._launcher.ask(wait=self.pid, timeout_s=timeout_s)[0] is not None

    def end(self, timeout_s: float = 120.0, *, linger_s: float = 20.0) -> Ended:
        """Wait for its end; a job that does not end is killed."""
        code, peak_mb = self._launcher.ask(wait=self.pid, timeout_s=timeout_s)
        if code is None:
            self.send(signal.SIGKILL, group=True)
            _, peak_mb = self._launcher.ask(wait=self.pid, timeout_s=60.0)
        deadline = time.monotonic() + linger_s
        while (left := session_of(self.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        read = {"encoding": "utf-8", "errors": "surrogateescape"}
        return Ended(
            code=code,
            out=self._out.read_text(**read),
            err=self._err.read_text(**read),
            left=tuple(left.values()),
            peak_mb=peak_mb,
        )


class Launcher:
    """Starts jobs; use it in a ``with`` block."""

    def __init__(self, folder: Path, *modules: str, small_blocks: bool = True) -> None:
        """Prepare.

        Args:
            folder: where what jobs print is kept.
            modules: further ones that are imported once for all jobs.
            small_blocks: let a small scene have several, so that there is something to go on with.
        """
        self._folder = folder
        self._words = (str(int(small_blocks)), *modules)
        self._count = 0

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *self._words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]
        self._process.wait(timeout=60)
        self._process.stdout.close()  # type: ignore[union-attr]

    def ask(self, **request: Any) -> Any:
        """Have the launching process do something."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(request) + "\n")
        stdin.flush()
        return json.loads(stdout.readline())

    def start(self, args: Sequence[str | Path], cwd: Path, **how: Any) -> Job:
        """Start ``geoseg ARGS`` in ``cwd``.

        Args:
            args: after the program's name.
            cwd: its folder.
            how: ``env`` (``None`` as value drops one), ``umask``, ``limits`` (see :data:`LIMITS`; memory
                beyond what the launcher holds), ``stdin``, ``stdout``, ``stderr`` (paths, or ``closed``),
                ``linger_s`` (seconds that each rename takes; it is told on stderr before), ``vanish``
                (``cwd`` is removed before it starts), ``events`` (file for :func:`hostile_audit.listen`).
        """
        self._count += 1
        out, err = (self._folder / f"{self._count}.{name}" for name in ("out", "err"))
        out.touch(), err.touch()
        words = [os.fsdecode(word) for word in args]
        request = {"args": words, "cwd": str(cwd), "stdout": str(out), "stderr": str(err), **how}
        return Job(self, self.ask(start=request), out, err)

    def run(self, args: Sequence[str | Path], cwd: Path, timeout_s: float = 120.0, **how: Any) -> Ended:
        """Start a job and wait for its end."""
        return self.start(args, cwd, **how).end(timeout_s)


def session_of(leader: int) -> dict[int, str]:
    """Command lines of the living processes of a session, but for its leader."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == leader:
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] != "Z":
                words = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
                found[int(entry.name)] = words.decode(errors="replace")[:120]
    return found


def content(path: Path) -> str | None:
    """What a file or folder holds, as a hash; ``None`` when there is none.

    Of a GeoPackage what its tables hold counts, for SQLite's bytes tell when it was written.
    """
    if not path.exists():
        return None
    seen = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if path.is_dir():
            seen.update(str(file.relative_to(path)).encode(errors="surrogateescape"))
        if file.is_file():
            seen.update(_rows(file) or file.read_bytes())
    return seen.hexdigest()


def _rows(path: Path) -> bytes:
    if path.read_bytes()[:6] != b"SQLite":
        return b""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
        names = [name for (name,) in base.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        tables = {
            name: base.execute(f'SELECT * FROM "{name}"').fetchall()
            for name in sorted(names)
            if not name.startswith(("rtree_", "gpkg_ogr", "sqlite_", "gpkg_contents", "layer_styles"))
        }
    return repr(tables).encode()


def litter(*folders: Path) -> set[str]:
    """Hidden folders and journals that geoseg left, anywhere below."""
    found = (path for folder in folders for path in folder.rglob("*"))
    return {path.name for path in found if path.name.startswith(".geoseg-") or path.suffix == SUFFIX}


# What follows runs in the launching process.

_begun: dict[int, int] = {}
_ends: dict[int, tuple[int, int]] = {}


def _serve(small_blocks: str, *modules: str) -> None:
    import gc
    import importlib

    import geoseg.demo
    import geoseg.export
    import geoseg.merge
    import geoseg.models.trainer
    import geoseg.predict_objects
    import geoseg.render.blocks
    import geoseg.report
    import geoseg.training.session
    import geoseg.view
    import geoseg_cli.app
    import geoseg_cli.main  # noqa: F401

    for module in modules:
        importlib.import_module(module)
    if int(small_blocks):
        geoseg.render.blocks.CHIPS_HIGH, geoseg.render.blocks.CHIPS_WIDE = 1, 2
    gc.freeze()
    requests, answers = os.dup(0), os.dup(1)
    with os.fdopen(requests) as lines:
        for line in lines:
            request = json.loads(line)
            answer = _fork(request["start"], (requests, answers)) if "start" in request else _wait(**request)
            os.write(answers, (json.dumps(answer) + "\n").encode())


def _wait(wait: int, timeout_s: float) -> tuple[int | None, int]:
    deadline = time.monotonic() + timeout_s
    while wait not in _ends:
        pid, status, used = os.wait4(wait, os.WNOHANG)
        if pid:
            more = used.ru_maxrss * 1024 - _begun[pid]
            _ends[pid] = os.waitstatus_to_exitcode(status), round(more / 1e6)
            break
        if time.monotonic() > deadline:
            return None, 0
        time.sleep(_POLL_S)
    return _ends[wait]


def _memory(field: int) -> int:
    """Bytes that this process takes: 0 of addresses, 1 of memory."""
    return int(Path("/proc/self/statm").read_text().split()[field]) * resource.getpagesize()


def _fork(request: Mapping[str, Any], close: Sequence[int]) -> int:
    told, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        with os.fdopen(told) as line:
            _begun[pid] = int(line.read())
        return pid
    os.close(told)
    # A fork has less of libraries in memory than who forked it: only it can tell what it begins with.
    os.write(tell, str(_memory(1)).encode())
    os.close(tell)
    os.setsid()
    for handle in close:
        os.close(handle)
    _become(**request)
    return 0


def _become(
    args: list[str],
    cwd: str,
    stdout: str,
    stderr: str,
    stdin: str = os.devnull,
    env: Mapping[str, str | None] | None = None,
    umask: int = 0o022,
    limits: Mapping[str, int] | None = None,
    linger_s: float = 0.0,
    vanish: bool = False,
    events: str | None = None,
) -> None:
    """Be the process ``geoseg ARGS``; does not return."""
    from geoseg_cli.main import run

    os.chdir(cwd)
    os.umask(umask)
    if vanish:
        Path(cwd).rmdir()
    for name, value in (env or {}).items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    for number, (path, flags) in enumerate(
        ((stdin, os.O_RDONLY), (stdout, os.O_WRONLY), (stderr, os.O_WRONLY | os.O_APPEND))
    ):
        _open_as(number, path, flags)
    sys.stdin, sys.stdout, sys.stderr = (_stream(number) for number in (0, 1, 2))
    for name, value in (limits or {}).items():
        if name == "memory":
            value += _memory(0)
        resource.setrlimit(LIMITS[name], (value, value))
    if linger_s:
        _linger(linger_s)
    if events is not None:
        from hostile_audit import listen

        listen(events)
    sys.argv = ["geoseg", *args]
    try:
        run()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(70)


def _linger(seconds: float) -> None:
    import geoseg.rename

    def slow(rename: Any) -> Any:
        def slowly(*args: Any, **keywords: Any) -> Any:
            os.write(2, f"{RENAMING}\n".encode())
            time.sleep(seconds / 2)
            done = rename(*args, **keywords)
            time.sleep(seconds / 2)
            return done

        return slowly

    os.rename, os.replace = slow(os.rename), slow(os.replace)
    geoseg.rename._exchange = slow(geoseg.rename._exchange)


def _open_as(number: int, path: str, flags: int) -> None:
    if path == "closed":
        os.close(number)
        return
    handle = os.open(path, flags)
    if handle != number:
        os.dup2(handle, number)
        os.close(handle)


def _stream(number: int) -> Any:
    try:
        os.fstat(number)
    except OSError:
        return None
    if number == 0:
        return io.TextIOWrapper(io.FileIO(0, "r", closefd=False), encoding="utf-8")
    errors = "strict" if number == 1 else "backslashreplace"
    raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
    return io.TextIOWrapper(raw, encoding="utf-8", errors=errors, line_buffering=number == 2)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
