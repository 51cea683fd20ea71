"""What the log of a run tells of learning, of any kind of model: charts, a table, and the time."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from geoseg.page.markup import Html, Node, el, join, name_of
from geoseg.page.numbers import duration, percent, plain, score, some
from geoseg.page.table import folded, table, tiles
from geoseg.review.curve import Line, chart, charts
from geoseg.review.log import PART, Log, thinned
from geoseg.review.source import Source

MAX_LINES = 8
"""Most classes with a line in a chart of their scores; the worst are drawn."""

MAX_CELLS = 15_000
"""Most cells of the table of all figures; of more, epochs are left out."""

MAX_FURTHER = 12
"""Most charts of figures that this page does not know by name."""

SAME = 5e-4
"""Difference of two scores that is no more than rounding."""

_SPEEDS = {
    "seconds": "Seconds an epoch",
    "samples_per_s": "Chips a second",
    "wait_share": "Share of time spent waiting",
}
_HINT = "Point at a chart, or focus it and use the arrow keys, to read the values of an epoch in all charts."


def course(source: Source, ranked_by: str) -> list[tuple[str, str, Node]]:
    """Large figures of how far the run came; ``ranked_by`` is the score that chose the best epoch."""
    log, best = source.log, source.best
    epochs = f"{len(log)}" if source.epochs_wanted is None else f"{len(log)} of {source.epochs_wanted}"
    return [
        ("Epochs", epochs, "finished" if source.finished else "not finished"),
        (
            "Best epoch",
            "–" if best is None else str(log.epochs[best]),
            "no validation" if best is None else f"highest validation {ranked_by}",
        ),
        ("Training time", duration(log.total("seconds")), "without validation"),
    ]


def device(source: Source) -> list[tuple[str, str, Node]]:
    """A large figure of where the model was measured, if it was."""
    looked = source.looked
    if looked is None:
        return []
    return [("Device", looked.device.partition(",")[0], looked.device.partition(",")[2].strip())]


def learning(source: Source, drawn: Sequence[Html | None], known: Collection[str]) -> Html | None:
    """Charts of learning, and a table of all that the log holds.

    Args:
        source: the run.
        drawn: charts of what this kind of model learns by, and of its scores.
        known: keys of the log that these show; what is not known at all gets a chart of its own.
    """
    log = source.log
    if not log:
        return None
    rate = one(log, "lr", "Learning rate", "last step of each epoch", low=0.0)
    known = {"step", "lr", *_SPEEDS, *known}
    further = [key for key in log.curves if key not in known and PART not in key and log.curve(key)]
    others = [one(log, key, key, key) for key in further[:MAX_FURTHER]]
    return join(el("p", _HINT, class_="note"), charts(*drawn, rate, *others), _all_figures(log, source.best))


def drift(source: Source, key: str, name: str, now: float) -> Html | None:
    """A word on why a validation score is not what training had, where it is not.

    Args:
        source: the run.
        key: of the score in the log.
        name: what it is called.
        now: what was measured now.
    """
    then, looked = source.log.at(key, source.best), source.looked
    if then is None or looked is None or looked.split != "val" or looked.chips < looked.in_split:
        return None
    if abs(then - now) < SAME:
        return None
    words = (
        f"Validation during training had {name} {score(then)}, not {score(now)}: it ran with another version "
        "of geoseg, on another device or at another precision, or on other chips."
    )
    return el("p", words, class_="note")


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
    drawn = [one(log, key, title, title.lower(), low=0.0) for key, title in _SPEEDS.items()]
    return join(tiles(figures), charts(*drawn))


def losses(log: Log, title: str, names: Mapping[str, str]) -> Html | None:
    """A chart of parts of the loss, those that are anywhere other than 0.

    Args:
        log: the epochs.
        title: of the chart.
        names: what the parts are called on the page, by key.
    """
    lines = []
    for key, name in names.items():
        curve = log.curve(key)
        if curve is not None and (key == "loss" or any(curve)):
            lines.append(Line(name=name, values=curve))
    return chart(title, log.epochs, lines, low=0.0) if lines else None


def class_scores(source: Source, title: str, key: str, *, mean: tuple[str, str] | None) -> Html | None:
    """A chart of the scores of classes.

    Args:
        source: the run.
        title: of the chart.
        key: of the table of scores in the log.
        mean: key and name of their mean, which has a line too.
    """
    log, classes_ = source.log, source.store.classes
    overall = log.curve(mean[0]) if mean else None
    lines = [Line(name=mean[1], values=overall)] if mean and overall is not None else []
    at = source.best if source.best is not None else len(log) - 1
    of_class = []
    for class_id, name in enumerate(classes_.names):
        curve = log.curve(f"{key}{PART}{name}")
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
    return chart(title, log.epochs, lines, shown=score, marked=source.best, note=note)


def one(
    log: Log, key: str, title: str, name: str, *, low: float | None = None, marked: int | None = None
) -> Html | None:
    """A chart of one figure."""
    curve = log.curve(key)
    if curve is None:
        return None
    shown = score if key.startswith("val_") and "iou" in key else plain
    return chart(title, log.epochs, [Line(name=name, values=curve)], shown=shown, low=low, marked=marked)


def _all_figures(log: Log, best: int | None) -> Html:
    keys = [key for key in log.curves if log.curve(key)]
    positions = thinned(len(log), max(2, MAX_CELLS // len(keys)), keep=[best])
    rows: list[list[Node]] = [
        [str(log.epochs[at]), *(plain(log.at(key, at)) for key in keys)] for at in positions
    ]
    left_out = f", {len(positions)} of them shown" if len(positions) < len(log) else ""
    heads: list[Node] = ["epoch", *(name_of(key.replace(PART, " ")) for key in keys)]
    return folded(f"All figures of {some(len(log), 'epoch')}{left_out}", table(heads, rows))
