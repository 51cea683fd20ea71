from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import scenes
from rasterio.windows import Window

from geoseg.errors import ReadError, SceneError
from geoseg.raster.scene import Scene


def read_all(path: Path, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    with Scene.open(path, **options) as scene:
        return scene.read(Window(0, 0, scene.geobox.width, scene.geobox.height))


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (17, 23)])
def test_pixels_and_dtype_come_as_they_are(tmp_path: Path, dtype: str, shape: tuple[int, int]) -> None:
    bands = scenes.ramp(2, *shape, dtype=dtype)
    path = scenes.write_scene(tmp_path / "scene.tif", bands)
    read, valid = read_all(path)
    assert read.dtype == dtype
    np.testing.assert_array_equal(read, bands)
    assert valid.shape == shape
    assert valid.all()


def test_attributes(tmp_path: Path) -> None:
    path = scenes.write_scene(
        tmp_path / "scene.tif", scenes.ramp(3, 600, 600), descriptions=["red", "  near\ninfrared "], nodata=0,
        tiled=True, blockxsize=256, blockysize=256,
    )  # fmt: skip
    with Scene.open(path) as scene:
        assert scene.bands == (1, 2, 3)
        assert scene.band_names == ("red", "near infrared", "band 3")
        assert (scene.dtype, scene.nodata, scene.is_tiled) == ("uint8", 0.0, True)
        assert scene.geobox.shape == (600, 600)
    with Scene.open(scenes.write_scene(tmp_path / "strips.tif", scenes.ramp(1, 600, 600))) as scene:
        assert not scene.is_tiled
        assert scene.nodata is None


def test_window_beyond_the_scene_is_zero_and_invalid(tmp_path: Path) -> None:
    bands = scenes.ramp(2, 6, 8)
    with Scene.open(scenes.write_scene(tmp_path / "scene.tif", bands)) as scene:
        read, valid = scene.read(Window(-2, -3, 12, 12))
        assert valid.sum() == 48
        np.testing.assert_array_equal(read[:, 3:9, 2:10], bands)
        assert read.sum() == bands.sum()
        read, valid = scene.read(Window(100, 100, 4, 4))
    assert not read.any()
    assert not valid.any()


def test_bands_are_chosen_in_order(tmp_path: Path) -> None:
    bands = scenes.ramp(4, 5, 5)
    path = scenes.write_scene(tmp_path / "scene.tif", bands)
    read, _ = read_all(path, bands=[4, 1])
    np.testing.assert_array_equal(read, bands[[3, 0]])
    with pytest.raises(SceneError, match=r"has no band 5; choose from 1\.\.4"):
        Scene.open(path, bands=[1, 5])


def test_a_pixel_is_nodata_only_when_all_bands_are(tmp_path: Path) -> None:
    bands = scenes.ramp(2, 4, 4)
    bands[:, 0, 0] = 0
    bands[0, 1, 1] = 0
    _, valid = read_all(scenes.write_scene(tmp_path / "scene.tif", bands, nodata=0))
    assert np.argwhere(~valid).tolist() == [[0, 0]]


def test_nodata_can_be_overridden(tmp_path: Path) -> None:
    bands = scenes.ramp(1, 4, 4)
    path = scenes.write_scene(tmp_path / "scene.tif", bands, nodata=3)
    _, valid = read_all(path, nodata=7)
    assert np.argwhere(~valid).tolist() == np.argwhere(bands[0] == 7).tolist()
    _, valid = read_all(path, nodata=-9999)
    assert valid.all()
    _, valid = read_all(path, nodata=3.5)
    assert valid.all()


@pytest.mark.parametrize("nodata", [np.nan, -9999.0, -3.4028234663852886e38, None])
def test_nodata_of_floats(tmp_path: Path, nodata: float | None) -> None:
    bands = scenes.ramp(2, 4, 4, dtype="float32")
    bands[:, 1, 2] = np.nan if nodata is None else nodata
    bands[0, 3, 3] = np.nan
    bands[:, 0, 0] = np.inf
    read, valid = read_all(scenes.write_scene(tmp_path / "scene.tif", bands, nodata=nodata))
    assert np.argwhere(~valid).tolist() == [[0, 0], [1, 2]]
    assert np.isnan(read[0, 3, 3])


