"""What vectorize does when asked: bands, wide ids, confidence, parcels, other CRS; in a user's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
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
from rasterio.features import rasterize
from scenes import write_class_raster, write_scene

from geoseg.classes import IGNORE, ClassMap
from geoseg.config import VectorizeConfig
from geoseg.errors import ConfigError, InputError, SceneError
from geoseg.raster.mask import CLASSES_TAG
from geoseg.vector import source as source_module
from geoseg.vectorize import VectorizeReport, vectorize

CLASSES = ClassMap.from_names(["background", "field"], background=0).with_boundary()
BOUNDARY = 2


def blobs(height: int = 150, width: int = 130, seed: int = 3) -> NDArray[np.uint8]:
    """Blobs of three classes with nodata and specks."""
    rng = np.random.default_rng(seed)
    ids = np.kron(rng.integers(0, 3, (height // 5, width // 5)), np.ones((5, 5))).astype(np.uint8)
    ids[rng.random(ids.shape) < 0.02] = 1
    ids[20:31, 40:60] = IGNORE
    return ids


def write_mask(path: Path, ids: NDArray[Any], *, classes: ClassMap | None = None, **keywords: Any) -> Path:
    tags = {CLASSES_TAG: json.dumps(classes.to_json())} if classes else {}
    return write_class_raster(
        path, ids, nodata=IGNORE if ids.dtype == np.uint8 else None, tags=tags, **keywords
    )


def run(mask: Path, suffix: str = ".gpkg", **options: Any) -> tuple[VectorizeReport, geopandas.GeoDataFrame]:
    """Vectorize and read what came of it."""
    output = mask.with_name(f"parcels{suffix}")
    shares = options.pop("probabilities", None)
    report = vectorize(mask, output, VectorizeConfig(**options), probabilities=shares, overwrite=True)
    return report, pyogrio.read_dataframe(output, layer="parcels")


def bands_of(monkeypatch: pytest.MonkeyPatch, rows: int, width: int) -> None:
    monkeypatch.setattr(source_module, "_LEAST_ROWS", 1)
    monkeypatch.setattr(source_module, "_BAND_PX", rows * width)


EVERYTHING: list[dict[str, Any]] = [
    {},
    {"min_area": "30px"},
    {"min_area": "8m2", "drop_small": True},
    {"fill_holes": "20px"},
    {"connectivity": 8},
    {"dissolve": True},
    {"instances": True, "boundary_class": "2"},
    {"classes": ("1", "0")},
]


@pytest.mark.parametrize("options", EVERYTHING, ids=str)
def test_bands_change_nothing(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = blobs()
    mask = write_mask(tmp_path / "mask.tif", ids)
    report, whole = run(mask, simplify_px=0, **options)
    assert len(whole) > 0
    for rows in (1, 17, 64):
        bands_of(monkeypatch, rows, ids.shape[1])
        again, cut = run(mask, simplify_px=0, **options)
        assert shapely.to_wkb(cut.geometry).tolist() == shapely.to_wkb(whole.geometry).tolist()
        assert cut.drop(columns="geometry").equals(whole.drop(columns="geometry"))
        assert again.to_json() | {"seconds": 0} == report.to_json() | {"seconds": 0}


def test_instance_ids_of_another_program(tmp_path: Path) -> None:
    ids = np.array([[70_000, 70_000, 5], [70_000, 2_000_000_000, 5], [-9, 0, 0]], np.int32)
    mask = write_scene(tmp_path / "mask.tif", ids, nodata=-9)
    report, frame = run(mask, simplify_px=0)
    assert report.polygons == {"class 0": 1, "class 5": 1, "class 70000": 1, "class 2000000000": 1}
    assert sorted(zip(frame["class_id"], frame["area_m2"], strict=True)) == [
        (0, 0.5), (5, 0.5), (70_000, 0.75), (2_000_000_000, 0.25)
    ]  # fmt: skip
    assert str(frame["class_id"].dtype) == "int32"


@pytest.mark.parametrize(("dtype", "value"), [("int16", -1), ("uint32", 4_000_000_000)])
def test_ids_that_do_not_fit_are_refused(tmp_path: Path, dtype: str, value: int) -> None:
    mask = write_scene(tmp_path / "mask.tif", np.array([[1, value]], dtype))
    with pytest.raises(SceneError, match=f"holds the value {value}; ids are 0 to 2147483647"):
        run(mask)


def test_mask_of_single_bits(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 1], [0, 0, 1]], np.uint8)
    mask = write_scene(tmp_path / "mask.tif", ids, nbits=1)
    with rasterio.open(mask) as dataset:
        assert dataset.tags(1, ns="IMAGE_STRUCTURE")["NBITS"] == "1"
    assert run(mask, simplify_px=0)[0].area_m2 == {"class 0": 0.75, "class 1": 0.75}


def test_corners_join_into_multipolygons(tmp_path: Path) -> None:
    ids = np.zeros((6, 6), np.uint8)
    ids[1, 1] = ids[2, 2] = ids[4, 4] = 1
    mask = write_mask(tmp_path / "mask.tif", ids, classes=CLASSES)
    report, frame = run(mask, simplify_px=0, connectivity=8)
    assert report.polygons["field"] == 2
    assert set(frame.geom_type) == {"MultiPolygon"}
    assert sorted(frame.geometry.apply(lambda shape: len(shape.geoms))) == [1, 2]
    assert frame.is_valid.all()
    assert sorted(frame["area_m2"]) == [0.25, 0.5]


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".geojson", ".shp", ".parquet"])
def test_dissolve_makes_one_feature_of_a_class(tmp_path: Path, suffix: str) -> None:
    ids = blobs()
    mask = write_mask(tmp_path / "mask.tif", ids)
    output = tmp_path / f"parcels{suffix}"
    report = vectorize(mask, output, VectorizeConfig(simplify_px=0, dissolve=True))
    frame = geopandas.read_parquet(output) if suffix == ".parquet" else geopandas.read_file(output, layer=0)
    assert report.polygons == {"class 0": 1, "class 1": 1, "class 2": 1}
    assert sorted(frame["class_id"]) == [0, 1, 2]
    planar = frame.to_crs("EPSG:32633").sort_values("class_id")
    counts = np.bincount(ids.ravel())[:3] * 0.25
    assert planar.area.to_numpy() == pytest.approx(counts, rel=1e-4)
    assert planar["area_m2"].to_numpy() == pytest.approx(counts)


def test_small_ones_are_dropped_not_given_away(tmp_path: Path) -> None:
    ids = np.zeros((20, 20), np.uint8)
    ids[2:12, 2:12] = 1
    ids[4, 4] = 0
    ids[15, 15] = 1
    mask = write_mask(tmp_path / "mask.tif", ids, classes=CLASSES)
    report, frame = run(mask, simplify_px=0, min_area="2px", drop_small=True)
    assert (report.dropped, report.dissolved) == (1, 0)
    assert frame["area_m2"].tolist() == [99 * 0.25]
    report, frame = run(mask, simplify_px=0, fill_holes="2px")
    assert report.filled == 1
    assert sorted(frame["area_m2"]) == [0.25, 25.0]


@pytest.mark.parametrize("simplify_px", [0.0, 1.0])
def test_other_crs_after_measuring(tmp_path: Path, simplify_px: float) -> None:
    mask = write_mask(tmp_path / "mask.tif", blobs())
    _, own = run(mask, simplify_px=simplify_px)
    _, other = run(mask, simplify_px=simplify_px, dst_crs="EPSG:3857")
    assert other.crs == "EPSG:3857"
    assert other["area_m2"].tolist() == own["area_m2"].tolist()
    back = other.to_crs(own.crs)
    assert shapely.hausdorff_distance(back.geometry, own.geometry).max() < 1e-6
    assert shapely.coverage_is_valid(other.geometry.to_numpy())


def share_rasters(ids: NDArray[np.uint8], count: int, seed: int = 0) -> NDArray[np.uint8]:
    """round(254 p) by which each pixel is most likely what it is."""
    rng = np.random.default_rng(seed)
    shares = rng.integers(0, 60, (count, *ids.shape), np.uint8)
    likely = rng.integers(100, 254, ids.shape, np.uint8)
    np.put_along_axis(shares, np.where(ids == IGNORE, 0, ids)[None].astype(np.intp), likely[None], axis=0)
    shares[:, ids == IGNORE] = IGNORE
    return shares


@pytest.mark.parametrize("rows", [13, 1000])
def test_confidence_is_that_of_the_pixels(tmp_path: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = blobs()
    shares = share_rasters(ids, 3)
    mask = write_mask(tmp_path / "mask.tif", ids)
    path = write_scene(tmp_path / "shares.tif", shares, nodata=IGNORE)
    bands_of(monkeypatch, rows, ids.shape[1])
    _, frame = run(mask, simplify_px=0, probabilities=path)
    with rasterio.open(mask) as dataset:
        numbers = rasterize(
            zip(frame.geometry, frame["id"], strict=True), dataset.shape, transform=dataset.transform
        )
    own = np.take_along_axis(shares, np.where(ids == IGNORE, 0, ids)[None].astype(np.intp), axis=0)[0] / 254
    for number, mean, least in zip(frame["id"], frame["confidence"], frame["confidence_min"], strict=True):
        there = own[numbers == number]
        assert mean == pytest.approx(there.mean(), abs=6e-5)
        assert least == pytest.approx(there.min(), abs=6e-5)


def test_confidence_in_a_shapefile(tmp_path: Path) -> None:
    ids = blobs()
    mask = write_mask(tmp_path / "mask.tif", ids)
    path = write_scene(tmp_path / "shares.tif", share_rasters(ids, 3), nodata=IGNORE)
    vectorize(mask, tmp_path / "parcels.shp", probabilities=path)
    frame = geopandas.read_file(tmp_path / "parcels.shp")
    assert (frame["conf_min"] <= frame["confidence"]).all()
    assert frame["confidence"].between(100 / 254 - 1e-4, 1).all()


def test_lines_follow_the_probabilities(tmp_path: Path) -> None:
    x = np.arange(30) + 0.5
    one = np.clip(0.5 + (15.3 - x) * 0.1, 0, 1)
    shares = np.round(254 * np.repeat(np.stack([1 - one, one])[:, None], 20, axis=1)).astype(np.uint8)
    ids = np.repeat((one > 0.5).astype(np.uint8)[None], 20, axis=0)
    mask = write_mask(tmp_path / "mask.tif", ids, classes=CLASSES, transform=Affine(1, 0, 0, 0, -1, 20))
    path = write_scene(tmp_path / "shares.tif", shares, transform=Affine(1, 0, 0, 0, -1, 20))
    areas = [run(mask, **options)[1].area[0] for options in ({}, {"probabilities": path})]
    assert areas[0] == 300.0
    assert areas[1] == pytest.approx(15.3 * 20, rel=0.003)


def test_probabilities_of_something_else_are_refused(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.tif", blobs())
    other = write_scene(tmp_path / "other.tif", np.zeros((3, 9, 9), np.uint8))
    with pytest.raises(SceneError, match="not on the grid of mask"):
        run(mask, probabilities=other)
    floats = write_scene(tmp_path / "floats.tif", np.zeros((3, 150, 130), np.float32))
    with pytest.raises(SceneError, match="hold float32; give what predict writes"):
        run(mask, probabilities=floats)


def field_mask(path: Path) -> tuple[Path, NDArray[np.uint8]]:
    """Four fields that touch, told apart by a boundary of three pixels."""
    ids = np.zeros((60, 80), np.uint8)
    ids[5:55, 5:75] = 1
    ids[5:55, 38:41] = BOUNDARY
    ids[29:32, 5:75] = BOUNDARY
    return write_mask(path, ids, classes=CLASSES), ids


@pytest.mark.parametrize("simplify_px", [0.0, 1.0])
def test_parcels_share_edges_and_lose_nothing(tmp_path: Path, simplify_px: float) -> None:
    mask, ids = field_mask(tmp_path / "mask.tif")
    report, frame = run(mask, simplify_px=simplify_px, instances=True)
    assert report.polygons == {"field": 4}
    assert set(frame["class_name"]) == {"field"}
    assert frame["area_m2"].sum() == pytest.approx((ids > 0).sum() * 0.25)
    assert shapely.coverage_is_valid(frame.geometry.to_numpy())
    together = shapely.coverage_union_all(frame.geometry.to_numpy())
    assert together.area == pytest.approx(frame.area.sum())
    assert together.geom_type == "Polygon"
    plain, _ = run(mask, simplify_px=simplify_px)
    assert plain.polygons == {"field": 4}
    assert plain.area_m2 is not None
    assert plain.area_m2["field"] == pytest.approx((ids == 1).sum() * 0.25)


def test_a_dashed_boundary_parts_parcels_when_its_share_is_known(tmp_path: Path) -> None:
    mask, ids = field_mask(tmp_path / "mask.tif")
    dashed = ids.copy()
    dashed[12:18, 38:41] = 1  # a gap, where boundary is likely all the same
    mask = write_mask(mask, dashed, classes=CLASSES)
    shares = np.zeros((3, *ids.shape), np.uint8)
    np.put_along_axis(shares, dashed[None].astype(np.intp), np.uint8(180), axis=0)
    shares[BOUNDARY][(ids == BOUNDARY) & (dashed == 1)] = 74
    path = write_scene(tmp_path / "shares.tif", shares, nodata=IGNORE)
    assert run(mask, instances=True)[0].polygons == {"field": 3}
    report, frame = run(mask, instances=True, probabilities=path, simplify_px=0)
    assert report.polygons == {"field": 4}
    assert frame["area_m2"].sum() == pytest.approx((ids > 0).sum() * 0.25)
    assert run(mask, instances=True, probabilities=path, boundary_share=0.5)[0].polygons == {"field": 3}
    assert frame["confidence"].between(0.2, 0.75).all()


def test_small_parcels_are_given_away_or_left_out(tmp_path: Path) -> None:
    mask, ids = field_mask(tmp_path / "mask.tif")
    ids[30, 20:22] = 1  # within the boundary: grown over
    ids[57, 2] = 1  # alone: too small for a parcel
    mask = write_mask(mask, ids, classes=CLASSES)
    assert run(mask, instances=True)[0].polygons == {"field": 6}
    report, frame = run(mask, instances=True, min_area="5px")
    assert (report.polygons, report.dropped) == ({"field": 4}, 1)
    assert frame["area_m2"].sum() == pytest.approx(50 * 70 * 0.25)


def test_parcels_need_a_boundary_class(tmp_path: Path) -> None:
    mask = write_mask(tmp_path / "mask.tif", blobs())
    with pytest.raises(InputError, match=r"has no boundary class .* tile --boundary, or name the class"):
        run(mask, instances=True)
    assert run(mask, instances=True, boundary_class="class 2")[0].polygons["class 1"] > 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"drop_small": True}, "says nothing without min_area"),
        ({"min_area": "3px", "fill_holes": "1ha"}, "different units"),
        ({"fill_holes": "much"}, "fill_holes 'much' is no area"),
        ({"instances": True, "dissolve": True}, "instances are single parcels"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, options: dict[str, Any], match: str) -> None:
    mask = write_mask(tmp_path / "mask.tif", blobs())
    with pytest.raises(ConfigError, match=match):
        run(mask, **options)


@pytest.mark.parametrize("crs", ["EPSG:999999", "my valley"])
def test_unknown_crs_is_one_line(tmp_path: Path, crs: str) -> None:
    mask = write_mask(tmp_path / "mask.tif", blobs())
    with pytest.raises(InputError, match=r"cannot go to CRS .*write for example EPSG:32633") as caught:
        run(mask, dst_crs=crs)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "parcels.gpkg").exists()


@given(
    ids=arrays(
        np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 1, 2, 255])
    ),
    simplify_px=st.sampled_from([0.5, 1.0, 4.0]),
    smooth=st.integers(0, 2),
)
@settings(max_examples=25, deadline=None)
def test_a_layer_of_all_classes_is_a_coverage(
    tmp_path_factory: pytest.TempPathFactory, ids: NDArray[np.uint8], simplify_px: float, smooth: int
) -> None:
    mask = write_mask(tmp_path_factory.mktemp("random") / "mask.tif", ids)
    _, frame = run(mask, ".fgb" if (ids != IGNORE).any() else ".gpkg", simplify_px=simplify_px, smooth=smooth)
    shapes = frame.geometry.to_numpy()
    assert frame.is_valid.all()
    assert not len(shapes) or shapely.coverage_is_valid(shapes)
    assert shapely.union_all(shapes).area == pytest.approx(shapely.area(shapes).sum())
