"""The confusion matrix as a table: counts, shares of each row, and heat behind them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoseg.page.markup import Html, el, name_of
from geoseg.page.numbers import NONE, count, percent, short_count
from geoseg.page.table import scrolling

MAX_CLASSES = 20
"""Most classes with a row and column of their own; the smaller ones share the last."""

HEATS = 10
"""Steps of heat, ``h0`` to ``h10`` in the style sheet."""

_OTHERS = "others"


def matrix(counts: NDArray[np.int64], names: Sequence[str]) -> Html:
    """The matrix of ``counts`` (K, K), rows the truth, columns the prediction."""
    counts, names = gathered(counts, names)
    totals = counts.sum(1)
    rows = []
    for true, name in enumerate(names):
        cells = [
            _cell(int(counts[true, guess]), int(totals[true]), right=true == guess)
            for guess in range(len(names))
        ]
        total = el(
            "td", short_count(int(totals[true])), class_="number", title=f"{count(int(totals[true]))} px"
        )
        rows.append(el("tr", el("th", name_of(name), scope="row", title=name), *cells, total))
    head = el(
        "tr",
        el("th", "true ↓  predicted →", scope="col"),
        *(el("th", name_of(name), scope="col", title=name) for name in names),
        el("th", "px", scope="col", class_="number"),
    )
    return scrolling(el("table", el("thead", head), el("tbody", *rows), class_="matrix"))


def gathered(counts: NDArray[np.int64], names: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """The matrix with at most ``MAX_CLASSES`` rows: small classes, by their pixels, are added up."""
    if len(names) <= MAX_CLASSES:
        return counts, list(names)
    weight = counts.sum(0) + counts.sum(1)
    large = np.sort(np.argsort(-weight, kind="stable")[: MAX_CLASSES - 1])
    group = np.full(len(names), MAX_CLASSES - 1)
    group[large] = np.arange(MAX_CLASSES - 1)
    smaller = np.zeros((MAX_CLASSES, MAX_CLASSES), np.int64)
    np.add.at(smaller, (group[:, None], group[None, :]), counts)
    return smaller, [*(names[at] for at in large), f"{len(names) - MAX_CLASSES + 1} {_OTHERS}"]


def confusions(counts: NDArray[np.int64], most: int = 5) -> list[tuple[int, int, int]]:
    """The largest mistakes: (true, predicted, pixels), the largest first, none without pixels."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong.ravel(), kind="stable")[:most]
    found = [(*divmod(int(at), len(counts)), int(wrong.ravel()[at])) for at in order]
    return [(true, guess, pixels) for true, guess, pixels in found if pixels]


def _cell(pixels: int, total: int, *, right: bool) -> Html:
    share = pixels / total if total else None
    heat = 0 if share is None else round(HEATS * share)
    return el(
        "td",
        el("b", NONE if share is None else percent(share)),
        el("span", short_count(pixels)) if pixels else None,
        class_=f"h{heat} right" if right else f"h{heat}",
        title=f"{count(pixels)} px",
    )
