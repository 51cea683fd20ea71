"""JSON from strangers: what :func:`json.loads` takes, without what readers disagree about or stumble over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

MAX_DEPTH = 40
"""Most lists in lists: who goes through them by calling itself must not run out of stack."""


def loads(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is no JSON, has a key twice (of which every reader takes another one), a number that
            JSON does not know, or more than :data:`MAX_DEPTH` levels.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refused)
    except RecursionError as error:
        raise ValueError("lists in lists without end") from error
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
        if not level:
            return value
    raise ValueError(f"more than {MAX_DEPTH} levels deep")


def _inside(value: Any) -> Sequence[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:40]!r} is there twice")
    return values


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")
