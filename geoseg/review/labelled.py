"""Classes on the page: their names with their colours, and how much of the chips they are."""

from __future__ import annotations

from geoseg.chips.store import ChipStore
from geoseg.page.markup import Html, el, name_of


def class_name(store: ChipStore, class_id: int) -> Html:
    """A class's name beside its colour."""
    patch = el("span", class_="patch", style=f"background:{store.classes.colors[class_id]}")
    return el("span", patch, name_of(store.classes.names[class_id]), class_="class")


def class_shares(store: ChipStore, split: str) -> list[float] | None:
    """Share of each class in the labelled pixels of a split's chips; ``None`` when there are none."""
    pixels = [sum(column) for column in zip(*(chip.class_pixels for chip in store.chips(split)), strict=True)]
    return [part / sum(pixels) for part in pixels] if sum(pixels) else None
