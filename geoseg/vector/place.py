"""From pixel space to the ground: coordinates, and what areas and lengths are there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import GCPTransformer, from_gcps
from rasterio.windows import Window

from geoseg.errors import SceneError
from geoseg.raster.gdal import GDAL_ERRORS, gdal_errors
from geoseg.raster.geobox import GeoBox
from geoseg.vector.ragged import ring_measures

_ROWS_SAMPLED = 257
_DECIMALS, _DIGITS = 6, 4
"""Decimals of areas and lengths in an output, and digits of those of a pixel, if these need more."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a mask lies.

    Attributes:
        geobox: its grid; of a mask with ground control points, the affine grid that fits them best.
        gcps: ground control points that place it instead of the transform.
        ruler: how areas and lengths are measured. ``planar``: on the map, whose units are lengths true to
            scale. ``ellipsoid``: on WGS 84, because the units are degrees or the projection stretches (Web
            Mercator). ``none``: nothing is known of the units.
        unit_m: metres in a unit of the map; 1 unless ``planar``.
    """

    geobox: GeoBox
    gcps: tuple[Any, ...]
    ruler: Literal["planar", "ellipsoid", "none"]
    unit_m: float

    @classmethod
    def of(cls, geobox: GeoBox, path: Path) -> Place:
        """Place of the mask at ``path``.

        A CRS without transform or control points places nothing and is left out.

        Raises:
            SceneError: its ground control points fit no plane.
        """
        gcps = () if geobox.georeferenced else geobox.gcps
        if gcps:
            with gdal_errors("placing mask", path, error=SceneError, hint="give it other control points"):
                affine = from_gcps(list(gcps))
                GCPTransformer(list(gcps)).close()
            geobox = GeoBox(crs=geobox.gcps_crs, transform=affine, shape=geobox.shape)
        elif not geobox.georeferenced:
            geobox = GeoBox(crs=None, transform=Affine.identity(), shape=geobox.shape)
        ruler, unit_m = _ruler(geobox)
        return cls(geobox=geobox, gcps=gcps, ruler=ruler, unit_m=unit_m)

    @property
    def crs(self) -> CRS | None:
        """CRS of the coordinates; ``None`` when unknown."""
        return self.geobox.crs

    @property
    def flips(self) -> bool:
        """Whether what runs clockwise in the raster runs counter-clockwise on the map: it is south-up."""
        return self.geobox.transform.determinant > 0.0

    def put(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (V, 2) in the mask's CRS from points in pixel space."""
        if self.gcps:
            with GCPTransformer(list(self.gcps)) as transformer:
                return _by_gcps(transformer, points)
        a, b, c, d, e, f = self.geobox.transform[:6]
        x, y = points[:, 0], points[:, 1]
        return np.stack([x * a + y * b + c, x * d + y * e + f], axis=1)

    def row_areas_m2(self) -> NDArray[np.float64] | None:
        """Area of a pixel in each row (H,), or ``None`` when it cannot be known."""
        height, width = self.geobox.shape
        rows = np.unique(np.linspace(0, height - 1, min(height, _ROWS_SAMPLED)).round().astype(int))
        areas = [self.geobox.window(Window(0, int(row), width, 1)).pixel_area_m2() for row in rows]
        known = [area for area in areas if area is not None]
        if len(known) != len(areas):
            return None
        return np.interp(np.arange(height), rows, np.array(known, np.float64))

    @property
    def decimals(self) -> tuple[int, int]:
        """Decimals of areas and of lengths that tell land; the rest is rounding of the coordinates.

        Six, and more where pixels are so small that six would say nothing of them: millimetres, or degrees
        that nobody called degrees.
        """
        if self.ruler == "ellipsoid":
            pixel = self.geobox.pixel_area_m2() or 0.0
        else:
            pixel = abs(self.geobox.transform.determinant) * self.unit_m**2
        magnitude = math.floor(math.log10(pixel)) if 0.0 < pixel < math.inf else 0
        return max(_DECIMALS, _DIGITS - magnitude), max(_DECIMALS, _DIGITS - magnitude // 2)

    def measure(
        self, points: NDArray[np.float64], rings: NDArray[np.int64], regions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Areas and perimeters (R,) of polygons in the mask's CRS, holes taken off and gone round.

        In square metres and metres, or in units of the coordinates when the ruler is ``none``. Not-a-number
        where the map has no place on Earth.

        Args:
            points: (V, 2) in the mask's CRS, ring by ring, each closed.
            rings: (N + 1,) where each ring begins in ``points``.
            regions: (R + 1,) where the rings of each polygon begin, outer ring first.
        """
        if len(regions) == 1:
            return np.zeros(0), np.zeros(0)
        if self.ruler == "ellipsoid":
            areas, lengths = _measure_rings(*_to_lonlat(self.geobox.crs, points[:, 0], points[:, 1]), rings)
            unit_m = 1.0
        else:
            areas, lengths = ring_measures(points, rings)
            areas = np.abs(areas)
            unit_m = self.unit_m
        is_hole = np.ones(len(areas), np.bool_)
        is_hole[regions[:-1]] = False
        areas[is_hole] *= -1.0
        area, length = np.add.reduceat(areas, regions[:-1]), np.add.reduceat(lengths, regions[:-1])
        return area * unit_m**2, length * unit_m


def _ruler(geobox: GeoBox) -> tuple[Literal["planar", "ellipsoid", "none"], float]:
    if geobox.crs is None:
        return "none", 1.0
    if geobox.crs.is_geographic:
        return "ellipsoid", 1.0
    try:
        unit_m = float(geobox.crs.linear_units_factor[1])
    except GDAL_ERRORS:
        return "none", 1.0
    # The grid decides whether its metres are metres; here is only asked what it decided.
    on_map = abs(geobox.transform.determinant) * unit_m**2
    pixel = geobox.pixel_area_m2()
    if pixel is None or np.isclose(pixel, on_map, rtol=1e-9, atol=0.0):
        return "planar", unit_m
    return "ellipsoid", 1.0


def _by_gcps(transformer: GCPTransformer, xy: NDArray[np.float64]) -> NDArray[np.float64]:
    # offset "ul": rows and columns are pixel corners here, not pixels with a centre.
    return np.stack(transformer.xy(xy[:, 1], xy[:, 0], offset="ul"), axis=1)


def _to_lonlat(
    crs: CRS, x: NDArray[np.float64], y: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    import pyproj

    source = pyproj.CRS.from_user_input(crs.to_wkt(version="WKT2_2019"))
    transformer = pyproj.Transformer.from_crs(source, "EPSG:4326", always_xy=True)
    lon, lat = transformer.transform(x, y)
    return lon, lat


def _measure_rings(
    lon: NDArray[np.float64], lat: NDArray[np.float64], rings: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Areas in m2 (positive) and lengths in m of closed rings on WGS 84, (N,) each.

    The area below an edge is the integral of ``a^2 q(latitude) / 2`` over its longitudes, q being the
    authalic function (Snyder, Map Projections: A Working Manual, 1987, 3-12). That is exact for edges along
    parallels and meridians, as pixels in degrees have them; slanted edges are straight in degrees, by
    Simpson's rule.
    """
    import pyproj

    wgs84 = pyproj.Geod(ellps="WGS84")
    starts = rings[:-1]
    edge = np.ones(len(lon) - 1, np.bool_)
    edge[starts[1:] - 1] = False
    at = np.flatnonzero(edge)
    with np.errstate(invalid="ignore"):
        step = np.radians((lon[at + 1] - lon[at] + 180.0) % 360.0 - 180.0)
        q_at, middle = _authalic(lat, wgs84.es), _authalic((lat[at] + lat[at + 1]) / 2.0, wgs84.es)
        q = (q_at[at] + 4.0 * middle + q_at[at + 1]) / 6.0
        # Measured from the ring's start: differences of large numbers would cost the digits of small areas.
        counts = np.diff(rings) - 1
        q -= np.repeat(q_at[starts], counts)
        first_edges = np.cumsum(counts) - counts
        areas = np.abs(np.add.reduceat(q * step, first_edges)) * wgs84.a**2 / 2.0
    _, _, metres = wgs84.inv(lon[at], lat[at], lon[at + 1], lat[at + 1])
    return areas, np.add.reduceat(metres, first_edges)


def _authalic(lat: NDArray[np.float64], eccentricity2: float) -> NDArray[np.float64]:
    sin = np.sin(np.radians(lat))
    e = np.sqrt(eccentricity2)
    q: NDArray[np.float64] = (1.0 - e**2) * (sin / (1.0 - (e * sin) ** 2) + np.arctanh(e * sin) / e)
    return q
