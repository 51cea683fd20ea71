"""From the ground to the scene's pixels, and what the browser needs for the way back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.transform import GCPTransformer

from geoseg.raster.geobox import GeoBox
from geoseg.vector.place import Place


class Ground:
    """Where the scene lies.

    Attributes:
        place: as vectorize sees it, ground control points included.
    """

    def __init__(self, geobox: GeoBox, path: Path) -> None:
        """Of a scene's grid.

        Raises:
            SceneError: its ground control points fit no plane.
        """
        self.place = Place.of(geobox, path)

    def to_pixels(self, points: NDArray[np.float64], crs: Any) -> NDArray[np.float64]:
        """Points (V, 2) in (column, row) of the scene, not finite where they have none.

        Args:
            points: (V, 2) in ``crs``.
            crs: what pyproj takes for one; ``None`` is the scene's own. Where the scene has none, points are
                taken as they are.
        """
        own = self.place.crs
        if own is None or not len(points):
            return points if own is None and not self.place.geobox.georeferenced else self._inverse(points)
        if crs is not None:
            points = _projected(points, crs, own)
        if self.place.gcps:
            with GCPTransformer(list(self.place.gcps)) as transformer:
                rows, columns = transformer.rowcol(points[:, 0], points[:, 1], op=lambda value: value)
            return np.stack([np.asarray(columns, np.float64), np.asarray(rows, np.float64)], axis=1)
        return self._inverse(points)

    def _inverse(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        a, b, c, d, e, f = (~self.place.geobox.transform)[:6]
        x, y = points[:, 0], points[:, 1]
        with np.errstate(invalid="ignore"):  # of what lies nowhere
            return np.stack([x * a + y * b + c, x * d + y * e + f], axis=1)

    def to_json(self) -> dict[str, Any]:
        """For the coordinates under the pointer: transform, name of the CRS, decimals worth showing."""
        box = self.place.geobox
        known = box.georeferenced
        side = math.hypot(box.transform.a, box.transform.d) if known else 1.0
        digits = max(0, 1 - math.floor(math.log10(side))) if side > 0 else 0
        return {
            "transform": list(box.transform[:6]) if known else None,
            "crs": None if self.place.crs is None else crs_name(self.place.crs),
            "degrees": bool(self.place.crs is not None and self.place.crs.is_geographic),
            "digits": min(digits, 10),
            # A plane through ground control points passes by most of them.
            "about": bool(self.place.gcps),
        }


def crs_name(crs: CRS) -> str:
    """A CRS in a few words: ``EPSG:32633``, else its name."""
    text = str(crs.to_string())
    if len(text) <= 40:
        return text
    import pyproj

    return str(pyproj.CRS.from_user_input(crs.to_wkt(version="WKT2_2019")).name)


def _projected(points: NDArray[np.float64], source: Any, target: CRS) -> NDArray[np.float64]:
    import pyproj

    start = pyproj.CRS.from_user_input(source)
    end = pyproj.CRS.from_user_input(target.to_wkt(version="WKT2_2019"))
    if start == end:
        return points
    transformer = pyproj.Transformer.from_crs(start, end, always_xy=True)
    return np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)
