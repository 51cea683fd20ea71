"""Curves for TensorBoard, when it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = "tensorboard"
_LOSSES = ("loss", "coarse", "point", "auxiliary", "dice", "objectness", "proposal", "class", "box")
_CURVES = dict.fromkeys(_LOSSES, "loss") | {
    "val_miou": "validation",
    "val_boundary_iou": "validation",
    "val_ap": "validation",
    "val_ap50": "validation",
    "val_ap75": "validation",
    "val_boundary_ap": "validation",
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
        for kind, key in (("iou", "val_iou"), ("ap", "val_class_ap")):
            for name, score in row.get(key, {}).items():
                if score is not None:
                    self._writer.add_scalar(f"validation/{kind} {name}", score, epoch)
        self._writer.flush()

    def close(self) -> None:
        """Write what is left."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
