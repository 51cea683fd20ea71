"""Batches in an order that follows from (seed, epoch), prepared by threads while the network works.

Threads, not processes: reading, decoding and numpy release the interpreter's lock, all threads share one
cache of decoded chips, and nothing has to be pickled.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from geoseg.chips.dataset import ChipDataset


def epoch_order(count: int, *, seed: int, epoch: int) -> list[int]:
    """The order in which one epoch sees ``count`` chips: a permutation that needs no state to be resumed."""
    order: list[int] = np.random.default_rng([seed % 2**64, epoch]).permutation(count).tolist()
    return order


def batches_of(
    dataset: ChipDataset, order: Sequence[int], batch_size: int, *, threads: int = 1, pin: bool = False
) -> Generator[tuple[Tensor, Tensor], None, None]:
    """The chips ``order`` names, in batches; the last one may be smaller.

    Args:
        dataset: chips.
        order: indices into ``dataset``.
        batch_size: chips a batch.
        threads: threads that read ahead, each one batch.
        pin: put batches into page-locked memory, which speeds up the copy to a GPU.

    Yields:
        Images (N, B, H, W) float32 normalised and labels (N, H, W) int64. The order of batches and what is
        in them do not depend on ``threads``.
    """

    def prepare(indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        images, labels = zip(*(dataset[index] for index in indices), strict=True)
        batch = torch.stack(images), torch.stack(labels)
        return (batch[0].pin_memory(), batch[1].pin_memory()) if pin else batch

    starts = iter(range(0, len(order), batch_size))
    pending: deque[Future[tuple[Tensor, Tensor]]] = deque()
    readers = ThreadPoolExecutor(threads, thread_name_prefix="chips")

    def submit_next() -> None:
        start = next(starts, None)
        if start is not None:
            pending.append(readers.submit(prepare, order[start : start + batch_size]))

    try:
        for _ in range(threads + 1):
            submit_next()
        while pending:
            batch = pending.popleft().result()
            submit_next()
            yield batch
    finally:
        readers.shutdown(cancel_futures=True)
