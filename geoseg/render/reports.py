"""What reports of verbs that render have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geoseg.json_report import JsonReport


@dataclass(frozen=True, kw_only=True)
class RenderReport(JsonReport):
    """What is told of every such run.

    Attributes:
        output: the foremost file written.
        blocks: blocks of the scene that were worked on.
        seconds: wall time.
        peak_mb: peak resident memory of the process in MB (10^6 bytes); ``None`` where it is not known.
    """

    output: Path
    blocks: int
    seconds: float
    peak_mb: float | None


@dataclass(frozen=True, kw_only=True)
class MaskReport(RenderReport):
    """What is told of a mask, which is ``output``.

    Attributes:
        probabilities: the class probabilities, if asked for.
        uncertainty: the uncertainty, if asked for.
        style: the mask's style for QGIS, if asked for.
        shape: height and width in pixels.
        class_pixels: pixels of each class name in the mask.
        nodata_pixels: pixels that are 255.
    """

    probabilities: Path | None
    uncertainty: Path | None
    style: Path | None = None
    shape: tuple[int, int]
    class_pixels: dict[str, int]
    nodata_pixels: int


@dataclass(frozen=True, kw_only=True)
class ObjectsReport(RenderReport):
    """What is told of objects, whose polygon layer is ``output``.

    Attributes:
        ids: the raster of the objects' ids, if asked for.
        mask: the mask of their classes, if asked for.
        style: the layer's style for QGIS, if asked for.
        shape: height and width in pixels.
        objects: number of objects of each class name.
        area_m2: of each class name; ``None`` when the scene has no known place.
        vertices: of all polygons, the closing one of each ring included.
        detections: of all chips; an object has several where chips overlap.
        covered: objects left out because surer ones cover them.
        crumbs: pieces left out because they do not hang together with the rest of their object.
        nodata_pixels: pixels without data, or not asked for.
    """

    ids: Path | None
    mask: Path | None
    style: Path | None
    shape: tuple[int, int]
    objects: dict[str, int]
    area_m2: dict[str, float] | None
    vertices: int
    detections: int
    covered: int
    crumbs: int
    nodata_pixels: int


@dataclass(frozen=True, kw_only=True)
class NetworkReport(RenderReport):
    """What is told where a network looked at a scene.

    Attributes:
        scene: the scene.
        model: the model file.
        chips: chips that went through the network.
        skipped: chips left out because none of their pixels is valid.
        resumed_blocks: blocks that an earlier run had finished.
        device: where the network ran, and at which precision.
        workers: threads that worked.
        unread_pixels: pixels of the part asked for that could not be read, with ``on_error="nodata"``.
        unread: where they are in the scene: (column, row, width, height).
    """

    scene: Path
    model: Path
    chips: int
    skipped: int
    resumed_blocks: int
    device: str
    workers: int
    unread_pixels: int = 0
    unread: tuple[tuple[int, int, int, int], ...] = ()
