from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal
from torchmetrics.classification import (
    MulticlassCohenKappa,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassPrecision,
    MulticlassRecall,
)

from geoseg.classes import IGNORE
from geoseg.metrics import BoundaryCounts, ConfusionMatrix, boundary_band, json_score, mean_present
from geoseg.metrics.boundary import boundary_bands

GOLDEN = Path(__file__).parent / "golden_boundary" / "boundary_iou.npz"
CLASSES = 4


def random_ids(seed: int, shape: tuple[int, ...], *, ignored: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, CLASSES, shape).astype(np.uint8)
    ids[rng.random(shape) < ignored] = IGNORE
    return ids


def confusion(truth: np.ndarray, prediction: np.ndarray, classes: int = CLASSES) -> ConfusionMatrix:
    matrix = ConfusionMatrix(classes)
    matrix.update(truth, prediction)
    return matrix


def small_maps(max_side: int = 9) -> st.SearchStrategy[np.ndarray]:
    """A pair of id maps, stacked: (2, H, W)."""
    sides = st.integers(1, max_side)
    return st.tuples(sides, sides).flatmap(
        lambda shape: hnp.arrays(np.uint8, (2, *shape), elements=st.sampled_from([0, 1, 2, IGNORE]))
    )


class TestConfusionMatrix:
    def test_counts_truth_in_rows(self) -> None:
        matrix = confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]))
        assert matrix.counts.dtype == np.int64
        assert matrix.counts[0].tolist() == [1, 1, 0, 0]
        assert matrix.counts[1].tolist() == [0, 1, 0, 0]
        assert matrix.counts[2].tolist() == [1, 0, 0, 0]
        assert matrix.pixels == 4

    def test_leaves_out_ignored_and_unpredicted(self) -> None:
        truth = np.array([[0, IGNORE, 1], [IGNORE, 1, 2]], np.uint8)
        prediction = np.array([[0, 3, IGNORE], [IGNORE, 1, 1]], np.uint8)
        matrix = confusion(truth, prediction)
        assert (matrix.pixels, matrix.ignored, matrix.unpredicted) == (3, 2, 1)

    @pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.int16])
    def test_equals_torchmetrics(self, dtype: type) -> None:
        truth = random_ids(1, (3, 40, 30), ignored=0.2)
        prediction = random_ids(2, (3, 40, 30), ignored=0.0)
        matrix = confusion(truth.astype(dtype), prediction.astype(dtype))
        tensors = (torch.from_numpy(prediction.astype(np.int64)), torch.from_numpy(truth.astype(np.int64)))
        options = {"num_classes": CLASSES, "ignore_index": IGNORE, "average": None}
        oracle = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORE)
        assert_array_equal(matrix.counts, oracle(*tensors).numpy())
        assert_allclose(matrix.iou(), MulticlassJaccardIndex(**options)(*tensors).numpy(), rtol=1e-6)
        assert_allclose(matrix.precision(), MulticlassPrecision(**options)(*tensors).numpy(), rtol=1e-6)
        assert_allclose(matrix.recall(), MulticlassRecall(**options)(*tensors).numpy(), rtol=1e-6)
        assert_allclose(matrix.f1(), MulticlassF1Score(**options)(*tensors).numpy(), rtol=1e-6)

    def test_absent_classes_are_not_failures(self) -> None:
        ids = np.array([0, 1, 3, 3], np.uint8)
        matrix = confusion(ids, ids, classes=6)
        assert_array_equal(matrix.iou(), [1, 1, np.nan, 1, np.nan, np.nan])
        for scores in (matrix.precision(), matrix.recall(), matrix.f1()):
            assert_array_equal(np.isnan(scores), np.isnan(matrix.iou()))
        assert matrix.miou() == 1.0
        assert matrix.accuracy() == 1.0

    def test_missed_and_invented_classes_score_zero(self) -> None:
        matrix = confusion(np.array([0, 0, 1]), np.array([0, 2, 0]))
        assert_array_equal(matrix.precision(), [0.5, 0, 0, np.nan])
        assert_array_equal(matrix.recall(), [0.5, 0, 0, np.nan])
        assert_array_equal(matrix.f1(), [0.5, 0, 0, np.nan])
        assert matrix.miou() == pytest.approx(1 / 3 / 3)

    def test_counts_beyond_float32(self) -> None:
        matrix = ConfusionMatrix(2)
        block = np.ones(2**20, np.uint8)
        for _ in range(16):
            matrix.update(block, block)
        matrix.update(block[:1], block[:1])
        assert matrix.counts[1, 1] == 2**24 + 1
        matrix.counts *= 2**20
        matrix.update(block[:1], block[:1])
        assert matrix.pixels == (2**24 + 1) * 2**20 + 1

    def test_merge_equals_one_update(self) -> None:
        truth, prediction = random_ids(3, (50, 20), ignored=0.1), random_ids(4, (50, 20), ignored=0.1)
        whole = confusion(truth, prediction)
        merged = confusion(truth[:13], prediction[:13]) + confusion(truth[13:], prediction[13:])
        assert merged.to_json() == whole.to_json()
        assert json.loads(json.dumps(whole.to_json()))["counts"] == whole.counts.tolist()

    def test_nothing_counted(self) -> None:
        matrix = confusion(np.full((3, 3), IGNORE), np.zeros((3, 3), int))
        assert math.isnan(matrix.miou())
        assert math.isnan(matrix.accuracy())
        assert matrix.ignored == 9

    def test_all_possible_ids(self) -> None:
        ids = np.arange(254, dtype=np.uint8)
        matrix = confusion(ids, ids[::-1], classes=254)
        assert_array_equal(matrix.counts, np.eye(254)[::-1])
        assert confusion(ids, ids, classes=254).miou() == 1.0

    @pytest.mark.parametrize(
        ("truth", "prediction", "message"),
        [
            (np.array([0, 4]), np.array([0, 1]), "truth holds id 4"),
            (np.array([0, 1]), np.array([0, 254]), "prediction holds id 254"),
            (np.array([0, 1]), np.array([-1, 0]), "prediction holds id -1"),
            (np.array([0, 256]), np.array([0, 0]), "truth holds id 256"),
            (np.array([0.0]), np.array([0.0]), "float64"),
            (np.zeros((2, 3), int), np.zeros((3, 2), int), "shape"),
        ],
    )
    def test_refuses(self, truth: np.ndarray, prediction: np.ndarray, message: str) -> None:
        matrix = ConfusionMatrix(CLASSES)
        with pytest.raises(ValueError, match=message):
            matrix.update(truth, prediction)
        assert matrix.pixels == 0

    @pytest.mark.parametrize("classes", [0, 255])
    def test_refuses_impossible_numbers_of_classes(self, classes: int) -> None:
        with pytest.raises(ValueError, match="classes"):
            ConfusionMatrix(classes)
        with pytest.raises(ValueError, match="classes"):
            BoundaryCounts(classes, 2)

    def test_refuses_to_merge_different_classes(self) -> None:
        with pytest.raises(ValueError, match="merged"):
            ConfusionMatrix(2) + ConfusionMatrix(3)


