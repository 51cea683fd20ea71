"""Decides which split each block of land goes to: by chance, by a file, or by a column of the labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.chips.by_column import column_areas, majority
from geoseg.chips.cut import Block
from geoseg.chips.sources import Source, read_split_file
from geoseg.chips.split import assign
from geoseg.chips.store import SPLITS, Split
from geoseg.config import TileConfig
from geoseg.errors import ConfigError
from geoseg.progress import Progress
from geoseg.raster.remote import file_name


def decide(
    blocks: Sequence[Block], groups: NDArray[np.intp], sources: Sequence[Source], config: TileConfig
) -> list[Split]:
    """Split of each block; blocks of a group get the same.

    Args:
        blocks: those with labelled pixels.
        groups: (N,) group numbers of the blocks.
        sources: the scenes.
        config: how to split.

    Raises:
        ConfigError: the split file or column does not say what it should.
    """
    if config.split_file is not None:
        return _by_file(blocks, groups, sources, config.split_file)
    if config.split_column is not None:
        areas = np.zeros((len(blocks), len(SPLITS)))
        for number in {block.scene for block in blocks}:
            mine = [i for i, block in enumerate(blocks) if block.scene == number]
            windows = np.array([blocks[i].window for i in mine], np.int64)
            areas[mine] = column_areas(sources[number], windows, config.split_column)
        numbers = majority(areas, groups)
        return [SPLITS[numbers[group]] for group in groups]
    pixels = np.zeros((int(groups.max()) + 1, len(blocks[0].class_pixels)), np.int64)
    np.add.at(pixels, groups, np.array([block.class_pixels for block in blocks]))
    splits = assign(pixels, val_share=config.val_share, test_share=config.test_share, seed=config.seed)
    return [splits[group] for group in groups]


def _by_file(
    blocks: Sequence[Block], groups: NDArray[np.intp], sources: Sequence[Source], split_file: Path
) -> list[Split]:
    told = read_split_file(split_file, sources)
    first: dict[int, int] = {}
    for block, group in zip(blocks, groups.tolist(), strict=True):
        other = first.setdefault(group, block.scene)
        if told[other] != told[block.scene]:
            raise ConfigError(
                f"split file {split_file} puts {file_name(sources[other].path)} into {told[other]} and "
                f"{file_name(sources[block.scene].path)} into {told[block.scene]}, but they overlap on the "
                "ground; "
                "put them into the same split"
            )
    return [told[block.scene] for block in blocks]


def warn_of_missing(blocks: Sequence[Block], groups: int, config: TileConfig, progress: Progress) -> None:
    """Warn of splits that were wanted and got nothing; ``groups`` is how many there were to deal."""
    present = {block.split for block in blocks}
    told = config.split_file is not None or config.split_column is not None
    shares: dict[Split, float] = {"train": 1.0, "val": config.val_share, "test": config.test_share}
    for split in SPLITS:
        if split in present or (shares[split] == 0.0 and not told):
            continue
        if told:
            progress.warn(f"no {split} chips: the given split puts nothing there")
        else:
            unit = "scene" if config.split == "scene" else "block"
            progress.warn(
                f"no {split} chips: the labelled land makes only {groups} {unit}{'s' * (groups != 1)} apart; "
                "give more scenes or labels, or cut smaller chips"
            )
