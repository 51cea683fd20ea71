"""A raster of class ids as labels."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from rasterio.coords import BoundingBox
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.warp import reproject
from rasterio.warp import transform as transform_points
from rasterio.windows import Window

from geoseg.classes import IGNORE, MAX_CLASSES, ClassMap, name_trouble
from geoseg.errors import LabelsError, SceneError
from geoseg.raster.categories import read_categories
from geoseg.raster.gdal import GDAL_ERRORS, gdal_errors, open_raster
from geoseg.raster.geobox import GeoBox
from geoseg.raster.mask import Mask, open_mask
from geoseg.raster.windows import clip, row_windows

_SAME_PIXEL = 0.01
"""Grids whose pixels lie closer than this share of a pixel are the same grid."""

_SCAN_ROWS = 512

_FAR_PX = 1e15


class RasterLabels:
    """Raster labels: the ids as they are, nodata as 255.

    Attributes:
        path: the file.
        classes: names of the ids: the file's own tag, its category names, else ``class 0``, ``class 1``...
        repaired: always 0; polygons can need repair, pixels cannot.
    """

    repaired = 0

    def __init__(self, mask: Mask, classes: ClassMap, ids: NDArray[np.uint8]) -> None:
        """Take over an open mask; ``ids`` (256,) turns its values into ids of ``classes``."""
        self.path = mask.path
        self.classes = classes
        self._mask = mask
        self._ids = ids
        self._notes: list[str] = []

    @classmethod
    def open(cls, path: Path, *, classes: ClassMap | None) -> RasterLabels:
        """See :func:`geoseg.raster.labels.open_labels`."""
        try:
            mask = open_mask(path, what="labels")
        except SceneError as error:
            raise LabelsError(str(error)) from error
        try:
            present = _values(mask)
            own = mask.classes or _classes_of(path, int(present.max()))
            if present.max() >= len(own):
                raise LabelsError(
                    f"labels {path} holds the id {present.max()} but names {len(own)} classes only"
                )
            named = mask.classes is not None
            return cls(mask, classes or own, _follow(own, classes, present, path, by_name=named))
        except BaseException:
            mask.close()
            raise

    def __enter__(self) -> RasterLabels:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._mask.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know, as found so far."""
        return tuple(self._notes)

    @property
    def geobox(self) -> GeoBox:
        """The raster's own grid."""
        return self._mask.geobox

    def bounds_lonlat(self) -> BoundingBox | None:
        """Bounds of the raster in degrees (WGS 84), when known."""
        return self._mask.geobox.bounds_lonlat()

    def covers(self, geobox: GeoBox) -> int:
        """How many pixels of the labels lie within the grid's outline, roughly; 0 when there are none."""
        window = self._window_of(geobox)
        return 0 if window is None else int(window.width * window.height)

    def burn(self, geobox: GeoBox) -> NDArray[np.uint8]:
        """Class ids of the grid's pixels, by nearest neighbour; 255 where unknown and beyond the labels.

        Args:
            geobox: any grid. One that is a part of the labels' own is read as it is.

        Returns:
            (H, W) uint8.

        Raises:
            LabelsError: the grid and the labels cannot be brought together.
            ReadError: the file is damaged.
        """
        offset = self._offset(geobox)
        if offset is not None:
            col, row = offset
            values = self._mask.read(Window(col, row, geobox.width, geobox.height))
            return self._ids[values]
        window = self._window_of(geobox)
        burned = np.full(geobox.shape, IGNORE, np.uint8)
        if window is None:
            return burned
        source = self._mask.geobox.window(window)
        source_crs, target_crs = self._crs_pair(geobox)
        with gdal_errors("reprojecting labels", self.path, error=LabelsError):
            reproject(
                self._ids[self._mask.read(window)],
                burned,
                src_transform=source.transform,
                src_crs=source_crs,
                src_nodata=IGNORE,
                dst_transform=geobox.transform,
                dst_crs=target_crs,
                dst_nodata=IGNORE,
                resampling=Resampling.nearest,
                tolerance=0.0,
            )
        return burned

    def _crs_pair(self, geobox: GeoBox) -> tuple[CRS, CRS]:
        """CRS of the labels and of the grid; one that is missing is taken to be the other."""
        mine, theirs = self._mask.geobox.crs, geobox.crs
        if (mine is None) != (theirs is None):
            text = f"{self.path.name if mine is None else 'the scene'} has no CRS: taken to be in the other's"
            if text not in self._notes:
                self._notes.append(text)
        # Any metric CRS does when both are unknown: nothing is transformed then.
        known = mine or theirs or CRS.from_epsg(3857)
        return mine or known, theirs or known

    def _offset(self, geobox: GeoBox) -> tuple[int, int] | None:
        """(col, row) of the grid's corner in the labels, when both are parts of one grid."""
        mine = self._mask.geobox
        if mine.gcps or geobox.gcps:
            return _gcp_offset(mine, geobox)
        source_crs, target_crs = self._crs_pair(geobox)
        if source_crs != target_crs or mine.placeless:
            return None
        between = ~mine.transform @ geobox.transform
        if not all(map(math.isfinite, between)):
            return None
        col, row = round(between.c), round(between.f)
        shifted = Affine.translation(col, row)
        corners = [(0, 0), (geobox.width, 0), (0, geobox.height), (geobox.width, geobox.height)]
        same = all(math.dist(between @ corner, shifted @ corner) <= _SAME_PIXEL for corner in corners)
        return (col, row) if same else None

    def _window_of(self, geobox: GeoBox) -> Window | None:
        """Window of the labels that holds the grid's outline; ``None`` when they lie apart."""
        offset = self._offset(geobox)
        if offset is not None:
            return clip(Window(*offset, geobox.width, geobox.height), self._mask.geobox.shape)
        mine = self._mask.geobox
        if mine.gcps or geobox.gcps:
            raise LabelsError(
                f"labels {self.path} and the scene are tied down by different ground control points; "
                "rectify both with gdalwarp"
            )
        source_crs, target_crs = self._crs_pair(geobox)
        cols, rows = _outline(geobox.width, geobox.height)
        points = [geobox.transform @ point for point in zip(cols, rows, strict=True)]
        xs, ys = zip(*points, strict=True)
        try:
            xs, ys = transform_points(target_crs, source_crs, xs, ys)
        except GDAL_ERRORS:
            return None
        if not all(math.isfinite(value) for value in (*xs, *ys)):
            return None
        inverse = ~mine.transform
        pixels = np.array([inverse @ point for point in zip(xs, ys, strict=True)])
        if np.isnan(pixels).any():
            return None
        # Beyond any raster, and not beyond whole numbers.
        pixels = pixels.clip(-_FAR_PX, _FAR_PX)
        left, top = np.floor(pixels.min(axis=0)).astype(int) - 2
        right, bottom = np.ceil(pixels.max(axis=0)).astype(int) + 2
        return clip(Window(int(left), int(top), int(right - left), int(bottom - top)), mine.shape)


