"""Scores of polygons, such as ``predict`` gives objects: the map hides unsure ones, and orders by them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoseg.mapview.atlas import Atlas
from geoseg.mapview.attributes import Numbers
from geoseg.mapview.parcels import Parcels
from geoseg.page.markup import Html, el

SCORE = "score"
"""The column."""

_STEPS, _NONE = 10_000, 65_535
"""Scores for the browser are in these steps; a polygon without one has this."""


def scores_of(parcels: Parcels) -> NDArray[np.float64] | None:
    """Scores (F,) of polygons, not-a-number where one has none; ``None`` if they are not from 0 to 1."""
    values = parcels.columns.get(SCORE)
    if not isinstance(values, Numbers):
        return None
    scores = values.array.astype(np.float64)
    known = scores[~np.isnan(scores)]
    return scores if len(known) and ((known >= 0) & (known <= 1)).all() else None


def packed(scores: NDArray[np.float64]) -> bytes:
    """Scores as the browser reads them: two bytes each, little-endian."""
    steps = np.where(np.isnan(scores), _NONE, np.round(np.nan_to_num(scores) * _STEPS))
    return steps.astype("<u2").tobytes()


def controls(atlas: Atlas) -> Html | None:
    """What can be done with the scores of polygons, if any have some."""
    every = [found for view in atlas.vectors if (found := scores_of(view.parcels)) is not None]
    if not every:
        return None
    least = _least(every)
    begin = min(max(least, round(atlas.sources.min_score * 100)), 100)
    slider = el(
        "input",
        type="range",
        min=least,
        max=100,
        value=begin,
        id="map-least",
        aria_label="Least score of polygons in percent",
    )
    told = el("label", "from ", el("output", f"{begin / 100:.2f}", id="map-least-told"))
    order = el(
        "select",
        el("option", "largest first", value="size", selected=True),
        el("option", "least sure first", value="unsure"),
        el("option", "surest first", value="sure"),
        id="map-order",
        aria_label="Order in which N and P go through polygons",
    )
    return el(
        "fieldset",
        el("legend", "Score"),
        el("div", told, slider, class_="map-layer"),
        el("p", id="map-count", class_="note"),
        el("label", "N, P: ", order),
    )


def _least(every: Sequence[NDArray[np.float64]]) -> int:
    """The smallest score in whole percent, rounded down."""
    return int(np.floor(min(float(np.nanmin(scores)) for scores in every) * 100 + 1e-9))
