"""What it took to predict, as a section of the page. Who made it is not this room's business."""

from __future__ import annotations

from typing import Protocol

from geoseg.page.markup import Html, Node
from geoseg.page.numbers import count, duration, some
from geoseg.page.table import facts, tiles


class Ran(Protocol):
    """How a prediction went, such as :class:`geoseg.predict.PredictReport` tells."""

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    def chips(self) -> int:
        """Chips that went through the network."""

    @property
    def skipped(self) -> int:
        """Chips left out, as nothing on them is valid."""

    @property
    def blocks(self) -> int:
        """Blocks of the mask."""

    @property
    def resumed_blocks(self) -> int:
        """Those of them that an earlier run had finished."""

    @property
    def seconds(self) -> float:
        """Wall time."""

    @property
    def peak_mb(self) -> float | None:
        """Peak resident memory in MB (10^6 bytes); ``None`` where it is not known."""

    @property
    def device(self) -> str:
        """Where the network ran, and at which precision."""

    @property
    def workers(self) -> int:
        """Threads that worked."""


def section(ran: Ran) -> Html:
    """Time, memory, and what was done in it."""
    height, width = ran.shape
    before = ran.resumed_blocks
    rest = f"{count(before)} of {some(ran.blocks, 'block')} were there before" if before else "the whole run"
    entries: list[tuple[str, str, Node]] = [("time", duration(ran.seconds), rest)]
    if ran.seconds > 0 and not before:
        speed = height * width / ran.seconds / 1e6
        entries.append(("speed", f"{speed:.3g}\u00a0Mpx/s", "pixels of the output"))
    if ran.peak_mb is not None:
        entries.append(("memory", _memory(ran.peak_mb), "at its peak, of the whole process"))
    pairs: list[tuple[Node, Node]] = [
        ("device", ran.device),
        ("workers", some(ran.workers, "thread")),
        ("chips", f"{count(ran.chips)} through the network"),
        ("left out", f"{some(ran.skipped, 'chip')} without a valid pixel" if ran.skipped else None),
        ("blocks", count(ran.blocks)),
    ]
    return Html(tiles(entries) + facts(pairs))


def _memory(megabytes: float) -> str:
    return f"{megabytes / 1000:.2f}\u00a0GB" if megabytes >= 1000 else f"{megabytes:.0f}\u00a0MB"
