"""Where pixels lie on Earth: CRS, transform and shape as one value."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.coords import BoundingBox
from rasterio.crs import CRS
from rasterio.rpc import RPC
from rasterio.warp import transform as transform_points
from rasterio.windows import Window
from shapely.geometry import Polygon

from geoseg.errors import SceneError
from geoseg.raster.gdal import GDAL_ERRORS

_TRUE_TO_SCALE = 0.01
"""Grid metres count as metres while the projection's scale is within this of 1 (UTM: 0.0004)."""

_FARTHEST = 1e15
"""Coordinates beyond this are no place in any CRS, and their squares no number to compute with."""


@dataclass(frozen=True, kw_only=True)
class GeoBox:
    """A pixel grid on Earth. Pixel (col, row) covers ``transform * ([col, col+1] x [row, row+1])``.

    Attributes:
        crs: of ``transform``; ``None`` when unknown, as with ground control points only.
        transform: pixel (col, row) corner to CRS (x, y). Any rotation, shear or
            flip; the identity when unknown.
        shape: (height, width) in pixels.
        gcps: ground control points, where the file has them instead of a transform.
        gcps_crs: CRS of ``gcps``.
        rpcs: rational polynomials of a satellite's camera, in pixels of this grid; kept for other programs,
            as they place pixels only together with heights of the ground.
    """

    crs: CRS | None
    transform: Affine
    shape: tuple[int, int]
    gcps: tuple[GroundControlPoint, ...] = ()
    gcps_crs: CRS | None = None
    rpcs: RPC | None = field(default=None, hash=False)

    @classmethod
    def of(cls, dataset: Any) -> GeoBox:
        """Grid of an open rasterio dataset, bit for bit."""
        gcps, gcps_crs = dataset.gcps
        return cls(
            crs=dataset.crs or None,
            transform=dataset.transform,
            shape=(dataset.height, dataset.width),
            gcps=tuple(gcps),
            gcps_crs=(gcps_crs or None) if gcps else None,
            rpcs=_rpcs_of(dataset),
        )

    @property
    def height(self) -> int:
        """Rows."""
        return self.shape[0]

    @property
    def width(self) -> int:
        """Columns."""
        return self.shape[1]

    @property
    def georeferenced(self) -> bool:
        """Whether a transform is known (ground control points alone are none)."""
        return tuple(self.transform) != tuple(Affine.identity())

    @property
    def placeless(self) -> bool:
        """Whether a transform is known, but one that puts all pixels on a line or nowhere."""
        # NaN is not smaller either.
        near = all(abs(value) <= _FARTHEST for corner in self._corners() for value in corner)
        area = self.transform.determinant
        placed = near and math.isfinite(area) and area != 0.0 and all(map(math.isfinite, ~self.transform))
        return self.georeferenced and not placed

    def check_place(self, where: str) -> None:
        """Make sure that pixels have a place, if only in pixels.

        Raises:
            SceneError: they have none; ``where`` is how a message calls the raster.
        """
        if self.placeless:
            raise SceneError(
                f"{where} has a transform that puts all pixels on a line or nowhere; "
                "give it another one with gdal_edit -a_ullr"
            )

    @property
    def bounds(self) -> BoundingBox:
        """(left, bottom, right, top) around all pixels, in CRS units, left < right, bottom < top."""
        xs, ys = zip(*self._corners(), strict=True)
        return BoundingBox(min(xs), min(ys), max(xs), max(ys))

    def footprint(self) -> Polygon:
        """Outline of the grid in CRS coordinates; a rectangle turned as the grid is."""
        return Polygon(self._corners())

    def _corners(self) -> list[tuple[float, float]]:
        height, width = self.shape
        return [self.transform @ corner for corner in ((0, 0), (width, 0), (width, height), (0, height))]

    @property
    def gsd_m(self) -> float | None:
        """Mean side of a pixel in metres at the grid's centre; ``None`` when it cannot be known."""
        sides = self._pixel_sides_m()
        return None if sides is None else (sides[0] + sides[1]) / 2.0

    def pixel_area_m2(self) -> float | None:
        """Area of a pixel in square metres at the grid's centre; ``None`` when it cannot be known."""
        sides = self._pixel_sides_m()
        if sides is None:
            return None
        a, b, d, e = self.transform.a, self.transform.b, self.transform.d, self.transform.e
        # The share of a rectangle of these sides that a sheared pixel covers.
        squareness = abs(a * e - b * d) / (math.hypot(a, d) * math.hypot(b, e))
        return sides[0] * sides[1] * squareness

    def _pixel_sides_m(self) -> tuple[float, float] | None:
        """Lengths in metres of a step by one column and by one row."""
        if self.crs is None or not self.georeferenced or self.placeless:
            return None
        on_earth = self._geodesic_sides_m()
        unit_m = _unit_m(self.crs)
        if unit_m is None:
            return on_earth
        a, b, d, e = self.transform.a, self.transform.b, self.transform.d, self.transform.e
        on_grid = (math.hypot(a, d) * unit_m, math.hypot(b, e) * unit_m)
        if on_earth is None:
            return on_grid
        # Mercator metres are no metres: 1.5 of them make one in Paris.
        true = all(abs(g / s - 1.0) <= _TRUE_TO_SCALE for g, s in zip(on_grid, on_earth, strict=True))
        return on_grid if true else on_earth

    def _geodesic_sides_m(self) -> tuple[float, float] | None:
        col, row = self.width / 2.0, self.height / 2.0
        ends = [(col - 0.5, row), (col + 0.5, row), (col, row - 0.5), (col, row + 0.5)]
        xs, ys = zip(*(self.transform @ end for end in ends), strict=True)
        try:
            lons, lats = transform_points(self.crs, CRS.from_epsg(4326), xs, ys)
        except GDAL_ERRORS:
            return None  # an engineering CRS lies nowhere on Earth
        if not all(math.isfinite(value) for value in (*lons, *lats)):
            return None
        import pyproj

        _, _, (column_m, row_m) = pyproj.Geod(ellps="WGS84").inv(
            lons[0::2], lats[0::2], lons[1::2], lats[1::2]
        )
        return (column_m, row_m) if column_m > 0 and row_m > 0 else None

    def bounds_lonlat(self) -> BoundingBox | None:
        """Bounds in degrees (WGS 84), for messages; ``None`` when they cannot be known."""
        if self.crs is None or not self.georeferenced:
            return None
        return bounds_to_lonlat(self.bounds, self.crs)

    def window(self, window: Window) -> GeoBox:
        """Grid of a window of this grid; the window may reach beyond it."""
        col, row = window.col_off, window.row_off
        return GeoBox(
            crs=self.crs,
            # Without any georeferencing the window's place in the scene is all that is known of it.
            transform=self.transform if self.gcps else self.transform @ Affine.translation(col, row),
            shape=(int(window.height), int(window.width)),
            gcps=tuple(
                GroundControlPoint(p.row - row, p.col - col, p.x, p.y, p.z, p.id, p.info) for p in self.gcps
            ),
            gcps_crs=self.gcps_crs,
            rpcs=_moved(self.rpcs, col, row),
        )

    def scaled(self, factor: int) -> GeoBox:
        """The same ground in pixels ``factor`` times as fine along each axis."""
        if factor == 1:
            return self
        height, width = self.shape
        return GeoBox(
            crs=self.crs,
            transform=self.transform if self.gcps else self.transform @ Affine.scale(1.0 / factor),
            shape=(height * factor, width * factor),
            gcps=tuple(
                GroundControlPoint(p.row * factor, p.col * factor, p.x, p.y, p.z, p.id, p.info)
                for p in self.gcps
            ),
            gcps_crs=self.gcps_crs,
            rpcs=_finer(self.rpcs, factor),
        )

    def profile(self) -> dict[str, Any]:
        """Keywords of ``rasterio.open(..., "w")`` that put a new raster on this grid."""
        profile: dict[str, Any] = {"width": self.width, "height": self.height}
        if self.rpcs is not None:
            profile["rpcs"] = self.rpcs
        if self.georeferenced:
            profile["transform"] = self.transform
        elif self.gcps:
            profile["gcps"] = list(self.gcps)
            # rasterio wants a CRS here, if only an empty one.
            return profile | {"crs": self.gcps_crs or CRS()}
        return profile | ({"crs": self.crs} if self.crs is not None else {})

    def same_grid(self, other: GeoBox) -> bool:
        """Whether pixels of both grids are the same places: shape, CRS, and transform to 1e-6 of a pixel."""
        if self.shape != other.shape or self.crs != other.crs or len(self.gcps) != len(other.gcps):
            return False
        if self.gcps_crs != other.gcps_crs or any(
            (p.row, p.col, p.x, p.y) != (q.row, q.col, q.x, q.y)
            for p, q in zip(self.gcps, other.gcps, strict=True)
        ):
            return False
        pixel = max(
            math.hypot(self.transform.a, self.transform.d), math.hypot(self.transform.b, self.transform.e)
        )
        corners = self._corners()
        # Millimetres, ten thousand kilometres from the origin: neighbouring numbers are further apart there.
        near = max(1e-6 * pixel, 4.0 * math.ulp(max(abs(value) for corner in corners for value in corner)))
        return all(
            math.dist(mine, theirs) <= near for mine, theirs in zip(corners, other._corners(), strict=True)
        )


