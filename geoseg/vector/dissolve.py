"""Takes away regions that are too small, on the class raster itself, so that nothing can gape afterwards."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.vector.regions import Runs, components

_UNITS_M2 = {"": 1.0, "m2": 1.0, "m²": 1.0, "ha": 1e4, "km2": 1e6, "km²": 1e6}
_ROUNDING = 1e-9
"""Share by which an area may miss the limit: ten pixels of 0.1 m2 are not below 1 m2."""


Wanted = Callable[[NDArray[Any]], NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True)
class MinArea:
    """A smallest area with its unit: square metres on the ground, or pixels."""

    value: float
    unit: Literal["m2", "px"]


def parse_area(text: str, *, what: str = "min_area") -> MinArea:
    """Read ``250m2``, ``0.5ha``, ``1 km2``, ``20px`` or a bare number of square metres.

    Raises:
        ConfigError: it is none of these.
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(m2|m²|ha|km2|km²|px|)", text.strip().lower())
    if match is None:
        raise ConfigError(f"{what} {text!r} is no area; write for example 250m2, 0.5ha or 20px")
    value, unit = float(match[1]), match[2]
    if unit == "px":
        return MinArea(value=value, unit="px")
    return MinArea(value=value * _UNITS_M2[unit], unit="m2")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """Parts of regions, as bands cut them, and the regions.

    Attributes:
        region: (P,) of each part, in the order of bands and, within a band, of first pixels.
        label: (R,) of each region; regions count in row-major order of first pixels.
        area: (R,) of each region, in the unit of the survey.
    """

    region: NDArray[np.int64]
    label: NDArray[Any]
    area: NDArray[np.float64]


class Survey:
    """What is learnt of the regions of a raster in a first pass over its bands of rows.

    Memory grows with the number of regions and of borders between them (about 40 and 25 bytes each), not with
    the pixels.
    """

    def __init__(self, nodata: int) -> None:
        """``nodata`` is the label of pixels without data."""
        self._nodata = nodata
        self._count = 0
        self._pixel = 1.0
        self._labels: list[NDArray[Any]] = []
        self._areas: list[NDArray[np.float64]] = []
        self._at_edge: list[NDArray[np.bool_]] = []
        self._borders: list[_Borders] = []
        self._same: list[_Borders] = []
        self._above: tuple[NDArray[np.int64], NDArray[Any]] | None = None

    def add(self, rows: NDArray[Any], row_area: NDArray[np.float64]) -> None:
        """Add the rows (h, W) that come next; ``row_area`` (h,) is the area of a pixel in each."""
        runs = Runs.of(rows)
        region = runs.region + self._count
        first = runs.first_run
        self._labels.append(runs.label[first])
        # In pixels of the first row: whole numbers on most maps, so that equal areas are equal in any order.
        if self._above is None:
            self._pixel = float(row_area[0])
        area = np.bincount(runs.region, weights=runs.length * (row_area / self._pixel)[runs.row])
        self._areas.append(area.astype(np.float64))
        at_edge = np.zeros(len(first), np.bool_)
        at_side = (runs.start % rows.shape[1] == 0) | ((runs.start + runs.length) % rows.shape[1] == 0)
        at_edge[runs.region[at_side]] = True
        self._at_edge.append(at_edge)
        self._borders.append(_Borders.of(region[runs.above], region[runs.below], runs.border))
        top, bottom = (runs.row == row for row in (0, len(rows) - 1))
        self._join(np.repeat(region[top], runs.length[top]), rows[0])
        self._above = np.repeat(region[bottom], runs.length[bottom]), rows[-1].copy()
        self._count += len(first)

    def _join(self, region: NDArray[np.int64], labels: NDArray[Any]) -> None:
        """Take in the border between the last row so far and the one below it."""
        if self._above is None:
            self._at_edge[0][region] = True
            return
        above, labels_above = self._above
        same = labels == labels_above
        ones = np.ones(len(region), np.int64)
        self._same.append(_Borders.of(above[same], region[same], ones[same]))
        self._borders.append(_Borders.of(above[~same], region[~same], ones[~same]))

    def parts(self) -> Parts:
        """What regions the parts belong to; call after the last row."""
        same = _Borders.joined(self._same)
        root = components(self._count, same.first, same.second)
        is_root = root == np.arange(self._count)
        region = (np.cumsum(is_root) - 1)[root]
        return Parts(
            region=region,
            label=np.concatenate(self._labels)[is_root],
            area=self._pixel * self._pixels(region),
        )

    def _pixels(self, region: NDArray[np.int64]) -> NDArray[np.float64]:
        """Area of each region in pixels of the first row, (R,); ``region`` is that of each part."""
        return np.bincount(region, weights=np.concatenate(self._areas)).astype(np.float64)

    def dissolve(
        self, *, min_area: float = 0.0, max_hole: float = 0.0, wanted: Wanted | None = None
    ) -> Dissolved:
        """Decide what becomes of every region; call after the last row.

        First, holes below ``max_hole`` are filled: regions of no wanted label that do not reach the edge of
        the raster and have a single neighbour, which is of a wanted one; they go to it. Then every region
        below ``min_area`` goes to the neighbour it shares most pixel edges with.

        That goes in rounds, from small to large: in each, every small region without a smaller neighbour (of
        equal ones the first in row-major order goes) takes the label of its neighbour; of equally long
        borders the larger neighbour wins, then the first. Regions that meet in one label are one region from
        then on.
        Never into nodata: a small region with no other neighbour becomes nodata itself. Nodata stays, however
        small, unless it is a hole.

        Args:
            min_area: in the unit of the survey; 0 merges nothing.
            max_hole: likewise; 0 fills nothing.
            wanted: which labels become polygons; all but nodata when not given.
        """
        at_edge = np.concatenate(self._at_edge)
        if self._above is not None:
            at_edge[self._above[0]] = True
        parts = self.parts()
        region = parts.region
        borders = _Borders.joined(self._borders)
        graph = _RegionGraph(
            label=parts.label,
            area=self._pixels(region),
            borders=_Borders.of(region[borders.first], region[borders.second], borders.length),
            nodata=self._nodata,
        )
        filled = graph.fill_holes(
            max_hole / self._pixel * (1.0 - _ROUNDING),
            at_edge=np.bincount(region, weights=at_edge) > 0,
            wanted=(lambda labels: labels != self._nodata) if wanted is None else wanted,
        )
        dissolved = 0
        while count := graph.merge_once(min_area / self._pixel * (1.0 - _ROUNDING)):
            dissolved += count
        dropped = graph.drop_small()
        return Dissolved(
            labels=graph.label[graph.merged_into[region]], filled=filled, dissolved=dissolved, dropped=dropped
        )


