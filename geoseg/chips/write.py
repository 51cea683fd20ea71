"""Writes a chips folder: pixels as they come, ``chips.gpkg`` and ``chips.json`` at the end."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import rasterio
import rasterio.shutil
import shapely
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoseg.chips.objects import OBJECTS_TAG, ChipObjects, facts_to_json
from geoseg.chips.store import CHIPS_FILE, Chip, Task
from geoseg.classes import IGNORE, ClassMap
from geoseg.errors import WriteError
from geoseg.raster.gdal import gdal_errors, quiet
from geoseg.raster.geobox import GeoBox
from geoseg.raster.mask import CLASSES_TAG

INDEX_FILE = "chips.gpkg"
_BLOCK_PX = 256
_NAME_LENGTH = 80


class ChipWriter:
    """Writes the GeoTIFFs of chips into a folder that is not yet in its place."""

    def __init__(
        self, folder: Path, band_names: Sequence[str], classes: ClassMap, task: Task = "semantic"
    ) -> None:
        """Make the folders of images, labels and, for instance chips, objects inside ``folder``."""
        self._images, self._labels = folder / "images", folder / "labels"
        self._objects = folder / "objects"
        self._images.mkdir()
        self._labels.mkdir()
        if task == "instance":
            self._objects.mkdir()
        self._band_names = tuple(band_names)
        self._classes = json.dumps(classes.to_json(), sort_keys=True)
        self._palette = {i: (*classes.rgb(i), 255) for i in range(len(classes))} | {IGNORE: (0, 0, 0, 0)}

    def write(
        self,
        name: str,
        geobox: GeoBox,
        bands: NDArray[Any],
        valid: NDArray[np.bool_],
        labels: NDArray[np.uint8],
        objects: ChipObjects | None = None,
    ) -> None:
        """Write one chip.

        Args:
            name: file name without suffix.
            geobox: where it lies.
            bands: (B, S, S); written as 0 where not valid.
            valid: (S, S), kept as the file's internal mask.
            labels: (S, S) class ids, 255 where unknown or not valid.
            objects: of instance chips.

        Raises:
            WriteError: the disk is full or not writable.
        """
        image_path, label_path = self._images / f"{name}.tif", self._labels / f"{name}.tif"
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            with _writing(image_path, _image_profile(bands, geobox)) as image:
                image.write(bands if valid.all() else np.where(valid, bands, bands.dtype.type(0)))
                if not valid.all():
                    image.write_mask(valid)
                for band, description in enumerate(self._band_names, 1):
                    image.set_band_description(band, description)
            with _writing(label_path, _label_profile(labels, geobox, IGNORE)) as truth:
                truth.write(labels, 1)
                truth.write_colormap(1, self._palette)
                truth.update_tags(**{CLASSES_TAG: self._classes})
        if objects is not None:
            self._write_objects(self._objects / f"{name}.tif", geobox, objects)

    def _write_objects(self, path: Path, geobox: GeoBox, objects: ChipObjects) -> None:
        with _writing(path, _label_profile(objects.numbers, geobox, 0)) as dataset:
            dataset.write(objects.numbers, 1)
            dataset.update_tags(**{OBJECTS_TAG: facts_to_json(objects.facts)})


def _image_profile(bands: NDArray[Any], geobox: GeoBox) -> dict[str, Any]:
    count, size_px, _ = bands.shape
    # Said outright, or GDAL takes the fourth of four 8-bit bands for alpha.
    colors = "RGB" if count == 3 and bands.dtype == np.uint8 else "MINISBLACK"
    kind = {"count": count, "dtype": bands.dtype.name, "photometric": colors}
    if bands.dtype.itemsize < 8:
        kind["predictor"] = 3 if np.issubdtype(bands.dtype, np.floating) else 2
    return _layout(size_px) | kind | geobox.profile()


def _label_profile(labels: NDArray[Any], geobox: GeoBox, nodata: int) -> dict[str, Any]:
    kind = {"count": 1, "dtype": labels.dtype.name, "nodata": nodata}
    return _layout(len(labels)) | kind | geobox.profile()


def _layout(size_px: int) -> dict[str, Any]:
    # TIFF wants multiples of 16; chip sizes are multiples of 32.
    block_px = min(_BLOCK_PX, size_px)
    return {
        "driver": "GTiff",
        "compress": "deflate",
        # 40 % less time than level 6 for 4 % more bytes, measured on aerial images.
        "zlevel": 1,
        "tiled": True,
        "blockxsize": block_px,
        "blockysize": block_px,
    }


@contextlib.contextmanager
def _writing(path: Path, profile: Mapping[str, Any]) -> Iterator[Any]:
    """Yield a raster to write.

    It is made in memory: rasterio does not tell when GDAL, closing a file, found the disk full.
    """
    told = gdal_errors("writing chip", path, error=WriteError, hint="is the disk full?")
    with told, quiet(), rasterio.MemoryFile() as memory:
        with memory.open(**profile) as dataset:
            yield dataset
        path.write_bytes(memory.getbuffer())
        with memory.open() as made:
            beside = len(made.files) > 1
        if beside:
            # A CRS that GeoTIFF has no keys for is in a file of its own.
            rasterio.shutil.copyfiles(memory.name, path)


def write_index(
    folder: Path,
    chips: Sequence[Chip],
    outlines: NDArray[np.object_],
    crs: CRS | None,
    class_names: Sequence[str],
) -> None:
    """Write ``chips.gpkg``: outline, split, valid share and class shares of every chip.

    Args:
        folder: chips folder.
        chips: N chips.
        outlines: (N,) polygons in ``crs``.
        crs: of the outlines; ``None`` when unknown.
        class_names: one a class id.

    Raises:
        WriteError: the disk is full or not writable.
    """
    pixels = np.array([chip.class_pixels for chip in chips], np.float64)
    shares = pixels / np.maximum(1.0, pixels.sum(axis=1, keepdims=True))
    columns: dict[str, NDArray[Any]] = {
        "name": np.array([chip.name for chip in chips], object),
        "scene": np.array([chip.scene for chip in chips], object),
        "split": np.array([chip.split for chip in chips], object),
        "valid_share": np.array([chip.valid_share for chip in chips]),
        "col": np.array([chip.window[0] for chip in chips], np.int64),
        "row": np.array([chip.window[1] for chip in chips], np.int64),
    }
    for class_id, name in enumerate(class_names):
        # The id keeps columns apart that SQL would not: it knows no case.
        columns[f"share_{class_id}_{re.sub(r'[^0-9A-Za-z]+', '_', name)[:40]}"] = shares[:, class_id]
    path = folder / INDEX_FILE
    with gdal_errors("writing", path, error=WriteError, hint="is the disk full?"), quiet():
        pyogrio.raw.write(
            path,
            geometry=shapely.to_wkb(outlines),
            field_data=list(columns.values()),
            fields=list(columns),
            layer="chips",
            driver="GPKG",
            geometry_type="Polygon",
            crs=None if crs is None else crs.to_wkt(version="WKT2_2019"),
            dataset_options={"VERSION": "1.2"},
        )


def write_chips_file(folder: Path, header: Mapping[str, Any], chips: Sequence[Chip]) -> None:
    """Write ``chips.json``, one chip a line. Call it last: a folder without it is no chips folder.

    Raises:
        WriteError: the disk is full or not writable.
    """
    head = json.dumps(dict(header), indent=1, ensure_ascii=False, allow_nan=False)
    lines = ",\n".join(f"  {json.dumps(chip.to_json())}" for chip in chips)
    text = f'{head.rstrip().removesuffix("}").rstrip()},\n "chips": [\n{lines}\n ]\n}}\n'
    path = folder / CHIPS_FILE
    try:
        with path.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as reason:
        raise WriteError(f"writing {path} failed: {reason.strerror}; is the disk full?") from reason


def safe_names(stems: Sequence[str]) -> list[str]:
    """File names that any file system takes, all different, as close to ``stems`` as can be."""
    names: list[str] = []
    taken: set[str] = set()
    for stem in stems:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "_", stem)[:_NAME_LENGTH].lstrip("._-") or "scene"
        name, number = plain, 1
        while name.casefold() in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names
