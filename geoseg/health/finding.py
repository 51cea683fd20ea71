"""What a check found: how bad it is, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first: ``error`` = training on this is wrong, ``warning`` = look at it, ``note`` = good to know."""

MAX_NAMED = 4
"""Places that a finding names; the rest is counted."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong, or good to know.

    Attributes:
        severity: how bad it is.
        check: one word for the kind of finding, for scripts: ``shift``, ``leak``, ``duplicate``...
        what: what was found, with its numbers.
        where: names of scenes, chips or files, the first few.
        count: how many places there are in all.
        todo: what to do about it.
    """

    severity: Severity
    check: str
    what: str
    where: tuple[str, ...]
    count: int
    todo: str

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self) | {"where": list(self.where)}


def finding(severity: Severity, check: str, what: str, todo: str, where: Sequence[str] = ()) -> Finding:
    """A finding about the places ``where``, of which the first few are named."""
    return Finding(
        severity=severity,
        check=check,
        what=what,
        where=tuple(where[:MAX_NAMED]),
        count=len(where),
        todo=todo,
    )


def worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by severity, else in the order they were made."""
    return tuple(sorted(findings, key=lambda found: SEVERITIES.index(found.severity)))


def plural(count: int, noun: str) -> str:
    """``1 chip``, ``2,000 chips``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
