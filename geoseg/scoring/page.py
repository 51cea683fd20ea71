"""Scores of objects, and of several predictions, as parts of a page."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from geoseg.metrics.bootstrap import Interval
from geoseg.page.markup import Html, Node, el, join, name_of, names_of
from geoseg.page.numbers import NONE, change, count, score, some
from geoseg.page.table import facts, folded, table, tiles, with_bar
from geoseg.scoring.report import (
    CompareReport,
    DetectionReport,
    Difference,
    EvaluateReport,
    ObjectReport,
    ObjectScores,
    PolygonsReport,
)

Row = list[Node]


def more(done: EvaluateReport | PolygonsReport | CompareReport) -> Html | None:
    """What there is to say beyond the scores of one mask's pixels."""
    if isinstance(done, CompareReport):
        return comparison(done)
    return None if done.objects is None else objects(done.objects)


def objects(done: ObjectReport) -> Html:
    """How well objects were found: figures, a row for every class, and what the figures rest on."""
    every = done.all
    rows: dict[str, ObjectScores] = dict(done.classes)
    if len(rows) != 1:
        rows["all"] = every
    return join(
        el("h3", "Objects"),
        _headline(done),
        _found(rows, "class"),
        _shapes(rows, "class", metres=not math.isnan(every.boundary_m)),
        _basis(done),
        None if done.detections is None else _ranked(done.detections),
    )


def _headline(done: ObjectReport) -> Html:
    every = done.all
    entries: list[tuple[str, str, Node]] = [
        ("F1 of objects", score(every.f1), join("matched at IoU 0.5", _within(done.f1_interval))),
        ("panoptic quality", score(every.pq), join("found, times how exactly", _within(done.pq_interval))),
        ("over-segmentation", score(every.over_segmentation), f"{some(every.split, 'true one')} split"),
        (
            "under-segmentation",
            score(every.under_segmentation),
            f"{some(every.merged, 'predicted one')} over several",
        ),
    ]
    if not math.isnan(every.boundary_m):
        far = f"between outlines of matched ones; 95 % Hausdorff distance {every.hausdorff95_m:.2f}\u00a0m"
        entries.append(("outline distance", f"{every.boundary_m:.2f}\u00a0m", far))
    return tiles(entries)


def _found(rows: Mapping[str, ObjectScores], first: str) -> Html:
    head: Row = [first, "true", "predicted", "precision", "recall", "F1", "F1 .5:.95", "PQ", "SQ", "RQ"]
    cells: list[Row] = [
        [
            name_of(name),
            count(row.truth),
            count(row.predicted),
            score(row.precision),
            score(row.recall),
            with_bar(score(row.f1), row.f1),
            score(row.f1_mean),
            with_bar(score(row.pq), row.pq),
            score(row.sq),
            score(row.rq),
        ]
        for name, row in rows.items()
    ]
    return table(head, cells, caption="Which were found")


def _shapes(rows: Mapping[str, ObjectScores], first: str, *, metres: bool) -> Html:
    columns: list[tuple[str, Callable[[ObjectScores], Node]]] = [
        ("over-seg.", lambda row: score(row.over_segmentation)),
        ("under-seg.", lambda row: score(row.under_segmentation)),
        ("split", lambda row: count(row.split)),
        ("merge", lambda row: count(row.merged)),
        ("count", lambda row: _signed_percent(row.count_bias)),
        ("area", lambda row: _signed_percent(row.area_bias)),
    ]
    if metres:
        columns += [
            ("outlines, m", lambda row: score(row.boundary_m, 2)),
            ("Hausdorff 95 %, m", lambda row: score(row.hausdorff95_m, 2)),
        ]
    head: Row = [first, *(name for name, _ in columns)]
    cells: list[Row] = [[name_of(name), *(tell(row) for _, tell in columns)] for name, row in rows.items()]
    return table(head, cells, caption="How they differ from the true ones")


def _ranked(done: DetectionReport) -> Html:
    """Average precision, where the objects have scores."""
    rows = dict(done.classes)
    if len(rows) != 1:
        rows["all"] = done.all
    cells: list[Row] = [
        [
            name_of(name),
            count(row.truth),
            count(row.predicted),
            with_bar(score(row.ap), row.ap),
            score(row.ap50),
            score(row.ap75),
            score(row.boundary_ap),
        ]
        for name, row in rows.items()
    ]
    head: Row = ["class", "true", "predicted", "AP", "AP 50", "AP 75", "Boundary AP"]
    caption = f"Average precision, of polygons of any score; all else is of those from {done.min_score:g} on"
    return table(head, cells, caption=caption)


