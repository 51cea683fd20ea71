"""What is to be scored, as class ids on a grid: a mask, or the likeliest of class probabilities."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import IGNORE, MAX_CLASSES, ClassMap
from geoseg.errors import SceneError
from geoseg.raster.geobox import GeoBox
from geoseg.raster.mask import CLASSES_TAG, classes_of_tags
from geoseg.raster.remote import shown
from geoseg.raster.scene import Scene


class Prediction(Protocol):
    """Class ids on a grid; :class:`geoseg.raster.mask.Mask` is one."""

    @property
    def path(self) -> Path:
        """The file."""

    @property
    def geobox(self) -> GeoBox:
        """Its grid."""

    @property
    def classes(self) -> ClassMap | None:
        """What the ids mean, when the file says so."""

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Class ids (h, w) of a window, 255 where there is no prediction."""

    def check_unchanged(self) -> None:
        """See :meth:`geoseg.raster.scene.Scene.check_unchanged`."""


@dataclass(frozen=True, kw_only=True)
class Likeliest:
    """The likeliest class of every pixel of probabilities, one band a class; a context manager.

    Of equally likely classes the first. Where probabilities are stored in steps (uint8), close calls can
    therefore differ from the mask that was written with them.

    Attributes:
        path: the file.
        geobox: its grid.
        classes: what the bands mean, when the file says so.
    """

    path: Path
    geobox: GeoBox
    classes: ClassMap | None
    _scene: Scene = field(repr=False)

    @classmethod
    def open(cls, path: Path) -> Likeliest:
        """Open probabilities.

        Raises:
            SceneError: no readable raster, one band only, or bands that are not those of its classes.
        """
        scene = Scene.open(path, what="probabilities", remote=True)
        try:
            classes = classes_of_tags(scene.tags(), f"probabilities {shown(path)}")
            bands = len(scene.bands)
            if not 2 <= bands <= MAX_CLASSES:
                raise SceneError(f"probabilities {shown(path)} have {bands} bands; give one for each class")
            if classes is not None and len(classes) != bands:
                raise SceneError(
                    f"probabilities {shown(path)} have {bands} bands for {len(classes)} classes in their "
                    f"{CLASSES_TAG} tag; predict them again"
                )
            return cls(path=path, geobox=scene.geobox, classes=classes, _scene=scene)
        except BaseException:
            scene.close()
            raise

    @property
    def bands(self) -> int:
        """Number of classes."""
        return len(self._scene.bands)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scene.close()

    def check_unchanged(self) -> None:
        """See :meth:`geoseg.raster.scene.Scene.check_unchanged`."""
        self._scene.check_unchanged()

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Class ids (h, w) of a window; 255 where any band has no data.

        Raises:
            ReadError: the file is damaged there.
        """
        bands, valid = self._scene.read(window)
        ids: NDArray[np.uint8] = bands.argmax(axis=0).astype(np.uint8)
        ids[~valid] = IGNORE
        return ids
