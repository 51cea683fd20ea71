"""The line that a person sees of each epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_SHOWN = ("loss", "coarse", "point", "class", "box")
_SCORES = {
    "val_miou": "val mIoU",
    "val_ap": "val AP",
    "val_ap50": "AP50",
    "val_boundary_iou": "val BIoU",
    "val_boundary_ap": "BAP",
}


def table_row(row: Mapping[str, Any], parts: Iterable[str]) -> dict[str, float | int | str]:
    """The figures of an epoch that a person wants to watch.

    Args:
        row: the epoch's line of the log.
        parts: names of the parts of the loss.
    """
    table = {key: row[key] for key in ("epoch", "lr", *(part for part in _SHOWN if part in set(parts)))}
    if row.get("val_miou", row.get("val_ap")) is not None:
        scores = {title: row[key] for key, title in _SCORES.items() if key in row}
        by_class = row.get("val_iou") or row.get("val_class_ap") or {}
        rank, *others = scores.items()
        shown = [rank, *by_class.items(), *others]
        table |= {name: "-" if score is None else score for name, score in shown}
    waited = f"{100 * row['wait_share']:.0f}%"
    return table | {"chips/s": row["samples_per_s"], "wait": waited, "s": row["seconds"]}
