"""Renders blocks: looks at chips once, and decides each when all that it depends on was looked at.

Each chip goes through the network once. Of pixels it then gives coarse logits and fine features: a pixel is
decided by the chip that owns it, from the blended coarse logits of all chips that see it and the owner's fine
features. So there is no seam to hide afterwards: across the line between two owners the coarse logits are the
same map, and fine features, made from a few pixels around, are the same wherever a chip begins. Of objects a
chip gives detections, and nothing depends on another chip until all blocks are put together.

Chips are worked on by threads with one torch thread each: that is faster than many threads on one chip, and
what a chip gives cannot depend on how many there are.
"""

from __future__ import annotations

import contextlib
import queue
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import torch

from geoseg.progress import Progress
from geoseg.render.blocks import Layers
from geoseg.render.grid import Chip
from geoseg.render.job import Craft, Job, Look
from geoseg.render.reader import ChipRow, chip_rows

_TASKS_A_WORKER = 2


@dataclass(kw_only=True)
class Counts:
    """Chips that went through the network, and chips left out because none of their pixels is valid."""

    seen: int = 0
    skipped: int = 0


def render(
    job: Job,
    strips: Iterable[Sequence[int]],
    keep: Callable[[int, Layers], Any],
    *,
    workers: int,
    progress: Progress,
) -> Counts:
    """Render blocks, strip after strip.

    Args:
        job: what to render from.
        strips: numbers of the blocks of each strip of neighbouring columns.
        keep: called with every finished block, in a worker's thread, in no certain order.
        workers: threads.
        progress: told about every chip whose pixels are decided.

    Raises:
        ReadError: the scene is damaged.
        Exception: whatever ``keep`` raises.
    """
    return _Renderer(job, [list(strip) for strip in strips], keep, workers, progress).run()


@dataclass(kw_only=True)
class _OpenBlock:
    contents: dict[str, Any]
    left: int


@dataclass(kw_only=True)
class _Strip:
    """What is left to do in a strip.

    Attributes:
        owned: chips to decide, and the block of each.
        waiting: for each of them the number of chips that must be looked at before.
        dependents: for each chip, the chips that wait for it.
        looks: chips to look at, row by row.
    """

    owned: dict[Chip, int]
    waiting: dict[Chip, int] = field(default_factory=dict)
    dependents: dict[Chip, list[Chip]] = field(default_factory=dict)
    looks: list[Chip] = field(default_factory=list)

    @classmethod
    def of(cls, owned: dict[Chip, int], craft: Craft, seen: Mapping[Chip, Any]) -> _Strip:
        strip = cls(owned=owned)
        needed: set[Chip] = set(owned)
        for chip in owned:
            # A chip seen in the strip before still has to give its fine features here.
            sources = [other for other in craft.touching(chip) if other not in seen or other in owned]
            strip.waiting[chip] = len(sources)
            for other in sources:
                strip.dependents.setdefault(other, []).append(chip)
            needed.update(sources)
        strip.looks = sorted(needed)
        return strip


