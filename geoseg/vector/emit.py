"""Outlines on their way into a layer: put on the ground, measured, packed and written, batch by batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import rasterio.errors
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoseg.errors import InputError
from geoseg.vector.attributes import Attributes
from geoseg.vector.legend import Legend
from geoseg.vector.outlines import Outlines
from geoseg.vector.place import Place
from geoseg.vector.ragged import ranges
from geoseg.vector.wkb import pack_multi_wkb, pack_wkb
from geoseg.vector.write import LayerWriter

ClassOf = Callable[[NDArray[Any]], NDArray[Any]]


class Reprojection:
    """From the CRS of a mask to another one, vertex by vertex: equal vertices stay equal."""

    def __init__(self, source: CRS, target: str) -> None:
        """Prepare.

        Raises:
            InputError: there is no such CRS, or no way into it.
        """
        import pyproj
        import pyproj.exceptions

        try:
            self.crs = CRS.from_user_input(target)
            self._transformer = pyproj.Transformer.from_crs(
                source.to_wkt(version="WKT2_2019"), self.crs.to_wkt(version="WKT2_2019"), always_xy=True
            )
        except (rasterio.errors.RasterioError, pyproj.exceptions.ProjError, ValueError) as reason:
            text = " ".join(str(reason).split())[:200]
            raise InputError(
                f"polygons cannot go to CRS {target!r}: {text}; write for example EPSG:32633"
            ) from reason

    def __call__(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (V, 2) in the other CRS.

        Raises:
            InputError: some have no place in it.
        """
        moved = np.stack(self._transformer.transform(points[:, 0], points[:, 1]), axis=1)
        if not np.isfinite(moved).all():
            raise InputError(
                f"polygons reach beyond where CRS {self.crs.to_string()[:60]} is defined; choose another"
            )
        return moved


@dataclass(kw_only=True)
class Tally:
    """What was written.

    Attributes:
        polygons: number of features of each class.
        area_m2: of each class.
        vertices: of all polygons.
        dropped: features left out because they are small.
    """

    polygons: Counter[int]
    area_m2: Counter[int]
    vertices: int = 0
    dropped: int = 0


class Emitter:
    """Writes outlines as features of a layer.

    Attributes:
        tally: what was written.
    """

    def __init__(
        self,
        writer: LayerWriter,
        attributes: Attributes,
        place: Place,
        legend: Legend,
        *,
        class_of: ClassOf | None = None,
        reprojection: Reprojection | None = None,
        is_large: Callable[[Outlines, NDArray[np.float64]], NDArray[np.bool_]] | None = None,
        multi: bool = False,
        dissolve: bool = False,
    ) -> None:
        """Prepare.

        Args:
            writer: of the layer.
            attributes: of its columns.
            place: where the mask lies.
            legend: of its classes, which meets those that become features.
            class_of: class ids (R,) of labels; the labels themselves when not given.
            reprojection: of the polygons, after they are measured.
            is_large: which regions to keep, by their outlines and points on the ground.
            multi: whether features are multipolygons.
            dissolve: whether all regions of a class are one feature; they are kept in memory until
                :meth:`end`.
        """
        self._writer = writer
        self._attributes = attributes
        self._place = place
        self._legend = legend
        self._class_of = class_of
        self._reprojection = reprojection
        self._is_large = is_large
        self._multi = multi
        self._kept: list[Outlines] | None = [] if dissolve else None
        self.tally = Tally(polygons=Counter(), area_m2=Counter())

    def add(self, outlines: Outlines) -> None:
        """Write regions, or keep them for :meth:`end`."""
        if self._class_of is not None:
            outlines = replace(outlines, value=self._class_of(outlines.value))
        if self._is_large is not None:
            large = self._is_large(outlines, self._place.put(outlines.points))
            self.tally.dropped += int(np.count_nonzero(~large))
            outlines = outlines.only(large)
        if not len(outlines):
            return
        if self._kept is not None:
            self._kept.append(outlines)
        else:
            self._write(outlines)

    def end(self) -> None:
        """Write what was kept."""
        if self._kept:
            self._write(by_value(self._kept))

    def _write(self, outlines: Outlines) -> None:
        points = self._place.put(outlines.points)
        columns = self._attributes.of(outlines, points)
        if self._reprojection is not None:
            points = self._reprojection(points)
        if self._multi:
            packed = pack_multi_wkb(points, outlines.rings, outlines.regions, outlines.features)
        else:
            packed = pack_wkb(points, outlines.rings, outlines.regions)
        self._writer.write(packed, columns)
        self.tally.vertices += len(points)
        self._count(columns)

    def _count(self, columns: dict[str, NDArray[Any]]) -> None:
        found, at = np.unique(columns["class_id"], return_inverse=True)
        ids = found.tolist()
        self._legend.meet(ids)
        self.tally.polygons.update(dict(zip(ids, np.bincount(at).tolist(), strict=True)))
        if "area_m2" in columns:
            areas = np.bincount(at, weights=np.nan_to_num(columns["area_m2"]))
            self.tally.area_m2.update(dict(zip(ids, areas.tolist(), strict=True)))


def by_value(parts: list[Outlines]) -> Outlines:
    """All regions of several batches, those of each label as one feature, by label."""
    rings = np.cumsum([0, *(len(part.points) for part in parts)])
    regions = np.cumsum([0, *(len(part.rings) - 1 for part in parts)])
    names = ("value", "area", "first_pixel", "last_row", "touches_edge", "total", "known", "least", "points")
    together = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    ring_begins = np.concatenate([part.rings[:-1] + at for part, at in zip(parts, rings, strict=False)])
    region_begins = np.concatenate([part.regions[:-1] + at for part, at in zip(parts, regions, strict=False)])
    ring_ends, region_ends = np.append(ring_begins[1:], rings[-1]), np.append(region_begins[1:], regions[-1])
    order = np.argsort(together["value"], kind="stable")
    ring_order = ranges(region_begins[order], (region_ends - region_begins)[order])
    lengths = (ring_ends - ring_begins)[ring_order]
    points = together.pop("points")[ranges(ring_begins[ring_order], lengths)]
    ordered = {name: values[order] for name, values in together.items()}
    value = ordered["value"]
    return Outlines(
        **ordered,
        features=np.concatenate([[0], np.flatnonzero(np.diff(value)) + 1, [len(value)]]),
        points=points,
        rings=np.concatenate([[0], np.cumsum(lengths)]),
        regions=np.concatenate([[0], np.cumsum((region_ends - region_begins)[order])]),
    )
