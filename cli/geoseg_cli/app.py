"""The verbs, put together. Importing this imports typer and nothing heavier."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperOption

import geoseg
from geoseg.errors import GeosegError
from geoseg.raster.remote import without_secrets
from geoseg_cli import (
    check_seams,
    demo,
    doctor,
    evaluate,
    export,
    info,
    merge,
    options,
    predict,
    report_verb,
    terminal,
    tile,
    train,
    vectorize,
    view,
)
from geoseg_cli.report import Talk

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Only warnings and errors.", rich_help_panel=options.TALK),
]
Verbose = Annotated[
    int,
    typer.Option(
        "--verbose",
        "-v",
        count=True,
        show_default=False,
        help="Also what the libraries below have to say.",
        rich_help_panel=options.TALK,
    ),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print the report as one JSON object.", rich_help_panel=options.TALK),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=options.TALK),
]


class InterruptedByUserError(GeosegError):
    """Ctrl-C reached a verb."""

    exit_code = 130


class Verb(TyperCommand):
    """A command that knows ``-q``, ``-v``, ``--json`` and ``--debug``, and shows the configured defaults.

    The verbs read what the user wants to see from ``context.obj``, a :class:`geoseg_cli.report.Talk`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params = [*self.params, *_talk_params()]

    def invoke(self, ctx: Any) -> Any:
        """Run the verb; Ctrl-C becomes an error that keeps what the stage had to say about it."""
        # The function of the verb does not know these four.
        own = {param.name: ctx.params.pop(param.name) for param in _talk_params()}
        before = ctx.obj or Talk()
        ctx.obj = Talk(
            quiet=before.quiet or own["quiet"],
            verbose=before.verbose + own["verbose"],
            json=own["json"],
            debug=before.debug or own["debug"],
            words=before.words,
        )
        if ctx.obj.verbose:
            _hear_libraries(ctx.obj.verbose)
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            notes = getattr(interrupt, "__notes__", [])
            raise InterruptedByUserError("; ".join(["interrupted", *notes])) from interrupt
        except BrokenPipeError as broken:
            # typer would take it for a closed stdout and say nothing; that case ends in terminal.emit.
            raise GeosegError(f"a pipe to another process broke: {broken}; run it again") from broken

    def get_help_option(self, ctx: Any) -> Any:
        """``--help`` is one of the options of the last panel."""
        option = super().get_help_option(ctx)
        if isinstance(option, TyperOption):
            option.rich_help_panel = options.TALK
        return option

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help, with the defaults from :mod:`geoseg.config`."""
        for param in self.params:
            if isinstance(param, TyperOption) and isinstance(param.show_default, str):
                # As the default itself it is shown without the brackets that typer puts around a text.
                param.default, param.show_default = options.shown_default(param.show_default), True
        super().format_help(ctx, formatter)


def _talk_params() -> list[Any]:
    return list(_TALK.params)


def _talk_options(
    quiet: Quiet = False,
    verbose: Verbose = 0,
    json: Json = False,
    debug: Debug = False,
) -> None:
    """Carry the four options of every verb; never called."""


def _make_talk_command() -> Any:
    carrier = typer.Typer(add_completion=False)
    carrier.command()(_talk_options)
    return typer.main.get_command(carrier)


_TALK = _make_talk_command()


def _hear_libraries(verbose: int) -> None:
    import logging

    class WithoutSecrets(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return without_secrets(super().format(record))

    handler = logging.StreamHandler()
    handler.setFormatter(WithoutSecrets("%(name)s: %(message)s"))
    logging.basicConfig(level=logging.DEBUG if verbose > 1 else logging.INFO, handlers=[handler])


def _root(
    context: typer.Context,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version; with -v also those of the libraries.")
    ] = False,
) -> None:
    """Aerial and satellite rasters in, clean map polygons out.

    geoseg tile scenes/*.tif --labels fields.gpkg -o chips
    geoseg train --tiles ./chips
    geoseg predict scene.tif -o mask.tif
    geoseg vectorize mask.tif -o parcels.gpkg
    geoseg evaluate mask.tif fields.gpkg
    """
    words = context.obj if isinstance(context.obj, tuple) else ()
    context.obj = Talk(quiet=quiet, verbose=verbose, debug=debug, words=words)
    if version:
        terminal.emit(f"geoseg {geoseg.__version__}")
        for line in info.library_versions() if verbose else ():
            terminal.emit(line)
        raise typer.Exit
    if context.invoked_subcommand is None:
        terminal.emit(context.get_help())


app = typer.Typer(
    name="geoseg",
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback(invoke_without_command=True)(_root)
for verb in (
    tile.tile,
    doctor.doctor,
    train.train,
    predict.predict,
    merge.merge,
    vectorize.vectorize,
    evaluate.evaluate,
    report_verb.report,
    view.view,
    check_seams.check_seams,
    export.export,
    demo.demo,
    info.info,
):
    app.command(cls=Verb, context_settings={"help_option_names": ["-h", "--help"]})(verb)