def test_int16_nodata(tmp_path: Path) -> None:
    bands = scenes.ramp(1, 4, 4, dtype="int16")
    bands[0, 2, 2] = -32768
    _, valid = read_all(scenes.write_scene(tmp_path / "scene.tif", bands, nodata=-32768))
    assert np.argwhere(~valid).tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("dtype", "opaque"), [("uint8", 1), ("uint16", 1), ("uint8", 255), ("uint16", 65535)]
)
def test_alpha_is_a_mask(tmp_path: Path, dtype: str, opaque: int) -> None:
    bands = scenes.ramp(3, 4, 4, dtype=dtype)
    alpha = np.full((4, 4), opaque)
    alpha[1, :2] = 0
    path = scenes.write_scene(tmp_path / "scene.tif", bands, alpha=alpha)
    read, valid = read_all(path)
    np.testing.assert_array_equal(read, bands)
    np.testing.assert_array_equal(valid, alpha > 0)
    read, valid = read_all(path, bands=[1, 2, 3, 4])
    np.testing.assert_array_equal(read[3], alpha)
    assert valid.all()


def test_a_file_of_alpha_alone_is_a_band(tmp_path: Path) -> None:
    path = scenes.write_scene(tmp_path / "scene.tif", scenes.ramp(1, 4, 4))
    with rasterio.open(path, "r+") as dataset:
        dataset.colorinterp = [rasterio.enums.ColorInterp.alpha]
    read, _ = read_all(path)
    assert read.shape == (1, 4, 4)


@pytest.mark.parametrize("nodata", [None, 5])
def test_internal_mask(tmp_path: Path, nodata: int | None) -> None:
    bands = scenes.ramp(3, 4, 4)
    bands[:, 3, 3] = 5
    mask = np.ones((4, 4), bool)
    mask[0, :3] = False
    _, valid = read_all(scenes.write_scene(tmp_path / "scene.tif", bands, mask=mask, nodata=nodata))
    if nodata is not None:
        mask[3, 3] = False
    np.testing.assert_array_equal(valid, mask)


def test_mask_in_a_file_of_its_own(tmp_path: Path) -> None:
    path = scenes.write_scene(tmp_path / "scene.tif", scenes.ramp(1, 4, 4))
    mask = np.ones((4, 4), bool)
    mask[2, 2] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(mask)
    assert (tmp_path / "scene.tif.msk").exists()
    _, valid = read_all(path)
    np.testing.assert_array_equal(valid, mask)


def test_palette_is_read_as_index(tmp_path: Path) -> None:
    bands = scenes.ramp(1, 4, 4)
    path = scenes.write_scene(tmp_path / "scene.tif", bands, colormap={1: (255, 0, 0), 2: (0, 255, 0)})
    read, valid = read_all(path)
    np.testing.assert_array_equal(read, bands)
    assert valid.all()


@pytest.mark.parametrize(("bits", "dtype"), [(1, "uint8"), (4, "uint8"), (12, "uint16")])
def test_odd_bit_depths(tmp_path: Path, bits: int, dtype: str) -> None:
    bands = (scenes.ramp(1, 9, 13, dtype="int64") % 2**bits).astype(dtype)
    path = scenes.write_scene(tmp_path / "scene.tif", bands, nbits=bits)
    np.testing.assert_array_equal(read_all(path)[0], bands)


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "complex_int16"])
def test_complex_numbers_are_refused(tmp_path: Path, dtype: str) -> None:
    path = tmp_path / "scene.tif"
    with rasterio.open(
        path, "w", driver="GTiff", width=4, height=4, count=1, dtype=dtype, crs=scenes.UTM,
        transform=scenes.north_up(),
    ):  # fmt: skip
        pass
    with pytest.raises(SceneError, match="complex"):
        Scene.open(path)


def test_many_bands_need_a_choice(tmp_path: Path) -> None:
    path = scenes.write_scene(tmp_path / "scene.tif", scenes.ramp(65, 2, 2))
    with pytest.raises(SceneError, match="has 65 bands; choose some of them with --bands"):
        Scene.open(path)
    assert read_all(path, bands=[65, 64])[0].shape == (2, 2, 2)


