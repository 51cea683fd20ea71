"""``geoseg demo``: the whole way on a made-up scene."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from geoseg.errors import InputError
from geoseg.outputs import check_output_folder
from geoseg_cli import options, pages, report
from geoseg_cli.options import OUTPUT, SPEED, Overwrite

QUICK_TRAIN_PX, QUICK_UNSEEN_PX = 1024, 512


def demo(
    context: typer.Context,
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
    """Go the whole way on a made-up farmland scene: offline, without a GPU, in minutes.

    Examples:
      geoseg demo
      geoseg demo -o /tmp/demo --overwrite --open
    """
    if browser and not page:
        raise InputError("--open shows the page that --no-report leaves out; give one of the two")
    check_output_folder(output, overwrite=overwrite, marker="demo.json")
    talk: report.Talk = context.obj
    with talk.progress() as progress:
        from geoseg.demo import EPOCHS, TRAIN_PX, UNSEEN_PX
        from geoseg.demo import demo as run

        done = run(
            output,
            seed=seed,
            epochs=epochs or (1 if quick else EPOCHS),
            train_px=QUICK_TRAIN_PX if quick else TRAIN_PX,
            unseen_px=QUICK_UNSEEN_PX if quick else UNSEEN_PX,
            device=device,
            threads=threads,
            overwrite=overwrite,
            progress=progress,
            report=page,
            command=pages.typed(talk),
        )
        progress.end()
        if browser and done.report is not None and not webbrowser.open(done.report.absolute().as_uri()):
            progress.warn(f"no browser could be started; open {done.report} in one")
    report.show_demo(talk, done)
