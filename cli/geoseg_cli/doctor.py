"""``geoseg doctor``: is the training data sound?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoseg.errors import GeosegError, InputError
from geoseg_cli import options, report, terminal
from geoseg_cli.options import INPUT, OUTPUT, setting

if TYPE_CHECKING:
    from geoseg.doctor import DoctorReport
    from geoseg.health.finding import Finding, Severity


# Repeats geoseg.health.finding.SEVERITIES, which is too slow to import for --help; a test compares them.
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


class FoundSomethingError(GeosegError):
    """``--strict``, and there is a warning or worse."""

    exit_code = 3


def doctor(
    context: typer.Context,
    inputs: Annotated[
        list[Path], typer.Argument(metavar="PATH", help="A chips folder, or scenes (with --labels).")
    ],
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            "--labels",
            "-l",
            help="Labels of the scenes, as for geoseg tile: one file for all, one for each (repeat -l), or a "
            "folder of files named like the scenes.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    class_column: Annotated[
        str | None,
        setting("TileConfig.class_column", "--class-column", help=options.CLASS_COLUMN, panel=INPUT),
    ] = None,
    unlabelled: Annotated[
        options.Unlabelled | None,
        setting("TileConfig.unlabelled", "--unlabelled", help=options.UNLABELLED, panel=INPUT),
    ] = None,
    bands: Annotated[
        str | None,
        setting(
            "TileConfig.bands",
            "--bands",
            help="Bands to look at, such as 4,1,2; all but alpha when not given.",
            panel=INPUT,
        ),
    ] = None,
    nodata: Annotated[
        float | None,
        setting(
            "TileConfig.nodata", "--nodata", help="Overrides the nodata value of the scenes.", panel=INPUT
        ),
    ] = None,
    size_px: Annotated[
        int | None,
        setting(
            "TileConfig.size_px",
            "--size",
            help="Side of the chips in pixels that you mean to cut, a multiple of 32.",
            panel=INPUT,
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit with 3 when anything worse than a note is found.", rich_help_panel=OUTPUT
        ),
    ] = False,
) -> None:
    """Look for what is wrong with scenes and labels, or with chips, before training.

    Examples:
      geoseg doctor scenes/*.tif --labels fields.gpkg
      geoseg doctor chips --strict
    """
    given = {
        "class_column": class_column,
        "unlabelled": unlabelled,
        "bands": options.numbers(bands),
        "nodata": nodata,
        "size_px": size_px,
    }
    _check(inputs, labels or [], given)
    config = options.config_of(context, "TileConfig", **given, overlap_px=_overlap(size_px))
    talk: report.Talk = context.obj
    with talk.progress() as progress:
        from geoseg.doctor import doctor as run

        done = run(inputs, labels or [], config, progress=progress)
    _show(talk, done)
    worse = done.count("error") + done.count("warning")
    if strict and worse:
        findings = "1 finding is" if worse == 1 else f"{worse} findings are"
        raise FoundSomethingError(f"{findings} worse than a note; see above, or leave out --strict")


def _check(inputs: list[Path], labels: list[Path], given: dict[str, Any]) -> None:
    """Refuse what can never work, before anything slow is imported."""
    folders = [path for path in inputs if path.is_dir()]
    if folders:
        if labels or len(inputs) > 1:
            raise InputError(
                f"{folders[0]} is a folder; give one chips folder alone, or scenes with --labels"
            )
        named = [name for name, value in given.items() if value is not None]
        if named:
            flag = {"size_px": "size"}.get(named[0], named[0]).replace("_", "-")
            raise InputError(f"--{flag} goes with scenes; chips are looked at as they are")
        return
    for path in inputs:
        options.check_scene(path, remote=True)
    if not labels:
        raise InputError("scenes are looked at with their labels; give them with --labels")
    for path in labels:
        options.check_labels(path, folder=True)


def _overlap(size_px: int | None) -> int | None:
    """An overlap that fits small chips; only the number of chips depends on it here."""
    return None if size_px is None else min(64, size_px // 4)


def _show(talk: report.Talk, done: DoctorReport) -> None:
    if talk.json:
        terminal.emit_json(done.to_json())
        return
    for found in done.findings:
        if talk.quiet and found.severity == "note":
            continue
        for line in _lines(found):
            terminal.say(line)
    counts = ", ".join(_counted(done.count(kind), kind) for kind in SEVERITIES)
    of = _counted(done.scenes, "scene") if done.chips is None else _counted(sum(done.chips.values()), "chip")
    talk.show(
        {},
        table={"share": {name: f"{share:.2%}" for name, share in done.class_shares.items()}},
        lines=[_told_of_shifts(done), f"{counts} in {of} ({terminal.clock(done.seconds)})"],
        then=_next(done),
    )


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _lines(found: Finding) -> list[str]:
    """A finding for people: what, where, what to do."""
    lines = [f"{found.severity}: {found.what}"]
    more = found.count - len(found.where)
    names = [*found.where, f"and {more:,} more"] if more else list(found.where)
    if found.count == 1 and names[0] in found.what:
        names = []
    lines += [f"    {name}" for name in names]
    return [*lines, f"    -> {found.todo}"]


def _told_of_shifts(done: DoctorReport) -> str:
    sure = [shift.length_px for shift in done.shifts.values() if shift is not None and shift.sure]
    if not sure:
        return "labels against image: nothing can be told, too few clear edges"
    lengths = sorted(sure)
    return (
        f"labels against image: {lengths[len(lengths) // 2]:.1f} px apart in the median of {len(sure)} of "
        f"{len(done.shifts)} scenes with clear edges, at most {lengths[-1]:.1f} px"
    )


def _next(done: DoctorReport) -> list[str | Path]:
    if done.count("error") or done.chips is None:
        return []
    return ["train", "--tiles", done.inputs[0]]
