"""Mask to polygons, checked in the files a user gets."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import geopandas
import geopandas.testing
import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.features import rasterize
from scenes import not_georeferenced_is_fine, rotated, some_gcps, south_up, write_class_raster

from geoseg.classes import IGNORE, ClassMap
from geoseg.config import VectorizeConfig
from geoseg.errors import ConfigError, InputError, OutputError, SceneError, WriteError
from geoseg.progress import SilentProgress
from geoseg.raster.categories import write_categories
from geoseg.raster.cog import MaskWriter
from geoseg.raster.geobox import GeoBox
from geoseg.raster.mask import CLASSES_TAG
from geoseg.vectorize import VectorizeReport, vectorize

CLASSES = ClassMap.from_names(["background", "field", "house"], background=0)
EXACT = VectorizeConfig(simplify_px=0)
SUFFIXES = (".gpkg", ".fgb", ".geojson", ".shp", ".parquet")
TRANSFORMS = {
    "north-up": ("EPSG:32633", Affine(0.1, 0.0, 500_000.3, 0.0, -0.1, 5_000_000.7)),
    "rotated": ("EPSG:32633", rotated(30.0)),
    "south-up": ("EPSG:32633", south_up()),
    "non-square": ("EPSG:32633", Affine(0.5, 0.0, 500_000.0, 0.0, -0.7, 5e6)),
    "geographic": ("EPSG:4326", Affine(8.98e-5, 0.0, 15.0, 0.0, -6.1e-5, 45.0)),
    "no crs": (None, Affine(0.5, 0.0, 100.0, 0.0, -0.5, 200.0)),
    "nothing": (None, None),
}


def some_ids(height: int = 48, width: int = 64, seed: int = 3) -> NDArray[np.uint8]:
    """Blobs of three classes with nodata, specks, and corners that touch."""
    noise = np.random.default_rng(seed).random((height // 4, width // 4))
    ids = np.kron((noise * 3).astype(np.uint8), np.ones((4, 4), np.uint8))
    ids[5, 7] = 2
    ids[20:30, 40:60] = IGNORE
    ids[24, 50] = 1
    return ids


def write_mask(
    path: Path, ids: NDArray[np.uint8], *, classes: ClassMap | None = CLASSES, **keywords: Any
) -> Path:
    tags = {CLASSES_TAG: json.dumps(classes.to_json())} if classes else {}
    return write_class_raster(path, ids, nodata=IGNORE, tags=tags, **keywords)


def read(path: Path) -> geopandas.GeoDataFrame:
    """Read an output with the libraries people use."""
    if path.suffix == ".parquet":
        return geopandas.read_parquet(path)
    return pyogrio.read_dataframe(path, layer="parcels" if path.suffix == ".gpkg" else None)


def burn(frame: geopandas.GeoDataFrame, mask: Path) -> NDArray[np.uint8]:
    """Burn polygons into the mask's grid by pixel centre; 255 where there is none."""
    with not_georeferenced_is_fine(), rasterio.open(mask) as dataset:
        return rasterize(
            zip(frame.geometry, frame["class_id"], strict=True),
            dataset.shape,
            transform=dataset.transform,
            fill=IGNORE,
            dtype="uint8",
        )


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    return write_mask(tmp_path / "mask.tif", some_ids())


@pytest.mark.parametrize("case", TRANSFORMS)
def test_burning_the_polygons_gives_the_mask(tmp_path: Path, case: str) -> None:
    crs, transform = TRANSFORMS[case]
    ids = some_ids()
    mask = write_mask(tmp_path / "mask.tif", ids, classes=None, crs=crs, transform=transform)
    vectorize(mask, tmp_path / "parcels.gpkg", EXACT)
    frame = read(tmp_path / "parcels.gpkg")
    np.testing.assert_array_equal(burn(frame, mask), ids)
    assert frame.is_valid.all()
    assert frame.crs == (crs and frame.crs.from_user_input(crs))


