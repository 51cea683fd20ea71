"""Polygons with a class each, burned by pixel centre."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import geopandas
import numpy as np
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.coords import BoundingBox
from rasterio.crs import CRS
from rasterio.features import rasterize

from geoseg.classes import IGNORE, ClassMap
from geoseg.errors import LabelsError
from geoseg.raster.geobox import GeoBox, bounds_to_lonlat
from geoseg.raster.label_classes import alike, class_ids, class_map, class_names, marked, only_name
from geoseg.raster.label_place import brought, middle_of, outline_in, turned_to
from geoseg.raster.polygons import left_out, valid_polygons
from geoseg.raster.vectors import CLOSED_RINGS, read_vector

CROWD_COLUMN = "iscrowd"
"""COCO's name for the mark of an area full of things that nobody told apart."""

ValueT = TypeVar("ValueT", np.uint8, np.int32)

_ROUNDING_PX = 1e-3
"""What reaches out of a chip by less is inside: coordinates of an edge on its border are a bit off."""

_CLIP_ABOVE_VERTICES = 2000
"""Polygons with more vertices are cut to the grid before burning: land cover runs through many chips."""

_CLIP_BEYOND_PX = 1e8
"""So are those that reach farther from it: GDAL burns nothing of what lies 2**31 pixels away."""

_BURNED_AT_ONCE = 10_000
"""Polygons on their way to GDAL are objects of Python, more than a kilobyte each."""


