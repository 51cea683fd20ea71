"""Masks and models against truth whose scores are known."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import shapely
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from scenes import (
    UTM,
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

import geoseg.evaluate as stage
from geoseg.chips.store import ChipStore
from geoseg.classes import IGNORE, BandStats, ClassMap
from geoseg.config import EvaluateConfig, ModelConfig, PointConfig, TileConfig
from geoseg.errors import ChipsError, ConfigError, LabelsError, ModelError, SceneError
from geoseg.evaluate import EvaluateReport, evaluate, evaluate_model
from geoseg.metrics import BoundaryCounts, ConfusionMatrix
from geoseg.models.card import ModelCard
from geoseg.models.checkpoint import load_model, save_model
from geoseg.models.deeplab import build_model
from geoseg.models.inference import choose_precision, predict_logits
from geoseg.progress import SilentProgress
from geoseg.tile import tile

CLASSES = ClassMap.from_names(["background", "field", "house"], background=0)
ONE_CLASS = ClassMap.from_names(["background", "field"], background=0)


class Listener(SilentProgress):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def write_mask(path: Path, ids: np.ndarray, classes: ClassMap | None = CLASSES, **keywords: Any) -> Path:
    tags = {} if classes is None else {"GEOSEG_CLASSES": json.dumps(classes.to_json())}
    return write_class_raster(path, ids.astype(np.uint8), nodata=IGNORE, tags=tags, **keywords)


def landscape(height: int = 60, width: int = 80) -> np.ndarray:
    """Background with a field (rows 10-39, columns 20-59) and a house in it (4 x 6)."""
    ids = np.zeros((height, width), np.uint8)
    ids[10:40, 20:60] = 1
    ids[20:24, 30:36] = 2
    return ids


def polygons(transform: Any, *, crs: str = UTM, column: str = "kind", path: Path) -> Path:
    shapes = [pixel_box(transform, 10, 20, 30, 40), pixel_box(transform, 20, 30, 4, 6)]
    frame = geopandas.GeoDataFrame({column: ["field", "house"]}, geometry=shapes, crs=UTM).to_crs(crs)
    return write_labels(path, list(frame.geometry), crs=crs, columns={column: ["field", "house"]})


def assert_perfect(report: EvaluateReport) -> None:
    for scores in (report.iou, report.precision, report.recall, report.f1, report.boundary_iou):
        assert set(scores.values()) == {1.0}
    assert (report.miou, report.accuracy, report.mean_boundary_iou) == (1.0, 1.0, 1.0)


BY_KIND = EvaluateConfig(class_column="kind")


class TestMask:
    @pytest.mark.parametrize("grid", [north_up(), south_up(), rotated(), north_up(0.5, pixel_y=0.8)])
    def test_perfect_against_polygons(self, tmp_path: Path, grid: Any) -> None:
        mask = write_mask(tmp_path / "mask.tif", landscape(), transform=grid)
        labels = polygons(grid, path=tmp_path / "labels.gpkg")
        report = evaluate(mask, labels, BY_KIND)
        assert_perfect(report)
        assert list(report.iou) == ["background", "field", "house"]
        assert report.pixels == 60 * 80
        assert report.confusion == ((3600, 0, 0), (0, 1176, 0), (0, 0, 24))

    @pytest.mark.parametrize("name", ["labels.geojson", "labels.gpkg", "labels.fgb"])
    def test_labels_in_degrees_on_a_utm_mask(self, tmp_path: Path, name: str) -> None:
        # Outlines run along pixel edges: rounding of degrees is far from any pixel centre.
        mask = write_mask(tmp_path / "mask.tif", landscape())
        labels = polygons(north_up(), crs="EPSG:4326", path=tmp_path / name)
        assert_perfect(evaluate(mask, labels, BY_KIND))

    def test_perfect_against_its_own_copy(self, tmp_path: Path) -> None:
        ids = landscape()
        ids[:5] = IGNORE
        mask = write_mask(tmp_path / "mask.tif", ids)
        labels = write_mask(tmp_path / "labels.tif", ids)
        report = evaluate(mask, labels)
        assert_perfect(report)
        assert (report.pixels, report.ignored_pixels, report.unpredicted_pixels) == (55 * 80, 5 * 80, 0)

    def test_shifted_mask(self, tmp_path: Path) -> None:
        """A square of 20 moved by 5: every figure by hand."""
        truth = np.zeros((40, 50), np.uint8)
        truth[10:30, 10:30] = 1
        mask = write_mask(tmp_path / "mask.tif", np.roll(truth, 5, axis=1), ONE_CLASS)
        labels = write_labels(tmp_path / "labels.gpkg", [pixel_box(north_up(), 10, 10, 20, 20)])
        report = evaluate(mask, labels, EvaluateConfig(boundary_px=1))
        assert report.confusion == ((1500, 100), (100, 300))
        assert report.iou == {"background": 1500 / 1700, "field": 300 / 500}
        assert report.precision["field"] == report.recall["field"] == report.f1["field"] == 0.75
        assert report.accuracy == 1800 / 2000
        assert report.miou == pytest.approx((1500 / 1700 + 0.6) / 2)
        # Rings of 76 px share 15 columns of the upper and of the lower side.
        assert report.boundary_iou["field"] == 30 / (2 * 76 - 30)
        # Around it rings of 84 px with 17 + 17 in common, and the scene's edge of 176 px.
        assert report.boundary_iou["background"] == (34 + 176) / (2 * 84 - 34 + 176)

    def test_nodata_of_the_mask_is_left_out_and_counted(self, tmp_path: Path) -> None:
        ids = landscape()
        ids[:, 40:] = IGNORE
        mask = write_mask(tmp_path / "mask.tif", ids)
        report = evaluate(mask, polygons(north_up(), path=tmp_path / "labels.gpkg"), BY_KIND)
        assert_perfect(report)
        assert report.unpredicted_pixels == 60 * 40
        assert report.unpredicted_share == 0.5

    def test_unlabelled_land_can_be_unknown(self, tmp_path: Path) -> None:
        ids = landscape()
        ids[0, 0] = 2
        mask = write_mask(tmp_path / "mask.tif", ids)
        labels = polygons(north_up(), path=tmp_path / "labels.gpkg")
        report = evaluate(mask, labels, EvaluateConfig(class_column="kind", unlabelled="ignore"))
        assert report.pixels == 1200
        assert report.ignored_pixels == 3600
        assert math.isnan(report.iou["background"])
        assert report.miou == 1.0
        # The field's outline borders on unknown land only; the one it shares with the house is there.
        assert report.boundary_iou["field"] == 1.0

    def test_json_has_null_for_nan(self, tmp_path: Path) -> None:
        ids = np.zeros((20, 20), np.uint8)
        ids[5:9, 5:9] = 1
        mask = write_mask(tmp_path / "mask.tif", ids)
        labels = write_labels(
            tmp_path / "labels.gpkg", [pixel_box(north_up(), 5, 5, 4, 4)], columns={"kind": ["field"]}
        )
        values = json.loads(json.dumps(evaluate(mask, labels, BY_KIND).to_json(), allow_nan=False))
        assert values["iou"] == {"background": 1.0, "field": 1.0, "house": None}
        assert values["boundary_iou"]["house"] is None
        assert values["miou"] == 1.0
        assert values["split"] is None

    @settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(seed=st.integers(0, 1000), window_px=st.integers(3, 40), boundary_px=st.integers(1, 5))
    def test_does_not_depend_on_the_windows(
        self, tmp_path: Path, seed: int, window_px: int, boundary_px: int
    ) -> None:
        rng = np.random.default_rng(seed)
        shape = (int(rng.integers(5, 60)), int(rng.integers(5, 60)))
        small = rng.choice([0, 1, 2, IGNORE], (2, 10, 10), p=[0.4, 0.3, 0.2, 0.1]).astype(np.uint8)
        truth, predicted = np.kron(small, np.ones((1, 6, 6), np.uint8))[:, : shape[0], : shape[1]]
        truth[0, 0] = predicted[0, 0] = 0
        mask = write_mask(tmp_path / "mask.tif", predicted)
        labels = write_mask(tmp_path / "labels.tif", truth)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage, "WINDOW_PX", window_px)
            report = evaluate(mask, labels, EvaluateConfig(boundary_px=boundary_px))
        matrix, boundary = ConfusionMatrix(3), BoundaryCounts(3, boundary_px)
        matrix.update(truth, predicted)
        boundary.update(truth, predicted)
        assert report.confusion == tuple(map(tuple, matrix.counts.tolist()))
        assert_array_equal(list(report.boundary_iou.values()), boundary.iou())
        assert report.unpredicted_pixels == matrix.unpredicted

    def test_ground_control_points(self, tmp_path: Path) -> None:
        gcps = some_gcps(60, 80)
        with not_georeferenced_is_fine():
            mask = write_mask(tmp_path / "mask.tif", landscape(), gcps=gcps)
            labels = write_mask(tmp_path / "labels.tif", landscape(), gcps=gcps)
            assert_perfect(evaluate(mask, labels))

    def test_raster_labels_on_a_coarser_grid(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", np.kron(landscape(), np.ones((2, 2), np.uint8)))
        labels = write_mask(tmp_path / "labels.tif", landscape(), transform=north_up(1.0))
        assert_perfect(evaluate(mask, labels))


class TestClasses:
    def test_raster_labels_follow_the_mask_by_name(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", landscape())
        other = ClassMap.from_names(["house", "background", "field"], background=1)
        labels = write_mask(tmp_path / "labels.tif", np.array([1, 2, 0], np.uint8)[landscape()], other)
        assert_perfect(evaluate(mask, labels))

    def test_the_only_class_needs_no_name(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", landscape() > 0, ONE_CLASS)
        labels = write_labels(tmp_path / "labels.gpkg", [pixel_box(north_up(), 10, 20, 30, 40)])
        assert_perfect(evaluate(mask, labels))

    def test_class_name_chooses(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", np.where(landscape() == 2, 2, 0))
        labels = write_labels(tmp_path / "labels.gpkg", [pixel_box(north_up(), 20, 30, 4, 6)])
        report = evaluate(mask, labels, EvaluateConfig(class_name="house"))
        assert report.iou["house"] == 1.0

    def test_several_classes_must_be_told_apart(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", landscape())
        labels = polygons(north_up(), path=tmp_path / "labels.gpkg")
        with pytest.raises(LabelsError, match="field, house"):
            evaluate(mask, labels)
        with pytest.raises(LabelsError, match=r"class road .* background, field, house"):
            evaluate(mask, labels, EvaluateConfig(class_name="road"))
        with pytest.raises(LabelsError, match="no_such"):
            evaluate(mask, labels, EvaluateConfig(class_column="no_such"))

    def test_class_the_mask_has_not(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", landscape() > 0, ONE_CLASS)
        labels = polygons(north_up(), path=tmp_path / "labels.gpkg")
        with pytest.raises(LabelsError, match=r"house.*background, field"):
            evaluate(mask, labels, BY_KIND)

    def test_mask_without_names(self, tmp_path: Path) -> None:
        ids = landscape()
        ids[0, 0] = 7
        mask = write_mask(tmp_path / "mask.tif", ids, None)
        labels = write_mask(tmp_path / "labels.tif", landscape())
        heard = Listener()
        report = evaluate(mask, labels, progress=heard)
        assert list(report.iou) == ["background", "field", "house", *(f"class {i}" for i in range(3, 8))]
        assert report.iou["house"] == 1.0
        assert report.iou["class 7"] == 0.0
        assert any("names no classes" in text for text in heard.warnings)

    def test_mask_id_without_name(self, tmp_path: Path) -> None:
        ids = landscape()
        ids[3, 3] = 9
        mask = write_mask(tmp_path / "mask.tif", ids)
        with pytest.raises(SceneError, match="id 9 of 3 classes"):
            evaluate(mask, write_mask(tmp_path / "labels.tif", landscape()))


class TestRefused:
    def test_labels_elsewhere(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", landscape())
        far = north_up(origin=(700_000.0, 5_400_000.0))
        labels = polygons(far, path=tmp_path / "labels.gpkg")
        with pytest.raises(LabelsError, match=r"elsewhere on Earth.*labels at .*mask at 15\.0000") as error:
            evaluate(mask, labels, BY_KIND)
        assert "\n" not in str(error.value)

    def test_nothing_in_common(self, tmp_path: Path) -> None:
        predicted, truth = landscape(), landscape()
        predicted[:, :40] = IGNORE
        truth[:, 40:] = IGNORE
        mask = write_mask(tmp_path / "mask.tif", predicted)
        with pytest.raises(LabelsError, match="share no pixel"):
            evaluate(mask, write_mask(tmp_path / "labels.tif", truth))

    def test_missing_files(self, tmp_path: Path) -> None:
        mask = write_mask(tmp_path / "mask.tif", landscape())
        with pytest.raises(LabelsError, match="does not exist"):
            evaluate(mask, tmp_path / "labels.gpkg")
        with pytest.raises(SceneError, match="does not exist"):
            evaluate(tmp_path / "nowhere.tif", mask)

    def test_scene_is_no_mask(self, tmp_path: Path) -> None:
        scene = write_scene(tmp_path / "scene.tif", np.zeros((3, 60, 80), np.uint8))
        with pytest.raises(SceneError, match="3 bands"):
            evaluate(scene, polygons(north_up(), path=tmp_path / "labels.gpkg"), BY_KIND)


def test_masks_are_scored_without_torch() -> None:
    code = "import sys, geoseg.evaluate; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SCENE_SHAPE = (150, 190)


@pytest.fixture(scope="module")
def chips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chips")
    rng = np.random.default_rng(4)
    bands = rng.integers(1, 255, (3, *SCENE_SHAPE)).astype(np.uint8)
    scene = write_scene(folder / "scene.tif", bands)
    ids = np.kron(rng.choice([0, 1, 2, IGNORE], (8, 10)).astype(np.uint8), np.ones((20, 20), np.uint8))
    labels = write_mask(folder / "labels.tif", ids[: SCENE_SHAPE[0], : SCENE_SHAPE[1]])
    config = TileConfig(size_px=64, overlap_px=16, block_px=4096, val_share=0.0, test_share=0.0)
    tile([scene], [labels], folder / "chips", config)
    return folder / "chips"


def write_model(path: Path, **changes: Any) -> Path:
    torch.manual_seed(1)
    config = ModelConfig(head_width=8, head_depth=1)
    values: dict[str, Any] = {
        "architecture": config,
        "points": PointConfig(),
        "classes": CLASSES,
        "band_names": ("band 1", "band 2", "band 3"),
        "dtype": "uint8",
        "gsd_m": 0.5,
        "size_px": 64,
        "geoseg_version": "0",
        "torch_version": str(torch.__version__),
        "training": {},
    } | changes
    bands = len(values["band_names"])
    network = build_model(config, bands=bands, classes=len(values["classes"]))
    for name, parameter in network.named_parameters():
        if "point_head" in name and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    stats = BandStats(
        count=(100,) * bands,
        mean=(120.0,) * bands,
        m2=(100 * 60.0**2,) * bands,
        minimum=(0.0,) * bands,
        maximum=(255.0,) * bands,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(path, network, ModelCard(stats=stats, **values))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


def scene_ids(chips: Path, model: Path, *, refine: bool) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction of the whole scene; where chips overlap, the first one's."""
    store = ChipStore.open(chips)
    network, card = load_model(model)
    autocast, _ = choose_precision("auto", torch.device("cpu"))
    truth = np.full(SCENE_SHAPE, IGNORE, np.uint8)
    predicted = np.full(SCENE_SHAPE, IGNORE, np.uint8)
    taken = np.zeros(SCENE_SHAPE, bool)
    for chip in store.chips():
        bands, valid, labels = store.read(chip)
        image = torch.from_numpy(card.stats.normalise(bands, valid))[None]
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            logits = predict_logits(
                network, image.contiguous(memory_format=torch.channels_last), refine=refine
            )
        ids = logits[0].numpy().argmax(axis=0)
        for row, col in np.ndindex(64, 64):
            y, x = chip.window[1] + row, chip.window[0] + col
            if y < SCENE_SHAPE[0] and x < SCENE_SHAPE[1] and not taken[y, x]:
                taken[y, x] = True
                truth[y, x], predicted[y, x] = labels[row, col], ids[row, col]
    assert taken.all()
    return truth, predicted


