"""A mask as bands of labels to be traced, with what is done to the labels before."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import IGNORE
from geoseg.errors import SceneError
from geoseg.progress import Progress
from geoseg.raster.layers import STEPS
from geoseg.raster.mask import Mask
from geoseg.raster.remote import shown
from geoseg.raster.scene import Scene
from geoseg.vector.corners import Band
from geoseg.vector.dissolve import Dissolved, Survey
from geoseg.vector.instances import Instances

_BAND_PX = 4 * 1024**2
"""Pixels of a band. Simplified lines have a fixed point where they cross from one band to the next, so this
is not for the user to choose: it would change the polygons."""

_LEAST_ROWS = 64


def band_rows(width: int) -> int:
    """Rows of a band, which the width of the raster alone decides."""
    return max(_LEAST_ROWS, _BAND_PX // width)


class Probabilities:
    """Probabilities of the classes of a mask, on its grid, as ``predict --probabilities`` writes them."""

    def __init__(self, path: Path, mask: Mask) -> None:
        """Open the file.

        Raises:
            SceneError: it cannot be used, is no uint8, or lies elsewhere than the mask.
        """
        self._scene = Scene.open(path, what="probabilities")
        try:
            box = self._scene.geobox
            if box.shape != mask.geobox.shape or not box.transform.almost_equals(mask.geobox.transform, 1e-9):
                raise SceneError(
                    f"probabilities {path} are not on the grid of mask {shown(mask.path)}; "
                    "predict both at once"
                )
            if self._scene.dtype != "uint8":
                raise SceneError(
                    f"probabilities {path} hold {self._scene.dtype}; give what predict writes, uint8"
                )
        except BaseException:
            self._scene.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scene.close()

    @property
    def count(self) -> int:
        """Number of classes, K."""
        return len(self._scene.bands)

    def read(self, top: int, rows: int) -> NDArray[np.uint8]:
        """Rows of all classes (K, rows, W): round(254 p); 255 where there is no data."""
        bands, valid = self._scene.read(Window(0, top, self._scene.geobox.width, rows))
        bands[:, ~valid] = IGNORE
        return bands.astype(np.uint8, copy=False)


@dataclass(frozen=True, kw_only=True)
class Opening:
    """Takes land for boundary where that is likely enough.

    Attributes:
        land: class ids that may be opened.
        boundary: id of the class between parcels.
        share: least probability of the boundary.
    """

    land: NDArray[np.int64]
    boundary: int
    share: float

    def __call__(self, class_ids: NDArray[Any], shares: NDArray[np.uint8]) -> NDArray[Any]:
        """Class ids (h, W) after it; ``shares`` (h, W) are round(254 p) of the boundary."""
        likely = (shares >= self.share * STEPS) & (shares != IGNORE) & np.isin(class_ids, self.land)
        return np.where(likely, np.asarray(self.boundary, class_ids.dtype), class_ids)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Reads a mask band after band; what :meth:`survey` and :meth:`bands` cut is the same.

    Attributes:
        mask: an open mask.
        probabilities: those of its classes, if given.
        progress: told of rows.
        opening: what parts parcels besides the boundary class, if anything.
    """

    mask: Mask
    probabilities: Probabilities | None
    progress: Progress
    opening: Opening | None = None

    @property
    def rows(self) -> int:
        """Rows of a band, which the width alone decides."""
        return band_rows(self.mask.geobox.width)

    def ids(self) -> Iterator[NDArray[Any]]:
        """Class ids (h, W) of bands."""
        box = self.mask.geobox
        for top in range(0, box.height, self.rows):
            rows = min(self.rows, box.height - top)
            yield self.mask.read_ids(Window(0, top, box.width, rows))
            self.progress.advance(rows)

    def ids_in(self, class_ids: NDArray[Any]) -> list[int]:
        """Ids that occur."""
        if class_ids.dtype == np.uint8:
            found = np.flatnonzero(np.bincount(class_ids.ravel(), minlength=IGNORE + 1))
        else:
            found = np.unique(class_ids)
        ids: list[int] = found[found != self.mask.absent].tolist()
        return ids

    def survey(self, row_areas: NDArray[np.float64]) -> tuple[Survey, set[int]]:
        """Go over the mask once, and tell the ids that occur; ``row_areas`` (H,) is that of a pixel."""
        survey, met = Survey(self.mask.absent), set[int]()
        top = 0
        for class_ids in self.ids():
            met.update(self.ids_in(class_ids))
            rows = row_areas[top : top + len(class_ids)]
            survey.add(self._opened(class_ids, top), rows)
            top += len(class_ids)
        return survey, met

    def _opened(self, class_ids: NDArray[Any], top: int) -> NDArray[Any]:
        if (
            self.opening is None
            or (shares := self._shares(top, len(class_ids), self.opening.boundary)) is None
        ):
            return class_ids
        return self.opening(class_ids, shares)

    def _shares(self, top: int, rows: int, class_id: int) -> NDArray[np.uint8] | None:
        """round(254 p) of a class on rows, if it is known."""
        if self.probabilities is None or class_id >= self.probabilities.count:
            return None
        shares: NDArray[np.uint8] = self.probabilities.read(top, rows)[class_id]
        return shares

    def bands(
        self, *, dissolved: Dissolved | None = None, instances: Instances | None = None, boundary: int = 0
    ) -> Iterator[Band]:
        """Labels to be traced.

        Args:
            dissolved: relabels regions.
            instances: numbers parcels.
            boundary: id of the class between parcels.
        """
        height = self.mask.geobox.height
        confident, plain = itertools.tee(self.ids())
        labels: Iterator[NDArray[Any]] = plain
        if dissolved is not None:
            labels = map(dissolved.relabel, plain)
        if instances is not None:
            labels = instances.bands(self._with_boundary(plain, boundary))
        above: NDArray[Any] | None = None
        top = 0
        for class_ids, rows in zip(confident, labels, strict=True):
            band = np.concatenate([rows[:1] if above is None else above, rows])
            yield Band(labels=band, top=top, height=height, values=self._confidence(class_ids, top))
            above = band[-1:].copy()
            top += len(rows)

    def _with_boundary(
        self, class_ids: Iterator[NDArray[Any]], boundary: int
    ) -> Iterator[tuple[NDArray[Any], NDArray[np.uint8] | None]]:
        top = 0
        for ids in class_ids:
            yield self._opened(ids, top), self._shares(top, len(ids), boundary)
            top += len(ids)

    def _confidence(self, class_ids: NDArray[Any], top: int) -> NDArray[np.float32] | None:
        """Probability (h, W) of the class that each pixel has; not-a-number where it is not known."""
        if self.probabilities is None:
            return None
        shares = self.probabilities.read(top, len(class_ids))
        known = (class_ids != self.mask.absent) & (class_ids < len(shares))
        share = np.take_along_axis(shares, np.where(known, class_ids, 0)[None].astype(np.intp), axis=0)[0]
        return np.where(known & (share != IGNORE), share / np.float32(STEPS), np.float32(np.nan))
