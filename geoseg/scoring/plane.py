"""The plane that objects are compared on: areas are true, and so are lengths near its middle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj.exceptions import ProjError
from rasterio.crs import CRS

from geoseg.errors import LabelsError
from geoseg.raster.geobox import GeoBox
from geoseg.vector.place import Place

_STEPS = 1000


@dataclass(frozen=True, kw_only=True)
class Plane:
    """Coordinates to compare in.

    A map whose units are lengths true to scale is taken as it is. For degrees, and projections that stretch
    (Web Mercator), it is Lambert's azimuthal equal-area projection around the middle of what is compared:
    areas are exact everywhere, lengths within 0.1 % up to some 500 km from the middle.

    Attributes:
        map_crs: of the prediction; ``None`` when unknown.
        crs: of the plane; ``None`` when unknown.
        unit_m: metres in a unit of the plane.
        metric: whether that is known; else units are what the coordinates have.
        gsd: side of a pixel in units of the plane.
    """

    map_crs: pyproj.CRS | None
    crs: pyproj.CRS | None
    unit_m: float
    metric: bool
    gsd: float

    @classmethod
    def of(cls, geobox: GeoBox, path: Path) -> Plane:
        """Plane for what lies on a grid.

        Raises:
            SceneError: its ground control points fit no plane.
        """
        place = Place.of(geobox, path)
        map_crs = None if place.crs is None else as_pyproj(place.crs)
        transform = place.geobox.transform
        gsd = float(np.sqrt(abs(transform.determinant)))
        if place.ruler != "ellipsoid":
            return cls(
                map_crs=map_crs, crs=map_crs, unit_m=place.unit_m, metric=place.ruler == "planar", gsd=gsd
            )
        x, y = transform @ (geobox.width / 2.0, geobox.height / 2.0)
        lon, lat = pyproj.Transformer.from_crs(map_crs, "EPSG:4326", always_xy=True).transform(x, y)
        flat = pyproj.CRS.from_proj4(f"+proj=laea +lat_0={lat!r} +lon_0={lon!r} +ellps=WGS84 +units=m")
        return cls(map_crs=map_crs, crs=flat, unit_m=1.0, metric=True, gsd=place.geobox.gsd_m or gsd)

    @classmethod
    def around(cls, bounds: tuple[float, float, float, float], crs: pyproj.CRS | None, path: Path) -> Plane:
        """Plane for what lies within bounds in the map's coordinates."""
        left, bottom, right, top = bounds
        step_x, step_y = ((high - low or 1.0) / _STEPS for low, high in ((left, right), (bottom, top)))
        transform = Affine(step_x, 0.0, left, 0.0, -step_y, top)
        known = None if crs is None else CRS.from_wkt(crs.to_wkt())
        return cls.of(GeoBox(crs=known, transform=transform, shape=(_STEPS, _STEPS)), path)

    def put(self, geometries: NDArray[Any], crs: pyproj.CRS | None) -> NDArray[Any]:
        """Geometries of a map in ``crs`` on the plane; those that have no place there come out empty.

        Raises:
            LabelsError: there is no way from one to the other.
        """
        return _moved(geometries, crs, self.crs)

    def back(self, geometries: NDArray[Any]) -> NDArray[Any]:
        """Geometries of the plane on the prediction's map."""
        return _moved(geometries, self.crs, self.map_crs)


def as_pyproj(crs: CRS) -> pyproj.CRS:
    """A CRS of rasterio's as one of pyproj's."""
    return pyproj.CRS.from_wkt(crs.to_wkt(version="WKT2_2019"))


def _moved(geometries: NDArray[Any], source: pyproj.CRS | None, target: pyproj.CRS | None) -> NDArray[Any]:
    # One that is missing is taken to be the other, as burning has it.
    if source is None or target is None or source == target or not len(geometries):
        return geometries
    try:
        transformer = pyproj.Transformer.from_crs(source, target, always_xy=True)
    except ProjError as reason:
        raise LabelsError(f"polygons cannot be brought into the CRS {target.name}: {reason}") from reason

    def move(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)

    moved = shapely.transform(geometries, move)
    moved[~np.isfinite(shapely.bounds(moved)).all(axis=1)] = shapely.Polygon()
    broken = np.flatnonzero(~shapely.is_valid(moved))
    moved[broken] = shapely.make_valid(moved[broken], method="structure", keep_collapsed=False)
    return np.asarray(moved)
