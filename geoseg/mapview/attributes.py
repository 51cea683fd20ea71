"""What a vector file says of its polygons: their classes, and other attributes, as plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import IGNORE, default_color
from geoseg.mapview.legend import Legend
from geoseg.page.markup import visible

if TYPE_CHECKING:
    import geopandas

MAX_COLUMNS = 16
"""Most attributes told of a polygon."""

MAX_TEXT = 120
"""Most characters of an attribute."""

_CLASS_COLUMNS = ("class_name", "class", "class_id")


def classes_of(
    frame: geopandas.GeoDataFrame, kept: NDArray[np.int64], legend: Legend | None
) -> tuple[Legend, NDArray[np.uint8]]:
    """The legend of the polygons, and which of its ids each has.

    Args:
        frame: the file.
        kept: positions of its features.
        legend: classes of the mask, by whose names they are matched; made of the names when not given.
    """
    column = next((name for name in _CLASS_COLUMNS if name in frame.columns), None)
    if column is None:
        own = legend or Legend.named({0: "polygon"}, {})
        only = [at for at in sorted(own.told) if at != own.background]
        return own, np.full(len(kept), only[0] if legend and len(only) == 1 else 0, np.uint8)
    values = frame[column].to_numpy()[kept]
    if column == "class_id":
        ids = np.array([_id(value) for value in values], np.uint8)
        return legend or Legend.named({int(at): f"class {at}" for at in np.unique(ids)}, {}), ids
    names, inverse = np.unique(
        np.array(["" if value is None else str(value) for value in values], object), return_inverse=True
    )
    known = {str(name): legend.id_of(str(name)) if legend else None for name in names}
    # Not the lowest: a mask that names no classes may well hold those.
    free = iter(
        range(IGNORE) if legend is None else [at for at in range(IGNORE - 1, -1, -1) if at not in legend.told]
    )
    ids_of = {name: next(free, 0) if at is None else at for name, at in known.items()}
    if legend is None or None in known.values():
        told = dict(enumerate(legend.names)) if legend else {}
        told = {at: name for at, name in told.items() if legend and at in legend.told}
        colors = dict(enumerate(legend.colors)) if legend else {}
        colors |= {
            ids_of[name]: default_color(rank) for rank, name in enumerate(known) if known[name] is None
        }
        legend = Legend.named(
            told | {at: name for name, at in ids_of.items()},
            colors,
            background=legend.background if legend else None,
        )
    return legend, np.array([ids_of[str(name)] for name in names], np.uint8)[inverse]


def _id(value: Any) -> int:
    try:
        return int(value) if 0 <= int(value) < 255 else 0
    except (TypeError, ValueError, OverflowError):
        return 0


def columns_of(frame: geopandas.GeoDataFrame, kept: NDArray[np.int64]) -> dict[str, Sequence[Any]]:
    """Names and values of the first columns, one value a kept feature; numbers, texts, or ``None``."""
    names = [name for name in frame.columns if name != frame.geometry.name][:MAX_COLUMNS]
    return {visible(str(name))[:MAX_TEXT]: _values(frame[name].to_numpy()[kept]) for name in names}


def _values(values: NDArray[Any]) -> Sequence[Any]:
    """Plain Python values, made when asked for: numbers stay an array."""
    if values.dtype.kind in "iubf":
        return Numbers(values)
    if values.dtype.kind == "M":
        return [_text(value) for value in np.datetime_as_string(values, unit="s")]
    made: dict[str, str] = {}
    # Equal texts are one object.
    return [None if text is None else made.setdefault(text, text) for text in map(_text, values)]


class Numbers(Sequence[Any]):
    """Numbers of an array as Python's own; not-a-number is ``None``.

    Attributes:
        array: (F,) the numbers.
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, at: Any) -> Any:
        value = self.array[at].item()
        if isinstance(value, float):
            return float(f"{value:.7g}") if math.isfinite(value) else None
        return value


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    text = str(value)
    return visible(text[:MAX_TEXT]) + ("…" if len(text) > MAX_TEXT else "")
