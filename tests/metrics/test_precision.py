"""Average precision against pycocotools on random objects, Boundary AP against bands found by brute force."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import shapely
from numpy.testing import assert_allclose
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from geoseg.metrics.instances import InstanceCounts
from geoseg.metrics.objects import overlaps
from geoseg.metrics.precision import COCO_AREAS, AveragePrecision, Detections
from geoseg.metrics.regions import Region, region_overlaps

SIDE = 70
CLASSES = 3


@dataclass
class Image:
    """Objects as whole masks (N, SIDE, SIDE)."""

    truth: NDArray[np.bool_]
    truth_class: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    found: NDArray[np.bool_]
    found_class: NDArray[np.int64]
    score: NDArray[np.float64]

    def regions(self, of: str) -> list[Region]:
        return [Region.of(mask) for mask in getattr(self, of)]


def blob(rng: np.random.Generator) -> NDArray[np.bool_]:
    """A rectangle with a corner bitten out, small to nearly as large as the image."""
    height, width = (int(rng.integers(3, 60)) for _ in range(2))
    row, col = int(rng.integers(0, SIDE - height + 1)), int(rng.integers(0, SIDE - width + 1))
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[row : row + height, col : col + width] = True
    mask[row : row + height // 3, col : col + width // 3] = False
    return mask


def like(rng: np.random.Generator, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The same object as a detector sees it: moved a little, now and then much."""
    step = [int(each) for each in rng.integers(-3, 4, 2)] if rng.random() < 0.8 else [20, 9]
    return np.roll(mask, step, (0, 1)) & (rng.random(mask.shape) < rng.choice([1.0, 0.97, 0.7]))


def images(seed: int, count: int = 6) -> list[Image]:
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        truth = [blob(rng) for _ in range(rng.integers(0, 9))]
        found = [like(rng, mask) for mask in truth if rng.random() < 0.8]
        found += [like(rng, mask) for mask in truth if rng.random() < 0.3]
        found += [blob(rng) for _ in range(rng.integers(0, 4))]
        kind = rng.integers(0, CLASSES, len(truth))
        guess = np.concatenate([kind, rng.integers(0, CLASSES, 99)])[: len(found)]
        made.append(
            Image(
                truth=np.array(truth, np.bool_).reshape(-1, SIDE, SIDE),
                truth_class=kind,
                crowd=rng.random(len(truth)) < 0.15,
                found=np.array(found, np.bool_).reshape(-1, SIDE, SIDE),
                found_class=guess,
                # Few values, so that scores are equal now and then.
                score=rng.integers(0, 12, len(found)) / 12.0,
            )
        )
    return made


