"""Line charts over the epochs as inline SVG. Lines differ in colour, in dashes and in their marks."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from geoseg.page.markup import Html, Node, el, join, name_of
from geoseg.page.numbers import NONE, plain
from geoseg.review.log import Curve, thinned

WIDTH, HEIGHT = 400, 216
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 14, 26
MAX_POINTS = 400
"""Most points drawn of a line."""

INKS = 6
"""Colours ``--s0`` to ``--s5`` of the style sheet; further lines begin again, with other dashes."""

_DASHES = ("none", "7 3", "2 2.5", "9 3 2 3", "4 2", "12 3")
_MARKS = (
    "M-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0",
    "M-2.8-2.8h5.6v5.6h-5.6z",
    "M0-3.6L3.4 2.6H-3.4z",
    "M0-3.8L3.8 0L0 3.8L-3.8 0z",
    "M-3.4-2.6H3.4L0 3.6z",
    "M-3.2-1H-1V-3.2H1V-1H3.2V1H1V3.2H-1V1H-3.2z",
)
_MARKS_A_LINE = 5
_TINY = 1e-290


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart.

    Attributes:
        name: what it is called.
        values: at each epoch, ``None`` where there is none.
        color: ``#RRGGBB``; one of the style sheet's when not given.
    """

    name: str
    values: Curve
    color: str | None = None


def chart(
    title: str,
    epochs: Sequence[int],
    lines: Sequence[Line],
    *,
    shown: Callable[[float | None], str] = plain,
    low: float | None = None,
    marked: int | None = None,
    note: Node = None,
) -> Html:
    """A chart with its key, in which the values at one epoch can be read.

    Args:
        title: what is drawn.
        epochs: along the x axis, ascending.
        lines: at least one, with a value at some epoch.
        shown: writes a value.
        low: a value that the y axis reaches down to at least.
        marked: position in ``epochs`` that is marked as the best.
        note: below the title.
    """
    known = [value for line in lines for value in line.values if value is not None]
    ticks = nice_ticks(min(known) if low is None else min(low, *known), max(known))
    plot = _Plot(first=epochs[0], last=epochs[-1], low=ticks[0], high=ticks[-1])
    drawn = thinned(len(epochs), MAX_POINTS, keep=[marked])
    shapes = [_line(plot, epochs, line, at, drawn) for at, line in enumerate(lines)]
    svg = el(
        "svg",
        el("title", f"{title}, epochs {epochs[0]} to {epochs[-1]}"),
        *_axes(plot, ticks),
        _best(plot, epochs[marked]) if marked is not None else None,
        el("line", class_="cursor", x1=_LEFT, x2=_LEFT, y1=_TOP, y2=HEIGHT - _BOTTOM),
        *shapes,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
    )
    start = len(epochs) - 1 if marked is None else marked
    data = {
        "x": [round(plot.x(epochs[at]), 1) for at in drawn],
        "epoch": [epochs[at] for at in drawn],
        "shown": [[shown(line.values[at]) for at in drawn] for line in lines],
        "start": drawn.index(start),
    }
    return el(
        "figure",
        el("figcaption", el("b", title), " ", el("span", "epoch ", el("b", str(epochs[start])), class_="at")),
        el("p", note, class_="note") if note else None,
        el("div", svg, class_="plot"),
        _key(lines, [shown(line.values[start]) for line in lines]),
        class_="curve",
        data_curve=json.dumps(data, separators=(",", ":"), ensure_ascii=False),
    )


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers, evenly spaced, the first at most ``low`` and the last at least ``high``."""
    largest = max(abs(low), abs(high))
    if largest < _TINY:
        low, high = 0.0, 1.0
    elif high - low <= 1e-9 * largest:
        # One value: room above and below it.
        low, high = low - largest / 2, high + largest / 2
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{tick * step:.10g}") for tick in range(first, last + 1)]


@dataclass(frozen=True, kw_only=True)
class _Plot:
    """From epochs and values to the chart's own units."""

    first: int
    last: int
    low: float
    high: float

    def x(self, epoch: float) -> float:
        span = self.last - self.first
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * ((epoch - self.first) / span if span else 0.5)

    def y(self, value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - self.low) / (self.high - self.low)


