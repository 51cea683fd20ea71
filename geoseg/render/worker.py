"""What a worker of a cluster does: opens the scene itself and renders the blocks it is told.

A worker trusts nothing but the plan: it computes what the plan says, on the device and at the precision the
plan says, and refuses when its own scene, model or versions are others. Blocks go to the journal's folder
under the name of the run and count only when the run's owner adopts them; so a worker that was given up, but
lives on, can neither spoil a later run nor keep going for long.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import dataclasses
import os
import platform
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg import __version__
from geoseg.errors import GeosegError, InputError, OutputError
from geoseg.progress import SILENT, SilentProgress
from geoseg.raster import server
from geoseg.raster.remote import is_remote
from geoseg.render.grid import Chip
from geoseg.render.journal import Journal
from geoseg.render.memory import DEFAULT_SHARE, available_mb, held_mb, strips
from geoseg.render.plan import Plan
from geoseg.render.session import Request, Session, default_workers, open_session

if TYPE_CHECKING:
    from geoseg.render.blocks import Layers
    from geoseg.render.job import Job


@dataclass(frozen=True, kw_only=True)
class Errand:
    """What all workers of a run need to know; can be pickled.

    Attributes:
        plan: what is rendered, and how.
        request: what to open, with absolute paths, and device and precision as in the plan.
        folder: the journal's folder, absolute.
        run: name of the run; ``RUN.run`` lies in the folder as long as it goes on.
        memory_mb: most memory of a worker's process; a share of what is free when not given.
        neighbours: most workers' processes that share a machine.
    """

    plan: Plan
    request: Request
    folder: Path
    run: str
    memory_mb: float | None
    neighbours: int

    @property
    def flag(self) -> Path:
        """The file that is there as long as the run goes on."""
        return self.folder / f"{self.run}.run"


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """Blocks that were rendered.

    Attributes:
        blocks: their numbers.
        seen: chips that went through the network.
        skipped: chips left out because none of their pixels is valid.
    """

    blocks: tuple[int, ...]
    seen: int
    skipped: int


class RunIsOverError(Exception):
    """Nobody waits for this any more."""


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """What a process keeps open between the tasks of a run."""

    key: tuple[Any, ...]
    session: Session
    job: Job
    memory_mb: float
    close: contextlib.ExitStack


# All work of a process is done in one thread: one task at a time, on one open scene and with one network,
# however many tasks dask may start at once. The task starts as many threads as the dask worker has.
_thread = ThreadPoolExecutor(1, thread_name_prefix="geoseg")
_opened: _Opened | None = None

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def render_blocks(
    errand: Errand, blocks: Mapping[int, Sequence[Chip]], threads: int | None = None
) -> Rendered:
    """Render some blocks, one call at a time in a process, on all of the worker's threads.

    Args:
        errand: what to render.
        blocks: chips that are asked for, by block, in the order of processing.
        threads: how many work; those of the dask worker when not given.

    Raises:
        InputError: this worker has another scene, model or version, or too little memory.
        OutputError: it does not see the journal's folder.
        ReadError: the scene is damaged.
        WriteError: the disk is full.
    """
    try:
        _check_version(errand)
        return _thread.submit(_render, errand, blocks, threads or _threads(errand.plan)).result()
    except GeosegError as error:
        plain = type(error)(str(error))
    # Without what led to it, which rasterio made and nobody can pickle.
    raise plain


def _render(errand: Errand, blocks: Mapping[int, Sequence[Chip]], threads: int) -> Rendered:
    from geoseg.render.renderer import render

    if not errand.flag.exists():
        raise OutputError(
            f"worker {_me()} does not see {errand.folder}; "
            "write to a folder that all workers share under the same path"
        )
    opened = _open(errand)
    session, journal = opened.session, Journal(errand.folder, opened.session.blocks)
    wanted = {chip for chips in blocks.values() for chip in chips}
    division = session.divide(opened.job, memory_mb=opened.memory_mb, workers=threads)

    def keep(block: int, layers: Layers) -> None:
        journal.add(block, layers, guest=errand.run)

    counts = render(
        dataclasses.replace(opened.job, wanted=wanted.__contains__),
        strips(session.blocks, list(blocks), division.blocks_wide),
        keep,
        workers=division.workers,
        progress=_Watch(errand.flag),
    )
    return Rendered(blocks=tuple(blocks), seen=counts.seen, skipped=counts.skipped)


class _Watch(SilentProgress):
    """Stops the work soon after the run is over: a thread cannot be stopped from outside."""

    def __init__(self, flag: Path) -> None:
        self._flag = flag

    def advance(self, count: int = 1) -> None:  # noqa: ARG002
        """Look whether the run still goes on."""
        if not self._flag.exists():
            raise RunIsOverError


def _check_version(errand: Errand) -> None:
    if errand.plan.geoseg != __version__:
        raise InputError(
            f"worker {_me()} has geoseg {__version__}, not {errand.plan.geoseg}; "
            "install the same version on all machines"
        )


def _keep_memory() -> None:
    """Undo what dask asks of glibc for its workers: giving every large tensor back takes a third of the time.

    These are the limits that glibc arrives at by itself, unless any of them was set.
    """
    if "MALLOC_TRIM_THRESHOLD_" in os.environ:
        with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library
            libc = ctypes.CDLL(None)
            libc.mallopt(_M_MMAP_THRESHOLD, 32 * 1024**2)
            libc.mallopt(_M_TRIM_THRESHOLD, 64 * 1024**2)


def _threads(plan: Plan) -> int:
    import distributed

    own = int(distributed.get_worker().state.nthreads)
    return own if plan.device == "cpu" else max(own, default_workers(plan.device))


def _me() -> str:
    return platform.node() or "without a name"


def _open(errand: Errand) -> _Opened:
    """The open scene and the loaded network: those of the task before, where the files are the same."""
    global _opened
    request = errand.request
    try:
        stamps = _stamps(request)
    except OSError as error:
        raise InputError(
            f"worker {_me()} does not see {error.filename}; keep it where all workers find it under this path"
        ) from error
    key = (errand.plan, request, errand.memory_mb, errand.neighbours, *stamps)
    if _opened is not None and _opened.key == key:
        _opened.session.scene.check_not_written()
        return _opened
    if _opened is not None:
        _opened.close.close()
        _opened = None
    _keep_memory()
    with contextlib.ExitStack() as stack:
        session = stack.enter_context(open_session(request, SILENT))
        differences = errand.plan.differences(session.plan)
        if differences:
            raise InputError(
                f"worker {_me()} would render {differences[0]}; "
                "give all machines the same files and install the same versions"
            )
        job = session.job(lambda _: False)
        memory_mb = errand.memory_mb
        if memory_mb is None:
            memory_mb = held_mb() + DEFAULT_SHARE * available_mb() / errand.neighbours
        _opened = _Opened(key=key, session=session, job=job, memory_mb=memory_mb, close=stack.pop_all())
    return _opened


def _stamps(request: Request) -> list[Any]:
    """What changes when one of the files does."""
    files = [path for path in (request.scene, request.model, request.aoi) if path is not None]
    stamps: list[Any] = []
    if is_remote(request.scene):
        stamps.append(server.fingerprint(request.scene, what="scene"))
        files.remove(request.scene)
    return [*stamps, *((path, path.stat().st_mtime_ns, path.stat().st_size) for path in files)]


@atexit.register
def _close_at_exit() -> None:
    if _opened is not None:
        # Whatever fails here, nobody could do anything about it any more.
        with contextlib.suppress(Exception):
            _opened.close.close()
