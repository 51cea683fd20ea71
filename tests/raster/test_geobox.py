from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import scenes
from affine import Affine
from rasterio.crs import CRS
from rasterio.transform import RPCTransformer
from rasterio.windows import Window

from geoseg.raster.gdal import open_raster
from geoseg.raster.geobox import GeoBox

UTM = CRS.from_string(scenes.UTM)
GRIDS = {
    "north-up": scenes.north_up(),
    "south-up": scenes.south_up(),
    "rotated": scenes.rotated(),
    "non-square": scenes.north_up(0.5, pixel_y=0.7),
    "third": scenes.north_up(1 / 3, origin=(1 / 7, 1e6 / 3)),
}


def box(transform: Affine, crs: CRS | None = UTM, shape: tuple[int, int] = (20, 30)) -> GeoBox:
    return GeoBox(crs=crs, transform=transform, shape=shape)


@pytest.mark.parametrize("name", GRIDS)
def test_read_and_write_are_exact(tmp_path: Path, name: str) -> None:
    first = scenes.write_scene(tmp_path / "a.tif", scenes.ramp(1, 20, 30), transform=GRIDS[name])
    with open_raster(first) as dataset:
        geobox = GeoBox.of(dataset)
    assert tuple(geobox.transform) == tuple(GRIDS[name])
    with rasterio.open(tmp_path / "b.tif", "w", driver="GTiff", count=1, dtype="uint8", **geobox.profile()):
        pass
    with open_raster(tmp_path / "b.tif") as dataset:
        again = GeoBox.of(dataset)
    assert again == geobox
    assert geobox.same_grid(again)


def test_gcps_are_kept(tmp_path: Path) -> None:
    path = scenes.write_scene(tmp_path / "a.tif", scenes.ramp(1, 20, 30), gcps=scenes.some_gcps(20, 30))
    with open_raster(path) as dataset:
        geobox = GeoBox.of(dataset)
    assert geobox.crs is None
    assert geobox.gcps_crs == UTM
    assert len(geobox.gcps) == 4
    assert geobox.gsd_m is None
    assert geobox.bounds_lonlat() is None
    with rasterio.open(tmp_path / "b.tif", "w", driver="GTiff", count=1, dtype="uint8", **geobox.profile()):
        pass
    with open_raster(tmp_path / "b.tif") as dataset:
        assert GeoBox.of(dataset).same_grid(geobox)


def test_gcps_without_crs_make_a_profile() -> None:
    geobox = GeoBox(
        crs=None, transform=Affine.identity(), shape=(20, 30), gcps=tuple(scenes.some_gcps(20, 30))
    )
    assert geobox.profile()["crs"] == CRS()


def test_no_georeferencing(tmp_path: Path) -> None:
    with open_raster(scenes.write_scene(tmp_path / "a.tif", scenes.ramp(1, 4, 5), crs=None)) as dataset:
        geobox = GeoBox.of(dataset)
    assert geobox == GeoBox(crs=None, transform=Affine.identity(), shape=(4, 5))
    assert not geobox.georeferenced
    assert geobox.gsd_m is None
    assert geobox.pixel_area_m2() is None
    assert geobox.profile() == {"height": 4, "width": 5}


def test_metres_of_projected_pixels() -> None:
    assert box(scenes.north_up(0.3)).gsd_m == 0.3
    assert box(scenes.south_up(0.3)).gsd_m == 0.3
    assert box(scenes.rotated(33.0, 0.3)).gsd_m == pytest.approx(0.3, rel=1e-12)
    assert box(scenes.rotated(33.0, 0.3)).pixel_area_m2() == pytest.approx(0.09, rel=1e-12)
    oblong = box(scenes.north_up(0.5, pixel_y=0.7))
    assert oblong.gsd_m == pytest.approx(0.6)
    assert oblong.pixel_area_m2() == pytest.approx(0.35)


def test_metres_of_sheared_pixels() -> None:
    sheared = box(Affine(1.0, 0.5, 500_000.0, 0.0, -1.0, 5_000_000.0))
    assert sheared.pixel_area_m2() == pytest.approx(1.0)


def test_metres_of_pixels_in_feet() -> None:
    # Texas Centre, US survey feet.
    texas = box(scenes.north_up(1.0, origin=(2_300_000.0, 10_000_000.0)), CRS.from_epsg(2277))
    assert texas.gsd_m == pytest.approx(1200 / 3937)


