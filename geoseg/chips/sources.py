"""Scenes and labels that go together, checked before any pixel is cut."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rasterio.coords import BoundingBox

from geoseg.chips.store import Split
from geoseg.chips.write import safe_names
from geoseg.classes import MAX_CLASSES, ClassMap
from geoseg.config import TileConfig
from geoseg.errors import ConfigError, LabelsError, SceneError
from geoseg.progress import Progress
from geoseg.raster.geobox import GeoBox
from geoseg.raster.labels import Labels, open_labels
from geoseg.raster.raster_labels import RasterLabels
from geoseg.raster.remote import file_name, local, shown, stem
from geoseg.raster.scene import Scene

GSD_RATIO = 2.5
"""Scenes whose pixel sizes differ by more than this get a warning."""

LABEL_SUFFIXES = (
    *(".gpkg", ".geojson", ".json", ".geojsonl", ".geojsons", ".ndjson", ".fgb", ".shp", ".parquet"),
    *(".tif", ".tiff", ".jp2", ".img", ".png"),
)
"""Files looked for in a folder of labels."""

MAX_SPLIT_FILE_BYTES = 10_000_000

_SPLIT_WORDS: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A scene to cut, and its labels.

    Attributes:
        path: the scene.
        labels: its labels; several scenes may have the same.
        name: of the scene in chip names: safe and unique.
        geobox: its grid.
        band_names: one a chosen band.
        dtype: numpy name of the bands' dtype.
    """

    path: Path
    labels: Path
    name: str
    geobox: GeoBox
    band_names: tuple[str, ...]
    dtype: str

    @property
    def shown(self) -> str:
        """The path for messages."""
        return shown(self.path)


def open_sources(
    scenes: Sequence[Path], labels: Sequence[Path], config: TileConfig, progress: Progress
) -> list[Source]:
    """Look at every scene and find its labels.

    Raises:
        SceneError: no scene, one given twice, or scenes of different bands or dtypes.
        LabelsError: the labels cannot be told apart by scene.
    """
    if not scenes:
        raise SceneError("no scenes; name at least one raster")
    seen: dict[Path, Path] = {}
    for path in scenes:
        if path.resolve() in seen:
            raise SceneError(f"scene {shown(path)} is given twice; name it once")
        seen[path.resolve()] = path
    pairs = pair_labels(scenes, labels)
    sources: list[Source] = []
    for path, truth, name in zip(scenes, pairs, safe_names([stem(p) for p in scenes]), strict=True):
        with Scene.open(path, bands=config.bands, nodata=config.nodata, remote=True) as scene:
            scene.geobox.check_place(f"scene {scene.shown}")
            sources.append(
                Source(
                    path=path,
                    labels=truth,
                    name=name,
                    geobox=scene.geobox,
                    band_names=scene.band_names,
                    dtype=scene.dtype,
                )
            )
        _check_alike(sources[0], sources[-1])
    _warn_of_differences(sources, progress)
    return sources


def _check_alike(first: Source, other: Source) -> None:
    if len(first.band_names) != len(other.band_names):
        raise SceneError(
            f"scene {first.shown} has {len(first.band_names)} bands and {other.shown} has "
            f"{len(other.band_names)}; choose the same bands of all with --bands"
        )
    if first.dtype != other.dtype:
        raise SceneError(
            f"scene {first.shown} is {first.dtype} and {other.shown} is {other.dtype}; "
            "convert them to one type, or tile them apart"
        )


def _warn_of_differences(sources: Sequence[Source], progress: Progress) -> None:
    sizes = [(source.geobox.gsd_m, source.shown) for source in sources]
    known = sorted((gsd_m, path) for gsd_m, path in sizes if gsd_m is not None)
    if known and known[-1][0] > GSD_RATIO * known[0][0]:
        (finest, fine), (coarsest, coarse) = known[0], known[-1]
        progress.warn(
            f"{fine} has {finest:.3g} m pixels and {coarse} {coarsest:.3g} m: a model sees both at one scale"
        )
    first = sources[0]
    for other in sources[1:]:
        for one, two in zip(first.band_names, other.band_names, strict=True):
            plain = any(name.startswith("band ") for name in (one, two))
            if not plain and one.casefold() != two.casefold():
                progress.warn(
                    f"band {one} of {first.shown} is {two} in {other.shown}: is the order the same?"
                )
                return


