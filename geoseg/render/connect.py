"""Finds the workers of a dask cluster, or starts processes that are one."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import multiprocessing.resource_tracker
import signal
import tempfile
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from geoseg import __version__
from geoseg.errors import GeosegError, InputError
from geoseg.render.memory import DEFAULT_SHARE, available_mb, held_mb, peak_mb
from geoseg.render.session import Session, default_workers
from geoseg.render.shards import strip_blocks

if TYPE_CHECKING:
    from geoseg.render.work import Resources

LOCAL = "local"

CONNECT_S = 15
WORKERS_S = 60
"""Seconds without a worker before the run is given up."""

STARTED_MB = 1000
"""What a process that was just started holds at most, in MB: the libraries take 800."""

_LOOK_S = 0.1


def shield_from_ctrl_c() -> None:
    """Keep Ctrl-C in a terminal, which all processes get, from those that this thread will start."""
    if hasattr(signal, "pthread_sigmask"):
        # Started by the first process otherwise, and unblocks the signal then.
        multiprocessing.resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


@contextlib.contextmanager
def connected(session: Session, todo: int, address: str, resources: Resources) -> Iterator[tuple[Any, int]]:
    """A client of the cluster, and the workers to wait for; what was started is stopped at the end."""
    try:
        import distributed
    except ImportError as error:
        raise InputError("--dask needs dask's distributed; pip install 'geoseg[dask]'") from error

    if address != LOCAL and "://" not in address:
        raise InputError(f"--dask {address}: give an address such as tcp://host:8786, or local")
    if address == LOCAL:
        with (
            _quiet(),
            _local_cluster(session, todo, resources) as (cluster, count),
            distributed.Client(cluster, set_as_default=False) as client,
        ):
            yield client, count
        return
    with _quiet(), contextlib.ExitStack() as stack:
        try:
            client = distributed.Client(address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no dask scheduler answers at {address}; start one with dask scheduler"
            ) from error
        yield stack.enter_context(client), 1


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep dask's log from the terminal, unless the user asked to hear the libraries."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client", "asyncio")]
    before = [logger.level for logger in loggers]
    if logging.getLogger().level > logging.INFO:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _local_cluster(session: Session, todo: int, resources: Resources) -> Iterator[tuple[Any, int]]:
    """A cluster of processes on this machine, which start while the block runs."""
    import distributed

    on_gpu = session.plan.device == "cuda"
    count = 1 if on_gpu else min(todo, _local_processes(session, resources))
    with (
        tempfile.TemporaryDirectory(prefix="geoseg-dask-", ignore_cleanup_errors=True) as scratch,
        # Processes are started inside, so that whatever happens then, they are stopped.
        distributed.LocalCluster(
            n_workers=0,
            threads_per_worker=(resources.workers or default_workers("cuda")) if on_gpu else 1,
            processes=True,
            host="127.0.0.1",
            dashboard_address=None,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            memory_limit=0,
            local_directory=scratch,
            silence_logs=logging.CRITICAL,
        ) as cluster,
    ):
        cluster.scale(count)
        yield cluster, count


def _local_processes(session: Session, resources: Resources) -> int:
    """As many as there are cores, or fewer where memory is short."""
    blocks, job = session.blocks, session.job()
    wide = min(strip_blocks(blocks), blocks.shape[1])
    # This process may hold much more than those it starts, which have the libraries and the model.
    each = min(held_mb(), STARTED_MB) + peak_mb(blocks, job.appetite, workers=1, blocks_wide=wide)
    fit = int((resources.memory_mb or DEFAULT_SHARE * available_mb()) // each)
    return max(1, min(resources.workers or default_workers("cpu"), fit))


def workers_of(client: Any, address: str) -> dict[str, int]:
    """Threads of each worker, by its address.

    Raises:
        GeosegError: the scheduler is gone.
    """
    try:
        return dict(client.nthreads())
    except (OSError, RuntimeError) as error:
        raise GeosegError(
            f"the dask scheduler at {address} is gone; start one and go on with --resume"
        ) from error


def started_workers(client: Any, address: str, count: int) -> dict[str, int]:
    """As :func:`workers_of`, once there are ``count`` of them.

    Raises:
        InputError: there are not as many in a while.
    """
    deadline = time.monotonic() + WORKERS_S
    while len(workers := workers_of(client, address)) < count:
        if time.monotonic() > deadline:
            if address == LOCAL:
                raise GeosegError("the processes of --dask local do not start; render without it")
            raise InputError(
                f"the dask scheduler at {address} has no workers; start some with dask worker {address}"
            )
        time.sleep(_LOOK_S)
    return workers


def check_versions(client: Any) -> None:
    """Refuse workers without this very version, before they are sent what they could not read."""
    found = client.run(importlib.metadata.version, "geoseg", on_error="return")
    for worker, version in found.items():
        missing = isinstance(version, importlib.metadata.PackageNotFoundError)
        if missing or (isinstance(version, str) and version != __version__):
            has = "no geoseg" if missing else f"geoseg {version}"
            raise InputError(f"dask worker {worker} has {has}; install geoseg {__version__} on all machines")
