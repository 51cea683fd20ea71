"""Scenes before they are cut: do they go together, and are they large enough?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geoseg.chips.ground import Ground, overlapping_pairs
from geoseg.chips.write import safe_names
from geoseg.config import TileConfig
from geoseg.errors import GeosegError
from geoseg.health.finding import Finding, finding, plural
from geoseg.raster.geobox import GeoBox
from geoseg.raster.remote import stem
from geoseg.raster.scene import Scene

GSD_RATIO = 1.5
"""Pixel sizes that differ by more than this are told."""

FEW_CHIPS = 20
"""Fewer chips than this are few to train on, whatever the network."""

_SHARED_SHARE = 0.01


@dataclass(frozen=True, kw_only=True)
class SceneFacts:
    """What the header of a scene says.

    Attributes:
        name: safe and unique, as in the names of chips.
        path: the file.
        geobox: its grid.
        band_names: one a chosen band.
        dtype: numpy name of the bands' dtype.
    """

    name: str
    path: Path
    geobox: GeoBox
    band_names: tuple[str, ...]
    dtype: str


def open_scenes(paths: Sequence[Path], config: TileConfig) -> tuple[list[SceneFacts], list[Finding]]:
    """Headers of all scenes that open, and a finding for those that do not."""
    facts, broken = [], []
    for path, name in zip(paths, safe_names([stem(path) for path in paths]), strict=True):
        try:
            with Scene.open(path, bands=config.bands, nodata=config.nodata, remote=True) as scene:
                scene.geobox.check_place(f"scene {scene.shown}")
                facts.append(
                    SceneFacts(
                        name=name,
                        path=path,
                        geobox=scene.geobox,
                        band_names=scene.band_names,
                        dtype=scene.dtype,
                    )
                )
        except GeosegError as error:
            broken.append(f"{name}: {error}")
    return facts, unreadable("scene", broken)


def unreadable(noun: str, broken: Sequence[str]) -> list[Finding]:
    """A finding about files that could not be read, each with the reason."""
    if not broken:
        return []
    what = f"{plural(len(broken), noun)} that cannot be read"
    return [finding("error", "unreadable", what, "repair them or leave them out", broken)]


def header_findings(scenes: Sequence[SceneFacts], config: TileConfig) -> list[Finding]:
    """Judge what the headers say."""
    found = [*_mixed_bands(scenes), *gsd_findings({scene.name: scene.geobox.gsd_m for scene in scenes})]
    found += [*_georeferencing(scenes), *_sizes(scenes, config)]
    return found + _same_ground(scenes)


def _mixed_bands(scenes: Sequence[SceneFacts]) -> list[Finding]:
    found = []
    kinds: dict[tuple[int, str], list[str]] = defaultdict(list)
    for scene in scenes:
        kinds[len(scene.band_names), scene.dtype].append(scene.name)
    if len(kinds) > 1:
        often = sorted(kinds.items(), key=lambda item: -len(item[1]))
        text = ", ".join(f"{len(names)} with {plural(n, 'band')} of {dtype}" for (n, dtype), names in often)
        found.append(
            finding(
                "error",
                "bands",
                f"scenes that do not go together: {text}",
                "choose the same bands of all with --bands, convert them to one type, or tile them apart",
                [name for _, names in often[1:] for name in names],
            )
        )
    return found


def gsd_findings(sizes: dict[str, float | None]) -> list[Finding]:
    """Judge the pixel sizes in metres of scenes."""
    known = {name: gsd_m for name, gsd_m in sizes.items() if gsd_m is not None}
    if not known or max(known.values()) <= GSD_RATIO * min(known.values()):
        return []
    finest, coarsest = min(known.values()), max(known.values())
    middle = float(np.sqrt(finest * coarsest))
    fewer = sorted(
        ([n for n, gsd_m in known.items() if (gsd_m < middle) == fine] for fine in (True, False)), key=len
    )[0]
    return [
        finding(
            "warning",
            "gsd",
            f"pixels of {finest:.3g} m to {coarsest:.3g} m: a model sees all of them at one scale",
            "bring the scenes to one pixel size with gdalwarp -tr, or make sure that the scale may vary",
            [f"{name} ({known[name]:.3g} m)" for name in fewer],
        )
    ]


def _georeferencing(scenes: Sequence[SceneFacts]) -> list[Finding]:
    found = []
    without = [scene.name for scene in scenes if scene.geobox.crs is None and scene.geobox.gcps_crs is None]
    if without:
        found.append(
            finding(
                "warning",
                "crs",
                f"{plural(len(without), 'scene')} without a CRS",
                "write the CRS into the scene; labels are laid over it only as far as coordinates agree",
                without,
            )
        )
    impossible = [
        scene.name
        for scene in scenes
        if scene.geobox.crs is not None
        and scene.geobox.crs.is_geographic
        and scene.geobox.georeferenced
        and (
            max(map(abs, scene.geobox.bounds[1::2])) > 90.1 or max(map(abs, scene.geobox.bounds[::2])) > 360.1
        )
    ]
    if impossible:
        found.append(
            finding(
                "error",
                "crs",
                f"{plural(len(impossible), 'scene')} with coordinates that degrees cannot have",
                "the scene tells the wrong CRS; set the right one",
                impossible,
            )
        )
    return found


def _sizes(scenes: Sequence[SceneFacts], config: TileConfig) -> list[Finding]:
    found, size_px = [], config.size_px
    small = [
        f"{scene.name} ({scene.geobox.width} x {scene.geobox.height} px)"
        for scene in scenes
        if min(scene.geobox.shape) < size_px
    ]
    if small:
        found.append(
            finding(
                "warning",
                "size",
                f"{plural(len(small), 'scene')} smaller than a chip of {size_px} px: the rest of it is empty",
                f"leave them out{_smaller(size_px)}",
                small,
            )
        )
    stride = size_px - config.overlap_px
    chips = sum(
        int(np.prod([max(1, -(-(side - config.overlap_px) // stride)) for side in scene.geobox.shape]))
        for scene in scenes
    )
    if scenes and chips < FEW_CHIPS:
        found.append(
            finding(
                "warning",
                "few",
                f"about {plural(chips, 'chip')} of {size_px} px in all: few to learn from",
                f"label more land{_smaller(size_px)}",
            )
        )
    return found


def _smaller(size_px: int) -> str:
    return f", or cut smaller chips, such as --size {size_px // 64 * 32}" if size_px >= 128 else ""


def _same_ground(scenes: Sequence[SceneFacts]) -> list[Finding]:
    """Scenes that show the same land; tile keeps them in one split, other programs may not."""
    placed = [scene for scene in scenes if scene.geobox.crs is not None and scene.geobox.georeferenced]
    if len(placed) < 2:
        return []
    windows = np.array([(0, 0, scene.geobox.width, scene.geobox.height) for scene in placed], np.int64)
    ground = Ground([scene.geobox for scene in placed])
    pairs, shared_px = overlapping_pairs(ground, np.arange(len(placed), dtype=np.intp), windows)
    pixels = np.array([scene.geobox.width * scene.geobox.height for scene in placed])
    shares = shared_px / np.minimum(pixels[pairs[:, 0]], pixels[pairs[:, 1]])
    where = [
        f"{placed[one].name} and {placed[other].name} ({share:.0%})"
        for (one, other), share in zip(pairs.tolist(), shares.tolist(), strict=True)
        if share >= _SHARED_SHARE
    ]
    if not where:
        return []
    return [
        finding(
            "note",
            "ground",
            f"{plural(len(where), 'pair')} of scenes that show the same ground",
            "nothing: tile keeps such land in one split; leave one scene out if it is the same image",
            where,
        )
    ]
