"""Whether a scene and a model go together, and what the user should know of a scene on a server."""

from __future__ import annotations

from pathlib import Path

from geoseg.config import PredictConfig
from geoseg.errors import ConfigError, ModelError, SceneError
from geoseg.models.card import ModelCard
from geoseg.progress import Progress
from geoseg.raster.rows import MAX_AHEAD_PX
from geoseg.raster.scene import Scene

GSD_TOLERANCE = 1.5
"""A scene whose pixels are this many times larger or smaller than the training chips' gets a warning."""


_FOR_PIXELS = {
    "refine": "--no-refine",
    "margin": "--margin",
    "points_per_pixel": "--points-per-pixel",
    "scale": "--scale",
    "tta": "--tta",
}
_FOR_OBJECTS = {"min_score": "--min-score", "min_visible": "--min-visible", "simplify_px": "--simplify"}


def check_task(card: ModelCard, model: Path, *, objects: bool) -> None:
    """Refuse a model that tells something else than is asked for.

    Args:
        card: of the model.
        model: its file.
        objects: whether objects are asked for, instead of a class of every pixel.

    Raises:
        ModelError: it does.
    """
    detects = card.task == "instance"
    if detects and not objects:
        raise ModelError(
            f"model {model} detects objects; write polygons, such as -o objects.gpkg, "
            "and with --mask a mask of their classes"
        )
    if objects and not detects:
        raise ModelError(
            f"model {model} tells a class of every pixel, not objects; write a mask, such as -o mask.tif, "
            "and make polygons of it with geoseg vectorize"
        )


def check_config(config: PredictConfig, *, objects: bool) -> None:
    """Refuse options that do not apply.

    Args:
        config: how to predict.
        objects: whether objects are detected.

    Raises:
        ConfigError: one does not.
    """
    idle, what = (_FOR_PIXELS, "detects objects") if objects else (_FOR_OBJECTS, "tells classes of pixels")
    for name, flag in idle.items():
        if getattr(config, name) != PredictConfig.model_fields[name].default:
            raise ConfigError(f"{flag} does not apply to a model that {what}; leave it out")


def check_fit(source: Scene, card: ModelCard, model: Path, progress: Progress) -> None:
    """Refuse a scene the model was not made for; warn when its pixels have another size.

    Raises:
        SceneError: number of bands or dtype differ.
    """
    wanted = ", ".join(card.band_names)
    count = len(card.band_names)
    if len(source.bands) != count:
        example = ",".join(str(band) for band in range(1, count + 1))
        cure = f"choose with --bands, such as --bands {example}"
        raise SceneError(
            f"{source.shown} has {len(source.bands)} bands, model {model} expects {count} ({wanted}); "
            f"{cure if len(source.bands) > count else 'give a scene that has them'}"
        )
    if source.dtype != card.dtype:
        raise SceneError(
            f"{source.shown} is {source.dtype}, model {model} was trained on {card.dtype}; "
            f"give a {card.dtype} scene or train on {source.dtype} ones"
        )
    gsd_m = source.geobox.gsd_m
    known = card.gsd_range_m or (None if card.gsd_m is None else (card.gsd_m, card.gsd_m))
    if gsd_m and known and not known[0] / GSD_TOLERANCE <= gsd_m <= known[1] * GSD_TOLERANCE:
        trained = f"{known[0]:.3g}" if known[0] == known[1] else f"{known[0]:.3g} to {known[1]:.3g}"
        progress.warn(
            f"{source.shown} has {gsd_m:.3g} m pixels, the model was trained at {trained} m: "
            "expect poor results"
        )


def warn_of_server(scene: Scene, progress: Progress) -> None:
    """Warn of a server that does not tell changes, and of a scene that is slow to fetch."""
    if scene.remote is None:
        return
    if not scene.remote.tells_changes:
        progress.warn(
            f"the server of {scene.shown} tells neither ETag nor date: a change of the scene while it is "
            "read, or before --resume, goes unnoticed unless its size changes"
        )
    if scene.block_rows > MAX_AHEAD_PX:
        progress.warn(
            f"{scene.shown} is stored in blocks of {scene.block_rows:,} rows, which are fetched again and "
            "again; download it first, or rewrite it with gdal_translate -co TILED=YES"
        )
