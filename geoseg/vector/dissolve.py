"""Takes away regions that are too small, on the class raster itself, so that nothing can gape afterwards."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import IGNORE
from geoseg.errors import ConfigError
from geoseg.vector.regions import Runs, components

_UNITS_M2 = {"": 1.0, "m2": 1.0, "m²": 1.0, "ha": 1e4, "km2": 1e6, "km²": 1e6}
_ROUNDING = 1e-9
"""Share by which an area may miss the limit: ten pixels of 0.1 m2 are not below 1 m2."""


@dataclass(frozen=True, kw_only=True)
class MinArea:
    """A smallest area with its unit: square metres on the ground, or pixels."""

    value: float
    unit: Literal["m2", "px"]


def parse_area(text: str) -> MinArea:
    """Read ``250m2``, ``0.5ha``, ``1 km2``, ``20px`` or a bare number of square metres.

    Raises:
        ConfigError: it is none of these.
    """
    match = re.fullmatch(r"(\d+\.?\d*|\.\d+)\s*(m2|m²|ha|km2|km²|px|)", text.strip().lower())
    if match is None:
        raise ConfigError(f"min_area {text!r} is no area; write for example 250m2, 0.5ha or 20px")
    value, unit = float(match[1]), match[2]
    if unit == "px":
        return MinArea(value=value, unit="px")
    return MinArea(value=value * _UNITS_M2[unit], unit="m2")


@dataclass(frozen=True, kw_only=True)
class Dissolved:
    """What :func:`dissolve` made.

    Attributes:
        ids: (H, W) uint8 class ids without small regions.
        dissolved: regions that went to a neighbour.
        dropped: regions that became nodata because they have no other neighbour.
    """

    ids: NDArray[np.uint8]
    dissolved: int
    dropped: int


def dissolve(ids: NDArray[np.uint8], min_area: float, row_area: NDArray[np.float64]) -> Dissolved:
    """Give every 4-connected region below ``min_area`` to the neighbour it shares most pixel edges with.

    Goes in rounds, from small to large: in each, every small region without a smaller neighbour (of equal
    ones the first in row-major order goes) takes the class of its neighbour; of equally long borders the
    larger neighbour wins, then the first. Regions that meet in one class are one region from then on. Never
    into nodata (255): a small region with no other neighbour becomes nodata itself. Nodata stays, however
    small.

    Args:
        ids: (H, W) class ids.
        min_area: regions of at least this area stay.
        row_area: (H,) area of a pixel in each row, in the unit of ``min_area``.
    """
    runs = Runs.of(ids)
    region = runs.region
    regions = _RegionGraph(
        class_id=runs.class_id[runs.first_run],
        area=np.bincount(region, weights=runs.length * row_area[runs.row]).astype(np.float64),
        borders=_Borders.of(region[runs.above], region[runs.below], runs.border),
        min_area=min_area * (1.0 - _ROUNDING),
    )
    dissolved = 0
    while count := regions.merge_once():
        dissolved += count
    dropped = regions.drop_small()
    merged_ids = np.repeat(regions.class_id[regions.merged_into[region]], runs.length)
    return Dissolved(ids=merged_ids.reshape(ids.shape), dissolved=dissolved, dropped=dropped)


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

    def only(self, kept: NDArray[np.bool_]) -> _Borders:
        """The borders where ``kept`` (E,) is true."""
        return _Borders(first=self.first[kept], second=self.second[kept], length=self.length[kept])


class _RegionGraph:
    """Regions and their borders while small ones are merged away. A region is called by its index.

    ``merged_into[region]`` is the region it belongs to by now; ``class_id`` and ``area`` are right for those.
    """

    def __init__(
        self,
        *,
        class_id: NDArray[np.uint8],
        area: NDArray[np.float64],
        borders: _Borders,
        min_area: float,
    ) -> None:
        self.class_id = class_id
        self.merged_into = np.arange(len(class_id))
        self._area = area
        self._small = (area < min_area) & (class_id != IGNORE)
        self._min_area = min_area
        nodata = class_id == IGNORE
        self._borders = borders.only(~(nodata[borders.first] | nodata[borders.second]))

    def merge_once(self) -> int:
        """One round; returns the number of regions that went to a neighbour."""
        # A border between two large regions never matters again: neither will change its class.
        borders = self._borders
        borders = borders.only(self._small[borders.first] | self._small[borders.second])
        chosen, neighbour = self._best_neighbours(borders, self._local_minima(borders))
        self.class_id[chosen] = self.class_id[neighbour]
        meet = self.class_id[borders.first] == self.class_id[borders.second]
        merged = components(len(self.class_id), borders.first[meet], borders.second[meet])
        moved = np.flatnonzero(merged != np.arange(len(merged)))
        np.add.at(self._area, merged[moved], self._area[moved])
        self._small[moved] = False
        self._small[merged[moved]] = self._area[merged[moved]] < self._min_area
        self.merged_into = merged[self.merged_into]
        self._borders = _Borders.of(merged[borders.first], merged[borders.second], borders.length)
        return len(chosen)

    def drop_small(self) -> int:
        """Make small regions nodata; returns their number. Call when :meth:`merge_once` has no more to do."""
        self.class_id[self._small] = IGNORE
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
