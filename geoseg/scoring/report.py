"""What evaluation finds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from geoseg.metrics import json_score
from geoseg.metrics.bootstrap import Interval
from geoseg.raster.remote import shown

Intervals = Mapping[str, Interval | None]


@dataclass(frozen=True, kw_only=True)
class PixelIntervals:
    """95 % intervals of the scores of pixels, by a bootstrap over blocks of land.

    Attributes:
        blocks: blocks with counted pixels; of fewer than 10 no interval is made.
        block_px: their side.
        miou: of the mean IoU; ``None`` without intervals.
        mean_boundary_iou: of the mean Boundary IoU.
        accuracy: of the share of right pixels.
        kappa: of Cohen's kappa.
        iou: of each class.
        boundary_iou: of each class.
    """

    blocks: int
    block_px: int
    miou: Interval | None
    mean_boundary_iou: Interval | None
    accuracy: Interval | None
    kappa: Interval | None
    iou: Intervals
    boundary_iou: Intervals

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return _values(self)


@dataclass(frozen=True, kw_only=True)
class ObjectScores:
    """Scores of the objects of a class, or of all; NaN where nothing defines one.

    Attributes:
        truth: true objects.
        predicted: predicted objects.
        precision: share of the predicted objects that match a true one with an IoU of 0.5 or more.
        recall: share of the true objects that do.
        f1: harmonic mean of the two.
        f1_mean: mean of F1 over IoU 0.5, 0.55 .. 0.95.
        pq: panoptic quality (Kirillov et al. 2019), SQ times RQ; of all classes, their mean.
        sq: mean IoU of the objects that match with more than 0.5.
        rq: F1 of the objects that match with more than 0.5.
        over_segmentation: mean of ``1 - |O and M| / |O|`` over the true objects O that a predicted one
            touches, M being the one that shares most land with O (Persello and Bruzzone 2010).
        under_segmentation: mean of ``1 - |O and M| / |M|`` over the same.
        split: true objects in which two predicted ones or more mainly lie, specks apart (see
            :func:`geoseg.metrics.objects.splits_and_merges`).
        merged: predicted objects in which two true ones or more mainly lie.
        count_bias: predicted objects to true ones, less 1.
        area_bias: predicted area to true area, less 1.
        boundary_m: mean distance in metres between the outlines of matched objects.
        hausdorff95_m: mean over matched objects of the 95 % Hausdorff distance in metres.
    """

    truth: int
    predicted: int
    precision: float
    recall: float
    f1: float
    f1_mean: float
    pq: float
    sq: float
    rq: float
    over_segmentation: float
    under_segmentation: float
    split: int
    merged: int
    count_bias: float
    area_bias: float
    boundary_m: float
    hausdorff95_m: float

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; ``null`` where a score is NaN."""
        return _values(self)


@dataclass(frozen=True, kw_only=True)
class DetectionScores:
    """How well the polygons of a class are ranked by their score, or those of all classes.

    Attributes:
        truth: true objects.
        predicted: polygons of any score.
        ap: average precision, the mean over IoU 0.5, 0.55 .. 0.95 (as COCO has it); of all classes, the mean
            over those with true objects. NaN without any true object.
        ap50: at an IoU of 0.5.
        ap75: at an IoU of 0.75.
        boundary_ap: ``ap`` by the lower of IoU and Boundary IoU (Cheng et al. 2021).
    """

    truth: int
    predicted: int
    ap: float
    ap50: float
    ap75: float
    boundary_ap: float


@dataclass(frozen=True, kw_only=True)
class DetectionReport:
    """Average precision of polygons that have a score.

    Attributes:
        classes: scores by class, those without any object left out.
        all: of all classes.
        min_score: polygons below it count here, and nowhere else.
        boundary_m: width of the band of ``boundary_ap`` in metres, or in units of the coordinates when the
            place is not known.
    """

    classes: Mapping[str, DetectionScores]
    all: DetectionScores
    min_score: float
    boundary_m: float


@dataclass(frozen=True, kw_only=True)
class ObjectReport:
    """How well objects were found.

    Attributes:
        classes: scores by class, those without any object left out.
        all: of the objects of all classes together; panoptic quality is the mean of the classes'.
        left_out_truth: true objects of which less than half lies on the land compared.
        left_out_predicted: predicted objects of which less than half does.
        area_m2: land of the true objects; ``None`` when the place on Earth is not known.
        blocks: blocks with objects; of fewer than 10 no interval is made.
        block_m: their side in metres, or in units of the coordinates when the place is not known.
        f1_interval: 95 % interval of ``all.f1`` by a bootstrap over blocks of objects.
        pq_interval: of ``all.pq``.
        detections: average precision, when the objects have scores; all else is of those with a high one.
    """

    classes: Mapping[str, ObjectScores]
    all: ObjectScores
    left_out_truth: int
    left_out_predicted: int
    area_m2: float | None
    blocks: int
    block_m: float
    f1_interval: Interval | None
    pq_interval: Interval | None
    detections: DetectionReport | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return _values(self)


