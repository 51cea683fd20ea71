"""What labels say of a window of a scene: the class of every pixel and, for instance chips, the objects."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.chips.boundary import BoundaryLabels
from geoseg.chips.objects import ChipObjects, number_objects
from geoseg.chips.sources import Source, open_truth
from geoseg.classes import IGNORE, ClassMap
from geoseg.config import TileConfig
from geoseg.errors import LabelsError
from geoseg.raster.geobox import GeoBox
from geoseg.raster.labels import Labels
from geoseg.raster.vector_labels import VectorLabels
from geoseg.raster.windows import clip


@dataclass(frozen=True, kw_only=True)
class Burned:
    """Labels of a window.

    Attributes:
        ids: (S, S) uint8 class ids, 255 where unknown or not valid.
        objects: of the window, for instance chips; they agree with ``ids`` at every pixel.
    """

    ids: NDArray[np.uint8]
    objects: ChipObjects | None = None


class Truth(Protocol):
    """Labels of a scene."""

    def burn(self, window: Window, valid: NDArray[np.bool_]) -> Burned:
        """Labels of a window, which may reach beyond the scene, where ``valid`` (S, S)."""
        ...


TruthOf = Callable[[Source], Truth]
"""Finds the labels of a scene in an open file."""

Truths = Callable[[Path], contextlib.AbstractContextManager[TruthOf]]
"""Opens a file of labels."""


def label_truths(config: TileConfig, classes: ClassMap) -> Truths:
    """Files of labels as ``config`` wants them read and burned."""

    @contextlib.contextmanager
    def opened(path: Path) -> Iterator[TruthOf]:
        with open_truth(path, config, classes) as labels:
            if config.task == "instance" and isinstance(labels, VectorLabels):
                objects = labels
                yield lambda source: _Objects(objects, source)
            else:
                burn = _plain_burn(labels, classes, config.boundary_px)
                yield lambda source: _Classes(burn, source)

    return opened


def _plain_burn(
    labels: Labels, classes: ClassMap, width_px: float | None
) -> Callable[[GeoBox], NDArray[np.uint8]]:
    if width_px is None or not isinstance(labels, VectorLabels):
        return labels.burn
    return BoundaryLabels(labels, classes, width_px).burn


class _Classes:
    """Class ids only."""

    def __init__(self, burn: Callable[[GeoBox], NDArray[np.uint8]], source: Source) -> None:
        self._burn = burn
        self._source = source

    def burn(self, window: Window, valid: NDArray[np.bool_]) -> Burned:
        """See :class:`Truth`."""
        ids = self._burn(self._source.geobox.window(window))
        return Burned(ids=np.where(valid, ids, np.uint8(IGNORE)))


class _Objects:
    """Every polygon an object."""

    def __init__(self, labels: VectorLabels, source: Source) -> None:
        self._labels = labels
        self._source = source

    def burn(self, window: Window, valid: NDArray[np.bool_]) -> Burned:
        """See :class:`Truth`."""
        grid = self._source.geobox.window(window)
        seen = clip(window, self._source.geobox.shape)
        part = (0, 0) if seen is None else (seen.height, seen.width)
        owner = self._labels.burn_owners(grid)
        ids = np.where(valid, self._labels.owner_ids[owner], np.uint8(IGNORE))
        owner[~valid] = 0
        return burned_objects(
            ids,
            owner,
            (self._labels.kind_ids, self._labels.crowd),
            lambda numbers: self._labels.inside_shares(grid, numbers, part),
            f"{window.width} x {window.height} px of {self._source.shown}",
        )


def burned_objects(
    ids: NDArray[np.uint8],
    owner: NDArray[np.int32],
    kinds: tuple[NDArray[np.uint8], NDArray[np.bool_]],
    inside_shares: Callable[[NDArray[np.intp]], NDArray[np.float64]],
    where: str,
) -> Burned:
    """Labels with objects; the arguments are those of :func:`number_objects`, ``kinds`` two of them.

    Raises:
        LabelsError: there are more objects than a chip can hold; ``where`` says where.
    """
    try:
        objects = number_objects(owner, *kinds, inside_shares)
    except ValueError as reason:
        raise LabelsError(f"{where} hold {reason} in a chip; make the chips smaller with --size") from reason
    return Burned(ids=ids, objects=objects)