@given(
    ids=arrays(
        np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.sampled_from([0, 1, 2, 255])
    ),
    case=st.sampled_from(list(TRANSFORMS)),
)
@settings(max_examples=25, deadline=None)
def test_burning_random_masks(
    tmp_path_factory: pytest.TempPathFactory, ids: NDArray[np.uint8], case: str
) -> None:
    folder = tmp_path_factory.mktemp("random")
    crs, transform = TRANSFORMS[case]
    mask = write_mask(folder / "mask.tif", ids, classes=None, crs=crs, transform=transform)
    report = vectorize(mask, folder / "parcels.fgb", EXACT)
    frame = read(folder / "parcels.fgb")
    assert len(frame) == sum(report.polygons.values())
    if len(frame):
        np.testing.assert_array_equal(burn(frame, mask), ids)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("config", [EXACT, VectorizeConfig()], ids=["exact", "default"])
def test_every_format(tmp_path: Path, mask: Path, suffix: str, config: VectorizeConfig) -> None:
    output = tmp_path / f"parcels{suffix}"
    report = vectorize(mask, output, config)
    frame = read(output).sort_values("id")
    assert set(frame.geom_type) == {"Polygon"}
    assert frame.crs == ("EPSG:4326" if suffix == ".geojson" else "EPSG:32633")
    assert frame["id"].tolist() == list(range(1, len(frame) + 1))
    assert frame["class_name"].tolist() == [CLASSES.names[i] for i in frame["class_id"]]
    assert frame["class_name"].value_counts().to_dict() == report.polygons
    planar = frame.to_crs("EPSG:32633")
    assert frame["area_m2"].to_numpy() == pytest.approx(planar.area.to_numpy(), rel=1e-3)
    perimeter = frame["perim_m" if suffix == ".shp" else "perimeter_m"].to_numpy()
    assert perimeter == pytest.approx(planar.length.to_numpy(), rel=1e-3)
    if config is EXACT:
        burned = burn(planar, mask)
        np.testing.assert_array_equal(burned, np.where(some_ids() == 0, IGNORE, some_ids()))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".geojson", ".shp"])