def pair_labels(scenes: Sequence[Path], labels: Sequence[Path]) -> list[Path]:
    """The labels of each scene: one file for all, as many files in the same order, or a folder by stem.

    Raises:
        LabelsError: none of these, or a folder without exactly one file of a scene's stem.
    """
    if not labels:
        raise LabelsError("no labels; name a vector file or a raster of class ids")
    if len(labels) == 1 and labels[0].is_dir():
        return [_in_folder(labels[0], scene) for scene in scenes]
    if len(labels) == 1:
        return [labels[0]] * len(scenes)
    if len(labels) != len(scenes):
        raise LabelsError(
            f"{len(labels)} labels for {len(scenes)} scenes; "
            "give one file for all, one a scene in the same order, or a folder of files named like the scenes"
        )
    return list(labels)


def _in_folder(folder: Path, scene: Path) -> Path:
    name, here = stem(scene), local([scene])
    candidates = [folder / f"{name}{suffix}" for suffix in LABEL_SUFFIXES]
    found = [path for path in candidates if path.is_file() and not any(map(path.samefile, here))]
    if not found:
        raise LabelsError(f"folder {folder} has no labels {name}.gpkg or alike for {shown(scene)}; add them")
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise LabelsError(f"folder {folder} has {names} for {shown(scene)}; keep one of them")
    return found[0]


@contextlib.contextmanager
def open_truth(path: Path, config: TileConfig, classes: ClassMap | None) -> Iterator[Labels]:
    """Labels as ``config`` wants them read."""
    with open_labels(
        path,
        class_column=config.class_column,
        class_name=config.class_name,
        unlabelled=config.unlabelled,
        classes=classes,
        objects=config.task == "instance",
    ) as labels:
        yield labels


def survey(sources: Sequence[Source], config: TileConfig, progress: Progress) -> ClassMap:
    """Classes of all labels together; checks that labels and scenes meet.

    Raises:
        LabelsError: labels that touch none of their scenes, files whose classes do not go together, or
            nothing but background where objects are wanted.
        ConfigError: a boundary is wanted, but the labels are a raster or have a class of that name.
    """
    maps: dict[Path, tuple[ClassMap, bool]] = {}
    for path in dict.fromkeys(source.labels for source in sources):
        mine = [source for source in sources if source.labels == path]
        with open_truth(path, config, None) as labels:
            touching = [labels.covers(source.geobox) for source in mine]
            if not any(touching):
                raise _elsewhere(labels, mine)
            for source, count in zip(mine, touching, strict=True):
                if not count:
                    progress.warn(f"no labels of {path} lie in {source.shown}")
            # Every scene's grid was asked after, so there is nothing left to find out while burning.
            for note in labels.notes:
                progress.warn(note)
            if config.split_column is not None and isinstance(labels, RasterLabels):
                raise LabelsError(f"labels {path} is a raster, which has no columns; use a split file")
            if config.boundary_px is not None and isinstance(labels, RasterLabels):
                raise ConfigError(
                    f"labels {path} is a raster, in which touching objects of a class are one; "
                    "give polygons, or leave out --boundary"
                )
            maps[path] = labels.classes, isinstance(labels, RasterLabels)
    classes = _together(maps)
    if config.task == "instance" and len(classes) < 2:
        raise LabelsError(f"labels {next(iter(maps))} have polygons of the background only; choose a column")
    return classes if config.boundary_px is None else _with_boundary(classes)


def _with_boundary(classes: ClassMap) -> ClassMap:
    try:
        return classes.with_boundary()
    except ValueError as reason:
        raise ConfigError(
            f"no boundary class can be added: {reason}; rename it, or leave out --boundary"
        ) from reason


def _elsewhere(labels: Labels, sources: Sequence[Source]) -> LabelsError:
    where = "the scene" if len(sources) == 1 else f"all {len(sources)} scenes"
    labels_at, scene_at = _place(labels.bounds_lonlat()), _place(sources[0].geobox.bounds_lonlat())
    return LabelsError(
        f"labels {labels.path} lie elsewhere on Earth than {where}: labels at {labels_at}, "
        f"{sources[0].shown} at {scene_at}; check the CRS of both, geoseg doctor may find the right one"
    )


