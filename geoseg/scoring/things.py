"""Objects on the plane, cut to the land that is compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import shapely
from numpy.typing import NDArray

SEEN = 0.5
"""An object of which a smaller share lies on the land compared is left out: nobody can tell what it is."""


@dataclass(frozen=True, kw_only=True)
class Things:
    """Objects of a map.

    Attributes:
        geometry: (N,) valid polygons or multipolygons with an area, on the plane.
        class_id: (N,) int64.
        score: (N,) float64, how sure each is; ``None`` when nobody says.
    """

    geometry: NDArray[Any]
    class_id: NDArray[np.int64]
    score: NDArray[np.float64] | None = None

    @classmethod
    def of(
        cls, geometry: NDArray[Any], class_id: NDArray[Any], score: NDArray[np.float64] | None = None
    ) -> Self:
        """Those that have an area."""
        real = shapely.area(geometry) > 0.0
        return cls(
            geometry=np.asarray(geometry)[real],
            class_id=np.asarray(class_id, np.int64)[real],
            score=None if score is None else score[real],
        )

    def __len__(self) -> int:
        return len(self.class_id)

    def only(self, chosen: NDArray[np.bool_]) -> Things:
        """The objects where ``chosen`` (N,) is true."""
        score = None if self.score is None else self.score[chosen]
        return Things(geometry=self.geometry[chosen], class_id=self.class_id[chosen], score=score)


@dataclass(frozen=True, kw_only=True)
class Cut:
    """What is left of objects.

    Attributes:
        things: objects of which at least half is left, without the rest of them.
        remains: (L,) what is left of the others.
    """

    things: Things
    remains: NDArray[Any]


def cut_to(things: Things, area: Any) -> Cut:
    """Cut objects to an area; those beyond it are gone, and count nowhere."""
    shapely.prepare(area)
    touching = things.only(shapely.intersects(area, things.geometry))
    cut = touching.geometry.copy()
    across = np.flatnonzero(~shapely.covers(area, cut))
    cut[across] = shapely.intersection(cut[across], area)
    return _sorted_out(touching, cut)


def cut_out(things: Things, unknown: NDArray[Any]) -> Cut:
    """Take unknown land (U,) away from objects."""
    cut = things.geometry.copy()
    at, found = shapely.STRtree(unknown).query(cut, predicate="intersects")
    order = np.argsort(at, kind="stable")
    touched, begins = np.unique(at[order], return_index=True)
    for thing, holes in zip(touched.tolist(), np.split(found[order], begins)[1:], strict=True):
        cut[thing] = shapely.difference(cut[thing], shapely.union_all(unknown[holes]))
    return _sorted_out(things, cut)


def _sorted_out(things: Things, cut: NDArray[Any]) -> Cut:
    left = shapely.area(cut)
    whole = shapely.area(things.geometry)
    seen = (left >= SEEN * whole) & (left > 0.0)
    kept = replace(things.only(seen), geometry=polygons_of(cut[seen]))
    return Cut(things=kept, remains=polygons_of(cut[~seen & (left > 0.0)]))


def polygons_of(geometries: NDArray[Any]) -> NDArray[Any]:
    """Geometries without lines and points, which cutting leaves where outlines touch."""
    mixed = np.flatnonzero(~np.isin(shapely.get_type_id(geometries), (3, 6)))
    geometries = geometries.copy()
    for at in mixed.tolist():
        parts = shapely.get_parts(geometries[at])
        geometries[at] = shapely.union_all(parts[shapely.area(parts) > 0.0])
    return geometries
