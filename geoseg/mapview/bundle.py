"""All of a map in one file, within a few megabytes: as many levels as fit, and the largest polygons."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geoseg.mapview.atlas import Atlas, RasterView, VectorView
from geoseg.mapview.layers import ImageLayer
from geoseg.mapview.parcels import STEPS_A_PIXEL, TOLERANCE_PX
from geoseg.page.numbers import count
from geoseg.progress import Progress

TOTAL_BYTES = 9_400_000
"""Most characters of all that is drawn; with the rest of the page the file stays below 10 MB."""

CLASS_BYTES = 850_000
RAMP_BYTES = 700_000
STROKE_BYTES = 1_000_000
TEXT_BYTES = 700_000
"""Most bytes of the mask, of the uncertainty, of all outlines and of all attributes. The scene takes what
they leave of the total; without a scene the mask does. Base64 makes a third more of all but the last."""

QUALITIES = (76, 60, 45)
"""Of JPEG, tried one after the other: a finer level is worth more than a sharper one."""

MAX_POLYGONS = 20_000
"""Most polygons in a file; more of them make the page slow on a phone."""

_LEAST_GROWTH = 2.0
"""A level is hardly ever less than this many times as many bytes as the next coarser one."""

_MOST_TOLERANCE_PX = 4.0


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What goes into the page.

    Attributes:
        rasters: one JSON-ready dict a raster.
        vectors: one a polygon layer.
        notes: what a reader must know of what was left out, each a sentence.
    """

    rasters: list[dict[str, Any]]
    vectors: list[dict[str, Any]]
    notes: list[str]


def bundle(atlas: Atlas, progress: Progress) -> Bundle:
    """Draw what fits.

    Raises:
        SceneError, ReadError: a raster is damaged.
    """
    notes: list[str] = []
    progress.begin("draw", len(atlas.rasters) + len(atlas.vectors), "layers")
    vectors = []
    for shapes in atlas.vectors:
        vectors.append(_polygons(shapes, len(atlas.vectors), notes))
        progress.advance()
    room = TOTAL_BYTES - len(json.dumps(vectors))
    rasters: list[dict[str, Any]] = []
    masks = sum(view.kind == "classes" for view in atlas.rasters)
    most = {"classes": CLASS_BYTES * 2 // max(2, masks), "ramp": RAMP_BYTES}
    # The scene comes first on the map and last here: it takes the room that is left.
    for view in reversed(atlas.rasters):
        last = view is atlas.rasters[0]
        levels = _levels(view, atlas.pyramid.coarsest, room * 3 // 4 if last else most[view.kind])
        room -= sum(len(tile) for tiles in levels.values() for tile in tiles)
        finest = min(levels)
        rasters.insert(0, {"finest": finest, "tiles": {str(level): tiles for level, tiles in levels.items()}})
        if finest:
            pixels = f"{1 << finest} x {1 << finest}"
            notes.append(
                f"To keep this file small the {view.title} is shown with {pixels} of its pixels as one; "
                "geoseg view shows all of them."
            )
        progress.advance()
    progress.end()
    return Bundle(rasters=rasters, vectors=vectors, notes=notes)


def _levels(view: RasterView, coarsest: int, most: int) -> dict[int, list[str]]:
    """Tiles by level in base64, from the coarsest to the finest that fits into ``most`` bytes."""
    made: dict[int, list[str]] = {}
    used, last = 0, 0
    for level in range(coarsest, -1, -1):
        room = most - used
        if last * _LEAST_GROWTH > room:
            break
        files = _tiles(view, level, room if made else None)
        if files is None:
            break
        last = sum(map(len, files))
        used += last
        made[level] = [base64.b64encode(file).decode("ascii") for file in files]
    return made


def _tiles(view: RasterView, level: int, room: int | None) -> list[bytes] | None:
    """Tiles of a level, row after row; ``None`` when they are larger than ``room``."""
    for quality in QUALITIES if view.kind == "image" else QUALITIES[:1]:
        files, size = [], 0
        for column, row in view.layer.pyramid.addresses(level):
            files.append(
                view.layer.tile(level, column, row, quality)
                if isinstance(view.layer, ImageLayer)
                else view.layer.tile(level, column, row)
            )
            size += len(files[-1])
            if room is not None and size > room:
                break
        else:
            return files
    return None


def _polygons(view: VectorView, layers: int, notes: list[str]) -> dict[str, Any]:
    parcels = view.parcels
    order = np.argsort(-parcels.area_px, kind="stable")[:MAX_POLYGONS]
    columns, size = _columns(view, order), TEXT_BYTES // layers
    while len(order) > 1 and _text_bytes(columns) > size:
        order = order[: max(1, int(len(order) * size / _text_bytes(columns) * 0.97))]
        columns = _columns(view, order)
    tolerance = TOLERANCE_PX
    while True:
        step = tolerance / TOLERANCE_PX / STEPS_A_PIXEL
        strokes = parcels.strokes(
            order, step_px=step, tolerance_px=tolerance, numbers=np.arange(len(order), dtype=np.int64)
        )
        if len(strokes) <= STROKE_BYTES // layers or len(order) == 1:
            break
        if tolerance < _MOST_TOLERANCE_PX:
            tolerance *= 2
        else:
            order = order[: max(1, int(len(order) * 0.8))]
    if len(order) < len(parcels):
        some = f"{count(len(order))} largest of {count(len(parcels))}"
        notes.append(
            f"To keep this file small only the {some} {view.title} are drawn; geoseg view draws all of them."
        )
    if tolerance > TOLERANCE_PX:
        notes.append(f"Lines of the {view.title} are simplified by {tolerance:.1f} pixels of the scene.")
    return {
        "strokes": base64.b64encode(strokes).decode("ascii"),
        "step": step,
        "columns": _columns(view, order),
        "count": len(order),
    }


def _columns(view: VectorView, order: Sequence[int] | Any) -> list[list[Any]]:
    """Names, and values in the order of the outlines; texts that repeat are numbers of a list."""
    made = []
    for name, values in view.parcels.columns.items():
        chosen = [values[int(at)] for at in order]
        texts = list(dict.fromkeys(value for value in chosen if isinstance(value, str)))
        if texts and len(texts) * 2 <= len(chosen):
            rank = {text: at for at, text in enumerate(texts)}
            made.append([name, [None if value is None else rank[value] for value in chosen], texts])
        else:
            made.append([name, chosen])
    return made


def _text_bytes(columns: list[list[Any]]) -> int:

    return len(json.dumps(columns, separators=(",", ":"), ensure_ascii=False).encode())