@dataclass(frozen=True, kw_only=True)
class EvaluateReport:
    """Scores of a mask or a model. A score is NaN where nothing defines it; means leave NaN out.

    Attributes:
        prediction: the mask, the probabilities, or the model file.
        truth: the labels, or the chips folder.
        split: of the chips; ``None`` for a mask.
        refine: whether the model's points were refined; ``None`` for a mask.
        iou: intersection over union of each class name, in the order of their ids.
        precision: share of the predicted pixels that are right.
        recall: share of the true pixels that were found.
        f1: harmonic mean of the two.
        boundary_iou: IoU of the bands just inside of the outlines.
        miou: mean of ``iou`` over the classes present, background included.
        mean_boundary_iou: mean of ``boundary_iou`` over the classes present.
        accuracy: share of the counted pixels that are right.
        boundary_px: width of the band of ``boundary_iou``.
        confusion: pixels by true class (rows) and predicted class (columns).
        pixels: pixels counted.
        unpredicted_pixels: pixels with truth, left out because the mask has nodata there.
        ignored_pixels: pixels left out because they have no truth.
        kappa: Cohen's kappa, agreement beyond chance.
        boundary_m: the same width in metres on the ground; ``None`` when that is not known.
        intervals: how sure the scores are.
        objects: scores of objects, when asked for.
        errors: where errors were drawn, if anywhere.
    """

    prediction: Path
    truth: Path
    split: str | None
    refine: bool | None
    iou: dict[str, float]
    precision: dict[str, float]
    recall: dict[str, float]
    f1: dict[str, float]
    boundary_iou: dict[str, float]
    miou: float
    mean_boundary_iou: float
    accuracy: float
    boundary_px: int
    confusion: tuple[tuple[int, ...], ...]
    pixels: int
    unpredicted_pixels: int
    ignored_pixels: int
    kappa: float = math.nan
    boundary_m: float | None = None
    intervals: PixelIntervals | None = None
    objects: ObjectReport | None = None
    errors: Path | None = None

    @property
    def unpredicted_share(self) -> float:
        """Share of the pixels with truth that the mask has nodata at."""
        return self.unpredicted_pixels / max(1, self.pixels + self.unpredicted_pixels)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; ``null`` where a score is NaN."""
        return _values(self) | {
            "prediction": shown(self.prediction),
            "truth": str(self.truth),
            "unpredicted_share": self.unpredicted_share,
        }


@dataclass(frozen=True, kw_only=True)
class PolygonsReport:
    """Scores of a polygon layer.

    Attributes:
        prediction: the layer.
        truth: the labels.
        objects: how well its objects were found.
        errors: where errors were drawn, if anywhere.
    """

    prediction: Path
    truth: Path
    objects: ObjectReport
    errors: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; ``null`` where a score is NaN."""
        return _values(self)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How much better a prediction is than the first one, with 95 % intervals over the same blocks.

    Attributes:
        miou: its mean IoU less the first one's; ``None`` without both.
        miou_interval: of that; ``None`` when the two are not on one grid, or there are too few blocks.
        mean_boundary_iou: the same of Boundary IoU.
        mean_boundary_iou_interval: of that.
        object_f1: the same of the objects' F1.
        object_f1_interval: of that.
    """

    miou: float | None
    miou_interval: Interval | None
    mean_boundary_iou: float | None
    mean_boundary_iou_interval: Interval | None
    object_f1: float | None
    object_f1_interval: Interval | None

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return _values(self)


@dataclass(frozen=True, kw_only=True)
class CompareReport:
    """Several predictions against one truth.

    Attributes:
        reports: one a prediction, in the order given.
        differences: of each but the first from the first.
    """

    reports: tuple[EvaluateReport | PolygonsReport, ...]
    differences: tuple[Difference, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "reports": [report.to_json() for report in self.reports],
            "differences": [difference.to_json() for difference in self.differences],
        }


def _values(report: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(report, field.name)) for field in fields(report)}


def _plain(value: Any) -> Any:
    """Reports as dicts, tuples as lists, NaN as ``None``."""
    if is_dataclass(value):
        return _values(value)
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return json_score(value)
    return str(value) if isinstance(value, Path) else value
