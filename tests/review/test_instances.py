"""The report of a run that finds objects: every figure is known, since what the model finds is made up."""

from __future__ import annotations

import base64
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from chip_folders import make_chips
from objects_of_tests import write_card
from runs_of_tests import Element, decoded, resplit, take_apart
from safetensors.torch import load_file, save_file
from scenes import north_up, pixel_box, write_labels, write_scene

from geoseg.chips.store import ChipStore
from geoseg.config import TileConfig
from geoseg.errors import ModelError
from geoseg.models.card import CARD_KEY, read_card
from geoseg.models.instances import Detections
from geoseg.presets import dump_config, load_config
from geoseg.review import look_instances
from geoseg.review.run import write_run_report
from geoseg.tile import tile

Box = tuple[int, int, int, int]
SIDE = 64
SPLITS = ["val"] * 4 + ["train"] * 2
# Row, column, height and width, and the class: of chips 0 to 5.
TRUTH: list[list[tuple[Box, str]]] = [
    [((8, 4, 10, 20), "roof"), ((8, 34, 10, 20), "roof"), ((30, 10, 10, 20), "roof")],
    [((5, 5, 10, 20), "roof"), ((30, 5, 10, 20), "roof"), ((30, 40, 10, 20), "pond")],
    [((20, 20, 10, 20), "roof")],
    [],
    [((10, 10, 20, 20), "roof")],
    [((10, 10, 20, 20), "roof")],
]
# What is found, all of it roofs, with its score: of the first four, three right ones in all from 0.5 on.
FOUND: list[list[tuple[Box, float]]] = [
    [((8, 4, 10, 20), 0.95), ((50, 40, 8, 8), 0.80)],
    [((5, 5, 10, 20), 0.90), ((30, 5, 10, 20), 0.85)],
    [((20, 20, 10, 20), 0.30)],
    # The first lies where nothing is known.
    [((5, 2, 10, 15), 0.99), ((5, 30, 8, 20), 0.70), ((40, 30, 8, 20), 0.60)],
    [((10, 10, 20, 20), 0.90)],
    [],
]
UNKNOWN_CHIP, UNKNOWN_COLUMNS = 3, 20
# Six true roofs; by falling score three hits, three misses, and a hit. Of the 101 recalls, those to a half
# are reached at a precision of 1, those to four sixths at one of 4 / 7.
ROOF_AP = (51 * 1 + 16 * 4 / 7) / 101
AP = (ROOF_AP + 0) / 2


class MadeUp:
    """A network that finds in the chip whose number the first pixel tells what :data:`FOUND` says."""

    def parameters(self) -> Iterator[torch.Tensor]:
        yield torch.zeros(4321)

    def to(self, **_: Any) -> MadeUp:
        return self

    def detect_both(self, images: torch.Tensor) -> list[tuple[Detections, Detections]]:
        assert images.shape == (1, 1, SIDE, SIDE)
        found = FOUND[round(float(images[0, 0, 0, 0])) - 100]
        # Without subdivision the last three of ten rows are missing: an IoU of 0.7.
        return [(detections(found, 1.0), detections(found, 0.7))]


def detections(found: list[tuple[Box, float]], part: float) -> Detections:
    boxes = [box for box, _ in found]
    return Detections(
        boxes=torch.tensor([(c, r, c + w, r + h) for r, c, h, w in boxes]).float().reshape(-1, 4),
        labels=torch.full((len(boxes),), roof_id()),
        scores=torch.tensor([score for _, score in found]),
        masks=tuple((torch.arange(h) < part * h)[:, None].expand(h, w) for _, _, h, w in boxes),
        offsets=torch.tensor([(r, c) for r, c, _, _ in boxes]).reshape(-1, 2),
    )


def roof_id() -> int:
    return NAMES.index("roof")


