"""The page that ``predict``, ``evaluate`` and ``demo`` write at their end when asked."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.errors import GeosegError, InputError
from geoseg.outputs import check_output_folder
from geoseg.page.output import check_page
from geoseg.raster.remote import file_name, is_remote, local, shown, stem, without_secrets
from geoseg_cli import report, terminal

if TYPE_CHECKING:
    from geoseg.mapview.atlas import Sources
    from geoseg.predict import PredictReport
    from geoseg.predict_objects import PredictObjectsReport
    from geoseg.report import PageReport


def typed(talk: report.Talk) -> str | None:
    """What was typed, for the page, without the passwords in it."""
    return shlex.join(["geoseg", *map(without_secrets, talk.words)]) if talk.words else None


def write_page(
    talk: report.Talk, sources: Sources, output: Path, progress: Any, **more: Any
) -> PageReport | None:
    """The page about what was made. That is told first: what goes wrong here is raised by :func:`insist`.

    Args:
        talk: knows what was typed, and remembers what goes wrong.
        sources: what is shown.
        output: the page.
        progress: told what is being done.
        more: as for :func:`geoseg.report.report`.
    """
    from geoseg.report import report as run

    try:
        output.parent.mkdir(exist_ok=True)
        return run(sources, output, command=typed(talk), progress=progress, **more)
    except (GeosegError, OSError, MemoryError) as error:
        progress.end()
        talk.missing.append(f"no {output}: {str(error) or 'out of memory; close other programs'}")
        return None


def insist(talk: report.Talk, *, failed: int = 0, scenes: int = 1) -> None:
    """At the end of a verb: what was asked for and is not there is an error.

    Args:
        talk: knows which pages are not.
        failed: scenes that failed; that was told.
        scenes: how many there are.

    Raises:
        GeosegError: something is not there; where more than that is, the rest is warned of.
    """
    lines = [*talk.missing]
    if failed:
        lines.append(f"{failed} of {scenes} scenes failed; see the warnings above")
    for line in lines[:-1]:
        terminal.say(f"geoseg: warning: {line}")
    if lines:
        raise GeosegError(lines[-1])


def pages_of(
    page: Path,
    scenes: list[Path],
    outputs: list[Path],
    *,
    many: bool,
    suffix: str,
    aoi: Path | None,
    overwrite: bool,
    resume: bool,
) -> dict[Path, Path]:
    """The page of each scene; refuses what cannot or must not be written.

    Args:
        page: where it goes, or a folder.
        scenes: the scenes.
        outputs: what is made of them; the first is what a scene is finished with.
        many: whether these are folders.
        suffix: of what a scene is finished with, in a folder.
        aoi: file of polygons.
        overwrite: whether pages are replaced.
        resume: whether finished scenes are left alone.
    """
    inputs = local([*scenes, *([aoi] if aoi is not None else [])])
    if not many:
        check_page(page, overwrite=overwrite, inputs=inputs, outputs=outputs)
        return {scenes[0]: page}
    if not page.is_dir():
        check_output_folder(page, overwrite=False, marker="")
    targets = {scene: page / f"{stem(scene)}.html" for scene in scenes}
    for scene, target in targets.items():
        # A finished scene is left alone, and so is its page.
        if page.is_dir() and not (resume and (outputs[0] / f"{stem(scene)}{suffix}").exists()):
            check_page(target, overwrite=overwrite, inputs=inputs)
    return targets


def write_prediction(
    talk: report.Talk,
    done: PredictReport | PredictObjectsReport,
    page: Path | None,
    progress: Any,
    *,
    overwrite: bool,
) -> PageReport | None:
    """The page of a mask or of objects, when one is asked for."""
    if page is None:
        return None
    from geoseg.mapview.atlas import Sources
    from geoseg.predict import PredictReport

    # What is on a server is not fetched again for a picture of it.
    scene = None if is_remote(done.scene) else done.scene
    if isinstance(done, PredictReport):
        sources = Sources(scene=scene, mask=done.output, uncertainty=done.uncertainty)
    else:
        found = done.output if sum(done.objects.values()) else None
        sources = Sources(scene=scene, mask=done.mask, parcels=found)
    return write_page(
        talk,
        sources,
        page,
        progress,
        model=done.model,
        ran=done,
        title=file_name(done.scene),
        overwrite=overwrite,
    )


@dataclass(frozen=True, kw_only=True)
class ScoresPage:
    """The page that ``evaluate`` is asked for.

    Attributes:
        path: where to write it.
        scene: what is drawn below all.
        overwrite: whether it may replace a file.
    """

    path: Path
    scene: Path | None
    overwrite: bool

    def check(self, given: list[Path], outputs: list[Path]) -> None:
        """Refuse what cannot or must not be written, and what it cannot show."""
        for path in given:
            if is_remote(path):
                raise InputError(f"--report draws files that are here, not {shown(path)}; leave it out")
        inputs = [*given, *([] if self.scene is None else [self.scene])]
        check_page(self.path, overwrite=self.overwrite, inputs=inputs, outputs=outputs)

    def write(
        self,
        talk: report.Talk,
        progress: Any,
        *,
        title: str,
        model: Path | None = None,
        scored: Any = None,
        more: Any = None,
        **files: Any,
    ) -> PageReport | None:
        """Scores, and a map of what there is to draw."""
        from geoseg.mapview.atlas import Sources
        from geoseg.scoring.page import more as tables

        sources = Sources(scene=self.scene, **files)
        if sources.base is None and files:
            progress.note("without --scene there is no map on the page")
        return write_page(
            talk,
            sources,
            self.path,
            progress,
            model=model,
            scored=scored,
            more_scores=None if more is None else tables(more),
            title=title,
            overwrite=self.overwrite,
        )
