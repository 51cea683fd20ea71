"""A chips folder as training reads it: ``chips.json`` says everything, the GeoTIFFs hold the pixels.

::

    chips/chips.json                 classes, bands, statistics, split, and a line for every chip
    chips/images/NAME.tif            bands in the scene's own dtype; internal mask where pixels are invalid
    chips/labels/NAME.tif            uint8 class ids, 255 = ignore
    chips/objects/NAME.tif           of instance chips only, see geoseg.chips.objects
    chips/chips.gpkg                 footprints, for people

The folder may come from a stranger: sizes are capped, every value is checked, and no name can lead out of the
folder. Neither torch nor rasterio is needed before the first chip is read.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from geoseg.chips.objects import OBJECTS_TAG, ChipObjects, facts_from_json
from geoseg.classes import IGNORE, BandStats, ClassMap
from geoseg.errors import ChipsError, SceneError

CHIPS_FILE = "chips.json"
SCHEMA_VERSION = 1
MAX_BYTES = 128 * 1024**2
"""Largest ``chips.json`` read: about half a million chips."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

Task = Literal["semantic", "instance"]

_Dtype = Literal[
    "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"
]
_Px = Annotated[int, Field(ge=-(2**31), le=2**31)]
# A name becomes a file name: it starts with a letter or digit, so it is neither a path nor "..".
_Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,119}$")]


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One square window of a scene.

    Attributes:
        name: file name without suffix.
        scene: name of the scene it was cut from.
        window: (col, row, width, height) in the scene, in pixels; reaches beyond a scene
            smaller than a chip.
        own: the part of ``window`` that no chip before it covers, in the same form. The own
            parts of all chips hold every pixel once, where the windows overlap.
        split: ``train``, ``val`` or ``test``.
        valid_share: share of the chip's pixels that are valid, 0 to 1.
        class_pixels: pixels of each class id in the whole chip.
    """

    name: str
    scene: str
    window: tuple[int, int, int, int]
    own: tuple[int, int, int, int]
    split: Split
    valid_share: float
    class_pixels: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """The chip's entry in ``chips.json``."""
        return {
            "name": self.name,
            "scene": self.scene,
            "window": list(self.window),
            "own": list(self.own),
            "split": self.split,
            "valid_share": round(self.valid_share, 6),
            "class_pixels": list(self.class_pixels),
        }


