"""Truth: polygons with a class each, or a raster of class ids, burned onto any grid.

::

    with open_labels(path, class_column="kind") as labels:
        ids = labels.burn(geobox)          # (H, W) uint8, 255 = unknown
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from geoseg.classes import ClassMap
from geoseg.errors import LabelsError
from geoseg.raster import formats
from geoseg.raster.raster_labels import RasterLabels
from geoseg.raster.vector_labels import VectorLabels

Labels = VectorLabels | RasterLabels


def open_labels(
    path: Path,
    *,
    class_column: str | None = None,
    class_name: str | None = "object",
    unlabelled: Literal["background", "ignore"] = "background",
    classes: ClassMap | None = None,
    objects: bool = False,
) -> Labels:
    """Open labels; the content of the file decides which kind they are.

    Args:
        path: GeoPackage, GeoJSON, Shapefile, FlatGeobuf or GeoParquet of polygons, or a raster of class ids.
        class_column: column that tells the class of a polygon. A polygon without a value there is land known
            to be unknown: it burns as 255.
        class_name: class of every polygon when there is no ``class_column``.
        unlabelled: what land outside all polygons is: class 0, ``background``, or unknown (255).
        classes: ids follow this map, by name; without it, classes follow the labels.
        objects: every polygon is an object: class 0 is the background even where other land is unknown, and
            what a column ``iscrowd`` marks is unknown (255), as are things that nobody told apart.

    Returns:
        Labels with ``classes``, ``burn``, ``covers``, ``bounds_lonlat``, ``repaired``, ``notes``; a context
        manager.

    Raises:
        LabelsError: missing, unreadable, empty, an unknown column, a class that ``classes`` does not have,
            or a raster where objects are wanted.
    """
    path = Path(path)
    head = formats.read_head(path, what="labels", error=LabelsError)
    if not formats.is_raster(head, path):
        return VectorLabels.open(
            path,
            class_column=class_column,
            class_name=class_name,
            unlabelled=unlabelled,
            classes=classes,
            objects=objects,
        )
    if objects:
        raise LabelsError(
            f"labels {path} is a raster, in which touching objects of a class are one; give polygons, "
            "such as geoseg vectorize --simplify 0 makes of it"
        )
    if class_column is not None:
        raise LabelsError(f"labels {path} is a raster, which has no columns; leave out {class_column}")
    return RasterLabels.open(path, classes=classes)
