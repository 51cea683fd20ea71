"""Batches: right content, right order, whatever the number of threads."""

from __future__ import annotations

import threading
import time
from typing import cast

import pytest
import torch
from torch import Tensor

from geoseg.chips.batches import batches_of, epoch_order
from geoseg.chips.dataset import ChipDataset


class Numbered:
    """Chips that hold their index; the first ones take longest."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.fail_at = fail_at

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if index == self.fail_at:
            raise OSError("chip is gone")
        time.sleep(0.003 * (index < 3))
        return torch.full((3, 4, 4), float(index)), torch.full((4, 4), index)


def numbered(fail_at: int | None = None) -> ChipDataset:
    return cast(ChipDataset, Numbered(fail_at))


@pytest.mark.parametrize("threads", [1, 3])
def test_batches_come_in_order(threads: int) -> None:
    order = [4, 0, 3, 1, 2, 6, 5]
    batches = list(batches_of(numbered(), order, 3, threads=threads))
    assert [len(images) for images, _ in batches] == [3, 3, 1]
    assert [int(label[0, 0]) for _, labels in batches for label in labels] == order
    assert [int(image[0, 0, 0]) for images, _ in batches for image in images] == order


def test_no_chips_no_batches() -> None:
    assert list(batches_of(numbered(), [], 3)) == []


def test_an_error_of_a_chip_arrives_at_its_batch() -> None:
    batches = batches_of(numbered(fail_at=3), range(6), 2)
    next(batches)
    with pytest.raises(OSError, match="gone"):
        next(batches)


def test_leaving_early_leaves_no_thread() -> None:
    batches = batches_of(numbered(), range(100), 1, threads=2)
    next(batches)
    batches.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("chips")]


def test_the_order_is_a_permutation_that_follows_from_seed_and_epoch() -> None:
    first = epoch_order(50, seed=1, epoch=1)
    assert sorted(first) == list(range(50))
    assert first == epoch_order(50, seed=1, epoch=1)
    assert first != epoch_order(50, seed=1, epoch=2)
    assert first != epoch_order(50, seed=2, epoch=1)
