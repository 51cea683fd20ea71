"""Batches: right content, right order, whatever the number of threads."""

from __future__ import annotations

import threading
import time
from typing import cast

import numpy as np
import pytest
import torch

from geoseg.chips.batches import batches_of, epoch_order
from geoseg.chips.dataset import ChipDataset, ChipItem


class Numbered:
    """Chips that hold their index, and the epoch as valid; the first ones take longest."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.fail_at = fail_at

    def item(self, index: int, *, epoch: int = 0) -> ChipItem:
        if index == self.fail_at:
            raise OSError("chip is gone")
        time.sleep(0.003 * (index < 3))
        band = np.full(3, index, np.float32)
        return ChipItem(
            bands=np.full((3, 4, 4), 1000 + index, np.uint16),
            valid=np.full((4, 4), epoch == 7),
            labels=np.full((4, 4), index, np.uint8),
            gain=band,
            offset=band + 1,
            noise=band + 2,
            seed=2**62 + index,
        )


def numbered(fail_at: int | None = None) -> ChipDataset:
    return cast(ChipDataset, Numbered(fail_at))


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order(threads: int) -> None:
    order = [[4, 0, 3], [1, 2, 6], [5]]
    batches = list(batches_of(numbered(), order, epoch=7, threads=threads))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    for batch, indices in zip(batches, order, strict=True):
        assert batch.bands.dtype == torch.uint16
        assert batch.bands.shape == (len(indices), 3, 4, 4)
        assert batch.bands.long()[:, 0, 0, 0].tolist() == [1000 + index for index in indices]
        assert batch.labels[:, 0, 0].tolist() == indices
        assert batch.valid.all()
        assert batch.gain[:, 0].tolist() == indices
        assert batch.offset[:, 2].tolist() == [index + 1 for index in indices]
        assert batch.noise[:, 1].tolist() == [index + 2 for index in indices]
        assert batch.seeds.tolist() == [2**62 + index for index in indices]


def test_no_chips_no_batches() -> None:
    assert list(batches_of(numbered(), [])) == []


def test_an_error_of_a_chip_arrives_at_its_batch() -> None:
    batches = batches_of(numbered(fail_at=3), [[0, 1], [2, 3]])
    next(batches)
    with pytest.raises(OSError, match="gone"):
        next(batches)


def test_leaving_early_leaves_no_thread() -> None:
    batches = batches_of(numbered(), [[index] for index in range(100)], threads=2)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("chips")]


def test_the_order_is_a_permutation_that_follows_from_seed_and_epoch() -> None:
    first = epoch_order(50, seed=1, epoch=1)
    assert sorted(first) == list(range(50))
    assert first == epoch_order(50, seed=1, epoch=1)
    assert first != epoch_order(50, seed=1, epoch=2)
    assert first != epoch_order(50, seed=2, epoch=1)
