from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scenes
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform_geom
from rasterio.windows import Window

from geoseg.classes import ClassMap
from geoseg.errors import LabelsError
from geoseg.raster.geobox import GeoBox
from geoseg.raster.labels import open_labels
from geoseg.raster.mask import CLASSES_TAG
from geoseg.raster.scene import Scene

UTM = CRS.from_string(scenes.UTM)
GRIDS = {
    "north-up": scenes.north_up(),
    "south-up": scenes.south_up(),
    "rotated": scenes.rotated(),
    "non-square": scenes.north_up(0.5, pixel_y=0.8),
}


def grid(transform: Affine | None = None, shape: tuple[int, int] = (24, 30), crs: CRS | None = UTM) -> GeoBox:
    return GeoBox(crs=crs, transform=transform or scenes.north_up(), shape=shape)


def blobs(geobox: GeoBox, seed: int, count: int = 6) -> list[shapely.Polygon]:
    """Random star-shaped polygons around the grid, some with holes, in CRS coordinates."""
    rng = np.random.default_rng(seed)
    polygons = []
    for _ in range(count):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
        radii = rng.uniform(2, 12, 9)
        centre = rng.uniform((-3, -3), (geobox.width + 3, geobox.height + 3))
        ring = centre + np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None]
        polygon = shapely.Polygon(ring)
        if polygon.is_valid and rng.random() < 0.5:
            polygon = polygon.difference(shapely.Point(centre).buffer(1.5, quad_segs=2))
        polygons.append(shapely.transform(polygon, lambda xy: np.array([geobox.transform @ p for p in xy])))
    return [p for p in polygons if p.is_valid and p.geom_type == "Polygon"]


def oracle(geobox: GeoBox, polygons: list[Any], ids: list[int], fill: int) -> np.ndarray:
    """Point in polygon at every pixel centre; the smallest polygon wins, of equal ones the last."""
    burned = np.full(geobox.shape, fill, np.uint8)
    for row in range(geobox.height):
        for col in range(geobox.width):
            centre = shapely.Point(geobox.transform @ (col + 0.5, row + 0.5))
            inside = [(p.area, -i, ids[i]) for i, p in enumerate(polygons) if p.contains(centre)]
            if inside:
                burned[row, col] = min(inside)[2]
    return burned


@pytest.mark.parametrize("name", GRIDS)
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_burning_equals_point_in_polygon(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int
) -> None:
    geobox = grid(GRIDS[name])
    polygons = blobs(geobox, seed)
    kinds = [seed % 3 + i % 3 for i in range(len(polygons))]
    path = tmp_path_factory.mktemp("labels") / "labels.gpkg"
    scenes.write_labels(path, polygons, columns={"kind": kinds})
    labels = open_labels(path, class_column="kind")
    ids = [labels.classes.id_of(str(kind)) for kind in kinds]
    np.testing.assert_array_equal(labels.burn(geobox), oracle(geobox, polygons, ids, fill=0))


@pytest.mark.parametrize("name", GRIDS)
def test_windows_of_a_grid_burn_as_the_whole(tmp_path: Path, name: str) -> None:
    geobox = grid(GRIDS[name], (40, 50))
    labels = open_labels(scenes.write_labels(tmp_path / "l.fgb", blobs(geobox, 3, 10)))
    whole = labels.burn(geobox)
    part = labels.burn(geobox.window(Window(13, 7, 20, 30)))
    np.testing.assert_array_equal(part, whole[7:37, 13:33])
    beyond = labels.burn(geobox.window(Window(-5, -5, 10, 10)))
    np.testing.assert_array_equal(beyond[5:, 5:], whole[:5, :5])


