"""Options that several verbs share, and how options become a section of the configuration.

Importing this module, or a verb, imports nothing heavy: defaults are not written here but looked up in
:mod:`geoseg.config` when a verb's ``--help`` is asked for, see :class:`geoseg_cli.app.Verb`.
"""

from __future__ import annotations

import contextlib
import difflib
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from geoseg.errors import ConfigError, InputError, LabelsError, SceneError
from geoseg.raster.remote import without_secrets

if TYPE_CHECKING:
    from pydantic import BaseModel

    SectionT = TypeVar("SectionT", bound=BaseModel)

INPUT, MODEL, OUTPUT, PART, SPEED, SPLIT, TALK = "Input", "Model", "Output", "Part", "Speed", "Split", "Talk"
MACHINES = "More machines"
"""Panels of the help."""


def setting(key: str, *flags: str, help: str, panel: str, **more: Any) -> Any:  # noqa: A002
    """An option that stands for ``key`` of :mod:`geoseg.config`, such as ``TileConfig.size_px``.

    The function parameter has the name of the field and ``None`` as default: "as configured".
    """
    return typer.Option(*flags, help=help, rich_help_panel=panel, show_default=key, **more)


def finished_runs(incomplete: str) -> list[str]:
    """Run folders, for shell completion."""
    return [str(found.parent) for found in Path("runs").glob("*/model.safetensors")] or [incomplete]


def presets(incomplete: str) -> list[str]:
    """Names of the presets, for shell completion."""
    from geoseg.presets import preset_names

    return [name for name in preset_names() if name.startswith(incomplete)]


# These repeat the choices of geoseg.config, which is too slow to import for --help; a test compares them.
Precision = Literal["auto", "fp32", "bf16", "fp16"]
Unlabelled = Literal["background", "ignore"]
OnError = Literal["stop", "nodata"]

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an output that exists.", rich_help_panel=OUTPUT)
]
Qml = Annotated[
    bool,
    typer.Option(
        "--qml",
        help="Also write a style for QGIS beside it, .qml: a legend of the classes.",
        rich_help_panel=OUTPUT,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        help="auto (a GPU if there is one), cpu, cuda or cuda:N.",
        rich_help_panel=SPEED,
        autocompletion=lambda: ["auto", "cpu", "cuda", "cuda:0"],
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "--threads", min=1, help="CPU threads; torch's choice when not given.", rich_help_panel=SPEED
    ),
]
Model = Annotated[
    Path | None,
    typer.Option(
        "--model",
        "-m",
        help="A run folder or a .safetensors file; when not given, the newest finished run under ./runs, "
        "else the model that comes with geoseg.",
        rich_help_panel=MODEL,
        autocompletion=finished_runs,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers", min=1, help="Threads; one for each core when not given.", rich_help_panel=SPEED
    ),
]
Memory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Most memory to take, such as 4GB or 800MB; half of what is free when not given.",
        rich_help_panel=SPEED,
    ),
]
Part = Annotated[
    str | None,
    typer.Option(
        "--window",
        metavar="COL,ROW,WIDTH,HEIGHT",
        help="Only this part, in pixels: exactly what the whole mask holds there.",
        rich_help_panel=PART,
    ),
]
CLASS_COLUMN = "Column of the labels that tells the class; without it all polygons are of one class."
UNLABELLED = "What land without a polygon is: a class of its own, or unknown."


def numbers(text: str | None) -> tuple[int, ...] | None:
    """``1,2,3`` as numbers.

    Raises:
        InputError: it is something else.
    """
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--bands {text}: write band numbers with commas, such as 1,2,3") from None


def decimals(text: str | None, flag: str, count: int) -> tuple[float, ...] | None:
    """``1.5,2,3,4`` as ``count`` numbers.

    Raises:
        InputError: it is something else.
    """
    if text is None:
        return None
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != count or not all(math.isfinite(value) for value in found):
        raise InputError(f"{flag} {text}: write {count} numbers with commas between them")
    return found


def window(text: str | None) -> Any:
    """``COL,ROW,WIDTH,HEIGHT`` as a rasterio window.

    Raises:
        InputError: it is something else.
    """
    numbers = decimals(text, "--window", 4)
    if numbers is None:
        return None
    from rasterio.windows import Window

    col, row, width, height = (int(number) for number in numbers)
    if (col, row, width, height) != numbers or min(width, height) < 1:
        raise InputError(f"--window {text}: write whole pixels: first column, first row, width, height")
    return Window(col, row, width, height)


_UNITS_MB = {"": 1.0, "B": 1e-6, "K": 1e-3, "M": 1.0, "G": 1e3, "T": 1e6}


def megabytes(text: str | None) -> float | None:
    """``4GB``, ``4 GiB``, ``800M`` or ``800`` in MB (10^6 bytes); a bare number is MB.

    Raises:
        InputError: it is something else.
    """
    if text is None:
        return None
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(iB|B)?\s*", text, re.IGNORECASE)
    if found is None or float(found[1]) == 0:
        raise InputError(f"--memory {text}: write a size such as 4GB or 800MB")
    binary = (found[3] or "").lower() == "ib"
    unit = _UNITS_MB[found[2].upper()] * (1.024 ** " KMGT".index(found[2].upper() or " ") if binary else 1.0)
    return float(found[1]) * unit


