"""``geoseg report``: one file that holds all it shows, says what it leaves out, and believes no name."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from maps_of_tests import HOSTILE, read_strokes, write_map
from models_of_tests import write_model
from runs_of_tests import Element, take_apart
from scenes import north_up, not_georeferenced_is_fine, ramp, write_labels, write_scene

from geoseg.errors import InputError, OutputError, ReadError
from geoseg.mapview import bundle as bundle_module
from geoseg.mapview.atlas import Sources
from geoseg.page.markup import visible
from geoseg.progress import SilentProgress
from geoseg.report import report
from geoseg_cli.main import main


def written(tmp_path: Path, **more: Any) -> tuple[Element, dict[str, Any]]:
    """A page of the scene, its mask and its polygons, and the data its map is drawn from."""
    scene, mask, parcels = write_map(tmp_path)
    report(Sources(scene=scene, mask=mask, parcels=parcels), tmp_path / "r.html", **more)
    page = take_apart((tmp_path / "r.html").read_text(encoding="utf-8"))
    return page, json.loads(page.one("script", id="map-data").text())


def test_it_holds_all_and_asks_for_nothing(tmp_path: Path) -> None:
    page, data = written(tmp_path)
    for element in page.walk():
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            address = element.attributes.get(name)
            assert address is None or address.startswith(("#", "data:")), (element.name, name)
    (policy,) = (
        meta.attributes["content"] or "" for meta in page.all("meta", http_equiv="Content-Security-Policy")
    )
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "'self'" not in policy
    assert "connect-src" not in policy
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert not re.search(r"url\((?!data:|\$\{)", text.replace("url(#default#VML)", ""))
    assert "sourceMappingURL" not in text
    # Leaflet's licence goes where Leaflet goes.
    assert "BSD 2-Clause" in text
    assert "Redistributions of source code must retain" in text
    assert data["size"] == [900, 600]
    # The same inputs make the same bytes.
    before = (tmp_path / "r.html").read_bytes()
    written(tmp_path, overwrite=True)
    assert (tmp_path / "r.html").read_bytes() == before


def test_tiles_and_outlines_are_those_of_the_files(tmp_path: Path) -> None:
    _, data = written(tmp_path)
    scene, mask = data["rasters"]
    assert (scene["kind"], mask["kind"]) == ("image", "classes")
    assert scene["finest"] == mask["finest"] == 0
    assert {level: len(tiles) for level, tiles in mask["tiles"].items()} == {"1": 1, "0": 4}
    with not_georeferenced_is_fine():
        for tile, start in zip(scene["tiles"]["0"], (b"\xff\xd8",) * 4, strict=True):
            assert base64.b64decode(tile).startswith(start)
        with rasterio.MemoryFile(base64.b64decode(mask["tiles"]["0"][0])) as file, file.open() as picture:
            assert picture.read(1)[200, 200] == 2  # class 1 comes after see-through and class 0
    (vector,) = data["vectors"]
    features = read_strokes(base64.b64decode(vector["strokes"]))
    # The largest first, and their attributes in the same order.
    assert [(number, class_id) for number, class_id, _ in features] == [(0, 1), (1, 2)]
    columns = {column[0]: column[1:] for column in vector["columns"]}
    assert columns["area_m2"] == [[14600.0, 7500.0]]
    assert columns["class_name"][0][0] == "field"


def test_classes_with_shares_and_areas(tmp_path: Path) -> None:
    page, _ = written(tmp_path)
    rows = page.one("section", id="classes").rows()
    assert rows[0] == ["class", "share", "pixels", "ha", "m²", "polygons"]
    field = rows[2]
    assert field[0] == "field"
    assert field[1].replace("\xa0", " ") == "11.8 %"
    assert field[2].replace("\u202f", " ") == "60 000"
    assert float(field[3]) == pytest.approx(1.5, rel=0.01)
    assert field[5] == "1"
    assert "90" not in rows[1][0]
    assert "30\u202f000 pixels have none" in page.one("section", id="classes").text()


def test_names_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    page, data = written(tmp_path, command=f"geoseg report {HOSTILE}")
    scripts = page.all("script")
    assert len(scripts) == 3
    assert not [element for element in page.all("img") if element.attributes.get("src") == "x"]
    assert not page.all("b", class_="x")
    shown = visible(HOSTILE)
    assert shown in page.one("section", id="classes").text()
    assert shown in page.one("section", id="command").text()
    assert data["classes"]["2"][0] == shown
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "\u202e" not in text
    assert "<img src=x" not in text


def test_large_things_are_left_out_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "MAX_POLYGONS", 30)
    monkeypatch.setattr(bundle_module, "TOTAL_BYTES", 150_000)
    noise = np.random.default_rng(1).integers(1, 255, (3, 1500, 1500)).astype(np.uint8)
    scene = write_scene(tmp_path / "s.tif", noise, tiled=True)
    boxes = [
        shapely.box(500_000 + 9 * at, 4_999_900, 500_000 + 9 * at + 1 + at / 20, 4_999_910)
        for at in range(80)
    ]
    parcels = write_labels(tmp_path / "p.gpkg", boxes, columns={"id": list(range(80))})
    done = report(Sources(scene=scene, parcels=parcels), tmp_path / "r.html")
    page = take_apart((tmp_path / "r.html").read_text(encoding="utf-8"))
    data = json.loads(page.one("script", id="map-data").text())
    assert done.polygons == data["vectors"][0]["count"] == 30
    # The largest are kept: the boxes grow with their number.
    (ids,) = (column[1] for column in data["vectors"][0]["columns"] if column[0] == "id")
    assert sorted(ids) == list(range(50, 80))
    assert data["rasters"][0]["finest"] > 0
    assert sum(len(tile) for tiles in data["rasters"][0]["tiles"].values() for tile in tiles) < 150_000
    told = page.one("section", id="files").text()
    assert "only the 30 largest of 80 polygons are drawn" in told
    assert "the scene is shown with" in told


def test_scores_model_and_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene, mask, parcels = write_map(tmp_path)
    truth = write_labels(
        tmp_path / "truth.gpkg",
        geopandas.read_file(parcels).geometry,
        columns={"kind": ["field", HOSTILE]},
    )
    model = write_model(tmp_path / "model.safetensors")
    words = [
        scene,
        mask,
        parcels,
        "-l",
        truth,
        "--class-column",
        "kind",
        "--model",
        model,
        "-o",
        tmp_path / "r.html",
    ]
    assert main(["report", *map(str, words), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["polygons"] == 4
    page = take_apart((tmp_path / "r.html").read_text(encoding="utf-8"))
    scores = page.one("section", id="scores")
    row = next(row for row in scores.rows() if row[0] == "field")
    # The field's hole is land in the labels, and field in the mask: 1,600 of 60,000 pixels.
    assert float(row[1]) == pytest.approx(58_400 / 60_000, abs=6e-4)
    assert "SHA-256" in page.one("section", id="model").text()
    assert f"geoseg report {scene}" in page.one("section", id="command").text()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["s.tif", "m.tif", "m.tif", "-o", "r.html"], "m.tif and m.tif are both rasters; give one mask"),
        (["s.tif", "p.gpkg", "p.gpkg", "-o", "r.html"], "both polygons; give one file of them"),
        (["s.tif", "-o", "r.pdf"], "r.pdf is no page; name it .html"),
        (["s.tif", "-o", "there.html"], "there.html exists; use --overwrite to replace it"),
        (["s.tif", "-o", "r.html", "--bands", "1,2"], "give three bands, for red, green and blue, or one"),
        (["s.tif", "missing.tif", "-o", "r.html"], "missing.tif does not exist; "),
        (["s.tif", "there.html", "-o", "r.html"], "there.html is a web page; give a mask or polygons"),
        (["s.tif", "-u", "other.tif", "-o", "r.html"], "uncertainty other.tif lies elsewhere than the scene"),
    ],
)
def test_wrong_use_is_one_line(words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    scene, mask, parcels = write_map(Path())
    scene.rename("s.tif")
    mask.rename("m.tif")
    parcels.rename("p.gpkg")
    write_scene(Path("other.tif"), ramp(1, 10, 10), transform=north_up(origin=(0.0, 0.0)))
    Path("there.html").write_text("<!doctype html>")
    before = sorted(Path().iterdir())
    assert main(["report", *words]) == 2
    captured = capsys.readouterr()
    assert line in captured.err
    assert captured.err.count("\n") == 1
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("number", [0, 1])
def test_a_raster_that_changes_meanwhile_is_no_page(tmp_path: Path, number: int) -> None:
    scene, mask, _ = write_map(tmp_path)
    changing = (scene, mask)[number]

    class Writing(SilentProgress):
        def begin(self, *_: object) -> None:
            changing.touch()

    with pytest.raises(ReadError, match=f"{changing.name} changed while it was read"):
        report(Sources(scene=scene, mask=mask), tmp_path / "r.html", progress=Writing())
    assert not (tmp_path / "r.html").exists()


def test_errors_of_the_library(tmp_path: Path) -> None:
    scene, mask, _ = write_map(tmp_path)
    with pytest.raises(OutputError):
        report(Sources(scene=scene), scene.with_suffix(".tif"))
    with pytest.raises(InputError, match="does not exist"):
        report(Sources(scene=scene, mask=mask), tmp_path / "no" / "r.html")
