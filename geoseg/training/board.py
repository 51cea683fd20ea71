"""Curves for TensorBoard, when it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"
_CURVES = {"loss": "loss", "coarse": "loss", "point": "loss", "auxiliary": "loss", "dice": "loss"} | {
    "val_miou": "validation",
    "val_boundary_iou": "validation",
    "lr": "training",
    "samples_per_s": "training",
    "wait_share": "training",
}


class Board:
    """Writes ``run/tensorboard``; does nothing without TensorBoard."""

    def __init__(self, run: Path) -> None:
        self._folder = run / FOLDER
        self._writer: Any = None

    def add(self, row: Mapping[str, Any]) -> None:
        """Add the figures of an epoch, a line of ``metrics.jsonl``, in place of what was there from it on."""
        epoch = row["epoch"]
        if self._writer is None:
            if importlib.util.find_spec("tensorboard") is None:
                return
            # Imported late: it takes a second.
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder), purge_step=epoch)
        for name, group in _CURVES.items():
            if row.get(name) is not None:
                self._writer.add_scalar(f"{group}/{name}", row[name], epoch)
        for name, iou in row["val_iou"].items():
            if iou is not None:
                self._writer.add_scalar(f"validation/iou {name}", iou, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
