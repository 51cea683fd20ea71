"""Where objects come from: regions of ids on a grid, polygons of labels, polygons of a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyproj
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import IGNORE, ClassMap
from geoseg.errors import InputError, LabelsError
from geoseg.progress import Progress
from geoseg.raster.geobox import GeoBox
from geoseg.raster.labels import Labels
from geoseg.raster.polygons import left_out, valid_polygons
from geoseg.raster.vector_labels import VectorLabels
from geoseg.raster.vectors import read_vector
from geoseg.scoring.prediction import Prediction
from geoseg.vector.corners import Band
from geoseg.vector.place import Place
from geoseg.vector.trace import trace

_BAND_PX = 4 * 1024**2
_LEAST_ROWS = 64

Read = Callable[[Window], NDArray[Any]]

NAME_COLUMN, ID_COLUMN = "class_name", "class_id"
"""What vectorize calls the columns of its layers."""

SCORE_COLUMN = "score"
"""Column of an instance layer that says how sure each polygon is."""


def regions(
    read: Read,
    geobox: GeoBox,
    place: Place,
    wanted: Callable[[NDArray[Any]], NDArray[np.bool_]],
    progress: Progress,
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """Outline regions of equal numbers exactly, band by band of rows.

    Args:
        read: numbers (h, w) of a window.
        geobox: the grid.
        place: its place.
        wanted: which numbers to outline.
        progress: told of rows.

    Yields:
        (R,) polygons on the map, and their numbers.
    """
    for outlines in trace(_bands(read, geobox, progress), wanted=wanted, clockwise=place.flips):
        if len(outlines):
            polygons = shapely.from_ragged_array(
                shapely.GeometryType.POLYGON,
                place.put(outlines.points),
                offsets=(outlines.rings, outlines.regions),
            )
            yield polygons, outlines.value


def _bands(read: Read, geobox: GeoBox, progress: Progress) -> Iterator[Band]:
    rows = max(_LEAST_ROWS, _BAND_PX // geobox.width)
    above: NDArray[Any] | None = None
    for top in range(0, geobox.height, rows):
        numbers = read(Window(0, top, geobox.width, min(rows, geobox.height - top)))
        band = np.concatenate([numbers[:1] if above is None else above, numbers])
        yield Band(labels=band, top=top, height=geobox.height)
        above = band[-1:].copy()
        progress.advance(len(numbers))


def land_of(classes: ClassMap) -> NDArray[np.bool_]:
    """Which ids (256,) are objects: neither background, nor the line between objects, nor unknown."""
    land = np.zeros(256, np.bool_)
    land[: len(classes)] = True
    for apart in (classes.background, classes.boundary):
        if apart is not None:
            land[apart] = False
    return land


@dataclass(frozen=True, kw_only=True)
class GridPair:
    """A prediction and its truth on one grid, each blanked where the other is unknown.

    Attributes:
        prediction: ids on a grid.
        truth: labels burned on it.
    """

    prediction: Prediction
    truth: Labels

    def both(self, window: Window) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Class ids (h, w) of the truth and of the prediction; 255 in both where either is."""
        truth = self.truth.burn(self.prediction.geobox.window(window))
        predicted = self.prediction.read(window)
        unknown = (truth == IGNORE) | (predicted == IGNORE)
        return np.where(unknown, np.uint8(IGNORE), truth), np.where(unknown, np.uint8(IGNORE), predicted)

    def predicted(self, window: Window) -> NDArray[np.uint8]:
        """Ids of the prediction where truth is known."""
        return self.both(window)[1]

    def true(self, window: Window) -> NDArray[np.uint8]:
        """Ids of the truth where there is a prediction."""
        return self.both(window)[0]

    def unpredicted(self, window: Window) -> NDArray[np.uint8]:
        """1 where there is no prediction, else 0."""
        gaps: NDArray[np.bool_] = self.prediction.read(window) == IGNORE
        return gaps.astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class PolygonLayer:
    """A layer of predicted polygons.

    Attributes:
        path: the file.
        crs: its CRS, when it has one.
        polygons: (M,) valid polygons.
        names: (M,) name of the class of each; ``None`` when the layer tells no classes.
        scores: (M,) how sure each is; ``None`` when the layer has no column of numbers ``score``.
        notes: what of the layer is not compared as it is, each a sentence for a warning.
    """

    path: Path
    crs: pyproj.CRS | None
    polygons: NDArray[Any]
    names: NDArray[np.object_] | None
    scores: NDArray[np.float64] | None
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path, class_column: str | None) -> PolygonLayer:
        """Read a layer as vectorize writes it, or any other with a column of classes.

        The class is in ``class_name``, else in ``class_column``, else in ``class_id``, else there is only
        one. A polygon without a value there is of no class, and left out; so is what is no polygon.

        Raises:
            LabelsError: missing, no vector file, damaged, or ambiguous; or some polygons have a score and
                some none.
        """
        frame = read_vector(path, what="polygons")
        columns = [column for column in (NAME_COLUMN, class_column, ID_COLUMN) if column in frame.columns]
        told = []
        if columns:
            classless = int(frame[columns[0]].isna().sum())
            told += [f"{classless:,} without a value in {columns[0]}"] if classless else []
            frame = frame[frame[columns[0]].notna()]
        geometries = frame.geometry.to_numpy()
        polygons, rows, repaired = valid_polygons(geometries)
        told += left_out(geometries, rows)
        notes = [f"polygons {Path(path)}: not compared: {', '.join(told)}"] if told else []
        if repaired:
            notes.append(f"polygons of {Path(path)} that cross themselves, repaired: {repaired}")
        names = None
        if columns:
            values = frame[columns[0]].iloc[rows]
            if pandas.api.types.is_numeric_dtype(values):
                values = values.map(lambda value: f"{value:g}")
            names = values.map(lambda value: str(value).strip()).to_numpy(np.object_)
        scores = _scores_of(frame, Path(path))
        if scores is not None:
            scores = scores[rows]
        return cls(
            path=Path(path), crs=frame.crs, polygons=polygons, names=names, scores=scores, notes=tuple(notes)
        )


