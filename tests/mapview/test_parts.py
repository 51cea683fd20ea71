"""The parts of a map: levels, grids over each other, tiles, polygons, outlines in few bytes, tallies."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from maps_of_tests import CLASSES, class_ids, outlines, read_strokes, write_map
from rasterio.windows import Window
from scenes import (
    UTM,
    north_up,
    not_georeferenced_is_fine,
    ramp,
    rotated,
    some_gcps,
    south_up,
    write_class_raster,
    write_labels,
    write_scene,
)

from geoseg.errors import LabelsError, SceneError
from geoseg.mapview.atlas import Sources, open_atlas
from geoseg.mapview.grid import fit
from geoseg.mapview.layers import ClassLayer, ImageLayer, RampLayer
from geoseg.mapview.parcels import Parcels
from geoseg.mapview.pixels import Ground
from geoseg.mapview.pyramid import TILE_PX, Pyramid
from geoseg.mapview.strokes import clipped, varints
from geoseg.mapview.sureness import controls
from geoseg.mapview.tally import count_all, count_some
from geoseg.progress import SILENT
from geoseg.raster.geobox import GeoBox
from geoseg.raster.scene import Scene


def grid(transform: Affine, height: int, width: int, crs: str | None = UTM) -> GeoBox:
    known = None if crs is None else rasterio.crs.CRS.from_user_input(crs)
    return GeoBox(crs=known, transform=transform, shape=(height, width))


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_tiles_of_every_level_cover_the_scene_once(height: int, width: int) -> None:
    pyramid = Pyramid(shape=(height, width))
    assert max(height, width) <= TILE_PX << pyramid.coarsest
    assert pyramid.coarsest == 0 or max(height, width) > TILE_PX << (pyramid.coarsest - 1)
    for level in range(pyramid.coarsest + 1):
        windows = [pyramid.window(level, *at) for at in pyramid.addresses(level)]
        assert sum(w.width * w.height for w in windows) == height * width
        assert all(pyramid.has(level, *at) for at in pyramid.addresses(level))
        assert not pyramid.has(level, pyramid.tiles(level)[1], 0)
    assert not pyramid.has(pyramid.coarsest + 1, 0, 0)
    assert not pyramid.has(-1, 0, 0)


class TestFit:
    def test_same_part_finer_and_coarser(self) -> None:
        scene = grid(north_up(0.5), 100, 200)
        same = fit(scene, scene, "mask").part(Window(10, 20, 30, 40), (40, 30))
        assert same is not None
        assert (same.window.col_off, same.window.row_off) == (10, 20)
        part = fit(scene, scene.window(Window(50, 10, 20, 20)), "mask")
        found = part.part(Window(40, 0, 20, 20), (20, 20))
        assert found is not None
        assert (found.rows, found.columns) == (slice(10, 20), slice(10, 20))
        assert (found.window.col_off, found.window.width) == (0, 10)
        assert part.part(Window(0, 0, 40, 100), (100, 40)) is None
        finer = fit(scene, scene.scaled(2), "mask").part(Window(5, 0, 10, 10), (10, 10))
        assert finer is not None
        assert (finer.window.col_off, finer.window.width) == (10, 20)

    @pytest.mark.parametrize("transform", [south_up(), rotated()])
    def test_turned_scenes_fit_their_own_masks(self, transform: Affine) -> None:
        box = grid(transform, 50, 60)
        assert fit(box, box, "mask").scale_x == pytest.approx(1)

    def test_what_does_not_fit_is_refused(self) -> None:
        scene = grid(north_up(), 100, 100)
        for other, words in [
            (grid(rotated(), 100, 100), "turned against the scene"),
            (grid(north_up(), 100, 100, "EPSG:32632"), "another CRS"),
            (grid(north_up(origin=(0.0, 0.0)), 100, 100), "lies elsewhere"),
            (grid(Affine.identity(), 90, 100, None), "nothing tells how they lie"),
        ]:
            with pytest.raises(SceneError, match=words):
                fit(scene, other, "mask m.tif")


def picture_of(content: bytes) -> np.ndarray:
    with not_georeferenced_is_fine(), rasterio.MemoryFile(content) as file, file.open() as dataset:
        return dataset.read()


class TestTiles:
    def test_mask_tiles_hold_its_ids(self, tmp_path: Path) -> None:
        scene, mask, _ = write_map(tmp_path)
        with Scene.open(scene) as opened, ClassLayer.open(mask, opened.geobox) as layer:
            for column, row in layer.pyramid.addresses(0):
                index = picture_of(layer.tile(0, column, row))[0]
                want = class_ids()[row * 512 : row * 512 + 512, column * 512 : column * 512 + 512]
                # The first entry of the palette is see-through: ids come after it, and 255 becomes it.
                np.testing.assert_array_equal(index, want + np.uint8(1))
            assert picture_of(layer.tile(1, 0, 0)).shape == (1, 300, 450)

    def test_image_is_bright_where_the_scene_is(self, tmp_path: Path) -> None:
        bands = np.full((1, 700, 600), 10, np.uint16)
        bands[:, :, 300:] = 4000
        bands[:, :64, :64] = 0
        scene = write_scene(tmp_path / "s.tif", bands, nodata=0)
        with ImageLayer.open(scene) as layer:
            assert layer.ends == ((10.0, 4000.0),)
            shown = picture_of(layer.tile(1, 0, 0)).mean(axis=0)
        assert shown.shape == (350, 300)
        assert shown[200:, :140].mean() < 5
        assert shown[200:, 160:].mean() > 250
        assert 140 < shown[:30, :30].mean() < 200  # hatched

    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    def test_uncertainty_is_in_steps(self, tmp_path: Path, dtype: str) -> None:
        scene = write_scene(tmp_path / "s.tif", ramp(3, 10, 40))
        shares = np.repeat([0.0, 0.5, 1.0, 0.25], 10)[np.newaxis].repeat(10, axis=0)
        values = np.round(shares * 254).astype(dtype) if dtype == "uint8" else shares.astype(dtype)
        values[0, 0] = 255
        path = write_scene(tmp_path / "u.tif", values, nodata=255)
        with Scene.open(scene) as opened, RampLayer.open(path, opened.geobox) as layer:
            index = picture_of(layer.tile(0, 0, 0))[0]
        assert index[0, 0] == 0
        assert index[5, [5, 15, 25, 35]].tolist() == [1, 7, 12, 4]

    def test_overviews_are_read(self, tmp_path: Path) -> None:
        scene = write_scene(tmp_path / "s.tif", np.full((1, 1024, 1024), 7, np.uint8), tiled=True)
        with rasterio.open(scene, "r+") as dataset:
            dataset.build_overviews([2])
        with Scene.open(scene) as opened:
            assert opened.overviews == (2,)
            values, valid = opened.read_shrunk(Window(0, 0, 1024, 1024), (512, 512), smooth=True)
        assert valid.all()
        assert (values == 7).all()


class TestParcels:
    @pytest.mark.parametrize("transform", [north_up(), south_up(), rotated(33.0)])
    def test_they_lie_on_the_pixels(self, tmp_path: Path, transform: Affine) -> None:
        scene, _, parcels = write_map(tmp_path, transform)
        with open_atlas(Sources(scene=scene, parcels=parcels)) as atlas:
            found = atlas.vectors[0].parcels
        np.testing.assert_allclose(found.bounds, [[150, 100, 450, 300], [100, 400, 700, 450]], atol=0.01)
        np.testing.assert_allclose(found.area_px, [200 * 300 - 1600, 600 * 50], rtol=1e-4)

    def test_by_ground_control_points_and_in_another_crs(self, tmp_path: Path) -> None:
        write_scene(tmp_path / "s.tif", ramp(1, 600, 900), gcps=some_gcps(600, 900))
        path = write_labels(tmp_path / "p.gpkg", outlines(north_up()))
        with open_atlas(Sources(scene=tmp_path / "s.tif", parcels=path)) as atlas:
            np.testing.assert_allclose(atlas.vectors[0].parcels.bounds[0], [150, 100, 450, 300], atol=0.05)
        scene, _, parcels = write_map(tmp_path)
        import geopandas

        geopandas.read_file(parcels).to_crs(4326).to_file(tmp_path / "p.geojson")
        with open_atlas(Sources(scene=scene, parcels=tmp_path / "p.geojson")) as atlas:
            np.testing.assert_allclose(atlas.vectors[0].parcels.bounds[0], [150, 100, 450, 300], atol=0.05)

    def test_classes_follow_the_mask_by_name(self, tmp_path: Path) -> None:
        scene, mask, parcels = write_map(tmp_path)
        with open_atlas(Sources(scene=scene, mask=mask, parcels=parcels)) as atlas:
            assert atlas.vectors[0].parcels.class_ids.tolist() == [1, 2]
            assert atlas.legend is not None
            assert atlas.legend.names[:3] == CLASSES.names
            assert atlas.vectors[0].parcels.attributes(0)[:2] == [
                ("class_name", "field"),
                ("area_m2", 14600.0),
            ]

    def test_new_names_do_not_take_ids_of_the_mask(self, tmp_path: Path) -> None:
        scene, _, parcels = write_map(tmp_path)
        unnamed = write_class_raster(tmp_path / "u.tif", class_ids(), nodata=255)
        with open_atlas(Sources(scene=scene, mask=unnamed, parcels=parcels)) as atlas:
            assert atlas.legend is not None
            assert atlas.legend.names[0] == "class 0"
            assert {atlas.legend.names[at] for at in atlas.vectors[0].parcels.class_ids} == set(
                CLASSES.names[1:]
            )

    def test_elsewhere_and_points_are_refused(self, tmp_path: Path) -> None:
        scene, _, _ = write_map(tmp_path)
        far = write_labels(tmp_path / "far.gpkg", [shapely.box(0, 0, 9, 9)])
        dots = write_labels(tmp_path / "dots.gpkg", [shapely.Point(500_010, 4_999_990)])
        with (
            pytest.raises(LabelsError, match=r"polygons .*far\.gpkg lie elsewhere"),
            open_atlas(Sources(scene=scene, parcels=far)),
        ):
            pass
        with (
            pytest.raises(LabelsError, match=r"polygons .*dots\.gpkg holds no polygons"),
            open_atlas(Sources(scene=scene, parcels=dots)),
        ):
            pass

    def test_only_those_of_the_scene_are_kept(self, tmp_path: Path) -> None:
        scene, _, _ = write_map(tmp_path)
        on = outlines(north_up())
        away = [shapely.box(0, 0, 9, 9), None, shapely.Point(500_010, 4_999_990), shapely.Polygon()]
        shapes = [away[0], on[0], *away[1:], shapely.MultiPolygon([on[1], away[0]])]
        path = write_labels(tmp_path / "p.gpkg", shapes, columns={"id": list("abcdef")})
        with open_atlas(Sources(scene=scene, parcels=path)) as atlas:
            found = atlas.vectors[0].parcels
        assert [found.attributes(at) for at in range(len(found))] == [[("id", "b")], [("id", "f")]]
        assert found.left_out == 4
        assert found.bounds[0].tolist() == [150, 100, 450, 300]

    def test_what_lies_nowhere_in_the_scenes_crs_is_left_out(self, tmp_path: Path) -> None:
        scene, _, _ = write_map(tmp_path)
        # The scene lies at 15 E, on its zone's central meridian, and a bit west of 45.15 N.
        near, pole = shapely.box(15.0005, 45.1505, 15.001, 45.151), shapely.box(-180, 89, 180, 91)
        path = write_labels(tmp_path / "p.gpkg", [near, pole], crs="EPSG:4326")
        with Scene.open(scene) as opened:
            ground = Ground(opened.geobox, scene)
        assert not np.isfinite(ground.to_pixels(np.array([[15.0, 91.0]]), "EPSG:4326")).any()
        parcels = Parcels.read(path, ground, None)
        assert (len(parcels), parcels.left_out) == (1, 1)

    def test_outlines_come_back(self, tmp_path: Path) -> None:
        scene, mask, parcels = write_map(tmp_path)
        with open_atlas(Sources(scene=scene, mask=mask, parcels=parcels)) as atlas:
            found = atlas.vectors[0].parcels
            order = found.within((0, 0, 900, 600), 0)
            assert order.tolist() == [0, 1]
            assert found.within((0, 350, 900, 600), 0).tolist() == [1]
            assert found.within((0, 0, 900, 600), 9).tolist() == []
            features = read_strokes(found.strokes(order, step_px=0.25, tolerance_px=0.4))
        assert [(number, class_id, len(rings)) for number, class_id, rings in features] == [
            (0, 1, 2),
            (1, 2, 1),
        ]
        shapes = [shapely.Polygon(rings[0], rings[1:]) for _, _, rings in features]
        pixels = outlines(Affine.scale(4.0))
        assert all(shape.equals(want) for shape, want in zip(shapes, pixels, strict=True))

    def test_what_sticks_out_of_a_tile_is_cut(self, tmp_path: Path) -> None:
        scene, _, parcels = write_map(tmp_path)
        with open_atlas(Sources(scene=scene, parcels=parcels)) as atlas:
            content = atlas.vectors[0].parcels.strokes(
                np.array([1]), step_px=1.0, tolerance_px=0.4, origin=(256, 384), box=(250, 380, 520, 420)
            )
        ((_, _, (ring,)),) = read_strokes(content)
        want = shapely.box(250 - 256, 400 - 384, 520 - 256, 420 - 384)
        assert shapely.Polygon(ring).equals(want)


@given(st.lists(st.integers(-(2**40), 2**40), max_size=50))
def test_varints_come_back(values: list[int]) -> None:
    found, value, shift = [], 0, 0
    for byte in io.BytesIO(varints(np.array(values, np.int64))).read():
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append((value >> 1) ^ -(value & 1))
            value = shift = 0
    assert found == values


@given(st.integers(0, 2**32 - 1))
def test_cutting_keeps_the_land_within(seed: int) -> None:
    # A star around the middle is a simple polygon whatever its radii.
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, 12))
    radii = random.uniform(2, 20, 12)
    star = np.stack([10 + radii * np.cos(angles), 10 + radii * np.sin(angles)], axis=1)
    box = (4.0, 3.0, 15.0, 18.0)
    points, owner = clipped(star, np.zeros(12, np.int64), box)
    shape = shapely.Polygon(star)
    if not shape.is_valid:
        return
    want = shape.intersection(shapely.box(*box)).area
    x, y = points.T if len(points) else (np.zeros(0), np.zeros(0))
    area = abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2
    assert area == pytest.approx(want, abs=1e-6)
    assert len(owner) == len(points)


def test_tallies(tmp_path: Path) -> None:
    scene, mask, _ = write_map(tmp_path)
    with open_atlas(Sources(scene=scene, mask=mask)) as atlas:
        assert atlas.mask is not None
        for tally in (count_all(atlas.mask, SILENT), count_some(atlas.mask)):
            assert tally.pixels.tolist() == np.bincount(class_ids().ravel(), minlength=256).tolist()
            assert tally.area_m2 is not None
            # Pixels of half a metre, by UTM's scale on its central meridian within a thousandth.
            assert tally.area_m2[1] == pytest.approx(200 * 300 / 4, rel=1e-3)
            assert tally.share(1) == pytest.approx(60_000 / (600 * 850))
            assert tally.ids == [0, 1, 2]


def test_tally_of_degrees_weighs_rows(tmp_path: Path) -> None:
    tall = Affine(0.01, 0, 10.0, 0, -0.01, 80.0)
    ids = np.zeros((2000, 4), np.uint8)
    ids[1000:] = 1
    mask = write_class_raster(tmp_path / "m.tif", ids, crs="EPSG:4326", transform=tall)
    scene = write_scene(tmp_path / "s.tif", ramp(1, 2000, 4), crs="EPSG:4326", transform=tall)
    with open_atlas(Sources(scene=scene, mask=mask)) as atlas:
        assert atlas.mask is not None
        area = count_all(atlas.mask, SILENT).area_m2
    assert area is not None
    # The area between parallels on a sphere goes with the difference of the sines.
    sines = np.sin(np.radians([80, 70, 60]))
    assert area[0] / area[1] == pytest.approx((sines[0] - sines[1]) / (sines[1] - sines[2]), rel=0.01)


def test_ground_without_a_place_is_pixels(tmp_path: Path) -> None:
    with not_georeferenced_is_fine():
        path = write_scene(tmp_path / "s.tif", ramp(1, 20, 30), crs=None)
        with Scene.open(path) as scene:
            ground = Ground(scene.geobox, path)
        parcels = Parcels.read(
            write_labels(tmp_path / "p.gpkg", [shapely.box(2, 3, 8, 9)], crs=None), ground, None
        )
    assert parcels.bounds.tolist() == [[2, 3, 8, 9]]
    assert ground.to_json()["transform"] is None


@pytest.mark.parametrize(("min_score", "begin"), [(0.0, 41), (0.1, 41), (0.5, 50), (2.0, 100)])
def test_polygons_surer_than_asked_for_are_shown_first(tmp_path: Path, min_score: float, begin: int) -> None:
    scene, _, parcels = write_map(tmp_path)
    with open_atlas(Sources(scene=scene, parcels=parcels, min_score=min_score)) as atlas:
        slider = str(controls(atlas))
    assert f'min="41" max="100" value="{begin}"' in slider
