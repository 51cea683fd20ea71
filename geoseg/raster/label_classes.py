"""Classes of polygons: from the words or numbers in a column to ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray

from geoseg.classes import IGNORE, MAX_CLASSES, ClassMap
from geoseg.errors import LabelsError

BACKGROUND = "background"
"""A polygon of this class is land like that without a polygon."""

_NO_WORDS = ("", "0", "0.0", "false", "f", "no", "n", "none", "nan", "null")


def only_name(class_name: str | None, classes: ClassMap | None) -> str:
    """The class of labels without a class column."""
    if classes is not None and class_name not in classes.names:
        special = (classes.background, classes.boundary)
        foreground = [name for i, name in enumerate(classes.names) if i not in special]
        if len(foreground) == 1:
            return foreground[0]
    return class_name or "object"


def class_names(values: Any, where: str, column: str) -> tuple[list[str | None], list[str]]:
    """Class name of every row (``None`` for null or blank), and the distinct ones, numbers in their order.

    Raises:
        LabelsError: there is none, or they are fractions.
    """
    missing = values.isna() | (values.astype(str).str.strip() == "")
    present = values[~missing]
    if present.empty:
        raise LabelsError(f"{where} has no value in column {column}; choose another column")
    if pandas.api.types.is_numeric_dtype(present) and not pandas.api.types.is_bool_dtype(present):
        if any(not math.isfinite(value) or value != int(value) for value in present.unique()):
            raise LabelsError(f"{where} has fractions in column {column}; choose a column of classes")
        present = present.map(int)
        ordered = [str(value) for value in sorted(present.unique())]
    else:
        present = present.map(lambda value: str(value).strip())
        ordered = sorted(present.unique())
    texts = present.map(str).reindex(values.index)
    return [None if gone else str(text) for gone, text in zip(missing, texts, strict=True)], ordered


def class_map(ordered: Sequence[str], background: bool, where: str, column: str | None) -> ClassMap:
    """Classes of these names, after the background if there is to be one.

    Raises:
        LabelsError: there are too many.
    """
    names = [name for name in ordered if not (background and name.casefold() == BACKGROUND)]
    names = [BACKGROUND, *names] if background else names
    if len(names) > MAX_CLASSES:
        raise LabelsError(
            f"{where} has {len(names)} different values in column {column}, and {MAX_CLASSES} classes are "
            "possible; choose a column of classes"
        )
    return ClassMap.from_names(names, background=0 if background else None)


def class_ids(
    names: Sequence[str | None], classes: ClassMap, path: Path, background: bool
) -> NDArray[np.uint8]:
    """Ids of the rows; null is 255, and ``background`` in any spelling is the background class.

    Raises:
        LabelsError: a class that ``classes`` does not have.
    """
    known: dict[str | None, int] = {name: class_id for class_id, name in enumerate(classes.names)}
    known[None] = IGNORE
    for name in set(names) - set(known):
        if (
            background
            and name is not None
            and name.casefold() == BACKGROUND
            and classes.background is not None
        ):
            known[name] = classes.background
    unknown = sorted(str(name) for name in set(names) - set(known))
    if unknown:
        raise LabelsError(
            f"labels {path} has the class {unknown[0]}, which is none of {', '.join(classes.names)}; "
            "choose the class column, or rename it"
        )
    return np.array([known[name] for name in names], np.uint8)


def marked(values: Any) -> NDArray[np.bool_]:
    """(N,) whether a value says yes: true, a number but 0, or a word such as ``yes``; null says no."""
    words = values.astype("string").str.strip().str.casefold().fillna("")
    return np.asarray(~words.isin(_NO_WORDS), np.bool_)
