"""Facts as lines for people: a name and a value each, aligned, and tables for what has rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from geoseg_cli.report import number

_JSON_ONLY = frozenset({"config", "network", "transform"})
"""Too much for a look."""

_ROW_JSON_ONLY = frozenset({"fields", "bounds"})
"""Too wide for a table."""

_UNITS = {"_m": "m", "_px": "px", "_mb": "MB", "_m2": "m2", "_deg": "degrees"}
_EXACT = frozenset({"bounds", "bounds_lonlat", "pixel_size"})
"""Coordinates, which are copied into other programs: all digits, and no commas between thousands."""

_NUMBERS_OF_THINGS = frozenset({"id", "band"})
_FOREIGN_NAMES = frozenset({"tags", "fields", "metadata", "last_class_scores"})
"""What is in these is called as in the file."""

_USUAL = {"scale": 1.0, "offset": 0.0}
_ONLY_IF_ANY = frozenset({"gcps", "rotation_deg"})
_MOST_ROWS = 60
_MOST_ITEMS = 12


def lines(facts: Mapping[str, Any]) -> Iterator[str]:
    """Facts line by line. What is unknown is left out, but for cells of a table.

    Args:
        facts: of :func:`geoseg.info.info`, or any plain values by name.
    """
    told = {name: value for name, value in facts.items() if _is_worth_a_line(name, value)}
    width = max((len(_split(name)[0]) for name in told), default=0) + 2
    for name, value in told.items():
        shown = f"{_split(name)[0]:<{width}}"
        if _is_table(value):
            for at, row in enumerate(_table(value)):
                yield f"{shown if at == 0 else '':<{width}}{row}"
        else:
            yield f"{shown}{_text(name, value)}"


def _is_worth_a_line(name: str, value: Any) -> bool:
    if name in _JSON_ONLY or _is_nothing(value):
        return False
    if name == "layers" and len(value) == 1 and isinstance(value[0], Mapping):
        return False  # all that it says is said of the file
    return bool(value) or name not in _ONLY_IF_ANY


def _split(name: str) -> tuple[str, str]:
    """A name for people, without its unit, and the unit."""
    for ending, unit in _UNITS.items():
        if name.endswith(ending):
            return name.removesuffix(ending).replace("_", " "), f" {unit}"
    return name.replace("_", " "), ""


def _text(name: str, value: Any) -> str:
    _, unit = _split(name)
    if isinstance(value, Mapping):
        return _pairs(value, foreign=name in _FOREIGN_NAMES)
    if isinstance(value, Sequence) and not isinstance(value, str):
        if unit == " px" and len(value) == 2:
            return f"{value[0]} x {value[1]} px"
        # Without commas between thousands, as there are such between the numbers.
        shown = [str(item) if type(item) is int else _number(name, item) for item in value[:_MOST_ITEMS]]
        more = f" and {len(value) - _MOST_ITEMS} more" if len(value) > _MOST_ITEMS else ""
        return ", ".join(shown) + more + unit
    return _number(name, value) + unit


def _pairs(values: Mapping[str, Any], *, foreign: bool) -> str:
    pairs = ((str(key), value) for key, value in values.items() if not _is_nothing(value))
    return ", ".join(
        f"{key if foreign else _split(key)[0]} {number(value) if foreign else _text(key, value)}"
        for key, value in pairs
    )


def _number(name: str, value: Any) -> str:
    """A single value, without its unit."""
    if isinstance(value, float):
        if name.endswith("share"):
            return f"{value:.2%}"
        return f"{value:.10g}" if name in _EXACT else number(value)
    return str(value) if name in _NUMBERS_OF_THINGS else number(value)


def _is_table(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(row, Mapping) for row in value)


def _table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Rows below a line of headers; columns without any value are left out."""
    columns = [
        key
        for key in rows[0]
        if key not in _ROW_JSON_ONLY and any(not _is_nothing(row.get(key)) for row in rows)
    ]
    shown = [[_cell(key, row.get(key)) for key in columns] for row in rows[:_MOST_ROWS]]
    heads = [key.replace("_", " ") for key in columns]
    right = [
        key not in _NUMBERS_OF_THINGS and all(_is_number(row.get(key)) for row in rows) for key in columns
    ]
    widths = [max(map(len, column)) for column in zip(heads, *shown, strict=True)]
    for cells in [heads, *shown]:
        aligned = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(cells, widths, right, strict=True)
        ]
        yield "  ".join(aligned).rstrip()
    if len(rows) > _MOST_ROWS:
        yield f"and {len(rows) - _MOST_ROWS} more; --json has them all"


def _is_worth_a_column(name: str, values: Sequence[Any]) -> bool:
    if name in _ROW_JSON_ONLY:
        return False
    return any(not _is_nothing(value) and value != _USUAL.get(name) for value in values)


def _cell(name: str, value: Any) -> str:
    if _is_nothing(value):
        return "-"
    # The header has the unit.
    return _number(name, value) if not isinstance(value, list | tuple | Mapping) else _text(name, value)


def _is_nothing(value: Any) -> bool:
    return value is None or value in ([], {}, "")


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