class VectorLabels:
    """Polygon labels. Where polygons overlap the smaller one wins, of equal ones the later.

    Attributes:
        path: the file.
        classes: names of the ids.
        repaired: polygons that crossed themselves and were repaired.
        owner_ids: (N + 1,) uint8 class id of each of the N polygons at the number :meth:`burn_owners` gives
            it; at 0 what land outside all polygons is.
        crowd: (N + 1,) whether it is marked as a crowd, and burns as 255 for that. Nothing is unless objects
            were asked for.
        kind_ids: (N + 1,) as ``owner_ids``, but for crowds what they are crowds of.
    """

    def __init__(
        self,
        path: Path,
        frame: geopandas.GeoDataFrame,
        ids: NDArray[np.uint8],
        classes: ClassMap,
        fill: int,
        crowd: NDArray[np.bool_] | None = None,
    ) -> None:
        """Take over what :meth:`open` has read; ``ids`` (N,) are of the rows, ``fill`` of all other land."""
        self.path = path
        self.classes = classes
        self._crs = frame.crs
        self._notes: list[str] = []
        geometries, kept, self.repaired = valid_polygons(frame.geometry.to_numpy())
        self._tell_left_out(frame.geometry.to_numpy(), kept)
        closed = frame.attrs.get(CLOSED_RINGS, 0)
        if closed:
            self._note(f"polygons of {path.name} with rings that were not closed, closed: {closed}")
        if self.repaired:
            self._note(f"polygons of {path.name} that cross themselves, repaired: {self.repaired}")
        # Burned in this order, so that a smaller or later polygon overwrites; the same for every scene's CRS.
        order = np.argsort(-shapely.area(geometries), kind="stable")
        self._geometries = geometries[order]
        self.kind_ids = np.append(np.uint8(fill), ids[kept][order])
        self.crowd = np.zeros(len(self.kind_ids), np.bool_)
        if crowd is not None:
            self.crowd[1:] = crowd[kept][order]
        self.owner_ids = np.where(self.crowd, np.uint8(IGNORE), self.kind_ids)
        self._in_crs: dict[tuple[str | None, float | None], shapely.STRtree] = {}

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        class_column: str | None,
        class_name: str | None,
        unlabelled: Literal["background", "ignore"],
        classes: ClassMap | None,
        objects: bool = False,
    ) -> VectorLabels:
        """See :func:`geoseg.raster.labels.open_labels`."""
        columns = [] if class_column is None else [class_column]
        frame = read_vector(path, columns=columns, optional=[CROWD_COLUMN] if objects else [])
        if frame.empty:
            raise LabelsError(f"labels {path} is empty; draw some polygons")
        if class_column is None:
            ordered = [only_name(class_name, classes)]
            names: list[str | None] = [ordered[0]] * len(frame)
            similar: list[str] = []
        else:
            names, ordered = class_names(frame[class_column], f"labels {path}", class_column)
            similar = [f"{', '.join(group)}" for group in alike(ordered)]
        background = objects or unlabelled == "background"
        if classes is None:
            classes = class_map(ordered, background, f"labels {path}", class_column)
        ids = class_ids(names, classes, path, background)
        fill = IGNORE
        if unlabelled == "background" and classes.background is not None:
            fill = classes.background
        crowd = marked(frame[CROWD_COLUMN]) if objects and CROWD_COLUMN in frame.columns else None
        labels = cls(path, frame, ids, classes, fill, crowd)
        for group in similar:
            labels._note(f"classes of {path.name} that differ in case or accents only, kept apart: {group}")
        if background and classes.background is None:
            labels._note("the classes have no background: land outside the polygons counts as unknown")
        return labels

    def __enter__(self) -> VectorLabels:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is held open."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, as found so far."""
        return tuple(self._notes)

    @property
    def polygons(self) -> NDArray[Any]:
        """The polygons (N,) in the file's CRS, in the order they are burned; see ``owner_ids``."""
        return self._geometries

    @property
    def crs(self) -> pyproj.CRS | None:
        """CRS of the file, when it has one."""
        known: pyproj.CRS | None = self._crs
        return known

    def _note(self, text: str) -> None:
        if text not in self._notes:
            self._notes.append(text)

    def _tell_left_out(self, geometries: NDArray[Any], kept: NDArray[np.intp]) -> None:
        """Note what rows (N,) without those ``kept`` have instead of polygons.

        Raises:
            LabelsError: nothing is kept.
        """
        told = ", ".join(left_out(geometries, kept))
        if not len(kept):
            raise LabelsError(
                f"labels {self.path} has no polygon to burn, only {told}; draw some, or buffer points and "
                "lines in a GIS first"
            )
        if told:
            self._note(f"left out of {self.path.name}: {told}")

    def bounds_lonlat(self) -> BoundingBox | None:
        """Bounds of all polygons in degrees (WGS 84); ``None`` without a CRS."""
        if self._crs is None:
            return None
        bounds = shapely.total_bounds(self._geometries)
        return bounds_to_lonlat(tuple(bounds), CRS.from_wkt(self._crs.to_wkt()))

    def covers(self, geobox: GeoBox) -> int:
        """How many polygons touch the grid.

        Raises:
            LabelsError: the grid's place on Earth is not known, or the labels cannot be brought there.
        """
        touching = len(self._tree(geobox).query(geobox.footprint(), predicate="intersects"))
        self._look_around(geobox)
        return touching

    def burn(self, geobox: GeoBox) -> NDArray[np.uint8]:
        """Class ids of the grid's pixels, decided at pixel centres; 255 where unknown.

        Args:
            geobox: any grid: rotated and south-up ones too.

        Returns:
            (H, W) uint8.

        Raises:
            LabelsError: as :meth:`covers`.
        """
        return self._burn(geobox, self.owner_ids)

    def burn_owners(self, geobox: GeoBox) -> NDArray[np.int32]:
        """Which polygon each pixel of the grid belongs to, as :meth:`burn` decides it.

        Polygons are numbered from 1 in the order they are burned, a smaller or later one higher; the numbers
        are the same on every grid.

        Returns:
            (H, W) int32, 0 outside all polygons.

        Raises:
            LabelsError: as :meth:`covers`.
        """
        return self._burn(geobox, np.arange(len(self.owner_ids), dtype=np.int32))

    def inside_shares(
        self, geobox: GeoBox, numbers: NDArray[np.intp], part: tuple[int, int]
    ) -> NDArray[np.float64]:
        """Which share of each polygon's area lies in the upper left ``part`` (height, width) of the grid.

        Args:
            geobox: the grid.
            numbers: (n,) of polygons, as :meth:`burn_owners` gives them.
            part: in pixels.

        Returns:
            (n,), exactly 1 for polygons that reach out of it by no more than rounding does.

        Raises:
            LabelsError: as :meth:`covers`.
        """
        height, width = part
        geometries = _in_pixels(self._tree(geobox).geometries[numbers - 1], geobox)
        left, top, right, bottom = shapely.bounds(geometries).reshape(-1, 4).T
        low, wide, high = -_ROUNDING_PX, width + _ROUNDING_PX, height + _ROUNDING_PX
        cut = np.flatnonzero((left < low) | (top < low) | (right > wide) | (bottom > high))
        shares = np.ones(len(numbers))
        # Coordinates of a damaged file may be too large to multiply.
        with np.errstate(all="ignore"):
            whole = shapely.make_valid(geometries[cut], method="structure")
            inside = shapely.area(shapely.intersection(whole, shapely.box(0.0, 0.0, width, height)))
            shares[cut] = inside / np.maximum(shapely.area(whole), np.finfo(float).tiny)
        return shares

    def _burn(self, geobox: GeoBox, values: NDArray[ValueT]) -> NDArray[ValueT]:
        """Burn ``values`` (N + 1,) of the polygons; the first is that of all other land."""
        tree = self._tree(geobox)
        # Row numbers of the tree are in burning order.
        found = np.sort(tree.query(geobox.footprint()))
        burned = np.full(geobox.shape, values[0], values.dtype)
        for first in range(0, len(found), _BURNED_AT_ONCE):
            part = found[first : first + _BURNED_AT_ONCE]
            pixels = zip(_to_pixels(tree.geometries[part], geobox), values[part + 1].tolist(), strict=True)
            shapes = [(shape, value) for shape, value in pixels if not shape.is_empty]
            if shapes:
                rasterize(shapes, out=burned, transform=Affine.identity(), all_touched=False)
        return burned

    def _tree(self, geobox: GeoBox) -> shapely.STRtree:
        """Polygons in the grid's CRS, indexed; made once a CRS."""
        if geobox.gcps and not geobox.georeferenced:
            raise LabelsError(
                f"labels {self.path} cannot be laid over a scene with ground control points only; "
                "rectify the scene with gdalwarp"
            )
        if self._crs is not None and geobox.crs is None and _is_pixel_grid(geobox.transform):
            raise LabelsError(
                f"labels {self.path} cannot be laid over a scene without georeferencing; "
                "georeference the scene"
            )
        wkt = None if geobox.crs is None else geobox.crs.to_wkt()
        key = (wkt, middle_of(geobox))
        if key not in self._in_crs:
            polygons = self._reprojected(wkt)
            self._in_crs[key] = shapely.STRtree(polygons if key[1] is None else turned_to(polygons, key[1]))
        return self._in_crs[key]

    def _reprojected(self, wkt: str | None) -> NDArray[Any]:
        if self._crs is None:
            if wkt is not None:
                self._note(f"{self.path.name} has no CRS: taken to be in the scene's")
            return self._geometries
        if wkt is None:
            self._note(f"the scene has no CRS: taken to be in that of {self.path.name}")
            return self._geometries
        return brought(self._geometries, self._crs, wkt, f"labels {self.path}")

    def _look_around(self, geobox: GeoBox) -> None:
        """Note polygons that all of the grid lies in, but that are too large for its CRS to have them."""
        outline = outline_in(geobox, self._crs)
        if outline is None:
            return
        bounds, (left, bottom, right, top) = shapely.bounds(self._geometries), outline.bounds
        around = (bounds <= (left, bottom, np.inf, np.inf)).all(axis=1) & (bounds[:, 2] >= right)
        rows = np.flatnonzero(around & (bounds[:, 3] >= top))
        rows = rows[shapely.covers(self._geometries[rows], outline)]
        lost = ~shapely.intersects(self._tree(geobox).geometries[rows], geobox.footprint().centroid)
        if lost.any():
            self._note(
                f"left out of {self.path.name}: {int(lost.sum()):,} around all of a scene, but too large for "
                "its CRS; cut them to the scene"
            )


