"""Chips as training will see them: classes, splits, empty labels, and whether the folder is what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geoseg.chips.store import SPLITS, ChipStore
from geoseg.health.chip_look import ChipFacts
from geoseg.health.finding import Finding, finding, plural

FEW_TRAIN, FEW_VAL = 20, 4
"""Fewer chips than this are few to learn from, and to measure by."""

RARE_SHARE = 0.005
"""A class with less than this of the labelled pixels is rare."""

MOSTLY_EMPTY = 0.9


def label_findings(store: ChipStore, chips: Sequence[ChipFacts]) -> list[Finding]:
    """Judge the labels of the chips."""
    return [*_empty(store, chips), *_changed(chips), *_other_grid(chips)]


def _empty(store: ChipStore, chips: Sequence[ChipFacts]) -> list[Finding]:
    unknown = [facts.chip.name for facts in chips if not facts.class_pixels.any()]
    found = []
    if unknown:
        found.append(
            finding(
                "error",
                "empty",
                f"{plural(len(unknown), 'chip')} of {len(chips):,} with empty labels (255 everywhere): "
                "nothing to learn from",
                "burn their labels again with geoseg tile, or take them out",
                unknown,
            )
        )
    background = store.classes.background
    if background is None or len(store.classes) < 2:
        return found
    some = [facts for facts in chips if facts.class_pixels.any()]
    without = [
        facts.chip.name for facts in some if facts.class_pixels[background] == facts.class_pixels.sum()
    ]
    if some and len(without) == len(some):
        name = store.classes.names[background]
        what = f"not one object in {plural(len(some), 'chip')}: all labelled land is {name}"
        found.append(finding("error", "empty", what, "check that the labels lie on these scenes", without))
    elif len(without) > MOSTLY_EMPTY * len(some):
        found.append(
            finding(
                "warning",
                "empty",
                f"{plural(len(without), 'chip')} of {len(some):,} without any object",
                "check that all of the scene is labelled; if not, tile with --unlabelled ignore",
                without,
            )
        )
    return found


def _changed(chips: Sequence[ChipFacts]) -> list[Finding]:
    names = [
        facts.chip.name
        for facts in chips
        if tuple(facts.class_pixels.tolist()) != facts.chip.class_pixels and facts.class_pixels.any()
    ]
    if not names:
        return []
    return [
        finding(
            "warning",
            "changed",
            f"{plural(len(names), 'chip')} whose labels are not those that chips.json counted",
            "if you edited them, mind that class weights go by chips.json; else tile again",
            names,
        )
    ]


def _other_grid(chips: Sequence[ChipFacts]) -> list[Finding]:
    names = [facts.chip.name for facts in chips if not facts.same_grid]
    if not names:
        return []
    return [
        finding(
            "error",
            "grid",
            f"{plural(len(names), 'chip')} whose labels lie on another grid than the image",
            "tile again; labels must be burned on the grid of the scene",
            names,
        )
    ]


def class_pixels(store: ChipStore, chips: Sequence[ChipFacts]) -> dict[str, NDArray[np.int64]]:
    """Labelled pixels (K,) of each class by split, as counted in the chips."""
    total: dict[str, NDArray[np.int64]] = {split: np.zeros(len(store.classes), np.int64) for split in SPLITS}
    for facts in chips:
        total[facts.chip.split] += facts.class_pixels
    return total


def split_findings(store: ChipStore, chips: Sequence[ChipFacts]) -> list[Finding]:
    """Judge what the splits hold."""
    counts: dict[str, int] = {split: sum(facts.chip.split == split for facts in chips) for split in SPLITS}
    found = _sizes(counts)
    pixels = class_pixels(store, chips)
    everywhere = sum(pixels.values(), np.zeros(len(store.classes), np.int64))
    for number, name in enumerate(store.classes.names):
        found += _class(name, {split: int(pixels[split][number]) for split in SPLITS if counts[split]})
    rare = rare_findings(dict(zip(store.classes.names, everywhere.tolist(), strict=True)))
    return found + rare


def _sizes(counts: Mapping[str, int]) -> list[Finding]:
    found = []
    if not counts["train"]:
        found.append(
            finding("error", "split", "no chips to train on", "tile again with another split or more scenes")
        )
    elif counts["train"] < FEW_TRAIN:
        what = f"{plural(counts['train'], 'chip')} to train on: few to learn from"
        found.append(finding("warning", "few", what, "label more land, or cut smaller chips with --size"))
    if not counts["val"]:
        what = "no chips for validation: nothing says when training is good"
        found.append(finding("warning", "split", what, "give more scenes or labels, or cut smaller chips"))
    elif counts["val"] < FEW_VAL:
        what = f"{plural(counts['val'], 'chip')} for validation: the best epoch is chosen by little"
        found.append(finding("note", "few", what, "label more land, or cut smaller chips with --size"))
    return found


def _class(name: str, pixels: Mapping[str, int]) -> list[Finding]:
    """Judge in which splits a class occurs; ``pixels`` of each split that has chips."""
    have = [split for split, count in pixels.items() if count]
    lack = [split for split, count in pixels.items() if not count]
    if not have:
        what = f"class {name} occurs in no chip"
        return [finding("warning", "class", what, "leave it out of the labels, or label some", [name])]
    if not lack:
        return []
    what = f"class {name} does not occur in {' and '.join(lack)}, but in {' and '.join(have)}"
    if "train" in lack:
        todo = "a model cannot learn it: tile with another --seed or --split-file, or label more of it"
        return [finding("error", "class", what, todo, [name])]
    todo = "its score will be missing there: tile with another --seed or smaller --block"
    return [finding("warning" if "val" in lack else "note", "class", what, todo, [name])]


def rare_findings(pixels: Mapping[str, int]) -> list[Finding]:
    """Judge the shares of classes by their labelled pixels."""
    total = sum(pixels.values())
    shares = {name: count / total for name, count in pixels.items() if count}
    rare = [f"{name} ({share:.2%})" for name, share in shares.items() if share < RARE_SHARE]
    if not rare:
        return []
    return [
        finding(
            "note",
            "rare",
            f"classes with less than {RARE_SHARE:.1%} of the labelled pixels: {len(rare)} of {len(shares)}",
            "train with --set loss.class_weights=inverse_sqrt, or join them with other classes",
            rare,
        )
    ]
