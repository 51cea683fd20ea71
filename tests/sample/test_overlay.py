from __future__ import annotations

from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from scenes import UTM, north_up, not_georeferenced_is_fine, pixel_box, write_class_raster, write_scene

from geoseg.classes import ClassMap
from geoseg.errors import OutputError
from geoseg.sample.overlay import GAP_PX, MAX_PANEL_PX, draw_overlay, png

CLASSES = ClassMap.from_names(["background", "field"], background=0)


def decoded(path: Path) -> np.ndarray:
    with not_georeferenced_is_fine(), rasterio.open(path) as dataset:
        return np.moveaxis(dataset.read(), 0, -1)


def field(row: int, col: int, height: int, width: int) -> geopandas.GeoDataFrame:
    outline = pixel_box(north_up(), row, col, height, width)
    return geopandas.GeoDataFrame({"class_name": ["field"]}, geometry=[outline], crs=UTM)


def test_png_is_read_back_by_another_reader(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(png(pixels))
    assert np.array_equal(decoded(tmp_path / "a.png"), pixels)


def test_scene_lies_left_and_polygons_right(tmp_path: Path) -> None:
    bands = np.full((3, 100, 120), 90, np.uint8)
    scene = write_scene(tmp_path / "scene.tif", bands, nodata=0)
    draw_overlay(tmp_path / "o.png", scene=scene, polygons=field(20, 30, 40, 50), classes=CLASSES)
    picture = decoded(tmp_path / "o.png").astype(int)
    assert picture.shape == (100, 240 + GAP_PX, 3)
    left, right = picture[:, :120], picture[:, 120 + GAP_PX :]
    assert (left == 90).all()
    assert np.ptp(right[5, 5]) == 0  # nothing there: grey stays grey
    inside, border = right[40, 55], right[20, 55]
    red, green, blue = CLASSES.rgb(1)
    assert inside[0] > inside[1] > inside[2]
    assert (red, green, blue) == (230, 159, 0)
    assert abs(border - np.array([red, green, blue])).max() <= 1
    assert not (tmp_path / "o.png.aux.xml").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.png", "scene.tif"]


def test_detail_shows_where_masks_differ_most(tmp_path: Path) -> None:
    bands = np.full((3, 400, 400), 90, np.uint8)
    scene = write_scene(tmp_path / "scene.tif", bands)
    first, second = np.zeros((2, 400, 400), np.uint8)
    second[300:340, 310:350] = 1
    tags = {"GEOSEG_CLASSES": '{"names": ["background", "field"], "colors": ["#8C8C8C", "#E69F00"]}'}
    masks = [
        write_class_raster(tmp_path / f"{name}.tif", ids, nodata=255, tags=tags)
        for name, ids in (("a", first), ("b", second))
    ]
    draw_overlay(tmp_path / "o.png", scene=scene, polygons=field(0, 0, 9, 9), classes=CLASSES, masks=masks)
    detail = decoded(tmp_path / "o.png").astype(int)[400 + GAP_PX :]
    third = detail.shape[1] // 3
    colorful = np.ptp(detail, axis=2) > 30
    assert not colorful[:, : 2 * third - GAP_PX].any()
    assert colorful[:, 2 * third + GAP_PX :].mean() > 0.05


def test_large_scenes_are_shrunk(tmp_path: Path) -> None:
    side = MAX_PANEL_PX + 50
    scene = write_scene(tmp_path / "scene.tif", np.full((3, side, side), 7, np.uint8))
    draw_overlay(tmp_path / "o.png", scene=scene, polygons=field(0, 0, 9, 9), classes=CLASSES)
    assert decoded(tmp_path / "o.png").shape == (side // 2, 2 * (side // 2) + GAP_PX, 3)


def test_existing_picture_is_kept(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", np.full((3, 64, 64), 7, np.uint8))
    (tmp_path / "o.png").write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        draw_overlay(tmp_path / "o.png", scene=scene, polygons=field(0, 0, 9, 9), classes=CLASSES)
    assert (tmp_path / "o.png").read_text() == "mine"
