"""``geoseg info``: the facts of whatever geoseg makes or reads."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import geoseg
from geoseg.errors import InputError
from geoseg_cli import facts_text, options, report, terminal
from geoseg_cli.options import INPUT

_LIBRARIES = ("torch", "torchvision", "rasterio", "geopandas", "shapely", "pyogrio", "numpy", "typer", "rich")


def info(
    context: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(
            metavar="PATH",
            help="A model file or run folder, chips, a scene, a mask, polygons, a journal or shard of "
            "predict, or an ONNX file.",
        ),
    ] = None,
    counts: Annotated[
        bool,
        typer.Option(
            "--counts", help="Of a mask, count the pixels of each class too.", rich_help_panel=INPUT
        ),
    ] = False,
    env: Annotated[
        bool,
        typer.Option("--env", help="Versions and devices, for a report of a bug.", rich_help_panel=INPUT),
    ] = False,
) -> None:
    """Tell the facts of a model, a scene, a mask or a chips folder.

    And of polygons, runs that are not finished, journals and shards of predict, and ONNX files.

    Examples:
      geoseg info runs/fields
      geoseg info mask.tif --counts
    """
    if env == (path is not None):
        raise InputError("give either a path or --env; see geoseg info --help")
    talk: report.Talk = context.obj
    if path is None:
        facts = environment()
    else:
        if not path.is_dir():
            options.read_head(path, what="file", error=InputError)
        with talk.progress() as progress:
            from geoseg.info import info as facts_of

            facts = facts_of(path, counts=counts, progress=progress)
    if talk.json:
        terminal.emit_json(facts)
        return
    for line in facts_text.lines(facts):
        terminal.emit(terminal.one_line(line))


def library_versions() -> list[str]:
    """``name version`` of what geoseg stands on, without importing torch."""
    import importlib.metadata

    import pyogrio
    import rasterio

    versions = [f"{name} {importlib.metadata.version(name)}" for name in _LIBRARIES]
    gdal = ".".join(map(str, pyogrio.__gdal_version__))
    return [*versions, f"GDAL {rasterio.__gdal_version__} (rasterio), {gdal} (pyogrio)"]


def environment() -> dict[str, Any]:
    """What a report of a bug needs to say."""
    import torch

    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "geoseg": geoseg.__version__,
        "python": platform.python_version(),
        "executable": sys.executable,
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "gpus": gpus,
        "libraries": library_versions(),
    }