def _place(bounds: BoundingBox | None) -> str:
    if bounds is None:
        return "an unknown place"
    if not (max(map(abs, bounds[::2])) <= 720.0 and max(map(abs, bounds[1::2])) <= 90.0):
        return f"x {bounds.left:.7g}..{bounds.right:.7g} y {bounds.bottom:.7g}..{bounds.top:.7g}, no degrees"
    return f"lon {bounds.left:.4f}..{bounds.right:.4f} lat {bounds.bottom:.4f}..{bounds.top:.4f}"


def _together(maps: Mapping[Path, tuple[ClassMap, bool]]) -> ClassMap:
    """One class map for several label files."""
    (first_path, (first, raster)), *others = maps.items()
    if all(classes == first for _, (classes, _) in others):
        return first
    for path, (_, other_raster) in others:
        if raster != other_raster:
            raise LabelsError(f"labels {first_path} and {path} are of different kinds; give one kind for all")
    if raster:
        return _longest(maps)
    names = {
        name
        for classes, _ in maps.values()
        for i, name in enumerate(classes.names)
        if i != classes.background
    }
    ordered = sorted(
        names, key=lambda name: (not _is_number(name), int(name) if _is_number(name) else 0, name)
    )
    if first.background is not None:
        ordered = [first.names[first.background], *ordered]
    if len(ordered) > MAX_CLASSES:
        beside = "" if first.background is None else " beside the background"
        apart = bool(beside)
        raise LabelsError(
            f"the labels have {len(ordered) - apart} different classes together, and {MAX_CLASSES - apart} "
            f"classes{beside} are possible; choose a column of classes"
        )
    return ClassMap.from_names(ordered, background=first.background)


def _is_number(name: str) -> bool:
    return name.removeprefix("-").isdecimal()


def _longest(maps: Mapping[Path, tuple[ClassMap, bool]]) -> ClassMap:
    """The class map of raster labels that holds all others; files often lack the highest ids."""
    longest_path, (longest, _) = max(maps.items(), key=lambda item: len(item[1][0]))
    for path, (classes, _) in maps.items():
        if longest.names[: len(classes)] != classes.names:
            raise LabelsError(
                f"labels {path} and {longest_path} name their classes differently; give them the same names"
            )
    return longest


def parse_split(word: object, where: str) -> Split:
    """The split a user's word means.

    Raises:
        ConfigError: it means none.
    """
    split = _SPLIT_WORDS.get(str(word).strip().casefold())
    if split is None:
        raise ConfigError(f"{where} says {str(word)[:40]!r}; write train, val or test")
    return split


def read_split_file(path: Path, sources: Sequence[Source]) -> list[Split]:
    """Split of each scene from a CSV with the columns ``scene`` (file name or stem) and ``split``.

    Raises:
        ConfigError: no such file, other columns, an unknown word, or a scene that it does not name once.
    """
    told: dict[str, Split] = {}
    for number, row in enumerate(_rows(path), 2):
        scene = (row.get("scene") or "").strip()
        split = parse_split(row.get("split"), f"line {number} of {path}")
        if told.setdefault(scene, split) != split:
            raise ConfigError(f"split file {path} names {scene} twice; keep one line")
    splits = []
    for source in sources:
        name = file_name(source.path)
        found = [told[key] for key in (source.shown, name, stem(source.path)) if key in told]
        if not found:
            raise ConfigError(f"split file {path} does not name {name}; add a line for it")
        splits.append(found[0])
    return splits


def _rows(path: Path) -> list[dict[str, str | None]]:
    try:
        if path.stat().st_size > MAX_SPLIT_FILE_BYTES:
            raise ConfigError(
                f"split file {path} is larger than {MAX_SPLIT_FILE_BYTES} bytes; is it the right one?"
            )
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            rows: list[dict[str, str | None]] = list(reader)
            fields = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as reason:
        text = getattr(reason, "strerror", None) or str(reason)
        raise ConfigError(f"split file {path} cannot be read: {text}; give a CSV of scene,split") from reason
    if not {"scene", "split"} <= set(fields):
        raise ConfigError(
            f"split file {path} has no columns scene and split; begin it with the line scene,split"
        )
    return rows
