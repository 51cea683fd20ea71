"""Errors as polygons: a GeoPackage of layers, one a kind of error, that QGIS opens coloured."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas
import pyogrio
import pyproj
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import IGNORE, ClassMap
from geoseg.errors import OutputError, WriteError
from geoseg.outputs import check_output, staged_file
from geoseg.progress import Progress
from geoseg.raster.gdal import gdal_errors, quiet
from geoseg.scoring.layers import Scored
from geoseg.scoring.plane import as_pyproj
from geoseg.scoring.sources import GridPair, land_of, regions
from geoseg.vector.place import Place
from geoseg.vector.style import add_style

# Okabe and Ito's: told apart with every common form of colour vision.
COLORS = {
    "true_positive": "#009E73",
    "false_negative": "#0072B2",
    "false_positive": "#D55E00",
    "split": "#E69F00",
    "merge": "#CC79A7",
}
"""Colour of each layer, from the one that is drawn first."""

_AT_ONCE = 20_000


def check_errors_output(path: Path, *, overwrite: bool, inputs: Sequence[Path]) -> None:
    """Refuse an output for errors that cannot or must not be written.

    Raises:
        OutputError: no ``.gpkg``, or as :func:`geoseg.outputs.check_output`.
    """
    if path.suffix.lower() != ".gpkg":
        raise OutputError(f"errors {path} are layers of a GeoPackage; write to {path.stem}.gpkg")
    if any(sign in str(path.absolute()) for sign in ";?!"):
        raise OutputError(f"output {path} has one of ; ? ! in its path; choose another")
    check_output(path, overwrite=overwrite, inputs=inputs)


class _Layers:
    """Writes polygons into layers as they come; memory does not grow with them."""

    def __init__(self, path: Path, crs: pyproj.CRS | None) -> None:
        self._path = path
        self._crs = crs
        self._waiting: dict[str, list[geopandas.GeoDataFrame]] = {}
        self._made: set[str] = set()

    def has(self, layer: str) -> bool:
        """Whether anything was added to a layer."""
        return layer in self._made or layer in self._waiting

    def add(self, layer: str, polygons: NDArray[Any], columns: Mapping[str, Any]) -> None:
        """Add polygons (R,) and their columns, each (R,)."""
        frame = geopandas.GeoDataFrame(dict(columns), geometry=polygons, crs=self._crs)
        waiting = self._waiting.setdefault(layer, [])
        waiting.append(frame)
        if sum(map(len, waiting)) >= _AT_ONCE:
            self.flush(layer)

    def flush(self, layer: str) -> None:
        """Write what waits."""
        waiting = self._waiting.pop(layer, [])
        if not waiting:
            return
        with quiet():
            pyogrio.write_dataframe(
                pandas.concat(waiting, ignore_index=True),
                self._path,
                layer=layer,
                driver="GPKG",
                append=layer in self._made,
                geometry_type="MultiPolygon",
                promote_to_multi=True,
                **({} if layer in self._made else {"dataset_options": {"VERSION": "1.2"}}),
            )
        self._made.add(layer)


@contextlib.contextmanager
def _layers(
    output: Path, crs: pyproj.CRS | None, kinds: Sequence[str], names: Sequence[str]
) -> Iterator[_Layers]:
    """Layers that appear, whole and with their colours, when the block ends well."""
    with (
        gdal_errors("writing errors", output, error=WriteError, hint="is the disk full?"),
        staged_file(output) as staged,
    ):
        layers = _Layers(staged, crs)
        empty = {"class_id": np.zeros(0, np.int32), "class_name": np.zeros(0, np.object_)}
        yield layers
        for kind in kinds:
            if not layers.has(kind):
                layers.add(kind, np.zeros(0, np.object_), empty)
            layers.flush(kind)
            styles = {i: (f"{name}: {kind.replace('_', ' ')}", COLORS[kind]) for i, name in enumerate(names)}
            try:
                add_style(staged, kind, styles)
            except sqlite3.Error as reason:
                raise WriteError(f"writing errors {output} failed: {reason}; is the disk full?") from reason


def write_object_errors(output: Path, scored: Scored) -> None:
    """Layers of objects: matched, missed, made up, and true ones that are split, predicted ones that merge.

    Raises:
        WriteError: the disk is full or not writable.
    """
    found, names = scored.found, np.array(scored.class_names, np.object_)
    plane, pairs, matched = found.plane, found.pairs, found.matched
    hit = _hit(pairs.prediction[matched], len(found.predicted))
    missed = ~_hit(pairs.truth[matched], len(found.truth))
    iou = np.full(len(found.predicted), np.nan)
    iou[pairs.prediction[matched]] = pairs.iou()[matched]
    area = "area_m2" if plane.metric else "area"
    with _layers(output, plane.map_crs, list(COLORS), scored.class_names) as layers:
        for kind, things, chosen in (
            ("true_positive", found.predicted, hit),
            ("false_negative", found.truth, missed),
            ("false_positive", found.predicted, ~hit),
            ("split", found.truth, found.split),
            ("merge", found.predicted, found.merged),
        ):
            some = things.only(chosen)
            columns: dict[str, Any] = {
                "class_id": some.class_id.astype(np.int32),
                "class_name": names[some.class_id],
                area: shapely.area(some.geometry) * plane.unit_m**2,
            }
            if some.score is not None:
                columns["score"] = some.score
            if kind == "true_positive":
                columns["iou"] = iou[chosen]
            if len(some):
                layers.add(kind, plane.back(some.geometry), columns)


def _hit(indices: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    return np.bincount(indices, minlength=count) > 0


def write_pixel_errors(output: Path, pair: GridPair, classes: ClassMap, progress: Progress) -> None:
    """Layers of wrong land: regions of one true and one predicted class, in exact pixel outlines.

    A region is in ``false_positive`` by its predicted class and in ``false_negative`` by its true one;
    background, where there is one, is in neither.

    Raises:
        WriteError: the disk is full or not writable.
    """
    box, count = pair.prediction.geobox, len(classes)
    place = Place.of(box, pair.prediction.path)
    names, land = np.array(classes.names, np.object_), land_of(classes)

    def wrong(window: Window) -> NDArray[np.int32]:
        truth, predicted = pair.both(window)
        numbers = truth.astype(np.int32) * count + predicted + 1
        numbers[(truth == predicted) | (truth == IGNORE)] = 0
        return numbers

    crs = None if place.crs is None else as_pyproj(place.crs)
    kinds = ["false_negative", "false_positive"]
    progress.begin("trace errors", box.height, "rows")
    with _layers(output, crs, kinds, classes.names) as layers:
        for polygons, numbers in regions(wrong, box, place, lambda number: number > 0, progress):
            pairs = dict(zip(kinds, np.divmod(np.asarray(numbers, np.int64) - 1, count), strict=True))
            for kind, other in zip(kinds, reversed(kinds), strict=True):
                chosen = land[pairs[kind]]
                ids = pairs[kind][chosen]
                columns = {
                    "class_id": ids.astype(np.int32),
                    "class_name": names[ids],
                    "instead": names[pairs[other][chosen]],
                }
                if chosen.any():
                    layers.add(kind, polygons[chosen], columns)
    progress.end()
