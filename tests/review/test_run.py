"""The report of a run: its figures are right, it needs nothing else, and no name can break out of it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from chip_folders import make_chips
from runs_of_tests import BEST, Element, decoded, edit_chips, resplit, take_apart, write_run

from geoseg.chips.store import ChipStore
from geoseg.classes import IGNORE, ClassMap
from geoseg.errors import ChipsError, ModelError
from geoseg.evaluate import evaluate_model
from geoseg.models.checkpoint import load_model
from geoseg.models.inference import choose_precision, predict_logits
from geoseg.progress import SilentProgress
from geoseg.review import look, worst
from geoseg.review.run import write_run_report

SPLITS = ["val"] * 5 + ["train"] * 4 + ["test"]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished run, reported on once for all tests that change nothing."""

    run: Path
    chips: Path
    page: Element


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("finished")
    chips = resplit(make_chips(folder), SPLITS)
    run = write_run(folder / "run", chips)
    return Finished(run=run, chips=chips, page=report(run, chips))


@pytest.fixture
def chips(tmp_path: Path, finished: Finished) -> Path:
    """A copy to change."""
    return shutil.copytree(finished.chips, tmp_path / "chips")


@pytest.fixture
def run(tmp_path: Path, finished: Finished) -> Path:
    """A copy to change, without its report."""
    return shutil.copytree(finished.run, tmp_path / "run", ignore=shutil.ignore_patterns("report.html"))


def report(run: Path, chips: Path, **keywords: Any) -> Element:
    path = write_run_report(run, ChipStore.open(chips), command=None, device="cpu", **keywords)
    assert path == run / "report.html"
    return take_apart(path.read_text(encoding="utf-8"))


def section(page: Element, name: str) -> Element:
    return page.one("section", id=name)


def predicted(run: Path, chips: Path, split: str) -> list[tuple[Any, Any, Any]]:
    """(labels, refined ids) of each chip's own part, by rasterio and numpy alone, and the chip's name."""
    network, card = load_model(run / "model.safetensors")
    autocast, _ = choose_precision("auto", torch.device("cpu"))
    mean, std = (np.array(values).reshape(-1, 1, 1) for values in (card.stats.mean, card.stats.std))
    found = []
    for entry in json.loads((chips / "chips.json").read_text())["chips"]:
        if entry["split"] != split:
            continue
        with rasterio.open(chips / "images" / f"{entry['name']}.tif") as file:
            bands, valid = file.read().astype(np.float64), file.dataset_mask() > 0
        with rasterio.open(chips / "labels" / f"{entry['name']}.tif") as file:
            labels = np.where(valid, file.read(1), IGNORE)
        image = torch.from_numpy(np.where(valid, (bands - mean) / std, 0).astype(np.float32))
        with torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
            channels_last = image[None].contiguous(memory_format=torch.channels_last)
            logits = predict_logits(network.to(memory_format=torch.channels_last), channels_last)
        found.append((labels, logits[0].argmax(0).numpy(), entry["name"]))
    return found


def counted(pairs: list[tuple[Any, Any, Any]], classes: int = 3) -> np.ndarray:
    counts = np.zeros((classes, classes), int)
    for labels, ids, _ in pairs:
        for true in range(classes):
            for guess in range(classes):
                counts[true, guess] += int(((labels == true) & (ids == guess)).sum())
    return counts


