"""Reads every chip of a folder once, and keeps of each what the checks need: never the pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoseg.chips.store import Chip, ChipStore
from geoseg.classes import IGNORE
from geoseg.errors import GeosegError, SceneError
from geoseg.health.pixels import Tally
from geoseg.health.sampling import spread
from geoseg.health.shift import Shift, estimate, surfaces_of
from geoseg.progress import Progress
from geoseg.raster.geobox import GeoBox
from geoseg.raster.scene import Scene

THUMB_PX = 16
"""Side of the thumbnails by which chips that look alike are found."""

MAX_SHIFT_PX = 3_000_000
"""Pixels of a scene's chips in which the shift of its labels is looked for."""


@dataclass(frozen=True, kw_only=True)
class ChipFacts:
    """What is kept of a chip.

    Attributes:
        chip: its entry in ``chips.json``.
        geobox: grid of its image.
        same_grid: whether the labels lie on the same grid.
        valid_share: share of valid pixels.
        part: (col, row, width, height) around its valid pixels; of no size without any.
        class_pixels: (K,) labelled pixels of each class, counted.
        blank: whether all valid pixels have the same values.
        digest: of its pixels; equal only where all pixels are.
        thumb: (THUMB_PX ** 2,) float32 thumbnail with mean 0 and length 1; 0 when there is nothing to see.
    """

    chip: Chip
    geobox: GeoBox
    same_grid: bool
    valid_share: float
    part: tuple[int, int, int, int]
    class_pixels: NDArray[np.int64]
    blank: bool
    digest: bytes
    thumb: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ChipsLook:
    """What was seen of a chips folder.

    Attributes:
        chips: every chip that could be read, in the order of ``chips.json``.
        broken: ``name: reason`` of every other.
        tallies: counts of the pixels, by scene.
        shifts: of the labels, by scene; ``None`` without enough edges.
    """

    chips: tuple[ChipFacts, ...]
    broken: tuple[str, ...]
    tallies: dict[str, Tally]
    shifts: dict[str, Shift | None]


def look_at_chips(store: ChipStore, progress: Progress) -> ChipsLook:
    """Read every chip."""
    by_scene: dict[str, list[Chip]] = {}
    for chip in store.chips():
        by_scene.setdefault(chip.scene, []).append(chip)
    facts: dict[str, ChipFacts] = {}
    broken: list[str] = []
    tallies, shifts = {}, {}
    known_crs: dict[str, CRS] = {}
    progress.begin("look at chips", len(store.chips()), "chips")
    for scene, chips in by_scene.items():
        tallies[scene] = Tally(len(store.band_names), store.dtype)
        surfaces: list[NDArray[np.float64]] = []
        wanted = _with_edges(chips)
        for chip in chips:
            progress.advance()
            try:
                bands, valid, labels = store.read(chip)
                facts[chip.name] = _facts(store, chip, bands, valid, labels, known_crs)
            except GeosegError as error:
                broken.append(f"{chip.name}: {error}")
                continue
            tallies[scene].add(bands, valid, labels)
            if chip.name in wanted:
                surfaces += surfaces_of(bands, valid, labels)
        shifts[scene] = estimate(surfaces)
    progress.end()
    ordered = tuple(facts[chip.name] for chip in store.chips() if chip.name in facts)
    return ChipsLook(chips=ordered, broken=tuple(broken), tallies=tallies, shifts=shifts)


def _with_edges(chips: Sequence[Chip]) -> set[str]:
    """Names of chips with more than one kind of land, evenly spread over the scene."""
    size = [chip.window[2] * chip.window[3] * chip.valid_share for chip in chips]
    mixed = [
        chip.name
        for chip, pixels in zip(chips, size, strict=True)
        if 0 < max(chip.class_pixels) < 0.995 * pixels
    ]
    side = chips[0].window[2]
    return {mixed[i] for i in spread(len(mixed), max(1, MAX_SHIFT_PX // side**2))}


def _facts(
    store: ChipStore,
    chip: Chip,
    bands: NDArray[Any],
    valid: NDArray[np.bool_],
    labels: NDArray[np.uint8],
    known_crs: dict[str, CRS],
) -> ChipFacts:
    geobox, of_labels = _grid(store, chip, images=True), _grid(store, chip, images=False)
    if geobox.crs is not None:
        # One object for all chips: each holds a PROJ object of its own.
        geobox = replace(geobox, crs=known_crs.setdefault(geobox.crs.to_wkt(), geobox.crs))
    values = bands[:, valid]
    shown = np.where(valid, bands, np.zeros((), bands.dtype))
    return ChipFacts(
        chip=chip,
        geobox=geobox,
        same_grid=geobox.same_grid(of_labels),
        valid_share=float(valid.mean()),
        part=_extent(valid),
        class_pixels=np.bincount(labels.ravel(), minlength=IGNORE + 1)[: len(store.classes)],
        blank=not values.size or bool((values == values[:, :1]).all()),
        digest=hashlib.blake2b(shown.tobytes() + np.packbits(valid).tobytes(), digest_size=16).digest(),
        thumb=_thumb(bands, valid),
    )


def _grid(store: ChipStore, chip: Chip, *, images: bool) -> GeoBox:
    path = store.image_path(chip) if images else store.label_path(chip)
    try:
        with Scene.open(path, bands=[1], what="chip") as opened:
            return opened.geobox
    except SceneError as error:
        raise GeosegError(str(error)) from error


def _extent(valid: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    rows, cols = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    if not len(rows):
        return 0, 0, 0, 0
    return int(cols[0]), int(rows[0]), int(cols[-1] - cols[0] + 1), int(rows[-1] - rows[0] + 1)


def _thumb(bands: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Mean of all bands in THUMB_PX ** 2 parts of the chip, standardised."""
    height, width = (side // THUMB_PX * THUMB_PX for side in valid.shape)
    gray = np.zeros(valid.shape)
    for band in bands:
        values = np.where(valid, band, 0).astype(np.float64)
        gray += np.where(np.isfinite(values), values, 0.0)
    parts = gray[:height, :width].reshape(THUMB_PX, height // THUMB_PX, THUMB_PX, width // THUMB_PX)
    thumb = parts.mean(axis=(1, 3)).ravel()
    thumb -= thumb.mean()
    length = float(np.linalg.norm(thumb))
    return np.asarray(thumb / length if length > 0.0 else thumb, np.float32)
