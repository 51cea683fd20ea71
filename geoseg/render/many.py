"""Several scenes one after the other; one that fails does not stop the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from geoseg.errors import GeosegError, OutputError
from geoseg.outputs import check_output_folder
from geoseg.progress import Progress
from geoseg.raster.remote import shown
from geoseg.render.journal import journal_folder, may_replace


class Report(Protocol):
    """What was done with a scene."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""


OutputsT = TypeVar("OutputsT")
ReportT = TypeVar("ReportT", bound=Report)


@dataclass(frozen=True, kw_only=True)
class ManyReport(Generic[ReportT]):
    """What was done with several scenes.

    Attributes:
        output: the folder of what was made of them.
        done: a report for each scene predicted.
        skipped: scenes that an earlier run had finished.
        failed: what was wrong, by scene.
        seconds: wall time.
    """

    output: Path
    done: list[ReportT]
    skipped: list[Path]
    failed: dict[str, str]
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "output": str(self.output),
            "done": [report.to_json() for report in self.done],
            "skipped": [shown(path) for path in self.skipped],
            "failed": self.failed,
            "seconds": self.seconds,
        }


def predict_each(
    jobs: Mapping[Path, OutputsT],
    output: Path,
    *,
    folders: Iterable[Path | None],
    first: Callable[[OutputsT], Path],
    check: Callable[[OutputsT, bool], None],
    run: Callable[[Path, OutputsT], ReportT],
    overwrite: bool,
    resume: bool,
    progress: Progress,
) -> ManyReport[ReportT]:
    """Predict scene after scene.

    Args:
        jobs: outputs of each scene.
        output: the folder of the foremost of them.
        folders: all folders that outputs go to, made when missing.
        first: the foremost of the outputs: a scene is finished when it is there.
        check: refuses outputs that must not be written; told whether they may replace what is there.
        run: predicts a scene.
        overwrite: replace existing outputs.
        resume: leave finished scenes alone, and go on with journals.
        progress: told which scene is worked on, and warned of what fails.

    Raises:
        OutputError: outputs exist, or two scenes would get the same one.
    """
    started = time.monotonic()
    _check_distinct({scene: first(outputs) for scene, outputs in jobs.items()})
    for folder in folders:
        if folder is not None and not folder.is_dir():
            check_output_folder(folder, overwrite=False, marker="")
            folder.mkdir()
    left, finished = {}, []
    for scene, outputs in jobs.items():
        made = first(outputs)
        if resume and not overwrite and made.exists() and not journal_folder(made).exists():
            finished.append(scene)
        else:
            left[scene] = outputs
    for outputs in left.values():
        check(outputs, may_replace(first(outputs), overwrite=overwrite, resume=resume))
    done: list[ReportT] = []
    failed: dict[str, str] = {}
    for number, (scene, outputs) in enumerate(left.items(), 1):
        progress.note(f"scene {number} of {len(left)}: {shown(scene)}")
        try:
            done.append(run(scene, outputs))
        except GeosegError as error:
            progress.end()
            progress.warn(str(error))
            failed[shown(scene)] = str(error)
    return ManyReport(
        output=output, done=done, skipped=finished, failed=failed, seconds=time.monotonic() - started
    )


def _check_distinct(outputs: Mapping[Path, Path]) -> None:
    """Refuse scenes that would become the same file.

    Raises:
        OutputError: there are such.
    """
    seen: dict[Path, Path] = {}
    for scene, output in outputs.items():
        other = seen.setdefault(output, scene)
        if other is not scene:
            raise OutputError(
                f"{shown(other)} and {shown(scene)} would both become {output}; predict them apart"
            )
