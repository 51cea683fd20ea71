"""The sections of a run's report that tell how good it became: figures, curves, classes, refinement, time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from geoseg.chips.store import ChipStore
from geoseg.page.markup import Html, Node, el, join, name_of
from geoseg.page.matrix import MAX_CLASSES, confusions, matrix
from geoseg.page.numbers import change, count, duration, percent, plain, score, some
from geoseg.page.table import folded, table, tiles, with_bar
from geoseg.review.curve import Line, chart, charts
from geoseg.review.log import PART, Log, thinned
from geoseg.review.look import BOUNDARY_PX, Findings
from geoseg.review.source import Source

MAX_LINES = 8
"""Most classes with a line in the chart of IoUs; the worst are drawn."""

MAX_CELLS = 15_000
"""Most cells of the table of all figures; of more, epochs are left out."""

SAME = 5e-4
"""Difference of two mIoUs that is no more than rounding."""

MAX_FURTHER = 12
"""Most charts of figures that this page does not know by name."""

_LOSSES = {
    "loss": "loss",
    "coarse": "coarse map",
    "point": "points",
    "auxiliary": "auxiliary head",
    "dice": "Dice",
}
_SPEEDS = {
    "seconds": "Seconds an epoch",
    "samples_per_s": "Chips a second",
    "wait_share": "Share of time spent waiting",
}
_KNOWN = {"step", "lr", "val_miou", "val_boundary_iou", *_LOSSES, *_SPEEDS}


def split_words(found: Findings) -> str:
    """The chips that were looked at, in words."""
    kind = {"val": "validation", "train": "training"}[found.split]
    if found.looked_at == found.in_split:
        return f"all {found.in_split} {kind} chips" if found.in_split > 1 else f"the one {kind} chip"
    return f"{found.looked_at} of {found.in_split} {kind} chips"


def headline(source: Source) -> Html:
    """The figures that answer: how good, and at what price?"""
    log, best, found = source.log, source.best, source.findings
    miou, boundary = log.at("val_miou", best), log.at("val_boundary_iou", best)
    where = "validation, best epoch"
    if miou is None and found is not None and found.measured:
        miou, boundary = found.refined.matrix.miou(), found.refined.boundary.miou()
        where = split_words(found)
    epochs = f"{len(log)}" if source.epochs_wanted is None else f"{len(log)} of {source.epochs_wanted}"
    entries: list[tuple[str, str, Node]] = [
        ("mIoU", score(miou), where if miou is not None else "not measured yet"),
        (
            "Boundary IoU",
            score(boundary),
            f"{where}, {BOUNDARY_PX}\u00a0px" if boundary is not None else None,
        ),
        ("Epochs", epochs, "finished" if source.finished else "not finished"),
        (
            "Best epoch",
            "–" if best is None else str(log.epochs[best]),
            "no validation" if best is None else "highest validation mIoU",
        ),
        ("Training time", duration(log.total("seconds")), "without validation"),
    ]
    if found is not None:
        entries.append(("Device", found.device.partition(",")[0], found.device.partition(",")[2].strip()))
    return tiles(entries)


def curves(source: Source) -> Html | None:
    """Charts of everything the log holds about learning, and a table of all of it."""
    log, best = source.log, source.best
    if not log:
        return None
    drawn = [
        chart("Training loss", log.epochs, losses, low=0.0) if (losses := _lines(log, _LOSSES)) else None,
        _iou_chart(source),
        _one(
            log, "val_boundary_iou", f"Boundary IoU ({BOUNDARY_PX} px)", "mean over the classes", marked=best
        ),
        _one(log, "lr", "Learning rate", "last step of each epoch", low=0.0),
        *(_one(log, key, key, key) for key in _further(log)[:MAX_FURTHER]),
    ]
    hint = (
        "Point at a chart, or focus it and use the arrow keys, to read the values of an epoch in all charts."
    )
    return join(el("p", hint, class_="note"), charts(*drawn), _all_figures(log, best))


def classes(source: Source) -> Html | None:
    """A row for every class, and the confusion matrix."""
    found, store = source.findings, source.store
    if found is None or not found.measured:
        return None
    matrix_, boundary = found.refined.matrix, found.refined.boundary
    columns = (matrix_.iou(), matrix_.precision(), matrix_.recall(), matrix_.f1(), boundary.iou())
    in_train, in_val = (class_shares(store, split) for split in ("train", "val"))
    rows: list[list[Node]] = []
    for class_id in range(len(store.classes)):
        iou, *others = (float(column[class_id]) for column in columns)
        figures: list[Node] = [with_bar(score(iou), iou), *map(score, others)]
        shares = [percent(share[class_id]) if share else "–" for share in (in_train, in_val)]
        rows.append([class_name(store, class_id), *figures, *shares])
    means: list[Node] = [score(_mean(column)) for column in columns]
    return join(
        table(
            ["class", "IoU", "precision", "recall", "F1", "Boundary IoU", "share of train", "share of val"],
            rows,
            foot=["mean", *means, None, None],
            caption=join(
                f"The model, with refinement, on {split_words(found)}; every pixel of the land counts once. "
                f"Accuracy {percent(matrix_.accuracy())} of {count(matrix_.pixels)} labelled pixels; "
                f"Boundary IoU in a band of {BOUNDARY_PX} px. Shares are of the labelled pixels of a split.",
            ),
        ),
        _drift(source, matrix_.miou()),
        el("h3", "Confusion"),
        el("p", _confusion_words(found, store.classes.names), class_="note"),
        matrix(matrix_.counts, store.classes.names),
    )


def refinement(source: Source) -> Html | None:
    """What the point head changed, on the same chips and by the same counting."""
    found = source.findings
    if found is None or not found.measured:
        return None
    pairs: list[tuple[Node, float, float]] = [
        ("mIoU", found.coarse.matrix.miou(), found.refined.matrix.miou()),
        ("Boundary IoU", found.coarse.boundary.miou(), found.refined.boundary.miou()),
        ("accuracy", found.coarse.matrix.accuracy(), found.refined.matrix.accuracy()),
    ]
    before, after = found.coarse.matrix.iou(), found.refined.matrix.iou()
    changes = np.abs(after - before)
    present = np.flatnonzero(~np.isnan(changes))
    most = np.sort(present[np.argsort(-changes[present], kind="stable")[:MAX_CLASSES]])
    for class_id in most.tolist():
        name = join("IoU ", class_name(source.store, class_id))
        pairs.append((name, float(before[class_id]), float(after[class_id])))
    rows = [
        [name, score(coarse), score(refined), change(refined - coarse)] for name, coarse, refined in pairs
    ]
    pixels = found.refined.matrix.pixels
    balance = found.mended - found.spoiled
    gain = f"{'a gain' if balance >= 0 else 'a loss'} of {count(abs(balance))} pixels"
    words = (
        f"Refinement mended {count(found.mended)} and spoiled {count(found.spoiled)} of {count(pixels)} "
        f"labelled pixels on {split_words(found)}: {gain}, {percent(abs(balance) / pixels)}. Coarse is the "
        "coarse map of the same network, upsampled bilinearly."
    )
    if len(most) < len(present):
        words += f" Of the classes the {len(most)} are listed whose IoU changed most."
    return join(el("p", words), table(["", "coarse", "refined", "change"], rows))


def timings(source: Source) -> Html | None:
    """Where the time went."""
    log = source.log
    if not any(log.curve(key) for key in _SPEEDS):
        return None
    wait = log.mean("wait_share")
    figures = [
        ("In all", duration(log.total("seconds")), "training, without validation"),
        ("An epoch", duration(log.mean("seconds")), "on average"),
        ("Chips a second", plain(log.mean("samples_per_s")), "on average"),
        ("Waiting for chips", percent(wait), "of the time, on average"),
    ]
    drawn = [_one(log, key, title, title.lower(), low=0.0) for key, title in _SPEEDS.items()]
    return join(tiles(figures), charts(*drawn))


def class_name(store: ChipStore, class_id: int) -> Html:
    """A class's name beside its colour."""
    patch = el("span", class_="patch", style=f"background:{store.classes.colors[class_id]}")
    return el("span", patch, name_of(store.classes.names[class_id]), class_="class")