def _outline(width: int, height: int) -> tuple[list[float], list[float]]:
    """Points along the edges and across the middle of a grid, in pixels."""
    steps = [step / 16.0 for step in range(17)]
    return (
        [width * i for i in steps for _ in steps],
        [height * j for _ in steps for j in steps],
    )


def _gcp_offset(mine: GeoBox, theirs: GeoBox) -> tuple[int, int] | None:
    """Offset between parts of one scene with ground control points: the points moved by it all alike."""
    if len(mine.gcps) != len(theirs.gcps) or mine.gcps_crs != theirs.gcps_crs:
        return None
    pairs = list(zip(mine.gcps, theirs.gcps, strict=True))
    moves = {(p.col - q.col, p.row - q.row) for p, q in pairs}
    if len(moves) != 1 or any((p.x, p.y) != (q.x, q.y) for p, q in pairs):
        return None
    col, row = moves.pop()
    return (int(col), int(row)) if float(col).is_integer() and float(row).is_integer() else None


def _values(mask: Mask) -> NDArray[np.intp]:
    """Distinct ids of the labels, 255 left out.

    Raises:
        LabelsError: there are none, or the labels look like a black and white picture.
    """
    counts = np.zeros(256, np.int64)
    for window in row_windows(mask.geobox.shape, _SCAN_ROWS):
        try:
            counts += np.bincount(mask.read(window).ravel(), minlength=256)
        except SceneError as error:
            raise LabelsError(str(error)) from error
    present = np.flatnonzero(counts[:IGNORE])
    if not len(present):
        raise LabelsError(f"labels {mask.path} is empty: every pixel is nodata; give labels with class ids")
    if present.max() == 0 and counts[IGNORE] and mask.nodata != IGNORE and mask.classes is None:
        raise LabelsError(
            f"labels {mask.path} holds 0 and 255 only, and 255 means unknown; write 1 in place of 255"
        )
    if present.max() >= MAX_CLASSES:
        raise LabelsError(f"labels {mask.path} holds the id {present.max()}; ids are 0 to {MAX_CLASSES - 1}")
    return present


def _classes_of(path: Path, highest: int) -> ClassMap:
    """Classes of a raster without geoseg's tag: category names and palette where there are some."""
    categories = read_categories(path)[: highest + 1]
    usable = len(categories) == highest + 1 and len(set(categories)) == len(categories)
    usable = usable and all(name_trouble(name) is None for name in categories)
    names = categories if usable else tuple(f"class {class_id}" for class_id in range(highest + 1))
    plain = ClassMap.from_names(names)
    with open_raster(path, what="labels") as dataset:
        try:
            palette = dataset.colormap(1)
        except ValueError:
            return plain
    colors = tuple(
        "#{:02X}{:02X}{:02X}".format(*palette[i][:3]) if i in palette else plain.colors[i]
        for i in range(len(plain))
    )
    return ClassMap(names=plain.names, colors=colors)


def _follow(
    own: ClassMap, classes: ClassMap | None, present: NDArray[np.intp], path: Path, *, by_name: bool
) -> NDArray[np.uint8]:
    """(256,) from the values of the raster to ids of ``classes``: by name when the raster names its own."""
    ids = np.arange(256, dtype=np.uint8)
    if classes is None:
        return ids
    for value in present.tolist():
        name = own.names[value]
        if by_name and name not in classes.names:
            raise LabelsError(
                f"labels {path} has the class {name}, none of {', '.join(classes.names)}; give others"
            )
        if not by_name and value >= len(classes):
            raise LabelsError(f"labels {path} holds the id {value}; ids are 0 to {len(classes) - 1}")
        ids[value] = classes.id_of(name) if by_name else value
    return ids
