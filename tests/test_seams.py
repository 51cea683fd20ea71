"""Checking for seams: what moves when the chips move."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from models_of_tests import noise, write_model
from rasterio.windows import Window
from scenes import write_scene

from geoseg.config import PredictConfig
from geoseg.errors import InputError, OutputError
from geoseg.predict import predict
from geoseg.render.grid import ChipGrid
from geoseg.render.session import Request
from geoseg.seams import check_seams
from geoseg_cli.main import main

FP32 = PredictConfig(precision="fp32", size_px=96, overlap_px=32)
SHAPE = (300, 400)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seams")
    bands = noise(3, *SHAPE)
    bands[:, 50:80, 100:200] = 0
    write_scene(folder / "scene.tif", bands, nodata=0)
    write_model(folder / "model.safetensors")
    return folder


@pytest.fixture
def request_(folder: Path) -> Request:
    return Request(scene=folder / "scene.tif", model=folder / "model.safetensors", config=FP32)


def test_chips_that_do_not_move_change_nothing(request_: Request, tmp_path: Path) -> None:
    found = check_seams(request_, tmp_path / "changed.tif", shift_px=0)
    assert sum(found.changed.values()) == 0
    assert sum(found.pixels.values()) == SHAPE[0] * SHAPE[1] - 30 * 100
    assert (found.near_share, found.far_share) == (0.0, 0.0)


@pytest.mark.parametrize("window", [None, Window(30, 20, 250, 230)])
def test_counts_equal_brute_force(
    folder: Path, request_: Request, tmp_path: Path, window: Window | None
) -> None:
    request = Request(**vars(request_) | {"window": window})
    found = check_seams(request, tmp_path / "changed.tif")
    assert found.shift_px == 32  # half of the stride
    with rasterio.open(tmp_path / "changed.tif") as raster:
        changed = raster.read(1)
    predict(folder / "scene.tif", tmp_path / "m.tif", model=request.model, config=FP32, window=window)
    with rasterio.open(tmp_path / "m.tif") as raster:
        np.testing.assert_array_equal(changed == 255, raster.read(1) == 255)
    lines: list[set[int]] = [set(), set()]
    for shift in (0, 32):
        grid = ChipGrid.of(SHAPE, size_px=96, overlap_px=32, shift_px=shift)
        lines[0].update(grid.rows.bounds[1:-1])
        lines[1].update(grid.columns.bounds[1:-1])
    top, left = (0, 0) if window is None else (window.row_off, window.col_off)
    near = np.zeros(changed.shape, bool)
    for row in lines[0]:
        near[max(0, row - 16 - top) : max(0, row + 16 - top)] = True
    for column in lines[1]:
        near[:, max(0, column - 16 - left) : max(0, column + 16 - left)] = True
    assert found.near_share == pytest.approx((changed[near] == 1).sum() / (changed[near] != 255).sum())
    if (~near).any():
        assert found.far_share == pytest.approx((changed[~near] == 1).sum() / (changed[~near] != 255).sum())
    assert (changed == 1).any(), "a random network sees other surroundings"
    assert sum(found.changed.values()) == (changed == 1).sum()
    assert {path.name for path in tmp_path.iterdir() if path.suffix == ".tif"} == {"changed.tif", "m.tif"}


def test_what_cannot_be(request_: Request, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shift of 20 px is no multiple of 32"):
        check_seams(request_, tmp_path / "changed.tif", shift_px=20)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "changed.tif").touch()
    with pytest.raises(OutputError, match="--overwrite"):
        check_seams(request_, tmp_path / "changed.tif")


def test_verb(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["check-seams", str(folder / "scene.tif"), "--model", str(folder / "model.safetensors")]
    assert main([*words, "--size", "96", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["output"] is None
    assert set(found["pixels"]) == set(found["changed"])
    assert main([*words, "--size", "96"]) == 0
    assert "within 16 px of a line and" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
