"""Blocks that cannot be read: named, or taken for nodata exactly, whatever the way the scene is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import scenes
from models_of_tests import noise, write_model
from rasterio.windows import Window
from zoo_makers import break_block

from geoseg.errors import ReadError, SceneError
from geoseg.raster.blockwise import blocks_of, joined
from geoseg.raster.scene import Scene
from geoseg_cli.main import main

STORED: dict[str, dict[str, Any]] = {
    "deflate": {"compress": "deflate"},
    "lzw, bands apart": {"compress": "lzw", "interleave": "band"},
    "jpeg": {"compress": "jpeg"},
    "strips": {"compress": "zstd", "tiled": False, "blockxsize": None},
}
TILED = {"tiled": True, "blockxsize": 16, "blockysize": 16}


@pytest.mark.parametrize("options", STORED.values(), ids=STORED.keys())
def test_a_block_is_gone_around_whatever_the_windows(tmp_path: Path, options: dict[str, Any]) -> None:
    path = scenes.write_scene(tmp_path / "scene.tif", noise(3, 67, 89), **TILED | options)
    with rasterio.open(path) as dataset:
        whole = dataset.read()
        (height, width), *_ = dataset.block_shapes
    lost = np.zeros((67, 89), np.bool_)
    for col, row in ((0, 1), (0, 2), (88 // width, 66 // height)):
        break_block(path, col, row, band=1)
        lost[row * height : (row + 1) * height, col * width : (col + 1) * width] = True
    for side in (5, 16, 40, 100):
        with Scene.open(path, on_error="nodata") as scene:
            for top in range(0, 67, side):
                for left in range(-3, 89, side):
                    bands, valid = scene.read(Window(left, top, side, side))
                    rows, cols = slice(0, min(side, 67 - top)), slice(max(0, -left), min(side, 89 - left))
                    seen = (slice(top, top + rows.stop), slice(left + cols.start, left + cols.stop))
                    np.testing.assert_array_equal(valid[rows, cols], ~lost[seen])
                    np.testing.assert_array_equal(bands[:, rows, cols], np.where(lost, 0, whole)[:, *seen])
            assert scene.lost_any
            found = scene.unreadable(Window(0, 0, 89, 67))
    told = np.zeros_like(lost)
    for window in joined(found):
        told[window.row_off : window.row_off + window.height, window.col_off :][:, : window.width] = True
    np.testing.assert_array_equal(told, lost)
    assert len(joined(found)) == 2


def test_the_first_block_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = scenes.write_scene(tmp_path / "scene.tif", noise(1, 64, 64), compress="deflate", **TILED)
    break_block(path, 2, 1)
    break_block(path, 0, 3)
    with Scene.open(path, hint="do this") as scene:
        with pytest.raises(
            ReadError, match=r"^reading block 2, 1 \(columns 32..47, rows 16..31\) of .* do this$"
        ):
            scene.read(Window(0, 0, 64, 64))
        bands, valid = scene.read(Window(0, 32, 64, 16))
        assert valid.all()
        assert bands.any()


def test_blocks_and_joining() -> None:
    names = [str(block) for block in blocks_of(Window(10, 0, 20, 17), (20, 25), (16, 16))]
    assert names == [
        "block 0, 0 (columns 0..15, rows 0..15)",
        "block 1, 0 (columns 16..24, rows 0..15)",
        "block 0, 1 (columns 0..15, rows 16..19)",
        "block 1, 1 (columns 16..24, rows 16..19)",
    ]
    cells = [
        Window(0, 0, 4, 4),
        Window(4, 0, 4, 4),
        Window(0, 4, 4, 4),
        Window(4, 4, 4, 4),
        Window(12, 4, 4, 4),
    ]
    assert joined(cells) == [Window(0, 0, 8, 8), Window(12, 4, 4, 4)]
    assert joined([]) == []


def test_what_a_server_fails_to_give_is_no_nodata() -> None:
    with pytest.raises(SceneError, match=r"is on a server: .*; leave --on-error out or download it first"):
        Scene.open(Path("https://localhost/scene.tif"), remote=True, on_error="nodata")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


def predict(scene: str, output: str, model: Path, *more: str) -> int:
    args = ["predict", scene, "-o", output, "--model", str(model), "--size", "64", "--overlap", "32"]
    return main([*args, "--precision", "fp32", "--device", "cpu", *more])


def test_predict_takes_it_for_nodata_and_says_so(
    tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pixels = noise(3, 150, 200)
    path = scenes.write_scene(tmp_path / "scene.tif", pixels, compress="deflate", **TILED)
    break_block(path, 5, 4)
    break_block(path, 12, 9)
    shown = np.ones((150, 200), np.bool_)
    shown[64:80, 80:96] = shown[144:150, 192:200] = False
    scenes.write_scene(tmp_path / "masked.tif", pixels, mask=shown)
    assert predict("masked.tif", "expected.tif", model, "-q") == 0
    assert predict("scene.tif", "one.tif", model, "-q", "--on-error", "nodata", "--workers", "1") == 0
    assert capfd.readouterr().err == (
        "geoseg: warning: 304 px of scene.tif cannot be read and are nodata: columns 80..95, rows 64..79; "
        "columns 192..199, rows 144..149\n"
    )
    assert predict("scene.tif", "more.tif", model, "--json", "--on-error", "nodata", "--workers", "3") == 0
    report = json.loads(capfd.readouterr().out)
    assert (report["unread_pixels"], report["nodata_pixels"]) == (304, 304)
    assert report["unread"] == [[80, 64, 16, 16], [192, 144, 8, 6]]
    expected = Path("expected.tif").read_bytes()
    assert Path("one.tif").read_bytes() == Path("more.tif").read_bytes() == expected
    # Only what is asked for is looked at and told.
    assert predict("scene.tif", "part.tif", model, "-q", "--on-error", "nodata", "--window", "0,0,85,70") == 0
    assert "30 px of scene.tif cannot be read" in capfd.readouterr().err
    assert predict("scene.tif", "fine.tif", model, "-q", "--on-error", "nodata", "--window", "0,0,70,60") == 0
    assert capfd.readouterr().err == ""


def test_found_late_it_costs_no_work(tmp_path: Path, model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = scenes.write_scene(tmp_path / "scene.tif", noise(3, 400, 100), compress="deflate", **TILED)
    break_block(path, 1, 22)
    assert predict("scene.tif", "mask.tif", model, "-q", "--workers", "1") == 1
    error = capfd.readouterr().err
    assert error.startswith(
        "geoseg: error: reading block 1, 22 (columns 16..31, rows 352..367) of scene scene.tif failed: "
    )
    assert error.endswith("; copy the scene again, or go on with --resume --on-error nodata\n")
    assert not Path("mask.tif").exists()
    assert list(Path("mask.tif.geoseg-resume").glob("*.block"))
    assert predict("scene.tif", "mask.tif", model, "--json", "--resume", "--on-error", "nodata") == 0
    report = json.loads(capfd.readouterr().out)
    assert report["resumed_blocks"] > 0
    assert report["unread"] == [[16, 352, 16, 16]]
    assert predict("scene.tif", "again.tif", model, "-q", "--on-error", "nodata") == 0
    assert Path("mask.tif").read_bytes() == Path("again.tif").read_bytes()
