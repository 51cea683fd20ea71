"""Batches in an order that follows from (seed, epoch), prepared by threads while the network works.

Threads, not processes: reading, decoding and numpy release the interpreter's lock, all threads share one
cache of decoded chips, and nothing has to be pickled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from geoseg.chips.dataset import ChipDataset, ChipItem
from geoseg.chips.objects import ObjectFacts


@dataclass(frozen=True, kw_only=True)
class ChipBatch:
    """Chips of one step, raw: what the network sees is made of them where it runs.

    Attributes:
        bands: (N, B, S, S) in the chips' dtype.
        valid: (N, S, S) bool.
        labels: (N, S, S) uint8 class ids, 255 = unknown.
        gain: (N, B) float32, to multiply the normalised bands by.
        offset: (N, B) float32, to add to them then.
        noise: (N, B) float32, standard deviation of the noise to add.
        seeds: (N,) int64, of all that is drawn for each chip.
        objects: (N, S, S) int32 numbers of objects, each chip its own from 1; ``None`` unless all are
            instance chips.
        facts: of each chip's objects 1, 2, ..., then of its crowd areas.
    """

    bands: Tensor
    valid: Tensor
    labels: Tensor
    gain: Tensor
    offset: Tensor
    noise: Tensor
    seeds: Tensor
    objects: Tensor | None = None
    facts: tuple[tuple[ObjectFacts, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.bands)

    @classmethod
    def of(cls, items: Sequence[ChipItem], *, pin: bool = False) -> ChipBatch:
        """Items side by side, in page-locked memory with ``pin``."""

        def stacked(name: str) -> Tensor:
            # numpy stacks: torch lacks a part of its operations for unsigned 16 and 32 bits.
            values = torch.from_numpy(np.stack([getattr(item, name) for item in items]))
            return values.pin_memory() if pin else values

        return cls(
            bands=stacked("bands"),
            valid=stacked("valid"),
            labels=stacked("labels"),
            gain=stacked("gain"),
            offset=stacked("offset"),
            noise=stacked("noise"),
            seeds=torch.tensor([item.seed for item in items]),
            objects=None if any(item.objects is None for item in items) else stacked("objects"),
            facts=tuple(item.facts for item in items),
        )


def epoch_order(count: int, *, seed: int, epoch: int) -> list[int]:
    """The order in which one epoch sees ``count`` chips: a permutation that needs no state to be resumed."""
    order: list[int] = np.random.default_rng([seed % 2**64, epoch]).permutation(count).tolist()
    return order


def batches_of(
    dataset: ChipDataset,
    batches: Sequence[Sequence[int]],
    *,
    epoch: int = 0,
    threads: int = 1,
    pin: bool = False,
) -> Generator[ChipBatch, None, None]:
    """The chips of each of ``batches``.

    Args:
        dataset: chips.
        batches: indices into ``dataset``, batch by batch.
        epoch: whose random changes they get.
        threads: threads that read ahead, each one batch.
        pin: put batches into page-locked memory, which speeds up the copy to a GPU.

    Yields:
        The batches; what is in them does not depend on ``threads``.
    """

    def prepare(indices: Sequence[int]) -> ChipBatch:
        return ChipBatch.of([dataset.item(index, epoch=epoch) for index in indices], pin=pin)

    left = iter(batches)
    pending: deque[Future[ChipBatch]] = deque()
    readers = ThreadPoolExecutor(threads, thread_name_prefix="chips")

    def submit_next() -> None:
        indices = next(left, None)
        if indices is not None:
            pending.append(readers.submit(prepare, indices))

    try:
        for _ in range(threads + 1):
            submit_next()
        while pending:
            batch = pending.popleft().result()
            submit_next()
            yield batch
    finally:
        readers.shutdown(cancel_futures=True)