def test_no_georeferencing_and_gcps_read(tmp_path: Path) -> None:
    bands = scenes.ramp(1, 5, 5)
    for name, keywords in {"none": {"crs": None}, "gcps": {"gcps": scenes.some_gcps(5, 5)}}.items():
        path = scenes.write_scene(tmp_path / f"{name}.tif", bands, **keywords)
        np.testing.assert_array_equal(read_all(path)[0], bands)


def test_a_failed_open_leaves_no_open_file(tmp_path: Path) -> None:
    path = scenes.write_scene(tmp_path / "scene.tif", scenes.ramp(1, 5, 5))
    with pytest.raises(SceneError):
        Scene.open(path, bands=[9])
    open_files = [link.resolve() for link in Path("/proc/self/fd").iterdir()]
    assert path not in open_files


def per_band_nodata(path: Path, bands: np.ndarray, nodatas: tuple[float, ...]) -> Path:
    """A scene in a format in which every band has a nodata value of its own."""
    scenes.write_scene(path, bands, driver="HFA")
    with rasterio.open(path, "r+") as dataset:
        dataset._set_nodatavals(nodatas)
    with rasterio.open(path) as dataset:
        assert dataset.nodatavals == nodatas
    return path


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_every_band_has_its_own_nodata(tmp_path: Path, dtype: str) -> None:
    bands = scenes.ramp(2, 4, 4, dtype=dtype)
    bands[:, 0, 0] = -1, -2
    bands[:, 1, 1] = -2, -1
    bands[:, 2, 2] = -1, 77
    bands[:, 3, 3] = 77, -2
    path = per_band_nodata(tmp_path / "scene.img", bands, (-1.0, -2.0))
    with Scene.open(path) as scene:
        read, valid = scene.read(Window(-1, -1, 6, 6))
        has_value = scene.has_value(read, valid)
    # A pixel is nodata where all its bands are; where one band alone is, it has no value there.
    known = np.ones((4, 4), bool)
    known[0, 0] = False
    np.testing.assert_array_equal(valid[1:5, 1:5], known)
    assert valid.sum() == 15
    missing = np.zeros((2, 4, 4), bool)
    missing[0, 2, 2] = missing[1, 3, 3] = True
    expected = known & ~missing
    if dtype == "int16":
        np.testing.assert_array_equal(has_value[:, 1:5, 1:5], expected)
        np.testing.assert_array_equal(read[:, 1:5, 1:5], bands)
    else:
        np.testing.assert_array_equal(np.isnan(read[:, 1:5, 1:5]), missing)
        np.testing.assert_array_equal(read[:, 1:5, 1:5][expected], bands[expected])
    # Chosen the other way round, each band keeps its own.
    with Scene.open(path, bands=[2, 1]) as scene:
        turned, valid = scene.read(Window(0, 0, 4, 4))
        np.testing.assert_array_equal(valid, known)
        np.testing.assert_array_equal(turned, read[::-1, 1:5, 1:5])


def test_dark_and_bright_land_of_eight_bits_has_values(tmp_path: Path) -> None:
    bands = scenes.ramp(3, 4, 4)
    bands[0, 1, 1] = 0
    with Scene.open(scenes.write_scene(tmp_path / "scene.tif", bands, nodata=0)) as scene:
        read, valid = scene.read(Window(0, 0, 4, 4))
        assert scene.has_value(read, valid).all()
        np.testing.assert_array_equal(read, bands)


def test_one_nodata_overrides_those_of_all_bands(tmp_path: Path) -> None:
    bands = scenes.ramp(2, 4, 4, dtype="int16")
    bands[0, :2], bands[1, 1:3] = -5, -6
    path = per_band_nodata(tmp_path / "scene.img", bands, (-5.0, -6.0))
    _, valid = read_all(path)
    assert np.argwhere(~valid).tolist() == [[1, col] for col in range(4)]
    _, valid = read_all(path, nodata=-6)
    assert valid.all()


def test_a_scene_that_is_written_to_is_told_apart(tmp_path: Path) -> None:
    path = scenes.write_scene(tmp_path / "scene.tif", scenes.ramp(1, 4, 4))
    data = path.read_bytes()
    with Scene.open(path) as scene:
        scene.check_unchanged()
        path.write_bytes(data)
        with pytest.raises(
            ReadError, match="changed while it was read; run it again when nobody writes to it"
        ):
            scene.check_unchanged()
        # What is removed can be read on.
        path.unlink()
        scene.check_unchanged()
