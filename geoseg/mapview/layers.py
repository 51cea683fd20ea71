"""Rasters as layers of a map: each makes the picture of any tile, from the file's overviews if it has some.

Memory is that of a tile and of the blocks below it, whatever the size of the file. Not for several threads at
once: a layer reads one open file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import IGNORE
from geoseg.mapview.grid import Fit, fit
from geoseg.mapview.legend import Legend
from geoseg.mapview.pyramid import Pyramid
from geoseg.page.picture import Ids, Rgb, drawn, jpeg, limits, palette_png, ramp, shown_bands
from geoseg.raster.cog import MODEL_TAG
from geoseg.raster.geobox import GeoBox
from geoseg.raster.mask import Mask, open_mask
from geoseg.raster.remote import shown
from geoseg.raster.scene import Scene

QUALITY = 76
"""Of the scene's JPEG tiles."""

STEPS = 12
"""Steps of uncertainty. The first, from 0 to 1/12, is not drawn: there the scene shows."""

SURE_TO_UNSURE: tuple[Rgb, ...] = (
    (255, 240, 150),
    (250, 170, 70),
    (222, 80, 70),
    (140, 30, 110),
    (40, 8, 70),
)

_ONE = 254
"""What stands for 1 in a raster of bytes that ``predict`` wrote."""


@dataclass(frozen=True, kw_only=True)
class ImageLayer:
    """The scene.

    Attributes:
        scene: open, with the bands that are drawn.
        pyramid: its levels.
        ends: values of each band that are drawn black and white.
    """

    scene: Scene
    pyramid: Pyramid
    ends: tuple[tuple[float, float], ...]
    _whole: tuple[NDArray[Any], NDArray[np.bool_]] = field(repr=False)
    """The coarsest tile, which is slow to read where the file has no overviews."""

    @classmethod
    def open(cls, path: Path, *, bands: Sequence[int] | None = None) -> Self:
        """Open a scene.

        Args:
            path: a raster here.
            bands: 1-based, one or three, drawn as red, green and blue; those called so when not given.

        Raises:
            SceneError: as :meth:`geoseg.raster.scene.Scene.open`, or its pixels have no place.
            ReadError: the file is damaged.
        """
        if bands is None:
            with Scene.open(path) as whole:
                bands = [whole.bands[at] for at in shown_bands(whole.band_names)]
        scene = Scene.open(path, bands=bands)
        try:
            scene.geobox.check_place(f"scene {shown(path)}")
            pyramid = Pyramid(shape=scene.geobox.shape)
            top = (pyramid.coarsest, 0, 0)
            look = scene.read_shrunk(pyramid.window(*top), pyramid.size(*top), smooth=True)
            return cls(scene=scene, pyramid=pyramid, ends=tuple(limits(*look)), _whole=look)
        except BaseException:
            scene.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.scene.close()

    def tile(self, level: int, column: int, row: int, quality: int = QUALITY) -> bytes:
        """A tile as JPEG of a quality from 0 to 100.

        Raises:
            ReadError: the file is damaged there.
        """
        pixels = self._whole
        if level < self.pyramid.coarsest:
            window, size = self.pyramid.window(level, column, row), self.pyramid.size(level, column, row)
            pixels = self.scene.read_shrunk(window, size, smooth=True)
        return jpeg(drawn(*pixels, self.ends), quality)


@dataclass(frozen=True, kw_only=True)
class ClassLayer:
    """A mask.

    Attributes:
        mask: open.
        fit: how it lies on the scene.
        pyramid: the scene's levels.
        legend: what its ids mean.
    """

    mask: Mask
    fit: Fit
    pyramid: Pyramid
    legend: Legend

    @classmethod
    def open(cls, path: Path, scene: GeoBox) -> Self:
        """Open a mask on the grid of a scene, a part of it, or a finer one.

        Raises:
            SceneError: as :func:`geoseg.raster.mask.open_mask`, or it cannot be laid over the scene.
        """
        mask = open_mask(path)
        try:
            where = f"mask {shown(path)}"
            return cls(
                mask=mask,
                fit=fit(scene, mask.geobox, where),
                pyramid=Pyramid(shape=scene.shape),
                legend=Legend.of(mask),
            )
        except BaseException:
            mask.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.mask.close()

    def made_by(self) -> str | None:
        """Fingerprint of the model that made the mask, as the mask has it.

        Raises:
            SceneError: the file's tags are damaged.
        """
        return self.mask.tags().get(MODEL_TAG)

    def ids(self, window: Window, size: tuple[int, int]) -> Ids:
        """Class ids of a window of the scene, drawn in ``size`` (h, w) pixels; 255 where there are none.

        Raises:
            SceneError, ReadError: as :meth:`geoseg.raster.mask.Mask.read`.
        """
        ids = np.full(size, IGNORE, np.uint8)
        part = self.fit.part(window, size)
        if part is not None:
            ids[part.rows, part.columns] = self.mask.read_shrunk(part.window, part.size)
        return ids

    def tile(self, level: int, column: int, row: int) -> bytes:
        """A tile as PNG with the classes' palette, see-through where nothing is known.

        Raises:
            SceneError, ReadError: as :meth:`ids`.
        """
        ids = self.ids(self.pyramid.window(level, column, row), self.pyramid.size(level, column, row))
        highest = int(ids.max(initial=0, where=ids != IGNORE))
        return palette_png(ids, [self.legend.rgb(class_id) for class_id in range(highest + 1)])


@dataclass(frozen=True, kw_only=True)
class RampLayer:
    """A raster of numbers from 0 to 1, such as ``predict --uncertainty`` writes.

    Attributes:
        scene: open; bytes in which 254 is one, or floating-point numbers.
        fit: how it lies on the scene.
        pyramid: the scene's levels.
    """

    scene: Scene
    fit: Fit
    pyramid: Pyramid

    @classmethod
    def open(cls, path: Path, scene: GeoBox, *, what: str = "uncertainty") -> Self:
        """Open a raster on the grid of a scene.

        Raises:
            SceneError: no readable raster, or it cannot be laid over the scene.
        """
        raster = Scene.open(path, bands=[1], what=what)
        try:
            where = f"{what} {shown(path)}"
            return cls(scene=raster, fit=fit(scene, raster.geobox, where), pyramid=Pyramid(shape=scene.shape))
        except BaseException:
            raster.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.scene.close()

    def tile(self, level: int, column: int, row: int) -> bytes:
        """A tile as PNG with a palette of :data:`STEPS` colours.

        Raises:
            ReadError: the file is damaged there.
        """
        size = self.pyramid.size(level, column, row)
        steps = np.full(size, IGNORE, np.uint8)
        part = self.fit.part(self.pyramid.window(level, column, row), size)
        if part is not None:
            (values,), valid = self.scene.read_shrunk(part.window, part.size, smooth=True)
            steps[part.rows, part.columns] = _steps(values, valid)
        return palette_png(steps, ramp_colors())


def ramp_colors() -> list[Rgb]:
    """Colours of the steps of uncertainty, from sure to unsure."""
    return ramp(SURE_TO_UNSURE, STEPS)


def _steps(values: NDArray[np.generic], valid: NDArray[np.bool_]) -> Ids:
    shares = values.astype(np.float64)
    if np.issubdtype(values.dtype, np.integer):
        shares /= _ONE
    steps = np.clip(np.nan_to_num(shares) * STEPS, 0, STEPS - 1).astype(np.uint8)
    return np.where(valid, steps, np.uint8(IGNORE))
