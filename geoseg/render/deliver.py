"""Makes objects of the detections of all chips and writes them: polygons, ids, a mask of their classes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import IGNORE, ClassMap
from geoseg.errors import OutputError
from geoseg.outputs import check_output
from geoseg.progress import Progress
from geoseg.raster.cog import RasterWriter
from geoseg.raster.geobox import GeoBox
from geoseg.raster.layers import ids_layer, mask_layer
from geoseg.raster.qml import style_of
from geoseg.render.blocks import BlockGrid
from geoseg.render.cover import seen_rows, uncovered
from geoseg.render.fuse import Fusion, fuse
from geoseg.render.gather import Gathered, ReadBlock
from geoseg.render.overlap import compare
from geoseg.render.paint import NO_DATA, NO_OBJECT, Numbering, Painter
from geoseg.vector.corners import Band
from geoseg.vector.draw import Drawer
from geoseg.vector.outlines import Outlines
from geoseg.vector.place import Place
from geoseg.vector.style import qml as layer_qml
from geoseg.vector.table import TEXT
from geoseg.vector.trace import along_pixels, trace
from geoseg.vector.wkb import pack_wkb
from geoseg.vector.write import DRIVERS, LayerWriter, check_layer_output

_NOTHING = 0
"""Class of what is no object, where nothing else is called background."""

_SCORE_DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class ObjectOutputs:
    """Where objects go.

    Attributes:
        layer: polygons, in the format of the suffix.
        ids: raster of their ids, if asked for.
        mask: raster of their classes, if asked for.
        qml: also write styles for QGIS beside layer and mask.
    """

    layer: Path
    ids: Path | None = None
    mask: Path | None = None
    qml: bool = False

    @property
    def paths(self) -> list[Path]:
        """Those that are written."""
        return [path for path in (self.layer, self.ids, self.mask) if path is not None]


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What was written.

    Attributes:
        objects: number of objects of each class id.
        area_m2: of each class id; ``None`` where the scene has no known place.
        vertices: of all polygons.
        detections: of all chips.
        covered: objects left out, because surer ones cover them.
        crumbs: pieces of objects left out, because they do not hang together with the largest piece.
        nodata_pixels: pixels without data, or not asked for.
    """

    objects: NDArray[np.int64]
    area_m2: NDArray[np.float64] | None
    vertices: int
    detections: int
    covered: int
    crumbs: int
    nodata_pixels: int

    def objects_of(self, classes: ClassMap) -> dict[str, int]:
        """Number of objects by class name, without the background."""
        return {name: int(self.objects[i]) for i, name in _things(classes)}

    def areas_of(self, classes: ClassMap) -> dict[str, float] | None:
        """Area in square metres by class name, likewise."""
        if self.area_m2 is None:
            return None
        return {name: float(self.area_m2[i]) for i, name in _things(classes)}


def check_object_outputs(outputs: ObjectOutputs, *, overwrite: bool, inputs: Iterable[Path]) -> None:
    """Refuse outputs that cannot or must not be written, before any work is done.

    Raises:
        OutputError: see :func:`geoseg.vector.write.check_layer_output`, also for a mask or other raster as
            layer; two outputs are the same file.
    """
    inputs = list(inputs)
    if outputs.layer.suffix.lower() not in DRIVERS:
        raise OutputError(
            f"the model detects objects, so {outputs.layer} must be a layer of polygons; write to one of "
            f"{', '.join(DRIVERS)}, and a mask of their classes with --mask"
        )
    check_layer_output(outputs.layer, overwrite=overwrite, inputs=inputs)
    styled = (outputs.layer, outputs.mask) if outputs.qml else ()
    rest = [outputs.ids, outputs.mask, *(style_of(path) for path in styled if path is not None)]
    places = [outputs.layer.absolute()]
    for path in rest:
        if path is not None:
            check_output(path, overwrite=overwrite, inputs=inputs)
            places.append(path.absolute())
    if len(set(places)) < len(places):
        raise OutputError("two outputs have the same path; give each its own")


def deliver(
    blocks: BlockGrid,
    wanted: Iterable[int],
    read: ReadBlock,
    outputs: ObjectOutputs,
    *,
    part: Window,
    geobox: GeoBox,
    classes: ClassMap,
    tags: Mapping[str, str],
    min_visible: float,
    simplify_px: float,
    progress: Progress,
) -> Delivered:
    """Make objects and write them; the layer appears last, so that it is there only when all is.

    Memory holds a few rows of chips' masks, a band of rows, and some hundred bytes for each detection.

    Args:
        blocks: the blocks of the scene.
        wanted: numbers of the blocks that hold anything.
        read: gives the layers of a block; raises ValueError when it is damaged.
        outputs: where they go.
        part: pixels of the scene that the outputs cover; objects are cut to them.
        geobox: their grid.
        classes: names and colours of the ids.
        tags: TIFF tags.
        min_visible: share of its pixels that an object must keep beside surer ones.
        simplify_px: how far in pixels a line may move when vertices are taken out of it.
        progress: told about rows.

    Raises:
        ReadError: a block is damaged.
        WriteError: the disk is full or not writable.
    """
    gathered = Gathered(blocks, wanted, read)
    progress.begin("compare", len(blocks.grid.rows), "rows of chips")
    table, pairs = compare(gathered, progress.advance)
    progress.end()
    progress.begin("merge", part.height + seen_rows(gathered, part), "rows")
    fusion, covered = uncovered(
        gathered, fuse(table, pairs), part, least=min_visible, advance=progress.advance
    )
    painter = Painter(gathered=gathered, fusion=fusion, part=part)
    numbering = Numbering.of(painter.bands(progress.advance))
    progress.end()
    progress.begin("write", part.height, "rows")
    written = _Writing(painter, numbering, outputs, geobox, classes, tags).run(simplify_px, progress.advance)
    progress.end()
    return Delivered(
        objects=written.objects,
        area_m2=None if written.place.ruler == "none" else written.areas,
        vertices=written.vertices,
        detections=len(table),
        covered=covered,
        crumbs=numbering.crumbs,
        nodata_pixels=written.nodata_pixels,
    )


