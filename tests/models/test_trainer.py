"""The loop on tensors: it learns, it goes on exactly, it stops at what is not finite."""

from __future__ import annotations

import copy
import gc
import weakref
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from geoseg.classes import BandStats
from geoseg.config import Config, LossConfig, ModelConfig, TrainConfig
from geoseg.errors import ModelError, TrainingError
from geoseg.models.borrowed import borrowed_torch
from geoseg.models.trainer import Trainer, build_optimizer

STATS = BandStats(count=(4,) * 3, mean=(0.0,) * 3, m2=(4.0,) * 3, minimum=(-9.0,) * 3, maximum=(9.0,) * 3)
"""Mean 0 and standard deviation 1: bands are normalised already."""


@dataclass(frozen=True)
class Chips:
    """A batch."""

    bands: Tensor
    labels: Tensor
    valid: Tensor
    gain: Tensor
    offset: Tensor
    noise: Tensor
    seeds: Tensor


def batch(seed: int, chips: int = 3, noise: float = 0.05) -> Chips:
    """Dark ground and one bright square a chip."""
    rng = np.random.default_rng(seed)
    images = rng.normal(-0.5, 0.2, (chips, 3, 64, 64)).astype(np.float32)
    labels = np.zeros((chips, 64, 64), np.uint8)
    for chip in range(chips):
        row, col = rng.integers(0, 32, 2)
        labels[chip, row : row + 32, col : col + 32] = 1
        images[chip, :, row : row + 32, col : col + 32] += 1.5
    return Chips(
        bands=torch.from_numpy(images),
        labels=torch.from_numpy(labels),
        valid=torch.ones(chips, 64, 64, dtype=torch.bool),
        gain=torch.ones(chips, 3),
        offset=torch.zeros(chips, 3),
        noise=torch.full((chips, 3), noise),
        seeds=torch.arange(chips) + 1000 * seed,
    )


def part(whole: Chips, start: int, stop: int) -> Chips:
    return Chips(**{name: values[start:stop] for name, values in vars(whole).items()})


def unlabelled(chips: Chips) -> Chips:
    return replace(chips, labels=torch.full_like(chips.labels, 255))


def trainer(*, model: dict[str, Any] | None = None, loss: LossConfig | None = None, **values: Any) -> Trainer:
    settings = {"learning_rate": 3e-3, "schedule": "constant", "ema_decay": 0.0, "batch_size": 3} | values
    config = Config(
        model=ModelConfig(**({"head_width": 16} | (model or {}))),
        train=TrainConfig(**settings),
        loss=loss or LossConfig(),
    )
    return Trainer(config, stats=STATS, classes=2, device=torch.device("cpu"), autocast=None)


def assert_same_weights(one: Trainer, other: Trainer) -> None:
    for name in ("network", "average"):
        for key, values in one.state()[name].items():
            assert torch.equal(values, other.state()[name][key]), key


@pytest.mark.slow
def test_it_learns_to_tell_a_square_from_ground() -> None:
    learner = trainer(epochs=9)
    first = learner.train_epoch(1, [batch(seed) for seed in range(5)], chips=15)
    for epoch in range(2, 10):
        last = learner.train_epoch(epoch, [batch(seed) for seed in range(5)], chips=15)
    assert last.loss < 0.4 * first.loss
    unseen = batch(99)
    assert (learner.answer(unseen).numpy() == unseen.labels.numpy()).mean() > 0.95


def test_going_on_from_a_state_is_exact() -> None:
    """After an epoch, and in the middle of one."""
    batches = [batch(1), batch(2), batch(3, chips=1)]
    settings: dict[str, Any] = {"schedule": "one_cycle", "ema_decay": 0.9, "epochs": 2}
    whole, states = trainer(**settings), []

    def keep() -> None:
        states.append(copy.deepcopy(whole.state()))

    whole.train_epoch(1, batches, chips=7, stepped=keep)
    figures = whole.train_epoch(2, batches, chips=7)
    for state, left in ((states[1], batches[2:]), (states[2], [])):
        resumed = trainer(**settings, seed=0)
        resumed.load_state(state)
        torch.rand(100)
        assert (resumed.epoch, resumed.seen) == (1, 7 - sum(len(each.labels) for each in left))
        first = resumed.train_epoch(1, left, chips=7)
        assert first.samples == 7
        again = resumed.train_epoch(2, batches, chips=7)
        assert (again.parts, again.learning_rate) == (figures.parts, figures.learning_rate)
        assert_same_weights(resumed, whole)


