"""Every odd label file of the zoo meets every verb: exact results, or one clear line and the exit code 2."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import geopandas
import labelzoo_makers as made
import numpy as np
import pytest
import rasterio
import scenes
import shapely
import typer.main
from labelzoo import KINDS, SHAPES, Odd
from labelzoo_columns import CLASSES, CRSS
from labelzoo_files import FILES
from labelzoo_makers import PLACE, SHAPE
from labelzoo_truth import Truth, check_chips, check_looks, check_objects, check_scores, truth_of
from numpy.typing import NDArray
from rasterio.crs import CRS

from geoseg.classes import ClassMap
from geoseg.errors import LabelsError
from geoseg.raster.geobox import GeoBox
from geoseg.raster.labels import open_labels
from geoseg.raster.mask import CLASSES_TAG
from geoseg_cli.main import main

ZOO = {**SHAPES, **KINDS, **CRSS, **CLASSES, **FILES}
SIZE_PX = 64
A_RASTER = "is a raster, in which touching objects of a class are one; give polygons"


def truth(odd: Odd) -> Truth:
    """What a file that can be used must come out as."""
    if odd.burned is None:
        return truth_of(odd.lands, odd.class_names, SHAPE)
    ids = odd.burned()
    highest = int(ids[ids != 255].max())
    return Truth(tuple(f"class {i}" for i in range(highest + 1)), ids, ())


@pytest.mark.parametrize("name", ZOO)
def test_file(name: str, tmp_path: Path) -> None:
    """As the library reads it, which takes a twentieth of the time of the verbs."""
    odd = ZOO[name]
    path = odd.make(tmp_path)
    before = files(tmp_path)
    try:
        found = burned(odd, path)
    except LabelsError as error:
        found = str(error)
    assert files(tmp_path) == before
    if odd.refused is not None:
        # The stages themselves see to labels that lie elsewhere.
        assert found is None or (isinstance(found, str) and odd.refused in found)
        return
    assert isinstance(found, Burned), found
    wanted = truth(odd)
    assert found.names == wanted.names
    np.testing.assert_array_equal(found.ids, wanted.ids)
    check_warnings(odd, found.notes)


class Burned(NamedTuple):
    """What labels show on a grid."""

    names: tuple[str, ...]
    ids: NDArray[np.uint8]
    notes: tuple[str, ...]


def burned(odd: Odd, path: Path) -> Burned | None:
    """Labels on the scene's grid; ``None`` when they lie elsewhere."""
    grid = GeoBox(crs=CRS.from_string(odd.crs), transform=odd.place, shape=SHAPE)
    class_name = odd.options[1] if odd.options else "object"
    with open_labels(path, class_column=odd.column, class_name=class_name) as labels:
        if not labels.covers(grid):
            return None
        ids = labels.burn(grid)
        return Burned(labels.classes.names, ids, labels.notes)


def check_warnings(odd: Odd, told: Sequence[str]) -> None:
    """What is odd is told, and nothing else."""
    assert len(told) == len(odd.warned), told
    assert all(any(piece in line for line in told) for piece in odd.warned), told


def files(folder: Path) -> dict[str, bytes]:
    """All there is, with its content."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


_parser = functools.cache(typer.main.get_command)


class Keeper:
    """Runs verbs on labels, and looks at what they say."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capfd = folder, capfd

    def run(self, *args: str | Path) -> tuple[int, str, list[str]]:
        """Exit code, stdout and the lines of stderr."""
        self._capfd.readouterr()
        code = main([str(arg) for arg in args])
        out, err = self._capfd.readouterr()
        return code, out, err.splitlines()

    def must_work(self, *args: str | Path) -> tuple[str, list[str]]:
        """Run what must work; stdout and the warnings."""
        code, out, lines = self.run(*args)
        assert code == 0, lines
        assert all(line.startswith("geoseg: warning: ") for line in lines), lines
        return out, lines

    def must_refuse(self, text: str, *args: str | Path) -> None:
        """Run what must be refused: one clear line, nothing written."""
        before = files(self.folder)
        code, out, lines = self.run(*args)
        assert lines[-1].startswith("geoseg: error: ")
        assert all(line.startswith("geoseg: warning: ") for line in lines[:-1]), lines
        assert text in lines[-1]
        assert (code, out) == (2, "")
        assert files(self.folder) == before


