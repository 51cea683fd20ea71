"""How a stage tells what it is doing, without knowing who listens.

The library never prints. Stages call a :class:`Progress`; the command line passes one that draws, tests and
scripts pass :data:`SILENT`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Progress(Protocol):
    """Receives what a stage has to say. Implementations must be cheap: ``advance`` is called per chip."""

    def begin(self, name: str, total: int, unit: str) -> None:
        """Start a counted piece of work: ``total`` things called ``unit``. Only one piece runs at a time."""

    def advance(self, count: int = 1) -> None:
        """``count`` more of the running piece's units are done."""

    def end(self) -> None:
        """The running piece of work is over."""

    def row(self, values: Mapping[str, float | int | str]) -> None:
        """One more row of a growing table, such as an epoch's figures."""

    def note(self, text: str) -> None:
        """One line the user should know: which model, which device, what was chosen."""

    def warn(self, text: str) -> None:
        """One line the user should act on."""


class SilentProgress:
    """A :class:`Progress` that says nothing."""

    def begin(self, name: str, total: int, unit: str) -> None:
        """Ignore."""

    def advance(self, count: int = 1) -> None:
        """Ignore."""

    def end(self) -> None:
        """Ignore."""

    def row(self, values: Mapping[str, float | int | str]) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def warn(self, text: str) -> None:
        """Ignore."""


SILENT: Progress = SilentProgress()