def test_metres_of_degrees_at_the_centre() -> None:
    degree_m = 111_319.49  # along the equator
    transform = Affine(1e-5, 0.0, 15.0, 0.0, -1e-5, 60.0)
    geobox = box(transform, CRS.from_epsg(4326))
    # At 60 degrees north a degree of longitude is half one at the equator, one of latitude 1.0008 times.
    column_m, row_m = 0.50126 * degree_m * 1e-5, 111_412.27 * 1e-5
    assert geobox.gsd_m == pytest.approx((column_m + row_m) / 2, rel=1e-4)
    assert geobox.pixel_area_m2() == pytest.approx(column_m * row_m, rel=1e-4)


def test_mercator_metres_are_not_metres() -> None:
    paris = box(scenes.north_up(1.0, origin=(261_000.0, 6_250_000.0)), CRS.from_epsg(3857))
    assert paris.gsd_m == pytest.approx(0.659, abs=0.003)


def test_engineering_crs_lies_nowhere() -> None:
    local = CRS.from_wkt('LOCAL_CS["site",UNIT["metre",1]]')
    assert box(scenes.north_up(), local).gsd_m is None
    assert box(scenes.north_up(), local).bounds_lonlat() is None


@pytest.mark.parametrize("name", GRIDS)
def test_bounds_hold_all_corners(name: str) -> None:
    geobox = box(GRIDS[name])
    left, bottom, right, top = geobox.bounds
    assert left < right
    assert bottom < top
    assert geobox.footprint().bounds == pytest.approx((left, bottom, right, top))
    assert geobox.footprint().area == pytest.approx(
        abs(GRIDS[name].determinant) * geobox.height * geobox.width, rel=1e-6
    )


@pytest.mark.parametrize("name", GRIDS)
def test_window_keeps_pixels_in_place(name: str) -> None:
    geobox = box(GRIDS[name])
    part = geobox.window(Window(5, 7, 11, 13))
    assert part.shape == (13, 11)
    assert part.transform @ (2.5, 3.5) == pytest.approx(geobox.transform @ (7.5, 10.5), rel=1e-15)
    assert geobox.window(Window(0, 0, 30, 20)) == geobox


def test_polynomials_of_parts_and_finer_grids_tell_the_same_places(tmp_path: Path) -> None:
    path = scenes.write_scene(tmp_path / "a.tif", scenes.ramp(1, 40, 56), crs=None)
    with scenes.not_georeferenced_is_fine(), rasterio.open(path, "r+") as dataset:
        dataset.rpcs = scenes.some_rpcs()
    with scenes.not_georeferenced_is_fine(), open_raster(path) as dataset:
        whole = GeoBox.of(dataset)
    part, fine = whole.window(Window(10, 7, 20, 9)), whole.scaled(4)
    lons, lats = [14.95, 15.03, 15.0], [44.97, 45.06, 45.0]

    def pixels(box: GeoBox) -> Any:
        with RPCTransformer(box.rpcs) as transformer:
            rows, cols = transformer.rowcol(lons, lats, zs=[100.0] * 3, op=lambda value: value)
        return np.array([rows, cols])

    np.testing.assert_allclose(pixels(part), pixels(whole) - [[7], [10]], atol=1e-6)
    np.testing.assert_allclose(pixels(fine), pixels(whole) * 4, atol=1e-6)


def test_window_moves_gcps() -> None:
    geobox = GeoBox(
        crs=None,
        transform=Affine.identity(),
        shape=(20, 30),
        gcps=tuple(scenes.some_gcps(20, 30)),
        gcps_crs=UTM,
    )
    part = geobox.window(Window(5, 7, 11, 13))
    assert [(p.row, p.col) for p in part.gcps] == [(-7, -5), (-7, 25), (13, -5), (13, 25)]
    assert not part.georeferenced


def test_same_grid_tells_pixels_apart() -> None:
    geobox = box(scenes.north_up())
    assert not geobox.same_grid(box(scenes.north_up(), shape=(20, 31)))
    assert not geobox.same_grid(box(scenes.north_up(), CRS.from_epsg(32634)))
    assert not geobox.same_grid(box(scenes.north_up(origin=(500_000.1, 5_000_000.0))))
    assert not geobox.same_grid(box(scenes.south_up()))
    assert geobox.same_grid(box(scenes.north_up(origin=(500_000.0 + 1e-9, 5_000_000.0))))


def test_bounds_in_degrees() -> None:
    left, bottom, right, top = box(scenes.north_up()).bounds_lonlat() or (0.0,) * 4
    assert left == pytest.approx(15.0)
    assert 45.15 < bottom < top < 45.16
    assert right > left