def brute_band(ids: np.ndarray, width: int) -> np.ndarray:
    """The definition, pixel by pixel: another class or the outside within ``width`` (Chebyshev)."""
    height_px, width_px = ids.shape
    band = np.zeros(ids.shape, bool)
    for row in range(height_px):
        for col in range(width_px):
            if ids[row, col] == IGNORE:
                continue
            for y in range(row - width, row + width + 1):
                for x in range(col - width, col + width + 1):
                    outside = not (0 <= y < height_px and 0 <= x < width_px)
                    if outside or ids[y, x] not in (ids[row, col], IGNORE):
                        band[row, col] = True
    return band


def brute_counts(truth: np.ndarray, prediction: np.ndarray, width: int) -> list[tuple[int, int]]:
    truth, prediction = truth.copy(), prediction.copy()
    unknown = (truth == IGNORE) | (prediction == IGNORE)
    truth[unknown] = prediction[unknown] = IGNORE
    bands = brute_band(truth, width), brute_band(prediction, width)
    counts = []
    for class_id in range(3):
        a, b = bands[0] & (truth == class_id), bands[1] & (prediction == class_id)
        counts.append((int((a & b).sum()), int((a | b).sum())))
    return counts


class TestBoundary:
    @pytest.mark.parametrize("width", [1, 2, 3, 5])
    @pytest.mark.parametrize(("kind", "suffix"), [("plain", ""), ("edge", "_edge")])
    def test_golden_masks(self, kind: str, suffix: str, width: int) -> None:
        golden = np.load(GOLDEN)
        maps = {name: golden[name + suffix] for name in ("gt", "pred")}
        for name, mask in maps.items():
            band = boundary_band(mask.astype(np.uint8), width) & mask
            assert_array_equal(band, golden[f"{kind}_d{width}_{name}_boundary"])
        counts = BoundaryCounts(2, width)
        counts.update(maps["gt"].astype(np.uint8), maps["pred"].astype(np.int64))
        inter, union, iou = golden[f"{kind}_d{width}_inter_union_iou"]
        assert (counts.intersection[1], counts.union[1], counts.iou()[1]) == (inter, union, iou)

    @pytest.mark.parametrize("kind", ["plain", "edge"])
    def test_golden_mask_iou(self, kind: str) -> None:
        golden = np.load(GOLDEN)
        suffix = "" if kind == "plain" else "_edge"
        matrix = confusion(golden["gt" + suffix].astype(int), golden["pred" + suffix].astype(int), classes=2)
        inter, _, iou = golden[f"{kind}_mask_iou"]
        assert (matrix.counts[1, 1], matrix.iou()[1]) == (inter, iou)

    @pytest.mark.parametrize("width", [1, 2])
    def test_golden_classes(self, width: int) -> None:
        golden = np.load(GOLDEN)
        counts = BoundaryCounts(4, width)
        counts.update(golden["labels_gt"], golden["labels_pred"])
        found = np.stack([counts.intersection, counts.union, counts.iou()], axis=1)
        assert_array_equal(found, golden[f"multiclass_d{width}_inter_union_iou"])
        assert counts.miou() == golden[f"multiclass_d{width}_inter_union_iou"][:, 2].mean()

    @settings(deadline=None, max_examples=60)
    @given(maps=small_maps(), width=st.integers(1, 6))
    def test_equals_the_definition(self, maps: np.ndarray, width: int) -> None:
        assert_array_equal(boundary_band(maps[0], width), brute_band(maps[0], width))
        counts = BoundaryCounts(3, width)
        counts.update(maps[0], maps[1])
        assert list(zip(counts.intersection, counts.union, strict=True)) == brute_counts(*maps, width)

    @settings(deadline=None, max_examples=60)
    @given(
        maps=small_maps(max_side=30),
        width=st.integers(1, 4),
        window=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    )
    def test_does_not_depend_on_the_windows(
        self, maps: np.ndarray, width: int, window: tuple[int, int]
    ) -> None:
        whole, parts = BoundaryCounts(3, width), BoundaryCounts(3, width)
        whole.update(*maps)
        for row in range(0, maps.shape[1], window[0]):
            for col in range(0, maps.shape[2], window[1]):
                top, left = max(row - width, 0), max(col - width, 0)
                halo = maps[:, top : row + window[0] + width, left : col + window[1] + width]
                counted = np.zeros(halo.shape[1:], bool)
                counted[row - top :, col - left :][: window[0], : window[1]] = True
                parts.update(*halo, counted)
        assert parts.to_json() == whole.to_json()

    @settings(deadline=None, max_examples=40)
    @given(maps=small_maps(max_side=20), width=st.integers(1, 4))
    def test_right_where_known_scores_one(self, maps: np.ndarray, width: int) -> None:
        truth, prediction = maps
        prediction = np.where(truth == IGNORE, prediction, truth)
        counts = BoundaryCounts(3, width)
        counts.update(truth, prediction)
        assert_array_equal(counts.intersection, counts.union)

    def test_ignored_land_draws_no_outline(self) -> None:
        ids = np.zeros((20, 20), np.uint8)
        ids[8:12, 8:12] = IGNORE
        band = boundary_band(ids, 2)
        assert not band[2:-2, 2:-2].any()
        assert band.sum() == 20**2 - 16**2

    def test_arguments_are_left_alone(self) -> None:
        truth, prediction = random_ids(5, (9, 9), ignored=0.3), random_ids(6, (9, 9), ignored=0.3)
        before = truth.copy(), prediction.copy()
        BoundaryCounts(CLASSES, 2).update(truth, prediction)
        assert_array_equal(before, (truth, prediction))

    def test_merge(self) -> None:
        truth, prediction = random_ids(7, (20, 9), ignored=0.1), random_ids(8, (20, 9), ignored=0.1)
        one, two, both = (BoundaryCounts(CLASSES, 2) for _ in range(3))
        one.update(truth[:9], prediction[:9])
        two.update(truth[9:], prediction[9:])
        both.update(truth[:9], prediction[:9])
        both.update(truth[9:], prediction[9:])
        assert (one + two).to_json() == both.to_json()
        with pytest.raises(ValueError, match="merged"):
            one + BoundaryCounts(CLASSES, 3)

    def test_class_without_outline_is_nan(self) -> None:
        counts = BoundaryCounts(3, 1)
        ids = np.ones((5, 5), np.uint8)
        counts.update(ids, ids)
        assert_array_equal(counts.iou(), [np.nan, 1, np.nan])
        assert counts.miou() == 1.0

    def test_refuses_a_band_without_width(self) -> None:
        with pytest.raises(ValueError, match="wide"):
            BoundaryCounts(2, 0)

    def test_refuses_foreign_ids_off_the_outline_too(self) -> None:
        ids = np.full((5, 5), 3, np.uint8)
        with pytest.raises(ValueError, match="truth holds id 3"):
            BoundaryCounts(3, 1).update(ids, ids)


