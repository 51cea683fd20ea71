"""Lays objects over each other: which land is compared, and what of every object lies on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from numpy.typing import NDArray

from geoseg.classes import IGNORE, ClassMap
from geoseg.errors import InputError, LabelsError
from geoseg.progress import Progress
from geoseg.raster.geobox import GeoBox
from geoseg.raster.labels import Labels
from geoseg.raster.raster_labels import RasterLabels
from geoseg.scoring.detections import detection_report
from geoseg.scoring.objects import Compared, compare_things, object_report
from geoseg.scoring.plane import Plane, as_pyproj
from geoseg.scoring.report import ObjectReport
from geoseg.scoring.sources import GridPair, PolygonLayer, label_things, land_of, regions, shared_classes
from geoseg.scoring.things import Things, cut_out, cut_to
from geoseg.vector.place import Place

_AREA_STEPS = 64


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Objects compared, and the report of it.

    Attributes:
        found: what was laid over each other.
        report: the scores.
        class_names: by class id.
    """

    found: Compared
    report: ObjectReport
    class_names: tuple[str, ...]


def score_grid(pair: GridPair, classes: ClassMap, block_px: int, *, gaps: bool, progress: Progress) -> Scored:
    """Compare the regions of a mask, traced exactly, with the objects of its labels.

    Land that either does not know is taken off both, pixel by pixel as far as both are on the grid.

    Args:
        pair: the mask and its labels.
        classes: of the mask.
        block_px: side of the blocks.
        gaps: whether there is labelled land that the mask does not predict.
        progress: told of rows.

    Raises:
        SceneError: the mask's ground control points fit no plane.
        LabelsError: the labels cannot be brought onto the plane.
    """
    box, path = pair.prediction.geobox, pair.prediction.path
    plane, land = Plane.of(box, path), land_of(classes)
    left_out, remains = 0, np.zeros(0, np.object_)
    progress.begin("trace the prediction", box.height, "rows")
    predicted = _traced(pair.predicted, box, path, plane, lambda ids: land[ids], progress)
    progress.end()
    if isinstance(pair.truth, RasterLabels):
        progress.begin("trace the labels", box.height, "rows")
        truth = _traced(pair.true, box, path, plane, lambda ids: land[ids], progress)
        progress.end()
    else:
        polygons, ids, _ = label_things(pair.truth)
        truth = Things.of(plane.put(polygons, pair.truth.crs), ids)
        map_crs = None if box.crs is None else as_pyproj(box.crs)
        nothing = np.zeros(0, np.object_)
        if gaps:
            progress.begin("trace what is not predicted", box.height, "rows")
            traced = _traced(pair.unpredicted, box, path, plane, lambda known: known == 1, progress)
            nothing = traced.geometry
            progress.end()
        truth, left_out, remains = _seen(truth, _area(box.footprint(), map_crs, plane), nothing)
    trimmed = cut_out(predicted, remains)
    found = compare_things(
        truth, trimmed.things, classes=len(classes), plane=plane, block=block_px * plane.gsd
    )
    report = object_report(
        found,
        classes.names,
        left_out_truth=left_out,
        left_out_predicted=len(predicted) - len(trimmed.things),
    )
    return Scored(found=found, report=report, class_names=classes.names)


