"""Chips of different splits that show the same ground, told from where the files themselves lie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from affine import Affine

from geoseg.chips.ground import Ground, overlapping_pairs
from geoseg.health.chip_look import ChipFacts
from geoseg.health.finding import Finding, finding, plural
from geoseg.raster.geobox import GeoBox

MIN_SHARED_PX = 2.0
"""Chips of neighbouring blocks may share this much by rounding."""


def leak_findings(chips: Sequence[ChipFacts]) -> list[Finding]:
    """Judge pairs of chips of different splits that overlap on the ground."""
    pairs: list[tuple[ChipFacts, ChipFacts, float]] = []
    for members, grids in _planes(chips):
        windows = np.array([facts.part for facts in members], np.int64)
        numbers = np.arange(len(members), dtype=np.intp)
        found, shared_px = overlapping_pairs(Ground(grids), numbers, windows)
        for (one, other), pixels in zip(found.tolist(), shared_px.tolist(), strict=True):
            if pixels > MIN_SHARED_PX and members[one].chip.split != members[other].chip.split:
                pairs.append((members[one], members[other], pixels))
    if not pairs:
        return []
    pairs.sort(key=lambda pair: -pair[2])
    splits = sorted({" and ".join(sorted(facts.chip.split for facts in pair[:2])) for pair in pairs})
    return [
        finding(
            "error",
            "leak",
            f"{plural(len(pairs), 'pair')} of chips of different splits ({', '.join(splits)}) show the same "
            "ground: scores will flatter",
            "tile all scenes in one go, which keeps shared ground in one split",
            [
                f"{one.chip.name} ({one.chip.split}) and {other.chip.name} ({other.chip.split}), {px:,.0f} px"
                for one, other, px in pairs
            ],
        )
    ]


def _planes(chips: Sequence[ChipFacts]) -> list[tuple[list[ChipFacts], list[GeoBox]]]:
    """Chips that can be compared: all with a place on Earth, and those without by scene."""
    placed = [facts for facts in chips if facts.part[2] and _has_place(facts.geobox)]
    apart: dict[str, list[ChipFacts]] = defaultdict(list)
    for facts in chips:
        if facts.part[2] and not _has_place(facts.geobox):
            apart[facts.chip.scene].append(facts)
    planes = [(placed, [facts.geobox for facts in placed])] if placed else []
    return planes + [(members, [_in_scene(facts) for facts in members]) for members in apart.values()]


def _has_place(geobox: GeoBox) -> bool:
    return (geobox.crs is not None and geobox.georeferenced) or geobox.gcps_crs is not None


def _in_scene(facts: ChipFacts) -> GeoBox:
    """The chip's grid in pixels of its scene; moved by one, as the identity would count as no transform."""
    col, row, _, _ = facts.chip.window
    return replace(
        facts.geobox, crs=None, gcps=(), gcps_crs=None, transform=Affine.translation(col + 1, row + 1)
    )