class Dissolved:
    """What :meth:`Survey.dissolve` decided; relabels the same rows in a second pass.

    Attributes:
        filled: holes that went to the region around them.
        dissolved: regions that went to a neighbour.
        dropped: regions that became nodata because they have no other neighbour.
    """

    def __init__(self, *, labels: NDArray[Any], filled: int, dissolved: int, dropped: int) -> None:
        """``labels`` are those of the parts of regions, band after band."""
        self.filled = filled
        self.dissolved = dissolved
        self.dropped = dropped
        self._labels = labels
        self._passed = 0

    def relabel(self, rows: NDArray[Any]) -> NDArray[Any]:
        """New labels (h, W) of the rows that come next, cut into bands as they were surveyed."""
        runs = Runs.of(rows)
        labels = self._labels[self._passed + runs.region]
        self._passed += len(runs.first_run)
        return np.repeat(labels, runs.length).reshape(rows.shape)


@dataclass(frozen=True, kw_only=True)
class _Borders:
    """Borders of regions, each once: ``first < second``, ``length`` in pixel edges; all (E,) int64."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    length: NDArray[np.int64]

    @classmethod
    def of(cls, first: NDArray[np.int64], second: NDArray[np.int64], length: NDArray[np.int64]) -> _Borders:
        """Sum up the pieces of each border; pieces inside of one region are none."""
        real = first != second
        low, high = np.minimum(first, second)[real], np.maximum(first, second)[real]
        order = np.lexsort((high, low))
        low, high, length = low[order], high[order], length[real][order]
        if not len(low):
            return cls(first=low, second=high, length=length)
        new = np.flatnonzero(np.append(True, (low[1:] != low[:-1]) | (high[1:] != high[:-1])))
        return cls(first=low[new], second=high[new], length=np.add.reduceat(length, new))

    @classmethod
    def joined(cls, parts: list[_Borders]) -> _Borders:
        """Borders of several bands; those of one pair of regions are not summed up."""
        none = np.zeros(0, np.int64)
        return cls(
            first=np.concatenate([none, *(part.first for part in parts)]),
            second=np.concatenate([none, *(part.second for part in parts)]),
            length=np.concatenate([none, *(part.length for part in parts)]),
        )

    def only(self, kept: NDArray[np.bool_]) -> _Borders:
        """The borders where ``kept`` (E,) is true."""
        return _Borders(first=self.first[kept], second=self.second[kept], length=self.length[kept])


class _RegionGraph:
    """Regions and their borders while some are merged away. A region is called by its index.

    ``merged_into[region]`` is the region it belongs to by now; ``label`` and ``area`` are right for those.
    """

    def __init__(
        self, *, label: NDArray[Any], area: NDArray[np.float64], borders: _Borders, nodata: int
    ) -> None:
        self.label = label
        self.merged_into = np.arange(len(label))
        self._area = area
        self._nodata = nodata
        self._small = np.zeros(len(label), np.bool_)
        self._borders = borders

    def fill_holes(self, max_area: float, *, at_edge: NDArray[np.bool_], wanted: Wanted) -> int:
        """Give holes below ``max_area`` to the only neighbour they have; returns their number.

        ``at_edge`` tells of each region whether it reaches the edge of the raster. Call first.
        """
        filled = 0
        becomes_polygon = wanted(self.label)
        while max_area > 0.0:
            borders = self._borders
            one = np.concatenate([borders.first, borders.second])
            other = np.concatenate([borders.second, borders.first])
            neighbours = np.bincount(one, minlength=len(self.label))
            hole = (self._area < max_area) & ~at_edge & (neighbours == 1) & ~becomes_polygon
            goes = hole[one] & becomes_polygon[other]
            if not goes.any():
                break
            # What is around a hole comes before it in row-major order, so it keeps its index.
            self.label[one[goes]] = self.label[other[goes]]
            self._merge(borders)
            filled += int(np.count_nonzero(goes))
        return filled

    def merge_once(self, min_area: float) -> int:
        """One round; returns the number of regions that went to a neighbour."""
        data = self.label != self._nodata
        self._small = (self._area < min_area) & data & (self.merged_into == np.arange(len(self.label)))
        # A border between two large regions never matters again: neither will change its label.
        borders = self._borders
        borders = borders.only(
            (self._small[borders.first] | self._small[borders.second])
            & data[borders.first]
            & data[borders.second]
        )
        chosen, neighbour = self._best_neighbours(borders, self._local_minima(borders))
        self.label[chosen] = self.label[neighbour]
        self._merge(borders)
        return len(chosen)

    def _merge(self, borders: _Borders) -> None:
        """Make one of regions that meet in one label."""
        meet = self.label[borders.first] == self.label[borders.second]
        merged = components(len(self.label), borders.first[meet], borders.second[meet])
        moved = np.flatnonzero(merged != np.arange(len(merged)))
        np.add.at(self._area, merged[moved], self._area[moved])
        self.merged_into = merged[self.merged_into]
        self._borders = _Borders.of(merged[borders.first], merged[borders.second], borders.length)

    def drop_small(self) -> int:
        """Make small regions nodata; returns their number. Call when :meth:`merge_once` has no more to do."""
        self.label[self._small] = self._nodata
        return int(np.count_nonzero(self._small))

    def _local_minima(self, borders: _Borders) -> NDArray[np.bool_]:
        """Small regions none of whose neighbours is smaller; no two of them are neighbours."""
        minimal: NDArray[np.bool_] = self._small.copy()
        both = minimal[borders.first] & minimal[borders.second]
        first, second = borders.first[both], borders.second[both]
        minimal[np.where(self._area[first] <= self._area[second], second, first)] = False
        return minimal

    def _best_neighbours(
        self, borders: _Borders, chosen: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Those of the chosen that have a neighbour, and the neighbour each goes to."""
        forth, back = borders.only(chosen[borders.first]), borders.only(chosen[borders.second])
        source = np.concatenate([forth.first, back.second])
        target = np.concatenate([forth.second, back.first])
        length = np.concatenate([forth.length, back.length])
        order = np.lexsort((-target, self._area[target], length, source))
        source, target = source[order], target[order]
        last = np.append(source[1:] != source[:-1], True)[: len(source)]
        return source[last], target[last]
