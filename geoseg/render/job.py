"""What rendering needs: the scene, the chips, and a craft that makes something of what a chip shows.

There are two crafts: :class:`geoseg.render.chip.Pixels` decides the class of every pixel, and
:class:`geoseg.render.objects.Objects` tells the objects that a chip shows. All the rest (grid, reader,
threads, blocks, journal, shards, clusters) is the same for both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.raster.scene import Scene
from geoseg.render.blocks import BlockGrid, Layers
from geoseg.render.grid import Chip
from geoseg.render.memory import Appetite
from geoseg.render.plan import Plan
from geoseg.render.reader import ChipRow

Area = Callable[[Window], NDArray[np.bool_]]
"""Tells which pixels of a window of the scene are asked for: (h, w)."""

Look = tuple[Chip, Any, Any]
"""A chip that was looked at; what it shares with the chips around it, ``None`` when it was not run; and what
it keeps for the pixels it owns, ``None`` when there is nothing to decide."""


class Craft(Protocol):
    """What is made of chips. Methods but :meth:`touching` run in the threads of workers."""

    def touching(self, chip: Chip) -> Iterable[Chip]:
        """Chips that are looked at before ``chip`` is decided, in order; itself among them."""

    def look(
        self, batch: Sequence[tuple[Chip, ChipRow]], known: set[Chip], owned: Mapping[Chip, int]
    ) -> list[Look]:
        """Run the network over chips.

        Args:
            batch: the chips, and the rows of the scene they lie in.
            known: those of them that were looked at before; what they share is known.
            owned: chips that will be decided, and the block of each.
        """

    def begin(self, block: int) -> dict[str, Any]:
        """Contents of a block in which nothing is decided yet."""

    def decide(
        self, chip: Chip, shared: Sequence[tuple[Chip, Any]], kept: Any, contents: dict[str, Any], block: int
    ) -> None:
        """Decide a chip and put it into its block.

        Args:
            chip: which one.
            shared: what the chips that touch it share, without those that were not run.
            kept: what it kept for itself.
            contents: of its block; other threads may be putting other chips there.
            block: number of its block.
        """

    def end(self, block: int, contents: dict[str, Any]) -> Layers:
        """The layers of a block whose chips are all decided."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """All that rendering needs.

    Attributes:
        plan: what is rendered, and how.
        blocks: the plan's blocks.
        scene: the scene, open.
        craft: what is made of a chip.
        wanted: whether a chip is asked for.
        appetite: what a chip costs in memory.
    """

    plan: Plan
    blocks: BlockGrid
    scene: Scene
    craft: Craft
    wanted: Callable[[Chip], bool]
    appetite: Appetite
