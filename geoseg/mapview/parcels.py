"""Polygons over a scene: kept small in memory, in the scene's pixels, and given out simplified for a zoom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.errors import LabelsError
from geoseg.mapview.attributes import classes_of, columns_of
from geoseg.mapview.legend import Legend
from geoseg.mapview.pixels import Ground
from geoseg.mapview.strokes import clipped, encoded
from geoseg.raster.vectors import read_vector

if TYPE_CHECKING:
    import geopandas

STEPS_A_PIXEL = 4
"""Vertices are rounded to this part of a pixel on the screen."""

TOLERANCE_PX = 0.4
"""How far a line may move on the screen when it is simplified."""

LEAST_PX = 1.5
"""Polygons smaller than this on the screen, both ways, are not drawn there."""

_AT_ONCE = 20_000


@dataclass(frozen=True, kw_only=True)
class Parcels:
    """Polygons of a file, in its order.

    Attributes:
        path: the file.
        legend: names and colours of their classes.
        class_ids: (F,) ids of ``legend``.
        bounds: (F, 4) left, top, right, bottom in pixels of the scene.
        area_px: (F,) in pixels of the scene, holes taken off.
        columns: what the file says of each.
        left_out: features of the file that are no polygons, or do not touch the scene.
    """

    path: Path
    legend: Legend
    class_ids: NDArray[np.uint8]
    bounds: NDArray[np.float32]
    area_px: NDArray[np.float64]
    columns: dict[str, Sequence[Any]]
    left_out: int
    _rings: NDArray[np.int64]
    """(F + 1,) where the rings of each begin."""
    _vertices: NDArray[np.int64]
    """(R + 1,) where the vertices of each ring begin."""
    _points: NDArray[np.float32]
    """(V, 2); closed rings. A 24-bit mantissa holds 1/100 of a pixel of a scene of 100,000."""

    @classmethod
    def read(cls, path: Path, ground: Ground, legend: Legend | None, *, what: str = "polygons") -> Parcels:
        """Read a vector file.

        Args:
            path: any that :func:`geoseg.raster.vectors.read_vector` reads.
            ground: where the scene lies.
            legend: classes of the mask, by which names are matched; made of the names when not given.
            what: how messages call the file.

        Raises:
            LabelsError: no readable vector file, or it holds no polygon on the scene.
        """
        return cls.of(read_vector(path, what=what), path, ground, legend, what=what)

    @classmethod
    def of(
        cls,
        frame: geopandas.GeoDataFrame,
        path: Path,
        ground: Ground,
        legend: Legend | None,
        *,
        what: str = "polygons",
        class_ids: NDArray[np.uint8] | None = None,
    ) -> Parcels:
        """Polygons of a file that was read.

        Args:
            frame: its content.
            path: the file.
            ground: where the scene lies.
            legend: as for :meth:`read`.
            what: how messages call the file.
            class_ids: (F,) ids of ``legend``, where not the file's own columns tell them.

        Raises:
            LabelsError: as :meth:`read`.
        """
        parts = [
            _Part.of(frame.geometry.values[at : at + _AT_ONCE], frame.crs, ground)
            for at in range(0, len(frame), _AT_ONCE)
        ]
        if not any(part.polygons for part in parts):
            raise LabelsError(f"{what} {path} holds no polygons; give those of the scene")
        rings_each = np.concatenate([part.rings_each for part in parts])
        kept = np.flatnonzero(rings_each)
        if not len(kept):
            raise LabelsError(f"{what} {path} lie elsewhere than the scene; give polygons of the same place")
        ring_sizes = np.concatenate([part.ring_sizes for part in parts])
        points = np.concatenate([part.points for part in parts])
        rings = np.concatenate([[0], np.cumsum(rings_each[kept])])
        vertices = np.concatenate([[0], np.cumsum(ring_sizes)])
        if legend is None or class_ids is None:
            legend, ids = classes_of(frame, kept, legend)
        else:
            ids = class_ids[kept]
        return cls(
            path=path,
            legend=legend,
            class_ids=ids,
            bounds=_bounds(points, vertices[rings[:-1]]),
            area_px=_areas(points, vertices, rings, np.concatenate([part.holes for part in parts])),
            columns=columns_of(frame, kept),
            left_out=len(frame) - len(kept),
            _rings=rings,
            _vertices=vertices,
            _points=points,
        )

    def __len__(self) -> int:
        return len(self.class_ids)

    @property
    def vertices(self) -> int:
        """Corners of all polygons."""
        return int(self._vertices[-1] - len(self._vertices) + 1)

    def within(self, box: tuple[float, float, float, float], level: int) -> NDArray[np.int64]:
        """Those that touch a box (left, top, right, bottom) and are seen at a level, the largest first."""
        left, top, right, bottom = box
        around = self.bounds
        touching = (around[:, 0] <= right) & (around[:, 2] >= left)
        touching &= (around[:, 1] <= bottom) & (around[:, 3] >= top)
        found = np.flatnonzero(touching)
        around = around[found]
        side = np.maximum(around[:, 2] - around[:, 0], around[:, 3] - around[:, 1])
        found = found[side >= LEAST_PX * 2.0**level]
        ordered: NDArray[np.int64] = found[np.argsort(-self.area_px[found], kind="stable")]
        return ordered

    def strokes(
        self,
        chosen: NDArray[np.int64],
        *,
        step_px: float,
        tolerance_px: float,
        origin: tuple[float, float] = (0.0, 0.0),
        box: tuple[float, float, float, float] | None = None,
        numbers: NDArray[np.int64] | None = None,
    ) -> bytes:
        """Outlines of polygons for the browser, see :mod:`geoseg.mapview.strokes`.

        Args:
            chosen: which.
            step_px: what vertices are rounded to, in pixels of the scene.
            tolerance_px: how far lines may move, in pixels of the scene.
            origin: (column, row) that vertices are counted from.
            box: what sticks out of it need not be right.
            numbers: what the browser calls them; their places in the file's order when not given.
        """
        rings_each = self._rings[chosen + 1] - self._rings[chosen]
        rings = _ranges(self._rings[chosen], rings_each)
        sizes = self._vertices[rings + 1] - self._vertices[rings]
        points = self._points[_ranges(self._vertices[rings], sizes)].astype(np.float64)
        owner = np.repeat(np.arange(len(chosen)), rings_each)
        if len(rings):
            lines = shapely.linestrings(points, indices=np.repeat(np.arange(len(rings)), sizes))
            lines = shapely.simplify(lines, tolerance_px, preserve_topology=False)
            points, ring_of = shapely.get_coordinates(lines, return_index=True)
        else:
            ring_of = np.zeros(0, np.int64)
        if box is not None:
            points, ring_of = clipped(points, ring_of, box)
        steps = np.round((points - np.array(origin)) / step_px).astype(np.int64)
        return encoded(steps, ring_of, owner, chosen if numbers is None else numbers, self.class_ids[chosen])

    def attributes(self, at: int) -> list[tuple[str, Any]]:
        """Names and values of one, those without a value left out."""
        pairs = [(name, values[at]) for name, values in self.columns.items()]
        return [(name, value) for name, value in pairs if value is not None]


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Some features, unpacked; only those that touch the scene."""

    polygons: int
    rings_each: NDArray[np.int64]
    holes: NDArray[np.bool_]
    ring_sizes: NDArray[np.int64]
    points: NDArray[np.float32]

    @classmethod
    def of(cls, geometries: Any, crs: Any, ground: Ground) -> _Part:
        shapes = np.asarray(geometries, dtype=object)
        polygons, feature_of = shapely.get_parts(shapes, return_index=True)
        flat = (shapely.get_type_id(polygons) == shapely.GeometryType.POLYGON) & ~shapely.is_empty(polygons)
        rings, polygon_of = shapely.get_rings(polygons[flat], return_index=True)
        coordinates, ring_of = shapely.get_coordinates(rings, return_index=True)
        owner = feature_of[flat][polygon_of]
        points = ground.to_pixels(coordinates, crs)
        kept = _on_scene(points, owner[ring_of], len(shapes), ground.place.geobox.shape)[owner]
        return cls(
            polygons=int(flat.sum()),
            rings_each=np.bincount(owner[kept], minlength=len(shapes)).astype(np.int64),
            # The first ring of a polygon goes round it.
            holes=(np.diff(polygon_of, prepend=-1) == 0)[kept],
            ring_sizes=np.bincount(ring_of, minlength=len(rings))[kept].astype(np.int64),
            points=points[kept[ring_of]].astype(np.float32),
        )


