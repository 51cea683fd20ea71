"""The processes that train together: who this one is, and what they tell each other.

``torchrun --nproc-per-node N`` starts N processes and tells each by environment variables how to find the
others (https://docs.pytorch.org/docs/stable/elastic/run.html). Started plainly, a process is alone and
nothing here does anything.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray
from torch import Tensor

from geoseg.errors import ConfigError

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, kw_only=True)
class World:
    """The processes of a training.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and talks."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """Mean over the processes, without gradient."""
        if self.size == 1:
            return value
        value = value.detach().clone()
        torch.distributed.all_reduce(value)
        return value / self.size

    def total(self, counts: NDArray[np.int64], device: torch.device) -> NDArray[np.int64]:
        """Sum over the processes of whole numbers; every process gets it."""
        if self.size == 1:
            return counts
        values = torch.from_numpy(counts.copy()).to(device)
        torch.distributed.all_reduce(values)
        summed: NDArray[np.int64] = values.cpu().numpy()
        return summed

    def gathered(self, item: ItemT) -> list[ItemT]:
        """What each process has, in their order; every process gets it all."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        torch.distributed.all_gather_object(items, item)
        return items

    def share(self, items: Sequence[ItemT]) -> list[ItemT]:
        """This process's part: as even as can be, in order, the first ones one larger."""
        size, larger = divmod(len(items), self.size)
        first = self.rank * size + min(self.rank, larger)
        return list(items[first : first + size + (self.rank < larger)])

    def wait(self) -> None:
        """Go on when all have come here."""
        if self.size > 1:
            torch.distributed.barrier()


def local_device() -> str:
    """Name of the device that ``auto`` is for this process: one GPU each."""
    if torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
    return "auto"


def started_together() -> bool:
    """Whether torchrun (or what sets the same variables) started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def join_world(device: torch.device) -> Iterator[World]:
    """Find the other processes, and part from them at the end.

    Raises:
        ConfigError: torchrun's variables are incomplete.
    """
    if not started_together():
        yield World()
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(
            f"WORLD_SIZE is set, but not {missing[0]}; start many processes with torchrun, "
            "and one without WORLD_SIZE"
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(rank=torch.distributed.get_rank(), size=torch.distributed.get_world_size())
    finally:
        torch.distributed.destroy_process_group()