def coco_evaluator(some: Sequence[Image], most: int, crowds: bool) -> COCOeval:
    def coded(mask: NDArray[np.bool_]) -> dict[str, Any]:
        return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))

    number = itertools.count(1)
    truth = [
        {"id": next(number), "image_id": at, "category_id": int(kind), "segmentation": coded(mask),
         "area": int(mask.sum()), "iscrowd": int(crowd and crowds), "bbox": [0, 0, 1, 1]}
        for at, image in enumerate(some)
        for mask, kind, crowd in zip(image.truth, image.truth_class, image.crowd, strict=True)
    ]  # fmt: skip
    found = [
        {"image_id": at, "category_id": int(kind), "segmentation": coded(mask), "score": float(score)}
        for at, image in enumerate(some)
        for mask, kind, score in zip(image.found, image.found_class, image.score, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = COCO()
        dataset.dataset = {
            "info": {},
            "images": [{"id": at, "height": SIDE, "width": SIDE} for at in range(len(some))],
            "categories": [{"id": kind, "name": str(kind)} for kind in range(CLASSES)],
            "annotations": truth,
        }
        dataset.createIndex()
        judge = COCOeval(dataset, dataset.loadRes(found), "segm")
        judge.params.maxDets = [most]
        judge.params.areaRng = [[0, 1e10], *([low, min(high, 1e10)] for low, high in COCO_AREAS.values())]
        judge.evaluate()
        judge.accumulate()
    return judge


def coco_tables(some: Sequence[Image], most: int, crowds: bool) -> NDArray[np.float64]:
    """(T, R, K, A) mean over recalls: (A, T, K); NaN where pycocotools has -1."""
    precision = coco_evaluator(some, most, crowds).eval["precision"][..., 0]
    table = np.moveaxis(precision.mean(axis=1), 2, 0)
    return np.where(table < 0, np.nan, table)


def ours(some: Sequence[Image], most: int | None, crowds: bool) -> AveragePrecision:
    counts = AveragePrecision(CLASSES, most=most, areas=COCO_AREAS)
    for image in some:
        pairs = region_overlaps(
            image.regions("truth"), image.truth_class, image.regions("found"), image.found_class
        )
        counts.add(
            Detections(
                pairs=pairs,
                truth_class=image.truth_class,
                prediction_class=image.found_class,
                score=image.score,
                crowd=image.crowd if crowds else None,
            )
        )
    return counts


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("most", "crowds"), [(None, True), (None, False), (3, True)])
def test_pycocotools_gets_the_same(seed: int, most: int | None, crowds: bool) -> None:
    some = images(seed)
    counts = ours(some, most, crowds)
    wanted = coco_tables(some, most or 10_000, crowds)
    for area, table in zip(("all", "small", "medium", "large"), wanted, strict=True):
        assert_allclose(counts.table(area), table, rtol=0, atol=1e-9)
    assert_allclose(counts.ap(), wanted[0].mean(axis=0), atol=1e-9)
    assert_allclose(counts.at(0.5), wanted[0, 0], atol=1e-9)
    assert_allclose(counts.at(0.75), wanted[0, 5], atol=1e-9)
    assert counts.mean_ap() == pytest.approx(np.nanmean(wanted[0]), abs=1e-9)
    # Something is found and something is not, or all this says nothing.
    assert 0.01 < counts.mean_ap() < 0.95


def test_images_add_up_in_any_order() -> None:
    some = images(3, count=8)
    whole = ours(some, None, True)
    parts = ours(some[:3], None, True) + ours(some[3:], None, True)
    assert_allclose(parts.table(), whole.table(), atol=0)
    assert parts.truth.dtype == np.int64
    assert parts.truth.tolist() == whole.truth.tolist()
    with pytest.raises(ValueError, match="different classes"):
        whole.merge(AveragePrecision(CLASSES))


def brute_band(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels of a mask with a pixel that is none, or the outside, in the square around them."""
    padded = np.pad(mask, width)
    steps = range(2 * width + 1)
    full = np.all([padded[y : y + SIDE, x : x + SIDE] for y in steps for x in steps], axis=0)
    band: NDArray[np.bool_] = mask & ~full
    return band


def brute_iou(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 0.0


@pytest.mark.parametrize("width", [1, 3])
def test_boundary_ap_is_that_of_bands_found_by_brute_force(width: int) -> None:
    some = images(7, count=2)
    counts = InstanceCounts(CLASSES, width)
    whole = AveragePrecision(CLASSES)
    for image in some:
        counts.update(
            image.regions("truth"), image.truth_class, image.regions("found"), image.found_class, image.score
        )
        pairs = overlaps(*polygons(image.truth, image.truth_class), *polygons(image.found, image.found_class))
        lower = [
            min(
                brute_iou(image.truth[i], image.found[j]),
                brute_iou(brute_band(image.truth[i], width), brute_band(image.found[j], width)),
            )
            for i, j in zip(pairs.truth, pairs.prediction, strict=True)
        ]
        kinds = {"truth_class": image.truth_class, "prediction_class": image.found_class}
        whole.add(Detections(pairs=pairs, score=image.score, **kinds), np.array(lower))
    assert_allclose(counts.boundaries.table(), whole.table(), atol=1e-9)
    assert counts.boundaries.mean_ap() < counts.masks.mean_ap() - 0.02
    assert_allclose(counts.masks.table(), ours(some, None, False).table(), atol=0)


def polygons(masks: NDArray[np.bool_], kinds: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """The same objects as unions of pixel squares."""
    made = np.empty(len(masks), object)
    made[:] = [
        shapely.coverage_union_all([shapely.box(x, y, x + 1, y + 1) for y, x in np.argwhere(mask)])
        for mask in masks
    ]
    return made, kinds


class TestByHand:
    def counted(self, found: Sequence[tuple[float, float]], **more: Any) -> AveragePrecision:
        """Two true squares of 10 x 10 at 0 and 100; found ones by (where, score)."""
        truth = np.array([shapely.box(x, 0, x + 10, 10) for x in (0, 100)])
        guess = np.array([shapely.box(x, 0, x + 10, 10) for x, _ in found], object)
        nothing = np.zeros(len(found), np.int64)
        counts = AveragePrecision(1, **more)
        counts.add(
            Detections(
                pairs=overlaps(truth, np.zeros(2, np.int64), guess, nothing),
                truth_class=np.zeros(2, np.int64),
                prediction_class=nothing,
                score=np.array([score for _, score in found]),
            )
        )
        return counts

    def test_precision_over_recall(self) -> None:
        """A hit, a mistake, a hit: precision 1 up to a recall of 0.5, then 2/3."""
        counts = self.counted([(0, 0.9), (50, 0.8), (100, 0.7)])
        wanted = (51 * 1.0 + 50 * 2 / 3) / 101
        assert_allclose(counts.ap(), wanted)
        assert_allclose(self.counted([(0, 0.9), (50, 0.8), (100, 0.7)], most=2).ap(), 51 / 101)

    def test_one_object_is_found_once(self) -> None:
        assert_allclose(self.counted([(0, 0.9), (0, 0.8)]).at(0.5), 51 / 101)
        assert_allclose(self.counted([(0, 0.9), (0, 0.8), (100, 0.7)]).at(0.5), (51 + 50 * 2 / 3) / 101)

    def test_an_overlap_that_is_just_enough(self) -> None:
        """Moved by a third of its side the IoU is 1/2, a threshold."""
        counts = AveragePrecision(1)
        one, other = np.array([shapely.box(0, 0, 3, 1)]), np.array([shapely.box(1, 0, 4, 1)])
        zero = np.zeros(1, np.int64)
        pairs = overlaps(one, zero, other, zero)
        counts.add(Detections(pairs=pairs, truth_class=zero, prediction_class=zero, score=np.ones(1)))
        assert counts.table()[:, 0].tolist() == [1.0] + 9 * [0.0]

    def test_nothing(self) -> None:
        assert self.counted([]).mean_ap() == 0.0
        assert np.isnan(AveragePrecision(2).mean_ap())
        with pytest.raises(ValueError, match="none of the thresholds"):
            self.counted([]).at(0.42)
        with pytest.raises(ValueError, match="not finite"):
            self.counted([(0, float("nan"))])


def test_a_region_is_cut_out_where_it_lies() -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 11:13] = 7
    region = Region.of(mask, row=100, col=200)
    assert (region.row, region.col, region.mask.shape, region.area) == (104, 211, (5, 2), 10)
    empty = Region.of(np.zeros((4, 4), np.bool_))
    zero = np.zeros(1, np.int64)
    assert len(region_overlaps([empty], zero, [region], zero).truth) == 0
    assert len(region_overlaps([], zero[:0], [region], zero).truth) == 0
    assert empty.band(1).area == 0
