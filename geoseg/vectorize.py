"""Mask to polygons: take away what is too small, trace, simplify without gaps, measure, write.

A mask is gone through in bands of rows, whatever its size; only regions that go on below a band are kept in
mind. All geometry happens in pixel space, every border once for both of its regions; only finished polygons
are put on the ground. So rotated, south-up and geographic masks come out the same, and neighbours always
share their edges.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.config import VectorizeConfig
from geoseg.errors import ConfigError, InputError
from geoseg.json_report import JsonReport
from geoseg.outputs import check_output
from geoseg.progress import SILENT, Progress
from geoseg.raster.mask import open_mask
from geoseg.raster.qml import style_of
from geoseg.raster.remote import is_remote, local, shown
from geoseg.vector.attributes import Attributes
from geoseg.vector.corners import Band
from geoseg.vector.dissolve import Dissolved, MinArea, Survey, parse_area
from geoseg.vector.draw import Drawer
from geoseg.vector.emit import Emitter, Reprojection, Tally
from geoseg.vector.instances import Instances
from geoseg.vector.legend import Legend
from geoseg.vector.outlines import Outlines
from geoseg.vector.place import Place
from geoseg.vector.source import Opening, Probabilities, Source
from geoseg.vector.style import qml as layer_qml
from geoseg.vector.trace import Draw, along_pixels, trace
from geoseg.vector.write import LayerWriter, check_layer_output


@dataclass(frozen=True, kw_only=True)
class VectorizeReport(JsonReport):
    """What :func:`vectorize` did.

    Attributes:
        output: the polygon layer.
        mask: the mask it was made from.
        polygons: number of polygons of each class.
        area_m2: area of each class on the ground; ``None`` when the mask has no known place.
        filled: holes below ``fill_holes`` that went to the region around them.
        dissolved: regions of any class below ``min_area`` that went to a neighbour.
        dropped: regions below ``min_area`` left out, or that have no neighbour but nodata.
        vertices: of all polygons, the closing one of each ring included.
        seconds: wall time.
        style: the style for QGIS beside the layer, if asked for.
    """

    output: Path
    mask: Path
    polygons: dict[str, int]
    area_m2: dict[str, float] | None
    filled: int
    dissolved: int
    dropped: int
    vertices: int
    seconds: float
    style: Path | None = None


def vectorize(
    mask: Path,
    output: Path,
    config: VectorizeConfig | None = None,
    *,
    probabilities: Path | None = None,
    qml: bool = False,
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

    Memory holds a band of rows, regions that are not finished yet, and two batches on their way to the disk;
    with ``min_area`` or ``fill_holes`` also about a hundred bytes for each region of the mask.

    Args:
        mask: a raster with one band of ids, such as ``predict`` writes, 0..254 in bytes (255 is nodata) or up
            to 2147483647 in wider numbers; what the file says is nodata becomes no polygon. Class names come
            from its tags, else from the categories beside it.
        output: ``.gpkg``, ``.fgb``, ``.geojson``, ``.shp`` or ``.parquet``; the layer is called ``parcels``
            and is in the mask's CRS (GeoJSON: WGS 84). A layer without polygons is a valid output.
        config: how to; the defaults when not given.
        probabilities: what ``predict --probabilities`` wrote along with the mask. Polygons then get their
            confidence, simplified lines run where two classes are equally likely instead of between pixels,
            and ``instances`` meet on the ridge of the boundary.
        qml: also write a style for QGIS beside the output. Where the mask lies there and is called alike,
            they share one: it then styles both.
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
    limits = _Limits.of(config)
    inputs = [mask] if probabilities is None else [mask, probabilities]
    check_layer_output(output, overwrite=overwrite, inputs=local(inputs))
    if qml:
        check_output(style_of(output), overwrite=overwrite, inputs=local(inputs))
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(open_mask(mask, remote=True))
        shares = None if probabilities is None else stack.enter_context(Probabilities(probabilities, opened))
        place = Place.of(opened.geobox, mask)
        if place.crs is None:
            progress.warn(f"mask {shown(mask)} has no known CRS; the polygons have none either")
        source = Source(mask=opened, probabilities=shares, progress=progress)
        work = _Work(source, place, config, limits, progress)
        work.survey()
        work.write(output, qml=qml)
    dissolved, tally = work.dissolved, work.tally
    ids = work.chosen_ids()
    return VectorizeReport(
        output=output,
        mask=mask,
        polygons={work.legend.name(i): tally.polygons[i] for i in ids},
        area_m2=None
        if place.ruler == "none"
        else {work.legend.name(i): float(tally.area_m2[i]) for i in ids},
        filled=dissolved.filled if dissolved else 0,
        dissolved=dissolved.dissolved if dissolved else 0,
        dropped=tally.dropped + (dissolved.dropped if dissolved else 0),
        vertices=tally.vertices,
        seconds=time.monotonic() - started,
        style=style_of(output) if work.styled else None,
    )


@dataclass(frozen=True, kw_only=True)
class _Limits:
    """The areas of a :class:`VectorizeConfig`, read."""

    min_area: MinArea | None
    drop_small: bool
    fill_holes: MinArea | None

    @classmethod
    def of(cls, config: VectorizeConfig) -> _Limits:
        min_area = None if config.min_area is None else parse_area(config.min_area)
        fill_holes = None if config.fill_holes is None else parse_area(config.fill_holes, what="fill_holes")
        if min_area and fill_holes and min_area.unit != fill_holes.unit:
            raise ConfigError(
                "min_area and fill_holes are in different units; give both in pixels, or neither"
            )
        if config.instances and (fill_holes or config.dissolve or config.connectivity == 8):
            raise ConfigError(
                "instances are single parcels; leave fill_holes, dissolve and connectivity 8 out"
            )
        if config.drop_small and min_area is None:
            raise ConfigError("drop_small says nothing without min_area; give one, such as 250m2")
        return cls(min_area=min_area, drop_small=config.drop_small, fill_holes=fill_holes)


class _Work:
    """A run: what was found out so far."""

    def __init__(
        self, source: Source, place: Place, config: VectorizeConfig, limits: _Limits, progress: Progress
    ) -> None:
        self._source = source
        self._mask = source.mask
        self._place = place
        self._config = config
        self._limits = limits
        self._progress = progress
        self.legend = Legend(source.mask)
        self.dissolved: Dissolved | None = None
        self.instances: Instances | None = None
        self.tally: Tally
        self.styled = False
        self._chosen: NDArray[np.int64] | None = None

    def survey(self) -> None:
        """Go over the mask a first time, if something about all of it must be known beforehand."""
        limits, config = self._limits, self._config
        merges = (limits.min_area is not None and not limits.drop_small) or limits.fill_holes is not None
        tells_all = self._mask.classes is not None
        if not (merges or config.instances or (config.classes is not None and not tells_all)):
            self._choose()
            return
        if config.instances and tells_all:
            self._choose()
            self._open()
        self._progress.begin("survey", self._mask.geobox.height, "rows")
        survey, met = self._source.survey(self._row_areas())
        self._progress.end()
        self.legend.meet(met)
        self._choose()
        if config.instances:
            self.instances = self._number(survey)
        elif merges:
            self.dissolved = survey.dissolve(
                min_area=limits.min_area.value if limits.min_area and not limits.drop_small else 0.0,
                max_hole=limits.fill_holes.value if limits.fill_holes else 0.0,
                wanted=self._is_wanted,
            )

    def _choose(self) -> None:
        if self._config.classes is not None:
            self._chosen = np.array(self.legend.choose(self._config.classes, self._mask), np.int64)

    def _land(self) -> NDArray[np.int64]:
        """Ids of the classes whose regions are parcels."""
        boundary = self._boundary()
        return np.array([class_id for class_id in self.chosen_ids() if class_id != boundary], np.int64)

    def _open(self) -> None:
        opening = Opening(land=self._land(), boundary=self._boundary(), share=self._config.boundary_share)
        self._source = replace(self._source, opening=opening)

    def _number(self, survey: Survey) -> Instances:
        limit = self._limits.min_area
        return Instances(
            survey.parts(),
            land=self._land(),
            boundary=self._boundary(),
            min_area=0.0 if limit is None else limit.value,
            absent=self._mask.absent,
        )

    def _boundary(self) -> int:
        """Id of the class between parcels."""
        named = self._config.boundary_class
        if named is not None:
            return self.legend.choose([named], self._mask)[0]
        if self.legend.boundary is None:
            raise InputError(
                f"mask {shown(self._mask.path)} has no boundary class to tell parcels apart by; "
                "train on chips made with tile --boundary, or name the class with --boundary-class"
            )
        return self.legend.boundary

    def _row_areas(self) -> NDArray[np.float64]:
        """Area of a pixel in each row, in the unit of the limits."""
        limit = self._limits.min_area or self._limits.fill_holes
        if limit is None or limit.unit == "px":
            return np.ones(self._mask.geobox.height)
        areas = self._place.row_areas_m2()
        if areas is None:
            raise InputError(
                f"mask {shown(self._mask.path)} has no known pixel size, so no area of {limit.value:g} m2; "
                "give min_area in pixels, such as 20px"
            )
        return areas

    def write(self, output: Path, *, qml: bool) -> None:
        """Trace, measure and write; with ``qml`` also a style."""
        config = self._config
        probabilities = self._source.probabilities
        reprojection = self._reprojection()
        attributes = Attributes(
            legend=self.legend,
            place=self._place,
            wide=self._mask.dtype != "uint8",
            confidence=probabilities is not None,
        )
        if self._drops_small():
            self._row_areas()  # refuses a mask without a known place, if that is needed
        multi = config.dissolve or config.connectivity == 8
        with LayerWriter(
            output,
            attributes.columns,
            self._place.crs if reprojection is None else reprojection.crs,
            gsd_m=self._place.geobox.gsd_m,
            geometry_type="MultiPolygon" if multi else "Polygon",
        ) as writer:
            emitter = Emitter(
                writer,
                attributes,
                self._place,
                self.legend,
                class_of=None if self.instances is None else self.instances.class_ids,
                reprojection=reprojection,
                is_large=self._is_large if self._drops_small() else None,
                multi=multi,
                dissolve=config.dissolve,
            )
            self._progress.begin("vectorize", self._mask.geobox.height, "rows")
            for outlines in self._outlines():
                emitter.add(outlines)
            emitter.end()
            self._progress.end()
            self._mask.check_unchanged()
            writer.styles = self.legend.styles(self.chosen_ids()) if config.style else {}
            writer.qml = self._qml(output) if qml else None
        self.styled = writer.qml is not None
        self.tally = emitter.tally

    def _qml(self, output: Path) -> str | None:
        """The style beside the output, or ``None`` when there are too many classes for one, or none."""
        styles = self.legend.styles(self.chosen_ids())
        if not styles:
            self._progress.warn(f"no style for {output.name}: it has no classes, or too many to tell apart")
            return None
        path = self._mask.path
        shared = not is_remote(path) and style_of(path).absolute() == style_of(output).absolute()
        return layer_qml(styles, mask=self.legend.styles(self.legend.ids) if shared else None)

    def _drops_small(self) -> bool:
        """Whether small polygons are left out; of parcels always, as none goes to a neighbour."""
        return self._limits.min_area is not None and (self._limits.drop_small or self.instances is not None)

    def _reprojection(self) -> Reprojection | None:
        if self._config.dst_crs is None:
            return None
        if self._place.crs is None:
            raise InputError(
                f"mask {shown(self._mask.path)} has no known CRS; its polygons cannot go to another one"
            )
        return Reprojection(self._place.crs, self._config.dst_crs)

    def _outlines(self) -> Iterator[Outlines]:
        config = self._config
        draw: Draw = along_pixels
        if config.simplify_px > 0.0 or config.smooth:
            draw = Drawer(
                tolerance_px=config.simplify_px,
                rounds=config.smooth,
                probabilities=None if self._source.probabilities is None else self._shares,
            )
        boundary = self._boundary() if self.instances is not None else 0
        return trace(
            self._source.bands(dissolved=self.dissolved, instances=self.instances, boundary=boundary),
            wanted=self._is_wanted,
            draw=draw,
            clockwise=self._place.flips,
            by_corners=config.connectivity == 8,
        )

    def _shares(self, band: Band) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        probabilities = self._source.probabilities
        assert probabilities is not None
        first = max(band.top - 1, 0)
        shares = probabilities.read(first, band.top + band.rows - first)
        if band.is_first:
            shares = np.concatenate([shares[:, :1], shares], axis=1)
        labels = band.labels if self.instances is None else self.instances.class_ids(band.labels)
        return labels, shares

    def _is_large(self, outlines: Outlines, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        limit = self._limits.min_area
        assert limit is not None
        if limit.unit == "px":
            return outlines.area >= limit.value
        areas, _ = self._place.measure(points, outlines.rings, outlines.regions)
        large: NDArray[np.bool_] = areas >= limit.value * (1.0 - 1e-9)
        return large

    def _is_wanted(self, labels: NDArray[Any]) -> NDArray[np.bool_]:
        wanted: NDArray[np.bool_]
        if self.instances is not None:
            wanted = labels > 0
        elif self._chosen is not None:
            wanted = np.isin(labels, self._chosen)
        else:
            wanted = labels != self._mask.absent
            for class_id in self.legend.unasked():
                wanted &= labels != class_id
        return wanted

    def chosen_ids(self) -> list[int]:
        """Ids of the classes that become polygons, as far as they were met."""
        if self._chosen is not None:
            chosen: list[int] = self._chosen.tolist()
            return chosen
        return [class_id for class_id in self.legend.ids if class_id not in self.legend.unasked()]