def _basis(done: ObjectReport) -> Html:
    unit = "m" if done.area_m2 is not None else "units of the map"
    left = [(done.left_out_truth, "true"), (done.left_out_predicted, "predicted")]
    left_out = " and ".join(f"{count(number)} {kind}" for number, kind in left if number)
    words = [_intervals_from(done.blocks, f"{done.block_m:.4g} {unit}", known=done.f1_interval is not None)]
    if left_out:
        words.append(f"Left out: {left_out}, mostly on land not labelled or not predicted.")
    meaning: list[tuple[Node, Node]] = [
        ("F1 .5:.95", "mean of F1 where objects match at IoU 0.5, 0.55 .. 0.95"),
        ("PQ = SQ x RQ", "mean IoU of those matched above 0.5, times F1 of them"),
        ("over-seg.", "share of a true object outside of the predicted one that shares most with it"),
        ("under-seg.", "share of that predicted object outside of the true one"),
        ("count, area", "predicted to true, less 1"),
    ]
    return join(el("p", " ".join(words), class_="note"), folded("What the columns mean", facts(meaning)))


def comparison(done: CompareReport) -> Html:
    """All there is to say of several predictions."""
    names = names_of([each.prediction for each in done.reports])
    every = {
        name: each.objects.all
        for name, each in zip(names, done.reports, strict=True)
        if each.objects is not None
    }
    if not every:
        return side_by_side(done)
    metres = any(not math.isnan(row.boundary_m) for row in every.values())
    return join(
        side_by_side(done),
        el("h3", "Objects"),
        _found(every, "prediction"),
        _shapes(every, "prediction", metres=metres),
    )


def side_by_side(done: CompareReport) -> Html:
    """The means of several predictions, how much better each is than the first, and their classes."""
    names = names_of([each.prediction for each in done.reports])
    masks = {
        name: each for name, each in zip(names, done.reports, strict=True) if isinstance(each, EvaluateReport)
    }
    edges = {name: each.boundary_iou for name, each in masks.items()}
    return join(
        _overview(done, names),
        _differences(done, names),
        el(
            "div",
            _by_class("IoU of each class", {name: each.iou for name, each in masks.items()}),
            _by_class("Boundary IoU of each class", edges),
            class_="beside",
        ),
    )


def _overview(done: CompareReport, names: Sequence[str]) -> Html:
    pixels = any(isinstance(each, EvaluateReport) for each in done.reports)
    things = any(each.objects is not None for each in done.reports)
    head: Row = ["prediction"]
    head += ["mIoU", "Boundary IoU", "accuracy", "kappa"] if pixels else []
    head += ["F1 of objects", "PQ"] if things else []
    rows: list[Row] = []
    for name, each in zip(names, done.reports, strict=True):
        row: Row = [name_of(name)]
        if isinstance(each, EvaluateReport):
            row += [with_bar(score(value), value) for value in (each.miou, each.mean_boundary_iou)]
            row += [score(each.accuracy), score(each.kappa)]
        elif pixels:
            row += [NONE] * 4
        if each.objects is not None:
            row += [with_bar(score(value), value) for value in (each.objects.all.f1, each.objects.all.pq)]
        elif things:
            row += [NONE] * 2
        rows.append(row)
    return table(head, rows)


def _differences(done: CompareReport, names: Sequence[str]) -> Html | None:
    if not done.differences:
        return None
    columns: tuple[tuple[str, Callable[[Difference], tuple[float | None, Interval | None]]], ...] = (
        ("mIoU", lambda than: (than.miou, than.miou_interval)),
        ("Boundary IoU", lambda than: (than.mean_boundary_iou, than.mean_boundary_iou_interval)),
        ("F1 of objects", lambda than: (than.object_f1, than.object_f1_interval)),
    )
    shown = [
        (name, tell) for name, tell in columns if any(tell(than)[0] is not None for than in done.differences)
    ]
    rows: list[Row] = [
        [name_of(name), *(_difference(*tell(than)) for _, tell in shown)]
        for name, than in zip(names[1:], done.differences, strict=True)
    ]
    caption = join(
        "Better than ",
        name_of(names[0]),
        " by; below, 95 % intervals over the same blocks of land: one without 0 in it is hardly by chance",
    )
    return table(["prediction", *(name for name, _ in shown)], rows, caption=caption)


def _difference(value: float | None, interval: Interval | None) -> Node:
    if interval is None:
        return change(value)
    low, high = interval
    words = el("span", f"{change(low)} to {change(high)}", class_="note")
    return join(el("b", change(value)) if low > 0 or high < 0 else change(value), el("br"), words)


def _by_class(caption: str, scores: Mapping[str, Mapping[str, float]]) -> Html | None:
    if not scores:
        return None
    classes = dict.fromkeys(name for of_one in scores.values() for name in of_one)
    rows: list[Row] = [
        [name_of(name), *(with_bar(score(own.get(name)), own.get(name)) for own in scores.values())]
        for name in classes
    ]
    return table(["class", *map(name_of, scores)], rows, caption=caption)


def _intervals_from(blocks: int, side: str, *, known: bool) -> str:
    if known:
        return f"95 % intervals by a bootstrap over {some(blocks, 'block')} of {side}."
    return f"No intervals: {some(blocks, 'block')} of {side} are too few; 10 are needed."


def _within(interval: Interval | None) -> Html | None:
    if interval is None:
        return None
    return join(el("br"), f"95 % interval {score(interval[0])} to {score(interval[1])}")


def _signed_percent(share: float) -> str:
    return NONE if math.isnan(share) else f"{100 * share:+.1f}\u00a0%".replace("-", "−")
