"""How scores look when ``evaluate`` is done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from geoseg.raster.remote import file_name
from geoseg_cli import terminal
from geoseg_cli.report import Columns, Talk, number, page_lines, print_table

if TYPE_CHECKING:
    from geoseg.evaluate import CompareReport, EvaluateReport, PolygonsReport
    from geoseg.metrics.bootstrap import Interval
    from geoseg.report import PageReport
    from geoseg.scoring.report import DetectionReport, ObjectReport


def show_evaluate(talk: Talk, done: EvaluateReport, page: PageReport | None = None) -> None:
    """How good a mask or a model is."""
    sure = done.intervals
    on_ground = "" if done.boundary_m is None else f" = {number(done.boundary_m)} m"
    overall = "" if sure is None else _in(sure.miou)
    outlines = "" if sure is None else _in(sure.mean_boundary_iou)
    lines = [
        f"mIoU {number(done.miou)}{overall}, Boundary IoU {number(done.mean_boundary_iou)}{outlines} "
        f"({done.boundary_px} px{on_ground}), "
        f"accuracy {number(done.accuracy)}, kappa {number(done.kappa)} over {done.pixels:,} px"
    ]
    if sure is not None:
        lines.append(_blocks(sure.blocks, f"{sure.block_px} px", known=sure.miou is not None))
    if done.unpredicted_pixels:
        lines.append(f"left out: {done.unpredicted_share:.2%} of the labelled land, which is not predicted")
    table = {
        "IoU": done.iou,
        "IoU 95 %": _intervals(sure.iou) if sure is not None and sure.miou is not None else None,
        "Boundary IoU": done.boundary_iou,
        "precision": done.precision,
        "recall": done.recall,
        "F1": done.f1,
    }
    talk.show(done.to_json() | _page(page), table=table, lines=lines)
    if done.objects is not None:
        _show_objects(talk, done.objects)
    _say_errors(talk, done)
    _say_page(talk, page)


def show_polygons(talk: Talk, done: PolygonsReport, page: PageReport | None = None) -> None:
    """How good a polygon layer is."""
    if talk.json:
        terminal.emit_json(done.to_json() | _page(page))
        return
    _show_objects(talk, done.objects)
    _say_errors(talk, done)
    _say_page(talk, page)


def show_compare(talk: Talk, done: CompareReport, page: PageReport | None = None) -> None:
    """Which of several predictions is best."""
    from geoseg.scoring.report import EvaluateReport

    names = _names(done)
    columns: dict[str, dict[str, object]] = {}

    def put(column: str, name: str, value: object) -> None:
        columns.setdefault(column, {})[name] = value

    for name, report in zip(names, done.reports, strict=True):
        if isinstance(report, EvaluateReport):
            put("mIoU", name, report.miou)
            put("Boundary IoU", name, report.mean_boundary_iou)
            put("kappa", name, report.kappa)
        if report.objects is not None:
            put("object F1", name, report.objects.all.f1)
            put("PQ", name, report.objects.all.pq)
            if report.objects.detections is not None:
                put("AP", name, report.objects.detections.all.ap)
                put("Boundary AP", name, report.objects.detections.all.boundary_ap)
    for name, than in zip(names[1:], done.differences, strict=True):
        for column, value, sure in (
            ("mIoU to first", than.miou, than.miou_interval),
            ("Boundary IoU to first", than.mean_boundary_iou, than.mean_boundary_iou_interval),
            ("object F1 to first", than.object_f1, than.object_f1_interval),
        ):
            if value is not None:
                put(column, name, _signed(value) + _in(sure, signed=True))
    talk.show(
        done.to_json() | _page(page),
        table=columns,
        first="prediction",
        lines=["in brackets: 95 % intervals of the difference; one without 0 in it is hardly by chance"]
        if done.differences
        else [],
    )
    _say_page(talk, page)


def _show_objects(talk: Talk, done: ObjectReport) -> None:
    if talk.json or talk.quiet:
        return
    rows = dict(done.classes)
    if len(rows) != 1:
        rows["all"] = done.all
    table: Columns = {
        "true": {name: row.truth for name, row in rows.items()},
        "predicted": {name: row.predicted for name, row in rows.items()},
        "precision": {name: row.precision for name, row in rows.items()},
        "recall": {name: row.recall for name, row in rows.items()},
        "F1": {name: row.f1 for name, row in rows.items()},
        "F1 .5:.95": {name: row.f1_mean for name, row in rows.items()},
        "PQ": {name: row.pq for name, row in rows.items()},
    }
    print_table(table, first="objects")
    for line in _object_lines(done):
        terminal.say(line)
    if done.detections is not None:
        _show_detections(done.detections, done.all.predicted, "m" if done.area_m2 is not None else "units")


def _show_detections(done: DetectionReport, sure: int, unit: str) -> None:
    rows = dict(done.classes)
    if len(rows) != 1:
        rows["all"] = done.all
    table: Columns = {
        "true": {name: row.truth for name, row in rows.items()},
        "any score": {name: row.predicted for name, row in rows.items()},
        "AP": {name: row.ap for name, row in rows.items()},
        "AP50": {name: row.ap50 for name, row in rows.items()},
        "AP75": {name: row.ap75 for name, row in rows.items()},
        "Boundary AP": {name: row.boundary_ap for name, row in rows.items()},
    }
    print_table(table, first="detections")
    terminal.say(
        f"average precision over {done.all.predicted:,} polygons of any score, Boundary AP with a band of "
        f"{number(done.boundary_m)} {unit}; all else of the {sure:,} with a score of "
        f"{done.min_score:g} or more"
    )


def _object_lines(done: ObjectReport) -> list[str]:
    every, unit = done.all, "m" if done.area_m2 is not None else "units"
    lines = [
        f"objects at IoU 0.5: F1 {number(every.f1)}{_in(done.f1_interval)}, PQ {number(every.pq)}"
        f"{_in(done.pq_interval)}; count {_percent(every.count_bias)}, area {_percent(every.area_bias)}",
        f"over-segmentation {number(every.over_segmentation)} ({every.split:,} split), "
        f"under-segmentation {number(every.under_segmentation)} ({every.merged:,} merge several)",
    ]
    if not math.isnan(every.boundary_m):
        lines.append(
            f"outlines of matched objects: {every.boundary_m:.2f} m apart on average, "
            f"95 % Hausdorff distance {every.hausdorff95_m:.2f} m"
        )
    lines.append(_blocks(done.blocks, f"{number(done.block_m)} {unit}", known=done.f1_interval is not None))
    left = [(done.left_out_truth, "true"), (done.left_out_predicted, "predicted")]
    told = " and ".join(f"{count:,} {kind}" for count, kind in left if count)
    if told:
        lines.append(f"left out: {told} objects that are mostly on land not labelled or not predicted")
    return lines


def _say_errors(talk: Talk, done: EvaluateReport | PolygonsReport) -> None:
    if done.errors is not None and not (talk.json or talk.quiet):
        terminal.say(f"wrote {done.errors}, to look at in QGIS")


def _page(page: PageReport | None) -> dict[str, str | None]:
    return {"report": None if page is None else str(page.output)}


def _say_page(talk: Talk, page: PageReport | None) -> None:
    if not (talk.json or talk.quiet):
        for line in page_lines(page):
            terminal.say(line)


def _blocks(count: int, side: str, *, known: bool) -> str:
    if known:
        return f"in brackets: 95 % intervals, from {count:,} blocks of {side}"
    return f"no intervals: {count:,} blocks of {side} are too few; 10 are needed, --blocks makes them smaller"


def _intervals(sure: Mapping[str, Interval | None]) -> dict[str, str | None]:
    return {name: None if pair is None else f"{pair[0]:.3f}..{pair[1]:.3f}" for name, pair in sure.items()}


def _in(pair: Interval | None, *, signed: bool = False) -> str:
    """An interval in brackets; nothing when there is none."""
    if pair is None:
        return ""
    low, high = (_signed(value) if signed else f"{value:.3f}" for value in pair)
    return f" ({low}..{high})"


def _signed(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:+.4f}"


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:+.1%}"


def _names(done: CompareReport) -> list[str]:
    """File names, or whole paths where these are not told apart."""
    short = [file_name(report.prediction) for report in done.reports]
    if len(set(short)) == len(short):
        return short
    return [f"{i}: {report.prediction}" for i, report in enumerate(done.reports, 1)]
