"""What both demos share: their folder, steps that are told about and timed, and a page in the end."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from geoseg.errors import GeosegError
from geoseg.json_report import JsonReport
from geoseg.mapview.atlas import Sources
from geoseg.progress import Progress
from geoseg.report import report

MARKER = "demo.json"
"""File that marks a folder as a demo's: only such a one is overwritten. It is empty until the end, when it
gets the report."""


@dataclass(frozen=True, kw_only=True)
class StepsReport(JsonReport):
    """What both report.

    Attributes:
        output: the folder that holds all files below.
        scene: the unseen scene.
        labels: its true polygons.
        model: the trained model.
        polygons: those found in the unseen scene.
        overlay: the picture to look at.
        report: the page to look at; ``None`` when none was wanted or could be made.
        seed: what the scenes were made from.
        stage_seconds: wall time of each stage.
        seconds: wall time of all.
    """

    output: Path
    scene: Path
    labels: Path
    model: Path
    polygons: Path
    overlay: Path
    report: Path | None
    seed: int
    stage_seconds: dict[str, float]
    seconds: float


@dataclass(kw_only=True)
class Steps:
    """The steps of one run.

    Attributes:
        folder: where they write.
        seed: what the scenes are made from.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        threads: CPU threads to train with; torch's own choice when not given.
        page: whether a page is wanted.
        command: what was typed, for the page.
        progress: told about each step.
        seconds: wall time of each kind of step so far.
    """

    folder: Path
    seed: int
    device: str
    threads: int | None
    page: bool
    command: str | None
    progress: Progress
    started: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str, what: str) -> Iterator[None]:
        """Tell ``what`` is done, and add the time it takes to that of ``name``."""
        self.progress.note(f"{name}: {what}")
        started = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started

    def write_page(self, sources: Sources, *, title: str, **told: Any) -> Path | None:
        """Write ``report.html``. What was made is worth more than it: what goes wrong is only told.

        Args:
            sources: what the map shows.
            title: of the page.
            told: as for :func:`geoseg.report.report`.

        Returns:
            The page; ``None`` when none was wanted or could be made.
        """
        if not self.page:
            return None
        page = self.folder / "report.html"
        with self.step("report", "write a page to look at in a browser"):
            try:
                report(sources, page, title=title, command=self.command, progress=self.progress, **told)
            except (GeosegError, OSError) as error:
                self.progress.warn(f"no {page.name}: {error}")
                return None
        return page
