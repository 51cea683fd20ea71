"""Chips with the same pixels, exactly or nearly, whatever their names and places say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.chips.store import ChipStore
from geoseg.health.chip_look import ChipFacts
from geoseg.health.finding import Finding, finding, plural

MAX_COMPARED = 20_000
"""Chips whose thumbnails are compared each with each; more would take minutes."""

ALIKE = 0.99
"""Correlation of thumbnails above which two chips are compared pixel by pixel."""

SAME = 0.95
"""Correlation of all pixels above which two chips are the same image."""

MAX_CHECKED = 500
"""Pairs compared pixel by pixel."""

_ROWS = 512


def twin_findings(store: ChipStore, chips: Sequence[ChipFacts]) -> list[Finding]:
    """Judge chips that show the same image."""
    groups: dict[bytes, list[ChipFacts]] = defaultdict(list)
    for facts in chips:
        if not facts.blank:
            groups[facts.digest].append(facts)
    equal = [(group[0], other, 1.0) for group in groups.values() if len(group) > 1 for other in group[1:]]
    firsts = [group[0] for group in groups.values()]
    return [
        *_judge(store, equal, "the same pixels"),
        *_judge(store, list(_near(store, firsts)), "nearly the same pixels"),
        *_blank(chips),
        *_not_compared(len(firsts)),
    ]


def _judge(store: ChipStore, pairs: list[tuple[ChipFacts, ChipFacts, float]], what: str) -> list[Finding]:
    across = [pair for pair in pairs if pair[0].chip.split != pair[1].chip.split]
    within = [pair for pair in pairs if pair[0].chip.split == pair[1].chip.split]
    contrary = [pair for pair in within if what == "the same pixels" and _labels_differ(store, pair)]
    found = []
    if across:
        found.append(
            finding(
                "error",
                "duplicate",
                f"{plural(len(across), 'pair')} of chips of different splits with {what}: scores flatter",
                "leave one of the two out, or put both into one split with --split-file; tile again",
                _names(across, splits=True),
            )
        )
    if contrary:
        found.append(
            finding(
                "error",
                "duplicate",
                f"{plural(len(contrary), 'pair')} of chips with {what} but different labels",
                "one of the labels is wrong: look at both and keep one",
                _names(contrary),
            )
        )
    rest = [pair for pair in within if pair not in contrary]
    if rest:
        found.append(
            finding(
                "warning",
                "duplicate",
                f"{plural(len(rest), 'pair')} of chips with {what}: they count twice",
                "leave one of the two scenes out and tile again",
                _names(rest),
            )
        )
    return found


def _names(pairs: Sequence[tuple[ChipFacts, ChipFacts, float]], *, splits: bool = False) -> list[str]:
    def shown(facts: ChipFacts) -> str:
        return f"{facts.chip.name} ({facts.chip.split})" if splits else facts.chip.name

    return [f"{shown(one)} = {shown(other)}" for one, other, _ in pairs]


def _blank(chips: Sequence[ChipFacts]) -> list[Finding]:
    blank = [facts.chip.name for facts in chips if facts.blank]
    if not blank:
        return []
    return [
        finding(
            "warning",
            "blank",
            f"{plural(len(blank), 'chip')} of one value only: nothing to see in them",
            "give the value of empty land with --nodata and tile again",
            blank,
        )
    ]


def _not_compared(count: int) -> list[Finding]:
    if count <= MAX_COMPARED:
        return []
    what = f"of {count:,} chips, {MAX_COMPARED:,} were looked at for images that are nearly the same"
    return [finding("note", "duplicate", what, "nothing; exact duplicates were looked for in all of them")]


def _labels_differ(store: ChipStore, pair: tuple[ChipFacts, ChipFacts, float]) -> bool:
    one, other = (store.read(facts.chip)[2] for facts in pair[:2])
    return not np.array_equal(one, other)


def _near(store: ChipStore, chips: Sequence[ChipFacts]) -> Iterator[tuple[ChipFacts, ChipFacts, float]]:
    """Pairs of chips that look alike, down to their pixels."""
    seen = [facts for facts in chips if facts.thumb.any() and facts.valid_share > 0.5][:MAX_COMPARED]
    if len(seen) < 2:
        return
    thumbs = np.stack([facts.thumb for facts in seen])
    checked = 0
    for first in range(0, len(seen), _ROWS):
        alike = thumbs[first : first + _ROWS] @ thumbs.T
        for row, col in np.argwhere(alike > ALIKE).tolist():
            one, other = first + row, col
            if one >= other or checked >= MAX_CHECKED:
                continue
            checked += 1
            likeness = _correlation(*(store.read(seen[number].chip)[:2] for number in (one, other)))
            if likeness > SAME:
                yield seen[one], seen[other], likeness


def _correlation(
    one: tuple[NDArray[Any], NDArray[np.bool_]], other: tuple[NDArray[Any], NDArray[np.bool_]]
) -> float:
    """Correlation of the fine detail of two chips: what is left when smooth light and shade is taken out."""
    both = one[1] & other[1]
    details = []
    for bands, _ in (one, other):
        gray = np.where(np.isfinite(bands), bands, 0).astype(np.float64).sum(axis=0)
        steps = np.stack([np.diff(gray, axis=0)[:, :-1], np.diff(gray, axis=1)[:-1]])
        known = both[:-1, :-1] & both[1:, :-1] & both[:-1, 1:]
        details.append(steps[:, known].ravel())
    norms = np.linalg.norm(details[0]) * np.linalg.norm(details[1])
    return float(details[0] @ details[1] / norms) if norms > 0.0 else 0.0
