"""``geoseg view``: a result in the browser."""

from __future__ import annotations

import threading
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from geoseg_cli import map_options, report, terminal
from geoseg_cli.options import INPUT, OUTPUT


def view(
    context: typer.Context,
    scene: Annotated[Path, typer.Argument(metavar="SCENE", help="A raster of any size.")],
    over: map_options.Over = None,
    *,
    uncertainty: map_options.Uncertainty = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", "-l", help=map_options.LABELS, rich_help_panel=INPUT),
    ] = None,
    bands: map_options.Bands = None,
    port: Annotated[
        int,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            show_default=False,
            help="Port on 127.0.0.1; a free one when not given.",
            rich_help_panel=OUTPUT,
        ),
    ] = 0,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser",
            help="Open it in the browser, or only tell the address.",
            rich_help_panel=OUTPUT,
        ),
    ] = True,
) -> None:
    """Look at scene, mask and polygons in the browser, until Ctrl-C.

    Examples:
      geoseg view scene.tif mask.tif parcels.gpkg
      geoseg view scene.tif mask.tif --uncertainty u.tif --no-browser --port 8000
    """
    sources = map_options.sources_of(scene, over, uncertainty, labels, bands)
    talk: report.Talk = context.obj

    def ready(url: str) -> None:
        progress.note("only this computer and whoever knows the address can see it; Ctrl-C ends it")
        if talk.json:
            terminal.emit_json({"url": url})
        else:
            terminal.emit(url)
        if browser:
            # Some wait until the browser is closed.
            threading.Thread(target=webbrowser.open, args=[url], daemon=True).start()

    with talk.progress() as progress:
        from geoseg.view import view as run

        run(sources, port=port, ready=ready, progress=progress)
