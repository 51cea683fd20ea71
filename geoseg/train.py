"""Chips to model: train DeepLabV3 + PointRend, validate, keep the best, and survive being stopped."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from geoseg.chips.store import ChipStore
from geoseg.config import Config, Task
from geoseg.errors import GeosegError
from geoseg.json_report import JsonReport
from geoseg.progress import SILENT, Progress
from geoseg.training.folder import LAST, MODEL, REPORT, check_chips, check_same, prepare


@dataclass(frozen=True, kw_only=True)
class TrainReport(JsonReport):
    """What :func:`train` did.

    Attributes:
        run: the run folder.
        model: the finished model file.
        task: what it tells: ``semantic``, a class of every pixel, or ``instance``, objects one by one.
        epochs: epochs trained, in all sessions of the run together.
        best_epoch: the epoch the model is from; ``None`` without validation, which takes the last one.
        best_miou: its validation mIoU over the classes present.
        best_iou: its validation IoU by class name, ``None`` for classes absent from the validation chips.
        best_boundary_iou: its mean Boundary IoU, two pixels wide.
        best_ap: of an instance model the validation AP, mean over the classes and IoU 0.5 to 0.95.
        best_ap50: that at IoU 0.5.
        best_ap75: that at IoU 0.75.
        best_boundary_ap: its Boundary AP, two pixels wide.
        best_class_ap: its AP by class name.
        train_chips: chips trained on.
        val_chips: chips validated on.
        seconds: wall time of this session.
        device: where it ran, and at which precision.
        processes: processes that trained together.
        report: the page about the run; ``None`` when none was wanted or could be made.
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
    processes: int
    report: Path | None
    task: Task = "semantic"
    best_ap: float | None = None
    best_ap50: float | None = None
    best_ap75: float | None = None
    best_boundary_ap: float | None = None
    best_class_ap: dict[str, float | None] = field(default_factory=dict)


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
    report: bool = True,
    command: str | None = None,
) -> TrainReport:
    """Train a model on the chips in ``tiles`` and write it to ``run/model.safetensors``.

    What it learns, a class of every pixel or objects one by one, is told by ``config.model.architecture``.

    On a CPU, a resumed run ends with exactly the weights of one that never stopped, as long as the number of
    threads is the same.

    Started by ``torchrun``, the processes train together, each on its part of every batch: N of them with a
    batch of B chips do what one does with a batch of N * B. A run may be resumed by another number.

    Args:
        tiles: a folder that ``tile`` made.
        run: the run folder; ``runs/TIME-ARCHITECTURE`` when not given.
        config: what to train and how; the defaults, or on resume those of the run, when not given.
        resume: go on with ``run`` after the last step that was saved. A finished run is left as it is.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        overwrite: replace an existing run.
        progress: told about every step and epoch, in the first process.
        threads: CPU threads; torch's own choice when not given.
        report: write ``report.html`` at the end, which looks at the validation chips once more.
        command: what was typed, for the report.

    Raises:
        ChipsError: no chips, none to train on, or other ones than the resumed run was trained on.
        ConfigError: the configuration does not fit the chips, or not the resumed run.
        OutputError: the run exists.
        ModelError: the run cannot be resumed, or the backbone's weights cannot be had.
        TrainingError: the loss is not finite.
    """
    started = time.monotonic()
    if os.environ.get("RANK", "0") == "0":
        run, config = prepare(run, config, resume=resume, overwrite=overwrite)
    else:
        # The first process looks after the folder; it may be there already.
        progress = SILENT
        run, config = prepare(run, config, resume=resume, overwrite=not resume)
    store = ChipStore.open(tiles)
    weights = check_chips(store, config)
    # Only now: importing torch takes seconds, and nobody should wait that long for a refusal.
    from geoseg.models.borrowed import borrowed_torch
    from geoseg.models.inference import choose_device, choose_precision
    from geoseg.models.resume import load_state
    from geoseg.models.trainer import Trainer
    from geoseg.models.world import join_world, local_device, started_together
    from geoseg.training.session import Session

    state = load_state(run / LAST) if resume else None
    if state is not None:
        check_same(state, store, config, run)
    where = choose_device(local_device() if device == "auto" and started_together() else device)
    autocast, why = choose_precision(config.train.precision, where)
    with borrowed_torch(where, threads, deterministic=config.train.deterministic), join_world(where) as world:
        together = f" in each of {world.size} processes" if world.size > 1 else ""
        progress.note(f"run {run}: {config.model.architecture} on {where}{together}, {why}")
        trainer = Trainer(
            config,
            stats=store.stats,
            classes=len(store.classes),
            device=where,
            autocast=autocast,
            class_weights=weights,
            world=world,
        )
        session = Session(run, store, config, trainer, world, where, progress)
        if state is None:
            session.start()
        else:
            session.go_on(state)
        session.train_to_end()
        page = run / REPORT if (run / REPORT).is_file() else None
        if report and world.is_first and not session.was_finished:
            page = _write_report(run, store, command=command, device=str(where), progress=progress)
    course = session.course
    best: dict[str, Any] = {f"best_{name}": value for name, value in asdict(course.best).items()}
    return TrainReport(
        run=run,
        model=run / MODEL,
        epochs=course.epoch,
        best_epoch=course.best_epoch,
        train_chips=len(session.train_set),
        val_chips=len(session.val_set),
        seconds=time.monotonic() - started,
        device=f"{where}, {why}",
        processes=world.size,
        report=page,
        task=config.model.task,
        **({"best_miou": None, "best_iou": {}, "best_boundary_iou": None} | best),
    )


def _write_report(
    run: Path, store: ChipStore, *, command: str | None, device: str, progress: Progress
) -> Path | None:
    """The page about the run. A finished model is worth more than it: what goes wrong is only told."""
    from geoseg.review.run import write_run_report

    try:
        return write_run_report(run, store, command=command, device=device, progress=progress)
    except (GeosegError, OSError) as error:
        progress.warn(f"no report.html: {error}")
        return None