class TestModel:
    @pytest.mark.parametrize("refine", [True, False])
    def test_counts_every_pixel_of_the_scene_once(self, chips: Path, model: Path, refine: bool) -> None:
        report = evaluate_model(model, chips, "train", refine=refine, device="cpu")
        matrix = ConfusionMatrix(3)
        matrix.update(*scene_ids(chips, model, refine=refine))
        assert report.confusion == tuple(map(tuple, matrix.counts.tolist()))
        assert report.ignored_pixels == matrix.ignored
        assert report.pixels + report.ignored_pixels == SCENE_SHAPE[0] * SCENE_SHAPE[1]
        if refine:
            predicted = np.array(report.confusion).sum(axis=0)
            assert (predicted > 0).sum() > 1, "one class only would prove little"
        assert (report.split, report.refine) == ("train", refine)

    @pytest.mark.parametrize("boundary_px", [1, 3])
    def test_chip_edges_draw_no_outline(
        self, chips: Path, model: Path, monkeypatch: pytest.MonkeyPatch, boundary_px: int
    ) -> None:
        """Chips count what the whole scene has, at the pixels that see far enough."""
        truth, _ = scene_ids(chips, model, refine=False)
        shifted = np.roll(np.where(truth == IGNORE, 1, truth), 3, axis=1).astype(np.uint8)

        def cut(_: Path, store: ChipStore, picked: Any, **__: Any) -> Any:
            for chip in picked:
                col, row, width, height = chip.window
                yield chip, store.read(chip)[2], shifted[row : row + height, col : col + width]

        monkeypatch.setattr(stage, "_predictions", cut)
        report = evaluate_model(model, chips, "train", EvaluateConfig(boundary_px=boundary_px))

        counted = np.zeros(SCENE_SHAPE, bool)
        for chip in ChipStore.open(chips).chips():
            for row, col in np.ndindex(64, 64):
                y, x = chip.window[1] + row, chip.window[0] + col
                own = chip.own[0] <= x < chip.own[0] + chip.own[2]
                own &= chip.own[1] <= y < chip.own[1] + chip.own[3]
                counted[y, x] |= own and min(row, col, 63 - row, 63 - col) >= boundary_px
        assert 0.5 < counted.mean() < 1.0
        whole = BoundaryCounts(3, boundary_px)
        whole.update(truth, shifted, counted)
        assert list(report.boundary_iou.values()) == whole.iou().tolist()
        assert 0.0 < report.mean_boundary_iou < 1.0

    def test_a_chip_is_a_block(self, chips: Path, model: Path) -> None:
        every = ChipStore.open(chips).chips()
        report = evaluate_model(model, chips, "train")
        assert report.intervals is not None
        assert (report.intervals.blocks, report.intervals.block_px) == (len(every), 64)
        assert report.intervals.miou is not None
        assert report.intervals.miou[0] <= report.miou <= report.intervals.miou[1]
        assert report.boundary_m == 2 * 0.5
        whole = evaluate_model(model, chips, "train", EvaluateConfig(blocks_px=512, boundary="1m")).intervals
        assert whole is not None
        assert (whole.blocks, whole.miou) == (1, None)

    def test_run_folder_and_file_are_the_same(self, chips: Path, model: Path) -> None:
        assert evaluate_model(model.parent, chips, "train") == evaluate_model(model, chips, "train")

    def test_refuses_what_does_not_fit(self, tmp_path: Path, chips: Path) -> None:
        other = ClassMap.from_names(["background", "road", "house"], background=0)
        model = write_model(tmp_path / "classes.safetensors", classes=other)
        with pytest.raises(ModelError, match=r"background, road, house.*background, field, house"):
            evaluate_model(model, chips, "train")
        model = write_model(tmp_path / "bands.safetensors", band_names=("a", "b", "c", "d"))
        with pytest.raises(ModelError, match=r"4 bands of uint8.* 3 of uint8"):
            evaluate_model(model, chips, "train")
        model = write_model(tmp_path / "dtype.safetensors", dtype="uint16")
        with pytest.raises(ModelError, match="3 bands of uint16"):
            evaluate_model(model, chips, "train")

    def test_warns_of_other_band_names(self, tmp_path: Path, chips: Path) -> None:
        heard = Listener()
        model = write_model(tmp_path / "model.safetensors", band_names=("blue", "green", "red"))
        evaluate_model(model, chips, "train", progress=heard)
        assert any("blue, green, red" in text for text in heard.warnings)

    def test_refuses_what_is_not_there(self, tmp_path: Path, chips: Path, model: Path) -> None:
        with pytest.raises(ChipsError, match=r"no chips of split test; choose one of train"):
            evaluate_model(model, chips)
        with pytest.raises(ChipsError, match="does not exist"):
            evaluate_model(model, tmp_path / "nowhere")
        with pytest.raises(ModelError, match="does not exist"):
            evaluate_model(tmp_path / "none.safetensors", chips, "train")
        with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
            evaluate_model(tmp_path, chips, "train")
        with pytest.raises(ConfigError, match="no such device"):
            evaluate_model(model, chips, "train", device="abacus")

    def test_own_parts_tile_the_scene(self, chips: Path) -> None:
        """The counts rely on it."""
        own = [
            shapely.box(c, r, c + w, r + h) for c, r, w, h in (c.own for c in ChipStore.open(chips).chips())
        ]
        assert sum(box.area for box in own) == SCENE_SHAPE[0] * SCENE_SHAPE[1]