class _Writing:
    """Draws all bands once more, by the numbers that objects have in the outputs, and writes them."""

    def __init__(
        self,
        painter: Painter,
        numbering: Numbering,
        outputs: ObjectOutputs,
        geobox: GeoBox,
        classes: ClassMap,
        tags: Mapping[str, str],
    ) -> None:
        self.place = Place.of(geobox, outputs.layer)
        self.objects = np.zeros(len(classes), np.int64)
        self.areas = np.zeros(len(classes))
        self.vertices = self.nodata_pixels = 0
        self._painter = painter
        self._numbering = numbering
        self._outputs = outputs
        self._geobox = geobox
        self._classes = classes
        self._tags = tags
        fusion: Fusion = painter.fusion
        # By number in the outputs, of which 0 is none.
        background = _NOTHING if classes.background is None else classes.background
        self._class_of = np.concatenate([[background], fusion.label[numbering.object_of]]).astype(np.uint8)
        self._score_of = np.concatenate([[0], fusion.score[numbering.object_of]]).astype(np.float64)
        known = self.place.ruler != "none"
        self._names = ("area_m2", "perimeter_m") if known else ("area", "perimeter")

    def run(self, simplify_px: float, advance: Callable[[int], None]) -> _Writing:
        outputs, crs = self._outputs, self.place.crs
        kinds = (("ids", outputs.ids, ids_layer()), ("mask", outputs.mask, mask_layer(self._classes)))
        columns = {
            "id": np.dtype(np.int32),
            "class_id": np.dtype(np.int16),
            "class_name": TEXT,
            "score": np.dtype(np.float64),
            self._names[0]: np.dtype(np.float64),
            self._names[1]: np.dtype(np.float64),
            "touches_edge": np.dtype(np.bool_),
        }
        with contextlib.ExitStack() as stack:
            writer = stack.enter_context(
                LayerWriter(outputs.layer, columns, crs, gsd_m=self.place.geobox.gsd_m)
            )
            rasters = {
                name: stack.enter_context(
                    RasterWriter(path, self._geobox, layer, self._tags, qml=outputs.qml and name == "mask")
                )
                for name, path, layer in kinds
                if path is not None
            }
            outlines = trace(
                self._bands(rasters, advance),
                wanted=lambda labels: labels > NO_OBJECT,
                draw=Drawer(tolerance_px=simplify_px) if simplify_px > 0.0 else along_pixels,
                clockwise=self.place.flips,
            )
            for found in outlines:
                if len(found):
                    self._write(writer, found)
            writer.styles = self._styles()
            writer.qml = layer_qml(writer.styles) if outputs.qml else None
        return self

    def _bands(self, rasters: Mapping[str, RasterWriter], advance: Callable[[int], None]) -> Iterator[Band]:
        above: NDArray[np.int32] | None = None
        top = 0
        for drawn in self._painter.bands(advance):
            labels = self._numbering.regions.relabel(drawn)
            hidden = labels == NO_DATA
            self.nodata_pixels += int(np.count_nonzero(hidden))
            to = Window(0, top, labels.shape[1], len(labels))
            ids = np.maximum(labels, NO_OBJECT)
            if "ids" in rasters:
                rasters["ids"].write(to, ids)
            if "mask" in rasters:
                rasters["mask"].write(to, np.where(hidden, np.uint8(IGNORE), self._class_of[ids]))
            band = np.concatenate([labels[:1] if above is None else above, labels])
            yield Band(labels=band, top=top, height=self._geobox.height)
            above = labels[-1:].copy()
            top += len(labels)

    def _write(self, writer: LayerWriter, found: Outlines) -> None:
        points = self.place.put(found.points)
        area, perimeter = self.place.measure(points, found.rings, found.regions)
        of_area, of_length = self.place.decimals
        class_id = self._class_of[found.value]
        names: NDArray[np.object_] = np.array(self._classes.names, np.object_)[class_id]
        number = self._numbering.object_of[found.value - 1]
        columns: dict[str, NDArray[Any]] = {
            "id": found.value,
            "class_id": class_id.astype(np.int16),
            "class_name": names,
            "score": np.round(self._score_of[found.value], _SCORE_DIGITS),
            self._names[0]: np.round(area, of_area),
            self._names[1]: np.round(perimeter, of_length),
            "touches_edge": found.touches_edge | self._painter.cut[number],
        }
        writer.write(pack_wkb(points, found.rings, found.regions), columns)
        self.objects += np.bincount(class_id, minlength=len(self.objects))
        self.areas += np.bincount(class_id, weights=np.nan_to_num(area), minlength=len(self.areas))
        self.vertices += len(points)

    def _styles(self) -> dict[int, tuple[str, str]]:
        classes = self._classes
        return {class_id: (name, classes.colors[class_id]) for class_id, name in _things(classes)}


def _things(classes: ClassMap) -> list[tuple[int, str]]:
    """Ids and names of the classes that objects have."""
    background = _NOTHING if classes.background is None else classes.background
    return [(class_id, name) for class_id, name in enumerate(classes.names) if class_id != background]
