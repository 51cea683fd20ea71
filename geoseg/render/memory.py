"""How much memory rendering takes, and how wide a strip it may therefore work on at once.

A scene is rendered in strips of neighbouring columns, each from top to bottom: what is held is a few rows of
chips of one strip, whatever the size of the scene.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import InputError
from geoseg.render.blocks import BlockGrid

USUAL_CHIPS_WIDE = 24
"""Columns of chips in a strip when memory allows: the work that two strips share is then small."""

DEFAULT_SHARE = 0.5
"""Share of the memory that is free which is used when nothing is said, beyond what is held already."""

_GDAL_CACHE_MB = 128
_ASSEMBLY_MB = 160
"""GDAL's cache, buffers of the reader and writers, and the copy to a Cloud-Optimised GeoTIFF."""

_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_CGROUP_USED = (Path("/sys/fs/cgroup/memory.current"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"))
_CGROUP_STAT = (Path("/sys/fs/cgroup/memory.stat"), Path("/sys/fs/cgroup/memory/memory.stat"))
_CGROUP_CACHE = ({"active_file", "inactive_file"}, {"total_active_file", "total_inactive_file"})
"""Pages of files, which the kernel gives back when memory is short, by cgroup's versions 2 and 1."""


@dataclass(frozen=True, kw_only=True)
class Appetite:
    """What one chip costs, in bytes.

    Attributes:
        look: while the network works on a chip, one a worker.
        fine: fine features kept of a chip until its pixels are decided.
        coarse: coarse logits of a chip.
        scene_px: a pixel of the scene as it is read.
        ahead_rows: rows of pixels that are read beyond a row of chips and kept; rows, not bytes.
    """

    look: int
    fine: int
    coarse: int
    scene_px: int
    ahead_rows: int = 0


@dataclass(frozen=True, kw_only=True)
class Division:
    """How a scene is divided for a memory limit.

    Attributes:
        workers: threads.
        blocks_wide: columns of blocks in a strip.
        peak_mb: memory this is expected to take, in MB (10^6 bytes).
    """

    workers: int
    blocks_wide: int
    peak_mb: float


def divide(
    blocks: BlockGrid,
    appetite: Appetite,
    *,
    memory_mb: float,
    workers: int,
    held_mb: float,
    full_width: bool,
) -> Division:
    """The widest strip, and the most workers up to ``workers``, that fit.

    Args:
        blocks: blocks of the scene.
        appetite: what a chip costs.
        memory_mb: the limit for the whole process.
        workers: threads asked for.
        held_mb: what the process holds already: libraries and the model.
        full_width: whether reading a part of the scene's columns costs as much as reading all of them.

    Raises:
        InputError: not even one worker and a strip of one block fit.
    """
    columns = blocks.shape[1]
    usual = columns if full_width else max(1, USUAL_CHIPS_WIDE // blocks.chips_wide)
    usual = min(usual, columns)
    for count in range(workers, 0, -1):
        for wide in _narrowing(usual):
            peak = held_mb + peak_mb(blocks, appetite, workers=count, blocks_wide=wide)
            if peak <= memory_mb:
                return Division(workers=count, blocks_wide=wide, peak_mb=peak)
    least = held_mb + peak_mb(blocks, appetite, workers=1, blocks_wide=1)
    raise InputError(
        f"{memory_mb:,.0f} MB of memory are too little: at least {least:,.0f} MB are needed; "
        "raise --memory or lower --size"
    )


def _narrowing(wide: int) -> Iterable[int]:
    while wide > 1:
        yield wide
        wide = (wide + 1) // 2 if wide > 2 else 1
    yield 1


def peak_mb(blocks: BlockGrid, appetite: Appetite, *, workers: int, blocks_wide: int) -> float:
    """Memory beyond what the process holds at the start, in MB."""
    grid = blocks.grid
    chips_wide = min(blocks_wide * blocks.chips_wide, grid.shape[1])
    # Neighbours of the strip are looked at too, and rows overlap with those before and after.
    looked = chips_wide + 2
    size, stride = grid.rows.size, grid.rows.size - grid.rows.overlap
    rows = 3 * (size + appetite.ahead_rows)
    pixels = rows * (looked * stride + grid.rows.overlap) * appetite.scene_px
    kept = looked * (2.5 * appetite.fine + 4 * appetite.coarse)
    borders = 3 * grid.shape[0] * appetite.coarse if blocks_wide < blocks.shape[1] else 0
    layer_bytes = blocks.chips_high * stride**2 * blocks.scale**2 * sum(blocks.layers.values())
    open_blocks = 1.5 * chips_wide * layer_bytes
    total = workers * appetite.look + pixels + kept + borders + open_blocks
    return total / 1e6 + _GDAL_CACHE_MB + _ASSEMBLY_MB


def strips(blocks: BlockGrid, wanted: Sequence[int], blocks_wide: int) -> list[list[int]]:
    """The wanted blocks strip by strip, each from top to bottom."""
    by_strip: dict[int, list[int]] = {}
    for block in wanted:
        by_strip.setdefault(blocks.place(block)[1] // blocks_wide, []).append(block)
    return [sorted(by_strip[number]) for number in sorted(by_strip)]


def default_memory_mb() -> float:
    """What this process holds and a share of what is free on this machine, or in this container, in MB."""
    return held_mb() + available_mb() * DEFAULT_SHARE


def available_mb() -> float:
    """Memory that can be had without swapping, in MB; 4,000 where it is not known."""
    free = [value for value in (_meminfo_mb(), _cgroup_mb(), _limit_mb()) if value is not None]
    return min(free, default=4000.0)


def _meminfo_mb() -> float | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024 / 1e6
    return None


def _cgroup_mb() -> float | None:
    for limit, used, stat, cache in zip(
        _CGROUP_LIMITS, _CGROUP_USED, _CGROUP_STAT, _CGROUP_CACHE, strict=True
    ):
        try:
            free = int(limit.read_text()) - int(used.read_text())
            rows = [line.split() for line in stat.read_text().splitlines()]
            # What was read or written lately counts as used, gigabytes after a large raster.
            free += sum(int(value) for name, value in rows if name in cache)
        except (OSError, ValueError):
            continue  # no such file, or "max"
        return max(0.0, free) / 1e6
    return None


def _limit_mb() -> float | None:
    """What ``ulimit -v`` leaves: all of it may be taken, but beyond it libraries crash."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (ImportError, OSError, ValueError, IndexError):
        return None
    if limit == resource.RLIM_INFINITY:
        return None
    return max(0, limit - used) / 1e6 / DEFAULT_SHARE


def held_mb() -> float:
    """Memory this process holds now, in MB; an estimate where it is not known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 700.0
    import resource

    return pages * resource.getpagesize() / 1e6


def peak_so_far_mb() -> float | None:
    """Most memory this process ever held, in MB; ``None`` where it is not known."""
    if sys.platform == "win32":
        return None  # has no such figure in the standard library
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