def _scores_of(frame: Any, path: Path) -> NDArray[np.float64] | None:
    """Scores (R,) of the rows of a layer; a column of that name that holds text is something else."""
    column = frame.get(SCORE_COLUMN)
    if column is None or not pandas.api.types.is_numeric_dtype(column):
        return None
    scores: NDArray[np.float64] = column.to_numpy(np.float64, na_value=np.nan)
    missing = int(np.count_nonzero(~np.isfinite(scores)))
    if missing:
        raise LabelsError(
            f"polygons {path} have no {SCORE_COLUMN} in {missing:,} of {len(scores):,} rows; "
            "give every polygon one, or leave the column out"
        )
    return scores


def shared_classes(layer: PolygonLayer, labels: Labels) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Names of the classes of the labels, then those that only the layer has; and its ids (M,) among them."""
    names = list(labels.classes.names)
    if layer.names is None:
        land = np.flatnonzero(land_of(labels.classes)).tolist()
        if len(land) != 1:
            raise LabelsError(
                f"polygons {layer.path} tell no class, and labels {labels.path} have "
                f"{', '.join(names[i] for i in land)}; give polygons with a column {NAME_COLUMN}"
            )
        return tuple(names), np.full(len(layer.polygons), land[0], np.int64)
    names += sorted(set(layer.names) - set(names))
    ids = {name: class_id for class_id, name in enumerate(names)}
    return tuple(names), np.array([ids[name] for name in layer.names], np.int64)


def only_class(layer: PolygonLayer, class_name: str | None, labels: Path) -> str | None:
    """Class of labels that have no column of classes: as named, or the only one of the layer.

    Raises:
        LabelsError: the layer has several classes.
    """
    found = sorted(set(layer.names)) if layer.names is not None else []
    if class_name is not None or not found:
        return class_name
    if len(found) > 1:
        raise LabelsError(
            f"labels {labels}: polygons {layer.path} have the classes {', '.join(found)}; "
            "say which column tells the class, or which one all labels are"
        )
    return str(found[0])


def area_of(path: Path) -> tuple[Any, pyproj.CRS | None]:
    """The land that a file covers, and its CRS: the union of its polygons, or the extent of a raster.

    Raises:
        InputError: it is neither, or empty.
    """
    from geoseg.raster import formats
    from geoseg.raster.scene import Scene
    from geoseg.scoring.plane import as_pyproj

    if formats.is_raster(formats.read_head(path, what="area", error=InputError), path):
        with Scene.open(path, what="area") as scene:
            box = scene.geobox
        return box.footprint(), None if box.crs is None else as_pyproj(box.crs)
    frame = read_vector(path, what="area")
    polygons, _, _ = valid_polygons(frame.geometry.to_numpy())
    if not len(polygons):
        raise InputError(f"area {path} has no polygons; draw the land that is to be compared")
    return shapely.union_all(polygons), frame.crs


def label_things(labels: VectorLabels) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[Any]]:
    """Polygons of labels that are objects, their class ids, and those of unknown land."""
    ids = labels.owner_ids[1:]
    land = land_of(labels.classes)[ids]
    return labels.polygons[land], ids[land].astype(np.int64), labels.polygons[ids == IGNORE]