@pytest.fixture
def keeper(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Keeper:
    monkeypatch.setattr(typer.main, "get_command", _parser)
    return Keeper(tmp_path, capfd)


def scene_of(odd: Odd, folder: Path) -> Path:
    pixels = np.random.default_rng(0).integers(1, 255, (3, *SHAPE)).astype(np.uint8)
    return scenes.write_scene(folder / "scene.tif", pixels, transform=odd.place, crs=odd.crs)


@pytest.mark.slow
@pytest.mark.parametrize("name", ZOO)
def test_verbs(name: str, keeper: Keeper) -> None:
    odd = ZOO[name]
    scene, folder = scene_of(odd, keeper.folder), keeper.folder / "labels"
    folder.mkdir()
    labels = odd.make(folder)
    before = files(keeper.folder)
    column = [] if odd.column is None else ["--class-column", odd.column]
    for task, check in (("semantic", check_chips), ("instance", check_objects)):
        tile(keeper, odd, [scene, "-l", labels, *column, *odd.options], task, check)
    evaluate(keeper, odd, [labels, *column, *odd.options])
    if not odd.options:
        doctor(keeper, odd, [scene, "-l", labels, *column, "--size", str(SIZE_PX)])
    after = files(keeper.folder)
    assert {name: content for name, content in after.items() if name in before} == before


def tile(keeper: Keeper, odd: Odd, args: list[Any], task: str, check: Callable[[Truth, Path], None]) -> None:
    output = keeper.folder / f"chips-{task}"
    args = ["-q", "tile", *args, "-o", output, "--task", task, "--size", str(SIZE_PX), "--overlap", "0"]
    args += ["--val-share", "0", "--test-share", "0"]
    raster = odd.burned is not None
    if raster and task == "instance":
        keeper.must_refuse(A_RASTER, *args)
    elif odd.refused is not None:
        keeper.must_refuse(odd.refused, *args)
    else:
        _, warnings = keeper.must_work(*args)
        check_warnings(odd, warnings)
        check(truth(odd), output)


def evaluate(keeper: Keeper, odd: Odd, args: list[Any]) -> None:
    """Labels against a mask that holds the truth."""
    wanted = truth_of((), ("object",), SHAPE) if odd.refused is not None else truth(odd)
    background = 0 if wanted.names[0] == "background" else None
    classes = ClassMap.from_names(wanted.names, background=background)
    known = {} if odd.refused is not None else {CLASSES_TAG: json.dumps(classes.to_json())}
    mask = scenes.write_class_raster(
        keeper.folder / "mask.tif", wanted.ids, transform=odd.place, crs=odd.crs, nodata=255, tags=known
    )
    args = ["-q", "evaluate", mask, *args, "--json"]
    if odd.refused is not None:
        keeper.must_refuse(odd.refused, *args)
        return
    out, warnings = keeper.must_work(*args)
    check_warnings(odd, warnings)
    check_scores(wanted, json.loads(out))


def doctor(keeper: Keeper, odd: Odd, args: list[Any]) -> None:
    """Finds what is odd; of labels that cannot be used, why: as an error line or among its findings."""
    code, out, lines = keeper.run("-q", "doctor", *args, "--json")
    if code != 0:
        assert odd.refused is not None, lines
        (line,) = lines
        assert line.startswith("geoseg: error: ")
        assert (code, out) == (2, "")
        assert odd.refused in line
        return
    report = json.loads(out)
    findings = report["findings"]
    errors = [f"{one['what']}; {one['todo']}" for one in findings if one["severity"] == "error"]
    every = [one["what"] for one in findings]
    if odd.refused is None:
        assert all(any(piece in error for piece in odd.found) for error in errors), errors
        check_looks(truth(odd), report)
        assert all(any(piece in what for what in every) for piece in odd.found), every
        return
    assert all(any(piece in error for error in errors) for piece in odd.found or (odd.refused,)), errors


@pytest.mark.slow
def test_a_hundred_thousand_polygons(keeper: Keeper) -> None:
    """Every pixel of a scene is a polygon of its own; a million of them take ten times as long."""
    side, transform = 320, scenes.north_up()
    scene = scenes.write_scene(keeper.folder / "scene.tif", scenes.ramp(1, side, side))
    rows, cols = (index.ravel() for index in np.mgrid[:side, :side])
    left, top = transform.c + cols * transform.a, transform.f + rows * transform.e
    boxes = shapely.box(left, top + transform.e, left + transform.a, top)
    kinds = (rows * 7 + cols * cols) % 3
    labels = keeper.folder / "labels.parquet"
    geopandas.GeoDataFrame({"kind": kinds}, geometry=boxes, crs=scenes.UTM).to_parquet(labels)
    args = [scene, "-l", labels, "--class-column", "kind", "-o", keeper.folder / "chips"]
    keeper.must_work("-q", "tile", *args, "--size", "256", "--overlap", "0")
    chips = json.loads((keeper.folder / "chips/chips.json").read_text())["chips"]
    assert len(chips) == 4
    seen = np.full((side, side), 255, np.uint8)
    for chip in chips:
        col, row, width, height = chip["window"]
        part = seen[row : row + height, col : col + width]
        with rasterio.open(keeper.folder / f"chips/labels/{chip['name']}.tif") as raster:
            part[:] = raster.read(1)[: part.shape[0], : part.shape[1]]
    np.testing.assert_array_equal(seen.ravel(), kinds + 1)


def test_a_split_told_by_odd_polygons(keeper: Keeper) -> None:
    """One half of the land is said to be for training; what has no land of its own has no say."""
    odd = [shapely.from_wkb(made.at_vertex(1e300)), shapely.Point(PLACE @ (50, 20)), None, shapely.Polygon()]
    halves = [made.polygon([(x, 0), (x + 128, 0), (x + 128, 64), (x, 64)]) for x in (0, 128)]
    make = made.wrote(*halves, *odd, kinds=["train", "val", *["test"] * len(odd)])
    scene = scenes.write_scene(keeper.folder / "scene.tif", scenes.ramp(1, 64, 256))
    args = [scene, "-l", make(keeper.folder), "-o", keeper.folder / "chips", "--split-column", "kind"]
    keeper.must_work("-q", "tile", *args, "--size", "64", "--overlap", "0")
    chips = json.loads((keeper.folder / "chips/chips.json").read_text())["chips"]
    assert {chip["split"]: chip["window"][0] >= 128 for chip in chips} == {"train": False, "val": True}
