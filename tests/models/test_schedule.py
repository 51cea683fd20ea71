"""The closed forms against torch's own schedulers, step by step."""

from __future__ import annotations

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR, PolynomialLR

from geoseg.models.schedule import POLY_POWER, learning_rate


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.02)


@pytest.mark.parametrize("steps", [4, 7, 40, 1000])
def test_one_cycle_is_torchs(steps: int) -> None:
    optimizer = sgd()
    oracle = OneCycleLR(optimizer, max_lr=0.02, total_steps=steps)
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate("one_cycle", step, steps, peak=0.02) == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        if step + 1 < steps:
            oracle.step()


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_poly_is_torchs(steps: int) -> None:
    optimizer = sgd()
    oracle = PolynomialLR(optimizer, total_iters=steps, power=POLY_POWER)
    for step in range(steps):
        expected = optimizer.param_groups[0]["lr"]
        assert learning_rate("poly", step, steps, peak=0.02) == pytest.approx(expected, rel=1e-9)
        optimizer.step()
        oracle.step()


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_one_cycle_of_a_few_steps_stays_in_range(steps: int) -> None:
    rates = [learning_rate("one_cycle", step, steps, peak=1.0) for step in range(steps)]
    assert all(0.0 < rate <= 1.0 for rate in rates)
    assert max(rates) == 1.0


def test_constant_is_constant() -> None:
    assert {learning_rate("constant", step, 9, peak=0.3) for step in range(9)} == {0.3}


@pytest.mark.parametrize("step", [-1, 5])
def test_a_step_outside_of_the_run_is_refused(step: int) -> None:
    with pytest.raises(ValueError, match="of a run of 5 steps"):
        learning_rate("one_cycle", step, 5, peak=1.0)
