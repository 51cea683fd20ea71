"""The sections of a run's report that tell how well it finds objects: figures, classes, refinement."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from geoseg.metrics.instances import InstanceCounts
from geoseg.metrics.shares import mean_present
from geoseg.page.markup import Html, Node, el, join
from geoseg.page.numbers import change, count, score
from geoseg.page.table import table, tiles, with_bar
from geoseg.review import epochs
from geoseg.review.curve import Line, chart
from geoseg.review.labelled import class_name
from geoseg.review.log import Log
from geoseg.review.look import BOUNDARY_PX
from geoseg.review.look_instances import ObjectFindings
from geoseg.review.source import Source
from geoseg.review.verdict import DEFAULT_SCORE, MATCH_IOU

_BOXES = {
    "objectness": "objectness",
    "proposal": "proposal",
    "class": "class",
    "box": "box",
}
_MASKS = {"coarse": "coarse map", "point": "points"}
_APS = {
    "val_ap": "AP",
    "val_ap50": "AP50",
    "val_ap75": "AP75",
    "val_boundary_ap": "Boundary AP",
}
_KNOWN = {"loss", *_BOXES, *_MASKS, *_APS}


def headline(source: Source) -> Html:
    """The figures that answer: how good, and at what price?"""
    log, best, found, store = source.log, source.best, source.objects, source.store
    values: dict[str, float | None] = {name: log.at(key, best) for key, name in _APS.items()}
    where = "validation, best epoch"
    if values["AP"] is None and found is not None and found.measured:
        values = dict(zip(_APS.values(), _means(found.refined), strict=True))
        where = found.looked.words()
    known = values["AP"] is not None
    notes = {
        "AP": f"mean over IoU 0.5 to 0.95; {where}" if known else "not measured yet",
        "AP50": "at IoU 0.5" if known else None,
        "AP75": "at IoU 0.75" if known else None,
        "Boundary AP": f"outlines count, {BOUNDARY_PX}\u00a0px" if known else None,
    }
    entries: list[tuple[str, str, Node]] = [(name, score(values[name]), notes[name]) for name in notes]
    chips = [count(len(store.chips(split))) for split in ("train", "val")]
    return tiles(
        [
            *entries,
            *epochs.course(source, "AP"),
            ("Chips", chips[0], f"to train on, and {chips[1]} to validate"),
            *epochs.device(source),
        ]
    )


def curves(source: Source) -> Html | None:
    """Charts of everything the log holds about learning, and a table of all of it."""
    log = source.log
    things = len(source.store.classes) - 1
    drawn = [
        epochs.losses(log, "Training loss", {"loss": "loss"}),
        epochs.losses(log, "Loss of boxes and classes", _BOXES),
        epochs.losses(log, "Loss of masks", _MASKS),
        _precisions(source),
        epochs.class_scores(source, "AP of classes", "val_class_ap", mean=None) if things > 1 else None,
    ]
    return epochs.learning(source, drawn, _KNOWN)


def classes(source: Source) -> Html | None:
    """A row for every class, and what another least score would change."""
    found = source.objects
    if found is None or not found.measured:
        return None
    return join(
        _by_class(source, found),
        epochs.drift(source, "val_ap", "AP", found.refined.masks.mean_ap()),
        _by_score(found),
    )


def refinement(source: Source) -> Html | None:
    """What PointRend's subdivision changed, on the same boxes and by the same counting."""
    found = source.objects
    if found is None or found.unrefined is None or not found.refined.masks.truth.any():
        return None
    before, after = _means(found.unrefined), _means(found.refined)
    rows: list[list[Node]] = [
        [name, score(coarse), score(refined), change(refined - coarse)]
        for name, coarse, refined in zip(_APS.values(), before, after, strict=True)
    ]
    words = (
        f"The same boxes on {found.looked.words()}: once with the head's map of 28 x 28 points read "
        "bilinearly, which is as fine as Mask R-CNN's own, and once with PointRend's subdivision of it, up "
        "to 224 x 224. Objects of some 14 px or less have finer points than pixels already and cannot gain."
    )
    return join(el("p", words), table(["", "28 x 28", "subdivided", "change"], rows))


