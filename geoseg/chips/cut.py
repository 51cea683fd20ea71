"""Cuts scenes into chips and counts what is in them; pixels are read once, a row of chips at a time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.chips.grid import Span, chip_spans, choose_block_px, finer_block_px
from geoseg.chips.objects import ChipObjects
from geoseg.chips.sources import Source
from geoseg.chips.store import SPLITS, Split
from geoseg.chips.tally import Tally
from geoseg.chips.truth import Burned, Truth, Truths
from geoseg.chips.write import ChipWriter
from geoseg.classes import ClassMap
from geoseg.config import TileConfig
from geoseg.errors import LabelsError, ReadError, SceneError
from geoseg.progress import Progress
from geoseg.raster.rows import RowReader
from geoseg.raster.scene import Scene
from geoseg.raster.windows import clip, slices_within

MAX_ROW_BYTES = 1024**3
"""Rows of chips of an untiled scene are read at once up to this size."""

BlockKey = tuple[int, int, int]
"""Number of the scene, of the block row and of the block column."""


@dataclass(kw_only=True)
class Block:
    """What is counted of a block while its chips are cut, each pixel once.

    Attributes:
        scene: number of its scene.
        window: (col, row, width, height) in the scene.
        tally: values of its valid pixels.
        class_pixels: (K,) labelled pixels of each class.
        objects: class of each object of its chips, by the number in the labels of its scene, and whether a
            chip shows it whole.
        split: decided when all blocks are counted.
    """

    scene: int
    window: tuple[int, int, int, int]
    tally: Tally
    class_pixels: NDArray[np.int64]
    objects: dict[int, tuple[int, bool]] = field(default_factory=dict)
    split: Split = "train"

    def add_objects(self, objects: ChipObjects) -> None:
        """Take note of the objects of one of its chips."""
        for fact in objects.facts[: objects.count]:
            _, whole = self.objects.get(fact.scene_object, (0, False))
            self.objects[fact.scene_object] = fact.class_id, whole or not fact.clipped


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A chip before its split is known."""

    name: str
    scene: int
    window: tuple[int, int, int, int]
    own: tuple[int, int, int, int]
    block: BlockKey
    valid_share: float
    class_pixels: tuple[int, ...]