class TestFigures:
    def test_confusion_and_scores_of_classes(self, finished: Finished) -> None:
        page = section(finished.page, "classes")
        counts = counted(predicted(finished.run, finished.chips, "val"))
        cells = page.one("table", class_="matrix").all("td")
        titles = [str(cell.attributes["title"]) for cell in cells]
        pixels = [int(re.sub(r"\D", "", title)) for title in titles]
        assert [pixels[4 * row : 4 * row + 3] for row in range(3)] == counts.tolist()
        assert pixels[3::4] == counts.sum(1).tolist()
        shares = [float(cell.one("b").text().split("\xa0")[0]) for at, cell in enumerate(cells) if at % 4 < 3]
        assert shares == pytest.approx((100 * counts / counts.sum(1, keepdims=True)).ravel(), abs=0.051)

        hits = np.diagonal(counts)
        expected = np.stack(
            [
                hits / (counts.sum(0) + counts.sum(1) - hits),
                hits / counts.sum(0),
                hits / counts.sum(1),
                2 * hits / (counts.sum(0) + counts.sum(1)),
            ],
            axis=1,
        )
        rows = page.all("table")[0].rows()
        assert [row[0] for row in rows[1:]] == ["class 0", "class 1", "class 2", "mean"]
        shown = np.array([[float(cell) for cell in row[1:5]] for row in rows[1:4]])
        assert shown == pytest.approx(expected, abs=5.1e-4)
        assert float(rows[4][1]) == pytest.approx(expected[:, 0].mean(), abs=5.1e-4)

    def test_shares_of_the_splits(self, finished: Finished) -> None:
        rows = section(finished.page, "classes").all("table")[0].rows()
        for column, split in ((6, "train"), (7, "val")):
            entries = [
                e
                for e in json.loads((finished.chips / "chips.json").read_text())["chips"]
                if e["split"] == split
            ]
            pixels = np.sum([entry["class_pixels"] for entry in entries], axis=0)
            shown = [float(row[column].split("\xa0")[0]) for row in rows[1:4]]
            assert shown == pytest.approx(100 * pixels / pixels.sum(), abs=0.051)

    def test_coarse_and_refined_are_those_of_evaluate(self, finished: Finished) -> None:
        page = finished.page
        rows = section(page, "refinement").one("table").rows()
        told = {row[0]: row[1:] for row in rows[1:]}
        before, after = (
            evaluate_model(finished.run, finished.chips, "val", refine=refine, device="cpu")
            for refine in (False, True)
        )
        assert before.miou != after.miou
        for name, scores in {
            "mIoU": (before.miou, after.miou),
            "Boundary IoU": (before.mean_boundary_iou, after.mean_boundary_iou),
            "accuracy": (before.accuracy, after.accuracy),
            "IoU class 1": (before.iou["class 1"], after.iou["class 1"]),
        }.items():
            assert told[name][:2] == [f"{score:.3f}" for score in scores]
            assert told[name][2] == f"{scores[1] - scores[0]:+.3f}".replace("-", "−")
        wrong = [r.pixels - sum(r.confusion[i][i] for i in range(3)) for r in (before, after)]
        numbers = [
            int(re.sub(r"\D", "", n)) for n in re.findall(r"[\d\u202f]+", section(page, "refinement").text())
        ]
        mended, spoiled = numbers[:2]
        assert spoiled - mended == wrong[1] - wrong[0]
        boundary = [row[5] for row in section(page, "classes").all("table")[0].rows()[1:4]]
        assert boundary == [f"{score:.3f}" for score in after.boundary_iou.values()]

    def test_pixels_that_two_chips_share_count_once(self, run: Path, chips: Path) -> None:
        entries = json.loads((chips / "chips.json").read_text())["chips"]
        col, row, _, _ = entries[1]["window"]
        entries[1]["own"] = [col + 10, row + 30, 40, 25]
        edit_chips(chips, chips=entries)
        page = report(run, chips)
        cells = section(page, "classes").one("table", class_="matrix").all("td")
        pixels = [int(re.sub(r"\D", "", str(cell.attributes["title"]))) for cell in cells]
        expected = counted(
            [
                (labels[30:55, 10:50], ids[30:55, 10:50], name) if at == 1 else (labels, ids, name)
                for at, (labels, ids, name) in enumerate(predicted(run, chips, "val"))
            ]
        )
        assert [pixels[4 * row : 4 * row + 3] for row in range(3)] == expected.tolist()
        scores = evaluate_model(run, chips, "val", device="cpu")
        rows = section(page, "classes").all("table")[0].rows()
        assert [row[5] for row in rows[1:4]] == [f"{score:.3f}" for score in scores.boundary_iou.values()]

    def test_a_score_other_than_that_of_training_is_explained(self, run: Path, chips: Path) -> None:
        measured = evaluate_model(run, chips, "val", device="cpu").miou
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for then in (measured, measured - 0.01):
            lines = [json.dumps(row | {"val_miou": then if row["epoch"] == BEST else 0.0}) for row in rows]
            (run / "metrics.jsonl").write_text("\n".join(lines))
            told = section(report(run, chips), "classes").text()
            assert ("Validation during training had mIoU" in told) is (then != measured)

    def test_worst_chips_come_first(self, finished: Finished) -> None:
        wrong = {
            name: float((labels != ids)[labels != IGNORE].mean())
            for labels, ids, name in predicted(finished.run, finished.chips, "val")
        }
        expected = sorted(wrong, key=lambda name: -wrong[name])
        places = section(finished.page, "chips").all("article")
        assert [place.one("h3").text() for place in places] == [
            f"{i}. {n}" for i, n in enumerate(expected, 1)
        ]
        shown = [float(place.one("b").text().split("\xa0")[0]) for place in places]
        assert shown == pytest.approx([100 * wrong[name] for name in expected], abs=0.051)
        for place in places:
            titles = [caption.text() for caption in place.all("figcaption")]
            assert titles == ["image", "labels", "coarse", "refined", "uncertainty", "errors"]

    def test_pictures_hold_the_labels_and_the_mistakes(self, finished: Finished) -> None:
        place = section(finished.page, "chips").all("article")[0]
        name = place.one("h3").text().partition(" ")[2]
        ((labels, ids, _),) = [
            entry for entry in predicted(finished.run, finished.chips, "val") if entry[2] == name
        ]
        pictures = {image.attributes["data-title"]: decoded(image) for image in place.all("img")}
        classes = ChipStore.open(finished.chips).classes
        for title, drawn in (("labels", labels), ("refined", np.where(labels == IGNORE, IGNORE, ids))):
            rgb, known = pictures[title]
            # Labels are unknown exactly where these chips are not valid.
            assert np.array_equal(known, drawn != IGNORE)
            for class_id in range(3):
                assert {tuple(c) for c in rgb[:, drawn == class_id].T.tolist()} == {classes.rgb(class_id)}
        rgb, known = pictures["errors"]
        light = rgb[:, known & (labels != ids)].sum(axis=0)
        assert light.max() < rgb[:, known & (labels == ids)].sum(axis=0).max()
        assert pictures["image"][0].shape == (3, 64, 64)

    def test_headline_and_curves_are_the_log(self, finished: Finished) -> None:
        page = finished.page
        tiles = {
            tile.one("dt").text(): tile.all("dd")[0].text()
            for tile in section(page, "figures").one("dl").all("div")
        }
        assert tiles["mIoU"] == "0.625"
        assert tiles["Boundary IoU"] == "0.156"
        assert tiles["Epochs"] == "3 of 3"
        assert tiles["Best epoch"] == str(BEST)
        assert tiles["Training time"].replace("\xa0", " ") == "1 min 32 s"
        charts = {
            chart.all("b")[0].text(): json.loads(str(chart.attributes["data-curve"]))
            for chart in page.all("figure", class_="curve")
        }
        assert set(charts) == {
            "Training loss",
            "Validation IoU",
            "Boundary IoU (2 px)",
            "Learning rate",
            "Seconds an epoch",
            "Chips a second",
            "Share of time spent waiting",
        }
        loss = charts["Training loss"]
        assert loss["epoch"] == [1, 2, 3]
        # The auxiliary head has no loss anywhere, so it has no line.
        assert loss["shown"] == [["2", "1", "0.6667"], ["1.5", "0.75", "0.5"], ["0.5", "0.25", "0.1667"]]
        assert charts["Validation IoU"]["shown"][0] == ["0.250", "0.625", "0.500"]
        assert charts["Validation IoU"]["start"] == BEST - 1

    def test_model_data_configuration(self, run: Path, chips: Path) -> None:
        path = write_run_report(
            run, ChipStore.open(chips), command="geoseg train --tiles 'my chips'", device="cpu"
        )
        page = take_apart(path.read_text(encoding="utf-8"))
        network, _ = load_model(run / "model.safetensors")
        model = section(page, "model").text()
        assert f"{sum(p.numel() for p in network.parameters()):,}".replace(",", "\u202f") in model
        assert hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest() in model
        data = section(page, "data")
        assert hashlib.sha256((chips / "chips.json").read_bytes()).hexdigest() in data.text()
        assert [row[:2] for row in data.all("table")[0].rows()[1:]] == [
            ["train", "4"],
            ["val", "5"],
            ["test", "1"],
        ]
        configuration = section(page, "configuration")
        assert configuration.all("code")[0].text() == "geoseg train --tiles 'my chips'"
        assert configuration.all("table")[0].rows()[1:] == [
            ["train.epochs", "3", "40"],
            ["train.batch_size", "2", "4"],
        ]
        folded = configuration.one("details")
        assert (run / "config.yaml").read_text().strip() in folded.text()
        assert "open" not in folded.attributes


