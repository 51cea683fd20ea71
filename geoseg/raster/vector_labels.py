"""Polygons with a class each, burned by pixel centre."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import geopandas
import numpy as np
import pandas
import pyproj
import shapely
from affine import Affine
from numpy.typing import NDArray
from pyproj.exceptions import ProjError
from rasterio.coords import BoundingBox
from rasterio.crs import CRS
from rasterio.features import rasterize

from geoseg.classes import IGNORE, MAX_CLASSES, ClassMap
from geoseg.errors import LabelsError
from geoseg.raster.gdal import read_vector
from geoseg.raster.geobox import GeoBox, bounds_to_lonlat

BACKGROUND = "background"

ValueT = TypeVar("ValueT", np.uint8, np.int32)

_CLIP_ABOVE_VERTICES = 2000
"""Polygons with more vertices are cut to the grid before burning: land cover runs through many chips."""


class VectorLabels:
    """Polygon labels. Where polygons overlap the smaller one wins, of equal ones the later.

    Attributes:
        path: the file.
        classes: names of the ids.
        repaired: polygons that crossed themselves and were repaired.
        owner_ids: (N + 1,) uint8 class id of each of the N polygons at the number :meth:`burn_owners` gives
            it; at 0 what land outside all polygons is.
    """

    def __init__(
        self, path: Path, frame: geopandas.GeoDataFrame, ids: NDArray[np.uint8], classes: ClassMap, fill: int
    ) -> None:
        """Take over what :meth:`open` has read; ``ids`` (N,) are of the rows, ``fill`` of all other land."""
        self.path = path
        self.classes = classes
        self._crs = frame.crs
        self._notes: list[str] = []
        geometries, kept, self.repaired = valid_polygons(frame.geometry.to_numpy())
        if not len(geometries):
            raise LabelsError(f"labels {path} has no polygons; draw some, or buffer lines and points first")
        if len(geometries) < len(frame):
            left_out = len(frame) - len(geometries)
            self._note(f"geometries of {path.name} that are no polygons, left out: {left_out}")
        if self.repaired:
            self._note(f"polygons of {path.name} that cross themselves, repaired: {self.repaired}")
        # Burned in this order, so that a smaller or later polygon overwrites; the same for every scene's CRS.
        order = np.argsort(-shapely.area(geometries), kind="stable")
        self._geometries = geometries[order]
        self.owner_ids = np.append(np.uint8(fill), ids[kept][order])
        self._in_crs: dict[str | None, shapely.STRtree] = {}

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        class_column: str | None,
        class_name: str | None,
        unlabelled: Literal["background", "ignore"],
        classes: ClassMap | None,
    ) -> VectorLabels:
        """See :func:`geoseg.raster.labels.open_labels`."""
        frame = read_vector(path, columns=[] if class_column is None else [class_column])
        if frame.empty:
            raise LabelsError(f"labels {path} is empty; draw some polygons")
        if class_column is None:
            ordered = [_only_name(class_name, classes)]
            names: list[str | None] = [ordered[0]] * len(frame)
        else:
            names, ordered = _names(frame[class_column], f"labels {path}", class_column)
        background = unlabelled == "background"
        if classes is None:
            classes = _class_map(ordered, background, f"labels {path}", class_column)
        ids = _ids(names, classes, path, background)
        fill = classes.background if background and classes.background is not None else IGNORE
        labels = cls(path, frame, ids, classes, fill)
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
        return len(self._tree(geobox).query(geobox.footprint(), predicate="intersects"))

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

    def _burn(self, geobox: GeoBox, values: NDArray[ValueT]) -> NDArray[ValueT]:
        """Burn ``values`` (N + 1,) of the polygons; the first is that of all other land."""
        tree = self._tree(geobox)
        # Row numbers of the tree are in burning order.
        found = np.sort(tree.query(geobox.footprint()))
        burned = np.full(geobox.shape, values[0], values.dtype)
        if len(found):
            pixels = _to_pixels(tree.geometries[found], geobox)
            shapes = zip(pixels, values[found + 1].tolist(), strict=True)
            rasterize(
                ((shape, value) for shape, value in shapes if not shape.is_empty),
                out=burned,
                transform=Affine.identity(),
                all_touched=False,
            )
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
        key = None if geobox.crs is None else geobox.crs.to_wkt()
        if key not in self._in_crs:
            self._in_crs[key] = shapely.STRtree(self._reprojected(key))
        return self._in_crs[key]

    def _reprojected(self, wkt: str | None) -> NDArray[Any]:
        if self._crs is None:
            if wkt is not None:
                self._note(f"{self.path.name} has no CRS: taken to be in the scene's")
            return self._geometries
        if wkt is None:
            self._note(f"the scene has no CRS: taken to be in that of {self.path.name}")
            return self._geometries
        try:
            target = pyproj.CRS.from_wkt(wkt)
            moved = geopandas.GeoSeries(self._geometries, crs=self._crs).to_crs(target).to_numpy()
        except (ProjError, ValueError) as reason:
            text = " ".join(str(reason).split())
            raise LabelsError(
                f"labels {self.path} cannot be brought into the scene's CRS: {text}; reproject them"
            ) from reason
        # A polygon beyond the projection's reach gets infinite coordinates: it is not in the scene.
        moved[~np.isfinite(shapely.bounds(moved)).all(axis=1)] = shapely.Polygon()
        return np.asarray(moved)


def _is_pixel_grid(transform: Affine) -> bool:
    """Whether coordinates are pixel numbers: the transform is the identity, moved by whole pixels at most."""
    return (transform.a, transform.b, transform.d, transform.e) == (1.0, 0.0, 0.0, 1.0)


def valid_polygons(geometries: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.intp], int]:
    """Valid 2D polygons, the rows they come from, and how many had to be repaired."""
    flat = shapely.force_2d(geometries)
    polygonal = np.isin(shapely.get_type_id(flat), (3, 6, 7)) & ~shapely.is_empty(flat)
    rows = np.flatnonzero(polygonal & np.isfinite(shapely.bounds(flat)).all(axis=1))
    flat = flat[rows]
    broken = np.flatnonzero(~shapely.is_valid(flat))
    # Coordinates of a damaged file may be too large to multiply: such polygons come out without area.
    with np.errstate(all="ignore"):
        # "structure" gives polygons where "linework" may give lines beside them.
        flat[broken] = shapely.make_valid(flat[broken], method="structure", keep_collapsed=False)
        usable = shapely.area(flat) > 0
    return flat[usable], rows[usable], len(broken)


def _to_pixels(geometries: NDArray[Any], geobox: GeoBox) -> NDArray[Any]:
    """Geometries in pixel coordinates (col, row), so that burning knows only one kind of grid."""
    inverse = ~geobox.transform
    matrix = np.array([[inverse.a, inverse.b], [inverse.d, inverse.e]])
    shift = np.array([inverse.c, inverse.f])
    pixels = shapely.transform(geometries, lambda points: points @ matrix.T + shift)
    large = np.flatnonzero(shapely.get_num_coordinates(pixels) > _CLIP_ABOVE_VERTICES)
    pixels[large] = shapely.clip_by_rect(pixels[large], -1.0, -1.0, geobox.width + 1.0, geobox.height + 1.0)
    return np.asarray(pixels)


def _only_name(class_name: str | None, classes: ClassMap | None) -> str:
    """The class of labels without a class column."""
    if classes is not None and class_name not in classes.names:
        special = (classes.background, classes.boundary)
        foreground = [name for i, name in enumerate(classes.names) if i not in special]
        if len(foreground) == 1:
            return foreground[0]
    return class_name or "object"


def _names(values: Any, where: str, column: str) -> tuple[list[str | None], list[str]]:
    """Class name of every row (``None`` for null or blank), and the distinct ones, numbers in their order."""
    missing = values.isna() | (values.astype(str).str.strip() == "")
    present = values[~missing]
    if present.empty:
        raise LabelsError(f"{where} has no value in column {column}; choose another column")
    if pandas.api.types.is_numeric_dtype(present) and not pandas.api.types.is_bool_dtype(present):
        if any(not math.isfinite(value) or value != int(value) for value in present.unique()):
            raise LabelsError(f"{where} has fractions in column {column}; choose a column of classes")
        present = present.map(int)
        ordered = [str(value) for value in sorted(present.unique())]
    else:
        present = present.map(lambda value: str(value).strip())
        ordered = sorted(present.unique())
    texts = present.map(str).reindex(values.index)
    return [None if gone else str(text) for gone, text in zip(missing, texts, strict=True)], ordered


def _class_map(ordered: Sequence[str], background: bool, where: str, column: str | None) -> ClassMap:
    names = [name for name in ordered if not (background and name.casefold() == BACKGROUND)]
    names = [BACKGROUND, *names] if background else names
    if len(names) > MAX_CLASSES:
        raise LabelsError(
            f"{where} has {len(names)} different values in column {column}, and {MAX_CLASSES} classes are "
            "possible; choose a column of classes"
        )
    return ClassMap.from_names(names, background=0 if background else None)


def _ids(names: Sequence[str | None], classes: ClassMap, path: Path, background: bool) -> NDArray[np.uint8]:
    """Ids of the rows; null is 255, and ``background`` in any spelling is the background class."""
    known: dict[str | None, int] = {name: class_id for class_id, name in enumerate(classes.names)}
    known[None] = IGNORE
    for name in set(names) - set(known):
        if (
            background
            and name is not None
            and name.casefold() == BACKGROUND
            and classes.background is not None
        ):
            known[name] = classes.background
    unknown = sorted(str(name) for name in set(names) - set(known))
    if unknown:
        raise LabelsError(
            f"labels {path} has the class {unknown[0]}, which is none of {', '.join(classes.names)}; "
            "choose the class column, or rename it"
        )
    return np.array([known[name] for name in names], np.uint8)