def test_polygons_of_many_vertices_are_cut_but_burn_the_same(tmp_path: Path) -> None:
    geobox = grid()
    polygons = blobs(geobox, 5, 4)
    fine = [polygon.segmentize(0.002) for polygon in polygons]
    assert max(shapely.get_num_coordinates(fine)) > 2000
    plain = open_labels(scenes.write_labels(tmp_path / "a.gpkg", polygons)).burn(geobox)
    np.testing.assert_array_equal(
        open_labels(scenes.write_labels(tmp_path / "b.gpkg", fine)).burn(geobox), plain
    )


def test_smaller_polygon_wins_and_of_equal_ones_the_later(tmp_path: Path) -> None:
    geobox = grid()
    large = scenes.pixel_box(geobox.transform, 2, 2, 10, 10)
    small = scenes.pixel_box(geobox.transform, 4, 4, 3, 3)
    path = scenes.write_labels(tmp_path / "l.gpkg", [small, large, large], columns={"k": ["s", "x", "y"]})
    labels = open_labels(path, class_column="k")
    ids = labels.burn(geobox)
    assert labels.classes.names == ("background", "s", "x", "y")
    assert (ids == labels.classes.id_of("s")).sum() == 9
    assert (ids == labels.classes.id_of("y")).sum() == 91
    assert (ids == labels.classes.id_of("x")).sum() == 0


def test_without_a_column_every_polygon_is_one_class(tmp_path: Path) -> None:
    geobox = grid()
    path = scenes.write_labels(tmp_path / "l.gpkg", [scenes.pixel_box(geobox.transform, 1, 2, 3, 4)])
    labels = open_labels(path, class_name="building")
    assert labels.classes == ClassMap.from_names(["background", "building"], background=0)
    expected = np.zeros(geobox.shape, np.uint8)
    expected[1:4, 2:6] = 1
    np.testing.assert_array_equal(labels.burn(geobox), expected)
    ignoring = open_labels(path, class_name="building", unlabelled="ignore")
    assert ignoring.classes == ClassMap.from_names(["building"])
    np.testing.assert_array_equal(ignoring.burn(geobox), np.where(expected == 1, 0, 255))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([10, 2, 1, 2], ("background", "1", "2", "10")),
        ([10.0, 2.0, None, 2.0], ("background", "2", "10")),
        (["b", "a", " b ", "a"], ("background", "a", "b")),
        (["b", "Background", "b", "b"], ("background", "b")),
        ([True, False, True, True], ("background", "False", "True")),
        (["b", "", None, "a"], ("background", "a", "b")),
    ],
)
def test_class_values_become_names(tmp_path: Path, values: list[Any], names: tuple[str, ...]) -> None:
    boxes = [scenes.pixel_box(scenes.north_up(), 0, 5 * i, 4, 4) for i in range(4)]
    path = scenes.write_labels(tmp_path / "l.gpkg", boxes, columns={"k": values})
    labels = open_labels(path, class_column="k")
    assert labels.classes.names == names
    ids = labels.burn(grid())
    for i, value in enumerate(values):
        if value is None or value == "":
            expected = 255
        elif isinstance(value, str) and value.strip().casefold() == "background":
            expected = 0
        else:
            text = str(int(value)) if isinstance(value, float) else str(value).strip()
            expected = names.index(text)
        assert ids[1, 5 * i + 1] == expected


def test_a_given_map_is_followed_by_name(tmp_path: Path) -> None:
    boxes = [scenes.pixel_box(scenes.north_up(), 0, 5 * i, 4, 4) for i in range(2)]
    path = scenes.write_labels(tmp_path / "l.gpkg", boxes, columns={"k": ["road", "house"]})
    classes = ClassMap.from_names(["water", "house", "none", "road"], background=2)
    labels = open_labels(path, class_column="k", classes=classes)
    ids = labels.burn(grid())
    assert labels.classes == classes
    assert (ids[0, 0], ids[0, 5], ids[20, 20]) == (3, 1, 2)
    with pytest.raises(LabelsError, match=r"has the class house, which is none of background, road"):
        open_labels(path, class_column="k", classes=ClassMap.from_names(["background", "road"], background=0))


