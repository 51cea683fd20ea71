"""Looks at scenes with labels, or at a chips folder, before anything is trained on them.

A finding says what is wrong, where, and what to do about it: ``error`` where training would be wrong,
``warning`` where a look is worth it, ``note`` for what is good to know. Nothing is written. Small scenes are
read whole, of large ones evenly spread windows; chips are read once, one at a time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoseg.chips.sources import open_truth, pair_labels
from geoseg.chips.store import ChipStore
from geoseg.config import TileConfig
from geoseg.errors import GeosegError, LabelsError
from geoseg.health.chip_checks import class_pixels, label_findings, rare_findings, split_findings
from geoseg.health.chip_look import ChipFacts, look_at_chips
from geoseg.health.finding import Finding, Severity, finding, plural, worst_first
from geoseg.health.leaks import leak_findings
from geoseg.health.pixels import pixel_findings
from geoseg.health.place import crs_findings, elsewhere, touching
from geoseg.health.polygon_checks import polygon_findings
from geoseg.health.sampling import Look, look, work
from geoseg.health.scene_checks import SceneFacts, gsd_findings, header_findings, open_scenes, unreadable
from geoseg.health.shift import Shift
from geoseg.health.shift_checks import shift_findings
from geoseg.health.twins import twin_findings
from geoseg.json_report import JsonReport
from geoseg.progress import SILENT, Progress
from geoseg.raster import formats
from geoseg.raster.geobox import GeoBox
from geoseg.raster.labels import Labels
from geoseg.raster.polygons import nowhere
from geoseg.raster.raster_labels import RasterLabels
from geoseg.raster.remote import shown
from geoseg.raster.scene import Scene
from geoseg.raster.vectors import read_vector

LITTLE_SHARE = 0.01
"""Share of a scene under labels below which a look is worth it."""


@dataclass(frozen=True, kw_only=True)
class DoctorReport(JsonReport):
    """What :func:`doctor` found.

    Attributes:
        inputs: the scenes, or the chips folder.
        scenes: how many scenes were looked at.
        chips: how many chips, by split; ``None`` for scenes.
        findings: what is wrong or good to know, worst first.
        class_shares: share of each class of the labelled pixels looked at.
        labelled_share: share of the valid pixels looked at that is labelled, by scene; where unlabelled land
            is background, that with an object.
        shifts: how far labels lie beside the image, by scene; ``None`` where nothing can be told.
        seconds: wall time.
    """

    inputs: tuple[Path, ...]
    scenes: int
    chips: dict[str, int] | None
    findings: tuple[Finding, ...]
    class_shares: dict[str, float]
    labelled_share: dict[str, float]
    shifts: dict[str, Shift | None]
    seconds: float

    def count(self, severity: Severity) -> int:
        """How many findings are of a severity."""
        return sum(found.severity == severity for found in self.findings)


@dataclass(kw_only=True)
class _Seen:
    """What was seen of scenes so far."""

    findings: list[Finding] = field(default_factory=list)
    looks: dict[str, Look] = field(default_factory=dict)
    pixels: Counter[str] = field(default_factory=Counter)
    labelled_share: dict[str, float] = field(default_factory=dict)


def doctor(
    inputs: Sequence[Path],
    labels: Sequence[Path] = (),
    config: TileConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> DoctorReport:
    """Look for what is wrong with training data.

    Args:
        inputs: a chips folder, or scenes as :func:`geoseg.tile.tile` takes them.
        labels: of the scenes, as ``tile`` takes them; none for a chips folder.
        config: how ``tile`` will cut; the defaults when not given.
        progress: told about every window or chip.

    Raises:
        ChipsError: the folder is no chips folder.
        LabelsError: labels that are missing, do not go with the scenes by number, or lack the class column.
    """
    started = time.monotonic()
    config = config or TileConfig()
    if not labels and len(inputs) == 1 and inputs[0].is_dir():
        return _chips(inputs[0], started, progress)
    pairs = dict(zip(inputs, pair_labels(inputs, labels), strict=False))
    scenes, broken = open_scenes(list(pairs), config)
    seen = _Seen(findings=[*_given_twice(inputs), *broken, *header_findings(scenes, config)])
    progress.begin("look", sum(map(work, scenes)), "windows")
    for truth in dict.fromkeys(pairs.values()):
        mine = [scene for scene in scenes if pairs[scene.path] == truth]
        if mine:
            _look_at_labels(truth, mine, config, seen, progress)
    progress.end()
    looks = seen.looks
    bands = {scene.name: scene.band_names for scene in scenes}
    seen.findings += pixel_findings(
        {name: found.tally for name, found in looks.items()},
        bands,
        sampled=any(found.sampled for found in looks.values()),
    )
    shifts = {name: found.shift for name, found in looks.items()}
    seen.findings += shift_findings(shifts, {scene.name: scene.geobox for scene in scenes})
    seen.findings += [*rare_findings(seen.pixels), *_little(seen.labelled_share)]
    return DoctorReport(
        inputs=tuple(inputs),
        scenes=len(scenes),
        chips=None,
        findings=worst_first(seen.findings),
        class_shares=_shares(seen.pixels),
        labelled_share=seen.labelled_share,
        shifts=shifts,
        seconds=time.monotonic() - started,
    )


def _given_twice(inputs: Sequence[Path]) -> list[Finding]:
    counts = Counter(path.resolve() for path in inputs)
    twice = [shown(path) for path, count in counts.items() if count > 1]
    if not twice:
        return []
    what = f"{plural(len(twice), 'scene')} given twice"
    return [finding("error", "duplicate", what, "name each scene once", twice)]


def _look_at_labels(
    path: Path, scenes: Sequence[SceneFacts], config: TileConfig, seen: _Seen, progress: Progress
) -> None:
    """Judge one file of labels, and look at its scenes."""
    errors = _errors(seen)
    geometries, crs = _in_file(path, config, seen)
    grids = [scene.geobox for scene in scenes]
    if not len(geometries) and _errors(seen) > errors:
        return
    try:
        with open_truth(path, config, None) as labels:
            counts = [labels.covers(grid) for grid in grids]
            if isinstance(labels, RasterLabels) and not labels.geobox.georeferenced and not any(counts):
                seen.findings.append(_placeless(path.name))
                return
            if not any(counts):
                seen.findings += elsewhere(path.name, geometries, crs, grids)
                return
            seen.findings += crs_findings(path.name, geometries, crs, grids)
            seen.findings += _off(path, geometries, crs, grids)
            seen.findings += _bare([scene for scene, count in zip(scenes, counts, strict=True) if not count])
            for scene in scenes:
                _look_at_scene(scene, labels, config, seen, progress)
    except LabelsError as error:
        seen.findings.append(_refused(error, [path.name]))


def _placeless(name: str) -> Finding:
    what = f"{name} has no georeferencing, and the scene has"
    todo = "give it that of the scene with gdal_edit, if it has the same pixels"
    return finding("error", "crs", what, todo, [name])


def _errors(seen: _Seen) -> int:
    return sum(found.severity == "error" for found in seen.findings)


def _in_file(path: Path, config: TileConfig, seen: _Seen) -> tuple[NDArray[Any], CRS | None]:
    """Geometries of a vector file with a place, or the outline of a raster; and their CRS."""
    if formats.is_raster(formats.read_head(path, what="labels", error=LabelsError), path):
        try:
            with Scene.open(path, bands=[1], what="labels") as raster:
                raster.geobox.check_place(f"labels {path}")
                grid = raster.geobox
        except GeosegError as error:
            seen.findings.append(_refused(error, [path.name]))
            return np.zeros(0, np.object_), None
        return np.array([grid.footprint()]), grid.crs
    column = config.class_column
    frame = read_vector(path, columns=[] if column is None else [column])
    seen.findings += polygon_findings(path.name, frame, column)
    geometries = np.asarray(frame.geometry.to_numpy())
    usable = np.isfinite(shapely.bounds(geometries)).all(axis=1) & ~nowhere(geometries)
    return geometries[usable], None if frame.crs is None else CRS.from_wkt(frame.crs.to_wkt())


def _off(path: Path, geometries: NDArray[Any], crs: CRS | None, grids: Sequence[GeoBox]) -> list[Finding]:
    """Labels off all scenes."""
    if not all(grid.georeferenced for grid in grids):
        return []
    off = int((~touching(geometries, crs, grids)).sum())
    if not off:
        return []
    what = f"{off:,} of {plural(len(geometries), 'label')} ({off / len(geometries):.0%}) lie off all scenes"
    todo = "nothing, if they belong to other scenes; else check where they lie"
    return [finding("note", "off", what, todo, [path.name])]


def _bare(scenes: Sequence[SceneFacts]) -> list[Finding]:
    """Scenes without labels."""
    if not scenes:
        return []
    what = f"{plural(len(scenes), 'scene')} that no label touches: all of it counts as unlabelled land"
    todo = "leave them out, unless there is truly nothing to label in them"
    return [finding("warning", "empty", what, todo, [scene.name for scene in scenes])]


def _look_at_scene(
    scene: SceneFacts, labels: Labels, config: TileConfig, seen: _Seen, progress: Progress
) -> None:
    try:
        found = look(scene, labels, config, progress)
    except LabelsError as error:
        seen.findings.append(_refused(error, [scene.name]))
        return
    except GeosegError as error:
        seen.findings += unreadable("scene", [f"{scene.name}: {error}"])
        return
    seen.looks[scene.name] = found
    counts = found.tally.ids[: len(labels.classes)].tolist()
    seen.pixels.update(dict(zip(labels.classes.names, counts, strict=True)))
    background = labels.classes.background
    objects = found.tally.labelled - (0 if background is None else counts[background])
    seen.labelled_share[scene.name] = found.tally.share(objects)


def _refused(error: GeosegError, where: Sequence[str]) -> Finding:
    """An error that ``tile`` would stop with."""
    what, _, todo = str(error).partition("; ")
    return finding("error", "labels", what, todo or "check the file in a GIS", where)


def _little(labelled_share: Mapping[str, float]) -> list[Finding]:
    little = [f"{name} ({share:.2%})" for name, share in labelled_share.items() if 0.0 < share < LITTLE_SHARE]
    if not little:
        return []
    return [
        finding(
            "note",
            "little",
            f"less than {LITTLE_SHARE:.0%} under labels in {plural(len(little), 'scene')}",
            "tile with --unlabelled ignore if not all land was looked at, else it counts as background",
            little,
        )
    ]


def _chips(folder: Path, started: float, progress: Progress) -> DoctorReport:
    """Look at a chips folder."""
    store = ChipStore.open(folder)
    seen = look_at_chips(store, progress)
    grids = _grids(seen.chips)
    sizes = {name: None if grid is None else grid.gsd_m for name, grid in grids.items()}
    names = dict.fromkeys(seen.tallies, store.band_names)
    findings = [
        *unreadable("chip", seen.broken),
        *split_findings(store, seen.chips),
        *label_findings(store, seen.chips),
        *leak_findings(seen.chips),
        *twin_findings(store, seen.chips),
        *shift_findings(seen.shifts, grids),
        *gsd_findings(sizes),
        *pixel_findings(seen.tallies, names, sampled=False),
    ]
    pixels = class_pixels(store, seen.chips)
    total = np.sum(list(pixels.values()), axis=0).tolist()
    background = store.classes.background
    shares = {}
    for name, tally in seen.tallies.items():
        shares[name] = tally.share(tally.labelled - (0 if background is None else int(tally.ids[background])))
    return DoctorReport(
        inputs=(folder,),
        scenes=len(seen.tallies),
        chips={split: len(store.chips(split)) for split in pixels},
        findings=worst_first(findings),
        class_shares=_shares(dict(zip(store.classes.names, total, strict=True))),
        labelled_share=shares,
        shifts=seen.shifts,
        seconds=time.monotonic() - started,
    )


def _grids(chips: Sequence[ChipFacts]) -> dict[str, GeoBox | None]:
    """The grid of the first chip of each scene: all of a scene have the same pixels."""
    grids: dict[str, GeoBox | None] = {}
    for facts in chips:
        grids.setdefault(facts.chip.scene, facts.geobox)
    return grids


def _shares(pixels: Mapping[str, int]) -> dict[str, float]:
    total = sum(pixels.values())
    return {name: count / total if total else 0.0 for name, count in pixels.items()}
