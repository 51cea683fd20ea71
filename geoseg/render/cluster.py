"""Renders on the workers of a dask cluster: here on processes of its own, or on many machines.

This process deals out blocks, a few dozen at a time, and adopts what the workers put into the journal's
folder, which all of them have to see under the same path. A worker that dies costs the chips it was at: what
it had finished is kept, the rest goes to others.

Security: whoever can reach a dask scheduler can run code as its workers and as its clients; dask offers TLS
for that (``tls://``, dask's own configuration). Give only addresses you trust. ``local`` listens on 127.0.0.1
alone, where other users of the same machine can reach it while it runs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import secrets
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from geoseg.errors import GeosegError, OutputError, WriteError
from geoseg.progress import Progress
from geoseg.raster.remote import absolute
from geoseg.render.blocks import BlockGrid
from geoseg.render.connect import (
    LOCAL,
    WORKERS_S,
    check_versions,
    connected,
    shield_from_ctrl_c,
    started_workers,
    workers_of,
)
from geoseg.render.grid import Chip
from geoseg.render.journal import Journal
from geoseg.render.session import Session
from geoseg.render.shards import in_order, strip_blocks
from geoseg.render.worker import Errand, Rendered, RunIsOverError, render_blocks

if TYPE_CHECKING:
    from geoseg.render.renderer import Counts
    from geoseg.render.work import Resources

MAX_GROUP_BLOCKS = 48
"""Most blocks a worker gets at once. Chips around a group are looked at once more: 12 % at this size."""

GROUPS_A_WORKER = 1.5
"""A worker gets the part of the blocks left that would leave this many for each: fewer towards the end."""

MAX_DEATHS = 3
"""Times that all the workers dask tried may die over a group before it is given up."""

POLL_S = 0.5


def render_on_cluster(
    session: Session,
    journal: Journal,
    todo: list[int],
    address: str,
    resources: Resources,
    progress: Progress,
) -> tuple[Counts, int]:
    """Render blocks into the journal, on a cluster.

    ``local`` starts processes, which import the main module again: a script that calls this needs the usual
    ``if __name__ == "__main__":``.

    Args:
        session: what to render.
        journal: where the blocks go; in a folder that all workers see under the same path.
        todo: numbers of the blocks.
        address: of a dask scheduler, such as ``tcp://host:8786``, or ``local``.
        resources: memory, and for ``local`` the number of processes.
        progress: told about every chip of a finished block.

    Returns:
        Chips counted, and the threads of all workers.

    Raises:
        InputError: dask is missing, nobody answers at the address, or a worker has other files or versions.
        OutputError: a worker does not see the journal.
        GeosegError: workers keep dying, or are gone; else whatever a worker raised.
    """
    stop = threading.Event()
    # Ctrl-C and SIGTERM raise in the main thread; in the midst of dask they would leave it in pieces. So dask
    # lives in another thread, which is told to stop, and waited for.
    with ThreadPoolExecutor(1, thread_name_prefix="dask", initializer=shield_from_ctrl_c) as thread:
        working = thread.submit(_render, session, journal, todo, address, resources, progress, stop)
        try:
            return working.result()
        finally:
            stop.set()


def _render(
    session: Session,
    journal: Journal,
    todo: list[int],
    address: str,
    resources: Resources,
    progress: Progress,
    stop: threading.Event,
) -> tuple[Counts, int]:
    with connected(session, len(todo), address, resources) as (client, count):
        workers = started_workers(client, address, count)
        check_versions(client)
        threads = sum(workers.values())
        progress.note(f"dask at {client.scheduler.address}: {len(workers)} workers, {threads} threads")
        memory_mb = resources.memory_mb
        if address == LOCAL and memory_mb is not None:
            memory_mb /= len(workers)
        errand = _errand(session, journal, workers, memory_mb)
        wanted = {block: session.wanted_chips[block] for block in in_order(session.blocks, todo)}
        counts = _Dealer(client, address, errand, journal, wanted, progress, stop).run()
    return counts, threads


def next_group(blocks: BlockGrid, left: list[int], workers: int) -> list[int]:
    """The blocks that a worker gets next: the first of ``left`` (in order), all of one strip.

    Whole rows of a strip where there are enough, since the chips around a group are looked at once more.
    """
    wide = strip_blocks(blocks)
    strip = blocks.place(left[0])[1] // wide
    row = min(wide, blocks.shape[1] - strip * wide)
    size = min(MAX_GROUP_BLOCKS, math.ceil(len(left) / (GROUPS_A_WORKER * workers)))
    if size > row:
        size = math.ceil(size / row) * row
    return list(itertools.takewhile(lambda block: blocks.place(block)[1] // wide == strip, left[:size]))


class _Dealer:
    """Deals out groups of blocks, one to a worker, until all are in the journal."""

    def __init__(
        self,
        client: Any,
        address: str,
        errand: Errand,
        journal: Journal,
        wanted: Mapping[int, list[Chip]],
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        from geoseg.render.renderer import Counts

        self._client = client
        self._address = address
        self._errand = errand
        self._journal = journal
        self._wanted = wanted
        self._progress = progress
        self._stop = stop
        self._left = list(wanted)
        self._missing = set(wanted)
        self._running: dict[Any, list[int]] = {}
        self._deaths: Counter[int] = Counter()
        self._counts = Counts()
        self._seen_workers_at = time.monotonic()
        self._news = threading.Event()

    def run(self) -> Counts:
        self._progress.begin("predict", sum(map(len, self._wanted.values())), "chips")
        try:
            self._errand.flag.touch()
        except OSError as error:
            raise WriteError(f"writing {self._errand.folder} failed: {error.strerror}; make room") from error
        try:
            while self._left or self._running:
                if self._stop.is_set():
                    raise RunIsOverError
                self._hand_out()
                self._wait()
                self._adopt()
                for future in [future for future in self._running if future.done()]:
                    self._take_back(future, self._running.pop(future))
        finally:
            self._errand.flag.unlink(missing_ok=True)
            with contextlib.suppress(Exception):
                self._client.cancel(list(self._running), force=True)
            self._adopt()
        self._progress.end()
        return self._counts

    def _hand_out(self) -> None:
        """As many groups as there are workers; dask gives each to the one that is idle."""
        count = len(workers_of(self._client, self._address))
        now = time.monotonic()
        if count:
            self._seen_workers_at = now
        elif now - self._seen_workers_at > WORKERS_S:
            raise GeosegError(
                f"all workers of the dask scheduler at {self._address} are gone; "
                "start some and go on with --resume"
            )
        while self._left and len(self._running) < count:
            group = next_group(self._journal.blocks, self._left, count)
            del self._left[: len(group)]
            future = self._client.submit(
                render_blocks, self._errand, {block: self._wanted[block] for block in group}, pure=False
            )
            future.add_done_callback(lambda _: self._news.set())
            self._running[future] = group

    def _wait(self) -> None:
        self._news.wait(POLL_S)
        self._news.clear()

    def _adopt(self) -> None:
        for block in self._journal.adopt(self._errand.run):
            if block in self._missing:
                self._missing.remove(block)
                self._progress.advance(len(self._wanted[block]))

    def _take_back(self, future: Any, group: list[int]) -> None:
        import distributed

        if future.status == "finished":
            done: Rendered = future.result()
            self._counts.seen += done.seen
            self._counts.skipped += done.skipped
            if not self._missing.isdisjoint(group):
                # It may have finished after the folder was last looked at.
                self._adopt()
            if not self._missing.isdisjoint(group):
                raise OutputError(
                    f"a worker's blocks did not arrive in {self._errand.folder}; "
                    "write to a folder that all workers share under the same path"
                )
            return
        error = future.exception() if future.status == "error" else None
        if error is not None and not isinstance(error, distributed.KilledWorker):
            raise error
        again = [block for block in group if block in self._missing]
        self._deaths.update(again)
        if again and max(self._deaths[block] for block in again) >= MAX_DEATHS:
            raise GeosegError(
                f"dask workers keep dying over block {again[0]}, perhaps for lack of memory; "
                "lower --memory, and go on with --resume"
            )
        self._left = again + self._left


def _errand(
    session: Session, journal: Journal, workers: Mapping[str, int], memory_mb: float | None
) -> Errand:
    plan, request = session.plan, session.request
    settled = {"precision": plan.precision, "batch_size": plan.batch_size}
    hosts = Counter(name.rpartition("://")[2].rpartition(":")[0] for name in workers)
    return Errand(
        plan=plan,
        request=dataclasses.replace(
            request,
            scene=absolute(request.scene),
            model=session.model.absolute(),
            aoi=None if request.aoi is None else request.aoi.absolute(),
            config=request.config.model_copy(update=settled),
            device=plan.device,
        ),
        folder=journal.folder.absolute(),
        run=secrets.token_hex(8),
        memory_mb=memory_mb,
        neighbours=max(hosts.values()),
    )
