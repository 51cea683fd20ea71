"""What a polygon layer has in its columns, and rows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoseg.vector.arrow import BINARY, STRING, Batch, Column, Field, binary, format_of, numbers, strings
from geoseg.vector.wkb import PackedWkb

GEOMETRY = "geometry"
TEXT = "string"

Columns: TypeAlias = Mapping[str, Any]
"""Type of every column by its name, in order: a numpy dtype or what numpy takes for one, or ``"string"``."""

GeometryType: TypeAlias = Literal["Polygon", "MultiPolygon"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A polygon layer before any of its polygons is known.

    Attributes:
        columns: types of the attributes by name.
        crs: ``None`` when unknown.
        geometry_type: of every feature.
        gsd_m: side of the pixels it came from, which tells how many digits its coordinates need.
    """

    columns: Columns
    crs: CRS | None
    geometry_type: GeometryType = "Polygon"
    gsd_m: float | None = None

    def fields(self) -> tuple[Field, ...]:
        """Its columns as Arrow has them, the geometry last.

        Raises:
            ValueError: there are no such columns.
        """
        if GEOMETRY in self.columns:
            raise ValueError(f"a column is called {GEOMETRY}, as the polygons are")
        attributes = (
            Field(name=name, format=STRING if kind == TEXT else format_of(np.dtype(kind)))
            for name, kind in self.columns.items()
        )
        return (*attributes, Field(name=GEOMETRY, format=BINARY, extension="ogc.wkb"))

    def rows(
        self,
        polygons: PackedWkb | NDArray[np.object_] | Sequence[bytes],
        columns: Mapping[str, NDArray[Any]],
    ) -> Batch:
        """Rows of the layer.

        Args:
            polygons: N features.
            columns: name to (N,) values.

        Raises:
            ValueError: columns are missing, unknown, of another length or of values that would be changed.
        """
        packed = polygons if isinstance(polygons, PackedWkb) else PackedWkb.of(polygons)
        count = len(packed.offsets) - 1
        if set(columns) != set(self.columns):
            raise ValueError(f"columns {', '.join(columns)} where {', '.join(self.columns)} are wanted")
        for name, values in columns.items():
            if len(values) != count:
                raise ValueError(f"column {name} has {len(values)} values for {count} polygons")
        attributes = [_column(columns[name], kind) for name, kind in self.columns.items()]
        return Batch(length=count, columns=(*attributes, binary(packed.data, packed.offsets)))


def _column(values: NDArray[Any], kind: Any) -> Column:
    if kind == TEXT:
        return strings(values)
    try:
        return numbers(values.astype(kind, casting="same_kind", copy=False))
    except TypeError as reason:
        raise ValueError(str(reason)) from None