def test_the_only_foreground_class_needs_no_name(tmp_path: Path) -> None:
    path = scenes.write_labels(tmp_path / "l.gpkg", [scenes.pixel_box(scenes.north_up(), 0, 0, 4, 4)])
    two = ClassMap.from_names(["background", "house"], background=0)
    assert open_labels(path, classes=two).burn(grid())[0, 0] == 1
    three = ClassMap.from_names(["background", "house", "road"], background=0)
    with pytest.raises(LabelsError, match="none of"):
        open_labels(path, classes=three)


def test_a_map_without_background_leaves_the_rest_unknown(tmp_path: Path) -> None:
    path = scenes.write_labels(tmp_path / "l.gpkg", [scenes.pixel_box(scenes.north_up(), 0, 0, 4, 4)])
    labels = open_labels(path, class_name="a", classes=ClassMap.from_names(["a", "b"]))
    assert set(np.unique(labels.burn(grid()))) == {0, 255}
    assert any("no background" in note for note in labels.notes)


def test_labels_are_brought_into_the_scenes_crs(tmp_path: Path) -> None:
    geobox = grid(scenes.rotated(20.0))
    polygon = scenes.pixel_box(geobox.transform, 3, 4, 10, 12)
    lonlat = shapely.geometry.shape(
        transform_geom(scenes.UTM, "EPSG:4326", shapely.geometry.mapping(polygon))
    )
    path = scenes.write_labels(tmp_path / "l.geojson", [lonlat], crs="EPSG:4326")
    labels = open_labels(path)
    expected = np.zeros(geobox.shape, np.uint8)
    expected[3:13, 4:16] = 1
    np.testing.assert_array_equal(labels.burn(geobox), expected)
    assert labels.covers(geobox) == 1
    assert labels.notes == ()
    # Another CRS afterwards: each keeps its own.
    there = transform_geom(scenes.UTM, "EPSG:3857", shapely.geometry.mapping(polygon))
    left, _, _, top = shapely.geometry.shape(there).bounds
    mercator = grid(scenes.north_up(1.0, origin=(left, top)), (20, 20), CRS.from_epsg(3857))
    assert 0 < (labels.burn(mercator) == 1).mean() < 1
    np.testing.assert_array_equal(labels.burn(geobox), expected)


def test_labels_elsewhere_cover_nothing(tmp_path: Path) -> None:
    path = scenes.write_labels(tmp_path / "l.gpkg", [shapely.box(13.0, 52.0, 13.1, 52.1)], crs="EPSG:4326")
    labels = open_labels(path)
    assert labels.covers(grid()) == 0
    assert not labels.burn(grid()).any()
    assert labels.bounds_lonlat() == pytest.approx((13.0, 52.0, 13.1, 52.1))


def test_labels_beyond_the_projection_are_left_out(tmp_path: Path) -> None:
    far = shapely.box(-75.5, -1.0, -74.5, 1.0)
    near = shapely.box(14.9, 45.1, 15.1, 45.2)
    path = scenes.write_labels(tmp_path / "l.gpkg", [far, near], crs="EPSG:4326")
    assert open_labels(path).burn(grid()).all()


def test_labels_without_crs_are_taken_to_be_in_the_scenes(tmp_path: Path) -> None:
    path = scenes.write_labels(
        tmp_path / "l.gpkg", [scenes.pixel_box(scenes.north_up(), 0, 0, 4, 4)], crs=None
    )
    labels = open_labels(path)
    assert labels.covers(grid()) == 1
    assert labels.burn(grid()).sum() == 16
    assert labels.notes == ("l.gpkg has no CRS: taken to be in the scene's",)
    elsewhere = open_labels(scenes.write_labels(tmp_path / "m.gpkg", [shapely.box(0, 0, 1, 1)], crs=None))
    assert elsewhere.covers(grid()) == 0


