"""Draws objects into rows of a label raster, band after band, and tells which regions of it they are.

A pixel gets the object of highest rank that has it. What is drawn does not depend on where the bands are cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.render.fuse import Fusion
from geoseg.render.gather import Gathered, SeenRow, lines_between
from geoseg.vector.dissolve import Dissolved, Survey
from geoseg.vector.source import band_rows

NO_OBJECT = 0
NO_DATA = -1


@dataclass(frozen=True, kw_only=True)
class Strokes:
    """What objects have of the ground, in the order in which they are drawn over each other.

    Attributes:
        gathered: the detections.
        fusion: which object each is of.
    """

    gathered: Gathered
    fusion: Fusion

    def of(self, band: Window) -> Iterator[tuple[int, slice, slice, NDArray[np.bool_]]]:
        """Number of the object, rows and columns within the band, and which pixels (h, w) there are its own.

        The parts of an object follow each other, and may overlap.

        Args:
            band: rows of the scene; those of several calls go downwards.
        """
        rows = self.gathered.rows_in(band.row_off, band.row_off + band.height)
        order = []
        for place, row in enumerate(rows):
            number = self.fusion.object_of[row.first : row.first + len(row)]
            meets = (
                (number >= 0)
                & (row.top < band.row_off + band.height)
                & (row.bottom > band.row_off)
                & (row.left < band.col_off + band.width)
                & (row.right > band.col_off)
            )
            order += [(rank, place, i) for i, rank in self._ranked(np.flatnonzero(meets), number)]
        grid = self.gathered.blocks.grid
        lines = lines_between(grid.rows), lines_between(grid.columns)
        for _, place, i in sorted(order):
            found = self._cut(band, lines, rows[place], i)
            if found is not None:
                yield int(self.fusion.object_of[rows[place].first + i]), *found

    def _ranked(self, chosen: NDArray[np.int64], number: NDArray[np.int32]) -> Iterator[tuple[int, int]]:
        return zip(chosen.tolist(), self.fusion.rank[number[chosen]].tolist(), strict=True)

    def _cut(
        self, band: Window, lines: tuple[NDArray[np.int64], NDArray[np.int64]], row: SeenRow, index: int
    ) -> tuple[slice, slice, NDArray[np.bool_]] | None:
        at_y, at_x = int(row.top[index]), int(row.left[index])
        top, bottom = max(at_y, band.row_off), min(int(row.bottom[index]), band.row_off + band.height)
        left, right = max(at_x, band.col_off), min(int(row.right[index]), band.col_off + band.width)
        if not self.fusion.whole[row.first + index]:
            lines_y, lines_x = lines
            y, x = int(row.detections.row[index]), int(row.detections.column[index])
            top, bottom = max(top, int(lines_y[y])), min(bottom, int(lines_y[y + 1]))
            left, right = max(left, int(lines_x[x])), min(right, int(lines_x[x + 1]))
        if top >= bottom or left >= right:
            return None
        return (
            slice(top - band.row_off, bottom - band.row_off),
            slice(left - band.col_off, right - band.col_off),
            row.mask(index)[top - at_y : bottom - at_y, left - at_x : right - at_x],
        )


@dataclass(kw_only=True)
class Painter:
    """Draws the objects of a part of a scene.

    Attributes:
        gathered: the detections.
        fusion: which object each is of.
        part: what is drawn.
        cut: (O,) bool, objects that go on where nothing is asked for.
    """

    gathered: Gathered
    fusion: Fusion
    part: Window
    cut: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.cut = np.zeros(len(self.fusion), np.bool_)
        self._strokes = Strokes(gathered=self.gathered, fusion=self.fusion)

    def bands(self, advance: Callable[[int], None]) -> Iterator[NDArray[np.int32]]:
        """Labels (h, W) of bands: 1 + the number of the object, 0 where there is none, -1 without data.

        Args:
            advance: told the rows of every band.
        """
        rows = band_rows(self.part.width)
        for top in range(0, self.part.height, rows):
            height = min(rows, self.part.height - top)
            yield self._band(Window(self.part.col_off, self.part.row_off + top, self.part.width, height))
            advance(height)

    def _band(self, band: Window) -> NDArray[np.int32]:
        labels = np.zeros((band.height, band.width), np.int32)
        for number, rows, columns, mask in self._strokes.of(band):
            labels[rows, columns][mask] = 1 + number
        hidden = ~self.gathered.valid(band)
        if hidden.any():
            beyond = np.unique(labels[hidden])
            self.cut[beyond[beyond > 0] - 1] = True
            labels[hidden] = NO_DATA
        return labels


@dataclass(frozen=True, kw_only=True)
class Numbering:
    """Objects as they are in the outputs: numbered from 1 by their first pixel, row by row.

    Attributes:
        object_of: (N,) number among those that were drawn.
        area_px: (N,) pixels.
        crumbs: pieces left out, because a larger piece of their object does not hang together with them.
        regions: gives every piece its number, and others none.
    """

    object_of: NDArray[np.int64]
    area_px: NDArray[np.int64]
    crumbs: int
    regions: Dissolved

    def __len__(self) -> int:
        return len(self.object_of)

    @classmethod
    def of(cls, bands: Iterator[NDArray[np.int32]]) -> Numbering:
        """Look at all bands once."""
        survey = Survey(NO_DATA)
        for band in bands:
            survey.add(band, np.ones(len(band)))
        parts = survey.parts()
        label, area = parts.label.astype(np.int64), parts.area.astype(np.int64)
        drawn = np.flatnonzero(label > NO_OBJECT)
        # The largest piece of each object, of equal ones the first.
        order = drawn[np.lexsort((drawn, -area[drawn], label[drawn]))]
        largest = np.sort(order[np.flatnonzero(np.diff(label[order], prepend=NO_OBJECT))])
        numbers = np.where(label == NO_DATA, NO_DATA, NO_OBJECT).astype(np.int32)
        numbers[largest] = np.arange(1, len(largest) + 1)
        return cls(
            object_of=label[largest] - 1,
            area_px=area[largest],
            crumbs=len(drawn) - len(largest),
            regions=Dissolved(labels=numbers[parts.region], filled=0, dissolved=0, dropped=0),
        )
