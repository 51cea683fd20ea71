"""Cuts scenes into chips and counts what is in them; pixels are read once, a row of chips at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.chips.boundary import BoundaryLabels
from geoseg.chips.grid import Span, chip_spans, choose_block_px, finer_block_px
from geoseg.chips.sources import Source, open_truth
from geoseg.chips.store import Split
from geoseg.chips.tally import Tally
from geoseg.chips.write import ChipWriter
from geoseg.classes import IGNORE, ClassMap
from geoseg.config import TileConfig
from geoseg.errors import LabelsError, SceneError
from geoseg.progress import Progress
from geoseg.raster.geobox import GeoBox
from geoseg.raster.labels import Labels
from geoseg.raster.rows import RowReader
from geoseg.raster.scene import Scene
from geoseg.raster.vector_labels import VectorLabels
from geoseg.raster.windows import clip, slices_within

MAX_ROW_BYTES = 1024**3
"""Rows of chips of an untiled scene are read at once up to this size."""

Burn = Callable[[GeoBox], NDArray[np.uint8]]
"""Makes class ids (H, W) of a grid."""

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
        split: decided when all blocks are counted.
    """

    scene: int
    window: tuple[int, int, int, int]
    tally: Tally
    class_pixels: NDArray[np.int64]
    split: Split = "train"


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
        self, sources: Sequence[Source], classes: ClassMap, config: TileConfig, progress: Progress
    ) -> None:
        self._sources = sources
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
        writer = ChipWriter(folder, self._sources[0].band_names, self._classes)
        self._progress.begin("tile", sum(len(rows) * len(cols) for rows, cols in grids), "chips")
        # Scenes with the same labels come one after the other, so that each file is opened once.
        order = sorted(range(len(shapes)), key=lambda number: _first_use(self._sources, number))
        for truth in dict.fromkeys(self._sources[number].labels for number in order):
            with open_truth(truth, self._config, self._classes) as labels:
                for number in (i for i in order if self._sources[i].labels == truth):
                    self._cut_scene(number, grids[number], self._burn(labels), writer, cut)
        self._progress.end()
        return cut

    def _burn(self, labels: Labels) -> Burn:
        width_px = self._config.boundary_px
        if width_px is None or not isinstance(labels, VectorLabels):
            return labels.burn
        return BoundaryLabels(labels, self._classes, width_px).burn

    def _spans(self, length: int, block_px: int | None) -> list[Span]:
        return chip_spans(length, self._config.size_px, self._config.overlap_px, block_px)

    def _cut_scene(
        self, number: int, grid: list[list[Span]], burn: Burn, writer: ChipWriter, cut: Cut
    ) -> None:
        source, config = self._sources[number], self._config
        with Scene.open(source.path, bands=config.bands, nodata=config.nodata, remote=True) as scene:
            cut.nodata |= set() if scene.nodata is None else {scene.nodata}
            for row, col, bands, valid in _read_chips(scene, grid, config.size_px):
                self._progress.advance()
                if not valid.any():
                    cut.without_valid += 1
                    continue
                window = Window(col.offset, row.offset, config.size_px, config.size_px)
                geobox = source.geobox.window(window)
                ids = np.where(valid, burn(geobox), np.uint8(IGNORE))
                block = self._count(cut, number, grid, row, col, bands, scene.has_value(bands, valid), ids)
                class_pixels = np.bincount(ids.ravel(), minlength=256)[: len(self._classes)]
                if not class_pixels.any():
                    cut.without_labels += 1
                    continue
                name = f"{source.name}_r{row.offset:05d}_c{col.offset:05d}"
                writer.write(name, geobox, bands, valid, ids)
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
        ids: NDArray[np.uint8],
    ) -> BlockKey:
        """Add the chip's own pixels to its block."""
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
        block.class_pixels += np.bincount(ids[rows, cols].ravel(), minlength=256)[: len(self._classes)]
        return key


def _first_use(sources: Sequence[Source], number: int) -> tuple[int, int]:
    first = next(i for i, source in enumerate(sources) if source.labels == sources[number].labels)
    return first, number


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
