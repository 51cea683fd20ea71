"""Chips to model: train DeepLabV3 + PointRend, validate, keep the best, and survive being stopped anywhere.

A run folder holds ``config.yaml`` (resolved), ``metrics.jsonl`` (a line an epoch), ``last.pt`` (state after
the last finished epoch), ``best.safetensors`` (best weights so far) and, once finished,
``model.safetensors``.

``last.pt`` is what counts: an epoch is done when it is written. The line of the epoch is written before it
and cut again on resume if ``last.pt`` did not follow; the best weights are written after it and made again
on resume if they did not follow. Killed anywhere, a run loses one epoch at most.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import numpy as np

from geoseg import __version__
from geoseg.chips.balance import class_weights
from geoseg.chips.store import Chip, ChipStore
from geoseg.classes import ClassMap
from geoseg.config import Config, dump_config, load_config
from geoseg.errors import ChipsError, ConfigError, ModelError, OutputError
from geoseg.metrics import BoundaryCounts, ConfusionMatrix, json_score
from geoseg.models.card import ModelCard
from geoseg.models.course import Course, Scores, append_row, cut_log
from geoseg.outputs import check_output_folder, staged_file
from geoseg.progress import SILENT, Progress

if TYPE_CHECKING:
    from geoseg.chips.dataset import ChipDataset
    from geoseg.models.trainer import Trainer

RUNS = Path("runs")
BOUNDARY_PX = 2
"""Width of the band of the validation's Boundary IoU."""