def test_an_epoch_in_two_sessions_has_the_figures_of_one() -> None:
    batches = [batch(1), batch(2), batch(3, chips=1)]
    whole, states = trainer(epochs=1), []
    figures = whole.train_epoch(
        1, batches, chips=7, stepped=lambda: states.append(copy.deepcopy(whole.state()))
    )
    resumed = trainer(epochs=1)
    resumed.load_state(states[0])
    again = resumed.train_epoch(1, batches[1:], chips=7)
    assert again.parts == figures.parts
    assert again.samples == figures.samples == 7
    assert again.seconds > states[0]["tally"]["seconds"]


def test_a_batch_in_parts_is_the_batch() -> None:
    """Gradient accumulation: with norms of single chips, the same step up to rounding."""
    whole, parts = (trainer(model={"norm": "group"}, optimizer="sgd", accumulate=count) for count in (1, 3))
    first, second = (each.train_epoch(1, [batch(1)], chips=3) for each in (whole, parts))
    assert second.parts == pytest.approx(first.parts, rel=1e-4)
    for name, values in whole.network.state_dict().items():
        assert torch.allclose(values, parts.network.state_dict()[name], atol=2e-5), name


def test_the_figures_are_means_over_chips_not_over_batches() -> None:
    alone = trainer().train_epoch(1, [batch(1, chips=3)], chips=3)
    both = trainer().train_epoch(1, [batch(1, chips=3), unlabelled(batch(2, chips=1))], chips=4)
    assert (alone.samples, both.samples) == (3, 4)
    assert both.parts["coarse"] == pytest.approx(alone.parts["coarse"] * 3 / 4)
    assert both.loss == pytest.approx(alone.loss * 3 / 4)
    assert 0.0 <= both.waited <= both.seconds


def test_batches_without_labels_change_no_score_and_break_nothing() -> None:
    figures = trainer().train_epoch(1, [unlabelled(batch(1))], chips=3)
    assert figures.loss == figures.parts["coarse"] == figures.parts["point"] == 0.0


@pytest.mark.parametrize("where", [0, 1])
def test_what_is_not_finite_ends_training_even_in_the_last_step(where: int) -> None:
    batches = [batch(1), batch(2)]
    batches[where].gain[0, 0] = torch.nan
    with pytest.raises(TrainingError, match="not finite in epoch 1"):
        trainer().train_epoch(1, batches, chips=6)


def test_without_points_the_head_stays_and_the_coarse_map_is_validated() -> None:
    learner = trainer(loss=LossConfig(point_weight=0.0), weight_decay=0.5)
    before = copy.deepcopy(learner.network.point_head.state_dict())
    learner.train_epoch(1, [batch(1)], chips=3)
    for name, values in learner.network.point_head.state_dict().items():
        assert torch.equal(values, before[name])
    assert learner.answer(batch(2)).shape == (3, 64, 64)


def test_a_trainer_is_gone_when_nobody_needs_it() -> None:
    gc.disable()  # which comes late to what is large, but of few parts
    try:
        learner = trainer()
        learner.train_epoch(1, [batch(0)], chips=3)
        network, average = weakref.ref(learner.network), weakref.ref(learner.average)
        del learner
        assert network() is None
        assert average() is None
    finally:
        gc.enable()


def test_deterministic_algorithms_are_used_meanwhile_only() -> None:
    device = torch.device("cpu")
    with borrowed_torch(device, deterministic=True):
        assert torch.are_deterministic_algorithms_enabled()
        exact = trainer().train_epoch(1, [batch(1)], chips=3)
    assert not torch.are_deterministic_algorithms_enabled()
    assert exact.parts == pytest.approx(trainer().train_epoch(1, [batch(1)], chips=3).parts, rel=1e-4)


def test_a_foreign_state_is_refused() -> None:
    learner = trainer()
    state = learner.state()
    with pytest.raises(ModelError, match="does not fit"):
        learner.load_state({**state, "network": {}})
    with pytest.raises(ModelError, match="does not fit"):
        learner.load_state({})


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_norms_and_biases_do_not_decay(optimizer: str) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    config = TrainConfig.model_validate({"optimizer": optimizer, "weight_decay": 0.5})
    groups = build_optimizer(network, config).param_groups
    decayed = [tuple(values.shape) for group in groups if group["weight_decay"] for values in group["params"]]
    assert decayed == [(4, 3, 1, 1)]
    assert sum(len(group["params"]) for group in groups) == 4
    assert build_optimizer(network, config).defaults["lr"] == config.learning_rate
