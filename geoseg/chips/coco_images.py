"""Images of a COCO data set as scenes to cut, and its outlines as their labels."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.chips.coco import CocoFile, CocoImage
from geoseg.chips.sources import Source
from geoseg.chips.truth import Burned, Truth, TruthOf, Truths, burned_objects
from geoseg.chips.write import safe_names
from geoseg.classes import IGNORE
from geoseg.config import TileConfig
from geoseg.errors import LabelsError, SceneError
from geoseg.progress import Progress
from geoseg.raster.scene import Scene
from geoseg.raster.windows import clip, slices_within


def open_images(
    coco: CocoFile, folder: Path, config: TileConfig, progress: Progress
) -> tuple[list[Source], Truths]:
    """Look at every image that a COCO file names.

    Images of another dtype or number of bands than most (such as grey ones among those in colour) are left
    out with a warning.

    Returns:
        The images as scenes, and what labels them.

    Raises:
        LabelsError: a name leads out of the folder, two lead to one image, or an image has another size
            than the file says.
        SceneError: an image is missing, or no raster.
    """
    if not folder.is_dir():
        raise SceneError(f"folder {folder} of images does not exist; name it with --images")
    if coco.without_outline:
        progress.warn(f"annotations of {coco.path.name} without an outline, left out: {coco.without_outline}")
    paths = [_path_of(image, folder, coco.path) for image in coco.images]
    path, times = Counter(paths).most_common(1)[0]
    if times > 1:
        raise LabelsError(f"annotations {coco.path} name the image {path.name} {times} times; name it once")
    stems = [str(PurePosixPath(image.file_name).with_suffix("")) for image in coco.images]
    sources = [
        _source(path, name, image, coco.path, config)
        for path, name, image in zip(paths, safe_names(stems), coco.images, strict=True)
    ]
    kinds = Counter((len(source.band_names), source.dtype) for source in sources)
    usual = kinds.most_common(1)[0][0]
    image_of = {
        source.path: image
        for source, image in zip(sources, coco.images, strict=True)
        if (len(source.band_names), source.dtype) == usual
    }
    if len(image_of) < len(sources):
        first = next(source.path for source in sources if source.path not in image_of)
        progress.warn(
            f"images of another kind than {usual[0]} bands of {usual[1]}, left out: "
            f"{len(sources) - len(image_of)}, such as {first.name}"
        )
    truths = _truths(coco, image_of, 0 if config.unlabelled == "background" else IGNORE)
    return [source for source in sources if source.path in image_of], truths


def _path_of(image: CocoImage, folder: Path, annotations: Path) -> Path:
    """Where an image is, which is nowhere outside of the folder."""
    name, inside = image.file_name, folder.resolve()
    try:
        path = (inside / name).resolve()
    except (OSError, ValueError, RuntimeError) as reason:
        raise LabelsError(f"annotations {annotations} name the image {name!r:.80}; rename it") from reason
    if "\\" in name or inside not in path.parents:
        raise LabelsError(
            f"annotations {annotations} name the image {name!r:.80}, which is not in {folder}; "
            "name images by their path below --images"
        )
    return path


def _source(path: Path, name: str, image: CocoImage, annotations: Path, config: TileConfig) -> Source:
    with Scene.open(path, bands=config.bands, nodata=config.nodata, what="image") as scene:
        if scene.geobox.shape != image.shape:
            (height, width), (said_height, said_width) = scene.geobox.shape, image.shape
            raise LabelsError(
                f"annotations {annotations} say that {image.file_name!s:.80} is {said_width} x {said_height} "
                f"px, but it is {width} x {height}; give the images they were made for"
            )
        return Source(
            path=path,
            labels=annotations,
            name=name,
            geobox=scene.geobox,
            band_names=scene.band_names,
            dtype=scene.dtype,
        )


def _truths(coco: CocoFile, image_of: Mapping[Path, CocoImage], fill: int) -> Truths:
    @contextlib.contextmanager
    def opened(_: Path) -> Iterator[TruthOf]:
        def truth_of(source: Source) -> Truth:
            return _Outlines(coco, image_of[source.path], source, fill)

        yield truth_of

    return opened


class _Outlines:
    """Labels of one image. Its objects are burned once, for all of its chips."""

    def __init__(self, coco: CocoFile, image: CocoImage, source: Source, fill: int) -> None:
        self._coco = coco
        self._fill = np.uint8(fill)
        self._image = image
        self._source = source
        self._owner = image.owners()
        self._total = np.bincount(self._owner.ravel(), minlength=len(image.outlines) + 1)
        self._inside = np.array([1.0, *(outline.inside_share for outline in image.outlines)])

    def burn(self, window: Window, valid: NDArray[np.bool_]) -> Burned:
        """See :class:`geoseg.chips.truth.Truth`."""
        owner = np.zeros(valid.shape, np.int32)
        seen = clip(window, self._image.shape)
        if seen is not None:
            part = self._owner[seen.toslices()]
            owner[slices_within(seen, window)] = np.where(part > 0, part + self._image.first, 0)
        coco, counts = self._coco, np.bincount(owner.ravel())
        kinds = np.where(coco.crowd[owner], np.uint8(IGNORE), coco.kind_ids[owner])
        kinds[owner == 0] = self._fill
        ids = np.where(valid, kinds, np.uint8(IGNORE))
        owner[~valid] = 0

        def inside_shares(numbers: NDArray[np.intp]) -> NDArray[np.float64]:
            here = numbers - self._image.first
            return np.asarray(counts[numbers] / self._total[here] * self._inside[here])

        where = f"{window.width} x {window.height} px of {self._source.shown}"
        return burned_objects(ids, owner, (coco.kind_ids, coco.crowd), inside_shares, where)