def _means(counts: InstanceCounts) -> list[float]:
    """AP, AP50, AP75 and Boundary AP over the classes that have true objects."""
    return [
        counts.masks.mean_ap(),
        mean_present(counts.masks.at(0.5)),
        mean_present(counts.masks.at(0.75)),
        counts.boundaries.mean_ap(),
    ]


def _precisions(source: Source) -> Html | None:
    log: Log = source.log
    lines = [
        Line(name=name, values=curve) for key, name in _APS.items() if (curve := log.curve(key)) is not None
    ]
    if not lines:
        return None
    return chart("Validation AP", log.epochs, lines, shown=score, low=0.0, marked=source.best)


def _by_class(source: Source, found: ObjectFindings) -> Html:
    store, tally = source.store, found.tally
    level = tally.levels.index(DEFAULT_SCORE)
    masks, boundaries = found.refined.masks, found.refined.boundaries
    ranked = (masks.ap(), masks.at(0.5), masks.at(0.75), boundaries.ap())
    counted = (tally.precision(level), tally.recall(level), tally.f1(level), tally.mean_iou(level))
    numbers = (tally.truth, tally.predicted[level], tally.right[level])
    rows: list[list[Node]] = []
    for class_id in range(1, len(store.classes)):
        ap, *others = (float(column[class_id]) for column in ranked)
        rows.append(
            [
                class_name(store, class_id),
                with_bar(score(ap), ap),
                *map(score, others),
                *(count(int(column[class_id])) for column in numbers),
                *(score(float(column[class_id])) for column in counted),
            ]
        )
    foot: list[Node] = [
        "all",
        *map(score, _means(found.refined)),
        *(count(int(column.sum())) for column in numbers),
        *(score(float(column[-1])) for column in counted),
    ]
    heads: list[Node] = ["class", *_APS.values(), "true", "predicted", "right"]
    heads += ["precision", "recall", "F1", "mean IoU"]
    caption = (
        f"The model, on {found.looked.words()}. AP is of objects of any score, and that of all the mean over "
        f"the classes; Boundary AP in a band of {BOUNDARY_PX} px. What follows is of predicted objects with "
        f"a score of {DEFAULT_SCORE:g} or more, which is what predict reports: right are those with an IoU "
        f"of {MATCH_IOU:g} or more with a true one of their class, and mean IoU is theirs. Objects mostly on "
        "land where nothing is known are neither right nor wrong."
    )
    return table(heads, rows, caption=caption, foot=foot if len(rows) > 1 else None)


def _by_score(found: ObjectFindings) -> Html:
    """Precision and recall of all classes together at other least scores."""
    tally = found.tally
    f1 = np.array([tally.f1(level)[-1] for level in range(len(tally.levels))])
    best = _best(f1)
    rows: list[list[Node]] = []
    for level, least in enumerate(tally.levels):
        marks = ["the default"] if least == DEFAULT_SCORE else []
        marks += ["best F1"] if level == best else []
        figures: list[Node] = [
            count(int(tally.predicted[level].sum())),
            *(score(float(column(level)[-1])) for column in (tally.precision, tally.recall)),
            with_bar(score(float(f1[level])), float(f1[level])),
            ", ".join(marks) or None,
        ]
        rows.append([f"{least:g}", *figures])
    caption = "All classes together, at other least scores (predict --min-score)"
    return table(["least score", "predicted", "precision", "recall", "F1", ""], rows, caption=caption)


def _best(f1: NDArray[np.float64]) -> int | None:
    """Where F1 is highest; of equal ones the highest score, ``None`` when nothing was right."""
    if not np.nan_to_num(f1).any():
        return None
    return int(np.flatnonzero(f1 == np.nanmax(f1))[-1])
