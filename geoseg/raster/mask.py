"""A prediction on disk: class ids on a grid, and what the ids mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg import strict_json
from geoseg.classes import IGNORE, ClassMap
from geoseg.errors import SceneError
from geoseg.raster.gdal import gdal_errors, open_raster
from geoseg.raster.geobox import GeoBox
from geoseg.raster.remote import shown
from geoseg.raster.scene import Scene

CLASSES_TAG = "GEOSEG_CLASSES"
"""TIFF tag with the ClassMap as JSON."""

MAX_ID = np.iinfo(np.int32).max
"""Greatest id that :meth:`Mask.read_ids` takes."""

MAX_CLASSES_BYTES = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Mask:
    """An open mask; a context manager.

    Attributes:
        path: the file.
        geobox: its grid.
        classes: what the ids mean, when the file says so.
        nodata: the value the file declares as nodata; :meth:`read` turns it into 255.
        dtype: numpy name of the dtype on disk.
    """

    path: Path
    geobox: GeoBox
    classes: ClassMap | None
    nodata: float | None
    dtype: str
    _scene: Scene = field(repr=False)
    _what: str = field(repr=False)

    def __enter__(self) -> Mask:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._scene.close()

    def check_unchanged(self) -> None:
        """See :meth:`geoseg.raster.scene.Scene.check_unchanged`."""
        self._scene.check_unchanged()

    @property
    def absent(self) -> int:
        """What :meth:`read_ids` gives where there is no data: 255 in masks of bytes, else -1."""
        return IGNORE if np.dtype(self.dtype) == np.uint8 else -1

    def read_ids(self, window: Window) -> NDArray[Any]:
        """Ids (h, w) of a window as any program writes them; :attr:`absent` where there is no data.

        uint8 when the file holds bytes, else int32.

        Raises:
            SceneError: an id is negative or does not fit.
            ReadError: the file is damaged there.
        """
        if self.absent == IGNORE and self._scene.invalid_is(IGNORE):
            ids: NDArray[Any] = self._scene.read_values(window)[0]
            return ids
        (values,), valid = self._scene.read(window)
        if values.dtype == np.uint8:
            return np.where(valid, values, np.uint8(IGNORE))
        wrong = valid & ((values < 0) | (values > MAX_ID))
        if wrong.any():
            raise SceneError(
                f"{self._what} {shown(self.path)} holds the value {values[wrong][0]}; ids are 0 to {MAX_ID}"
            )
        # Cast first: among uint16 numbers, -1 is 65535.
        return np.where(valid, values.astype(np.int32), np.int32(-1))

    def read(self, window: Window) -> NDArray[np.uint8]:
        """Class ids (h, w) of a window; 255 where the mask has nodata and beyond it.

        Raises:
            SceneError: a value is no class id.
            ReadError: the file is damaged there.
        """
        return self._class_ids(*self._scene.read(window))

    def read_shrunk(self, window: Window, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """A look at a window within the mask in ``shape`` (h, w) pixels: class ids, 255 for nodata.

        Raises:
            SceneError, ReadError: as :meth:`read`.
        """
        return self._class_ids(*self._scene.read_shrunk(window, shape, smooth=False))

    @property
    def overviews(self) -> tuple[int, ...]:
        """See :attr:`geoseg.raster.scene.Scene.overviews`."""
        return self._scene.overviews

    def tags(self) -> dict[str, str]:
        """See :meth:`geoseg.raster.scene.Scene.tags`."""
        return self._scene.tags()

    def palette(self) -> dict[int, tuple[int, int, int]]:
        """Colours that the file itself gives to ids; none when it has no palette."""
        return self._scene.palette()

    def _class_ids(self, bands: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        (values,) = bands
        if values.dtype != np.uint8:
            wrong = valid & ((values < 0) | (values > IGNORE))
            if wrong.any():
                found = values[wrong][0]
                raise SceneError(
                    f"{self._what} {shown(self.path)} holds the value {found}; "
                    f"class ids are 0 to {IGNORE - 1}"
                )
        return np.where(valid, values, IGNORE).astype(np.uint8)


def open_mask(path: Path, *, what: str = "mask", remote: bool = False) -> Mask:
    """Open a mask: one band of whole numbers 0..255.

    Args:
        path: the file.
        what: how messages call the file.
        remote: as for :meth:`geoseg.raster.scene.Scene.open`.

    Raises:
        SceneError: no readable raster, several bands, no whole numbers, no place, or a damaged class list.
    """
    path = Path(path)
    scene = Scene.open(path, what=what, remote=remote)
    where = f"{what} {shown(path)}"
    try:
        if len(scene.bands) != 1:
            raise SceneError(f"{where} has {len(scene.bands)} bands; one band of class ids is wanted")
        if not np.issubdtype(np.dtype(scene.dtype), np.integer):
            raise SceneError(f"{where} holds {scene.dtype} numbers; class ids are whole numbers")
        scene.geobox.check_place(where)
        return Mask(
            path=path,
            geobox=scene.geobox,
            classes=classes_of_tags(scene.tags(), where),
            nodata=scene.nodata,
            dtype=scene.dtype,
            _scene=scene,
            _what=what,
        )
    except BaseException:
        scene.close()
        raise


def read_classes_tag(path: Path, *, what: str = "mask") -> ClassMap | None:
    """Classes a raster's own tag tells, or ``None`` when it has no such tag.

    Raises:
        SceneError: there is a tag, but a damaged one.
    """
    with open_raster(path, what=what) as dataset, gdal_errors(f"opening {what}", path, error=SceneError):
        tags: dict[str, str] = dataset.tags()
    return classes_of_tags(tags, f"{what} {path}")


def classes_of_tags(tags: Mapping[str, str], where: str) -> ClassMap | None:
    """Classes that a raster's tags tell, or ``None``; ``where`` is how a message calls the raster.

    Raises:
        SceneError: there is a tag, but a damaged one.
    """
    text = tags.get(CLASSES_TAG)
    if text is None:
        return None
    try:
        if len(text) > MAX_CLASSES_BYTES:
            raise ValueError("too long")
        return ClassMap.from_json(strict_json.loads(text))
    except ValueError as reason:
        raise SceneError(f"{where} has a damaged {CLASSES_TAG} tag: {reason}; predict it again") from reason
