"""Figures as people read them. A missing one is a dash, never a nought."""

from __future__ import annotations

import math

NONE = "–"
"""Stands for a figure that nothing defines."""


def score(value: float | None, digits: int = 3) -> str:
    """A score, ``0.841``."""
    return NONE if _missing(value) else f"{value:.{digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share, ``84.1 %``; what is not nothing never reads as 0, what is not all never as 100."""
    if value is None or math.isnan(value):
        return NONE
    if value <= 0 or value >= 1:
        return f"{100 * value:.0f}\u00a0%"
    least = 10.0**-digits
    if 100 * value < least:
        return f"< {least:.{digits}f}\u00a0%"
    if 100 * (1 - value) < least:
        return f"> {100 - least:.{digits}f}\u00a0%"
    return f"{100 * value:.{digits}f}\u00a0%"


def count(value: int) -> str:
    """A number of things in groups of three, with spaces that do not break."""
    return f"{value:,}".replace(",", "\u202f")


def some(value: int, thing: str) -> str:
    """So many things, ``1 scene``, ``30 scenes``."""
    return f"{count(value)} {thing}" if value == 1 else f"{count(value)} {thing}s"


def short_count(value: int) -> str:
    """A number of things in four characters or so, ``1.23 M``."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            return (
                f"{value / size:.3g}\u202f{unit}"
                if value < 1000 * size
                else f"{value / size:.0f}\u202f{unit}"
            )
    return str(value)


def change(value: float | None, digits: int = 3) -> str:
    """A difference with its sign, ``+0.021``."""
    return NONE if _missing(value) else f"{value:+.{digits}f}".replace("-", "−")


def duration(seconds: float | None) -> str:
    """A time, ``3 min 20 s``."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds < 60:
        return f"{seconds:.1f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min {rest:02d}\u00a0s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}\u00a0h {minutes:02d}\u00a0min"


def size(byte_count: int) -> str:
    """A file's size, ``44.8 MB``."""
    if byte_count < 1000:
        return f"{byte_count}\u00a0B"
    for unit, scale in (("kB", 10**3), ("MB", 10**6), ("GB", 10**9)):
        if byte_count < 1000 * scale or unit == "GB":
            break
    return f"{byte_count / scale:.1f}\u00a0{unit}"


def plain(value: float | None) -> str:
    """Any number in about four digits, ``0.000123``, ``1.2e-09``."""
    return NONE if _missing(value) else f"{value:.4g}".replace("-", "−")


def _missing(value: float | None) -> bool:
    return value is None or math.isnan(value)
