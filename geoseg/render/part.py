"""The part of a scene that is asked for: a window, bounds, or the inside of polygons."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from rasterio.windows import Window

from geoseg.errors import InputError, LabelsError
from geoseg.progress import Progress
from geoseg.raster.geobox import GeoBox
from geoseg.raster.scene import Scene
from geoseg.raster.windows import clip, show

if TYPE_CHECKING:
    from geoseg.raster.vector_labels import VectorLabels

Bounds = tuple[float, float, float, float]
"""left, bottom, right, top in units of a CRS."""


def part_of(scene: Scene, window: Window | None, bounds: Bounds | None) -> Window | None:
    """The part of a scene that is asked for, clipped to it; ``None`` for all of it.

    Bounds are widened to whole pixels; in a turned scene they are those of a window around them.

    Raises:
        InputError: the part lies outside of the scene, or the scene has no georeferencing.
    """
    if window is not None and bounds is not None:
        raise InputError("--window and --bounds both say where; give one of them")
    if bounds is not None:
        window = _window_of(scene.geobox, bounds, scene.shown)
    if window is None:
        return None
    part = clip(window, scene.geobox.shape)
    if part is None:
        height, width = scene.geobox.shape
        raise InputError(
            f"{show(window)} lie outside of {scene.shown}, which has {width} columns and {height} rows; "
            "give a part that overlaps it"
        )
    return None if part == Window(0, 0, scene.geobox.width, scene.geobox.height) else part


def _window_of(geobox: GeoBox, bounds: Bounds, path: str) -> Window:
    left, bottom, right, top = bounds
    if not all(map(math.isfinite, bounds)) or left >= right or bottom >= top:
        raise InputError(f"--bounds {left:g},{bottom:g},{right:g},{top:g}: write left,bottom,right,top")
    if not geobox.georeferenced or geobox.placeless:
        raise InputError(f"--bounds need georeferencing, which {path} has not; use --window")
    inverse = ~geobox.transform
    corners = [inverse @ (x, y) for x in (left, right) for y in (bottom, top)]
    columns, rows = zip(*corners, strict=True)
    # A bound that is meant to lie on a pixel edge must not reach into the next pixel by rounding.
    slack = 1e-6
    first_col, first_row = math.floor(min(columns) + slack), math.floor(min(rows) + slack)
    return Window(
        first_col,
        first_row,
        max(1, math.ceil(max(columns) - slack) - first_col),
        max(1, math.ceil(max(rows) - slack) - first_row),
    )


def open_aoi(path: Path, part: GeoBox, progress: Progress) -> VectorLabels:
    """The polygons of an area of interest.

    Raises:
        LabelsError: the file cannot be used.
        InputError: it covers nothing of the part, or the part has no place.
    """
    from geoseg.raster.vector_labels import VectorLabels

    part.check_place("the scene")
    try:
        aoi = VectorLabels.open(path, class_column=None, class_name="aoi", unlabelled="ignore", classes=None)
        covered = aoi.covers(part)
    except LabelsError as error:
        raise LabelsError(str(error).replace("labels ", "area of interest ", 1)) from error
    for note in aoi.notes:
        progress.note(note)
    if not covered:
        raise InputError(f"area of interest {path} lies outside of the scene; check its CRS")
    return aoi


def shared(window: Window, part: Window) -> Window | None:
    """What two windows share, ``None`` for nothing."""
    top, left = max(window.row_off, part.row_off), max(window.col_off, part.col_off)
    bottom = min(window.row_off + window.height, part.row_off + part.height)
    right = min(window.col_off + window.width, part.col_off + part.width)
    return None if bottom <= top or right <= left else Window(left, top, right - left, bottom - top)
