"""Objects, intervals, comparisons and error layers, at the files that a user gives and gets."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pyproj
import pytest
import shapely
import torch
from affine import Affine
from numpy.testing import assert_allclose
from scenes import (
    north_up,
    not_georeferenced_is_fine,
    pixel_box,
    rotated,
    some_gcps,
    south_up,
    write_class_raster,
    write_labels,
    write_scene,
)
from torchmetrics.detection import PanopticQuality

from geoseg.classes import IGNORE, ClassMap
from geoseg.config import EvaluateConfig
from geoseg.errors import ConfigError, InputError, LabelsError, OutputError, SceneError
from geoseg.evaluate import compare, evaluate, evaluate_polygons
from geoseg.progress import SilentProgress
from geoseg.vectorize import VectorizeConfig, vectorize
from geoseg_cli.main import main

CLASSES = ClassMap.from_names(["background", "field", "house"], background=0)
ONE_CLASS = ClassMap.from_names(["background", "field"], background=0)
LINES = ONE_CLASS.with_boundary()
OBJECTS = EvaluateConfig(objects=True)

Boxes = Sequence[tuple[int, int, int, int]]


class Listener(SilentProgress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def write_mask(path: Path, ids: np.ndarray, classes: ClassMap = ONE_CLASS, **keywords: Any) -> Path:
    tags = {"GEOSEG_CLASSES": json.dumps(classes.to_json())}
    return write_class_raster(path, ids.astype(np.uint8), nodata=IGNORE, tags=tags, **keywords)


def drawn(boxes: Boxes, shape: tuple[int, int] = (100, 120)) -> np.ndarray:
    """Background with blocks of field: (row, col, height, width)."""
    ids = np.zeros(shape, np.uint8)
    for row, col, height, width in boxes:
        ids[row : row + height, col : col + width] = 1
    return ids


def labels_of(path: Path, boxes: Boxes, transform: Affine | None = None, **keywords: Any) -> Path:
    return write_labels(path, [pixel_box(transform or north_up(), *box) for box in boxes], **keywords)


def numbered(ids: np.ndarray) -> np.ndarray:
    """Regions of one class that hang together by their edges, numbered."""
    numbers = np.zeros(ids.shape, int)
    for number, start in enumerate(np.ndindex(ids.shape), 1):
        waiting = [] if numbers[start] else [start]
        while waiting:
            row, col = waiting.pop()
            numbers[row, col] = number
            for y, x in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
                inside = 0 <= y < ids.shape[0] and 0 <= x < ids.shape[1]
                if inside and not numbers[y, x] and ids[y, x] == ids[row, col]:
                    waiting.append((y, x))
    return numbers


TRUE: Boxes = [(10, 10, 20, 30), (10, 50, 20, 30), (50, 10, 20, 20), (50, 40, 20, 20)]
FOUND: Boxes = [
    (10, 10, 20, 30),  # as it is
    (10, 55, 20, 30),  # 5 px = 2.5 m to the east: IoU 25 / 35
    (50, 10, 20, 50),  # two fields and what is between them
    (80, 90, 10, 10),  # made up
]


def assert_those(report: Any) -> None:
    """The scores of FOUND against TRUE, by hand."""
    every = report.objects.all
    assert (every.truth, every.predicted) == (4, 4)
    assert every.precision == every.recall == every.f1 == pytest.approx(0.5)
    quality = 1.0 + 25 / 35
    assert every.pq == pytest.approx(quality / 4)
    assert every.sq == pytest.approx(quality / 2)
    assert every.rq == pytest.approx(0.5)
    # 0.5 .. 0.7 find both, above that only the first.
    assert every.f1_mean == pytest.approx((5 * 2 + 5 * 1) / 10 / 4)
    assert every.over_segmentation == pytest.approx((0 + 5 / 30 + 0 + 0) / 4)
    assert every.under_segmentation == pytest.approx((0 + 5 / 30 + 3 / 5 + 3 / 5) / 4)
    assert (every.split, every.merged) == (0, 1)
    assert every.count_bias == 0.0
    area = 2 * 600 + 2 * 400
    assert every.area_bias == pytest.approx((2 * 600 + 1000 + 100) / area - 1)
    assert report.objects.area_m2 == pytest.approx(area * 0.25, rel=1e-3)


class TestScores:
    @pytest.mark.parametrize("grid", [north_up(), south_up(), rotated()])
    @pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326"])
    def test_a_mask_against_polygons(self, tmp_path: Path, grid: Affine, crs: str) -> None:
        mask = write_mask(tmp_path / "mask.tif", drawn(FOUND), transform=grid)
        shapes = geopandas.GeoSeries([pixel_box(grid, *box) for box in TRUE], crs="EPSG:32633").to_crs(crs)
        report = evaluate(mask, write_labels(tmp_path / "labels.gpkg", list(shapes), crs=crs), OBJECTS)
        assert_those(report)

    def test_a_mask_against_a_raster(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", drawn(FOUND))
        assert_those(evaluate(mask, write_mask(tmp_path / "labels.tif", drawn(TRUE)), OBJECTS))

    @pytest.mark.parametrize("name", ["labels.gpkg", "labels.tif"])
    def test_polygons(self, tmp_path: Path, name: str) -> None:
        layer = labels_of(tmp_path / "found.gpkg", FOUND, columns={"class_name": ["field"] * 4})
        labels = tmp_path / name
        if name.endswith("tif"):
            write_mask(labels, drawn(TRUE))
        else:
            labels_of(labels, TRUE)
        report = evaluate_polygons(layer, labels)
        assert_those(report)
        assert json.loads(json.dumps(report.to_json(), allow_nan=False))["objects"]["all"]["merged"] == 1

    def test_polygons_of_vectorize_are_those_of_the_mask(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", drawn(FOUND))
        vectorize(mask, tmp_path / "parcels.gpkg", VectorizeConfig(simplify_px=0.0))
        labels = labels_of(tmp_path / "labels.gpkg", TRUE)
        by_mask = evaluate(mask, labels, OBJECTS).objects
        by_layer = evaluate_polygons(tmp_path / "parcels.gpkg", labels, area=mask).objects
        assert by_mask is not None
        assert by_layer.all == by_mask.all

    @pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857"])
    def test_distances_are_metres_in_any_crs(self, tmp_path: Path, crs: str) -> None:
        """A field moved by 2 m: the sides across are 2 m off, the others 0 but for their ends."""
        transform = north_up(1.0)
        utm = [pixel_box(transform, 0, 0, 100, 100), pixel_box(transform, 0, 2, 100, 100)]
        true, found = geopandas.GeoSeries(utm, crs="EPSG:32633").to_crs(crs)
        layer = write_labels(tmp_path / "found.gpkg", [found], crs=crs)
        labels = write_labels(tmp_path / "labels.gpkg", [true], crs=crs)
        # The bounds of the layer would cut the labels.
        area = write_labels(tmp_path / "area.gpkg", [shapely.union(true, found).envelope], crs=crs)
        every = evaluate_polygons(layer, labels, area=area).objects.all
        assert every.boundary_m == pytest.approx(1.0, rel=0.05)
        assert every.hausdorff95_m == pytest.approx(2.0, rel=0.02)

    def test_area_is_that_of_the_ellipsoid(self, tmp_path: Path) -> None:
        field = shapely.box(15.0, 47.0, 15.01, 47.01)
        layer = write_labels(tmp_path / "found.gpkg", [field], crs="EPSG:4326")
        report = evaluate_polygons(layer, write_labels(tmp_path / "labels.gpkg", [field], crs="EPSG:4326"))
        area, _ = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(field)
        assert report.objects.area_m2 == pytest.approx(abs(area), rel=1e-4)
        assert report.objects.all.f1 == 1.0

    @pytest.mark.parametrize("seed", range(4))
    def test_panoptic_quality_is_that_of_torchmetrics(self, tmp_path: Path, seed: int) -> None:
        rng = np.random.default_rng(seed)
        truth = np.kron(rng.integers(0, 3, (12, 12)), np.ones((5, 5), int))
        found = np.roll(truth, (1, -1), (0, 1))
        found[rng.integers(0, 50, 30), rng.integers(0, 60, 30)] = rng.integers(0, 3, 30)
        report = evaluate(
            write_mask(tmp_path / "mask.tif", found, CLASSES),
            write_mask(tmp_path / "labels.tif", truth, CLASSES),
            OBJECTS,
        ).objects
        oracle = PanopticQuality(things={1, 2}, stuffs={0}, return_per_class=True, return_sq_and_rq=True)
        maps = [np.stack([ids, numbered(ids)], axis=-1)[None] for ids in (found, truth)]
        wanted = oracle(*map(torch.as_tensor, maps))
        assert report is not None
        for row, name in ((0, "field"), (1, "house")):
            scores = report.classes[name]
            assert_allclose([scores.pq, scores.sq, scores.rq], wanted[row], rtol=1e-6)
        assert 0.1 < report.all.pq < 0.9

    def test_background_is_no_object_of_a_mask_that_names_nothing(self, tmp_path: Path) -> None:
        mask = write_class_raster(tmp_path / "mask.tif", drawn(FOUND))
        report = evaluate(mask, labels_of(tmp_path / "labels.gpkg", TRUE), OBJECTS).objects
        assert report is not None
        assert list(report.classes) == ["object"]
        assert report.all.f1 == 0.5

    @pytest.mark.parametrize("place", ["nowhere", "gcps"])
    def test_masks_without_a_transform(self, tmp_path: Path, place: str) -> None:
        how: dict[str, Any] = {"crs": None} if place == "nowhere" else {"gcps": some_gcps(100, 120)}
        with not_georeferenced_is_fine():
            mask = write_mask(tmp_path / "mask.tif", drawn(FOUND), **how)
            labels = write_mask(tmp_path / "labels.tif", drawn(TRUE), **how)
            report = evaluate(mask, labels, OBJECTS, errors=tmp_path / "errors.gpkg").objects
        assert report is not None
        assert report.all.f1 == 0.5
        assert (report.area_m2 is None) == (place == "nowhere")
        assert np.isnan(report.all.boundary_m) == (place == "nowhere")
        assert len(layer(tmp_path / "errors.gpkg", "merge")) == 1

    def test_classes(self, tmp_path: Path) -> None:
        ids = drawn([(10, 10, 20, 20), (10, 40, 20, 20)])
        ids[60:70, 60:70] = 2
        mask = write_mask(tmp_path / "mask.tif", ids, CLASSES)
        boxes = [(10, 10, 20, 20), (10, 40, 20, 20), (60, 60, 10, 10), (80, 10, 10, 10)]
        kinds = {"kind": ["field", "house", "house", "house"]}
        labels = labels_of(tmp_path / "labels.gpkg", boxes, columns=kinds)
        report = evaluate(mask, labels, EvaluateConfig(objects=True, class_column="kind")).objects
        assert report is not None
        assert list(report.classes) == ["field", "house"]
        assert [report.classes[name].f1 for name in report.classes] == [2 * 1 / 3, 2 * 1 / 4]
        assert report.all.f1 == 2 * 2 / 7
        assert report.all.pq == pytest.approx((2 / 3 + 1 / 2) / 2)


class TestLand:
    def test_objects_across_the_edge_are_cut(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", drawn([(10, 0, 20, 30), (50, 110, 20, 10)]))
        # 75 % within; 25 % within, so left out with what was found there; far away.
        boxes = [(10, -10, 20, 40), (50, 110, 20, 40), (500, 500, 9, 9)]
        report = evaluate(mask, labels_of(tmp_path / "labels.gpkg", boxes), OBJECTS).objects
        assert report is not None
        assert (report.all.truth, report.all.predicted, report.all.f1) == (1, 1, 1.0)
        assert (report.left_out_truth, report.left_out_predicted) == (1, 1)
        assert report.all.boundary_m == 0.0

    def test_unpredicted_land_is_taken_off_the_truth(self, tmp_path: Path) -> None:
        ids = drawn([(10, 10, 20, 30)])
        ids[:, :20] = IGNORE
        mask = write_mask(tmp_path / "mask.tif", ids)
        boxes = [(10, 10, 20, 30), (50, 5, 20, 20)]
        report = evaluate(mask, labels_of(tmp_path / "labels.gpkg", boxes), OBJECTS).objects
        assert report is not None
        assert (report.all.truth, report.left_out_truth) == (1, 1)
        assert report.all.sq == pytest.approx(1.0)

    @pytest.mark.parametrize("name", ["labels.gpkg", "labels.tif"])
    def test_land_without_truth_makes_no_false_objects(self, tmp_path: Path, name: str) -> None:
        mask = write_mask(tmp_path / "mask.tif", drawn([(10, 10, 20, 20), (50, 50, 20, 20)]))
        labels = tmp_path / name
        if name.endswith("tif"):
            ids = drawn([(10, 10, 20, 20)])
            ids[40:, 40:] = IGNORE
            report = evaluate(mask, write_mask(labels, ids), OBJECTS).objects
        else:
            boxes = [(10, 10, 20, 20), (40, 40, 60, 80)]
            labels_of(labels, boxes, columns={"kind": ["field", None]})
            report = evaluate(mask, labels, EvaluateConfig(objects=True, class_column="kind")).objects
        assert report is not None
        assert (report.all.truth, report.all.predicted, report.all.f1) == (1, 1, 1.0)

    def test_labels_go_on_beyond_a_layer(self, tmp_path: Path) -> None:
        layer = labels_of(tmp_path / "found.gpkg", TRUE[:2])
        labels = labels_of(tmp_path / "labels.gpkg", TRUE)
        assert evaluate_polygons(layer, labels).objects.all.f1 == 1.0
        scene = write_scene(tmp_path / "scene.tif", np.zeros((3, 100, 120), np.uint8))
        whole = evaluate_polygons(layer, labels, area=scene).objects.all
        assert (whole.precision, whole.recall) == (1.0, 0.5)

    def test_the_line_between_fields_is_no_object_and_gets_no_score(self, tmp_path: Path) -> None:
        ids = drawn([(10, 10, 20, 60)])
        ids[10:30, 40] = 2
        mask = write_mask(tmp_path / "mask.tif", ids, LINES)
        labels = labels_of(tmp_path / "labels.gpkg", [(10, 10, 20, 30), (10, 40, 20, 30)])
        heard = Listener()
        report = evaluate(mask, labels, OBJECTS, progress=heard)
        assert report.objects is not None
        assert (report.objects.all.truth, report.objects.all.f1) == (2, 1.0)
        assert np.isnan(report.iou["boundary"])
        assert report.iou["field"] == pytest.approx(59 / 60)
        assert report.miou == pytest.approx((1 + 59 / 60) / 2)
        assert any("no boundary" in text for text in heard.warnings)


class TestProbabilities:
    def test_the_likeliest_class_counts(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(0)
        shares = rng.integers(0, 255, (3, 60, 80)).astype(np.uint8)
        shares[:, :5] = IGNORE
        tags = {"GEOSEG_CLASSES": json.dumps(CLASSES.to_json())}
        path = write_scene(tmp_path / "shares.tif", shares, nodata=IGNORE, tags=tags)
        ids = shares.argmax(0)
        ids[:5] = IGNORE
        mask = write_mask(tmp_path / "mask.tif", ids, CLASSES)
        labels = write_mask(tmp_path / "labels.tif", rng.integers(0, 3, (60, 80)), CLASSES)
        found, wanted = evaluate(path, labels, probabilities=True), evaluate(mask, labels)
        assert found.confusion == wanted.confusion
        assert found.boundary_iou == wanted.boundary_iou
        assert found.unpredicted_pixels == 5 * 80
        assert main(["evaluate", "--probabilities", str(path), str(labels), "-q"]) == 0

    def test_a_mask_is_none(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", drawn(TRUE))
        with pytest.raises(SceneError, match="have 1 bands; give one for each class"):
            evaluate(mask, mask, probabilities=True)


class TestIntervals:
    def noisy(self, seed: int, share: float, shape: tuple[int, int] = (200, 240)) -> np.ndarray:
        rng = np.random.default_rng(seed)
        wrong = np.kron(rng.random((shape[0] // 10, shape[1] // 10)) < share, np.ones((10, 10), bool))
        return np.where(wrong, 1 - self.truth(shape), self.truth(shape))

    @staticmethod
    def truth(shape: tuple[int, int] = (200, 240)) -> np.ndarray:
        return np.kron(np.indices((shape[0] // 20, shape[1] // 20)).sum(0) % 2, np.ones((20, 20), int))

    def test_they_hold_the_score_and_depend_on_the_blocks(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", self.noisy(1, 0.1))
        labels = write_mask(tmp_path / "labels.tif", self.truth())
        report = evaluate(mask, labels, EvaluateConfig(blocks_px=20))
        sure = report.intervals
        assert sure is not None
        assert (sure.blocks, sure.block_px) == (120, 20)
        assert sure.miou is not None
        assert sure.accuracy is not None
        assert sure.miou[0] < report.miou < sure.miou[1]
        low, high = sure.accuracy
        # Blocks of 2 x 2 cells, each wrong with 0.1: what the binomial distribution says.
        assert high - low == pytest.approx(2 * 1.96 * (0.1 * 0.9 / 480) ** 0.5, rel=0.35)
        again = evaluate(mask, labels, EvaluateConfig(blocks_px=20))
        assert again.intervals == sure

    def test_none_of_few_blocks(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", self.noisy(1, 0.1))
        report = evaluate(
            mask, write_mask(tmp_path / "labels.tif", self.truth()), EvaluateConfig(blocks_px=100)
        )
        assert report.intervals is not None
        assert (report.intervals.blocks, report.intervals.miou) == (6, None)

    def test_too_many_blocks(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", np.zeros((1200, 1200)))
        with pytest.raises(ConfigError, match="22,500 blocks of 8 px"):
            evaluate(mask, mask, EvaluateConfig(blocks_px=8))

    def test_paired_differences(self, tmp_path: Path) -> None:
        labels = write_mask(tmp_path / "labels.tif", self.truth())
        masks = [
            write_mask(tmp_path / f"{i}.tif", self.noisy(i, share))
            for i, share in enumerate((0.3, 0.05, 0.3))
        ]
        done = compare([*masks, masks[0]], labels, EvaluateConfig(blocks_px=20, objects=True))
        better, alike, same = done.differences
        assert better.miou == done.reports[1].miou - done.reports[0].miou  # type: ignore[union-attr]
        assert better.miou_interval is not None
        assert better.miou_interval[0] > 0
        assert better.object_f1_interval is not None
        assert better.object_f1_interval[0] > 0
        assert alike.miou_interval is not None
        assert alike.miou_interval[0] < 0 < alike.miou_interval[1]
        assert (same.miou, same.miou_interval, same.object_f1_interval) == (0.0, (0.0, 0.0), (0.0, 0.0))

    def test_no_pairs_on_another_grid(self, tmp_path: Path) -> None:
        labels = write_mask(tmp_path / "labels.tif", self.truth())
        one = write_mask(tmp_path / "a.tif", self.truth())
        other = write_mask(tmp_path / "b.tif", self.truth()[:-1])
        (difference,) = compare([one, other], labels, EvaluateConfig(blocks_px=20)).differences
        assert difference.miou == 0.0
        assert difference.miou_interval is None
        assert difference.object_f1 is None


def layer(path: Path, name: str) -> geopandas.GeoDataFrame:
    return pyogrio.read_dataframe(path, layer=name)


class TestErrors:
    def test_objects(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", drawn(FOUND))
        path = tmp_path / "errors.gpkg"
        evaluate(mask, labels_of(tmp_path / "labels.gpkg", TRUE), OBJECTS, errors=path)
        counts = {
            name: len(layer(path, name)) for name, _ in pyogrio.list_layers(path) if name != "layer_styles"
        }
        assert counts == {
            "true_positive": 2,
            "false_negative": 2,
            "false_positive": 2,
            "split": 0,
            "merge": 1,
        }
        assert_allclose(sorted(layer(path, "true_positive").iou), [25 / 35, 1.0])
        merge = layer(path, "merge")
        assert merge.class_name.tolist() == ["field"]
        assert merge.area_m2.tolist() == [1000 * 0.25]
        assert merge.geometry[0].equals(pixel_box(north_up(), 50, 10, 20, 50))
        with sqlite3.connect(path) as opened:
            styles = dict(
                opened.execute("SELECT f_table_name, styleQML FROM layer_styles WHERE useAsDefault")
            )
        assert set(styles) == set(counts)
        assert "field: merge" in styles["merge"]

    def test_pixels(self, tmp_path: Path) -> None:
        truth = np.zeros((60, 80), np.uint8)
        truth[10:30, 10:30], truth[10:30, 50:60] = 1, 2
        found = truth.copy()
        found[20:30, 10:30] = 2  # a field taken for a house
        found[40:50, 40:50] = 1  # made up
        found[10:15, 50:60] = 0  # missed
        found[12:14, 12:14] = IGNORE
        mask = write_mask(tmp_path / "mask.tif", found, CLASSES)
        path = tmp_path / "errors.gpkg"
        evaluate(mask, write_mask(tmp_path / "labels.tif", truth, CLASSES), errors=path)
        false, missed = layer(path, "false_positive"), layer(path, "false_negative")
        assert sorted(zip(false.class_name, false.instead, false.area / 0.25, strict=True)) == [
            ("field", "background", 100.0),
            ("house", "field", 200.0),
        ]
        assert sorted(zip(missed.class_name, missed.instead, missed.area / 0.25, strict=True)) == [
            ("field", "house", 200.0),
            ("house", "background", 50.0),
        ]

    def test_in_degrees(self, tmp_path: Path) -> None:
        fields = [shapely.box(15.0, 47.0, 15.01, 47.01), shapely.box(15.02, 47.0, 15.03, 47.01)]
        labels = write_labels(tmp_path / "labels.gpkg", fields[:1], crs="EPSG:4326")
        found = write_labels(tmp_path / "found.gpkg", fields, crs="EPSG:4326")
        evaluate_polygons(found, labels, errors=tmp_path / "errors.gpkg")
        false = layer(tmp_path / "errors.gpkg", "false_positive")
        assert false.crs == "EPSG:4326"
        assert false.geometry[0].hausdorff_distance(fields[1]) < 2e-8  # 2 mm

    def test_outputs_are_guarded(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", drawn(FOUND))
        labels = labels_of(tmp_path / "labels.gpkg", TRUE)
        with pytest.raises(OutputError, match=r"write to errors\.gpkg"):
            evaluate(mask, labels, errors=tmp_path / "errors.shp")
        with pytest.raises(OutputError, match="both input and output"):
            evaluate(mask, labels, errors=labels, overwrite=True)
        (tmp_path / "errors.gpkg").touch()
        with pytest.raises(OutputError, match="--overwrite"):
            evaluate(mask, labels, errors=tmp_path / "errors.gpkg")


def test_what_is_not_compared_is_told(tmp_path: Path) -> None:
    whole, crossed, nowhere = (pixel_box(north_up(), row, 10, 9, 9) for row in (10, 30, 50))
    corners = shapely.get_coordinates(crossed)
    crossed = shapely.Polygon([corners[0], corners[2], corners[1], corners[3]])
    nowhere = shapely.transform(nowhere, lambda at: np.where(np.arange(len(at))[:, None] == 1, np.nan, at))
    shapes = [whole, crossed, nowhere, shapely.Point(500_001, 4_999_999), None, whole]
    found = write_labels(
        tmp_path / "found.gpkg", shapes, columns={"class_name": [*["field"] * 5, None], "score": [0.9] * 6}
    )
    labels = labels_of(tmp_path / "labels.gpkg", [(10, 10, 9, 9)])
    progress = Listener()
    report = evaluate_polygons(
        found, labels, EvaluateConfig(class_name="field", min_score=0.0), progress=progress
    )
    assert report.objects.all.predicted == 2
    assert progress.warnings == [
        f"polygons {found}: not compared: 1 without a value in class_name, 1 with a vertex that lies nowhere "
        "(no number, or beyond 1e+15), 1 without geometry, 1 points or lines",
        f"polygons of {found} that cross themselves, repaired: 1",
    ]


class TestRefused:
    def test_polygons_of_another_place(self, tmp_path: Path) -> None:
        found = labels_of(tmp_path / "found.gpkg", TRUE)
        far = labels_of(tmp_path / "labels.gpkg", TRUE, north_up(origin=(700_000.0, 5_400_000.0)))
        with pytest.raises(LabelsError, match="no object on the land of polygons"):
            evaluate_polygons(found, far)

    def test_several_classes_without_a_column(self, tmp_path: Path) -> None:
        found = labels_of(tmp_path / "found.gpkg", TRUE, columns={"class_name": ["a", "b", "a", "b"]})
        labels = labels_of(tmp_path / "labels.gpkg", TRUE)
        with pytest.raises(LabelsError, match="have the classes a, b; say which column"):
            evaluate_polygons(found, labels)
        assert (
            evaluate_polygons(found, labels, EvaluateConfig(class_name="a")).objects.classes["b"].truth == 0
        )

    def test_a_layer_without_polygons(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", drawn([]))
        vectorize(mask, tmp_path / "none.gpkg")
        labels = labels_of(tmp_path / "labels.gpkg", TRUE)
        with pytest.raises(InputError, match="--area"):
            evaluate_polygons(tmp_path / "none.gpkg", labels, EvaluateConfig(class_name="field"))
        every = evaluate_polygons(tmp_path / "none.gpkg", labels, area=mask).objects.all
        assert (every.truth, every.predicted, every.recall, every.f1) == (4, 0, 0.0, 0.0)

    def test_unlabelled_land_must_be_known(self, tmp_path: Path) -> None:
        found = labels_of(tmp_path / "found.gpkg", TRUE)
        with pytest.raises(InputError, match="evaluate the mask"):
            evaluate_polygons(found, found, EvaluateConfig(unlabelled="ignore"))


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        write_mask(Path("a.tif"), drawn(FOUND))
        write_mask(Path("b.tif"), drawn(TRUE))
        labels_of(Path("labels.gpkg"), TRUE)
        labels_of(Path("found.gpkg"), FOUND)

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            ("a.tif labels.gpkg --min-f1 0.5", 0),
            ("a.tif labels.gpkg --min-f1 0.51", 3),
            ("found.gpkg labels.gpkg --min-f1 0.51", 3),
            ("found.gpkg labels.gpkg --area a.tif --errors e.gpkg", 0),
            ("b.tif a.tif --labels labels.gpkg --min-f1 0.51", 3),
            ("b.tif a.tif found.gpkg --labels labels.gpkg --objects", 0),
            ("a.tif --labels labels.gpkg --boundary 1m", 0),
            ("a.tif b.tif labels.gpkg", 2),
            ("found.gpkg labels.gpkg --min-miou 0.5", 2),
            ("a.tif labels.gpkg --area a.tif", 2),
            ("found.gpkg labels.gpkg --blocks 20", 2),
            ("found.gpkg labels.gpkg --boundary 3m", 2),
            ("a.tif labels.gpkg --probabilities a.tif", 2),
            ("a.tif b.tif --labels labels.gpkg --errors e.gpkg", 2),
            ("a.tif labels.gpkg --boundary wide", 2),
            ("--tiles . --objects", 2),
        ],
    )
    def test_exit_codes(self, words: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["evaluate", *words.split()]) == code
        shown = capsys.readouterr().err
        assert ("geoseg: error: " in shown) == (code != 0)
        assert "Traceback" not in shown

    def test_tables(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["evaluate", "a.tif", "labels.gpkg", "--objects"]) == 0
        shown = capsys.readouterr().err
        rows = [line.split() for line in shown.splitlines()]
        assert ["field", "4", "4", "0.5", "0.5", "0.5", "0.375", "0.4286"] in rows
        assert "1 merge several" in shown
        assert "2 px = 1 m" in shown
        assert main(["evaluate", "b.tif", "a.tif", "found.gpkg", "-l", "labels.gpkg", "--objects"]) == 0
        shown = capsys.readouterr().err
        by_name = {line.split()[0]: line for line in shown.splitlines() if line.split()}
        assert " 1 " in by_name["b.tif"]
        assert "-0.5000" in by_name["a.tif"]
        assert "-0.5000" in by_name["found.gpkg"]

    def test_json_is_all_of_it(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["evaluate", "a.tif", "labels.gpkg", "--objects", "--json"]) == 0
        values = json.loads(capsys.readouterr().out)
        assert values["objects"]["classes"]["field"]["over_segmentation"] == pytest.approx(5 / 120)
        assert values["intervals"]["blocks"] == 4
        assert values["kappa"] == pytest.approx(evaluate(Path("a.tif"), Path("labels.gpkg")).kappa)
        assert main(["evaluate", "a.tif", "b.tif", "--labels", "labels.gpkg", "--json"]) == 0
        values = json.loads(capsys.readouterr().out)
        assert len(values["reports"]) == 2
        assert values["differences"][0]["miou"] > 0
