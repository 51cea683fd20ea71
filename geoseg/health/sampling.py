"""Looks at scenes and labels together: at all of a small scene, at evenly spread windows of a large one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.config import TileConfig
from geoseg.health.pixels import Tally
from geoseg.health.scene_checks import SceneFacts
from geoseg.health.shift import MARGIN_PX, WINDOW_PX, Shift, estimate, surfaces_of
from geoseg.progress import Progress
from geoseg.raster.geobox import GeoBox
from geoseg.raster.labels import Labels
from geoseg.raster.scene import Scene
from geoseg.raster.vector_labels import VectorLabels

STEP_PX = 3 * (WINDOW_PX - 2 * MARGIN_PX)
"""Windows are up to this far apart: three by three of those that the shift looks at fit into one."""

MAX_WINDOWS = 36
"""Windows looked at in a scene; again as many where labels are, for their shift."""

_MAX_CANDIDATES = 4096


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen of a scene.

    Attributes:
        tally: counts of the pixels of evenly spread windows.
        shift: of the labels, when there are enough edges.
        sampled: whether windows were left out.
    """

    tally: Tally
    shift: Shift | None
    sampled: bool


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A window to look at; those of a scene overlap by the margins of the shift.

    Attributes:
        window: in the scene.
        own: (rows, columns) of the window that no other piece has: all own parts hold every pixel once.
    """

    window: Window
    own: tuple[slice, slice]


def pieces_of(shape: tuple[int, int]) -> list[Piece]:
    """Pieces that cover a scene, row by row."""
    rows, cols = (_spans(length) for length in shape)
    return [
        Piece(window=Window(col, row, width, height), own=(slice(0, own_height), slice(0, own_width)))
        for row, height, own_height in rows
        for col, width, own_width in cols
    ]


def _spans(length: int) -> list[tuple[int, int, int]]:
    """Start, size and own size of pieces along one side."""
    inner = max(1, length - 2 * MARGIN_PX)
    count = -(-inner // STEP_PX)
    size = min(length, 2 * MARGIN_PX + -(-inner // count))
    starts = np.linspace(0, length - size, count, dtype=int).tolist()
    return [(one, size, next_ - one) for one, next_ in zip(starts, [*starts[1:], length], strict=True)]


def work(facts: SceneFacts) -> int:
    """How often :func:`look` tells that it has advanced."""
    return min(MAX_WINDOWS, len(pieces_of(facts.geobox.shape)))


def spread(count: int, wanted: int) -> list[int]:
    """``wanted`` of ``count`` numbers, spread evenly but in no fixed step; always the same."""
    if count <= wanted:
        return list(range(count))
    # One of every stretch, at a place drawn in it: a fixed step would look at one column of windows only.
    edges = np.linspace(0, count, wanted + 1)
    at = np.random.default_rng(count).random(wanted)
    return [int(low + (high - low) * part) for low, high, part in zip(edges, edges[1:], at, strict=False)]


def look(facts: SceneFacts, labels: Labels, config: TileConfig, progress: Progress) -> Look:
    """Read windows of a scene and the labels that lie there; advances ``progress`` :func:`work` times.

    Raises:
        LabelsError: the labels cannot be laid over the scene.
        ReadError: the scene or the labels are damaged.
    """
    every = pieces_of(facts.geobox.shape)
    even = spread(len(every), MAX_WINDOWS)
    labelled = _labelled(facts, labels, every)
    chosen = [labelled[i] for i in spread(len(labelled), MAX_WINDOWS)]
    tally, surfaces = Tally(len(facts.band_names), facts.dtype), []
    with Scene.open(facts.path, bands=config.bands, nodata=config.nodata, remote=True) as scene:
        for number in sorted({*even, *chosen}):
            bands, valid = scene.read(every[number].window)
            geobox = facts.geobox.window(every[number].window)
            owners, ids = _burn(labels, geobox)
            if number in even:
                own = every[number].own
                tally.add(bands[:, *own], valid[own], ids[own])
                progress.advance()
            if number in chosen:
                surfaces += surfaces_of(bands, valid, owners)
        scene.check_unchanged()
    return Look(tally=tally, shift=estimate(surfaces), sampled=len(even) < len(every))


def _labelled(facts: SceneFacts, labels: Labels, every: list[Piece]) -> list[int]:
    """Numbers of windows that labels lie in, of at most some thousands that are asked after."""
    asked = spread(len(every), _MAX_CANDIDATES)
    return [number for number in asked if labels.covers(facts.geobox.window(every[number].window))]


def _burn(labels: Labels, geobox: GeoBox) -> tuple[NDArray[np.int32] | NDArray[np.uint8], NDArray[np.uint8]]:
    """What tells the edges of labels in a window, and the class ids there."""
    if not isinstance(labels, VectorLabels):
        ids = labels.burn(geobox)
        return ids, ids
    owners = labels.burn_owners(geobox)
    return owners, labels.owner_ids[owners]
