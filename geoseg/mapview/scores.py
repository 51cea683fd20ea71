"""How good a result is, as a section of its page. Where the scores come from is not this room's business."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from geoseg.page.markup import Html, Node, el, join, name_of
from geoseg.page.matrix import matrix
from geoseg.page.numbers import NONE, count, percent, score, some
from geoseg.page.table import folded, table, tiles, with_bar


class Sureness(Protocol):
    """How sure scores are: 95 % intervals, ``None`` where there are too few blocks of land for any."""

    @property
    def blocks(self) -> int:
        """Blocks of land they come from."""

    @property
    def block_px(self) -> int:
        """Side of those."""

    @property
    def kappa(self) -> tuple[float, float] | None:
        """Of Cohen's kappa."""

    @property
    def iou(self) -> Mapping[str, tuple[float, float] | None]:
        """Of the IoU of each class."""

    @property
    def miou(self) -> tuple[float, float] | None:
        """Of the mean IoU."""

    @property
    def mean_boundary_iou(self) -> tuple[float, float] | None:
        """Of the mean Boundary IoU."""

    @property
    def accuracy(self) -> tuple[float, float] | None:
        """Of the accuracy."""


class Scored(Protocol):
    """Scores of a mask against labels, such as :class:`geoseg.evaluate.EvaluateReport`.

    Mappings have the class names as keys; a score is NaN where nothing defines it.
    """

    @property
    def iou(self) -> Mapping[str, float]:
        """Intersection over union."""

    @property
    def precision(self) -> Mapping[str, float]:
        """Share of the predicted pixels that are right."""

    @property
    def recall(self) -> Mapping[str, float]:
        """Share of the true pixels that were found."""

    @property
    def f1(self) -> Mapping[str, float]:
        """Harmonic mean of the two."""

    @property
    def boundary_iou(self) -> Mapping[str, float]:
        """IoU of bands inside of the outlines."""

    @property
    def miou(self) -> float:
        """Mean of ``iou``."""

    @property
    def mean_boundary_iou(self) -> float:
        """Mean of ``boundary_iou``."""

    @property
    def accuracy(self) -> float:
        """Share of the pixels that are right."""

    @property
    def kappa(self) -> float:
        """Cohen's kappa, agreement beyond chance."""

    @property
    def boundary_px(self) -> int:
        """Width of those bands."""

    @property
    def boundary_m(self) -> float | None:
        """The same on the ground."""

    @property
    def confusion(self) -> Sequence[Sequence[int]]:
        """Pixels by true class (rows) and predicted class (columns)."""

    @property
    def pixels(self) -> int:
        """Pixels counted."""

    @property
    def intervals(self) -> Sureness | None:
        """How sure the scores are."""

    @property
    def unpredicted_share(self) -> float:
        """Share of the pixels with truth that the mask says nothing about."""


def section(scored: Scored | None, more: Node = None) -> Html | None:
    """The scores; nothing without any.

    Args:
        scored: those of the mask, if it was compared with labels.
        more: further tables, below the scores.
    """
    if scored is None:
        return Html(more) if isinstance(more, Html) else None
    names = list(scored.iou)
    sure = scored.intervals
    intervals = sure.iou if sure is not None and sure.miou is not None else None
    head: list[Node] = ["class", "IoU", "Boundary IoU", "precision", "recall", "F1"]
    head[2:2] = ["IoU 95 %"] if intervals is not None else []
    rows: list[list[Node]] = [
        [
            name_of(name),
            with_bar(score(scored.iou[name]), scored.iou[name]),
            *([_between(intervals.get(name))] if intervals is not None else []),
            with_bar(score(scored.boundary_iou[name]), scored.boundary_iou[name]),
            score(scored.precision[name]),
            score(scored.recall[name]),
            score(scored.f1[name]),
        ]
        for name in names
    ]
    words = []
    if intervals is not None and sure is not None:
        side = f"{count(sure.block_px)} x {count(sure.block_px)} px"
        words.append(f"95 % intervals by a bootstrap over {some(sure.blocks, 'block')} of land of {side}.")
    if scored.unpredicted_share > 0:
        words.append(
            f"{percent(scored.unpredicted_share)} of the labelled pixels are not predicted and left out."
        )
    return join(
        _headline(scored),
        el("p", " ".join(words), class_="note") if words else None,
        table(head, rows),
        folded("What each class is taken for", matrix(np.array(scored.confusion, np.int64), names)),
        more,
    )


def _headline(scored: Scored) -> Html:
    sure = scored.intervals
    ground = "" if scored.boundary_m is None else f" ({scored.boundary_m:.3g}\u00a0m)"
    return tiles(
        [
            ("mIoU", score(scored.miou), join("mean over the classes", _within(sure.miou if sure else None))),
            (
                "Boundary IoU",
                score(scored.mean_boundary_iou),
                join(
                    f"edges alone, {scored.boundary_px} px{ground} wide",
                    _within(sure.mean_boundary_iou if sure else None),
                ),
            ),
            (
                "accuracy",
                percent(scored.accuracy),
                join(f"of {count(scored.pixels)} pixels", _within(sure.accuracy if sure else None)),
            ),
            (
                "kappa",
                score(scored.kappa),
                join("agreement beyond chance", _within(sure.kappa if sure else None)),
            ),
        ]
    )


def _between(interval: tuple[float, float] | None) -> str:
    return NONE if interval is None else f"{score(interval[0])} to {score(interval[1])}"


def _within(interval: tuple[float, float] | None) -> Html | None:
    if interval is None:
        return None
    return join(el("br"), f"95 % interval {score(interval[0])} to {score(interval[1])}")
