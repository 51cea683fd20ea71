"""What both demos share: their folder, and steps that are told about and timed."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from geoseg.progress import Progress

MARKER = "demo.json"
"""File that marks a folder as a demo's: only such a one is overwritten. Holds the report in the end."""


@dataclass
class Steps:
    """The steps of one run.

    Attributes:
        progress: told about each.
        seconds: wall time of each kind of step so far.
    """

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str, what: str) -> Iterator[None]:
        """Tell ``what`` is done, and add the time it takes to that of ``name``."""
        self.progress.note(f"{name}: {what}")
        started = time.monotonic()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - started


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[None]:
    """Make ``path`` anew; when the block fails, remove it and put back what was there.

    Not made beside its place as other outputs are, because the stages name the files they write.
    """
    with tempfile.TemporaryDirectory(prefix=".geoseg-", dir=path.absolute().parent) as aside:
        before = Path(aside) / "before"
        if path.exists():
            path.rename(before)
        try:
            path.mkdir()
            # If even the clean-up is killed, the folder can be overwritten.
            (path / MARKER).write_text("{}\n", encoding="utf-8")
            yield
        except BaseException:
            shutil.rmtree(path, ignore_errors=True)
            if before.exists():
                before.rename(path)
            raise