@contextlib.contextmanager
def resumable(context: typer.Context, progress: Any) -> Iterator[None]:
    """Tell the command that goes on, when the block is stopped and something was kept."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if getattr(stop, "__notes__", None):
            progress.end()
            words = [without_secrets(word) for word in context.obj.words if word != "--resume"]
            stop.add_note(f"go on with: geoseg {shlex.join([*words, '--resume'])}")
        raise


def names(text: str | None) -> tuple[str, ...] | None:
    """``a,b`` as names."""
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def config_of(context: typer.Context, kind: str, **values: Any) -> Any:
    """The section ``kind`` of :mod:`geoseg.config` made of what was given; ``None`` is not given.

    Raises:
        ConfigError: a value is out of range; the message names the option as it was typed.
    """
    from geoseg import config

    section: type[BaseModel] = getattr(config, kind)
    given = {name: value for name, value in values.items() if value is not None}
    try:
        return config.validate(section, given, where=kind)
    except ConfigError as error:
        raise name_option(context, error) from error.__cause__


def name_option(context: typer.Context, error: ConfigError) -> ConfigError:
    """The error with the option as the user typed it instead of the configuration's own key."""
    details = getattr(error.__cause__, "errors", None)
    if details is None:
        return error
    first = details(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    help_call = f"{context.command_path} --help"
    for param in context.command.params:
        # What is not given has its value from a file or --set, which the error names already.
        is_given = context.params.get(str(param.name)) is not None
        if is_given and param.name in first["loc"] and param.opts and param.opts[0].startswith("-"):
            flag = max(param.opts, key=len)
            return ConfigError(f"{flag} {first['input']}: {message}; see {help_call}")
    return ConfigError(f"{message}; see {help_call}") if not first["loc"] else error


def check_scene(path: Path, *, what: str = "scene", remote: bool = False) -> None:
    """Refuse a raster that is missing or no raster at all, before anything slow is imported.

    Args:
        path: what the user named.
        what: how messages call the file.
        remote: an address is fine when it is one that geoseg reads; no server is asked yet.

    Raises:
        SceneError: the file cannot be what it should be.
    """
    from geoseg.raster import formats
    from geoseg.raster.remote import is_remote, parse

    if remote and is_remote(path):
        parse(path, what=what, error=SceneError)
        return
    head = read_head(path, what=what, error=SceneError)
    if not formats.is_raster(head, path):
        todo = formats.cure(head, "give a GeoTIFF")
        raise SceneError(f"{what} {path} is {formats.describe(head)}; {todo}")


def check_prediction(path: Path) -> bool:
    """Whether a prediction is a raster, not polygons; refuses what is neither, or missing.

    Raises:
        SceneError: the file cannot be a prediction.
    """
    from geoseg.raster import formats
    from geoseg.raster.remote import is_remote

    if is_remote(path):
        check_scene(path, what="mask", remote=True)
        return True
    head = read_head(path, what="mask", error=SceneError)
    if formats.is_raster(head, path):
        return True
    if formats.vector_driver(head, path.suffix) is None:
        todo = formats.cure(head, "give a GeoTIFF, or polygons")
        raise SceneError(f"mask {path} is {formats.describe(head)}; {todo}")
    return False


def check_labels(path: Path, *, folder: bool = False) -> None:
    """Refuse labels that are missing, before anything slow is imported; ``folder`` allows one of label files.

    Raises:
        LabelsError: there is no such file.
    """
    if folder and path.is_dir():
        return
    read_head(path, what="labels", error=LabelsError)


def read_head(path: Path, *, what: str, error: type[InputError]) -> bytes:
    """First bytes of a file, as :func:`geoseg.raster.formats.read_head`, with a guess at what a typo meant.

    Raises:
        InputError: of class ``error``; there is no such file, or none that can be read.
    """
    from geoseg.raster import formats

    try:
        return formats.read_head(path, what=what, error=error)
    except InputError as refused:
        close = _close_name(path)
        if isinstance(refused.__cause__, FileNotFoundError) and close:
            raise error(f"{path} does not exist; did you mean {close}?") from refused
        if isinstance(refused.__cause__, FileNotFoundError):
            raise error(f"{path} does not exist; check the path of the {what}") from refused
        raise


def check_folder(path: Path, *, what: str, make: str) -> None:
    """Refuse a folder that is missing; ``make`` says how to get one.

    Raises:
        InputError: there is no such folder.
    """
    if not path.exists():
        close = _close_name(path)
        raise InputError(f"{what} {path} does not exist; {f'did you mean {close}?' if close else make}")
    if not path.is_dir():
        raise InputError(f"{what} {path} is a file; name the folder")


def check_model(path: Path | None) -> None:
    """Refuse a model that is missing.

    Raises:
        InputError: there is no such file or folder.
    """
    if path is not None and not path.exists():
        close = _close_name(path)
        hint = f"did you mean {close}?" if close else "give a run folder or a .safetensors file"
        raise InputError(f"model {path} does not exist; {hint}")


def _close_name(path: Path) -> Path | None:
    """A neighbour that a misspelt path may mean."""
    try:
        neighbours = [entry.name for entry in path.absolute().parent.iterdir() if entry.name[0] != "."]
    except OSError:
        return None
    close = difflib.get_close_matches(path.name, neighbours, n=1, cutoff=0.75)
    return path.with_name(close[0]) if close else None


def shown_default(key: str) -> str | bool | None:
    """The default of ``Section.field`` as a user would type it; ``None`` when there is nothing to show."""
    from geoseg import config

    kind, _, name = key.partition(".")
    value = getattr(config, kind).model_fields[name].default
    if value is None or isinstance(value, bool):
        return value
    return f"{value:g}" if isinstance(value, float) else str(value)