def test_scene_without_crs(tmp_path: Path) -> None:
    path = scenes.write_labels(tmp_path / "l.gpkg", [scenes.pixel_box(scenes.north_up(), 0, 0, 4, 4)])
    labels = open_labels(path)
    assert labels.burn(grid(crs=None)).sum() == 16
    assert labels.notes == ("the scene has no CRS: taken to be in that of l.gpkg",)
    with pytest.raises(LabelsError, match="without georeferencing"):
        labels.burn(GeoBox(crs=None, transform=Affine.identity(), shape=(10, 10)))
    with pytest.raises(LabelsError, match="ground control points"):
        labels.covers(
            GeoBox(
                crs=None,
                transform=Affine.identity(),
                shape=(9, 9),
                gcps=tuple(scenes.some_gcps(9, 9)),
                gcps_crs=UTM,
            )
        )


def test_polygons_that_cross_themselves_are_repaired(tmp_path: Path) -> None:
    x, y = scenes.ORIGIN
    bow = shapely.Polygon([(x, y), (x + 4, y - 4), (x + 4, y), (x, y - 4)])
    path = scenes.write_labels(tmp_path / "l.gpkg", [bow])
    labels = open_labels(path)
    assert labels.repaired == 1
    assert labels.notes == ("polygons of l.gpkg that cross themselves, repaired: 1",)
    assert labels.burn(grid()).sum() == pytest.approx(32, abs=8)


def test_what_is_no_polygon_is_left_out(tmp_path: Path) -> None:
    box = scenes.pixel_box(scenes.north_up(), 0, 0, 4, 4)
    odd = [shapely.Point(0, 0), shapely.LineString([(0, 0), (1, 1)]), shapely.Polygon(), None, box]
    labels = open_labels(scenes.write_labels(tmp_path / "l.geojson", odd))
    assert labels.burn(grid()).sum() == 16
    assert labels.notes == ("left out of l.geojson: 2 without geometry, 2 points or lines",)


@pytest.mark.parametrize("geometries", [[], [shapely.Point(0, 0)], [None], [shapely.Polygon()]])
def test_labels_without_polygons_are_refused(tmp_path: Path, geometries: list[Any]) -> None:
    path = scenes.write_labels(tmp_path / "l.geojson", geometries)
    with pytest.raises(LabelsError, match=r"is empty|no polygon to burn|no layer with geometries"):
        open_labels(path)


def test_wrong_columns(tmp_path: Path) -> None:
    boxes = [shapely.box(i, 0, i + 1, 1) for i in range(255)]
    columns = {"n": list(range(255)), "share": [i + 0.5 for i in range(255)], "none": [None] * 255}
    path = scenes.write_labels(tmp_path / "l.gpkg", boxes, columns=columns)
    with pytest.raises(LabelsError, match=r"has no column kind; it has n, share, none"):
        open_labels(path, class_column="kind")
    with pytest.raises(LabelsError, match="255 different values in column n, and 253 classes beside"):
        open_labels(path, class_column="n")
    with pytest.raises(LabelsError, match="fractions in column share"):
        open_labels(path, class_column="share")
    with pytest.raises(LabelsError, match="no value in column none"):
        open_labels(path, class_column="none")


# Raster labels


def test_raster_labels_on_the_same_grid_are_read_as_they_are(tmp_path: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 3, (24, 30)).astype(np.uint8)
    path = scenes.write_class_raster(tmp_path / "l.tif", ids, transform=scenes.rotated())
    with open_labels(path) as labels:
        assert labels.classes.names == ("class 0", "class 1", "class 2")
        assert labels.classes.background is None
        geobox = grid(scenes.rotated())
        np.testing.assert_array_equal(labels.burn(geobox), ids)
        np.testing.assert_array_equal(labels.burn(geobox.window(Window(5, 6, 7, 8))), ids[6:14, 5:12])
        beyond = labels.burn(geobox.window(Window(-2, -2, 5, 5)))
        assert (beyond[:2] == 255).all()
        np.testing.assert_array_equal(beyond[2:, 2:], ids[:3, :3])
        assert labels.covers(geobox) == 24 * 30


