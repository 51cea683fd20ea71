"""Layers with scores: average precision at the files, against masks of the same objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
from numpy.testing import assert_allclose
from scenes import north_up, pixel_box, write_labels

from geoseg.config import EvaluateConfig
from geoseg.errors import InputError, LabelsError
from geoseg.evaluate import compare, evaluate_polygons
from geoseg.metrics.instances import InstanceCounts
from geoseg.metrics.regions import Region
from geoseg_cli.main import main

SIDE = 200
NAMES = ("hut", "house")
BY_NAME = EvaluateConfig(class_column="class_name")

Box = tuple[int, int, int, int]


def cells(rng: np.random.Generator, count: int) -> list[Box]:
    """True objects, apart from each other: (row, col, height, width)."""
    places = rng.permutation(64)[:count]
    return [
        (int(at // 8) * 25 + 1, int(at % 8) * 25 + 1, *(int(side) for side in rng.integers(8, 24, 2)))
        for at in places
    ]


def seen(rng: np.random.Generator, box: Box) -> Box:
    row, col, height, width = (
        int(value + step) for value, step in zip(box, rng.integers(-1, 2, 4), strict=True)
    )
    return max(row, 0), max(col, 0), height, width


def written(path: Path, boxes: list[Box], names: list[str], **columns: Any) -> Path:
    columns = {"class_name": names, **columns}
    return write_labels(path, [pixel_box(north_up(), *box) for box in boxes], columns=columns)


class Case:
    """Random objects as files and as regions of pixels; half a metre a pixel."""

    def __init__(self, folder: Path, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.true = cells(rng, 30)
        self.kind = rng.integers(0, 2, 30)
        picked = [i for i in range(30) if rng.random() < 0.8] + [0, 1, 2]  # some are found twice
        self.found = [seen(rng, self.true[i]) for i in picked] + cells(rng, 5)
        self.guess = np.concatenate([self.kind[picked], rng.integers(0, 2, 5)])
        self.score = rng.permutation(np.linspace(0.05, 0.99, len(self.found)))
        self.labels = written(folder / "labels.gpkg", self.true, [NAMES[i] for i in self.kind])
        self.layer = written(
            folder / "found.gpkg", self.found, [NAMES[i] for i in self.guess], score=self.score
        )
        self.area = write_labels(folder / "area.gpkg", [pixel_box(north_up(), 0, 0, SIDE, SIDE)])

    def counts(self, width_px: int) -> InstanceCounts:
        counts = InstanceCounts(2, width_px)
        true, found = (
            [Region(row=r, col=c, mask=np.ones((h, w), np.bool_)) for r, c, h, w in boxes]
            for boxes in (self.true, self.found)
        )
        counts.update(true, self.kind, found, self.guess, self.score)
        return counts


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("boundary", "width_px"), [(None, 4), ("1m", 2)])
def test_polygons_score_like_the_masks_that_they_are(
    tmp_path: Path, seed: int, boundary: str | None, width_px: int
) -> None:
    """Of rectangles on the grid polygons and pixels say the same: areas, and bands too."""
    case = Case(tmp_path, seed)
    config = EvaluateConfig(class_column="class_name", **({} if boundary is None else {"boundary": boundary}))
    report = evaluate_polygons(case.layer, case.labels, config, area=case.area).objects
    wanted = case.counts(width_px)
    assert report.detections is not None
    assert report.detections.boundary_m == width_px / 2
    for class_id, name in enumerate(NAMES):
        row = report.detections.classes[name]
        assert row.truth == (case.kind == class_id).sum()
        assert row.predicted == (case.guess == class_id).sum()
        assert_allclose(row.ap, wanted.masks.ap()[class_id], atol=1e-9)
        assert_allclose(row.ap50, wanted.masks.at(0.5)[class_id], atol=1e-9)
        assert_allclose(row.ap75, wanted.masks.at(0.75)[class_id], atol=1e-9)
        assert_allclose(row.boundary_ap, wanted.boundaries.ap()[class_id], atol=1e-9)
    every = report.detections.all
    assert_allclose(every.ap, wanted.masks.mean_ap(), atol=1e-9)
    assert 0.0 < every.boundary_ap < every.ap < every.ap50 < 1.0
    # What is counted as an object has a score of 0.5 or more.
    assert report.all.predicted == (case.score >= 0.5).sum()


def test_the_least_score_decides_what_is_an_object(tmp_path: Path) -> None:
    true: list[Box] = [(0, 0, 20, 20), (50, 0, 20, 20)]
    labels = written(tmp_path / "labels.gpkg", true, ["hut"] * 2)
    found = [true[0], (0, 2, 20, 20), true[1], (100, 0, 20, 20)]
    layer = written(tmp_path / "found.gpkg", found, ["hut"] * 4, score=[0.9, 0.5, 0.4, 0.3])
    area = write_labels(tmp_path / "area.gpkg", [pixel_box(north_up(), 0, 0, 60, 60)])
    errors = tmp_path / "errors.gpkg"

    def scores(**more: Any) -> Any:
        config = EvaluateConfig(class_column="class_name", **more)
        return evaluate_polygons(layer, labels, config, area=area, errors=errors, overwrite=True).objects

    usual, low, high = scores(), scores(min_score=0.4), scores(min_score=0.6)
    # Two of the three overlap: one object can be found once only.
    assert (usual.all.predicted, usual.all.precision, usual.all.recall) == (2, 0.5, 0.5)
    assert (low.all.predicted, low.all.recall) == (3, 1.0)
    assert (high.all.predicted, high.all.precision) == (1, 1.0)
    assert pyogrio.read_dataframe(errors, layer="true_positive").score.tolist() == [0.9]
    for each in (usual, low, high):
        # What lies beyond the area is no mistake.
        assert each.detections.all.predicted == 3
        assert_allclose(each.detections.all.ap50, (51 + 50 * 2 / 3) / 101)


def test_layers_without_scores(tmp_path: Path) -> None:
    boxes: list[Box] = [(0, 0, 20, 20), (50, 0, 20, 20)]
    labels = written(tmp_path / "labels.gpkg", boxes, ["hut"] * 2)
    plain = written(tmp_path / "plain.gpkg", boxes, ["hut"] * 2, score=["good", "bad"])
    assert evaluate_polygons(plain, labels, BY_NAME).objects.detections is None
    with pytest.raises(InputError, match="no column score of numbers"):
        evaluate_polygons(plain, labels, EvaluateConfig(class_column="class_name", min_score=0.3))
    holes = written(tmp_path / "holes.gpkg", boxes, ["hut"] * 2, score=[0.7, np.nan])
    with pytest.raises(LabelsError, match="no score in 1 of 2 rows"):
        evaluate_polygons(holes, labels, BY_NAME)
    scored = written(tmp_path / "scored.gpkg", boxes, ["hut"] * 2, score=[1, 1])
    both = compare([plain, scored], labels, BY_NAME).reports
    assert both[0].objects is not None
    assert both[1].objects is not None
    assert both[0].objects.detections is None
    assert both[1].objects.detections is not None
    assert both[1].objects.detections.all.boundary_ap == 1.0


class TestCommandLine:
    @pytest.fixture(autouse=True)
    def files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        self.case = Case(tmp_path, 5)
        written(Path("plain.gpkg"), self.case.true, [NAMES[i] for i in self.case.kind])

    @pytest.mark.parametrize(
        ("words", "code"),
        [
            ("found.gpkg labels.gpkg --area area.gpkg --min-ap 0.2 --min-score 0.3 --boundary 0.5m", 0),
            ("found.gpkg labels.gpkg --min-ap 0.99", 3),
            ("found.gpkg plain.gpkg --labels labels.gpkg", 0),
            ("plain.gpkg labels.gpkg --min-ap 0.1", 2),
            ("plain.gpkg labels.gpkg --boundary 3m", 2),
            ("found.gpkg labels.gpkg --boundary 3px", 2),
        ],
    )
    def test_exit_codes(self, words: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["evaluate", *words.split(), "--class-column", "class_name"]) == code
        shown = capsys.readouterr().err
        assert ("geoseg: error: " in shown) == (code != 0)
        assert "Traceback" not in shown

    def test_table_and_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        words = [
            "evaluate",
            "found.gpkg",
            "labels.gpkg",
            "--area",
            "area.gpkg",
            "--class-column",
            "class_name",
        ]
        assert main(words) == 0
        shown = capsys.readouterr().err
        wanted = self.case.counts(4)
        rows = [line.split() for line in shown.splitlines()]
        values = [wanted.masks.mean_ap(), *(np.mean(wanted.masks.at(least)) for least in (0.5, 0.75))]
        cells = [f"{value:.4g}" for value in [*values, wanted.boundaries.mean_ap()]]
        assert ["all", "30", str(len(self.case.found)), *cells] in rows
        assert "Boundary AP with a band of 2 m" in shown
        assert main([*words, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)["objects"]["detections"]
        assert found["min_score"] == 0.5
        assert found["all"]["ap"] == pytest.approx(wanted.masks.mean_ap())
        assert found["classes"]["hut"]["boundary_ap"] == pytest.approx(wanted.boundaries.ap()[0])