@dataclass(kw_only=True)
class Cut:
    """All that was cut.

    Attributes:
        block_px: wanted side of the blocks; ``None`` when a scene is one block.
        counted: every block with a valid pixel.
        drafts: chips written, scene by scene.
        without_valid: windows left out because no pixel is valid.
        without_labels: windows left out because no valid pixel is labelled.
        nodata: values that the scenes, or the user, declared.
    """

    block_px: int | None
    counted: dict[BlockKey, Block] = field(default_factory=dict)
    drafts: list[Draft] = field(default_factory=list)
    without_valid: int = 0
    without_labels: int = 0
    nodata: set[float] = field(default_factory=set)

    def labelled(self) -> list[Block]:
        """Blocks with a labelled pixel: those that chips lie in."""
        return [block for block in self.counted.values() if block.class_pixels.any()]

    def windows(self, sources: Sequence[Source]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """Scene numbers (N,) and windows (N, 4) of the chips, without what reaches beyond a small scene."""
        parts = [clip(Window(*draft.window), sources[draft.scene].geobox.shape) for draft in self.drafts]
        windows = [(p.col_off, p.row_off, p.width, p.height) for p in parts if p is not None]
        return np.array([draft.scene for draft in self.drafts], np.intp), np.array(windows, np.int64)


class Cutter:
    """Cuts scenes one after the other."""

    def __init__(
        self,
        sources: Sequence[Source],
        truths: Truths,
        classes: ClassMap,
        config: TileConfig,
        progress: Progress,
    ) -> None:
        self._sources = sources
        self._truths = truths
        self._classes = classes
        self._config = config
        self._progress = progress

    def cut(self, folder: Path) -> Cut:
        """Write all chips into ``folder``.

        Raises:
            SceneError: no scene has a valid pixel.
            LabelsError: no valid pixel is labelled.
            ReadError: a scene or labels are damaged.
            WriteError: the disk is full.
        """
        config, shapes = self._config, [source.geobox.shape for source in self._sources]
        one_split = config.val_share == config.test_share == 0.0 and config.split_column is None
        by_scene = config.split == "scene" or config.split_file is not None or one_split
        block_px = None if by_scene else config.block_px or choose_block_px(shapes, config.size_px)
        cut = self._cut_all(folder, block_px)
        if block_px is not None and config.block_px is None:
            finer_px = finer_block_px(block_px, len(cut.labelled()), config.size_px)
            if finer_px is not None:
                self._progress.note(
                    f"labels are in few blocks of {block_px} px: cutting again by {finer_px} px"
                )
                for made in folder.iterdir():
                    shutil.rmtree(made)
                cut = self._cut_all(folder, finer_px)
        if not cut.drafts:
            raise _nothing_cut(cut, self._sources)
        cut.drafts.sort(key=lambda draft: draft.scene)
        return cut

    def _cut_all(self, folder: Path, block_px: int | None) -> Cut:
        cut = Cut(block_px=block_px)
        shapes = [source.geobox.shape for source in self._sources]
        grids = [[self._spans(length, block_px) for length in shape] for shape in shapes]
        writer = ChipWriter(folder, self._sources[0].band_names, self._classes, self._config.task)
        self._progress.begin("tile", sum(len(rows) * len(cols) for rows, cols in grids), "chips")
        # Scenes with the same labels come one after the other, so that each file is opened once.
        order = sorted(range(len(shapes)), key=lambda number: _first_use(self._sources, number))
        for truth in dict.fromkeys(self._sources[number].labels for number in order):
            with self._truths(truth) as truth_of:
                for number in (i for i in order if self._sources[i].labels == truth):
                    labels = truth_of(self._sources[number])
                    self._cut_scene(number, grids[number], labels, writer, cut)
        self._progress.end()
        return cut

    def _spans(self, length: int, block_px: int | None) -> list[Span]:
        return chip_spans(length, self._config.size_px, self._config.overlap_px, block_px)

    def _cut_scene(
        self, number: int, grid: list[list[Span]], labels: Truth, writer: ChipWriter, cut: Cut
    ) -> None:
        source, config = self._sources[number], self._config
        with Scene.open(source.path, bands=config.bands, nodata=config.nodata, remote=True) as scene:
            if _grid(scene) != _grid(source):
                # The first look at it may be hours ago.
                raise ReadError(f"scene {scene.shown} was replaced meanwhile; run it again as it is now")
            cut.nodata |= set() if scene.nodata is None else {scene.nodata}
            for row, col, bands, valid in _read_chips(scene, grid, config.size_px):
                self._progress.advance()
                if not valid.any():
                    cut.without_valid += 1
                    continue
                window = Window(col.offset, row.offset, config.size_px, config.size_px)
                truth = labels.burn(window, valid)
                block = self._count(cut, number, grid, row, col, bands, scene.has_value(bands, valid), truth)
                class_pixels = np.bincount(truth.ids.ravel(), minlength=256)[: len(self._classes)]
                if not class_pixels.any():
                    cut.without_labels += 1
                    continue
                name = f"{source.name}_r{row.offset:05d}_c{col.offset:05d}"
                geobox = source.geobox.window(window)
                writer.write(name, geobox, bands, valid, truth.ids, truth.objects)
                cut.drafts.append(
                    Draft(
                        name=name,
                        scene=number,
                        window=(col.offset, row.offset, config.size_px, config.size_px),
                        own=(col.own[0], row.own[0], col.own[1] - col.own[0], row.own[1] - row.own[0]),
                        block=block,
                        valid_share=float(valid.mean()),
                        class_pixels=tuple(class_pixels.tolist()),
                    )
                )
            scene.check_unchanged()

    def _count(
        self,
        cut: Cut,
        number: int,
        grid: list[list[Span]],
        row: Span,
        col: Span,
        bands: NDArray[Any],
        has_value: NDArray[np.bool_],
        truth: Burned,
    ) -> BlockKey:
        """Add the chip's own pixels to its block, and its objects."""
        key = (number, row.block, col.block)
        if key not in cut.counted:
            (top, bottom), (left, right) = (
                _extent(spans, block) for spans, block in zip(grid, key[1:], strict=True)
            )
            cut.counted[key] = Block(
                scene=number,
                window=(left, top, right - left, bottom - top),
                tally=Tally.empty(len(bands), bands.dtype.name),
                class_pixels=np.zeros(len(self._classes), np.int64),
            )
        block = cut.counted[key]
        rows = slice(row.own[0] - row.offset, row.own[1] - row.offset)
        cols = slice(col.own[0] - col.offset, col.own[1] - col.offset)
        block.tally = block.tally.merge(Tally.of(bands[:, rows, cols], has_value[..., rows, cols]))
        own_ids = truth.ids[rows, cols].ravel()
        block.class_pixels += np.bincount(own_ids, minlength=256)[: len(self._classes)]
        if truth.objects is not None:
            block.add_objects(truth.objects)
        return key


def _first_use(sources: Sequence[Source], number: int) -> tuple[int, int]:
    first = next(i for i, source in enumerate(sources) if source.labels == sources[number].labels)
    return first, number


def _grid(raster: Scene | Source) -> tuple[Any, ...]:
    """What chips are cut by."""
    return raster.geobox.crs, raster.geobox.transform, raster.geobox.shape, raster.dtype


def _extent(spans: list[Span], block: int) -> tuple[int, int]:
    mine = [span for span in spans if span.block == block]
    return mine[0].own[0], mine[-1].own[1]


def _read_chips(
    scene: Scene, grid: list[list[Span]], size_px: int
) -> Iterator[tuple[Span, Span, NDArray[Any], NDArray[np.bool_]]]:
    """Chips of a scene in row-major order: bands (B, S, S) and valid (S, S)."""
    rows, cols = grid
    width = max(scene.geobox.width, size_px)
    row_bytes = width * size_px * (len(scene.bands) * np.dtype(scene.dtype).itemsize + 1)
    # Strips run across the whole scene: reading a chip of them decodes the row that all its neighbours need.
    # Of a scene on a server, whole rows take fewer requests, and each block is fetched once.
    whole_rows = (not scene.is_tiled or scene.remote is not None) and row_bytes <= MAX_ROW_BYTES
    strips = RowReader(scene, 0, width)
    for row in rows:
        strip = Window(0, row.offset, width, size_px)
        if whole_rows:
            strip_bands, strip_valid = strips.read(row.offset, size_px)
        for col in cols:
            window = Window(col.offset, row.offset, size_px, size_px)
            if whole_rows:
                part = slices_within(window, strip)
                yield row, col, strip_bands[:, *part], strip_valid[part]
            else:
                yield row, col, *scene.read(window)


def _nothing_cut(cut: Cut, sources: Sequence[Source]) -> Exception:
    if cut.without_labels:
        return LabelsError(
            f"no valid pixel of {sources[0].shown} is labelled by {sources[0].labels}; check both in a GIS"
        )
    return SceneError(f"scene {sources[0].shown} has no valid pixel; check its nodata value or --nodata")


def count_objects(
    blocks: Sequence[Block], sources: Sequence[Source], names: Sequence[str]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Objects by split and class name, and those of them that no chip shows whole.

    Args:
        blocks: with their splits.
        sources: the scenes. Those of one file of labels share its objects.
        names: of the classes; the first is the background, which has no objects.
    """
    counts, clipped = ({str(split): dict.fromkeys(names[1:], 0) for split in SPLITS} for _ in range(2))
    seen: dict[tuple[Split, Path, int], tuple[int, bool]] = {}
    for block in blocks:
        source = sources[block.scene]
        for number, (class_id, whole) in block.objects.items():
            key = block.split, source.labels, number
            seen[key] = class_id, whole or seen.get(key, (0, False))[1]
    for (split, _, _), (class_id, whole) in seen.items():
        counts[split][names[class_id]] += 1
        clipped[split][names[class_id]] += not whole
    return counts, clipped