def test_scores_for_json() -> None:
    scores = np.array([0.5, np.nan, 1.0])
    assert [json_score(score) for score in scores] == [0.5, None, 1.0]
    assert mean_present(scores) == 0.75
    assert math.isnan(mean_present(scores[1:2]))


@pytest.mark.parametrize("seed", range(4))
def test_kappa_is_that_of_torchmetrics(seed: int) -> None:
    truth, prediction = random_ids(seed, (30, 40), ignored=0), random_ids(seed + 50, (30, 40), ignored=0)
    prediction[:15] = truth[:15]
    matrix = ConfusionMatrix(CLASSES)
    matrix.update(truth, prediction)
    as_tensors = (torch.as_tensor(ids.astype(int)) for ids in (prediction, truth))
    oracle = MulticlassCohenKappa(CLASSES)(*as_tensors)
    assert matrix.kappa() == pytest.approx(float(oracle), abs=1e-6)


def test_kappa_by_hand() -> None:
    """Cohen's own kind of table: 35 of 50 agree, 25.5 by chance."""
    matrix = ConfusionMatrix(2)
    matrix.counts = np.array([[20, 5], [10, 15]])
    assert matrix.kappa() == pytest.approx(0.4)
    matrix.counts = np.array([[9, 0], [0, 0]])
    assert math.isnan(matrix.kappa())
    assert math.isnan(ConfusionMatrix(3).kappa())


def test_bands_count_in_parts() -> None:
    """What is cut into blocks after the bands were found adds up to the whole."""
    truth, prediction = random_ids(1, (40, 50), ignored=0.1), random_ids(2, (40, 50), ignored=0.1)
    whole, parts = BoundaryCounts(CLASSES, 2), BoundaryCounts(CLASSES, 2)
    whole.update(truth, prediction)
    bands = boundary_bands(truth, prediction, 2)
    for rows in (slice(0, 7), slice(7, 40)):
        for cols in (slice(0, 33), slice(33, 50)):
            parts.add_bands(bands[0][rows, cols], bands[1][rows, cols])
    assert parts.to_json() == whole.to_json()
