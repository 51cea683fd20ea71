"""What ``evaluate --errors`` wrote, as polygons whose classes are the kinds of error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio

from geoseg.classes import IGNORE
from geoseg.errors import LabelsError
from geoseg.mapview.legend import Legend
from geoseg.mapview.parcels import Parcels
from geoseg.mapview.pixels import Ground
from geoseg.raster.gdal import gdal_errors, quiet
from geoseg.raster.vectors import read_vector

KINDS = {
    "true_positive": ("matched", "#009E73"),
    "false_negative": ("missed", "#0072B2"),
    "false_positive": ("made up", "#D55E00"),
    "split": ("split", "#E69F00"),
    "merge": ("merged", "#CC79A7"),
}
"""Layers, what they are called on the map, and their colours there and in QGIS; the first is drawn first."""

AT_FIRST = ("matched", "missed", "made up")
"""Those that are shown at the beginning; the others lie over them."""

_SURE = "false_negative"
"""A layer that every such file has."""


def read_mistakes(path: Path, ground: Ground, legend: Legend | None) -> Parcels | None:
    """Read all layers as one; ``None`` when there is nothing in any.

    Args:
        path: a GeoPackage.
        ground: where the scene lies.
        legend: classes of the map, to which the kinds are added.

    Raises:
        LabelsError: no readable file, without such layers, or it lies elsewhere than the scene.
    """
    import pandas

    sure = read_vector(path, layer=_SURE, what="errors")
    with gdal_errors("reading errors", path, error=LabelsError), quiet():
        there = {str(name) for name, _ in pyogrio.list_layers(path.absolute())}
    told, ids = _with_kinds(legend)
    frames, class_ids = [], []
    for kind, (words, _) in KINDS.items():
        if kind not in there:
            continue
        frame = sure if kind == _SURE else read_vector(path, layer=kind, what="errors")
        if len(frame):
            frames.append(frame.rename(columns={"class_name": "class"}).assign(error=words))
            class_ids.append(np.full(len(frame), ids[kind], np.uint8))
    if not frames:
        return None
    together = pandas.concat(frames, ignore_index=True).drop(columns="class_id", errors="ignore")
    return Parcels.of(together, path, ground, told, what="errors", class_ids=np.concatenate(class_ids))


def _with_kinds(legend: Legend | None) -> tuple[Legend, dict[str, int]]:
    """The legend with the kinds of error as further classes, and their ids."""
    told = {} if legend is None else {at: legend.names[at] for at in legend.told}
    colors = {} if legend is None else dict(enumerate(legend.colors))
    # The highest, not the lowest: a mask that names no classes may well hold those.
    free = [at for at in range(IGNORE) if at not in told][-len(KINDS) :]
    ids = dict(zip(KINDS, free, strict=False))
    told |= {ids[kind]: KINDS[kind][0] for kind in ids}
    colors |= {ids[kind]: KINDS[kind][1] for kind in ids}
    return Legend.named(told, colors, background=None if legend is None else legend.background), ids
