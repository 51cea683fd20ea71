"""The optimisation itself: network, averaged network, optimiser, scaler, and how one epoch goes.

Knows tensors only. Where batches come from and where results go is the train stage's business.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from geoseg.classes import BandStats
from geoseg.config import Config, TrainConfig
from geoseg.errors import ModelError, TrainingError
from geoseg.models.average import average_decay, average_of, update_average
from geoseg.models.depthwise import widen_depthwise_gradients
from geoseg.models.instance_task import InstanceTask
from geoseg.models.normalise import Normaliser
from geoseg.models.norms import batch_norms_over_processes
from geoseg.models.randomness import chip_generators
from geoseg.models.schedule import learning_rate
from geoseg.models.task import SemanticTask, Task
from geoseg.models.world import World

_SGD_MOMENTUM = 0.9


class Batch(Protocol):
    """Raw chips of one step and their share of chance; :class:`geoseg.chips.batches.ChipBatch` is one."""

    @property
    def bands(self) -> Tensor:
        """(N, B, H, W) of any real dtype."""

    @property
    def valid(self) -> Tensor:
        """(N, H, W) bool."""

    @property
    def labels(self) -> Tensor:
        """(N, H, W) uint8 class ids, 255 = unknown."""

    @property
    def objects(self) -> Tensor | None:
        """(N, H, W) int32 numbers of objects, each chip its own from 1; ``None`` but for instance chips."""

    @property
    def gain(self) -> Tensor:
        """(N, B) float32, to multiply the normalised bands by."""

    @property
    def offset(self) -> Tensor:
        """(N, B) float32, to add to them then."""

    @property
    def noise(self) -> Tensor:
        """(N, B) float32, standard deviation of the noise to add."""

    @property
    def seeds(self) -> Tensor:
        """(N,) int64, of all that is drawn for each chip."""


@dataclass(frozen=True, kw_only=True)
class EpochFigures:
    """What one epoch of training came to.

    Attributes:
        parts: means over the epoch's chips: ``loss`` is what was minimised, the others are its parts
            without their weights, as the task names them.
        learning_rate: of the last step.
        seconds: wall time.
        samples: chips trained on.
        waited: seconds of it spent waiting for batches.
    """

    parts: dict[str, float]
    learning_rate: float
    seconds: float
    samples: int
    waited: float

    @property
    def loss(self) -> float:
        """What was minimised."""
        return self.parts["loss"]

    def to_json(self) -> dict[str, float]:
        """Keys of a line of the log."""
        return {
            **self.parts,
            "lr": self.learning_rate,
            "seconds": round(self.seconds, 3),
            "samples_per_s": round(self.samples / self.seconds, 3),
            "wait_share": round(self.waited / self.seconds, 4),
        }


@dataclass
class _Tally:
    """Sums of an epoch so far."""

    epoch: int = 0
    sums: tuple[float, ...] = ()
    samples: int = 0
    seconds: float = 0.0
    waited: float = 0.0


class Trainer:
    """Trains the network of a task and keeps the average of its weights.

    All randomness follows from the seed of the run and the seeds of the chips: a run that goes on from
    :meth:`state`, after any step, ends with the same weights as one that never stopped.

    Attributes:
        network: the network in training.
        average: the averaged network, in eval mode.
        steps_done: optimiser steps so far.
        seen: chips of the epoch in progress that were trained on, by all processes together.
    """

    def __init__(
        self,
        config: Config,
        *,
        stats: BandStats,
        classes: int,
        device: torch.device,
        autocast: torch.dtype | None,
        class_weights: Sequence[float] | None = None,
        world: World | None = None,
    ) -> None:
        """Build the network with random weights that follow from the seed.

        Args:
            config: the run.
            stats: how bands are normalised.
            classes: K.
            device: where to train.
            autocast: lower precision to compute in, or ``None`` for float32.
            class_weights: one a class, of a semantic task; equal ones when not given.
            world: the processes that train together; this one alone when not given.
        """
        self._config = config
        self._device = device
        self._autocast = autocast
        self._world = world or World()
        self._normaliser = Normaliser(stats, device)
        torch.manual_seed(config.train.seed)
        weights = None if class_weights is None else torch.tensor(class_weights, device=device)
        self._task: Task
        if config.model.task == "instance":
            self._task = InstanceTask(config, bands=len(stats.mean), classes=classes)
        else:
            self._task = SemanticTask(config, bands=len(stats.mean), classes=classes, class_weights=weights)
        # Modules move in place.
        self.network: nn.Module = self._task.network.to(device).to(memory_format=torch.channels_last)
        self.average = average_of(self.network)
        if device.type == "cpu" and autocast is not None and not config.train.compile:
            # Compiled code is slower with it, and gains less than it does.
            widen_depthwise_gradients(self.network)
        if config.train.compile:
            self._task.compile()
        loss = _Loss(self._task, self._world)
        self._loss: nn.Module = loss
        if self._world.size > 1:
            batch_norms_over_processes(loss, device)
            ids = [device] if device.type == "cuda" else None
            # Every process does the same to its buffers, so none needs to be sent.
            self._loss = DistributedDataParallel(loss, device_ids=ids, broadcast_buffers=False)
        self._optimizer = build_optimizer(self.network, config.train)
        self._scaler = torch.amp.GradScaler(device.type, enabled=autocast == torch.float16)
        self.steps_done = 0
        self.seen = 0
        self._tally = _Tally()
        self._running: tuple[Tensor, int] | None = None

    @property
    def epoch(self) -> int:
        """The epoch in progress, or the last one; 0 before the first."""
        return self._tally.epoch

    def train_epoch(
        self,
        epoch: int,
        batches: Iterable[Batch],
        *,
        chips: int,
        stepped: Callable[[], None] = lambda: None,
    ) -> EpochFigures:
        """Train on ``batches``, one optimiser step each, and so end the epoch.

        Args:
            epoch: number of the epoch, from 1.
            batches: what is left of the epoch, this process's part of each batch, on any device.
            chips: chips of the whole epoch, of all processes.
            stepped: called after every step; :meth:`state` may be asked for then.

        Raises:
            TrainingError: the loss or the gradients are not finite.
        """
        if self._tally.epoch != epoch:
            self._tally, self.seen = _Tally(epoch=epoch, sums=(0.0,) * len(self._task.parts)), 0
        self.network.train()
        tally, rate = self._tally, math.nan
        source, began = iter(batches), time.perf_counter()
        while True:
            asked = time.perf_counter()
            batch = next(source, None)
            tally.waited += time.perf_counter() - asked
            if batch is None:
                break
            rate = self._rate(epoch, chips)
            figures = self._step(batch, rate)
            # Looking at the step before, not at this one, leaves a GPU something to do meanwhile.
            self._settle()
            seen = min(self.seen + self._chips_a_step, chips)
            self._running, self.seen = (figures, seen - self.seen), seen
            tally.samples = seen
            now = time.perf_counter()
            tally.seconds, began = tally.seconds + now - began, now
            stepped()
        self._settle()
        tally.seconds += time.perf_counter() - began
        means = (np.array(tally.sums) / max(tally.samples, 1)).tolist()
        return EpochFigures(
            parts=dict(zip(self._task.parts, means, strict=True)),
            learning_rate=rate,
            seconds=tally.seconds,
            samples=tally.samples,
            waited=tally.waited,
        )

    def answer(self, batch: Batch) -> Any:
        """What the averaged network says of a batch.

        Of a semantic task class ids (N, H, W) uint8, else a :class:`geoseg.models.instances.Detections` a
        chip.
        """
        images = self._normaliser(self._moved(batch.bands), self._moved(batch.valid))
        with self._precision():
            return self._task.answer(self.average, images)

    def state(self) -> dict[str, Any]:
        """All that :meth:`load_state` needs to go on: tensors and plain values."""
        self._settle()
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "steps_done": self.steps_done,
            "seen": self.seen,
            "tally": dict(vars(self._tally)),
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` returned.

        Raises:
            ModelError: it does not fit this network.
        """
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self._optimizer.load_state_dict(state["optimizer"])
            if state["scaler"] and self._scaler.is_enabled():
                self._scaler.load_state_dict(state["scaler"])
            self.steps_done, self.seen = int(state["steps_done"]), int(state["seen"])
            self._tally = _Tally(**state["tally"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise ModelError("the saved training state does not fit; train without --resume") from error

    @property
    def _chips_a_step(self) -> int:
        """Chips of a step, of all processes."""
        return self._world.size * self._config.train.batch_size

    def _step(self, batch: Batch, rate: float) -> Tensor:
        """One optimiser step: float32 of the loss, its parts and the norm of the gradients."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.zero_grad(set_to_none=True)
        count = len(batch.labels)
        starts = _part_starts(count, self._config.train.accumulate)
        sums = torch.zeros(len(self._task.parts), device=self._device)
        for start, stop in pairwise(starts):
            with self._alone(stop < count), self._precision():
                figures = self._loss(*self._inputs(batch, start, stop)) * ((stop - start) / count)
            with self._alone(stop < count):
                torch.autograd.backward(self._scaler.scale(figures[0]))
            sums += figures.detach()
        self._scaler.unscale_(self._optimizer)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self._config.train.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        decay = average_decay(self._config.train.ema_decay, self.steps_done)
        update_average(self.average, self.network, decay)
        self.steps_done += 1
        return torch.cat([self._world.mean(sums), norm.unsqueeze(0)])

    def _inputs(self, batch: Batch, start: int, stop: int) -> tuple[Tensor, Any, list[torch.Generator]]:
        """What the network sees of a part of the batch, what it is to answer, and the chips' generators."""
        part = slice(start, stop)
        generators = chip_generators(batch.seeds[part], self._device)
        images = self._normaliser.jittered(
            self._moved(batch.bands[part]),
            self._moved(batch.valid[part]),
            gain=self._moved(batch.gain[part]),
            offset=self._moved(batch.offset[part]),
            noise=self._moved(batch.noise[part]),
            generators=generators,
        )
        return images, self._task.targets(batch, part, self._device), generators

    def _alone(self, alone: bool) -> AbstractContextManager[None]:
        """Whether gradients stay in this process for now, because more of the step's are to come."""
        if alone and isinstance(self._loss, DistributedDataParallel):
            return self._loss.no_sync()
        return nullcontext()

    def _settle(self) -> None:
        """Take the last step's figures into the epoch's sums."""
        if self._running is None:
            return
        (figures, count), self._running = self._running, None
        *parts, norm = figures.tolist()
        # With a scaler, infinite gradients are its way to find the scale; it skips such steps.
        if not math.isfinite(parts[0]) or not (math.isfinite(norm) or self._scaler.is_enabled()):
            what = "gradient" if math.isfinite(parts[0]) else "loss"
            raise TrainingError(
                f"{what} is not finite in epoch {self._tally.epoch}; lower train.learning_rate "
                f"(now {self._config.train.learning_rate:g}), or set train.precision to fp32"
            )
        sums = zip(self._tally.sums, parts, strict=True)
        self._tally.sums = tuple(total + count * part for total, part in sums)

    def _rate(self, epoch: int, chips: int) -> float:
        settings = self._config.train
        steps = -(-chips // self._chips_a_step)
        # By the chips seen: another number of processes goes on where the one before stopped.
        step = (epoch - 1) * steps + self.seen / self._chips_a_step
        return learning_rate(settings.schedule, step, steps * settings.epochs, peak=settings.learning_rate)

    def _moved(self, values: Tensor) -> Tensor:
        return values.to(self._device, non_blocking=True)

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, dtype=self._autocast or torch.bfloat16, enabled=self._autocast is not None
        )


class _Loss(nn.Module):
    """The network and its loss as one module, as torch wants it to see the gradients of all processes.

    It must not know the trainer: in a circle, all memory of both would wait for Python's collector.
    """

    def __init__(self, task: Task, world: World) -> None:
        super().__init__()
        self.network = task.network
        self._task = task
        self._world = world

    def forward(self, images: Tensor, targets: Any, generators: list[torch.Generator]) -> Tensor:
        """Float32: the loss, with gradient, and its parts."""
        return self._task.loss(images, targets, generators, self._world.mean)


def _part_starts(count: int, parts: int) -> list[int]:
    """Where each of at most ``parts`` even parts of ``count`` begins, and ``count``."""
    parts = min(parts, count)
    return [count * part // parts for part in range(parts)] + [count]


def build_optimizer(network: torch.nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """The optimiser of ``config``; biases and the weights of norms do not decay."""
    kernels = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": kernels, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=_SGD_MOMENTUM, fused=True)
    return torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
