"""How a limit divides the work."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from geoseg.errors import InputError
from geoseg.render import memory
from geoseg.render.blocks import BlockGrid
from geoseg.render.grid import ChipGrid
from geoseg.render.memory import Appetite, available_mb, default_memory_mb, divide, peak_mb, strips

APPETITE = Appetite(look=60_000_000, fine=800_000, coarse=20_000, scene_px=4)


def blocks_of(side: int, classes: int = 0) -> BlockGrid:
    grid = ChipGrid.of((side, side), size_px=512, overlap_px=128)
    layers = {"mask": 1} | ({"probabilities": classes} if classes else {})
    return BlockGrid.of(grid, scale=1, layers=layers)


def test_memory_hardly_grows_with_the_scene() -> None:
    peaks = [
        divide(blocks_of(side), APPETITE, memory_mb=8000, workers=2, held_mb=900, full_width=False).peak_mb
        for side in (8192, 20_000, 40_000, 100_000)
    ]
    assert max(peaks) < 1.1 * min(peaks)


def test_less_memory_narrows_the_strips_then_takes_workers() -> None:
    blocks = blocks_of(40_000, classes=19)
    usual = divide(blocks, APPETITE, memory_mb=1e6, workers=8, held_mb=900, full_width=False)
    assert (usual.workers, usual.blocks_wide * blocks.chips_wide) == (8, 24)
    before = usual
    least = 900 + peak_mb(blocks, APPETITE, workers=1, blocks_wide=1)
    for memory_mb in range(int(usual.peak_mb), int(least), -20):
        found = divide(blocks, APPETITE, memory_mb=memory_mb, workers=8, held_mb=900, full_width=False)
        assert found.peak_mb <= memory_mb
        assert (found.workers, found.blocks_wide) <= (before.workers, before.blocks_wide) or (
            found.workers < before.workers
        )
        before = found
    assert divide(blocks, APPETITE, memory_mb=least, workers=8, held_mb=900, full_width=False).workers == 1
    with pytest.raises(InputError, match=rf"at least {least:,.0f} MB are needed; raise --memory"):
        divide(blocks, APPETITE, memory_mb=least - 1, workers=8, held_mb=900, full_width=False)


def test_scenes_in_whole_lines_are_read_in_whole_lines() -> None:
    blocks = blocks_of(40_000)
    found = divide(blocks, APPETITE, memory_mb=1e6, workers=2, held_mb=900, full_width=True)
    assert found.blocks_wide == blocks.shape[1]


def test_strips_hold_every_wanted_block_once() -> None:
    blocks = blocks_of(30_000)
    wanted = [block for block in range(len(blocks)) if block % 3]
    for wide in (1, 2, 3, 100):
        found = strips(blocks, wanted, wide)
        assert sorted(block for strip in found for block in strip) == wanted
        for strip in found:
            assert len({blocks.place(block)[1] // wide for block in strip}) == 1
            assert strip == sorted(strip)


def test_the_default_is_a_share_of_what_is_free_beyond_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    # A notebook with much in memory already: the plan counts that, so the limit has to.
    monkeypatch.setattr(memory, "held_mb", lambda: 10_000.0)
    monkeypatch.setattr(memory, "_meminfo_mb", lambda: 8000.0)
    monkeypatch.setattr(memory, "_cgroup_mb", lambda: 9000.0)
    assert default_memory_mb() == 14_000
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (used + 3_000_000_000, used + 3_000_000_000))
    assert default_memory_mb() == pytest.approx(13_000, abs=200)


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (("memory.max", "memory.current"), ("active_file 3000000", "inactive_file 1000000")),
        (("limit_in_bytes", "usage_in_bytes"), ("total_active_file 3000000", "total_inactive_file 1000000")),
    ],
)
def test_the_cache_of_files_is_free_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: tuple[str, str], rows: tuple[str, str]
) -> None:
    version = int(names[0] == "limit_in_bytes")
    limit, used = (tmp_path / name for name in names)
    limit.write_text("10000000\n")
    used.write_text("7000000\n")
    stat = tmp_path / "memory.stat"
    stat.write_text("\n".join(("anon 2000000", *rows, "file 4500000")))
    absent = tmp_path / "absent"
    for name, path in (("_CGROUP_LIMITS", limit), ("_CGROUP_USED", used), ("_CGROUP_STAT", stat)):
        monkeypatch.setattr(memory, name, (absent, path) if version else (path, absent))
    assert available_mb() == 7.0
    limit.write_text("max\n")
    assert available_mb() > 100
