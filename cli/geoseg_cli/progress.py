"""Shows what a stage is doing: a bar on a terminal, a line every 10 % in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from geoseg_cli import terminal

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

STEP_SHARE = 0.1
"""Share of the work after which a log gets a line."""

QUIET_START_S = 2.0
"""A log gets no line before this; short work is not worth one."""

HEARTBEAT_S = 300.0
"""A log gets a line after this time, however little was done."""

_COLUMN_WIDTH = 9


class TerminalProgress:
    """The :class:`geoseg.progress.Progress` of the command line; a context manager.

    Everything goes to stderr. Warnings are shown always, the rest unless ``quiet``.
    """

    def __init__(self, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        """Prepare; nothing is drawn before :meth:`begin`.

        Args:
            quiet: show warnings only.
            clock: seconds, for tests.
        """
        self._quiet = quiet
        self._clock = clock
        self._bar: Bar | None = None
        self._name, self._unit = "", ""
        self._done, self._total = 0, 0
        self._started = self._told_at = 0.0
        self._told_done = 0
        self._columns: tuple[str, ...] = ()

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()

    def begin(self, name: str, total: int, unit: str) -> None:
        """Start a counted piece of work."""
        self.end()
        if self._quiet:
            return
        self._name, self._unit = terminal.one_line(name), terminal.one_line(unit)
        self._done, self._total = 0, total
        self._started = self._told_at = self._clock()
        self._told_done = 0
        if terminal.is_live():
            self._bar = _make_bar(self._unit)
            self._bar.add_task(self._name, total=total)
            self._bar.start()

    def advance(self, count: int = 1) -> None:
        """``count`` more units are done."""
        self._done += count
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], count)
        elif self._name and self._is_time_for_a_line():
            self._tell()

    def end(self) -> None:
        """The running piece of work is over; the bar goes away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        self._name = ""

    def row(self, values: Mapping[str, float | int | str]) -> None:
        """One more row of a growing table; the header is written when the columns change."""
        if self._quiet:
            return
        columns = tuple(values)
        widths = [max(_COLUMN_WIDTH, len(name)) for name in columns]
        if columns != self._columns:
            self._columns = columns
            self._print("  ".join(name.rjust(width) for name, width in zip(columns, widths, strict=True)))
        cells = [_cell(value).rjust(width) for value, width in zip(values.values(), widths, strict=True)]
        self._print("  ".join(cells))

    def note(self, text: str) -> None:
        """One line the user should know."""
        if not self._quiet:
            self._print(text)

    def warn(self, text: str) -> None:
        """One line the user should act on."""
        self._print(f"geoseg: warning: {text}")

    def _is_time_for_a_line(self) -> bool:
        now = self._clock()
        steps_before = int(self._told_done / max(self._total, 1) / STEP_SHARE + 1e-9)
        steps = int(self._done / max(self._total, 1) / STEP_SHARE + 1e-9)
        if steps > steps_before:
            return now - self._told_at >= QUIET_START_S
        return now - self._told_at >= HEARTBEAT_S

    def _tell(self) -> None:
        self._told_at, self._told_done = self._clock(), self._done
        line = f"{self._name}: {self._done} of {self._total} {self._unit}"
        if self._total > 0:
            left_s = (self._told_at - self._started) / self._done * max(self._total - self._done, 0)
            line += f" ({self._done / self._total:.0%}), {terminal.clock(left_s)} left"
        self._print(line)

    def _print(self, text: str) -> None:
        if self._bar is None:
            terminal.say(text)
            return
        from rich.text import Text

        # Above the bar, which stays the last line.
        self._bar.console.print(Text(terminal.one_line(text)), soft_wrap=True)


def _make_bar(unit: str) -> Bar:
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn(unit, markup=False),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left", markup=False),
        progress.TimeRemainingColumn(elapsed_when_finished=False),
        console=terminal.console(),
        transient=True,
    )


def _cell(value: float | int | str) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e-3 and value else f"{value:.4f}"
    return terminal.one_line(str(value))
