"""Planted faults are found, told where they are, and sound data is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from patchwork import SIZE, ids_of, patchwork, polygons_of, write_chips, write_patchwork
from scenes import north_up, not_georeferenced_is_fine, write_class_raster, write_labels, write_scene

from geoseg.config import TileConfig
from geoseg.doctor import DoctorReport, doctor
from geoseg.errors import ChipsError, LabelsError
from geoseg.health import sampling
from geoseg.health.finding import Finding, Severity
from geoseg.progress import SilentProgress
from geoseg_cli.doctor import SEVERITIES
from geoseg_cli.main import main

SMALL = TileConfig(size_px=64, overlap_px=16)


def of(done: DoctorReport, check: str, severity: str | None = None) -> list[Finding]:
    """Findings of a kind."""
    return [f for f in done.findings if f.check == check and severity in {None, f.severity}]


def only(done: DoctorReport, check: str) -> Finding:
    """The one finding of a kind, which is the only one worse than a note."""
    (found,) = [finding for finding in done.findings if finding.severity != "note"]
    assert found.check == check
    return found


# Scenes with labels.


def test_sound_scenes_give_nothing(tmp_path: Path) -> None:
    scene, labels = write_patchwork(tmp_path)
    done = doctor([scene], [labels], SMALL)
    assert done.findings == ()
    assert (done.scenes, done.chips) == (1, None)
    _, boxes = patchwork()
    truth = ids_of(boxes).mean()
    assert done.labelled_share["scene"] == pytest.approx(truth, abs=1e-6)
    assert done.class_shares == pytest.approx({"background": 1 - truth, "object": truth}, abs=1e-6)
    shift = done.shifts["scene"]
    assert shift is not None
    assert shift.sure
    assert shift.length_px < 0.2


def test_shifted_labels(tmp_path: Path) -> None:
    scene, labels = write_patchwork(tmp_path, right=6, down=-2)
    found = only(doctor([scene], [labels], SMALL), "shift")
    assert found.severity == "error"
    assert found.where[0].startswith("scene: 6.0 px left and 2.0 px down (x -")


def test_shifted_raster_labels(tmp_path: Path) -> None:
    scene, _ = write_patchwork(tmp_path)
    ids = np.roll(ids_of(patchwork()[1]), (5, -3), (0, 1))
    found = only(doctor([scene], [write_class_raster(tmp_path / "truth.tif", ids)], SMALL), "shift")
    assert "3.0 px right and 5.0 px up" in found.where[0]


@pytest.mark.parametrize("kind", ["gpkg", "tif"])
def test_labels_with_a_wrong_crs(kind: str, tmp_path: Path) -> None:
    scene, _ = write_patchwork(tmp_path)
    _, boxes = patchwork()
    if kind == "gpkg":
        wrong = write_labels(tmp_path / "wrong.gpkg", polygons_of(boxes), crs="EPSG:32635")
    else:
        wrong = write_class_raster(tmp_path / "wrong.tif", ids_of(boxes), crs="EPSG:32635")
    found = only(doctor([scene], [wrong], SMALL), "crs")
    assert found.severity == "error"
    assert "read as EPSG:32635, does not meet the scene; read as EPSG:32633" in found.what


def test_labels_without_crs(tmp_path: Path) -> None:
    scene, _ = write_patchwork(tmp_path)
    labels = write_labels(tmp_path / "bare.shp", polygons_of(patchwork()[1]), crs=None)
    assert only(doctor([scene], [labels], SMALL), "crs").severity == "warning"


def test_labels_in_another_crs_are_fine(tmp_path: Path) -> None:
    import geopandas

    scene, labels = write_patchwork(tmp_path)
    geopandas.read_file(labels).to_crs(4326).to_file(tmp_path / "degrees.geojson")
    assert doctor([scene], [tmp_path / "degrees.geojson"], SMALL).findings == ()


def test_pixels_without_a_place_can_be_looked_at(tmp_path: Path) -> None:
    bands, boxes = patchwork()
    scene = write_scene(tmp_path / "scene.tif", bands, crs=None)
    labels = write_class_raster(tmp_path / "truth.tif", ids_of(boxes), crs=None)
    with not_georeferenced_is_fine():
        done = doctor([scene], [labels], SMALL)
    assert only(done, "crs").what == "1 scene without a CRS"
    shift = done.shifts["scene"]
    assert shift is not None
    assert shift.sure


def test_labels_that_cannot_be_laid_over_a_scene(tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", patchwork()[0], crs=None)
    _, labels = write_patchwork(tmp_path, "other")
    with not_georeferenced_is_fine():
        (found,) = of(doctor([scene], [labels], SMALL), "labels")
    assert found.severity == "error"
    assert "without georeferencing" in found.what
    assert found.todo == "georeference the scene"


def test_empty_labels(tmp_path: Path) -> None:
    scene, _ = write_patchwork(tmp_path)
    truth = write_class_raster(tmp_path / "truth.tif", np.full((SIZE, SIZE), 255, np.uint8))
    found = only(doctor([scene], [truth], SMALL), "labels")
    assert found.severity == "error"
    assert "every pixel is nodata" in found.what


def test_scenes_and_labels_that_miss_each_other_in_part(tmp_path: Path) -> None:
    scene, labels = write_patchwork(tmp_path)
    away = north_up(origin=(510_000.0, 5_000_000.0))
    bare = write_scene(tmp_path / "bare.tif", patchwork(seed=1)[0], transform=away)
    _, boxes = patchwork()
    off = polygons_of(boxes[:3], north_up(origin=(490_000.0, 5_000_000.0)))
    labels = write_labels(tmp_path / "all.gpkg", [*polygons_of(boxes), *off])
    done = doctor([scene, bare], [labels], SMALL)
    assert only(done, "empty").where == ("bare",)
    (found,) = of(done, "off")
    assert (found.severity, found.what) == ("note", f"3 of {len(boxes) + 3} labels (2%) lie off all scenes")


def test_mixed_scenes(tmp_path: Path) -> None:
    bands, _ = patchwork()
    one, labels = write_patchwork(tmp_path)
    fine = write_scene(tmp_path / "fine.tif", bands, transform=north_up(0.25))
    wide = write_scene(tmp_path / "wide.tif", bands.astype(np.uint16))
    done = doctor([one, fine, wide], [labels], SMALL)
    (found,) = of(done, "bands", "error")
    assert found.where == ("wide",)
    (found,) = of(done, "gsd", "warning")
    assert found.where == ("fine (0.25 m)",)
    assert "scene and fine (100%)" in of(done, "ground", "note")[0].where


def test_small_scenes_and_few_chips(tmp_path: Path) -> None:
    scene, labels = write_patchwork(tmp_path)
    done = doctor([scene], [labels], TileConfig(size_px=544))
    assert {found.check for found in done.findings} == {"size", "few"}
    assert "--size 256" in of(done, "size")[0].todo


def test_scenes_that_cannot_be_read_do_not_stop_the_others(tmp_path: Path) -> None:
    scene, labels = write_patchwork(tmp_path)
    whole = scene.read_bytes()
    cut = tmp_path / "cut.tif"
    cut.write_bytes(whole[: len(whole) // 2])
    text = tmp_path / "text.tif"
    text.write_text("no raster")
    done = doctor([text, cut, scene], [labels], SMALL)
    unreadable = of(done, "unreadable", "error")
    assert [found.where[0].partition(":")[0] for found in unreadable] == ["text", "cut"]
    assert done.shifts["scene"] is not None


def test_rare_classes(tmp_path: Path) -> None:
    scene, _ = write_patchwork(tmp_path)
    _, boxes = patchwork()
    kinds = ["pond", *["field"] * (len(boxes) - 1)]
    labels = write_labels(tmp_path / "kinds.gpkg", polygons_of(boxes), columns={"kind": kinds})
    done = doctor([scene], [labels], SMALL.model_copy(update={"class_column": "kind"}))
    share = boxes[0][2] * boxes[0][3] / SIZE**2
    (found,) = of(done, "rare", "note")
    assert found.where == (f"pond ({share:.2%})",)


def test_of_a_large_scene_only_some_windows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MAX_WINDOWS", 2)
    scene = write_scene(tmp_path / "large.tif", np.tile(patchwork()[0], (1, 5, 5)), tiled=True)
    truth = write_class_raster(tmp_path / "truth.tif", np.tile(ids_of(patchwork()[1]), (5, 5)))
    steps = Steps()
    done = doctor([scene], [truth], SMALL, progress=steps)
    assert done.findings == ()
    assert steps.done == steps.total == 2
    again = doctor([scene], [truth], SMALL)
    assert again.labelled_share == done.labelled_share
    assert again.shifts == done.shifts


class Steps(SilentProgress):
    """Counts steps."""

    total = done = 0

    def begin(self, name: str, total: int, unit: str) -> None:  # noqa: ARG002
        self.total += total

    def advance(self, count: int = 1) -> None:
        self.done += count


def test_pieces_cover_a_scene_and_are_spread() -> None:
    for shape in ((1, 7), (100, 90), (504, 505), (1200, 700)):
        seen = np.zeros(shape, int)
        for piece in sampling.pieces_of(shape):
            assert piece.window.row_off + piece.window.height <= shape[0]
            assert piece.window.col_off + piece.window.width <= shape[1]
            seen[piece.window.toslices()][piece.own] += 1
        assert (seen == 1).all()
    chosen = sampling.spread(1000, 10)
    assert [number // 100 for number in chosen] == list(range(10))
    assert len({number % 10 for number in chosen}) > 3
    assert sampling.spread(5, 10) == [0, 1, 2, 3, 4]


def test_wrong_use(tmp_path: Path) -> None:
    scene, labels = write_patchwork(tmp_path)
    with pytest.raises(LabelsError, match="2 labels for 1 scenes"):
        doctor([scene], [labels, labels])
    with pytest.raises(LabelsError, match="has no column nix"):
        doctor([scene], [labels], TileConfig(class_column="nix"))
    with pytest.raises(ChipsError, match=r"has no chips\.json"):
        doctor([tmp_path])


# The command.


def test_command_tells_and_ends_with_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene, labels = write_patchwork(tmp_path, right=6)
    args = ["doctor", str(scene), "-l", str(labels), "--size", "64"]
    assert main(args) == 0
    shown = capsys.readouterr()
    assert shown.out == ""
    lines = shown.err.splitlines()
    assert lines[0].startswith("error: labels lie 6.0 px beside the edges in the image")
    assert (
        lines[1] == "    scene: 6.0 px left and 0.0 px down (x -3, y -0.0 in CRS units)"
        or "6.0 px left" in lines[1]
    )
    assert lines[2].startswith("    -> move the labels by 6.0 px left")
    assert lines[-1].startswith("1 error, 0 warnings, 0 notes in 1 scene (")
    assert main([*args, "--strict"]) == 3
    assert capsys.readouterr().err.splitlines()[-1] == (
        "geoseg: error: 1 finding is worse than a note; see above, or leave out --strict"
    )


def test_command_on_sound_chips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_chips(tmp_path)
    assert main(["doctor", "chips", "--strict"]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == "next: geoseg train --tiles chips"
    assert main(["doctor", "chips", "--strict", "-q"]) == 0
    assert capsys.readouterr() == ("", "")


def test_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene, labels = write_patchwork(tmp_path, right=6)
    assert main(["doctor", str(scene), "-l", str(labels), "--size", "64", "--json"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    told = json.loads(shown.out)
    assert told["inputs"] == [str(scene)]
    assert [(f["severity"], f["check"], f["count"]) for f in told["findings"]] == [("error", "shift", 1)]
    assert told["shifts"]["scene"]["columns_px"] == pytest.approx(-6.0, abs=0.2)
    assert told["shifts"]["scene"]["sure"] is True


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["scene.tif"], "give them with --labels"),
        (["chips", "-l", "scene.gpkg"], "give one chips folder alone"),
        (["chips", "scene.tif"], "give one chips folder alone"),
        (["chips", "--size", "64"], "--size goes with scenes"),
        (["scene.tif", "-l", "missing.gpkg"], "missing.gpkg does not exist"),
        (["missing.tif", "-l", "scene.gpkg"], "missing.tif does not exist"),
    ],
)
def test_wrong_calls(args: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_patchwork(tmp_path)
    (tmp_path / "chips").mkdir()
    assert main(["doctor", *args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line


def test_the_command_knows_the_severities() -> None:
    assert get_args(Severity) == SEVERITIES