def _rpcs_of(dataset: Any) -> RPC | None:
    try:
        return dataset.rpcs
    except (ValueError, LookupError):
        return None  # coefficients that are no numbers, or missing, place nothing


def _moved(rpcs: RPC | None, col: float, row: float) -> RPC | None:
    return rpcs and _changed(rpcs, samp_off=rpcs.samp_off - col, line_off=rpcs.line_off - row)


def _finer(rpcs: RPC | None, factor: int) -> RPC | None:
    """In pixels ``factor`` times as fine; lines and samples count from the middle of the first pixel."""
    return rpcs and _changed(
        rpcs,
        samp_off=(rpcs.samp_off + 0.5) * factor - 0.5,
        line_off=(rpcs.line_off + 0.5) * factor - 0.5,
        samp_scale=rpcs.samp_scale * factor,
        line_scale=rpcs.line_scale * factor,
    )


def _changed(rpcs: RPC, **values: float) -> RPC:
    return RPC(**(rpcs.to_dict() | values))


def bounds_to_lonlat(bounds: tuple[float, float, float, float], crs: CRS) -> BoundingBox | None:
    """Bounds in degrees (WGS 84) from bounds in ``crs``; ``None`` when they lie nowhere on Earth."""
    left, bottom, right, top = bounds
    steps = [step / 8.0 for step in range(9)]
    xs = [left + (right - left) * step for step in steps]
    ys = [bottom + (top - bottom) * step for step in steps]
    edge_x = [*xs, *xs, *[left] * 9, *[right] * 9]
    edge_y = [*[bottom] * 9, *[top] * 9, *ys, *ys]
    try:
        lons, lats = transform_points(crs, CRS.from_epsg(4326), edge_x, edge_y)
    except GDAL_ERRORS:
        return None
    if not all(math.isfinite(value) for value in (*lons, *lats)):
        return None
    return BoundingBox(min(lons), min(lats), max(lons), max(lats))


def _unit_m(crs: CRS) -> float | None:
    """Metres a CRS unit, or ``None`` when its units are no lengths."""
    if crs.is_geographic:
        return None
    try:
        _, factor = crs.linear_units_factor
    except GDAL_ERRORS:
        return None
    return float(factor) if factor > 0 else None
