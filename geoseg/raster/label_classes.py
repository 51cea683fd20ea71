"""Classes of polygons: from the words or numbers in a column to ids."""

from __future__ import annotations

import datetime
import math
import unicodedata
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas
from numpy.typing import NDArray

from geoseg.classes import IGNORE, MAX_CLASSES, ClassMap, name_trouble, short_name
from geoseg.errors import LabelsError

BACKGROUND = "background"
"""A polygon of this class is land like that without a polygon."""

_NO_WORDS = ("", "0", "0.0", "false", "f", "no", "n", "none", "nan", "null")


_SCALARS = (str, bool, int, float, Decimal, np.generic, datetime.date, datetime.time, datetime.timedelta)


def only_name(class_name: str | None, classes: ClassMap | None) -> str:
    """The class of labels without a class column.

    Raises:
        LabelsError: it cannot be a class name.
    """
    trouble = name_trouble(class_name) if class_name else None
    if class_name and trouble is not None:
        raise LabelsError(f"the class name {short_name(class_name)} {trouble}; choose another one")
    if classes is not None and class_name not in classes.names:
        special = (classes.background, classes.boundary)
        foreground = [name for i, name in enumerate(classes.names) if i not in special]
        if len(foreground) == 1:
            return foreground[0]
    return class_name or "object"


def class_names(values: Any, where: str, column: str) -> tuple[list[str | None], list[str]]:
    """Class name of every row (``None`` for null or blank), and the distinct ones, numbers in their order.

    Raises:
        LabelsError: there is none, or they are fractions, lists or the like, or no names.
    """
    missing = blank(values, where, column)
    present = values[~missing]
    if present.empty:
        raise LabelsError(f"{where} has no value in column {column}; choose another column")
    if _are_numbers(present):
        if any(not math.isfinite(value) or value != int(value) for value in present.unique()):
            raise LabelsError(f"{where} has fractions in column {column}; choose a column of classes")
        present = present.map(int)
        ordered = [str(value) for value in sorted(present.unique())]
    else:
        present = present.map(lambda value: str(value).strip())
        ordered = sorted(present.unique())
    _check_names(ordered, where, column)
    texts = present.map(str).reindex(values.index)
    return [None if gone else str(text) for gone, text in zip(missing, texts, strict=True)], ordered


def blank(values: Any, where: str, column: str) -> Any:
    """(N,) which rows have no class: null, or nothing but spaces.

    Raises:
        LabelsError: there are lists, groups of values or bytes among them.
    """
    if not pandas.api.types.is_numeric_dtype(values):
        for kind in set(map(type, values[values.notna()])):
            if not issubclass(kind, _SCALARS):
                what = "bytes" if issubclass(kind, bytes | bytearray) else "lists or groups of values"
                raise LabelsError(
                    f"{where} has {what} in column {column}; choose a column of words or whole numbers"
                )
    return values.isna() | (values.astype(str).str.strip() == "")


def _are_numbers(present: Any) -> bool:
    if pandas.api.types.is_bool_dtype(present):
        return False
    return pandas.api.types.is_numeric_dtype(present) or set(map(type, present)) == {Decimal}


def _check_names(names: Sequence[str], where: str, column: str) -> None:
    """Refuse what cannot be a class name.

    Raises:
        LabelsError: one is too long, has control characters, or is UTF-8 that was read as Latin-1.
    """
    for name in names:
        meant = _meant(name)
        if meant is not None:
            raise LabelsError(
                f"{where} has {short_name(name)} in column {column}, {short_name(meant)} in the wrong "
                "encoding; for a Shapefile write UTF-8 into its .cpg, else save it anew as UTF-8"
            )
        trouble = name_trouble(name)
        if trouble is not None:
            raise LabelsError(
                f"{where} has the class name {short_name(name)} in column {column}, which {trouble}; "
                "rename it, or choose a column of classes"
            )


def _meant(name: str) -> str | None:
    """What a name was before UTF-8 was taken for Latin-1, as of a Shapefile without a ``.cpg``."""
    try:
        meant = name.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return None
    return None if meant == name else meant


def alike(names: Sequence[str]) -> list[list[str]]:
    """Groups of names that differ only in case, or in how accents are encoded."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(unicodedata.normalize("NFKC", name).casefold(), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def class_map(ordered: Sequence[str], background: bool, where: str, column: str | None) -> ClassMap:
    """Classes of these names, after the background if there is to be one.

    Raises:
        LabelsError: there are too many.
    """
    names = [name for name in ordered if not (background and name.casefold() == BACKGROUND)]
    possible, beside = (MAX_CLASSES - 1, " beside the background") if background else (MAX_CLASSES, "")
    if len(names) > possible:
        raise LabelsError(
            f"{where} has {len(names)} different values in column {column}, and {possible} classes{beside} "
            "are possible; choose a column of classes"
        )
    names = [BACKGROUND, *names] if background else names
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
