"""Are label polygons sound? Looked at as they are in the file, before anything is repaired."""

from __future__ import annotations

from typing import Any

import geopandas
import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.health.finding import Finding, Severity, finding, plural
from geoseg.raster.label_classes import alike, blank
from geoseg.raster.polygons import NOWHERE, nowhere
from geoseg.raster.vectors import CLOSED_RINGS

MAX_LOOKED_AT = 20_000
"""Polygons whose overlaps are measured; of more, evenly spread ones."""

OVERLAP_SHARE = 0.02
"""Share of the smaller polygon that an overlap must cover to be told."""

_POLYGONS = (3, 6)
_COLLECTION = 7


def polygon_findings(name: str, frame: geopandas.GeoDataFrame, class_column: str | None) -> list[Finding]:
    """Judge the features of a vector file.

    Args:
        name: of the labels.
        frame: its features, with the column of classes if there is one.
        class_column: that column.
    """
    if frame.empty:
        return [
            finding(
                "error",
                "empty",
                f"{name} has no features",
                "draw some polygons, or give another file",
                [name],
            )
        ]
    geometries = np.asarray(frame.geometry.to_numpy())
    found = [*_closed(name, frame), *_kinds(name, geometries)]
    if class_column is not None:
        found += _classes(name, frame, class_column)
    kinds = shapely.get_type_id(geometries)
    usable = np.isin(kinds, _POLYGONS) & ~shapely.is_empty(geometries) & ~nowhere(geometries)
    classes = None if class_column is None else frame[class_column].astype(str).str.strip().to_numpy()[usable]
    return found + _overlaps(name, shapely.make_valid(shapely.force_2d(geometries[usable])), classes)


def _closed(name: str, frame: geopandas.GeoDataFrame) -> list[Finding]:
    closed = frame.attrs.get(CLOSED_RINGS, 0)
    if not closed:
        return []
    what = f"{plural(closed, 'feature')} of {len(frame):,} with rings that are not closed"
    todo = "tile closes them, but look whether a vertex is missing, or repair them in a GIS"
    return [finding("warning", "geometry", what, todo, [name])]


def _kinds(name: str, geometries: NDArray[Any]) -> list[Finding]:
    kinds = shapely.get_type_id(geometries)
    nothing = (kinds == -1) | (shapely.is_empty(geometries) & (kinds != -1))
    polygons = np.isin(kinds, _POLYGONS) & ~nothing
    far = nowhere(geometries)
    polygons &= ~far
    other = ~nothing & ~np.isin(kinds, (*_POLYGONS, _COLLECTION))
    invalid = polygons & ~shapely.is_valid(geometries)
    with np.errstate(all="ignore"):
        flat = polygons & ~invalid & ~(shapely.area(geometries) > 0.0)
    seen: list[tuple[Severity, NDArray[np.bool_], str, str]] = [
        (
            "error" if nothing.all() else "note",
            nothing,
            "without geometry",
            "draw some polygons"
            if nothing.all()
            else "nothing: they are left out; delete them to be rid of this note",
        ),
        (
            "warning",
            far,
            NOWHERE,
            "draw them anew: they are left out",
        ),
        (
            "warning" if polygons.any() else "error",
            other,
            "that are points or lines",
            "buffer them, or leave them to another file: only polygons are burned",
        ),
        (
            "warning",
            invalid,
            "that cross themselves",
            "tile repairs them, but look whether the repair is what was meant, or repair them in a GIS",
        ),
        ("note", flat, "without area", "nothing: they burn no pixel; delete them to be rid of this note"),
    ]
    found = []
    for severity, which, text, todo in seen:
        rows = np.flatnonzero(which)
        if len(rows):
            what = f"{plural(len(rows), 'feature')} of {len(geometries):,} {text}"
            found.append(finding(severity, "geometry", what, todo, [f"{name} row {row + 1}" for row in rows]))
    return found


def _classes(name: str, frame: geopandas.GeoDataFrame, class_column: str) -> list[Finding]:
    values = frame[class_column]
    missing = blank(values, f"labels {name}", class_column).to_numpy()
    similar = [
        finding(
            "warning",
            "class",
            f"classes that differ in case or accents only: {', '.join(group)}",
            "give them one name, if they are one class",
            [name],
        )
        for group in alike(sorted(values[~missing].astype(str).str.strip().unique()))
    ]
    rows = np.flatnonzero(missing)
    if not len(rows):
        return similar
    return [
        *similar,
        finding(
            "warning",
            "class",
            f"{plural(len(rows), 'feature')} of {len(frame):,} without a value in column {class_column}",
            "give them a class, or leave them so if their land is to count as unknown",
            [f"{name} row {row + 1}" for row in rows],
        ),
    ]


def _overlaps(name: str, polygons: NDArray[Any], classes: NDArray[Any] | None) -> list[Finding]:
    """Polygons that claim the same land: of different classes, or twice the same."""
    if len(polygons) < 2:
        return []
    looked_at = np.unique(np.linspace(0, len(polygons) - 1, min(len(polygons), MAX_LOOKED_AT), dtype=np.intp))
    found, near = shapely.STRtree(polygons).query(polygons[looked_at])
    pairs = np.stack([looked_at[found], near], axis=1)
    one, other = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0).T
    same = shapely.equals(polygons[one], polygons[other])
    twice = _twice(name, one[same], other[same])
    if classes is None:
        return twice
    differ = (classes[one] != classes[other]) & ~same
    one, other = one[differ], other[differ]
    shared = shapely.area(shapely.intersection(polygons[one], polygons[other]))
    real = shared > OVERLAP_SHARE * np.minimum(shapely.area(polygons[one]), shapely.area(polygons[other]))
    if not real.any():
        return twice
    share = float(shared[real].sum() / shapely.area(polygons[looked_at]).sum())
    kinds = zip(classes[one[real]], classes[other[real]], strict=True)
    return [
        *twice,
        finding(
            "warning",
            "overlap",
            f"{plural(int(real.sum()), 'pair')} of polygons of different classes overlap "
            f"({share:.2%} of the labelled area)",
            "the smaller polygon wins where they overlap; cut them in a GIS if that is not what was meant",
            [f"{name}: {a} and {b}" for a, b in dict.fromkeys(tuple(sorted(pair)) for pair in kinds)],
        ),
    ]


def _twice(name: str, one: NDArray[np.intp], other: NDArray[np.intp]) -> list[Finding]:
    if not len(one):
        return []
    return [
        finding(
            "note",
            "overlap",
            f"{plural(len(one), 'polygon')} drawn twice",
            "delete one of the two; of different classes, the later one wins",
            [
                f"{name}: polygons {i + 1} and {j + 1}"
                for i, j in zip(one.tolist(), other.tolist(), strict=True)
            ],
        )
    ]
