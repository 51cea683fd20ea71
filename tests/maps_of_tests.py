"""A small scene with a mask and polygons over it, for the tests of maps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from scenes import north_up, ramp, write_class_raster, write_labels, write_scene

from geoseg.classes import IGNORE, ClassMap
from geoseg.raster.mask import CLASSES_TAG

HOSTILE = "</script><img src=x onerror=document.title='hit'><b>&'\""
NOTE = f"{HOSTILE}\u202e"
"""What turns the direction of writing is no part of a class's name."""

CLASSES = ClassMap(names=("land", "field", HOSTILE), colors=("#8C8C8C", "#E69F00", "#56B4E9"), background=0)


def class_ids(height: int = 600, width: int = 900) -> NDArray[np.uint8]:
    """Land, a field of 200 x 300 pixels at row 100, column 150, a strip of class 2, nodata at the right."""
    ids = np.zeros((height, width), np.uint8)
    ids[100:300, 150:450] = 1
    ids[400:450, 100:700] = 2
    ids[:, 850:] = IGNORE
    return ids


def outlines(transform: Affine) -> list[Any]:
    """The field, with a hole of 40 x 40 pixels, and the strip, in the CRS of ``transform``."""
    field = shapely.Polygon(
        [(150, 100), (450, 100), (450, 300), (150, 300)], [[(200, 150), (240, 150), (240, 190), (200, 190)]]
    )
    strip = shapely.box(100, 400, 700, 450)
    a, b, c, d, e, f = transform[:6]
    return [shapely.affinity.affine_transform(shape, [a, b, d, e, c, f]) for shape in (field, strip)]


def write_map(folder: Path, transform: Affine | None = None) -> tuple[Path, Path, Path]:
    """Scene, mask and polygons."""
    transform = transform or north_up()
    scene = write_scene(folder / "scene.tif", ramp(3, 600, 900), transform=transform, tiled=True)
    tags = {CLASSES_TAG: json.dumps(CLASSES.to_json())}
    mask = write_class_raster(folder / "mask.tif", class_ids(), transform=transform, nodata=IGNORE, tags=tags)
    parcels = write_labels(
        folder / "parcels.gpkg",
        outlines(transform),
        columns={
            "class_name": ["field", HOSTILE],
            "area_m2": [14600.0, 7500.0],
            "note": [NOTE, None],
            "score": [0.415, 0.9],
        },
    )
    return scene, mask, parcels


def read_strokes(content: bytes) -> list[tuple[int, int, list[list[tuple[int, int]]]]]:
    """(number, class, rings) of a stream, as the documentation of :mod:`geoseg.mapview.strokes` has it."""
    values, value, shift = [], 0, 0
    for byte in content:
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            values.append(-(value + 1) // 2 if value % 2 else value // 2)
            value = shift = 0
    stream = iter(values)
    x = y = 0
    features = []
    for _ in range(next(stream)):
        number, class_id, rings = next(stream), next(stream), []
        for _ in range(next(stream)):
            ring = []
            for _ in range(next(stream)):
                x, y = x + next(stream), y + next(stream)
                ring.append((x, y))
            rings.append(ring)
        features.append((number, class_id, rings))
    assert next(stream, None) is None
    return features
