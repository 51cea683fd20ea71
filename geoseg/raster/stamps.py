"""What tells that a file was written to, or another one put in its place, without reading it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

Stamp: TypeAlias = tuple[int, int] | None
"""Time of the last writing in nanoseconds, and size in bytes; ``None`` when there is no such file."""


def stamp(path: Path) -> Stamp:
    """Of a file as it is now."""
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_mtime_ns, told.st_size


def changed(stamps: Mapping[Path, Stamp]) -> Iterable[Path]:
    """Files that are not what they were; one that was removed can still be read, if it is open."""
    return (path for path, before in stamps.items() if stamp(path) not in {before, None})