def _axes(plot: _Plot, ticks: Sequence[float]) -> Iterator[Html]:
    for tick in ticks:
        y = round(plot.y(tick), 1)
        yield el("line", class_="grid", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y)
        yield el("text", _tick(tick), x=_LEFT - 6, y=y + 4, text_anchor="end")
    for epoch in _epoch_ticks(plot.first, plot.last):
        yield el("text", str(epoch), x=round(plot.x(epoch), 1), y=HEIGHT - 8, text_anchor="middle")


def _tick(value: float) -> str:
    text = f"{value:.4g}"
    mantissa, exponent, power = text.partition("e")
    return (f"{mantissa}e{int(power)}" if exponent else text).replace("-", "−")


def _epoch_ticks(first: int, last: int) -> list[int]:
    ticks = {round(tick) for tick in nice_ticks(first, last, most=6)} if last > first else {first}
    inside = [tick for tick in sorted(ticks) if first < tick <= last]
    # The first epoch has its tick, unless the next would touch it.
    crowded = bool(inside) and inside[0] - first < (last - first) / 12
    return inside if crowded else [first, *inside]


def _best(plot: _Plot, epoch: int) -> Html:
    x = round(plot.x(epoch), 1)
    late = x > WIDTH * 0.8
    return el(
        "g",
        el("line", x1=x, x2=x, y1=_TOP, y2=HEIGHT - _BOTTOM),
        el("text", "best", x=x - 4 if late else x + 4, y=_TOP - 3, text_anchor="end" if late else "start"),
        class_="best",
    )


def _line(plot: _Plot, epochs: Sequence[int], line: Line, at: int, drawn: Sequence[int]) -> Html:
    path, pen_down, points = [], False, []
    for position in drawn:
        value = line.values[position]
        if value is None:
            pen_down = False
            continue
        point = f"{plot.x(epochs[position]):.1f} {plot.y(value):.1f}"
        path.append(f"{'L' if pen_down else 'M'}{point}")
        points.append(point)
        pen_down = True
    every = max(1, len(points) // _MARKS_A_LINE)
    marks = points[(at * every // 3) % every :: every]
    d, dashes = "".join(path), _DASHES[at % len(_DASHES)]
    return el(
        "g",
        # A line in a class's colour may have that of the paper: it lies on a wider one in ink.
        el("path", d=d, class_="casing", stroke_dasharray=dashes) if line.color else None,
        el("path", d=d, class_="line", stroke_dasharray=dashes),
        *(_mark(at, x=point.split()[0], y=point.split()[1]) for point in marks),
        style=f"--ink:{_ink(line, at)}",
        class_="series",
    )


def _mark(at: int, *, x: str, y: str) -> Html:
    return el("path", d=_MARKS[at % len(_MARKS)], transform=f"translate({x} {y})", class_="mark")


def _ink(line: Line, at: int) -> str:
    return line.color or f"var(--s{at % INKS})"


def _key(lines: Sequence[Line], values: Sequence[str]) -> Html:
    """Names of the lines and their values."""
    return el(
        "ul",
        *(_key_entry(*entry) for entry in zip(lines, range(len(lines)), values, strict=True)),
        class_="key",
    )


def _key_entry(line: Line, at: int, value: str) -> Html:
    sample, dashes = "M2 7H34", _DASHES[at % len(_DASHES)]
    swatch = el(
        "svg",
        el("path", d=sample, class_="casing", stroke_dasharray=dashes) if line.color else None,
        el("path", d=sample, class_="line", stroke_dasharray=dashes),
        _mark(at, x="18", y="7"),
        viewBox="0 0 36 14",
        style=f"--ink:{_ink(line, at)}",
        class_="swatch series",
        aria_hidden="true",
    )
    return el(
        "li",
        swatch,
        el("span", name_of(line.name), title=line.name),
        el("span", value or NONE, class_="value"),
    )


def charts(*figures: Html | None) -> Html:
    """Charts beside each other, as many as the page is wide."""
    return el("div", join(*figures), class_="curves")