_CONFIG, _METRICS, _LAST = "config.yaml", "metrics.jsonl", "last.pt"
_BEST, _MODEL = "best.safetensors", "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    """What :func:`train` did.

    Attributes:
        run: the run folder.
        model: the finished model file.
        epochs: epochs trained, in all sessions of the run together.
        best_epoch: the epoch the model is from; ``None`` without validation, which takes the last one.
        best_miou: its validation mIoU over the classes present.
        best_iou: its validation IoU by class name, ``None`` for classes absent from the validation chips.
        best_boundary_iou: its mean Boundary IoU, ``BOUNDARY_PX`` wide.
        train_chips: chips trained on.
        val_chips: chips validated on.
        seconds: wall time of this session.
        device: where it ran, and at which precision.
    """

    run: Path
    model: Path
    epochs: int
    best_epoch: int | None
    best_miou: float | None
    best_iou: dict[str, float | None]
    best_boundary_iou: float | None
    train_chips: int
    val_chips: int
    seconds: float
    device: str

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self) | {"run": str(self.run), "model": str(self.model)}


def train(
    tiles: Path,
    *,
    run: Path | None = None,
    config: Config | None = None,
    resume: bool = False,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
    threads: int | None = None,
) -> TrainReport:
    """Train a model on the chips in ``tiles`` and write it to ``run/model.safetensors``.

    On a CPU, a resumed run ends with exactly the weights of one that never stopped, as long as the number of
    threads is the same.

    Args:
        tiles: a folder that ``tile`` made.
        run: the run folder; ``runs/TIME-ARCHITECTURE`` when not given.
        config: what to train and how; the defaults, or on resume those of the run, when not given.
        resume: go on with ``run`` after its last finished epoch. A finished run is left as it is.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        overwrite: replace an existing run.
        progress: told about every step and epoch.
        threads: CPU threads; torch's own choice when not given.

    Raises:
        ChipsError: no chips, none to train on, or other ones than the resumed run was trained on.
        ConfigError: the configuration does not fit the chips, or not the resumed run.
        OutputError: the run exists.
        ModelError: the run cannot be resumed, or the backbone's weights cannot be had.
        TrainingError: the loss is not finite.
    """
    started = time.monotonic()
    run, config = _prepare(run, config, resume=resume, overwrite=overwrite)
    store = ChipStore.open(tiles)
    weights = _check_chips(store, config)
    if store.classes.boundary is not None and config.loss.class_weights == "none":
        name = store.classes.names[store.classes.boundary]
        progress.warn(
            f"{name} is a thin class, hardly predicted unless it counts for more; "
            "try --set loss.class_weights=inverse_sqrt"
        )
    # Only now: importing torch takes seconds, and nobody should wait that long for a refusal.
    from geoseg.models.inference import choose_device, choose_precision
    from geoseg.models.resume import load_state
    from geoseg.models.trainer import Trainer, borrowed_torch

    state = load_state(run / _LAST) if resume else None
    if state is not None:
        _check_same(state, store, config, run)
    where = choose_device(device)
    autocast, why = choose_precision(config.train.precision, where)
    progress.note(f"run {run}: {config.model.architecture} on {where}, {why}")
    with borrowed_torch(where, threads):
        steps = -(-len(store.chips("train")) // config.train.batch_size)
        trainer = Trainer(
            config,
            bands=len(store.band_names),
            classes=len(store.classes),
            steps=steps * config.train.epochs,
            device=where,
            autocast=autocast,
            class_weights=weights,
        )
        session = _Session(run, store, config, trainer, progress)
        if state is None:
            session.start(overwrite=overwrite)
        else:
            session.go_on(state)
        session.train_to_end(steps)
    return session.report(seconds=time.monotonic() - started, device=f"{where}, {why}")


class _Session:
    """One call of :func:`train`: a trainer, the chips, and the run folder they fill."""

    def __init__(
        self, run: Path, store: ChipStore, config: Config, trainer: Trainer, progress: Progress
    ) -> None:
        from geoseg.chips.dataset import ChipDataset

        self._run = run
        self._store = store
        self._config = config
        self._trainer = trainer
        self._progress = progress
        self._course = Course()
        settings = config.train
        self._train_set = ChipDataset(
            store, "train", augment=config.augment, crop_px=settings.crop_px, seed=settings.seed
        )
        self._val_set = ChipDataset(store, "val", augment=None, crop_px=None, seed=settings.seed)

    def start(self, *, overwrite: bool) -> None:
        """Make the run folder."""
        if overwrite and self._run.exists():
            shutil.rmtree(self._run)
        self._run.mkdir(parents=True, exist_ok=True)
        with staged_file(self._run / _CONFIG) as staged:
            staged.write_text(dump_config(self._config), encoding="utf-8")
        (self._run / _METRICS).touch()
        self._save_state(self._course)

    def go_on(self, state: dict[str, Any]) -> None:
        """Take over the state of the run, and put its folder into the state of that moment."""
        self._trainer.load_state(state)
        self._course = Course.from_state(state["course"])
        for litter in self._run.glob(".geoseg-*"):
            # A staging folder that a killed session left.
            shutil.rmtree(litter, ignore_errors=True)
        if (self._run / _MODEL).exists():
            self._progress.note(f"run {self._run} is finished; nothing to do")
            return
        cut_log(self._run / _METRICS, self._course.epoch)
        if self._course.best_epoch == self._course.epoch > 0:
            self._save_model(_BEST)
        self._progress.note(f"resuming after epoch {self._course.epoch}")

    def train_to_end(self, steps: int) -> None:
        """Train epoch after epoch of ``steps`` steps, and name the model at last."""
        if (self._run / _MODEL).exists():
            return
        if not len(self._val_set):
            self._progress.warn("no validation chips: the model will be that of the last epoch")
        self._progress.begin("train", (self._config.train.epochs - self._course.epoch) * steps, "steps")
        try:
            while not self._course.is_over(self._config.train):
                self._train_epoch()
        except (KeyboardInterrupt, SystemExit):
            self._progress.warn(
                f"interrupted; epoch {self._course.epoch} is saved, go on with: "
                f"geoseg train --tiles {quote(str(self._store.folder))} --resume {quote(str(self._run))}"
            )
            raise
        finally:
            self._progress.end()
        if self._course.best_epoch is None:
            self._save_model(_MODEL)
        else:
            (self._run / _BEST).replace(self._run / _MODEL)

    def report(self, *, seconds: float, device: str) -> TrainReport:
        """What was done."""
        return TrainReport(
            run=self._run,
            model=self._run / _MODEL,
            epochs=self._course.epoch,
            best_epoch=self._course.best_epoch,
            best_miou=self._course.best.miou,
            best_iou=self._course.best.iou,
            best_boundary_iou=self._course.best.boundary_iou,
            train_chips=len(self._train_set),
            val_chips=len(self._val_set),
            seconds=seconds,
            device=device,
        )

    def _train_epoch(self) -> None:
        from geoseg.chips.batches import batches_of, epoch_order

        settings, epoch = self._config.train, self._course.epoch + 1
        self._train_set.set_epoch(epoch)
        order = epoch_order(len(self._train_set), seed=settings.seed, epoch=epoch)
        with closing(
            batches_of(self._train_set, order, settings.batch_size, threads=max(1, settings.workers))
        ) as batches:
            figures = self._trainer.train_epoch(epoch, batches, self._progress.advance)
        scores = _validate(self._trainer, self._val_set, self._store.chips("val"), self._store.classes)
        course = self._course.after(scores)
        # The order matters, see the top of the module.
        row = {"epoch": epoch, "step": self._trainer.steps_done} | scores.to_json() | figures.to_json()
        append_row(self._run / _METRICS, row)
        self._save_state(course)
        self._course = course
        if course.best_epoch == epoch:
            self._save_model(_BEST)
        self._progress.row(_table_row(row))

    def _save_state(self, course: Course) -> None:
        from geoseg.models.resume import save_state

        save_state(
            self._run / _LAST,
            {
                **self._trainer.state(),
                "course": asdict(course),
                "chips": self._store.fingerprint(),
                "config": dump_config(self._config),
            },
        )

    def _save_model(self, name: str) -> None:
        import torch

        from geoseg.models.checkpoint import save_model

        store, course = self._store, self._course
        card = ModelCard(
            architecture=self._config.model,
            points=self._config.points,
            classes=store.classes,
            band_names=store.band_names,
            dtype=store.dtype,
            stats=store.stats,
            gsd_m=store.gsd_m,
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


def _validate(trainer: Trainer, dataset: ChipDataset, chips: Sequence[Chip], classes: ClassMap) -> Scores:
    """Scores of the averaged network's refined predictions; every pixel of the land counts once."""
    from geoseg.chips.batches import batches_of

    confusion, boundary = ConfusionMatrix(len(classes)), BoundaryCounts(len(classes), BOUNDARY_PX)
    with closing(batches_of(dataset, range(len(chips)), 1)) as batches:
        for chip, (images, labels) in zip(chips, batches, strict=True):
            truth = labels[0].numpy().astype(np.uint8)
            predicted = trainer.predict(images)[0]
            counted = np.zeros(truth.shape, np.bool_)
            col, row = chip.own[0] - chip.window[0], chip.own[1] - chip.window[1]
            counted[row : row + chip.own[3], col : col + chip.own[2]] = True
            confusion.update(truth[counted], predicted[counted])
            # The edge of a chip is no outline of what lies on it.
            counted[:BOUNDARY_PX] = counted[-BOUNDARY_PX:] = False
            counted[:, :BOUNDARY_PX] = counted[:, -BOUNDARY_PX:] = False
            boundary.update(truth, predicted, counted)
    if not confusion.pixels:
        return Scores()
    return Scores(
        miou=json_score(confusion.miou()),
        iou=dict(zip(classes.names, map(json_score, confusion.iou()), strict=True)),
        boundary_iou=json_score(boundary.miou()),
    )


