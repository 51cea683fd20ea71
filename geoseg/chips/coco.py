"""A COCO file of instances, as of a stranger: read, capped, and checked to the last outline.

What is read: ``images`` (``id``, ``file_name``, ``width``, ``height``), ``categories`` (``id``, ``name``) and
``annotations`` (``image_id``, ``category_id``, ``segmentation`` as polygons or as run lengths, ``iscrowd``).
All else, boxes and areas too, follows from the outlines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rasterio.features import rasterize
from shapely import Polygon

from geoseg.chips import rle
from geoseg.classes import MAX_CLASSES, ClassMap
from geoseg.errors import LabelsError
from geoseg.raster.label_classes import BACKGROUND

MAX_BYTES = 512 * 1024**2
"""Largest file read; the largest one of COCO itself, of 118,287 images, has 449 MB."""

MAX_IMAGE_PIXELS = 10**8
"""Largest image, of which the objects are held in memory at four bytes a pixel."""

_FAR_PX = 1e6
"""No corner is further from its image."""


@dataclass(frozen=True, kw_only=True)
class Outline:
    """One annotation.

    Attributes:
        class_id: its class.
        crowd: whether it is an area of things that nobody told apart.
        inside_share: what the annotation says of the share of the object that is in the image; 1 if nothing.
        polygons: corners (M, 2) of each part as (x, y) in pixels from the upper left corner of the image, so
            that the centre of the first pixel is at (0.5, 0.5). Parts may overlap.
        runs: run lengths instead of polygons.
    """

    class_id: int
    crowd: bool
    inside_share: float
    polygons: tuple[NDArray[np.float64], ...]
    runs: NDArray[np.int64] | None

    def area(self) -> float:
        """Pixels it covers; overlaps of its own parts count twice."""
        if self.runs is not None:
            return float(self.runs[1::2].sum())
        return sum(abs(_shoelace(part)) for part in self.polygons)


@dataclass(frozen=True, kw_only=True)
class CocoImage:
    """An image and what is in it.

    Attributes:
        file_name: path below the folder of images.
        shape: (height, width) in pixels.
        first: number before that of its first outline, among all outlines of the file.
        outlines: in the order of the file.
    """

    file_name: str
    shape: tuple[int, int]
    first: int
    outlines: tuple[Outline, ...]

    def owners(self) -> NDArray[np.int32]:
        """(H, W) number of the outline that each pixel belongs to, from 1 in this image; 0 outside of all.

        Polygons are burned by pixel centre. A smaller outline lies on top of a larger, of equal ones the
        later.
        """
        owner = np.zeros(self.shape, np.int32)
        waiting: list[tuple[Polygon, int]] = []
        ordered = sorted(enumerate(self.outlines, 1), key=lambda item: item[1].area(), reverse=True)
        for number, outline in ordered:
            waiting += [(Polygon(part), number) for part in outline.polygons]
            if outline.runs is not None:
                _burn(waiting, owner)
                owner[rle.decode(outline.runs, self.shape)] = number
        _burn(waiting, owner)
        return owner


@dataclass(frozen=True, kw_only=True)
class CocoFile:
    """What a COCO file says.

    Attributes:
        path: the file.
        classes: background, then the categories in the order of their ids.
        images: in the order of the file.
        kind_ids: (N + 1,) uint8 class of each of the N outlines of the file, from 1; 0 at 0.
        crowd: (N + 1,) whether each is a crowd area.
        without_outline: annotations left out because they are a box, or less, only.
    """

    path: Path
    classes: ClassMap
    images: tuple[CocoImage, ...]
    kind_ids: NDArray[np.uint8]
    crowd: NDArray[np.bool_]
    without_outline: int

    @classmethod
    def read(cls, path: Path) -> CocoFile:
        """Read and check a file; no image is opened.

        Raises:
            LabelsError: missing, too large, no COCO file of instances, or damaged.
        """
        try:
            return cls._of(path, _File.model_validate_json(_read_bytes(path)))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            key = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("list[", "_")))
            raise _damaged(path, f"{key}: {first['msg']}" if key else first["msg"]) from error
        except ValueError as error:
            raise _damaged(path, str(error)) from error

    @classmethod
    def _of(cls, path: Path, file: _File) -> CocoFile:
        classes, id_of = _classes(file.categories)
        _check_images(file.images)
        outlines: dict[int, list[Outline]] = {image.id: [] for image in file.images}
        shapes = {image.id: (image.height, image.width) for image in file.images}
        without = 0
        for number, entry in enumerate(file.annotations):
            if entry.image_id not in shapes or entry.category_id not in id_of:
                kind = "image" if entry.image_id not in shapes else "category"
                raise ValueError(f"annotations.{number}: there is no {kind} of its {kind}_id")
            try:
                outline = _outline(entry, id_of[entry.category_id], shapes[entry.image_id])
            except ValueError as reason:
                raise ValueError(f"annotations.{number}: {reason}") from reason
            if outline is None:
                without += 1
            else:
                outlines[entry.image_id].append(outline)
        images, first = [], 0
        for image in file.images:
            mine = tuple(outlines[image.id])
            images.append(
                CocoImage(file_name=image.file_name, shape=shapes[image.id], first=first, outlines=mine)
            )
            first += len(mine)
        every = [outline for image in images for outline in image.outlines]
        return cls(
            path=path,
            classes=classes,
            images=tuple(images),
            kind_ids=np.array([0, *(outline.class_id for outline in every)], np.uint8),
            crowd=np.array([False, *(outline.crowd for outline in every)], np.bool_),
            without_outline=without,
        )


class _Section(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)


_Id = Annotated[int, Field(ge=0, lt=2**63)]
_Coordinate = Annotated[float, Field(ge=-_FAR_PX, le=_FAR_PX)]


class _Image(_Section):
    id: _Id
    file_name: str = Field(min_length=1, max_length=1000)
    width: int = Field(ge=1, le=MAX_IMAGE_PIXELS)
    height: int = Field(ge=1, le=MAX_IMAGE_PIXELS)


class _Category(_Section):
    id: _Id
    name: str = Field(min_length=1, max_length=200)


class _Runs(_Section):
    size: tuple[int, int]
    counts: str | list[Annotated[int, Field(ge=0, lt=2**31)]]


class _Annotation(_Section):
    image_id: _Id
    category_id: _Id
    segmentation: list[list[_Coordinate]] | _Runs | None = Field(None, union_mode="left_to_right")
    iscrowd: bool = False
    inside_share: float = Field(1.0, ge=0.0, le=1.0)


class _File(_Section):
    images: list[_Image] = Field(min_length=1)
    categories: list[_Category] = Field(min_length=1)
    annotations: list[_Annotation]


def _read_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as reason:
        raise LabelsError(f"annotations {path} cannot be read: {reason.strerror}; check the path") from reason
    if len(content) > MAX_BYTES:
        raise LabelsError(f"annotations {path} is larger than {MAX_BYTES // 1024**2} MiB; split the data set")
    return content


def _damaged(path: Path, reason: str) -> LabelsError:
    text = " ".join(reason.split())[:300]
    return LabelsError(f"annotations {path} are no COCO instances: {text}; give a COCO file of instances")


def _classes(categories: Sequence[_Category]) -> tuple[ClassMap, dict[int, int]]:
    """Classes, and the class id of each category id; one called background is the background."""
    ordered = sorted(categories, key=lambda category: category.id)
    if len({category.id for category in ordered}) < len(ordered):
        raise ValueError("two categories have the same id")
    names = [category.name for category in ordered if category.name.casefold() != BACKGROUND]
    if not names or len(names) >= MAX_CLASSES:
        raise ValueError(f"{len(names)} categories of things; 1 to {MAX_CLASSES - 1} are possible")
    classes = ClassMap.from_names([BACKGROUND, *names], background=0)
    id_of = {
        category.id: 0 if category.name.casefold() == BACKGROUND else classes.id_of(category.name)
        for category in ordered
    }
    return classes, id_of


def _check_images(images: Sequence[_Image]) -> None:
    for kind in ("id", "file_name"):
        value, times = Counter(getattr(image, kind) for image in images).most_common(1)[0]
        if times > 1:
            raise ValueError(f"{times} images have the {kind} {value!s:.80}")
    for image in images:
        if image.width * image.height > MAX_IMAGE_PIXELS:
            raise ValueError(
                f"image {image.file_name!s:.80} has {image.width} x {image.height} pixels, and "
                f"{MAX_IMAGE_PIXELS:,} are possible"
            )


def _outline(entry: _Annotation, class_id: int, shape: tuple[int, int]) -> Outline | None:
    """The outline of an annotation; ``None`` when it has none."""
    polygons: tuple[NDArray[np.float64], ...] = ()
    runs = None
    if isinstance(entry.segmentation, _Runs):
        if entry.segmentation.size != shape:
            raise ValueError(f"run lengths of {entry.segmentation.size}, but the image is {shape}")
        counts = entry.segmentation.counts
        runs = np.asarray(rle.decompress(counts) if isinstance(counts, str) else counts, np.int64)
        rle.check(runs, shape)
    else:
        parts: list[Any] = entry.segmentation or []
        if any(len(part) % 2 for part in parts):
            raise ValueError("a polygon of an odd number of coordinates")
        polygons = tuple(np.array(part, np.float64).reshape(-1, 2) for part in parts if len(part) >= 6)
        if not polygons:
            return None
    return Outline(
        class_id=class_id,
        crowd=entry.iscrowd,
        inside_share=entry.inside_share,
        polygons=polygons,
        runs=runs,
    )


def _shoelace(corners: NDArray[np.float64]) -> float:
    x, y = corners.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2.0


def _burn(waiting: list[tuple[Polygon, int]], owner: NDArray[np.int32]) -> None:
    """Burn polygons, a later one over an earlier; none wait any longer then."""
    if waiting:
        rasterize(waiting, out=owner, all_touched=False)
        waiting.clear()