NAMES = ("background", "pond", "roof")


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished run, reported on once for all tests that change nothing."""

    run: Path
    chips: Path
    page: Element


@pytest.fixture(scope="module", autouse=True)
def _made_up() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geoseg.models.checkpoint.load_instance_model", lambda *_, **__: (MadeUp(), None))
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("objects")
    chips = write_chips(folder)
    run = write_run(folder / "run", chips)
    return Finished(run=run, chips=chips, page=report(run, chips))


@pytest.fixture
def run(tmp_path: Path, finished: Finished) -> Path:
    """A copy to change, without its report."""
    return shutil.copytree(finished.run, tmp_path / "run", ignore=shutil.ignore_patterns("report.html"))


def write_chips(folder: Path) -> Path:
    """Six chips; the first pixel of each tells its number."""
    bands = np.random.default_rng(0).integers(20, 90, (1, SIDE, SIDE * len(TRUTH))).astype(np.uint8)
    bands[0, 0, ::SIDE] = 100 + np.arange(len(TRUTH))
    placed = [
        (pixel_box(north_up(), r, c + SIDE * chip, h, w), name)
        for chip, objects in enumerate(TRUTH)
        for (r, c, h, w), name in objects
    ]
    scene = write_scene(folder / "scene.tif", bands)
    kinds = {"kind": [name for _, name in placed]}
    labels = write_labels(folder / "labels.gpkg", [shape for shape, _ in placed], columns=kinds)
    settings = {"size_px": SIDE, "overlap_px": 0, "block_px": SIDE}
    tile([scene], [labels], folder / "chips", TileConfig(task="instance", class_column="kind", **settings))
    chips = resplit(folder / "chips", SPLITS)
    store = ChipStore.open(chips)
    assert store.classes.names == NAMES
    with rasterio.open(store.label_path(store.chips()[UNKNOWN_CHIP]), "r+") as file:
        ids = file.read(1)
        ids[:, :UNKNOWN_COLUMNS] = 255
        file.write(ids, 1)
    return chips


def write_run(run: Path, chips: Path) -> Path:
    """A run folder with a model that has nothing but a card, and a log of three epochs."""
    run.mkdir()
    config = load_config(None, ["model.architecture=maskrcnn_resnet50_fpn_pointrend", "train.epochs=3"])
    (run / "config.yaml").write_text(dump_config(config))
    rows = [
        {
            "epoch": epoch,
            "val_ap": ap,
            "val_ap50": 0.7,
            "val_ap75": 0.3,
            "val_boundary_ap": 0.125,
            "val_class_ap": {"pond": ap - 0.1, "roof": ap + 0.1},
            "loss": 6 / epoch,
            **dict.fromkeys(("objectness", "proposal", "class", "box", "coarse", "point"), 1 / epoch),
            "lr": 0.001,
            "seconds": 61.5,
            "samples_per_s": 2.0,
            "wait_share": 0.01,
        }
        for epoch, ap in enumerate((0.25, AP, 0.2), 1)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    store = ChipStore.open(chips)
    path = write_card(run / "model.safetensors")
    training = {"best_epoch": 2, "chips": store.fingerprint()}
    card = replace(read_card(path), classes=store.classes, band_names=store.band_names, training=training)
    save_file(load_file(path), path, metadata={CARD_KEY: json.dumps(card.to_json())})
    return run


def report(run: Path, chips: Path, **keywords: Any) -> Element:
    path = write_run_report(run, ChipStore.open(chips), command=None, device="cpu", **keywords)
    return take_apart(path.read_text(encoding="utf-8"))


def section(page: Element, name: str) -> Element:
    return page.one("section", id=name)


def tiles(page: Element) -> dict[str, tuple[str, str]]:
    entries = section(page, "figures").one("dl").all("div")
    return {
        tile.one("dt").text(): (tile.all("dd")[0].text(), "".join(d.text() for d in tile.all("dd")[1:]))
        for tile in entries
    }


def drawings(place: Element, title: str) -> tuple[dict[str, list[set[tuple[float, float]]]], list[str]]:
    """Corners of the outlines by colour, and the texts, of an SVG."""
    (image,) = place.all("img", data_title=title)
    kind, _, content = str(image.attributes["src"]).partition(";base64,")
    assert kind == "data:image/svg+xml"
    svg = base64.b64decode(content).decode()
    (link,) = re.findall(r'href="([^"]*)"', svg)
    assert link.startswith("data:image/jpeg;base64,")
    assert set(re.findall(r"https?:[^\"]*", svg)) == {"http://www.w3.org/2000/svg"}
    outlines: dict[str, list[set[tuple[float, float]]]] = {}
    for path, color in re.findall(r'<path d="M([^"]*)Z" stroke="(#\w+)"', svg):
        corners = {tuple(map(float, corner.split(","))) for corner in path.split()}
        outlines.setdefault(color, []).append(corners)
    del outlines["#000000"]  # what the lines lie on
    return outlines, re.findall(r"<text[^>]*>([^<]*)<", svg)


def corners(box: Box) -> set[tuple[float, float]]:
    row, col, height, width = box
    return {(x, y) for x in (col, col + width) for y in (row, row + height)}


def test_headline_and_curves_are_the_log(finished: Finished) -> None:
    shown = tiles(finished.page)
    figures = {name: shown[name][0] for name in ("AP", "AP50", "AP75", "Boundary AP")}
    assert figures == {"AP": f"{AP:.3f}", "AP50": "0.700", "AP75": "0.300", "Boundary AP": "0.125"}
    assert shown["Epochs"] == ("3 of 3", "finished")
    assert shown["Best epoch"] == ("2", "highest validation AP")
    assert shown["Chips"] == ("2", "to train on, and 4 to validate")
    assert shown["Training time"][0].replace("\xa0", " ") == "3 min 04 s"
    charts = {
        chart.all("b")[0].text(): json.loads(str(chart.attributes["data-curve"]))["shown"]
        for chart in finished.page.all("figure", class_="curve")
    }
    assert charts["Training loss"] == [["6", "3", "2"]]
    assert charts["Loss of boxes and classes"] == [["1", "0.5", "0.3333"]] * 4
    assert charts["Loss of masks"] == [["1", "0.5", "0.3333"]] * 2
    assert charts["Validation AP"][0] == ["0.250", f"{AP:.3f}", "0.200"]
    assert [line[0] for line in charts["AP of classes"]] == ["0.150", "0.350"]
    assert "objects of 2 classes, 2 training, 4 validation chips" in finished.page.one("header").text()


def test_classes_and_least_scores(finished: Finished) -> None:
    page = section(finished.page, "classes")
    by_class, by_score = page.all("table")
    roof = f"{ROOF_AP:.3f}"
    assert by_class.rows()[1:] == [
        ["pond", *["0.000"] * 4, "1", "0", "0", "–", "0.000", "0.000", "–"],
        ["roof", *[roof] * 4, "6", "6", "3", "0.500", "0.500", "0.500", "1.000"],
        ["all", *[f"{AP:.3f}"] * 4, "7", "6", "3", "0.500", "0.429", "0.462", "1.000"],
    ]
    rows = {row[0]: row[1:] for row in by_score.rows()[1:]}
    assert rows["0.3"] == ["7", "0.571", "0.571", "0.571", "best F1"]
    assert rows["0.5"] == ["6", "0.500", "0.429", "0.462", "the default"]
    assert rows["0.9"] == ["2", "1.000", "0.286", "0.444", ""]
    # Training had the same AP.
    assert "Validation during training" not in page.text()


def test_what_subdivision_brings(finished: Finished) -> None:
    rows = section(finished.page, "refinement").one("table").rows()[1:4]
    # An IoU of 0.7 reaches five of the ten thresholds, and not 0.75.
    assert rows == [
        ["AP", f"{AP / 2:.3f}", f"{AP:.3f}", f"+{AP / 2:.3f}"],
        ["AP50", f"{AP:.3f}", f"{AP:.3f}", "+0.000"],
        ["AP75", "0.000", f"{AP:.3f}", f"+{AP:.3f}"],
    ]


def test_the_chips_with_most_mistakes_come_first(finished: Finished) -> None:
    places = section(finished.page, "chips").all("article")
    names = [chip.name for chip in ChipStore.open(finished.chips).chips("val")]
    # Chips 2 and 1 have one mistake each, but of chip 1 much else is right.
    order = [0, 3, 2, 1]
    assert [place.one("h3").text() for place in places] == [
        f"{rank}. {names[at]}" for rank, at in enumerate(order, 1)
    ]
    told = [place.one("p", class_="note").text().partition(" · F1")[0] for place in places]
    assert told == [
        "3 mistakes: 2 missed, 1 false · 1 of 3 found, with a mean IoU of 1.000",
        "2 mistakes: 0 missed, 2 false · no object",
        "1 mistake: 1 missed, 0 false · 0 of 1 found",
        "1 mistake: 1 missed, 0 false · 2 of 3 found, with a mean IoU of 1.000",
    ]


def test_outlines_and_pixels_are_what_was_found(finished: Finished) -> None:
    page = section(finished.page, "chips")
    first, second = page.all("article")[:2]
    found, missed, false, beyond = "#56b4e9", "#ffe14d", "#ff5a36", "#ffffff"
    objects = [box for box, _ in TRUTH[0]]
    truth, _ = drawings(first, "true objects")
    assert truth == {found: [corners(objects[0])], missed: [corners(box) for box in objects[1:]]}
    said, scores = drawings(first, "found objects, scores")
    assert said == {found: [corners(objects[0])], false: [corners(FOUND[0][1][0])]}
    assert scores == [".95", ".80"]
    said, _ = drawings(second, "found objects, scores")
    assert said == {beyond: [corners(FOUND[3][0][0])], false: [corners(box) for box, _ in FOUND[3][1:]]}

    expected = np.full((SIDE, SIDE), "no object", object)
    boxes = [*zip(objects, ("true and predicted", "true only", "true only"), strict=True)]
    for (row, col, height, width), name in [*boxes, (FOUND[0][1][0], "predicted only")]:
        expected[row : row + height, col : col + width] = name
    (image,) = first.all("img", data_title="pixels")
    rgb, known = decoded(image)
    assert known.all()
    legend = page.one("div", data_legend="pixels").all("li")
    for entry in legend[:4]:
        color = np.array([*bytes.fromhex(str(entry.attributes["data-color"])[1:])])
        drawn = (rgb == color[:, None, None]).all(axis=0)
        assert np.array_equal(drawn, expected == entry.text())
    (image,) = second.all("img", data_title="pixels")
    known = decoded(image)[1].all(axis=0)
    assert known.tolist() == [at >= UNKNOWN_COLUMNS for at in range(SIDE)]


def test_it_needs_nothing_else_and_is_the_same_each_time(finished: Finished, run: Path) -> None:
    for element in finished.page.walk():
        for name, value in element.attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "data", "action"}:
                assert str(value).startswith(("data:", "#"))
    assert not re.search(r"url\(|@import|https?:", "".join(s.text() for s in finished.page.all("style")))
    assert all(image.attributes["alt"] for image in finished.page.all("img"))
    report(run, finished.chips)
    assert (run / "report.html").read_bytes() == (finished.run / "report.html").read_bytes()


def test_odd_runs(finished: Finished, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look_instances, "MAX_CHIPS", 2)
    page = report(run, finished.chips)
    note = "2 of the 4 val chips, evenly spread: per-class figures and chips are of these"
    assert note in page.one("ul", class_="notes").text()
    assert len(section(page, "chips").all("article")) == 2

    # No validation: what is measured is measured on the two chips trained on, one of which nothing finds.
    chips = resplit(shutil.copytree(finished.chips, tmp_path / "chips"), ["test"] * 4 + ["train"] * 2)
    (run / "metrics.jsonl").write_text('{"epoch": 1, "loss": 1.0, "val_ap": null}\n')
    page = report(run, chips)
    assert tiles(page)["AP"][0] == f"{51 / 101:.3f}"
    assert "all 2 training chips" in tiles(page)["AP"][1]

    (run / "model.safetensors").unlink()
    (run / "metrics.jsonl").write_text("")
    page = report(run, chips)
    assert tiles(page)["AP"] == ("–", "not measured yet")
    assert {part.attributes["id"] for part in page.all("section")} == {
        "figures",
        "data",
        "configuration",
        "versions",
    }


def test_chips_that_tell_no_objects_apart_are_refused(finished: Finished, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"finds objects, and the chips in .* do not tell objects apart"):
        report(finished.run, make_chips(tmp_path, size=128))
