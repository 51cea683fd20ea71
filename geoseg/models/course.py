"""How far a training has come, and its log (no torch)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geoseg.config import TrainConfig
from geoseg.errors import ModelError
from geoseg.outputs import staged_file


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Validation scores, ``None`` where there is nothing to score.

    Attributes:
        miou: mean IoU over the classes present.
        iou: IoU by class name, ``None`` for absent classes.
        boundary_iou: mean Boundary IoU over the classes present.
    """

    miou: float | None = None
    iou: dict[str, float | None] = field(default_factory=dict)
    boundary_iou: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Keys of a line of the log."""
        return {"val_miou": self.miou, "val_iou": self.iou, "val_boundary_iou": self.boundary_iou}

    @property
    def rank(self) -> float | None:
        """What epochs are compared by."""
        return self.miou


@dataclass(frozen=True, kw_only=True)
class InstanceScores:
    """Validation scores of instances, ``None`` where there is nothing to score.

    Attributes:
        ap: average precision, mean over the classes and over IoU 0.5 to 0.95.
        ap50: at IoU 0.5.
        ap75: at IoU 0.75.
        boundary_ap: as ``ap``, where outlines count too (Boundary IoU).
        class_ap: ``ap`` by class name.
    """

    ap: float | None = None
    ap50: float | None = None
    ap75: float | None = None
    boundary_ap: float | None = None
    class_ap: dict[str, float | None] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Keys of a line of the log."""
        return {
            "val_ap": self.ap,
            "val_ap50": self.ap50,
            "val_ap75": self.ap75,
            "val_boundary_ap": self.boundary_ap,
            "val_class_ap": self.class_ap,
        }

    @property
    def rank(self) -> float | None:
        """What epochs are compared by."""
        return self.ap


@dataclass(frozen=True, kw_only=True)
class Course:
    """How far a run has come: what early stopping and the choice of the best epoch go by.

    Attributes:
        epoch: epochs done.
        best_epoch: the first epoch with the highest score so far (mIoU, or AP); ``None`` while none has one.
        best: its scores.
    """

    epoch: int = 0
    best_epoch: int | None = None
    best: Scores | InstanceScores = field(default_factory=Scores)

    def after(self, scores: Scores | InstanceScores) -> Course:
        """The course after one more epoch with these scores."""
        epoch = self.epoch + 1
        if scores.rank is None or (self.best.rank is not None and scores.rank <= self.best.rank):
            return replace(self, epoch=epoch)
        return Course(epoch=epoch, best_epoch=epoch, best=scores)

    def is_over(self, config: TrainConfig) -> bool:
        """Whether all epochs are done, or the score has not risen for ``patience`` epochs."""
        stale = self.best_epoch is not None and self.epoch - self.best_epoch >= config.patience > 0
        return stale or self.epoch >= config.epochs

    @classmethod
    def from_state(cls, values: Mapping[str, Any]) -> Course:
        """Read what :func:`dataclasses.asdict` made.

        Raises:
            ModelError: it is something else.
        """
        try:
            best = values["best"]
            return cls(**{**values, "best": (InstanceScores if "ap" in best else Scores)(**best)})
        except (KeyError, TypeError) as error:
            raise ModelError("the saved training state does not fit; train without --resume") from error


def append_row(log: Path, row: Mapping[str, Any]) -> None:
    """Add one line of JSON to ``log`` and push it to the disk."""
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def cut_log(log: Path, rows: int) -> None:
    """Keep the first ``rows`` lines of ``log``; a killed session may have written another."""
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.is_file() else []
    with staged_file(log) as staged:
        staged.write_text("".join(lines[:rows]), encoding="utf-8")