def class_shares(store: ChipStore, split: str) -> list[float] | None:
    """Share of each class in the labelled pixels of a split's chips; ``None`` when there are none."""
    pixels = [sum(column) for column in zip(*(chip.class_pixels for chip in store.chips(split)), strict=True)]
    return [part / sum(pixels) for part in pixels] if sum(pixels) else None


def _drift(source: Source, miou: float) -> Html | None:
    """A word on why the figures are not those that training had, where they are not."""
    then, found = source.log.at("val_miou", source.best), source.findings
    if then is None or found is None or found.split != "val" or found.looked_at < found.in_split:
        return None
    if abs(then - miou) < SAME:
        return None
    words = (
        f"Validation during training had mIoU {score(then)}, not {score(miou)}: it ran with another version "
        "of geoseg, on another device or at another precision, or on other chips."
    )
    return el("p", words, class_="note")


def _mean(scores: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else math.nan


def _confusion_words(found: Findings, names: Sequence[str]) -> Html:
    counts = found.refined.matrix.counts
    parts = [
        join(
            name_of(names[true]), " taken for ", name_of(names[guess]),
            f", {percent(pixels / int(counts[true].sum()))} of it",
        )
        for true, guess, pixels in confusions(counts, most=3)
    ]  # fmt: skip
    told = "Each cell is the share of its row, and the pixels."
    if not parts:
        return join(told, " Nothing was confused.")
    listed = [node for part in parts for node in ("; ", part)][1:]
    return join(told, " Most often: ", *listed, ".")


def _lines(log: Log, names: dict[str, str]) -> list[Line]:
    """Lines of the figures that are anywhere other than 0."""
    lines = []
    for key, name in names.items():
        curve = log.curve(key)
        if curve is not None and (key == "loss" or any(curve)):
            lines.append(Line(name=name, values=curve))
    return lines


def _iou_chart(source: Source) -> Html | None:
    log, classes_ = source.log, source.store.classes
    mean = log.curve("val_miou")
    lines = [] if mean is None else [Line(name="mIoU", values=mean)]
    at = source.best if source.best is not None else len(log) - 1
    of_class = []
    for class_id, name in enumerate(classes_.names):
        curve = log.curve(f"val_iou{PART}{name}")
        if curve is not None:
            last = curve[at]
            of_class.append((math.inf if last is None else last, class_id, curve))
    worst = sorted(sorted(of_class, key=lambda entry: entry[:2])[:MAX_LINES], key=lambda entry: entry[1])
    for _, class_id, curve in worst:
        lines.append(Line(name=classes_.names[class_id], values=curve, color=classes_.colors[class_id]))
    if not lines:
        return None
    left_out = len(of_class) - len(worst)
    note = f"the {MAX_LINES} worst classes; {left_out} others are in the table" if left_out else None
    return chart("Validation IoU", log.epochs, lines, shown=score, marked=source.best, note=note)


def _one(
    log: Log, key: str, title: str, name: str, *, low: float | None = None, marked: int | None = None
) -> Html | None:
    curve = log.curve(key)
    if curve is None:
        return None
    shown = score if key.startswith("val_") and "iou" in key else plain
    return chart(title, log.epochs, [Line(name=name, values=curve)], shown=shown, low=low, marked=marked)


def _further(log: Log) -> list[str]:
    """Keys that are drawn under their own name, because this page knows nothing of them."""
    return [key for key in log.curves if key not in _KNOWN and PART not in key and log.curve(key)]


def _all_figures(log: Log, best: int | None) -> Html:
    keys = [key for key in log.curves if log.curve(key)]
    positions = thinned(len(log), max(2, MAX_CELLS // len(keys)), keep=[best])
    rows: list[list[Node]] = [
        [str(log.epochs[at]), *(plain(log.at(key, at)) for key in keys)] for at in positions
    ]
    left_out = f", {len(positions)} of them shown" if len(positions) < len(log) else ""
    heads: list[Node] = ["epoch", *(name_of(key.replace(PART, " ")) for key in keys)]
    return folded(f"All figures of {some(len(log), 'epoch')}{left_out}", table(heads, rows))
