"""A run from where it stands to its end, in one process or in several that train together.

``last.pt`` is what counts: an epoch is done when it is written. The line of the epoch is written before it
and cut again on resume if ``last.pt`` did not follow; the best weights are written after it and made again
on resume if they did not follow. Within a long epoch ``last.pt`` is also written every few minutes. Killed
anywhere, a run loses an epoch or those minutes at most, whichever is less.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from contextlib import ExitStack, closing, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from shlex import quote
from typing import Any

import torch

from geoseg import __version__
from geoseg.chips.balance import rare_order
from geoseg.chips.batches import ChipBatch, batches_of, epoch_order
from geoseg.chips.dataset import ChipDataset
from geoseg.chips.store import ChipStore
from geoseg.config import Config
from geoseg.models.card import ModelCard
from geoseg.models.checkpoint import save_model
from geoseg.models.course import Course, InstanceScores, Scores, append_row, cut_log
from geoseg.models.resume import save_state
from geoseg.models.trainer import Trainer
from geoseg.models.world import World
from geoseg.outputs import held, staged_folder
from geoseg.presets import dump_config
from geoseg.progress import Progress
from geoseg.training.board import Board
from geoseg.training.folder import BEST, CONFIG, LAST, METRICS, MODEL
from geoseg.training.table import table_row
from geoseg.training.validate import validate
from geoseg.training.validate_instances import validate_instances


class Session:
    """One call of :func:`geoseg.train.train`: a trainer, the chips, and the run folder they fill.

    Of several processes, the first one writes; all of them train and validate.

    Attributes:
        course: how far the run has come.
        was_finished: whether it was finished before, so that there is nothing to do.
    """

    def __init__(
        self,
        run: Path,
        store: ChipStore,
        config: Config,
        trainer: Trainer,
        world: World,
        device: torch.device,
        progress: Progress,
    ) -> None:
        self.course = Course()
        self.was_finished = False
        self._run = run
        self._store = store
        self._config = config
        self._trainer = trainer
        self._world = world
        self._device = device
        self._progress = progress
        self._saved_at = time.monotonic()
        self._board = Board(run)
        self._held = ExitStack()
        settings = config.train
        self.train_set = ChipDataset(
            store,
            "train",
            augment=config.augment,
            crop_px=settings.crop_px,
            rare_share=settings.rare_share,
            ignore_rim_px=settings.ignore_rim_px,
            seed=settings.seed,
        )
        self.val_set = ChipDataset(store, "val", seed=settings.seed)

    def start(self) -> None:
        """Make the run folder, in place of one that is there."""
        if not self._world.is_first:
            return
        self._run.parent.mkdir(parents=True, exist_ok=True)
        # At one stroke: killed at any moment there is the run that was replaced, or one that can be resumed.
        with held(self._run) if self._run.exists() else nullcontext(), staged_folder(self._run) as staged:
            (staged / CONFIG).write_text(dump_config(self._config), encoding="utf-8")
            (staged / METRICS).touch()
            self._save_state(self.course, staged)
        self._held.enter_context(held(self._run))

    def go_on(self, state: dict[str, Any]) -> None:
        """Take over the state of the run, and put its folder into the state of that moment."""
        if self._world.is_first:
            self._held.enter_context(held(self._run))
        self._trainer.load_state(state)
        self.course = Course.from_state(state["course"])
        self.was_finished = (self._run / MODEL).exists()
        # Nobody writes into the folder before all have looked.
        self._world.wait()
        if self._world.is_first:
            for litter in self._run.glob(".geoseg-*"):
                # A staging folder that a killed session left.
                shutil.rmtree(litter, ignore_errors=True)
        if self.was_finished:
            self._progress.note(f"run {self._run} is finished; nothing to do")
            return
        if self._world.is_first:
            cut_log(self._run / METRICS, self.course.epoch)
            # Only a session killed right after the epoch can have failed to write it.
            if self.course.best_epoch == self.course.epoch == self._trainer.epoch > 0:
                self._save_model(BEST)
        within = self._seen(self.course.epoch + 1)
        chips = f" and {within} of {len(self.train_set)} chips" if within else ""
        self._progress.note(f"resuming after epoch {self.course.epoch}{chips}")

    def train_to_end(self) -> None:
        """Train epoch after epoch, and name the model at last."""
        with self._held:
            if not self.was_finished:
                self._train_to_end()

    def _train_to_end(self) -> None:
        if not len(self.val_set):
            self._progress.warn("no validation chips: the model will be that of the last epoch")
        epochs_left = self._config.train.epochs - self.course.epoch
        begun = len(self._batches(self.course.epoch + 1)) if epochs_left else 0
        steps = begun + max(epochs_left - 1, 0) * len(self._batches(self._config.train.epochs + 1))
        self._progress.begin("train", steps, "steps")
        try:
            while not self.course.is_over(self._config.train):
                self._train_epoch()
        except (KeyboardInterrupt, SystemExit):
            self._progress.warn(
                f"interrupted; epoch {self.course.epoch} is saved, go on with: "
                f"geoseg train --tiles {quote(str(self._store.folder))} --resume {quote(str(self._run))}"
            )
            raise
        finally:
            self._board.close()
            self._progress.end()
        if self._world.is_first:
            if self.course.best_epoch is None:
                self._save_model(MODEL)
            else:
                (self._run / BEST).replace(self._run / MODEL)
        self._world.wait()

    def _train_epoch(self) -> None:
        epoch = self.course.epoch + 1
        with closing(self._prepared(epoch)) as batches:
            figures = self._trainer.train_epoch(
                epoch, batches, chips=len(self.train_set), stepped=self._stepped
            )
        scores = self._validated()
        course = self.course.after(scores)
        row = {"epoch": epoch, "step": self._trainer.steps_done} | scores.to_json() | figures.to_json()
        if self._world.is_first:
            # The order matters, see the top of the module.
            append_row(self._run / METRICS, row)
            self._board.add(row)
            self._save_state(course)
        self.course = course
        if self._world.is_first and course.best_epoch == epoch:
            self._save_model(BEST)
        self._progress.row(table_row(row, figures.parts))

    def _validated(self) -> Scores | InstanceScores:
        check = validate_instances if self._config.model.task == "instance" else validate
        return check(self._trainer, self.val_set, self._world, self._device)

    def _seen(self, epoch: int) -> int:
        """Chips of ``epoch`` trained on already."""
        return self._trainer.seen if self._trainer.epoch == epoch else 0

    def _batches(self, epoch: int) -> list[list[int]]:
        """What is left of an epoch: indices of the chips of each step, of all processes together."""
        settings = self._config.train
        plain = epoch_order(len(self.train_set), seed=settings.seed, epoch=epoch)
        pixels = [chip.class_pixels for chip in self.train_set.chips]
        order = rare_order(pixels, plain, settings.rare_share, seed=settings.seed, epoch=epoch)
        order = order[self._seen(epoch) :]
        step = settings.batch_size * self._world.size
        return [order[start : start + step] for start in range(0, len(order), step)]

    def _prepared(self, epoch: int) -> Generator[ChipBatch, None, None]:
        """This process's part of each batch."""
        whole = self._batches(epoch)
        mine = [self._world.share(batch) for batch in whole]
        threads = max(1, self._config.train.workers)
        cuda = self._device.type == "cuda"
        # A process without a chip takes the first one and learns nothing from it: all must take the step.
        shown = [part or batch[:1] for part, batch in zip(mine, whole, strict=True)]
        with closing(batches_of(self.train_set, shown, epoch=epoch, threads=threads, pin=cuda)) as batches:
            for batch, part in zip(batches, mine, strict=True):
                yield batch if part else replace(batch, labels=torch.full_like(batch.labels, 255))

    def _stepped(self) -> None:
        """Tell, and save the state when it is time to."""
        self._progress.advance()
        minutes = self._config.train.checkpoint_minutes
        overdue = time.monotonic() - self._saved_at > 60.0 * minutes
        if self._world.is_first and minutes and overdue and self._trainer.seen < len(self.train_set):
            self._save_state(self.course)

    def _save_state(self, course: Course, folder: Path | None = None) -> None:
        save_state(
            (folder or self._run) / LAST,
            {
                **self._trainer.state(),
                "course": asdict(course),
                "chips": self._store.fingerprint(),
                "config": dump_config(self._config),
            },
        )
        self._saved_at = time.monotonic()

    def _save_model(self, name: str) -> None:
        store, course = self._store, self.course
        card = ModelCard(
            architecture=self._config.model,
            points=self._config.points,
            classes=store.classes,
            band_names=store.band_names,
            dtype=store.dtype,
            stats=store.stats,
            gsd_m=store.gsd_m,
            gsd_range_m=store.gsd_range_m,
            size_px=store.size_px,
            geoseg_version=__version__,
            torch_version=torch.__version__,
            training={
                "epochs": self._config.train.epochs,
                "best_epoch": course.best_epoch or course.epoch,
                "scores": asdict(course.best),
                "chips": store.fingerprint(),
                "config": self._config.model_dump(mode="json"),
            },
        )
        save_model(self._run / name, self._trainer.average, card)