@dataclass(frozen=True, kw_only=True)
class ChipStore:
    """An opened chips folder.

    Attributes:
        folder: where it is.
        task: ``instance`` when the chips tell objects apart, besides the class of every pixel.
        classes: names and colours of the ids. Of instance chips, 0 is the background, all others are things.
        stats: band statistics of the valid pixels of the training blocks, each pixel counted once.
        band_names: one a band.
        dtype: numpy name of the bands' dtype.
        size_px: side of the chips.
        overlap_px: overlap of neighbouring chips of a block.
        gsd_m: side of a pixel in metres (median of the scenes); ``None`` when unknown.
        gsd_range_m: the smallest and the largest one of the scenes; ``None`` when unknown.
        crs_wkt: CRS of all scenes; ``None`` when they differ or have none.
        scenes: names of the source scenes.
    """

    folder: Path
    task: Task
    classes: ClassMap
    stats: BandStats
    band_names: tuple[str, ...]
    dtype: str
    size_px: int
    overlap_px: int
    gsd_m: float | None
    gsd_range_m: tuple[float, float] | None
    crs_wkt: str | None
    scenes: tuple[str, ...]
    _chips: tuple[Chip, ...] = field(repr=False)
    _sha256: str = field(repr=False)

    @classmethod
    def open(cls, folder: Path) -> ChipStore:
        """Read and check ``chips.json``; no chip is opened.

        Raises:
            ChipsError: ``folder`` is no chips folder, or ``chips.json`` is damaged.
        """
        folder = Path(folder)
        content = _read_bytes(folder)
        try:
            file = _ChipsFile.model_validate_json(content)
            return cls._of(folder, file, hashlib.sha256(content).hexdigest())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            key = ".".join(str(part) for part in first["loc"])
            reason = f"{key}: {first['msg']}" if key else first["msg"]
            raise _damaged(folder, reason) from error
        except (ValueError, OverflowError) as error:
            raise _damaged(folder, str(error)) from error

    @classmethod
    def _of(cls, folder: Path, file: _ChipsFile, sha256: str) -> ChipStore:
        classes = ClassMap.from_json(file.classes)
        stats = BandStats.from_json(file.stats)
        if len(stats.count) != len(file.bands):
            raise ValueError(f"statistics of {len(stats.count)} bands for {len(file.bands)} bands")
        if min(stats.count) < 1 or min(stats.m2) < 0.0:
            raise ValueError("band statistics of no pixels")
        if file.task == "instance" and (
            classes.background != 0 or classes.boundary is not None or len(classes) < 2
        ):
            raise ValueError("the classes of instance chips are background and things")
        if file.overlap_px >= file.size_px:
            raise ValueError("overlap_px is not below size_px")
        scenes = tuple(scene.name for scene in file.scenes)
        sizes = [scene.gsd_m for scene in file.scenes if scene.gsd_m is not None]
        chips = tuple(_chip(entry, file.size_px, len(classes)) for entry in file.chips)
        _check_names(chips, scenes)
        return cls(
            folder=folder,
            task=file.task,
            classes=classes,
            stats=stats,
            band_names=tuple(file.bands),
            dtype=file.dtype,
            size_px=file.size_px,
            overlap_px=file.overlap_px,
            gsd_m=file.gsd_m,
            gsd_range_m=(min(sizes), max(sizes)) if sizes else None,
            crs_wkt=file.crs,
            scenes=scenes,
            _chips=chips,
            _sha256=sha256,
        )

    def chips(self, split: str | None = None) -> tuple[Chip, ...]:
        """Chips of a split, or all of them, in the order they were cut."""
        return tuple(chip for chip in self._chips if split is None or chip.split == split)

    def image_path(self, chip: Chip) -> Path:
        """File of the chip's bands."""
        return self.folder / "images" / f"{chip.name}.tif"

    def label_path(self, chip: Chip) -> Path:
        """File of the chip's class ids."""
        return self.folder / "labels" / f"{chip.name}.tif"

    def objects_path(self, chip: Chip) -> Path:
        """File of the chip's objects, for instance chips."""
        return self.folder / "objects" / f"{chip.name}.tif"

    def read(self, chip: Chip) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.uint8]]:
        """Pixels of a chip; S is ``size_px``.

        Returns:
            ``bands`` (B, S, S) in ``dtype``, ``valid`` (S, S), and ``labels`` (S, S) uint8 class ids,
            255 where unknown or not valid.

        Raises:
            ChipsError: a file is missing, or is not what ``chips.json`` says.
            ReadError: a file is damaged.
        """
        bands, valid, _ = self._read_raster(self.image_path(chip), len(self.band_names), self.dtype)
        (labels,), _, _ = self._read_raster(self.label_path(chip), 1, "uint8")
        wrong = (labels >= len(self.classes)) & (labels != IGNORE)
        if wrong.any():
            raise ChipsError(
                f"{self.label_path(chip)} holds the id {labels[wrong][0]} of {len(self.classes)} classes; "
                "make the chips again"
            )
        return bands, valid, np.where(valid, labels, np.uint8(IGNORE))

    def read_objects(self, chip: Chip) -> ChipObjects:
        """Objects of a chip of instance chips.

        Raises:
            ChipsError: these are no instance chips, the file is missing, or it is not what it should be.
            ReadError: the file is damaged.
        """
        if self.task != "instance":
            raise ChipsError(f"{self.folder} holds no objects; make the chips with --task instance")
        path = self.objects_path(chip)
        (numbers,), _, tags = self._read_raster(path, 1, "uint16")
        try:
            facts = facts_from_json(tags.get(OBJECTS_TAG, ""), self.classes)
            objects = ChipObjects(numbers=numbers, facts=facts)
            if int(numbers.max()) > objects.count:
                raise ValueError(f"it holds number {numbers.max()} of {objects.count} objects")
        except ValueError as reason:
            text = " ".join(str(reason).split())[:300]
            raise ChipsError(f"objects {path} are damaged: {text}; make the chips again") from reason
        return objects

    def _read_raster(
        self, path: Path, count: int, dtype: str
    ) -> tuple[NDArray[Any], NDArray[np.bool_], dict[str, str]]:
        """Bands, valid pixels and tags of a file of a chip."""
        from rasterio.windows import Window

        from geoseg.raster.scene import Scene

        try:
            # Bands are named, so that none is taken for alpha.
            opened = Scene.open(path, bands=range(1, count + 1), what="chip")
        except SceneError as error:
            raise ChipsError(str(error)) from error
        with opened as chip:
            shape = (self.size_px, self.size_px)
            if chip.geobox.shape != shape or chip.dtype != dtype:
                height, width = chip.geobox.shape
                raise ChipsError(
                    f"chip {path} is {width} x {height} {chip.dtype}, not {shape[1]} x {shape[0]} {dtype} as "
                    f"{CHIPS_FILE} says; make the chips again"
                )
            bands, valid = chip.read(Window(0, 0, self.size_px, self.size_px))
            try:
                return bands, valid, chip.tags()
            except SceneError as error:
                raise ChipsError(str(error)) from error

    def fingerprint(self) -> str:
        """SHA-256 of ``chips.json`` in hex, by which a run knows its chips again."""
        return self._sha256


