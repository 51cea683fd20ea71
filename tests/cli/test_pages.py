"""Pages of ``predict`` and ``evaluate``: what they tell, and that they never cost the result."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import shapely
from maps_of_tests import read_strokes
from models_of_tests import noise, write_model
from runs_of_tests import Element, take_apart
from scenes import north_up, ramp, write_class_raster, write_labels, write_scene

from geoseg.classes import IGNORE, ClassMap
from geoseg.errors import ReadError
from geoseg.mapview import mistakes
from geoseg.raster.mask import CLASSES_TAG
from geoseg.scoring import errors
from geoseg_cli.main import main

CLASSES = ClassMap(names=("land", "field"), colors=("#8C8C8C", "#E69F00"), background=0)
FAST = ["--size", "64", "--overlap", "32", "--precision", "fp32", "--device", "cpu"]


def read(path: Path) -> tuple[Element, dict[str, Any]]:
    page = take_apart(path.read_text(encoding="utf-8"))
    return page, json.loads(page.one("script", id="map-data").text())


def facts_of(section: Element) -> dict[str, str]:
    return {
        pair.one("dt").text(): pair.all("dd")[0].text().replace("\xa0", " ")
        for pair in section.all("div")
        if len(pair.all("dt")) == 1
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture
def scene() -> Path:
    return write_scene(Path("scene.tif"), noise(3, 80, 90))


def write_mask(path: str, *fields: tuple[int, int, int, int]) -> Path:
    """Fields of (row, column, height, width) on 200 x 300 pixels of half a metre."""
    ids = np.zeros((200, 300), np.uint8)
    for row, column, height, width in fields:
        ids[row : row + height, column : column + width] = 1
    tags = {CLASSES_TAG: json.dumps(CLASSES.to_json())}
    return write_class_raster(Path(path), ids, transform=north_up(), nodata=IGNORE, tags=tags)


def write_truth() -> Path:
    """Three fields: columns 20 to 80, 120 to 180 and 220 to 280, rows 50 to 150."""
    a, _, c, _, e, f = north_up()[:6]
    boxes = [
        shapely.box(c + a * left, f + e * 150, c + a * (left + 60), f + e * 50) for left in (20, 120, 220)
    ]
    return write_labels(Path("truth.gpkg"), boxes, columns={"class_name": ["field"] * 3})


def test_a_prediction_tells_what_it_took(
    scene: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(scene), "-o", "mask.tif", "--uncertainty", "u.tif", "-m", str(model), *FAST]
    assert main([*words, "--report", "p.html", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["report"] == "p.html"
    page, data = read(Path("p.html"))
    assert [raster["kind"] for raster in data["rasters"]] == ["image", "classes", "ramp"]
    run = facts_of(page.one("section", id="run"))
    assert run["device"] == told["device"]
    assert run["chips"] == f"{told['chips']} through the network"
    assert run["workers"].split()[0] == str(told["workers"])
    assert run["time"] == f"{told['seconds']:.1f} s"
    assert float(run["memory"].split()[0]) > 0
    assert "SHA-256" in page.one("section", id="model").text()
    command = page.one("section", id="command").one("pre").text()
    assert command == "geoseg " + " ".join([*words, "--report p.html --json"])


def test_every_scene_gets_its_page(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed, name in enumerate("ab"):
        write_scene(Path(f"{name}.tif"), noise(3, 70, 70, seed))
    Path("c.tif").write_bytes(Path("a.tif").read_bytes()[:3000])
    words = ["predict", "a.tif", "b.tif", "c.tif", "-o", "masks", "-m", str(model), *FAST, "--report"]
    assert main([*words, "pages"]) == 1
    assert sorted(path.name for path in Path("pages").iterdir()) == ["a.html", "b.html"]
    assert read(Path("pages/b.html"))[0].one("h1").text() == "b.tif"
    assert "wrote pages to pages" in capsys.readouterr().err
    # With --resume, finished scenes and their pages are left alone; a page in the way is refused before work.
    Path("c.tif").write_bytes(Path("a.tif").read_bytes())
    Path("pages/c.html").write_text("mine")
    assert main([*words, "pages", "--resume"]) == 2
    assert "c.html exists; use --overwrite" in capsys.readouterr().err
    Path("pages/c.html").unlink()
    before = Path("pages/a.html").read_bytes()
    assert main([*words, "pages", "--resume", "-q"]) == 0
    assert Path("pages/c.html").is_file()
    assert Path("pages/a.html").read_bytes() == before


def test_a_page_that_fails_costs_no_mask(
    scene: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **more: object) -> None:
        raise ReadError("reading scene scene.tif failed; check the disk")

    monkeypatch.setattr("geoseg.report.report", fail)
    words = ["predict", str(scene), "-o", "mask.tif", "-m", str(model), *FAST, "-q"]
    # It was asked for by name.
    assert main([*words, "--report", "p.html"]) == 1
    line = "geoseg: error: no p.html: reading scene scene.tif failed; check the disk\n"
    assert capsys.readouterr().err == line
    assert Path("mask.tif").is_file()
    assert not Path("p.html").exists()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["predict", "scene.tif", "-o", "m.tif", "--report", "p.pdf"], "p.pdf is no page; name it .html"),
        (["predict", "scene.tif", "-o", "m.tif", "--report", "there.html"], "there.html exists; use --over"),
        (["predict", "scene.tif", "-o", "m.html", "--report", "m.html"], "m.html is named for two outputs"),
        (["predict", "scene.tif", "-o", "m.tif", "--report", "p.html", "--dry-run"], "leave it out here"),
        (
            ["predict", "scene.tif", "t.tif", "-o", "ms", "--report", "there.html"],
            "there.html is a file; name a",
        ),
        (
            ["evaluate", "scene.tif", "scene.tif", "--report", "there.html"],
            "there.html exists; use --overwrite",
        ),
        (
            ["evaluate", "scene.tif", "scene.tif", "--scene", "scene.tif"],
            "on the page of --report; give a page",
        ),
        (
            ["evaluate", "https://h/m.tif", "scene.tif", "--report", "p.html"],
            "--report draws files that are here",
        ),
        (
            ["evaluate", "--tiles", ".", "--scene", "scene.tif", "--report", "p.html"],
            "--scene goes with a mask",
        ),
        (["demo", "--open", "--no-report"], "--open shows the page that --no-report leaves out"),
    ],
)
def test_what_cannot_be_written_is_refused_first(
    words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scene(Path("scene.tif"), ramp(1, 20, 20))
    Path("there.html").write_text("mine")
    before = sorted(Path().iterdir())
    assert main(words) == 2
    captured = capsys.readouterr()
    assert line in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(Path().iterdir()) == before
    assert Path("there.html").read_text() == "mine"


def test_scores_of_objects_and_their_errors(capsys: pytest.CaptureFixture[str]) -> None:
    # One field right, one a quarter of itself, one missed, and one where none is.
    mask = write_mask("mask.tif", (50, 20, 100, 60), (50, 120, 25, 60), (0, 280, 10, 10))
    words = ["evaluate", str(mask), str(write_truth()), "--objects", "--errors", "e.gpkg"]
    assert main([*words, "--report", "p.html", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["report"] == "p.html"
    page, data = read(Path("p.html"))
    assert page.one("h1").text() == "mask.tif"
    # Without a scene the mask is what the others lie on.
    assert [(raster["kind"], raster["finest"]) for raster in data["rasters"]] == [("classes", 0)]
    assert [vector["title"] for vector in data["vectors"]] == ["errors", "labels"]
    kinds = {number: data["classes"][str(number)][:2] for number in (250, 251, 252)}
    assert list(kinds.values()) == [["matched", "#009E73"], ["missed", "#0072B2"], ["made up", "#D55E00"]]
    features = [kind for _, kind, _ in read_strokes(base64.b64decode(data["vectors"][0]["strokes"]))]
    assert sorted(features) == [250, 251, 251, 252, 252]
    scores = page.one("section", id="scores")
    by_class, _, found, shapes = (
        next(row for row in table.rows() if row[0] == "field") for table in scores.all("table")
    )
    assert by_class[1] == f"{(6000 + 1500) / (18000 + 100):.3f}"
    # Of 3 true and 3 predicted objects one matches.
    assert found[:6] == ["field", "3", "3", "0.333", "0.333", "0.333"]
    assert shapes[5] == "+0.0\xa0%"
    assert shapes[6] == f"−{100 * (1 - 7600 / 18000):.1f}\xa0%"
    assert facts_of(scores)["kappa"] not in {"", "–"}


def test_colours_are_those_of_the_file() -> None:
    assert {kind: color for kind, (_, color) in mistakes.KINDS.items()} == errors.COLORS


def test_two_masks_are_compared_on_one_map(capsys: pytest.CaptureFixture[str]) -> None:
    bad = write_mask("bad.tif", (50, 20, 100, 60))
    good = write_mask("good.tif", (50, 20, 100, 60), (50, 120, 100, 60))
    scene = write_scene(Path("s.tif"), ramp(3, 200, 300), transform=north_up())
    words = ["evaluate", str(bad), str(good), "--labels", str(write_truth()), "--scene", str(scene)]
    assert main([*words, "--report", "p.html", "-q"]) == 0
    page, data = read(Path("p.html"))
    assert [raster["title"] for raster in data["rasters"]] == ["scene", "bad.tif", "good.tif"]
    overview, differences, of_classes, _ = (
        table.rows() for table in page.one("section", id="scores").all("table")
    )
    fields, land = (1 / 3, 2 / 3), (42000 / 54000, 42000 / 48000)
    assert [row[:2] for row in overview] == [
        ["prediction", "mIoU"],
        ["bad.tif", f"{(fields[0] + land[0]) / 2:.3f}"],
        ["good.tif", f"{(fields[1] + land[1]) / 2:.3f}"],
    ]
    better = sum(fields[1:] + land[1:]) / 2 - (fields[0] + land[0]) / 2
    assert differences[1][0] == "good.tif"
    assert differences[1][1].startswith(f"+{better:.3f}")
    assert of_classes[2] == ["field", "0.333", "0.667"]
    # Each is on its own side of the swipe line.
    sides = [
        [option.attributes["value"] for option in chosen.all("option") if "selected" in option.attributes]
        for key in ("r1", "r2")
        for chosen in page.all("select", data_side=key)
    ]
    assert sides == [["left"], ["right"]]


def test_polygons_without_a_scene_have_no_map(capsys: pytest.CaptureFixture[str]) -> None:
    truth = write_truth()
    assert main(["evaluate", str(truth), str(truth), "--report", "p.html"]) == 0
    assert "without --scene there is no map on the page" in capsys.readouterr().err
    page = take_apart(Path("p.html").read_text(encoding="utf-8"))
    assert not page.all("script")
    (found, *_) = page.one("section", id="scores").all("table")
    assert found.rows()[1][:6] == ["field", "3", "3", "1.000", "1.000", "1.000"]


def test_scores_are_told_though_their_page_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object, **more: object) -> None:
        raise MemoryError

    monkeypatch.setattr("geoseg.report.report", fail)
    truth = str(write_truth())
    assert main(["evaluate", truth, truth, "--json", "--report", "p.html"]) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["report"] is None
    assert told.err.endswith("geoseg: error: no p.html: out of memory; close other programs\n")


def test_the_demo_opens_its_page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    folder, same = Path("demo"), SimpleNamespace(iou={}, boundary_iou={}, miou=0.5)
    names = {"overlay": "overlay.png", "polygons": "p.gpkg", "model": "m", "report": "report.html"}
    done = SimpleNamespace(
        **{key: folder / name for key, name in names.items()},
        output=folder,
        polygon_count={},
        refined=same,
        coarse=same,
        seconds=1.0,
        to_json=dict,
    )
    opened: list[str] = []
    monkeypatch.setattr("geoseg.demo.demo", lambda *_, **__: done)
    monkeypatch.setattr("webbrowser.open", opened.append)
    assert main(["demo", "--open"]) == 0
    assert opened == [(Path.cwd() / "demo" / "report.html").as_uri()]
    told = capsys.readouterr().err
    assert "look at demo/report.html in a browser" in told
    # What a browser that cannot be started answers.
    assert "geoseg: warning: no browser could be started; open demo/report.html in one" in told