class TestPage:
    def test_it_needs_and_allows_nothing_else(self, finished: Finished) -> None:
        page = finished.page
        for element in page.walk():
            assert element.name not in {"iframe", "object", "embed", "base", "form", "audio", "video", "use"}
            for name, value in element.attributes.items():
                assert not name.startswith("on")
                if name in {"src", "href", "srcset", "xlink:href", "action", "data", "poster"}:
                    assert str(value).startswith(("data:", "#"))
        style, script = page.one("style").text(), page.one("script").text()
        assert not re.search(r"url\(|@import|@font-face|https?:", style)
        assert not re.search(
            r"\bfetch\b|XMLHttpRequest|import\(|WebSocket|sendBeacon|innerHTML|https?:", script
        )
        (policy,) = [
            str(meta.attributes["content"])
            for meta in page.all("meta")
            if meta.attributes.get("http-equiv") == "Content-Security-Policy"
        ]
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
        assert rules["default-src"] == "'none'"
        assert rules["img-src"] == "data:"
        assert rules["script-src"] == f"'sha256-{digest}'"

    def test_it_is_well_formed_and_its_anchors_exist(self, finished: Finished) -> None:
        page = finished.page
        ids = [element.attributes["id"] for element in page.walk() if "id" in element.attributes]
        assert len(set(ids)) == len(ids)
        for link in page.all("a"):
            assert str(link.attributes["href"])[1:] in ids
        for element in page.walk():
            assert element.attributes.get("aria-labelledby", ids[0]) in ids
        assert all(image.attributes["alt"] for image in page.all("img"))
        assert page.one("html").attributes["lang"] == "en"
        assert page.one("head").one("title").text() == "Run run"

    def test_same_inputs_same_bytes(self, finished: Finished, run: Path, chips: Path) -> None:
        report(run, chips)
        assert (run / "report.html").read_bytes() == (finished.run / "report.html").read_bytes()
        assert sorted(path.name for path in run.iterdir()) == [
            "config.yaml",
            "metrics.jsonl",
            "model.safetensors",
            "report.html",
        ]

    def test_names_from_strangers_are_shown_and_not_obeyed(self, tmp_path: Path, chips: Path) -> None:
        names = (
            "</script><script>alert(1)</script>",
            "\"'><img src=x onerror=alert(2)>",
            "a\u200bgnp.exe\u00ad",
        )
        classes = ClassMap.from_names(names, background=0)
        edit_chips(chips, classes=classes.to_json(), bands=["<b>red", "&amp;", "\u2066nir"])
        run = write_run(tmp_path / "<i>run & \u202eco", chips)
        (run / "config.yaml").write_text("train: {epochs: <script>alert(3)</script>}\n")
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"epoch": 4, "<u>loss</u>": 1.0, "val_iou": {names[0]: 0.5}}) + "\n")
        page = report(run, chips)
        assert len(page.all("script")) == 1
        assert not {"b", "u", "i"} & {e.name for e in page.walk() if e.text() in {"red", "loss", "run"}}
        assert not any(image.attributes["src"] == "x" for image in page.all("img"))
        html = (run / "report.html").read_text(encoding="utf-8")
        assert not re.search("[\u202a-\u202e\u2066-\u2069\u0007]", html)
        rows = [row[0] for row in section(page, "classes").all("table")[0].rows()[1:4]]
        assert rows == [*names[:2], "a\\u200bgnp.exe\\u00ad"]
        assert "<script>alert(3)</script>" in section(page, "configuration").text()
        assert page.one("h1").text() == "Run <i>run & \\u202eco"
        shown = [chart.all("b")[0].text() for chart in page.all("figure", class_="curve")]
        assert "<u>loss</u>" in shown

    def test_pictures_are_left_out_when_the_page_would_be_too_large(
        self, run: Path, chips: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pictures = section(report(run, chips), "chips").all("article")
        sizes = [sum(len(str(i.attributes["src"])) for i in place.all("img")) * 3 // 4 for place in pictures]
        monkeypatch.setattr(worst, "MAX_BYTES", sizes[0] + sizes[1] + 10)
        page = section(report(run, chips), "chips")
        assert len(page.all("article")) == 2
        assert "The 2 worst of all 5 validation chips" in page.text()
        listed = page.one("details").one("table").rows()[1:]
        wrong = [float(row[2].split("\xa0")[0]) for row in listed]
        assert len(wrong) == 5
        assert wrong == sorted(wrong, reverse=True) != sorted(wrong)

    def test_only_some_chips_are_looked_at(
        self, run: Path, chips: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Counting(SilentProgress):
            total = advanced = ended = 0

            def begin(self, name: str, total: int, unit: str) -> None:  # noqa: ARG002
                self.total = total

            def advance(self, count: int = 1) -> None:
                self.advanced += count

            def end(self) -> None:
                self.ended += 1

        monkeypatch.setattr(look, "MAX_CHIPS", 3)
        progress = Counting()
        page = report(run, chips, progress=progress)
        assert (progress.total, progress.advanced, progress.ended) == (3, 3, 1)
        assert "3 of the 5 val chips" in page.one("ul", class_="notes").text()
        assert len(section(page, "chips").all("article")) == 3


class TestOddRuns:
    def test_interrupted_before_the_first_validation(self, tmp_path: Path, chips: Path) -> None:
        run = write_run(tmp_path / "run", chips, model=None, epochs=0)
        page = report(run, chips)
        notes = page.one("ul", class_="notes").text()
        assert "The run is not finished: 0 of 3 epochs" in notes
        assert "There is no model yet" in notes
        sections = [str(part.attributes["id"]) for part in page.all("section")]
        assert sections == ["figures", "data", "configuration", "versions"]
        assert [link.attributes["href"] for link in page.one("nav").all("a")] == [f"#{s}" for s in sections]

    def test_interrupted_later(self, tmp_path: Path, chips: Path) -> None:
        run = write_run(tmp_path / "run", chips, model="best.safetensors", epochs=2)
        with (run / "metrics.jsonl").open("a") as file:
            file.write('{"epoch": 3, "lo')
        page = report(run, chips)
        notes = page.one("ul", class_="notes").text()
        assert "2 of 3 epochs" in notes
        assert "1 line of the log" in notes
        assert "best.safetensors" in section(page, "model").text()
        assert section(page, "curves")

    def test_a_folder_with_nothing_but_a_model(self, run: Path, chips: Path) -> None:
        (run / "config.yaml").unlink()
        (run / "metrics.jsonl").unlink()
        page = report(run, chips)
        assert "no config.yaml" in section(page, "configuration").text()
        measured = section(page, "classes").all("table")[0].rows()[-1][1]
        assert measured in section(page, "figures").text()

    def test_without_validation_chips(self, run: Path, chips: Path) -> None:
        resplit(chips, ["train"] * 4 + ["test"])
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        bare = [row | {"val_miou": None, "val_iou": {}, "val_boundary_iou": None} for row in rows]
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bare))
        page = report(run, chips)
        assert "no validation chips" in page.one("ul", class_="notes").text()
        counts = counted(predicted(run, chips, "train"))
        titles = [
            str(cell.attributes["title"])
            for cell in section(page, "classes").one("table", class_="matrix").all("td")
        ]
        pixels = [int(re.sub(r"\D", "", title)) for title in titles]
        assert [pixels[4 * row : 4 * row + 3] for row in range(3)] == counts.tolist()
        hits = np.diagonal(counts)
        miou = (hits / (counts.sum(0) + counts.sum(1) - hits)).mean()
        figures = section(page, "figures").text()
        assert f"{miou:.3f}" in figures
        assert "all 4 training chips" in figures
        assert "Validation IoU" not in page.text()

    def test_only_test_chips(self, run: Path, chips: Path) -> None:
        resplit(chips, ["test"] * 3)
        page = report(run, chips)
        sections = [part.attributes["id"] for part in page.all("section")]
        assert "model" in sections
        assert not {"classes", "refinement", "chips"} & set(sections)

    @pytest.mark.parametrize(("dtype", "bands"), [("uint16", 5), ("float32", 1), ("int16", 2)])
    def test_other_bands(self, tmp_path: Path, dtype: str, bands: int) -> None:
        chips = resplit(make_chips(tmp_path, dtype=dtype, bands=bands), ["val", "train"])
        run = write_run(tmp_path / "run", chips)
        page = report(run, chips)
        assert f"{bands} of {dtype}" in section(page, "model").text()
        (place,) = section(page, "chips").all("article")
        rgb, _ = decoded(place.all("img")[0])
        assert rgb.shape == (3, 64, 64)
        assert rgb.std() > 30
        counts = counted(predicted(run, chips, "val"))
        shown = section(page, "classes").one("table", class_="matrix").all("td")[0].attributes["title"]
        assert int(re.sub(r"\D", "", str(shown))) == counts[0, 0]

    def test_one_class_present_and_a_chip_without_labels(self, run: Path, chips: Path) -> None:
        store = ChipStore.open(chips)
        for at, chip in enumerate(store.chips("val")):
            with rasterio.open(store.label_path(chip), "r+") as file:
                file.write(np.full((1, 64, 64), IGNORE if at == 2 else 1, np.uint8))
        network, card = load_model(run / "model.safetensors")
        # A network that sees class 1 everywhere: no other class is in truth or prediction.
        with torch.no_grad():
            for layer in (list(network.classifier.children())[-1], network.point_head.predictor):
                layer.weight.zero_()
                layer.bias.copy_(torch.tensor([0.0, 5.0, 0.0]))
        from geoseg.models.checkpoint import save_model

        save_model(run / "model.safetensors", network, card)
        page = report(run, chips)
        rows = section(page, "classes").all("table")[0].rows()
        assert [row[1] for row in rows[1:]] == ["–", "1.000", "–", "1.000"]
        assert "Nothing was confused" in section(page, "classes").text()
        assert len(section(page, "chips").all("article")) == 4
        assert "1 without labels are left out" in section(page, "chips").text()

    def test_no_labels_at_all(self, run: Path, chips: Path) -> None:
        store = ChipStore.open(chips)
        for chip in store.chips("val"):
            with rasterio.open(store.label_path(chip), "r+") as file:
                file.write(np.full((1, 64, 64), IGNORE, np.uint8))
        page = report(run, chips)
        assert "classes" not in [part.attributes["id"] for part in page.all("section")]

    def test_other_chips_than_those_trained_on(self, run: Path, chips: Path) -> None:
        edit_chips(chips, overlap_px=1)
        assert "not those the model was trained on" in report(run, chips).one("ul", class_="notes").text()

    def test_what_cannot_be_reported_on(self, tmp_path: Path, run: Path, chips: Path) -> None:
        with pytest.raises(ModelError, match=r"nowhere is no run folder; give"):
            report(tmp_path / "nowhere", chips)
        other = ClassMap.from_names(["a", "b", "c"])
        edit_chips(chips, classes=other.to_json())
        with pytest.raises(ModelError, match=r"other classes or bands than the chips in .*; give"):
            report(run, chips)
        assert not (run / "report.html").exists()

    def test_a_missing_chip_leaves_the_older_report(self, run: Path, chips: Path) -> None:
        (run / "report.html").write_text("older")
        store = ChipStore.open(chips)
        store.image_path(store.chips("val")[1]).unlink()
        with pytest.raises(ChipsError):
            report(run, chips)
        assert (run / "report.html").read_text() == "older"


def test_it_is_light_to_import() -> None:
    heavy = {"torch", "rasterio", "geopandas", "shapely"}
    code = f"import sys, geoseg.review.run; print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
