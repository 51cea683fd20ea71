"""A split that the labels themselves tell, in a column."""

from __future__ import annotations

from collections.abc import Sequence

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.chips.sources import Source, parse_split
from geoseg.chips.store import SPLITS
from geoseg.errors import LabelsError
from geoseg.raster.label_place import brought
from geoseg.raster.polygons import valid_polygons
from geoseg.raster.vectors import read_vector


def column_areas(source: Source, windows: NDArray[np.int64], column: str) -> NDArray[np.float64]:
    """How much of each window is said to be train, val and test.

    A window that no polygon with a word in the column touches goes with the nearest such polygon.

    Args:
        source: the scene and its vector labels.
        windows: (N, 4) of col, row, width, height in the scene.
        column: column of the labels.

    Returns:
        (N, 3) areas in CRS units squared, in the order of ``SPLITS``.

    Raises:
        LabelsError: no such column, or nothing in it.
        ConfigError: a word that is no split.
    """
    polygons, splits = _polygons(source, column)
    tree = shapely.STRtree(polygons)
    outlines = [source.geobox.window(Window(*window)).footprint() for window in windows.tolist()]
    areas = np.zeros((len(outlines), len(SPLITS)))
    for number, outline in enumerate(outlines):
        touching = tree.query(outline, predicate="intersects")
        if len(touching):
            shared = shapely.area(shapely.intersection(polygons[touching], outline))
            np.add.at(areas[number], splits[touching], shared)
        if not areas[number].any():
            areas[number, splits[tree.nearest(outline)]] = 1e-12
    return areas


def _polygons(source: Source, column: str) -> tuple[NDArray[np.object_], NDArray[np.intp]]:
    """Polygons in the scene's CRS and the number of the split each one tells."""
    frame = read_vector(source.labels, columns=[column])
    frame = frame[frame[column].notna()]
    # What is no polygon has no land to tell the split of.
    polygons, rows, _ = valid_polygons(frame.geometry.to_numpy())
    frame = frame.iloc[rows].set_geometry(polygons)
    if frame.empty:
        raise LabelsError(f"labels {source.labels} has no value in column {column}; choose another column")
    where = f"column {column} of {source.labels}"
    numbers = {word: SPLITS.index(parse_split(word, where)) for word in frame[column].unique()}
    return _in_crs(frame, source), frame[column].map(numbers).to_numpy(np.intp)


def _in_crs(frame: geopandas.GeoDataFrame, source: Source) -> NDArray[np.object_]:
    crs = source.geobox.crs
    if frame.crs is None or crs is None:
        return np.asarray(frame.geometry.to_numpy())
    return brought(frame.geometry.to_numpy(), frame.crs, crs.to_wkt(), f"labels {source.labels}")


def majority(areas: NDArray[np.float64], groups: NDArray[np.intp]) -> Sequence[int]:
    """Number in ``SPLITS`` of the split with the largest area in each group.

    Args:
        areas: (N, 3) as of :func:`column_areas`.
        groups: (N,) group numbers.
    """
    total = np.zeros((int(groups.max()) + 1, areas.shape[1]))
    np.add.at(total, groups, areas)
    numbers: list[int] = total.argmax(axis=1).tolist()
    return numbers
