"""torch's settings of the whole process, changed for a while and given back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def borrowed_torch(
    device: torch.device, threads: int | None = None, *, deterministic: bool = False
) -> Iterator[None]:
    """Leave torch's random state and settings as they were; ``threads`` to use meanwhile.

    Args:
        device: where is computed.
        threads: CPU threads; torch's own choice when not given.
        deterministic: use algorithms only that give the same bits each time.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    if deterministic:
        # cuBLAS reads this when it starts (https://docs.nvidia.com/cuda/cublas/#results-reproducibility).
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.set_num_threads(threads or before[0])
            torch.use_deterministic_algorithms(before[1] or deterministic)
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
