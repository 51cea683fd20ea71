"""Several scenes one after the other; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from geoseg.errors import GeosegError, OutputError
from geoseg.progress import Progress
from geoseg.raster.remote import shown

OutputsT = TypeVar("OutputsT")
ReportT = TypeVar("ReportT")


def each_scene(
    jobs: Mapping[Path, OutputsT], run: Callable[[Path, OutputsT], ReportT], progress: Progress
) -> tuple[list[ReportT], dict[str, str]]:
    """Run over scenes.

    Args:
        jobs: outputs of each scene.
        run: predicts a scene.
        progress: told which scene is worked on, and warned of what fails.

    Returns:
        A report for each scene that went well, and what was wrong with the others.
    """
    done: list[ReportT] = []
    failed: dict[str, str] = {}
    for number, (scene, outputs) in enumerate(jobs.items(), 1):
        progress.note(f"scene {number} of {len(jobs)}: {shown(scene)}")
        try:
            done.append(run(scene, outputs))
        except GeosegError as error:
            progress.end()
            progress.warn(str(error))
            failed[shown(scene)] = str(error)
    return done, failed


def check_distinct(outputs: Mapping[Path, Path]) -> None:
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