def _is_pixel_grid(transform: Affine) -> bool:
    """Whether coordinates are pixel numbers: the transform is the identity, moved by whole pixels at most."""
    return (transform.a, transform.b, transform.d, transform.e) == (1.0, 0.0, 0.0, 1.0)


def _to_pixels(geometries: NDArray[Any], geobox: GeoBox) -> NDArray[Any]:
    """Geometries to burn: in pixels, and no larger than needed."""
    pixels = _in_pixels(geometries, geobox)
    far = ~(np.abs(shapely.bounds(pixels)) <= _CLIP_BEYOND_PX).all(axis=1)
    large = np.flatnonzero(far | (shapely.get_num_coordinates(pixels) > _CLIP_ABOVE_VERTICES))
    pixels[large] = shapely.clip_by_rect(pixels[large], -1.0, -1.0, geobox.width + 1.0, geobox.height + 1.0)
    return np.asarray(pixels)


def _in_pixels(geometries: NDArray[Any], geobox: GeoBox) -> NDArray[Any]:
    """Geometries in pixel coordinates (col, row), so that burning knows only one kind of grid."""
    inverse = ~geobox.transform
    matrix = np.array([[inverse.a, inverse.b], [inverse.d, inverse.e]])
    shift = np.array([inverse.c, inverse.f])
    return np.asarray(shapely.transform(geometries, lambda points: points @ matrix.T + shift))
