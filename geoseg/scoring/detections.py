"""Average precision of polygons that have a score, on the land that is compared."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoseg.config import EvaluateConfig
from geoseg.errors import InputError
from geoseg.metrics.bands import polygon_band_iou
from geoseg.metrics.objects import overlaps
from geoseg.metrics.precision import AveragePrecision, Detections
from geoseg.metrics.shares import mean_present
from geoseg.scoring.plane import Plane
from geoseg.scoring.report import DetectionReport, DetectionScores
from geoseg.scoring.sources import SCORE_COLUMN, PolygonLayer
from geoseg.scoring.things import Things
from geoseg.scoring.widths import parse_width

BOUNDARY_M = 2.0
"""Width of the band of Boundary AP, when none is given in metres: polygons have no pixels."""


def polygons_width_m(config: EvaluateConfig) -> float:
    """Width of the band of Boundary AP in metres.

    Raises:
        ConfigError: the configured width is none.
    """
    number, unit = parse_width(config.boundary)
    return number if unit == "m" else BOUNDARY_M


def check_scored(layer: PolygonLayer, config: EvaluateConfig) -> None:
    """Refuse settings for scores that a layer has not.

    Raises:
        InputError: some are given.
    """
    given = {"min_score": "least score (--min-score)", "boundary": "width (--boundary)"}
    useless = [given[name] for name in given if name in config.model_fields_set]
    if layer.scores is None and useless:
        raise InputError(
            f"polygons {layer.path} have no column {SCORE_COLUMN} of numbers, and the {useless[0]} is for "
            "those that have; leave it out"
        )


def detection_report(
    truth: Things,
    predicted: Things,
    class_names: Sequence[str],
    *,
    plane: Plane,
    min_score: float,
    boundary_m: float,
) -> DetectionReport:
    """AP and Boundary AP.

    Args:
        truth: true objects on the plane.
        predicted: predicted ones of any score; they may overlap.
        class_names: by class id.
        plane: the plane.
        min_score: told in the report.
        boundary_m: width of the band of Boundary AP; what was cut at the edge of the land has one there too.
    """
    count = len(class_names)
    scores = np.zeros(len(predicted)) if predicted.score is None else predicted.score
    pairs = overlaps(truth.geometry, truth.class_id, predicted.geometry, predicted.class_id)
    image = Detections(
        pairs=pairs, truth_class=truth.class_id, prediction_class=predicted.class_id, score=scores
    )
    masks, outlines = AveragePrecision(count), AveragePrecision(count)
    masks.add(image)
    bands = polygon_band_iou(truth.geometry, predicted.geometry, pairs, boundary_m / plane.unit_m)
    outlines.add(image, np.minimum(pairs.iou(), bands))
    columns = (masks.ap(), masks.at(0.5), masks.at(0.75), outlines.ap())
    true = np.bincount(truth.class_id, minlength=count)
    found = np.bincount(predicted.class_id, minlength=count)
    classes = {
        name: _scores(int(true[i]), int(found[i]), [float(column[i]) for column in columns])
        for i, name in enumerate(class_names)
        if true[i] or found[i]
    }
    together = _scores(int(true.sum()), int(found.sum()), [mean_present(column) for column in columns])
    return DetectionReport(classes=classes, all=together, min_score=min_score, boundary_m=boundary_m)


def _scores(truth: int, predicted: int, values: Sequence[float]) -> DetectionScores:
    ap, ap50, ap75, boundary_ap = values
    return DetectionScores(
        truth=truth, predicted=predicted, ap=ap, ap50=ap50, ap75=ap75, boundary_ap=boundary_ap
    )