def _on_scene(
    points: NDArray[np.float64], owner: NDArray[np.int64], count: int, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Which of ``count`` features touch the scene; one of which a corner lies nowhere does not."""
    lowest, highest = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    # Not-a-number spreads through both, and compares as false.
    np.minimum.at(lowest, owner, points)
    np.maximum.at(highest, owner, points)
    size = np.array([shape[1], shape[0]])
    known = np.isfinite(lowest) & np.isfinite(highest)
    on: NDArray[np.bool_] = (known & (lowest < size) & (highest > 0)).all(axis=1)
    return on


def _ranges(begins: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """``begin, begin + 1, ...`` of each, one after the other."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    made: NDArray[np.int64] = np.arange(total) + np.repeat(begins - (ends - lengths), lengths)
    return made


def _bounds(points: NDArray[np.float32], begins: NDArray[np.int64]) -> NDArray[np.float32]:
    lowest, highest = np.minimum.reduceat(points, begins), np.maximum.reduceat(points, begins)
    return np.concatenate([lowest, highest], axis=1)


def _areas(
    points: NDArray[np.float32],
    vertices: NDArray[np.int64],
    rings: NDArray[np.int64],
    holes: NDArray[np.bool_],
) -> NDArray[np.float64]:
    """Areas (F,), holes taken off, whichever way round they run."""
    starts = np.repeat(points[vertices[:-1]], np.diff(vertices), axis=0)
    x, y = (points.astype(np.float64) - starts).T
    cross = np.zeros(len(x))
    cross[:-1] = x[:-1] * y[1:] - x[1:] * y[:-1]
    cross[vertices[1:] - 1] = 0.0
    areas = np.abs(np.add.reduceat(cross, vertices[:-1])) / 2.0
    areas[holes] *= -1.0
    total: NDArray[np.float64] = np.add.reduceat(areas, rings[:-1])
    return total
