"""Single parcels from a mask that has a class for the boundary between them.

Every region of a class of land is one parcel; it grows back over the boundary around it, so that nothing of
the land is lost and neighbours share an edge. Bands of rows are numbered alike whatever comes before or
after, because growing looks no further than a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.vector.dissolve import Parts
from geoseg.vector.grow import MAX_COST, boundary_cost, grow
from geoseg.vector.regions import Runs

_FAR_PX = 64
"""How far parcels grow at most by distance. The boundary of a training label is a few pixels wide."""

_DEAR = 10 * MAX_COST
"""How far they grow by cost: over ten pixels that are surely boundary."""

NOTHING = -1
"""Label of pixels without data."""


@dataclass(frozen=True, kw_only=True)
class _Rows:
    """Rows that are to be numbered: (h, W) each.

    ``rest`` is the label of what no parcel gets to: a number for land, else -2 - class id, -1 without data.
    """

    seeds: NDArray[np.int32]
    may_grow: NDArray[np.bool_]
    rest: NDArray[np.int32]
    cost: NDArray[np.uint8] | None

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, rows: slice) -> _Rows:
        cost = None if self.cost is None else self.cost[rows]
        return _Rows(seeds=self.seeds[rows], may_grow=self.may_grow[rows], rest=self.rest[rows], cost=cost)

    @classmethod
    def joined(cls, parts: list[_Rows]) -> _Rows:
        costs = [part.cost for part in parts if part.cost is not None]
        return cls(
            seeds=np.concatenate([part.seeds for part in parts]),
            may_grow=np.concatenate([part.may_grow for part in parts]),
            rest=np.concatenate([part.rest for part in parts]),
            cost=np.concatenate(costs) if costs else None,
        )

    def grown(self) -> NDArray[np.int32]:
        """Labels: number of the parcel, above 0, or ``rest``."""
        numbers = self.seeds
        if self.cost is not None:
            numbers = grow(numbers, self.may_grow, self.cost, _DEAR)
        # What is too dear to reach goes to what is near.
        numbers = grow(numbers, self.may_grow, None, _FAR_PX)
        return np.where(numbers > 0, numbers, self.rest)


class Instances:
    """Numbers the parcels of a mask.

    Attributes:
        class_of: (1 + N + L,) class id of each number: none, the parcels, and the L classes of land, whose
            number is left where no parcel got to.
        dropped: regions of land that are too small for a parcel.
    """

    def __init__(
        self, parts: Parts, *, land: NDArray[np.int64], boundary: int, min_area: float, absent: int
    ) -> None:
        """Every region of ``land`` becomes a parcel, and so does land that none of them reaches.

        Args:
            parts: of the mask, as it was surveyed.
            land: class ids of parcels.
            boundary: class id of what is between them.
            min_area: smaller regions are taken for boundary, in the unit of the survey.
            absent: class id where there is no data.
        """
        is_parcel = np.isin(parts.label, land) & (parts.area >= min_area * (1.0 - 1e-9))
        numbers = np.where(is_parcel, np.cumsum(is_parcel), 0)
        self.class_of = np.concatenate([[NOTHING], parts.label[is_parcel], np.sort(land)]).astype(np.int64)
        self.dropped = int(np.count_nonzero(np.isin(parts.label, land) & ~is_parcel))
        self._numbers = numbers[parts.region].astype(np.int32)
        self._passed = 0
        self._land = np.sort(land)
        self._first_left = 1 + int(np.count_nonzero(is_parcel))
        self._boundary = boundary
        self._absent = absent

    def class_ids(self, labels: NDArray[np.int32]) -> NDArray[np.int64]:
        """Class ids of what :meth:`bands` gives; negative where there is no data."""
        return np.where(labels > 0, self.class_of[np.maximum(labels, 0)], -2 - labels.astype(np.int64))

    def bands(
        self, rows: Iterable[tuple[NDArray[Any], NDArray[np.uint8] | None]]
    ) -> Iterator[NDArray[np.int32]]:
        """Labels (h, W) of bands: the number of the parcel, -2 - class id for the rest, -1 without data.

        Args:
            rows: class ids (h, W) of bands, as they were surveyed, and round(254 p) of the boundary there, if
                known.
        """
        halo = _FAR_PX + _DEAR
        waiting: list[_Rows] = []
        above = below = 0
        heights: list[int] = []
        for class_ids, probability in rows:
            waiting.append(self._seeded(class_ids, probability))
            heights.append(len(class_ids))
            below += len(class_ids)
            while heights and below - heights[0] >= halo:
                whole = _Rows.joined(waiting)
                height = heights.pop(0)
                yield whole[: above + height + halo].grown()[above : above + height]
                kept = min(above + height, halo)
                waiting = [whole[above + height - kept :]]
                above, below = kept, below - height
        numbered = _Rows.joined(waiting).grown() if waiting else np.zeros((0, 0), np.int32)
        for height in heights:
            yield numbered[above : above + height]
            above += height

    def _seeded(self, class_ids: NDArray[Any], probability: NDArray[np.uint8] | None) -> _Rows:
        runs = Runs.of(class_ids)
        seeds = np.repeat(self._numbers[self._passed + runs.region], runs.length).reshape(class_ids.shape)
        self._passed += len(runs.first_run)
        may_grow = (class_ids == self._boundary) | (np.isin(class_ids, self._land) & (seeds == 0))
        return _Rows(
            seeds=seeds,
            may_grow=may_grow,
            rest=self._rest(class_ids),
            cost=None if probability is None else boundary_cost(probability),
        )

    def _rest(self, class_ids: NDArray[Any]) -> NDArray[np.int32]:
        rest = np.where(class_ids == self._absent, np.int32(NOTHING), -2 - class_ids.astype(np.int32))
        for place, class_id in enumerate(self._land.tolist()):
            rest[class_ids == class_id] = self._first_left + place
        return rest
