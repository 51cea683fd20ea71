"""Mask to polygons: dissolve what is too small, trace, simplify without gaps, measure, write.

All of it happens in pixel space, on all regions of the mask together; only finished polygons are put on the
ground. So rotated, south-up and geographic masks come out the same, and neighbours always share their edges.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.classes import IGNORE, default_color
from geoseg.config import VectorizeConfig
from geoseg.errors import InputError
from geoseg.progress import SILENT, Progress
from geoseg.raster.categories import read_categories
from geoseg.raster.mask import Mask, open_mask
from geoseg.raster.windows import row_windows
from geoseg.vector.attributes import attributes
from geoseg.vector.dissolve import MinArea, dissolve, parse_area
from geoseg.vector.place import Place
from geoseg.vector.simplify import simplify
from geoseg.vector.trace import Regions, trace
from geoseg.vector.write import Layer, check_layer_output, write_layer

_ROWS_AT_ONCE = 512


@dataclass(frozen=True, kw_only=True)
class VectorizeReport:
    """What :func:`vectorize` did.

    Attributes:
        output: the polygon layer.
        mask: the mask it was made from.
        polygons: number of polygons of each class.
        area_m2: area of each class on the ground; ``None`` when the mask has no known place.
        dissolved: regions of any class below ``min_area`` that went to a neighbour.
        dropped: regions below ``min_area`` left out because they have no neighbour but nodata.
        vertices: of all polygons, the closing one of each ring included.
        seconds: wall time.
    """

    output: Path
    mask: Path
    polygons: dict[str, int]
    area_m2: dict[str, float] | None
    dissolved: int
    dropped: int
    vertices: int
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self) | {"output": str(self.output), "mask": str(self.mask)}


@dataclass(frozen=True, kw_only=True)
class _Classes:
    """What the ids of a mask mean: name and ``#RRGGBB`` of each, and which is background."""

    names: dict[int, str]
    colors: dict[int, str]
    background: int | None

    @classmethod
    def of(cls, mask: Mask, present: Sequence[int]) -> _Classes:
        """From the mask's own tag, else from the categories beside it; the rest is called ``class 7``."""
        if mask.classes is not None:
            names, colors = dict(enumerate(mask.classes.names)), dict(enumerate(mask.classes.colors))
            background = mask.classes.background
        else:
            categories = read_categories(mask.path)
            names = {class_id: categories[class_id] for class_id in present if class_id < len(categories)}
            colors, background = {}, None
        # Empty category names say nothing, and equal ones would hide which class is which.
        names = {i: name for i, name in names.items() if name and list(names.values()).count(name) == 1}
        known = sorted({*names, *present})
        return cls(
            names={class_id: names.get(class_id, f"class {class_id}") for class_id in known},
            colors={class_id: colors.get(class_id, default_color(i)) for i, class_id in enumerate(known)},
            background=background,
        )

    def choose(self, wanted: Sequence[str] | None, path: Path) -> list[int]:
        """Ids of the wanted names or ids, ascending; all but background when nothing is wanted.

        Raises:
            InputError: there is no such class.
        """
        if wanted is None:
            return [class_id for class_id in self.names if class_id != self.background]
        by_name = {name: class_id for class_id, name in self.names.items()}
        by_id = {str(class_id): class_id for class_id in self.names}
        chosen = set()
        for text in wanted:
            class_id = by_name.get(text, by_id.get(text.strip()))
            if class_id is None:
                known = ", ".join(f"{name} ({i})" for i, name in self.names.items())
                raise InputError(f"mask {path} has no class {text!r}; choose from {known or 'none'}")
            chosen.add(class_id)
        return sorted(chosen)

    def styles(self, chosen: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Name and colour of the chosen ids."""
        return {class_id: (self.names[class_id], self.colors[class_id]) for class_id in chosen}


def vectorize(
    mask: Path,
    output: Path,
    config: VectorizeConfig | None = None,
    *,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> VectorizeReport:
    """Turn the regions of a mask into polygons and write them to ``output``.

    A region is a set of pixels of one class that hang together by their edges. With ``simplify_px = 0`` the
    polygons follow the pixel edges exactly: burning them again gives the mask, pixel by pixel. Above 0 (the
    default of :class:`geoseg.config.VectorizeConfig` is) the stairs go, and the polygons are no longer
    pixel-exact; but edges between neighbours stay shared and the edge of the mask stays in place, so there
    are neither gaps nor overlaps. Background, nodata and classes that are not wanted take part and hold the
    edges of the others; they are only left out of the layer.

    Regions below ``min_area``, of whatever class, first go to the neighbour with the longest shared border.

    Args:
        mask: a raster with one band of class ids 0..255, such as ``predict`` writes; 255 and what the file
            says is nodata becomes no polygon. Class names come from its tags, else from the categories beside
            it.
        output: ``.gpkg``, ``.fgb``, ``.geojson``, ``.shp`` or ``.parquet``; the layer is called ``parcels``
            and is in the mask's CRS (GeoJSON: WGS 84). A layer without polygons is a valid output.
        config: how to; the defaults when not given.
        overwrite: replace an existing output.
        progress: told about every step.

    Raises:
        OutputError: the output exists, is an input, or has an unknown suffix.
        ConfigError: ``min_area`` is no area.
        SceneError: the mask cannot be used.
        InputError: unknown class, or a ``min_area`` in square metres of a mask without a known place.
        ReadError: the mask is damaged.
        WriteError: the output cannot be written.
    """
    started = time.monotonic()
    config = config or VectorizeConfig()
    min_area = None if config.min_area is None else parse_area(config.min_area)
    check_layer_output(output, overwrite=overwrite, inputs=[mask])
    with open_mask(mask) as source:
        place = Place.of(source.geobox, mask)
        ids, present = _read(source, progress)
        classes = _Classes.of(source, present)
    chosen = classes.choose(config.classes, mask)
    if place.crs is None:
        progress.warn(f"mask {mask} has no known CRS; the polygons have none either")

    progress.begin("vectorize", 4, "steps")
    dissolved = dropped = 0
    if min_area is not None:
        done = dissolve(ids, min_area.value, _row_areas(min_area, place, mask))
        ids, dissolved, dropped = done.ids, done.dissolved, done.dropped
    progress.advance()
    regions = trace(ids)
    del ids
    progress.advance()
    # All regions, wanted or not: what is left out of the layer still holds the edges of its neighbours.
    polygons = simplify(regions.polygons, config.simplify_px)
    progress.advance()
    layer = _make_layer(regions, polygons, classes, chosen, place, style=config.style)
    write_layer(layer, output)
    progress.advance()
    progress.end()
    counts, areas = _sums(layer, classes, chosen)
    return VectorizeReport(
        output=output,
        mask=mask,
        polygons=counts,
        area_m2=areas,
        dissolved=dissolved,
        dropped=dropped,
        vertices=int(shapely.get_num_coordinates(layer.polygons).sum()),
        seconds=time.monotonic() - started,
    )


def _read(mask: Mask, progress: Progress) -> tuple[NDArray[np.uint8], list[int]]:
    """Class ids (H, W) of the whole mask, and which of 0..254 occur."""
    ids = np.empty(mask.geobox.shape, np.uint8)
    counts = np.zeros(IGNORE + 1, np.int64)
    progress.begin("read", mask.geobox.height, "rows")
    for window in row_windows(mask.geobox.shape, _ROWS_AT_ONCE):
        rows = mask.read(window)
        ids[window.row_off : window.row_off + window.height] = rows
        counts += np.bincount(rows.ravel(), minlength=IGNORE + 1)
        progress.advance(window.height)
    progress.end()
    return ids, [int(class_id) for class_id in np.flatnonzero(counts[:IGNORE])]


def _row_areas(min_area: MinArea, place: Place, mask: Path) -> NDArray[np.float64]:
    """Area of a pixel in each row, in the unit of ``min_area``."""
    if min_area.unit == "px":
        return np.ones(place.geobox.height)
    areas = place.row_areas_m2()
    if areas is None:
        raise InputError(
            f"mask {mask} has no known pixel size, so no area of {min_area.value:g} m2; "
            "give min_area in pixels, such as 20px"
        )
    return areas


def _make_layer(
    regions: Regions,
    polygons: NDArray[np.object_],
    classes: _Classes,
    chosen: Sequence[int],
    place: Place,
    *,
    style: bool,
) -> Layer:
    """The chosen regions on the ground, with attributes; ``polygons`` (R,) are theirs in pixel space."""
    wanted = np.isin(regions.class_id, chosen)
    placed = place.put(polygons[wanted])
    return Layer(
        polygons=placed,
        columns=attributes(
            placed, regions.class_id[wanted], regions.touches_edge[wanted], classes.names, place
        ),
        crs=place.crs,
        styles=classes.styles(chosen) if style else {},
        gsd_m=place.geobox.gsd_m,
    )


def _sums(
    layer: Layer, classes: _Classes, chosen: Sequence[int]
) -> tuple[dict[str, int], dict[str, float] | None]:
    """Number of polygons and square metres of each chosen class."""
    class_id = layer.columns["class_id"]
    counts = np.bincount(class_id, minlength=IGNORE + 1)
    by_class = {classes.names[i]: int(counts[i]) for i in chosen}
    if "area_m2" not in layer.columns:
        return by_class, None
    areas = np.bincount(class_id, weights=np.nan_to_num(layer.columns["area_m2"]), minlength=IGNORE + 1)
    return by_class, {classes.names[i]: float(areas[i]) for i in chosen}
