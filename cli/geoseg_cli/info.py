"""``geoseg info``: the facts of a model, a scene, a mask or a chips folder."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import geoseg
from geoseg.errors import InputError
from geoseg_cli import options, report, terminal
from geoseg_cli.options import INPUT

if TYPE_CHECKING:
    from geoseg.classes import ClassMap

_LIBRARIES = ("torch", "torchvision", "rasterio", "geopandas", "shapely", "pyogrio", "numpy", "typer", "rich")


def info(
    context: typer.Context,
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="A run folder or model file, a chips folder, a scene or a mask."),
    ] = None,
    env: Annotated[
        bool,
        typer.Option("--env", help="Versions and devices, for a report of a bug.", rich_help_panel=INPUT),
    ] = False,
) -> None:
    """Tell the facts of a model, a scene, a mask or a chips folder.

    Examples:
      geoseg info runs/fields
      geoseg info --env
    """
    if env == (path is not None):
        raise InputError("give either a path or --env; see geoseg info --help")
    facts = environment() if path is None else facts_of(path)
    talk: report.Talk = context.obj
    if talk.json:
        terminal.emit_json(facts)
        return
    for name, value in facts.items():
        if name == "training":
            continue  # every setting of the run, too much for a look
        terminal.emit(f"{name.replace('_', ' '):<16} {terminal.one_line(_text(value))}")


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


def facts_of(path: Path) -> dict[str, Any]:
    """Facts of whatever ``path`` is.

    Raises:
        GeosegError: it is nothing that geoseg knows.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; check the path")
    if (path / "chips.json").is_file():
        return _chips(path)
    if path.is_dir() or path.suffix == ".safetensors":
        return _model(path)
    options.check_scene(path, what="file")
    return _raster(path)


def _model(path: Path) -> dict[str, Any]:
    from geoseg.models.card import find_model, fingerprint, read_card

    model = find_model(path)
    card = read_card(model)
    scores = card.training.get("scores")
    return {
        "kind": "model",
        "path": model,
        "architecture": card.architecture.architecture,
        "classes": _classes(card.classes),
        "bands": card.band_names,
        "dtype": card.dtype,
        "gsd_m": card.gsd_m,
        "chip_size_px": card.size_px,
        "geoseg": card.geoseg_version,
        "torch": card.torch_version,
        "validation_miou": scores.get("miou") if isinstance(scores, dict) else None,
        "training": card.training,
        "sha256": fingerprint(model),
    }


def _chips(path: Path) -> dict[str, Any]:
    from geoseg.chips.store import SPLITS, ChipStore

    store = ChipStore.open(path)
    return {
        "kind": "chips",
        "path": path,
        "classes": _classes(store.classes),
        "bands": store.band_names,
        "dtype": store.dtype,
        "gsd_m": store.gsd_m,
        "chip_size_px": store.size_px,
        "overlap_px": store.overlap_px,
        "scenes": store.scenes,
        "chips": {split: len(store.chips(split)) for split in SPLITS},
        "sha256": store.fingerprint(),
    }


def _raster(path: Path) -> dict[str, Any]:
    from geoseg.raster.mask import read_classes_tag
    from geoseg.raster.scene import Scene

    classes = read_classes_tag(path, what="file")
    with Scene.open(path) as scene:
        box = scene.geobox
        facts = {
            "kind": "scene" if classes is None else "mask",
            "path": path,
            "size_px": [box.width, box.height],
            "bands": scene.band_names,
            "dtype": scene.dtype,
            "nodata": scene.nodata,
            "crs": None if box.crs is None else box.crs.to_string(),
            "gsd_m": box.gsd_m,
            "bounds": list(box.bounds),
            "tiled": scene.is_tiled,
        }
    return facts if classes is None else facts | {"classes": _classes(classes)}


def _classes(classes: ClassMap) -> dict[str, str]:
    return {str(class_id): _described(name, class_id, classes) for class_id, name in enumerate(classes.names)}


def _described(name: str, class_id: int, classes: ClassMap) -> str:
    if class_id == classes.background:
        return f"{name} (background)"
    return f"{name} (between polygons)" if class_id == classes.boundary else name


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "-"
    # No commas between thousands: coordinates are copied into other programs.
    return f"{value:.10g}" if isinstance(value, float) else report.number(value)