@pytest.mark.parametrize("name", GRIDS)
def test_raster_labels_on_another_grid_are_sampled_at_centres(tmp_path: Path, name: str) -> None:
    ids = np.random.default_rng(1).integers(0, 4, (60, 60)).astype(np.uint8)
    origin = (scenes.ORIGIN[0] - 3.3137, scenes.ORIGIN[1] + 9.7243)
    mine = scenes.north_up(0.7, origin=origin)
    path = scenes.write_class_raster(tmp_path / "l.tif", ids, transform=mine)
    geobox = grid(GRIDS[name])
    expected = np.full(geobox.shape, 255, np.uint8)
    for row in range(geobox.height):
        for col in range(geobox.width):
            x, y = ~mine @ (geobox.transform @ (col + 0.5, row + 0.5))
            if 0 <= x < 60 and 0 <= y < 60:
                expected[row, col] = ids[int(y), int(x)]
    with open_labels(path) as labels:
        np.testing.assert_array_equal(labels.burn(geobox), expected)


def test_raster_labels_in_another_crs(tmp_path: Path) -> None:
    ids = np.zeros((200, 200), np.uint8)
    ids[:100] = 1
    transform = Affine(1e-5, 0, 14.999, 0, -1e-5, 45.1535)
    path = scenes.write_class_raster(tmp_path / "l.tif", ids, crs="EPSG:4326", transform=transform)
    with open_labels(path) as labels:
        burned = labels.burn(grid(scenes.north_up(), (60, 60)))
        assert set(np.unique(burned)) == {1}
        south = grid(scenes.north_up(origin=(500_000.0, 4_999_850.0)), (60, 60))
        assert set(np.unique(labels.burn(south))) == {0}
        nowhere = grid(scenes.north_up(origin=(600_000.0, 4_999_800.0)), (60, 60))
        assert labels.covers(nowhere) == 0
        assert (labels.burn(nowhere) == 255).all()


def test_raster_nodata_is_unknown(tmp_path: Path) -> None:
    ids = np.array([[1, 1, 0], [2, 0, 1]], np.int16)
    path = scenes.write_class_raster(tmp_path / "l.tif", ids, nodata=0)
    with open_labels(path) as labels:
        expected = np.where(ids == 0, 255, ids)
        np.testing.assert_array_equal(labels.burn(grid(shape=(2, 3))), expected)


def test_raster_classes_by_tag_follow_a_given_map(tmp_path: Path) -> None:
    own = ClassMap.from_names(["background", "house", "road"], background=0)
    ids = np.array([[0, 1, 2]], np.uint8)
    path = scenes.write_class_raster(tmp_path / "l.tif", ids, tags={CLASSES_TAG: json.dumps(own.to_json())})
    with open_labels(path) as labels:
        assert labels.classes == own
    other = ClassMap.from_names(["road", "background", "house"], background=1)
    with open_labels(path, classes=other) as labels:
        np.testing.assert_array_equal(labels.burn(grid(shape=(1, 3))), [[1, 2, 0]])
    with pytest.raises(LabelsError, match="has the class road, none of background, house"):
        open_labels(path, classes=ClassMap.from_names(["background", "house"]))


def test_raster_classes_from_palette_and_categories(tmp_path: Path) -> None:
    path = scenes.write_class_raster(
        tmp_path / "l.tif", np.array([[0, 1]], np.uint8), colormap={0: (1, 2, 3), 1: (4, 5, 6)}
    )
    (tmp_path / "l.tif.aux.xml").write_text(
        "<PAMDataset><PAMRasterBand band='1'><CategoryNames><Category>sea</Category><Category>land</Category>"
        "</CategoryNames></PAMRasterBand></PAMDataset>"
    )
    with open_labels(path) as labels:
        assert labels.classes == ClassMap(names=("sea", "land"), colors=("#010203", "#040506"))


