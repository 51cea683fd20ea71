"""``geoseg demo``: the whole way on a made-up scene."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from geoseg.errors import InputError
from geoseg.outputs import check_output_folder
from geoseg.progress import Progress
from geoseg_cli import options, pages, report
from geoseg_cli.options import OUTPUT, SPEED, Overwrite

if TYPE_CHECKING:
    from geoseg.demo import DemoReport
    from geoseg.demo_objects import DemoObjectsReport

QUICK_TRAIN_PX, QUICK_UNSEEN_PX = 1024, 512
QUICK_VILLAGES, QUICK_VILLAGE_PX = 6, 384


def demo(
    context: typer.Context,
    task: Annotated[
        Literal["semantic", "instance"],
        typer.Option(
            "--task",
            help="Classes of a farmland (semantic), or the single roofs of a village (instance).",
            rich_help_panel=OUTPUT,
        ),
    ] = "semantic",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for all that is made.", rich_help_panel=OUTPUT)
    ] = Path("demo"),
    overwrite: Overwrite = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the scenes.", rich_help_panel=OUTPUT)] = 0,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs",
            min=1,
            help="Epochs to train; the demo's own number when not given.",
            rich_help_panel=SPEED,
        ),
    ] = None,
    page: Annotated[
        bool,
        typer.Option(
            "--report/--no-report",
            help="Write report.html at the end: all of it on a map, to look at in a browser.",
            rich_help_panel=OUTPUT,
        ),
    ] = True,
    browser: Annotated[
        bool, typer.Option("--open", help="Open that page in the browser.", rich_help_panel=OUTPUT)
    ] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Small scenes and one epoch: shows that all of it runs, not how good it is.",
            rich_help_panel=SPEED,
        ),
    ] = False,
    device: options.Device = "auto",
    threads: options.Threads = None,
) -> None:
    """Go the whole way on a made-up scene: offline, without a GPU, in minutes.

    Examples:
      geoseg demo
      geoseg demo --task instance -o roofs --open
    """
    if browser and not page:
        raise InputError("--open shows the page that --no-report leaves out; give one of the two")
    check_output_folder(output, overwrite=overwrite, marker="demo.json")
    talk: report.Talk = context.obj
    common: dict[str, Any] = {
        "seed": seed,
        "device": device,
        "threads": threads,
        "overwrite": overwrite,
        "report": page,
        "command": pages.typed(talk),
    }
    with talk.progress() as progress:
        run = _roofs if task == "instance" else _farmland
        done, tell = run(output, epochs, quick, progress, common)
        progress.end()
        if browser and done.report is not None and not webbrowser.open(done.report.absolute().as_uri()):
            progress.warn(f"no browser could be started; open {done.report} in one")
    tell(talk)


def _farmland(
    output: Path, epochs: int | None, quick: bool, progress: Progress, common: dict[str, Any]
) -> tuple[DemoReport, Callable[[report.Talk], None]]:
    from geoseg.demo import EPOCHS, TRAIN_PX, UNSEEN_PX
    from geoseg.demo import demo as run

    done = run(
        output,
        epochs=epochs or (1 if quick else EPOCHS),
        train_px=QUICK_TRAIN_PX if quick else TRAIN_PX,
        unseen_px=QUICK_UNSEEN_PX if quick else UNSEEN_PX,
        progress=progress,
        **common,
    )
    return done, lambda talk: report.show_demo(talk, done)


def _roofs(
    output: Path, epochs: int | None, quick: bool, progress: Progress, common: dict[str, Any]
) -> tuple[DemoObjectsReport, Callable[[report.Talk], None]]:
    from geoseg.demo_objects import EPOCHS, UNSEEN_PX, VILLAGES, demo_objects

    done = demo_objects(
        output,
        epochs=epochs or (1 if quick else EPOCHS),
        villages=QUICK_VILLAGES if quick else VILLAGES,
        unseen_px=QUICK_VILLAGE_PX if quick else UNSEEN_PX,
        progress=progress,
        **common,
    )
    return done, lambda talk: report.show_demo_objects(talk, done)
