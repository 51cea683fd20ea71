"""The optimisation itself: network, averaged network, optimiser, scaler, and how one epoch goes.

Knows tensors only. Where batches come from and where results go is the train stage's business.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from geoseg.config import Config, TrainConfig
from geoseg.errors import ModelError, TrainingError
from geoseg.models.average import average_decay, average_of, update_average
from geoseg.models.deeplab import PointRendDeepLab, build_model
from geoseg.models.inference import predict_logits
from geoseg.models.losses import training_loss
from geoseg.models.schedule import learning_rate

Batch = tuple[Tensor, Tensor]
"""Images (N, B, H, W) float32 normalised and labels (N, H, W) int64, 255 = unknown."""

_SGD_MOMENTUM = 0.9


@dataclass(frozen=True, kw_only=True)
class EpochFigures:
    """What one epoch of training came to.

    Attributes:
        loss: mean over the epoch's chips of what was minimised.
        coarse: its part from the coarse map, unweighted.
        point: its part from the points, unweighted.
        auxiliary: its part from the auxiliary head, unweighted.
        learning_rate: of the last step.
        seconds: wall time.
        samples: chips trained on.
        waited: seconds of it spent waiting for batches.
    """

    loss: float
    coarse: float
    point: float
    auxiliary: float
    learning_rate: float
    seconds: float
    samples: int
    waited: float

    def to_json(self) -> dict[str, float]:
        """Keys of a line of the log."""
        return {
            "loss": self.loss,
            "coarse": self.coarse,
            "point": self.point,
            "auxiliary": self.auxiliary,
            "lr": self.learning_rate,
            "seconds": round(self.seconds, 3),
            "samples_per_s": round(self.samples / self.seconds, 3),
            "wait_share": round(self.waited / self.seconds, 4),
        }


class Trainer:
    """Trains a :class:`PointRendDeepLab` and keeps the average of its weights.

    All randomness of an epoch (points, dropout) follows from (seed, epoch): a run that goes on from
    :meth:`state` ends with the same weights as one that never stopped.

    Attributes:
        network: the network in training.
        average: the averaged network, in eval mode.
        steps_done: optimiser steps so far.
    """

    def __init__(
        self,
        config: Config,
        *,
        bands: int,
        classes: int,
        steps: int,
        device: torch.device,
        autocast: torch.dtype | None,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        """Build the network with random weights that follow from the seed.

        Args:
            config: the run.
            bands: B.
            classes: K.
            steps: optimiser steps of the whole run.
            device: where to train.
            autocast: lower precision to compute in, or ``None`` for float32.
            class_weights: one a class; equal ones when not given.
        """
        self._config = config
        self._steps = steps
        self._device = device
        self._autocast = autocast
        self._class_weights = None if class_weights is None else torch.tensor(class_weights, device=device)
        self._seed(epoch=0)
        network = build_model(config.model, bands=bands, classes=classes).to(device)
        self.network: PointRendDeepLab = network.to(memory_format=torch.channels_last)
        self.average = average_of(self.network)
        self._optimizer = build_optimizer(self.network, config.train)
        self._scaler = torch.amp.GradScaler(device.type, enabled=autocast == torch.float16)
        self.steps_done = 0

    def train_epoch(
        self, epoch: int, batches: Iterable[Batch], stepped: Callable[[], None] = lambda: None
    ) -> EpochFigures:
        """Train on ``batches``, one optimiser step each.

        Args:
            epoch: number of the epoch, from 1.
            batches: the epoch's batches, on any device.
            stepped: called after every step.

        Raises:
            TrainingError: the loss or the gradients are not finite.
        """
        self._seed(epoch)
        self.network.train()
        started = time.perf_counter()
        waited, samples, rate = 0.0, 0, math.nan
        sums = np.zeros(4)
        running: tuple[Tensor, int] | None = None
        source = iter(batches)
        while True:
            asked = time.perf_counter()
            batch = next(source, None)
            waited += time.perf_counter() - asked
            if batch is None:
                break
            rate = self._next_rate()
            figures = self._step(*batch, rate)
            # Looking at the step before, not at this one, leaves a GPU something to do meanwhile.
            if running is not None:
                sums += self._checked(*running, epoch)
            running = figures, len(batch[0])
            samples += len(batch[0])
            stepped()
        if running is not None:
            sums += self._checked(*running, epoch)
        loss, coarse, point, auxiliary = (sums / max(samples, 1)).tolist()
        return EpochFigures(
            loss=loss,
            coarse=coarse,
            point=point,
            auxiliary=auxiliary,
            learning_rate=rate,
            seconds=time.perf_counter() - started,
            samples=samples,
            waited=waited,
        )

    def predict(self, images: Tensor) -> NDArray[np.uint8]:
        """Refined class ids (N, H, W) of ``images`` (N, B, H, W) by the averaged network."""
        images = self._on_device(images)
        with self._precision():
            logits = predict_logits(self.average, images)
        ids: NDArray[np.uint8] = logits.argmax(dim=1).to(torch.uint8).cpu().numpy()
        return ids

    def state(self) -> dict[str, Any]:
        """All that :meth:`load_state` needs to go on: tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
            "steps_done": self.steps_done,
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
            self.steps_done = int(state["steps_done"])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise ModelError("the saved training state does not fit; train without --resume") from error

    def _step(self, images: Tensor, labels: Tensor, rate: float) -> Tensor:
        """One optimiser step: (5,) float32 of the loss, its three parts and the norm of the gradients."""
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        with self._precision():
            parts = training_loss(
                self.network,
                self._on_device(images),
                labels.to(self._device, non_blocking=True),
                points=self._config.points,
                loss=self._config.loss,
                class_weights=self._class_weights,
            )
        self._optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self._scaler.scale(parts.total))
        self._scaler.unscale_(self._optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self._config.train.clip_norm)
        self._scaler.step(self._optimizer)
        self._scaler.update()
        decay = average_decay(self._config.train.ema_decay, self.steps_done)
        update_average(self.average, self.network, decay)
        self.steps_done += 1
        return torch.stack([parts.total.detach(), parts.coarse, parts.point, parts.auxiliary, norm])

    def _checked(self, figures: Tensor, count: int, epoch: int) -> NDArray[np.float64]:
        """The loss and its parts, times ``count``."""
        loss, coarse, point, auxiliary, norm = figures.tolist()
        # With a scaler, infinite gradients are its way to find the scale; it skips such steps.
        if not math.isfinite(loss) or not (math.isfinite(norm) or self._scaler.is_enabled()):
            what = "loss" if not math.isfinite(loss) else "gradient"
            raise TrainingError(
                f"{what} is not finite in epoch {epoch}; lower train.learning_rate "
                f"(now {self._config.train.learning_rate:g}), or set train.precision to fp32"
            )
        return np.array([loss, coarse, point, auxiliary]) * count

    def _next_rate(self) -> float:
        settings = self._config.train
        return learning_rate(settings.schedule, self.steps_done, self._steps, peak=settings.learning_rate)

    def _on_device(self, images: Tensor) -> Tensor:
        return images.to(self._device, non_blocking=True, memory_format=torch.channels_last)

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self._device.type, dtype=self._autocast or torch.bfloat16, enabled=self._autocast is not None
        )

    def _seed(self, epoch: int) -> None:
        torch.manual_seed(epoch_seed(self._config.train.seed, epoch))


def epoch_seed(seed: int, epoch: int) -> int:
    """A 64-bit seed that follows from both and looks like neither."""
    return int(np.random.SeedSequence([seed % 2**64, epoch]).generate_state(1, np.uint64)[0])


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


@contextmanager
def borrowed_torch(device: torch.device, threads: int | None = None) -> Iterator[None]:
    """Leave torch's random state and number of CPU threads as they were; ``threads`` to use meanwhile."""
    before = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.set_num_threads(threads or before)
            yield
    finally:
        torch.set_num_threads(before)