def test_ogrinfo_of_an_older_gdal_has_nothing_to_say(tmp_path: Path, mask: Path, suffix: str) -> None:
    if shutil.which("ogrinfo") is None:
        pytest.skip("no gdal-bin")
    output = tmp_path / f"parcels{suffix}"
    report = vectorize(mask, output)
    done = subprocess.run(
        ["ogrinfo", "-ro", "-al", "-so", output], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert "Warning" not in done.stdout
    assert f"Feature Count: {sum(report.polygons.values())}" in done.stdout


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("fill", [0, IGNORE])
def test_nothing_to_see_is_a_valid_layer(tmp_path: Path, suffix: str, fill: int) -> None:
    mask = write_mask(tmp_path / "mask.tif", np.full((8, 9), fill, np.uint8))
    output = tmp_path / f"parcels{suffix}"
    report = vectorize(mask, output)
    assert report.polygons == {"field": 0, "house": 0}
    frame = read(output)
    assert len(frame) == 0
    assert frame.crs == ("EPSG:4326" if suffix == ".geojson" else "EPSG:32633")
    if suffix != ".geojson":  # which tells columns and types by its features only
        assert "class_name" in frame.columns
    if suffix not in (".parquet", ".geojson"):
        assert pyogrio.read_info(output, layer=0)["geometry_type"] == "Polygon"


def test_geopackage_opens_coloured_in_qgis(tmp_path: Path, mask: Path) -> None:
    names = ClassMap.from_names(["background", "field <&> 'quoted'", "house"], background=0)
    mask = write_mask(tmp_path / "named.tif", some_ids(), classes=names)
    vectorize(mask, tmp_path / "parcels.gpkg")
    with sqlite3.connect(tmp_path / "parcels.gpkg") as connection:
        rows = connection.execute(
            "SELECT f_table_catalog, f_table_schema, f_table_name, f_geometry_column, useAsDefault, styleQML "
            "FROM layer_styles"
        ).fetchall()
        columns = [row[1] for row in connection.execute("PRAGMA table_info(layer_styles)")]
        geometry = connection.execute(
            "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = 'parcels'"
        ).fetchone()
        assert connection.execute("PRAGMA user_version").fetchone() == (10200,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert columns == [
        "id", "f_table_catalog", "f_table_schema", "f_table_name", "f_geometry_column", "styleName",
        "styleQML", "styleSLD", "useAsDefault", "description", "owner", "ui", "update_time",
    ]  # fmt: skip
    assert rows[0][:5] == ("", "", "parcels", geometry[0], 1)
    renderer = ElementTree.fromstring(rows[0][5]).find("renderer-v2")
    assert renderer is not None
    assert renderer.attrib["attr"] == "class_id"
    categories = [(c.get("value"), c.get("label")) for c in renderer.iter("category")]
    assert categories == [("1", "field <&> 'quoted'"), ("2", "house")]
    colors = [option.get("value") for option in renderer.iter("Option") if option.get("name") == "color"]
    assert [color.rpartition(",")[0] for color in colors if color] == [
        ",".join(map(str, names.rgb(i))) for i in (1, 2)
    ]


def test_without_style_the_geopackage_has_one_layer(tmp_path: Path, mask: Path) -> None:
    vectorize(mask, tmp_path / "parcels.gpkg", VectorizeConfig(style=False))
    assert pyogrio.list_layers(tmp_path / "parcels.gpkg").tolist() == [["parcels", "Polygon"]]


def test_attributes_and_report(tmp_path: Path) -> None:
    ids = np.zeros((6, 8), np.uint8)
    ids[0:2, 3:5] = 2
    ids[3:5, 2:5] = 1
    mask = write_mask(tmp_path / "mask.tif", ids)
    report = vectorize(mask, tmp_path / "parcels.gpkg", EXACT)
    frame = read(tmp_path / "parcels.gpkg")
    assert list(frame.columns) == [
        "id", "class_id", "class_name", "area_m2", "perimeter_m", "touches_edge", "geometry"
    ]  # fmt: skip
    assert frame.drop(columns="geometry").to_numpy().tolist() == [
        [1, 2, "house", 1.0, 4.0, True],
        [2, 1, "field", 1.5, 5.0, False],
    ]
    assert str(frame["class_id"].dtype) == "int16"
    assert report.polygons == {"field": 1, "house": 1}
    assert report.area_m2 == {"field": 1.5, "house": 1.0}
    assert (report.dissolved, report.dropped, report.vertices) == (0, 0, 10)
    assert json.loads(json.dumps(report.to_json()))["output"] == str(tmp_path / "parcels.gpkg")


def test_background_is_left_out_unless_named(tmp_path: Path, mask: Path) -> None:
    def classes_of(*wanted: str) -> list[int]:
        config = VectorizeConfig(classes=wanted or None)
        vectorize(mask, tmp_path / "parcels.fgb", config, overwrite=True)
        return sorted(set(read(tmp_path / "parcels.fgb")["class_id"]))

    assert classes_of() == [1, 2]
    assert classes_of("background") == [0]
    assert classes_of("field") == [1]
    assert classes_of("2", "background") == [0, 2]


def test_what_is_left_out_still_holds_the_edges(tmp_path: Path, mask: Path) -> None:
    all_classes = VectorizeConfig(classes=("background", "field", "house"), simplify_px=2)
    vectorize(mask, tmp_path / "all.fgb", all_classes)
    vectorize(mask, tmp_path / "one.fgb", VectorizeConfig(classes=("field",), simplify_px=2))
    every, one = read(tmp_path / "all.fgb"), read(tmp_path / "one.fgb")
    fields = every[every["class_name"] == "field"]
    assert set(shapely.to_wkb(fields.geometry)) == set(shapely.to_wkb(one.geometry))
    assert shapely.coverage_is_valid(every.geometry.to_numpy())


def test_mask_of_another_program(tmp_path: Path) -> None:
    ids = np.array([[0, 0, 3, 3], [7, 7, 3, 3]], np.int16)
    mask = write_class_raster(tmp_path / "mask.tif", ids, nodata=0)
    report = vectorize(mask, tmp_path / "parcels.gpkg", EXACT)
    assert report.polygons == {"class 3": 1, "class 7": 1}
    write_categories(mask, ClassMap.from_names(["sea", "a", "b", "wood"]))
    report = vectorize(mask, tmp_path / "parcels.gpkg", EXACT, overwrite=True)
    assert report.polygons == {"wood": 1, "class 7": 1}


def test_mask_that_predict_writes(tmp_path: Path) -> None:
    ids = some_ids()
    box = GeoBox(crs=CRS.from_epsg(32633), transform=rotated(), shape=ids.shape)
    with MaskWriter(tmp_path / "mask.tif", box, CLASSES) as writer:
        writer.write_rows(0, ids)
    vectorize(tmp_path / "mask.tif", tmp_path / "parcels.gpkg", EXACT)
    burned = burn(read(tmp_path / "parcels.gpkg"), tmp_path / "mask.tif")
    np.testing.assert_array_equal(burned, np.where(ids == 0, IGNORE, ids))


def test_control_points_place_the_polygons(tmp_path: Path) -> None:
    ids = some_ids()
    mask = write_mask(tmp_path / "mask.tif", ids, classes=None, gcps=some_gcps(*ids.shape))
    report = vectorize(mask, tmp_path / "parcels.gpkg", EXACT)
    frame = read(tmp_path / "parcels.gpkg")
    assert frame.crs == "EPSG:32633"
    transform = rasterio.transform.from_gcps(some_gcps(*ids.shape))
    burned = rasterize(
        zip(frame.geometry, frame["class_id"], strict=True), ids.shape, transform=transform, fill=IGNORE,
        dtype="uint8",
    )  # fmt: skip
    np.testing.assert_array_equal(burned, ids)
    assert report.area_m2 is not None
    assert sum(report.area_m2.values()) == pytest.approx((ids != IGNORE).sum() * 0.25, rel=1e-6)


def test_without_crs_units_are_not_called_metres(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.tif", some_ids(), crs=None)
    for suffix in SUFFIXES:
        report = vectorize(mask, tmp_path / f"parcels{suffix}", EXACT)
        frame = read(tmp_path / f"parcels{suffix}")
        assert report.area_m2 is None
        assert "area_m2" not in frame.columns
        assert frame["area"].sum() == np.isin(some_ids(), (1, 2)).sum()
    with pytest.raises(InputError, match="give min_area in pixels, such as 20px"):
        vectorize(mask, tmp_path / "again.gpkg", VectorizeConfig(min_area="5m2"))
    report = vectorize(mask, tmp_path / "again.gpkg", VectorizeConfig(min_area="30px"))
    assert report.dissolved > 0
    assert report.dropped == 1


@pytest.mark.parametrize(("min_area", "kept"), [("16px", 1), ("4m2", 1), ("4.1", 0), ("0.001ha", 0)])
def test_min_area_in_every_unit(tmp_path: Path, min_area: str, kept: int) -> None:
    ids = np.zeros((20, 20), np.uint8)
    ids[3:7, 3:7] = 1
    mask = write_mask(tmp_path / "mask.tif", ids)
    report = vectorize(mask, tmp_path / "parcels.gpkg", VectorizeConfig(min_area=min_area))
    assert report.polygons["field"] == kept
    assert report.dissolved == 1 - kept


def test_min_area_leaves_no_gap(tmp_path: Path, mask: Path) -> None:
    config = VectorizeConfig(min_area="30px", simplify_px=0, classes=("0", "1", "2"))
    report = vectorize(mask, tmp_path / "parcels.gpkg", config)
    frame = read(tmp_path / "parcels.gpkg")
    assert report.dissolved > 0
    assert report.dropped == 1
    assert frame["area_m2"].min() >= 30 * 0.25
    np.testing.assert_array_equal(burn(frame, mask) != IGNORE, (some_ids() != IGNORE) & ~speck())
    assert shapely.coverage_is_valid(frame.geometry.to_numpy())


def speck() -> NDArray[np.bool_]:
    """The pixel of :func:`some_ids` that has no neighbour but nodata."""
    ids = np.zeros((48, 64), np.bool_)
    ids[24, 50] = True
    return ids


def test_geographic_area_is_in_square_metres(tmp_path: Path) -> None:
    # A square degree at the equator is 12,309 km2 on the ellipsoid (12,364 on a sphere of the same surface).
    ids = np.ones((10, 10), np.uint8)
    mask = write_mask(tmp_path / "m.tif", ids, crs="EPSG:4326", transform=Affine(0.1, 0, 30.0, 0, -0.1, 1.0))
    report = vectorize(mask, tmp_path / "parcels.gpkg", EXACT)
    assert report.area_m2 is not None
    assert report.area_m2["field"] == pytest.approx(12_309e6, rel=1e-3)
    frame = read(tmp_path / "parcels.gpkg")
    assert frame["perimeter_m"][0] == pytest.approx(2 * 110_574 + 111_320 + 111_303, rel=1e-3)


@pytest.mark.parametrize("crs", ["EPSG:2264", "ESRI:54049", "EPSG:3035", "+proj=laea +lat_0=10 +lon_0=20"])
@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".parquet"])
def test_crs_is_kept(tmp_path: Path, crs: str, suffix: str) -> None:
    mask = write_mask(tmp_path / "mask.tif", some_ids(), crs=crs, transform=Affine(10, 0, 1e5, 0, -10, 2e5))
    vectorize(mask, tmp_path / f"parcels{suffix}", EXACT)
    with rasterio.open(mask) as dataset:
        expected = geopandas.GeoSeries([], crs=dataset.crs.to_wkt(version="WKT2_2019")).crs
    found = read(tmp_path / f"parcels{suffix}").crs
    assert found.equals(expected, ignore_axis_order=True) or found.to_proj4() == expected.to_proj4()


@pytest.fixture(autouse=True)
def no_proj4_warning() -> Iterator[None]:
    """pyproj warns that PROJ strings hold less than WKT; two tests compare them all the same."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "You will likely lose important projection information")
        yield


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_same_again(tmp_path: Path, mask: Path, suffix: str) -> None:
    frames = []
    for name in ("a", "b"):
        vectorize(mask, tmp_path / f"{name}{suffix}", VectorizeConfig(min_area="9px"))
        frames.append(read(tmp_path / f"{name}{suffix}"))
    geopandas.testing.assert_geodataframe_equal(*frames)
    if suffix in (".geojson", ".fgb"):
        # GeoPackage and dBASE hold the time they were written.
        first, second = ((tmp_path / f"{name}{suffix}").read_bytes() for name in ("a", "b"))
        assert first.replace(b"a", b"b") == second.replace(b"a", b"b")


def test_ids_follow_the_last_row(tmp_path: Path, mask: Path) -> None:
    vectorize(mask, tmp_path / "parcels.gpkg", EXACT)
    frame = read(tmp_path / "parcels.gpkg")
    with rasterio.open(mask) as dataset:
        burned = rasterize(
            zip(frame.geometry, frame["id"], strict=True), dataset.shape, transform=dataset.transform
        )
    places = [np.nonzero(burned == i)[0].max() for i in frame["id"]]
    firsts = [np.flatnonzero(burned == i)[0] for i in frame["id"]]
    assert list(zip(places, firsts, strict=True)) == sorted(zip(places, firsts, strict=True))


def test_small_pixels_keep_their_digits_in_geojson(tmp_path: Path) -> None:
    transform = Affine(0.02, 0, 500_000.0, 0, -0.02, 5e6)
    mask = write_mask(tmp_path / "mask.tif", some_ids(), transform=transform)
    vectorize(mask, tmp_path / "parcels.geojson", EXACT)
    frame = read(tmp_path / "parcels.geojson").to_crs("EPSG:32633")
    np.testing.assert_array_equal(burn(frame, mask), np.where(some_ids() == 0, IGNORE, some_ids()))


def refused(mask: Path, output: Path, error: type[Exception], match: str, **options: Any) -> None:
    before = sorted(output.parent.iterdir()) if output.parent.is_dir() else []
    with pytest.raises(error, match=match) as caught:
        vectorize(mask, output, VectorizeConfig(**options))
    assert "\n" not in str(caught.value)
    assert before == (sorted(output.parent.iterdir()) if output.parent.is_dir() else [])


def test_refusals(tmp_path: Path, mask: Path) -> None:
    refused(mask, tmp_path / "a.kml", OutputError, r"ends in \.kml; write to one of \.gpkg, \.fgb, \.geojson")
    refused(mask, tmp_path / "a", OutputError, "has no suffix; write to one of")
    refused(mask, tmp_path / "a;b.gpkg", OutputError, "choose another")
    refused(mask, tmp_path / "no" / "a.gpkg", OutputError, "create it first")
    refused(tmp_path / "none.tif", tmp_path / "a.gpkg", SceneError, "does not exist")
    refused(mask, tmp_path / "a.gpkg", ConfigError, "write for example", min_area="5 acres")
    refused(
        mask, tmp_path / "a.gpkg", InputError,
        r"has no class 'sea'; choose from background \(0\), field \(1\), house \(2\)", classes=("sea",),
    )  # fmt: skip
    floats = write_class_raster(tmp_path / "float.tif", np.zeros((3, 3), np.float32))
    refused(floats, tmp_path / "a.gpkg", SceneError, "whole numbers")
    (tmp_path / "old.gpkg").write_bytes(b"mine")
    refused(mask, tmp_path / "old.gpkg", OutputError, "--overwrite")
    assert (tmp_path / "old.gpkg").read_bytes() == b"mine"
    (tmp_path / "old.dbf").write_bytes(b"mine")
    refused(mask, tmp_path / "old.shp", OutputError, r"old\.dbf exists; use --overwrite")


def test_parquet_needs_pyarrow(tmp_path: Path, mask: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.vector.write.importlib.util.find_spec", lambda _: None)
    refused(mask, tmp_path / "a.parquet", OutputError, r"needs pyarrow; pip install 'geoseg\[parquet\]'")


def test_new_shapefile_replaces_all_parts_of_the_old(tmp_path: Path, mask: Path) -> None:
    vectorize(mask, tmp_path / "parcels.shp")
    (tmp_path / "parcels.qix").write_bytes(b"stale")
    plain = write_mask(tmp_path / "plain.tif", some_ids(), crs=None)
    vectorize(plain, tmp_path / "parcels.shp", overwrite=True)
    assert {path.suffix for path in tmp_path.glob("parcels.*")} == {".shp", ".shx", ".dbf", ".cpg"}


def test_failing_to_write_leaves_nothing(tmp_path: Path, mask: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("geoseg.vector.write.add_style", full)
    refused(mask, tmp_path / "a.gpkg", WriteError, "disk is full")


def test_input_is_not_touched(tmp_path: Path, mask: Path) -> None:
    before = mask.read_bytes()
    vectorize(mask, tmp_path / "parcels.gpkg")
    assert mask.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.tif", "parcels.gpkg"]


class Listening(SilentProgress):
    """Counts what it is told."""

    def __init__(self) -> None:
        self.pieces: list[list[Any]] = []
        self.warnings: list[str] = []

    def begin(self, name: str, total: int, unit: str) -> None:
        self.pieces.append([name, total, unit, 0])

    def advance(self, count: int = 1) -> None:
        self.pieces[-1][3] += count

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def test_progress_is_told(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.tif", some_ids(), crs=None)
    progress = Listening()
    report = vectorize(mask, tmp_path / "parcels.gpkg", progress=progress)
    assert isinstance(report, VectorizeReport)
    assert progress.pieces == [["vectorize", 48, "rows", 48]]
    assert len(progress.warnings) == 1
    assert "no known CRS" in progress.warnings[0]
