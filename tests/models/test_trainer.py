"""The loop on tensors: it learns, it goes on exactly, it stops at what is not finite."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from geoseg.config import Config, ModelConfig, TrainConfig
from geoseg.errors import ModelError, TrainingError
from geoseg.models.trainer import Trainer, build_optimizer, epoch_seed


def batch(seed: int, chips: int = 3) -> tuple[Tensor, Tensor]:
    """Dark ground and one bright square a chip."""
    rng = np.random.default_rng(seed)
    images = rng.normal(-0.5, 0.2, (chips, 3, 64, 64)).astype(np.float32)
    labels = np.zeros((chips, 64, 64), np.int64)
    for chip in range(chips):
        row, col = rng.integers(0, 32, 2)
        labels[chip, row : row + 32, col : col + 32] = 1
        images[chip, :, row : row + 32, col : col + 32] += 1.5
    return torch.from_numpy(images), torch.from_numpy(labels)


def trainer(steps: int, **values: Any) -> Trainer:
    torch.manual_seed(0)
    settings = {"learning_rate": 3e-3, "schedule": "constant", "ema_decay": 0.0} | values
    config = Config(model=ModelConfig(head_width=16), train=TrainConfig(**settings))
    return Trainer(config, bands=3, classes=2, steps=steps, device=torch.device("cpu"), autocast=None)


@pytest.mark.slow
def test_it_learns_to_tell_a_square_from_ground() -> None:
    learner = trainer(45)
    first = learner.train_epoch(1, [batch(seed) for seed in range(5)])
    for epoch in range(2, 10):
        last = learner.train_epoch(epoch, [batch(seed) for seed in range(5)])
    assert last.loss < 0.4 * first.loss
    images, labels = batch(99)
    assert (learner.predict(images) == labels.numpy()).mean() > 0.95


def test_going_on_from_a_state_is_exact() -> None:
    batches = [batch(1), batch(2, chips=1)]
    whole = trainer(4, schedule="one_cycle", ema_decay=0.9)
    whole.train_epoch(1, batches)
    state = copy.deepcopy(whole.state())
    figures = whole.train_epoch(2, batches)
    resumed = trainer(4, schedule="one_cycle", ema_decay=0.9)
    resumed.load_state(state)
    torch.rand(100)
    again = resumed.train_epoch(2, batches)
    assert (again.loss, again.point, again.learning_rate) == (
        figures.loss,
        figures.point,
        figures.learning_rate,
    )
    for part in ("network", "average"):
        for name, values in whole.state()[part].items():
            assert torch.equal(values, resumed.state()[part][name]), name


def test_the_figures_are_means_over_chips_not_over_batches() -> None:
    images, labels = batch(2, chips=1)
    unlabelled = images, torch.full_like(labels, 255)
    alone = trainer(2).train_epoch(1, [batch(1, chips=3)])
    both = trainer(2).train_epoch(1, [batch(1, chips=3), unlabelled])
    assert (alone.samples, both.samples) == (3, 4)
    assert both.coarse == pytest.approx(alone.coarse * 3 / 4)
    assert both.loss == pytest.approx(alone.loss * 3 / 4)
    assert 0.0 <= both.waited <= both.seconds


def test_batches_without_labels_change_no_score_and_break_nothing() -> None:
    images, labels = batch(1)
    figures = trainer(1).train_epoch(1, [(images, torch.full_like(labels, 255))])
    assert figures.loss == figures.coarse == figures.point == 0.0


@pytest.mark.parametrize("where", [0, 1])
def test_what_is_not_finite_ends_training_even_in_the_last_step(where: int) -> None:
    batches = [batch(1), batch(2)]
    batches[where][0][0, 0, 0, 0] = torch.nan
    with pytest.raises(TrainingError, match="not finite in epoch 1"):
        trainer(2).train_epoch(1, batches)


def test_a_foreign_state_is_refused() -> None:
    learner = trainer(1)
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


def test_epoch_seeds_differ() -> None:
    assert len({epoch_seed(seed, epoch) for seed in range(5) for epoch in range(50)}) == 250