class _Section(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _SceneEntry(_Section):
    name: _Name
    gsd_m: float | None = Field(None, gt=0.0)


class _ChipEntry(_Section):
    name: _Name
    scene: _Name
    window: tuple[_Px, _Px, _Px, _Px]
    own: tuple[_Px, _Px, _Px, _Px]
    split: Split
    valid_share: float = Field(ge=0.0, le=1.0)
    class_pixels: list[Annotated[int, Field(ge=0, le=2**31)]] = Field(max_length=IGNORE)


class _ChipsFile(_Section):
    version: Literal[1]
    task: Task = "semantic"
    classes: dict[str, Any]
    bands: list[Annotated[str, Field(max_length=200)]] = Field(min_length=1, max_length=4096)
    dtype: _Dtype
    stats: dict[str, Any]
    size_px: int = Field(ge=32, le=4096, multiple_of=32)
    overlap_px: int = Field(ge=0)
    gsd_m: float | None = Field(gt=0.0)
    crs: str | None = Field(max_length=100_000)
    scenes: list[_SceneEntry] = Field(min_length=1)
    chips: list[_ChipEntry] = Field(min_length=1)


def _read_bytes(folder: Path) -> bytes:
    path = folder / CHIPS_FILE
    if not folder.exists():
        raise ChipsError(f"{folder} does not exist; make chips with geoseg tile")
    if not path.is_file():
        raise ChipsError(f"{folder} has no {CHIPS_FILE}; make chips with geoseg tile")
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ChipsError(f"{path} is larger than {MAX_BYTES} bytes; this is no chips folder of geoseg")
    return content


def _damaged(folder: Path, reason: str) -> ChipsError:
    text = " ".join(reason.split())[:300]
    return ChipsError(f"{folder / CHIPS_FILE} is damaged: {text}; make the chips again with geoseg tile")


def _chip(entry: _ChipEntry, size_px: int, classes: int) -> Chip:
    col, row, width, height = entry.window
    own_col, own_row, own_width, own_height = entry.own
    if (width, height) != (size_px, size_px):
        raise ValueError(f"chip {entry.name} is not {size_px} pixels wide and high")
    if not (
        col <= own_col <= own_col + own_width <= col + width
        and row <= own_row <= own_row + own_height <= row + height
    ):
        raise ValueError(f"chip {entry.name} owns pixels outside its window")
    if len(entry.class_pixels) != classes or sum(entry.class_pixels) > size_px * size_px:
        raise ValueError(f"chip {entry.name} counts the pixels of {classes} classes wrongly")
    return Chip(
        name=entry.name,
        scene=entry.scene,
        window=entry.window,
        own=entry.own,
        split=entry.split,
        valid_share=entry.valid_share,
        class_pixels=tuple(entry.class_pixels),
    )


def _check_names(chips: tuple[Chip, ...], scenes: tuple[str, ...]) -> None:
    # By case-folded name: file systems of macOS and Windows tell no more apart.
    name, times = Counter(chip.name.casefold() for chip in chips).most_common(1)[0]
    if times > 1:
        raise ValueError(f"there are {times} chips called {name}")
    strange = {chip.scene for chip in chips} - set(scenes)
    if strange:
        raise ValueError(f"there is no scene {min(strange)}")