class _Renderer:
    """One thread deals out work and collects it; workers look at chips, decide pixels and keep blocks."""

    def __init__(
        self,
        job: Job,
        strips: list[list[int]],
        keep: Callable[[int, Layers], Any],
        workers: int,
        progress: Progress,
    ) -> None:
        self._job = job
        self._keep = keep
        self._workers = workers
        self._progress = progress
        self._grid = job.blocks.grid
        self._craft = job.craft
        self._counts = Counts()
        self._strips = [self._owned(strip) for strip in strips]
        # How many chips, in all strips, still need what a chip shares.
        self._uses = Counter(
            other for owned in self._strips for chip in owned for other in job.craft.touching(chip)
        )
        self._shared: dict[Chip, Any] = {}
        self._kept: dict[Chip, Any] = {}
        self._open: dict[int, _OpenBlock] = {}
        self._blocks = strips
        self._done: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._outstanding = 0

    def _owned(self, strip: Sequence[int]) -> dict[Chip, int]:
        blocks = self._job.blocks
        return {chip: block for block in strip for chip in blocks.chips(block) if self._job.wanted(chip)}

    def run(self) -> Counts:
        threads_before = torch.get_num_threads()
        total = sum(map(len, self._strips))
        self._progress.begin("predict", total, "chips")
        with ThreadPoolExecutor(
            self._workers, thread_name_prefix="worker", initializer=_prepare_worker
        ) as self._pool:
            try:
                for blocks, owned in zip(self._blocks, self._strips, strict=True):
                    self._open_blocks(blocks, owned)
                    self._run_strip(_Strip.of(owned, self._craft, self._shared))
            except BaseException:
                self._pool.shutdown(wait=True, cancel_futures=True)
                raise
            finally:
                torch.set_num_threads(threads_before)
        self._progress.end()
        return self._counts

    def _open_blocks(self, blocks: Sequence[int], owned: Mapping[Chip, int]) -> None:
        left = Counter(owned.values())
        for block in blocks:
            # They are made when the first chip of the block is decided.
            self._open[block] = _OpenBlock(contents={}, left=left[block])

    def _run_strip(self, strip: _Strip) -> None:
        decisions: deque[Chip] = deque()
        limit = self._workers * _TASKS_A_WORKER
        for block in [number for number, opened in self._open.items() if opened.left == 0]:
            self._close(block)
        with contextlib.closing(self._looks(strip)) as looks:
            more = True
            while True:
                while self._outstanding < limit:
                    if decisions:
                        self._submit_decision(decisions.popleft(), strip)
                    elif more and (batch := next(looks, None)) is not None:
                        self._submit_look(batch, strip, decisions)
                    else:
                        more = False
                        break
                if not self._outstanding:
                    return
                # Runs in this thread what a worker's result leads to, or raises what the worker raised.
                self._done.get()()
                self._outstanding -= 1

    def _submit(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        self._outstanding += 1

        def run() -> None:
            try:
                result = work()
            except BaseException as error:
                self._done.put(lambda error=error: _raise(error))  # type: ignore[misc]
            else:
                self._done.put(lambda: then(result))

        self._pool.submit(run)

    def _looks(self, strip: _Strip) -> Generator[list[tuple[Chip, ChipRow]], None, None]:
        """Chips to look at and the row of the scene each lies in, as many together as go into one batch."""
        if not strip.looks:
            return
        by_row: dict[int, list[Chip]] = {}
        for chip in strip.looks:
            by_row.setdefault(chip[0], []).append(chip)
        columns = [column for _, column in strip.looks]
        span = range(min(columns), max(columns) + 1)
        size = self._job.plan.batch_size
        with contextlib.closing(chip_rows(self._job.scene, self._grid, span, by_row)) as rows:
            for chips, pixels in zip(by_row.values(), rows, strict=True):
                for start in range(0, len(chips), size):
                    yield [(chip, pixels) for chip in chips[start : start + size]]

    def _submit_look(self, batch: list[tuple[Chip, ChipRow]], strip: _Strip, decisions: deque[Chip]) -> None:
        known = {chip for chip, _ in batch if chip in self._shared}

        def work() -> list[Look]:
            return self._craft.look(batch, known, strip.owned)

        def then(seen: list[Look]) -> None:
            for chip, shared, kept in seen:
                if chip not in known:
                    self._shared[chip] = shared
                    self._counts.seen += shared is not None
                    self._counts.skipped += shared is None
                if kept is not None:
                    self._kept[chip] = kept
                for dependent in strip.dependents.get(chip, ()):
                    strip.waiting[dependent] -= 1
                    if not strip.waiting[dependent]:
                        decisions.append(dependent)

        self._submit(work, then)

    def _submit_decision(self, chip: Chip, strip: _Strip) -> None:
        block = strip.owned[chip]
        sources = list(self._craft.touching(chip))
        shared = [(other, values) for other in sources if (values := self._shared[other]) is not None]
        kept = self._kept.pop(chip, None)
        opened = self._open[block]
        if not opened.contents:
            opened.contents = self._craft.begin(block)

        def work() -> None:
            if kept is not None:
                self._craft.decide(chip, shared, kept, opened.contents, block)

        def then(_: None) -> None:
            self._progress.advance()
            opened.left -= 1
            if not opened.left:
                self._close(block)

        for other in sources:
            self._uses[other] -= 1
            if not self._uses[other]:
                del self._shared[other]
        self._submit(work, then)

    def _close(self, block: int) -> None:
        """Hand a block on whose chips are all decided."""
        contents = self._open.pop(block).contents

        def work() -> None:
            self._keep(block, self._craft.end(block, contents or self._craft.begin(block)))

        self._submit(work, lambda _: None)


def _raise(error: BaseException) -> None:
    raise error


def _prepare_worker() -> None:
    torch.set_num_threads(1)
    if torch.cuda.is_available():
        # A stream of its own lets one worker's copies overlap another one's network.
        torch.cuda.set_stream(torch.cuda.Stream())  # type: ignore[no-untyped-call]
