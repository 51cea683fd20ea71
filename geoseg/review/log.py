"""The log of a run, ``metrics.jsonl``, as curves: whatever keys its lines have or miss."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_LOG_BYTES = 32 * 1024**2
"""Most that is read of a log: some hundred thousand epochs."""

PART = "\x1f"
"""Between the key of a table of figures and the name of one of them; no class is called so."""

Curve = tuple[float | None, ...]
"""A figure at every epoch of a log, ``None`` where it has none."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """The epochs of a run.

    Attributes:
        epochs: their numbers, ascending.
        curves: figures by key; that of a class is called ``val_iou``, :data:`PART`, its name.
        unreadable: lines left out because they are no epoch, such as one that a killed session left half.
    """

    epochs: tuple[int, ...]
    curves: Mapping[str, Curve]
    unreadable: int

    @classmethod
    def read(cls, path: Path) -> Log:
        """Read a log; one that does not exist has no epochs."""
        raw = b""
        if path.is_file():
            with path.open("rb") as file:
                raw = file.read(MAX_LOG_BYTES)
        lines = raw.decode("utf-8", errors="replace").splitlines()
        parsed = [_row(line) for line in lines if line.strip()]
        # Of two lines of one epoch the later one holds.
        rows = {int(row["epoch"] or 0): row for row in parsed if row is not None}
        epochs = sorted(rows)
        ordered = [rows[epoch] for epoch in epochs]
        # By the first line that has them, so that the order is the writer's.
        keys = list(dict.fromkeys(key for row in ordered for key in row if key != "epoch"))
        return cls(
            epochs=tuple(epochs),
            curves={key: tuple(row.get(key) for row in ordered) for key in keys},
            unreadable=sum(row is None for row in parsed),
        )

    def __len__(self) -> int:
        return len(self.epochs)

    def curve(self, key: str) -> Curve | None:
        """A figure's curve, or ``None`` when no epoch has it."""
        curve = self.curves.get(key)
        return curve if curve is not None and any(value is not None for value in curve) else None

    def best(self, key: str = "val_miou") -> int | None:
        """Position of the first epoch at which ``key`` is highest, or ``None`` when no epoch has it."""
        known = [(value, -at) for at, value in enumerate(self.curves.get(key, ())) if value is not None]
        return -max(known)[1] if known else None

    def at(self, key: str, position: int | None) -> float | None:
        """A figure at a position of ``epochs``."""
        curve = self.curves.get(key)
        return None if curve is None or position is None else curve[position]

    def total(self, key: str) -> float | None:
        """Sum of a figure over the epochs that have it."""
        curve = self.curve(key)
        return None if curve is None else math.fsum(value for value in curve if value is not None)

    def mean(self, key: str) -> float | None:
        """Mean of a figure over the epochs that have it."""
        curve = self.curve(key)
        if curve is None:
            return None
        known = [value for value in curve if value is not None]
        return math.fsum(known) / len(known)


def thinned(length: int, most: int, keep: Sequence[int | None] = ()) -> list[int]:
    """At most about ``most`` positions of ``length``, evenly spread, with both ends and those of ``keep``."""
    if length <= most:
        return list(range(length))
    spread = {round(step * (length - 1) / (most - 1)) for step in range(most)}
    return sorted(spread | {position for position in keep if position is not None})


def _row(line: str) -> dict[str, float | None] | None:
    """The numbers of a line by key, or ``None`` when it is no epoch's."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or _number(values.get("epoch")) is None:
        return None
    row: dict[str, float | None] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            row |= {f"{key}{PART}{name}": _number(part) for name, part in value.items()}
        elif value is None or _number(value) is not None:
            row[key] = _number(value)
    return row


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    # What is larger is no figure, and would leave the numbers when drawn.
    return number if abs(number) < 1e300 else None
