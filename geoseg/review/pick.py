"""Which chips a report looks at, and which of them it shows."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from geoseg.chips.store import Chip, ChipStore
from geoseg.review.log import thinned

MAX_CHIPS = 200
"""Most chips the model is run on, evenly spread over the split."""

MAX_PICTURED = 12
"""Most chips shown as pictures."""

MAX_PICTURE_PX = 512
"""Largest side of a picture; larger chips are drawn smaller."""

Shown = TypeVar("Shown")


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What was looked at, and by what.

    Attributes:
        split: of the chips.
        in_split: chips there are in it.
        chips: those the model was run on.
        parameters: numbers the model learned.
        device: where it ran, and at which precision.
    """

    split: str
    in_split: int
    chips: int
    parameters: int
    device: str

    def words(self) -> str:
        """The chips, in words."""
        kind = {"val": "validation", "train": "training"}[self.split]
        if self.chips == self.in_split:
            return f"all {self.in_split} {kind} chips" if self.in_split > 1 else f"the one {kind} chip"
        return f"{self.chips} of {self.in_split} {kind} chips"


def chips_to_look_at(store: ChipStore, most: int) -> tuple[str, int, list[Chip]]:
    """Split, how many chips it has, and ``most`` of them: validation, or training when there are none."""
    split = "val" if store.chips("val") else "train"
    of_split = store.chips(split)
    return split, len(of_split), [of_split[at] for at in thinned(len(of_split), most)]


class Worst(Generic[Shown]):
    """The worst few of many chips; of the others nothing is kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._added = 0
        self._kept: list[tuple[tuple[float, ...], int, Shown]] = []

    def add(self, badness: tuple[float, ...], show: Callable[[], Shown]) -> None:
        """One more chip: how bad it is, and what makes what is shown of it if it is among the worst."""
        # The position breaks ties, the first of equals being the worst, so that nothing else is compared.
        rank = badness, -self._added
        self._added += 1
        if len(self._kept) < self._most:
            heapq.heappush(self._kept, (*rank, show()))
        elif rank > self._kept[0][:2]:
            heapq.heapreplace(self._kept, (*rank, show()))

    def first(self) -> tuple[Shown, ...]:
        """What was kept, the worst first."""
        return tuple(shown for _, _, shown in sorted(self._kept, key=lambda kept: kept[:2], reverse=True))