@pytest.mark.parametrize(
    ("ids", "nodata", "text"),
    [
        ([[255, 255]], None, "every pixel is nodata"),
        ([[0, 255]], None, "0 and 255 only"),
        ([[0, 254]], None, "holds the id 254"),
        ([[7, 7]], 7, "every pixel is nodata"),
    ],
)
def test_rasters_that_are_no_labels(
    tmp_path: Path, ids: list[list[int]], nodata: int | None, text: str
) -> None:
    path = scenes.write_class_raster(tmp_path / "l.tif", np.array(ids, np.uint8), nodata=nodata)
    with pytest.raises(LabelsError, match=text):
        open_labels(path)


def test_raster_of_ids_too_high_or_of_pictures(tmp_path: Path) -> None:
    high = scenes.write_class_raster(tmp_path / "a.tif", np.array([[0, 300]], np.int16))
    with pytest.raises(LabelsError, match="holds the value 300"):
        open_labels(high)
    picture = scenes.write_scene(tmp_path / "b.tif", scenes.ramp(3, 4, 4))
    with pytest.raises(LabelsError, match=r"labels .* has 3 bands"):
        open_labels(picture)
    with pytest.raises(LabelsError, match="is a raster, which has no columns; leave out kind"):
        open_labels(high, class_column="kind")


@pytest.mark.parametrize("keywords", [{"crs": None}, {"gcps": scenes.some_gcps(6, 8)}])
def test_raster_labels_of_scenes_without_a_transform(tmp_path: Path, keywords: dict[str, Any]) -> None:
    ids = (np.arange(48).reshape(6, 8) % 5).astype(np.uint8)
    path = scenes.write_class_raster(tmp_path / "l.tif", ids, **keywords)
    with Scene.open(path) as scene, open_labels(path) as labels:
        np.testing.assert_array_equal(labels.burn(scene.geobox), ids)
        part = scene.geobox.window(Window(3, 2, 4, 4))
        np.testing.assert_array_equal(labels.burn(part), ids[2:6, 3:7])


def test_raster_labels_without_crs(tmp_path: Path) -> None:
    ids = np.array([[0, 1], [1, 0]], np.uint8)
    path = scenes.write_class_raster(tmp_path / "l.tif", ids, crs=None, transform=scenes.north_up())
    with open_labels(path) as labels:
        np.testing.assert_array_equal(labels.burn(grid(shape=(2, 2))), ids)
        assert labels.notes == ("l.tif has no CRS: taken to be in the other's",)


@pytest.mark.parametrize("pixel", [1e-310, 1e15, 1e200, 1e307])
def test_raster_labels_of_pixels_that_no_number_can_hold(tmp_path: Path, pixel: float) -> None:
    ids = np.zeros((4, 4), np.uint8)
    path = scenes.write_class_raster(
        tmp_path / "l.tif", ids, transform=Affine(pixel, 0.0, 1.0, 0.0, -pixel, 1.0)
    )
    with pytest.raises(LabelsError, match="puts all pixels on a line or nowhere"):
        open_labels(path)


@pytest.mark.parametrize("pixel", [1e-150, 1e-30])
def test_raster_labels_of_pixels_too_small_for_the_scene(tmp_path: Path, pixel: float) -> None:
    ids = np.zeros((4, 4), np.uint8)
    path = scenes.write_class_raster(
        tmp_path / "l.tif", ids, transform=Affine(pixel, 0.0, 0.0, 0.0, -pixel, 0.0)
    )
    with open_labels(path) as labels:
        for box in (grid(), grid(crs="EPSG:4326", transform=scenes.north_up(1e-4, origin=(15.0, 45.0)))):
            assert (labels.burn(box) == 255).all()
            assert labels.covers(box) >= 0


def test_missing_labels() -> None:
    with pytest.raises(LabelsError, match=r"labels nowhere\.gpkg does not exist"):
        open_labels(Path("nowhere.gpkg"))
