"""The averaged network against the plain formula."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from geoseg.models.average import average_decay, average_of, update_average


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3))


def test_the_decay_warms_up() -> None:
    assert average_decay(0.9, 0) == pytest.approx(0.1)
    assert average_decay(0.9, 10) == pytest.approx(11 / 20)
    assert average_decay(0.9, 1000) == 0.9
    assert average_decay(0.0, 1000) == 0.0


def test_parameters_are_averaged_and_buffers_are_copied() -> None:
    trained = network()
    average = average_of(trained)
    before = [parameter.clone() for parameter in average.parameters()]
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(1.0)
    trained(torch.randn(4, 2, 5, 5))
    update_average(average, trained, 0.75)
    for old, kept in zip(before, average.parameters(), strict=True):
        torch.testing.assert_close(kept, old + 0.25)
    for kept, current in zip(average.buffers(), trained.buffers(), strict=True):
        assert torch.equal(kept, current)


def test_without_decay_the_average_is_the_network() -> None:
    trained = network()
    average = average_of(trained)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.mul_(1.7)
    update_average(average, trained, 0.0)
    for kept, current in zip(average.parameters(), trained.parameters(), strict=True):
        assert torch.equal(kept, current)


def test_the_average_neither_trains_nor_follows_by_itself() -> None:
    trained = network()
    average = average_of(trained)
    assert not average.training
    assert not any(parameter.requires_grad for parameter in average.parameters())
    with torch.no_grad():
        next(trained.parameters()).zero_()
    assert next(average.parameters()).any()
