from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scenes
from rasterio.windows import Window

from geoseg.classes import ClassMap
from geoseg.errors import SceneError
from geoseg.raster.mask import CLASSES_TAG, open_mask

WHOLE = Window(0, 0, 6, 4)


def ids(dtype: str = "uint8") -> np.ndarray:
    return (np.arange(24).reshape(4, 6) % 3).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "int64"])
def test_ids_of_any_whole_dtype(tmp_path: Path, dtype: str) -> None:
    with open_mask(scenes.write_scene(tmp_path / "mask.tif", ids(dtype))) as mask:
        read = mask.read(WHOLE)
        assert (mask.dtype, mask.classes, mask.nodata) == (dtype, None, None)
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, ids())


@pytest.mark.parametrize(("dtype", "nodata"), [("uint8", 0), ("int16", -9999), ("uint8", 255)])
def test_nodata_becomes_255(tmp_path: Path, dtype: str, nodata: int) -> None:
    values = ids(dtype) + 1
    values[1, 2] = nodata
    with open_mask(scenes.write_scene(tmp_path / "mask.tif", values, nodata=nodata)) as mask:
        read = mask.read(WHOLE)
        assert mask.nodata == nodata
    assert np.argwhere(read == 255).tolist() == [[1, 2]]


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32", "int64"])
def test_wide_ids_are_minus_one_where_there_are_none(tmp_path: Path, dtype: str) -> None:
    values = np.array([[7, 300, 9]], dtype)
    path = scenes.write_class_raster(tmp_path / "m.tif", values, nodata=9)
    with open_mask(path) as mask:
        found = mask.read_ids(Window(0, 0, 3, 1))
        assert mask.absent == -1
    assert found.dtype == np.int32
    assert found.tolist() == [[7, 300, -1]]


def test_beyond_the_mask_is_255(tmp_path: Path) -> None:
    with open_mask(scenes.write_scene(tmp_path / "mask.tif", ids())) as mask:
        read = mask.read(Window(-1, -1, 8, 6))
    assert (read == 255).sum() == 48 - 24


@pytest.mark.parametrize("value", [-1, 256, 30_000])
def test_values_that_are_no_ids(tmp_path: Path, value: int) -> None:
    values = ids("int16")
    values[0, 0] = value
    with (
        open_mask(scenes.write_scene(tmp_path / "mask.tif", values)) as mask,
        pytest.raises(SceneError, match=f"holds the value {value}"),
    ):
        mask.read(WHOLE)


@pytest.mark.parametrize(
    ("bands", "text"),
    [(scenes.ramp(2, 4, 4), "has 2 bands"), (scenes.ramp(1, 4, 4, "float32"), "holds float32 numbers")],
)
def test_what_is_no_mask(tmp_path: Path, bands: np.ndarray, text: str) -> None:
    with pytest.raises(SceneError, match=text):
        open_mask(scenes.write_scene(tmp_path / "mask.tif", bands))


def test_classes_come_from_the_tag(tmp_path: Path) -> None:
    classes = ClassMap.from_names(["background", "a", "b"], background=0)
    tags = {CLASSES_TAG: json.dumps(classes.to_json())}
    with open_mask(scenes.write_scene(tmp_path / "mask.tif", ids(), tags=tags)) as mask:
        assert mask.classes == classes


@pytest.mark.parametrize(
    "tag", ["{", "[]", '{"names": ["a"]}', '{"names": ["a"], "colors": ["red"]}', "[" * 10_000]
)
def test_damaged_tag(tmp_path: Path, tag: str) -> None:
    path = scenes.write_scene(tmp_path / "mask.tif", ids(), tags={CLASSES_TAG: tag})
    with pytest.raises(SceneError, match="damaged GEOSEG_CLASSES") as caught:
        open_mask(path)
    assert "\n" not in str(caught.value)