def score_layer(
    layer: PolygonLayer,
    labels: Labels,
    *,
    area: tuple[Any, pyproj.CRS | None] | None,
    plane: Plane | None,
    block: float | None,
    min_score: float,
    boundary_m: float,
    progress: Progress,
) -> Scored:
    """Compare the polygons of a layer with the objects of labels.

    Where polygons have a score, average precision is of all, everything else of those with a high one.

    Args:
        layer: the predicted polygons.
        labels: the truth, its classes its own.
        area: the land compared and its CRS; the bounds of the layer when not given.
        plane: where to compare; one that fits when not given.
        block: side of the blocks in units of the plane.
        min_score: least score of a polygon that counts as an object.
        boundary_m: width of the band of Boundary AP.
        progress: told of rows.

    Raises:
        LabelsError: labels and layer lie apart, or the labels cannot be brought onto the plane.
        InputError: the layer is empty, and no area tells where it is.
    """
    names, ids = shared_classes(layer, labels)
    land = np.zeros(len(names), np.bool_)
    land[:] = True
    land[: len(labels.classes)] = land_of(labels.classes)[: len(labels.classes)]
    if area is None and not len(layer.polygons):
        raise InputError(f"polygons {layer.path} has none; say with area (--area) what land is compared")
    outline, outline_crs = area or (shapely.box(*shapely.total_bounds(layer.polygons)), layer.crs)
    plane = plane or Plane.around(outline.bounds, outline_crs, layer.path)
    chosen = land[ids]
    scores = None if layer.scores is None else layer.scores[chosen]
    predicted = Things.of(plane.put(layer.polygons[chosen], layer.crs), ids[chosen], scores)
    truth, unknown = _truth_of(labels, plane, progress)
    ground = _area(outline, outline_crs, plane)
    known = len(truth)
    truth, left_out, remains = _seen(truth, ground, np.zeros(0, np.object_))
    if not len(truth) and not left_out and known:
        raise LabelsError(
            f"labels {labels.path} have no object on the land of polygons {layer.path}; "
            "give labels of the same place, or correct their CRS"
        )
    inside = cut_to(predicted, ground) if area is not None else None
    trimmed = cut_out(predicted if inside is None else inside.things, np.concatenate([unknown, remains]))
    left_out_predicted = (0 if inside is None else len(inside.remains)) + (
        len(predicted if inside is None else inside.things) - len(trimmed.things)
    )
    things, detections = trimmed.things, None
    if things.score is not None:
        detections = detection_report(
            truth, things, names, plane=plane, min_score=min_score, boundary_m=boundary_m
        )
        things = things.only(things.score >= min_score)
    found = compare_things(truth, things, classes=len(names), plane=plane, block=block)
    report = object_report(found, names, left_out_truth=left_out, left_out_predicted=left_out_predicted)
    return Scored(found=found, report=replace(report, detections=detections), class_names=names)


def _truth_of(labels: Labels, plane: Plane, progress: Progress) -> tuple[Things, NDArray[Any]]:
    """Objects of labels on the plane, and land of which they know nothing."""
    if not isinstance(labels, RasterLabels):
        polygons, ids, unknown = label_things(labels)
        return Things.of(plane.put(polygons, labels.crs), ids), plane.put(unknown, labels.crs)
    box, land = labels.geobox, land_of(labels.classes)

    def burned(window: Any) -> NDArray[np.uint8]:
        return labels.burn(box.window(window))

    progress.begin("trace the labels", 2 * box.height, "rows")
    truth = _traced(burned, box, labels.path, plane, lambda ids: land[ids], progress)
    gaps = _traced(burned, box, labels.path, plane, lambda ids: ids == IGNORE, progress)
    progress.end()
    return truth, gaps.geometry


def _traced(
    read: Callable[[Any], NDArray[Any]],
    box: GeoBox,
    path: Path,
    plane: Plane,
    wanted: Callable[[NDArray[Any]], NDArray[np.bool_]],
    progress: Progress,
) -> Things:
    """Regions of a grid on the plane."""
    place = Place.of(box, path)
    crs = None if place.crs is None else as_pyproj(place.crs)
    polygons: list[NDArray[Any]] = []
    ids: list[NDArray[Any]] = []
    for some, numbers in regions(read, box, place, wanted, progress):
        polygons.append(plane.put(some, crs))
        ids.append(numbers)
    return Things.of(_joined(polygons, np.object_), _joined(ids, np.int64))


def _joined(parts: Sequence[NDArray[Any]], dtype: Any) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _area(outline: Any, crs: pyproj.CRS | None, plane: Plane) -> Any:
    """An outline on the plane, with points along its edges: they are straight on its own map only."""
    left, bottom, right, top = outline.bounds
    step = max(right - left, top - bottom) / _AREA_STEPS
    dense = outline if step == 0.0 or crs == plane.crs else shapely.segmentize(outline, step)
    return plane.put(np.array([dense]), crs)[0]


def _seen(truth: Things, area: Any, unpredicted: NDArray[Any]) -> tuple[Things, int, NDArray[Any]]:
    """True objects on the land compared, how many were left out, and what of these lies there."""
    within = cut_to(truth, area)
    known = cut_out(within.things, unpredicted)
    remains = np.concatenate([within.remains, known.remains])
    return known.things, len(within.remains) + len(within.things) - len(known.things), remains