def _table_row(row: Mapping[str, Any]) -> dict[str, float | int | str]:
    """The figures of an epoch that a person wants to watch."""
    table = {key: row[key] for key in ("epoch", "lr", "loss")}
    if row["val_miou"] is not None:
        table |= {"val mIoU": row["val_miou"]}
        table |= {name: "-" if iou is None else iou for name, iou in row["val_iou"].items()}
    return table | {"s": row["seconds"]}


def _prepare(
    run: Path | None, config: Config | None, *, resume: bool, overwrite: bool
) -> tuple[Path, Config]:
    """The run folder and the configuration to use, when both may be used."""
    if resume:
        return _prepare_resume(run, config, overwrite=overwrite)
    config = config or Config()
    if run is None:
        short = config.model.architecture.removeprefix("deeplabv3_").split("_")[0]
        run = RUNS / f"{datetime.now():%Y%m%d-%H%M%S}-{short}"
    if (run / _LAST).is_file() and not (run / _MODEL).exists() and not overwrite:
        raise OutputError(f"run {run} exists; go on with --resume {run}, or use --overwrite to start anew")
    if run.exists() or run.parent != RUNS:
        check_output_folder(run, overwrite=overwrite, marker=_CONFIG)
    return run, config


def _prepare_resume(run: Path | None, config: Config | None, *, overwrite: bool) -> tuple[Path, Config]:
    if run is None or overwrite:
        raise OutputError("to resume, name the run folder and do not overwrite it; use --resume RUN alone")
    if not (run / _LAST).is_file() or not (run / _CONFIG).is_file():
        raise ModelError(f"{run} is no run that can be resumed (no {_LAST}); train without --resume")
    return run, config or load_config(str(run / _CONFIG))


def _check_same(state: Mapping[str, Any], store: ChipStore, config: Config, run: Path) -> None:
    """Refuse to go on with other chips or another configuration."""
    if state.get("chips") != store.fingerprint():
        raise ChipsError(
            f"chips {store.folder} are not those run {run} was trained on; give those, or train a new run"
        )
    now, then = dump_config(config), str(state.get("config"))
    if now != then:
        changed = sorted(set(now.splitlines()) ^ set(then.splitlines()))
        raise ConfigError(
            f"configuration differs from that of run {run} ({changed[0].strip()}); "
            "resume without changing it, or train a new run"
        )


def _check_chips(store: ChipStore, config: Config) -> list[float] | None:
    """Refuse chips that cannot be trained on; the class weights otherwise."""
    names = store.classes.names
    chips = store.chips("train")
    if not chips:
        raise ChipsError(f"chips {store.folder} have no train split; tile more land, or with smaller shares")
    pixels = np.sum([chip.class_pixels for chip in chips], axis=0)
    if not pixels.any():
        raise ChipsError(f"chips {store.folder} have no labelled pixel to train on; tile with other labels")
    if len(names) < 2:
        raise ChipsError(f"chips {store.folder} have one class only ({names[0]}); tile with two or more")
    if config.train.crop_px is not None and config.train.crop_px > store.size_px:
        raise ConfigError(
            f"train.crop_px {config.train.crop_px} is larger than the chips ({store.size_px} px); lower it"
        )
    kind = config.loss.class_weights
    if not isinstance(kind, str) and len(kind) != len(names):
        raise ConfigError(f"loss.class_weights: {len(kind)} weights for {len(names)} classes; give one each")
    return class_weights(kind, pixels.tolist())
