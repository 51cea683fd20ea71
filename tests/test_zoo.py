"""Every animal of the zoo meets every verb: exact results, or one clear line and the right exit code."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import scenes
import torch
import typer.main
import zoo
from models_of_tests import CLASSES, write_model
from zoo_truth import check_chips, check_info, check_mask, check_polygons, check_scores, look, opened

from geoseg.models.checkpoint import load_model, save_model
from geoseg_cli.main import main

SIZE_PX = 64
Models = Callable[[int, str], Path]
Fail = Callable[[], str]


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Makes tiny models of some bands and dtype."""
    folder = tmp_path_factory.mktemp("models")

    @functools.cache
    def network(bands: int) -> Any:
        made, card = load_model(write_model(folder / f"{bands}.safetensors", bands=bands, gsd_m=None))
        last = list(made.classifier.children())[-1]
        with torch.no_grad():  # so that weights fit half the bytes, which are hashed in every run
            for values in (last.weight, last.bias):
                values *= 100 / last.weight.abs().max()
        return made, card

    @functools.cache
    def model(bands: int, dtype: str) -> Path:
        made, card = network(bands)
        path = folder / f"{bands}-{dtype}.safetensors"
        save_model(path, made, replace(card, dtype=dtype), half=True)
        return path

    return model


@pytest.fixture(autouse=True)
def one_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build the command line once: a third of the time of these tests otherwise."""
    monkeypatch.setattr(typer.main, "get_command", _parser)


_parser = functools.cache(typer.main.get_command)


class Keeper:
    """Runs verbs on a raster, and looks at what they leave."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capfd = folder, capfd

    def run(self, *args: str | Path) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        self._capfd.readouterr()
        code = main([str(arg) for arg in args])
        return code, *self._capfd.readouterr()

    def files(self) -> dict[str, bytes]:
        """All there is, with its content."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }

    def must_work(self, *args: str | Path) -> str:
        """Run what must work; stdout, with only warnings on stderr."""
        code, out, err = self.run(*args)
        assert code == 0, err
        assert all(line.startswith("geoseg: warning: ") for line in err.splitlines()), err
        return out

    def must_refuse(self, refusal: tuple[int, str], *args: str | Path) -> str:
        """Run what must be refused: one clear line, nothing written."""
        before = self.files()
        code, out, err = self.run(*args)
        *warnings, line = err.splitlines()
        assert line.startswith("geoseg: error: ")
        assert all(warning.startswith("geoseg: warning: ") for warning in warnings), err
        assert refusal[1] in line
        assert ";" in line
        assert (code, out) == (refusal[0], "")
        assert self.files() == before
        return line


@pytest.fixture
def keeper(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Keeper:
    return Keeper(tmp_path, capfd)


def meet(keeper: Keeper, animal: zoo.Animal, verb: str, path: Path, models: Models) -> str | None:
    """Let a verb have a scene; the error line where it must refuse."""
    refusal, output = animal.refusal(verb), keeper.folder / "out.tif"
    before = keeper.files()
    args: list[str | Path]
    if verb == "info":
        args = ["info", path, "--json"]
    elif verb == "predict":
        args = ["-q", "predict", path, "-o", output, "--model", models(animal.bands, animal.dtype)]
        args += ["--size", str(SIZE_PX), "--workers", "1", "--device", "cpu"]
    else:
        output = keeper.folder / "chips"
        args = ["-q", "tile", path, "-l", labels_beside(keeper.folder, path, animal), "-o", output]
        args += ["--size", str(SIZE_PX), "--overlap", "0", "--val-share", "0", "--test-share", "0"]
        before = keeper.files()
    if refusal is not None:
        return keeper.must_refuse(refusal, *args)
    out = keeper.must_work(*args)
    if verb == "info":
        check_info(path, json.loads(out))
    elif verb == "predict":
        check_mask(look(path), output, len(CLASSES))
    else:
        truth = look(path)
        check_chips(truth, output, ids_of(truth.valid.shape), SIZE_PX)
    after = keeper.files()
    assert {name: content for name, content in after.items() if name in before} == before
    assert {name.split("/")[0].split(".")[0] for name in after.keys() - before.keys()} <= {"out", "chips"}
    return None


def ids_of(shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return (np.add.outer(np.arange(shape[0]) // 7, np.arange(shape[1]) // 5) % 3).astype(np.uint8)


def labels_beside(folder: Path, path: Path, animal: zoo.Animal) -> Path:
    """Labels on the scene's own grid, where it has one."""
    labels = folder / "truth" / "labels.tif"
    labels.parent.mkdir()
    place: dict[str, Any] = {"crs": scenes.UTM}
    shape = animal.shape
    if animal.refusal("info") is None:
        with scenes.not_georeferenced_is_fine(), opened(path) as dataset:
            shape = dataset.shape
            place = {"crs": dataset.crs, "transform": dataset.transform}
            if dataset.gcps[0]:
                place = {"gcps": dataset.gcps[0], "crs": dataset.gcps[1]}
            elif dataset.transform == rasterio.Affine.identity():
                place = {"crs": dataset.crs, "transform": None if dataset.crs is None else dataset.transform}
    return scenes.write_class_raster(labels, ids_of(shape), **place)


@pytest.mark.parametrize("name", zoo.ZOO)
def test_scene(name: str, keeper: Keeper, models: Models) -> None:
    animal = zoo.ZOO[name]
    path = animal.make(keeper.folder, animal.pixels())
    for verb in verbs(name, "info", "predict", "tile"):
        meet(keeper, animal, verb, path, models)


def verbs(name: str, *all_verbs: str) -> tuple[str, ...]:
    """Verbs for an animal. How pixels are stored is the same to the last two, which take turns there."""
    *others, one, other = all_verbs
    if name not in zoo.STORAGE:
        return all_verbs
    return (*others, one if list(zoo.STORAGE).index(name) % 2 else other)


@pytest.mark.parametrize("name", [name for name, animal in zoo.ZOO.items() if animal.holds_ids])
def test_mask(name: str, keeper: Keeper) -> None:
    animal = zoo.ZOO[name]
    ids = ids_of(animal.shape)[np.newaxis].astype(animal.dtype)
    path = animal.make(keeper.folder, ids)
    before = keeper.files()
    commands: dict[str, tuple[str | Path, ...]] = {
        "vectorize": ("-q", "vectorize", path, "-o", "out.gpkg", "--simplify", "0"),
        "evaluate": ("evaluate", path, path, "--json"),
    }
    for verb in verbs(name, *commands):
        args, refusal = commands[verb], animal.refusal(verb)
        if refusal is not None:
            keeper.must_refuse(refusal, *args)
        elif verb == "vectorize":
            keeper.must_work(*args)
            check_polygons(look(path), keeper.folder / "out.gpkg")
        else:
            check_scores(look(path), json.loads(keeper.must_work(*args)))
    assert keeper.files().keys() - {"out.gpkg"} == before.keys()
