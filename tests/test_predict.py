"""Scene to mask, checked at the pixels of the mask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from models_of_tests import CLASSES, noise, write_model
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate
from scenes import north_up, not_georeferenced_is_fine, rotated, some_gcps, south_up, write_scene

from geoseg.classes import IGNORE, ClassMap
from geoseg.config import PredictConfig
from geoseg.errors import ModelError, OutputError, ReadError, SceneError
from geoseg.models.card import DEFAULT_MODEL, find_model
from geoseg.models.checkpoint import load_model
from geoseg.models.engine import ChipNetwork
from geoseg.models.point_choice import area_cap
from geoseg.models.points import FineRows
from geoseg.predict import predict
from geoseg.progress import SilentProgress
from geoseg.raster.mask import open_mask
from geoseg.raster.scene import Scene
from geoseg.render.grid import ChipGrid
from geoseg.render.work import Resources

FP32 = PredictConfig(precision="fp32", size_px=64, overlap_px=32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.mark.parametrize("shape", [(100, 150), (64, 64), (30, 47), (1, 1), (1, 200), (65, 129)])
def test_mask_equals_a_whole_scene_in_memory(tmp_path: Path, model: Path, shape: tuple[int, int]) -> None:
    """The oracle keeps everything: coarse logits of all chips, blended in float64, refined in whole chips."""
    scene = write_scene(tmp_path / "scene.tif", noise(3, *shape))
    predict(scene, tmp_path / "mask.tif", model=model, config=FP32, device="cpu")

    trained, card = load_model(model)
    network = ChipNetwork.of(trained, dtype=torch.float32)
    grid = ChipGrid.of(shape, size_px=64, overlap_px=32)
    ramp = np.minimum(1, (np.minimum(np.arange(4), np.arange(4)[::-1]) + 0.5) / 2)
    height, width = grid.rows.starts[-1] // 16 + 4, grid.columns.starts[-1] // 16 + 4
    total, weights = np.zeros((3, height, width)), np.zeros((height, width))
    views = {}
    with Scene.open(scene) as source:
        for row in grid.rows.starts:
            for column in grid.columns.starts:
                bands, valid = source.read(Window(column, row, 64, 64))
                image = torch.from_numpy(card.stats.normalise(bands, valid))[None]
                views[row, column] = (view, valid) = (network.look(image)[0], valid)
                rows, columns = slice(row // 16, row // 16 + 4), slice(column // 16, column // 16 + 4)
                total[:, rows, columns] += view.coarse.double().numpy() * np.outer(ramp, ramp)
                weights[rows, columns] += np.outer(ramp, ramp)
    blended = torch.from_numpy(total / weights).float()
    logits = np.zeros((3, *shape))
    for i, row in enumerate(grid.rows.starts):
        for j, column in enumerate(grid.columns.starts):
            view, valid = views[row, column]
            decided = network.refine(
                blended[:, row // 16 : row // 16 + 4, column // 16 : column // 16 + 4],
                [FineRows.of(maps) for maps in view.fine],
                steps=4,
                cap=area_cap(FP32.points_per_pixel),
                margin=FP32.margin,
                valid=torch.from_numpy(valid),
            )
            (top, bottom), (left, right) = grid.rows.owned(i), grid.columns.owned(j)
            logits[:, top:bottom, left:right] = decided[
                :, top - row : bottom - row, left - column : right - column
            ].numpy()
    with open_mask(tmp_path / "mask.tif") as mask:
        ids = mask.read(Window(0, 0, shape[1], shape[0]))
    best = np.sort(logits, axis=0)
    sure = best[-1] - best[-2] > 1e-4
    assert sure.mean() > 0.9 or shape == (1, 1)
    np.testing.assert_array_equal(ids[sure], logits.argmax(axis=0)[sure])
    if min(shape) > 60:
        assert len(np.unique(ids)) > 1, "a mask of one class would prove little"


GRIDS: dict[str, dict[str, Any]] = {
    "north up": {"transform": north_up(0.3)},
    "rotated": {"transform": rotated(30.0)},
    "south up": {"transform": south_up()},
    "degrees, non-square": {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 15.0, 0, -0.7e-5, 45.0)},
    "non-square": {"transform": north_up(0.5, pixel_y=0.8)},
    "gcps": {"gcps": some_gcps(70, 90), "crs": "EPSG:32633"},
    "no crs": {"crs": None, "transform": north_up()},
    "nothing": {"crs": None, "transform": None},
    "custom crs": {"crs": "+proj=aea +lat_1=29.5 +lat_2=45.5 +lat_0=23 +lon_0=-96 +datum=NAD83 +units=m"},
    "3d crs": {"crs": "ESRI:54049"},
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_mask_lies_exactly_where_the_scene_lies(tmp_path: Path, model: Path, grid: dict[str, Any]) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 70, 90), **grid)
    predict(scene, tmp_path / "mask.tif", model=model, config=FP32)
    with not_georeferenced_is_fine(), rasterio.open(scene) as a, rasterio.open(tmp_path / "mask.tif") as b:
        assert a.transform == b.transform
        assert a.crs == b.crs
        assert a.shape == b.shape
        (a_points, a_crs), (b_points, b_crs) = a.gcps, b.gcps
        assert a_crs == b_crs
        assert [(p.row, p.col, p.x, p.y, p.z) for p in a_points] == [
            (p.row, p.col, p.x, p.y, p.z) for p in b_points
        ]


def test_mask_is_a_cog_that_explains_itself(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 600, 700))
    report = predict(scene, tmp_path / "mask.tif", model=model, config=PredictConfig(size_px=256))
    valid, errors, warned = cog_validate(tmp_path / "mask.tif", strict=True, quiet=True)
    assert (valid, errors, warned) == (True, [], [])
    with rasterio.open(tmp_path / "mask.tif") as mask:
        assert mask.dtypes == ("uint8",)
        assert mask.nodata == IGNORE
        assert mask.block_shapes == [(512, 512)]
        assert mask.overviews(1)
        assert mask.colormap(1)[1] == (*CLASSES.rgb(1), 255)
        assert ClassMap.from_json(json.loads(mask.tags()["GEOSEG_CLASSES"])) == CLASSES
        ids = mask.read(1)
    counted = {name: int((ids == i).sum()) for i, name in enumerate(CLASSES.names)}
    assert report.class_pixels == counted
    assert report.shape == (600, 700)
    json.dumps(report.to_json())


@pytest.mark.parametrize("kind", ["nodata", "mask", "alpha", "nan"])
def test_source_nodata_is_255_and_nothing_else_is(tmp_path: Path, kind: str) -> None:
    hidden = np.zeros((150, 200), bool)
    hidden[:70, :80] = True  # a whole chip and more
    hidden[100:103, 100:190] = True
    bands = noise(3, 150, 200)
    options: dict[str, Any] = {}
    dtype = "uint8"
    if kind == "nodata":
        bands[:, hidden] = 0
        options = {"nodata": 0}
    elif kind == "mask":
        options = {"mask": ~hidden}
    elif kind == "alpha":
        options = {"alpha": np.where(hidden, 0, 255)}
    else:
        dtype = "float32"
        bands = bands.astype(dtype)
        bands[:, hidden] = np.nan
        bands[0, 120, 20] = np.nan  # one band alone does not make nodata
    model = write_model(tmp_path / "m.safetensors", dtype=dtype)
    scene = write_scene(tmp_path / "scene.tif", bands, **options)
    report = predict(scene, tmp_path / "mask.tif", model=model, config=FP32)
    with rasterio.open(tmp_path / "mask.tif") as mask:
        np.testing.assert_array_equal(mask.read(1) == IGNORE, hidden)
    assert report.nodata_pixels == hidden.sum()
    assert report.skipped == 1


def test_all_nodata_scene_never_enters_the_network(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", np.zeros((3, 100, 100), np.uint8), nodata=0)
    report = predict(scene, tmp_path / "mask.tif", model=model, config=FP32)
    assert (report.chips, report.nodata_pixels) == (0, 10_000)


def test_same_call_gives_the_same_bytes(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 100, 150))
    for name in ("a.tif", "b.tif"):
        (tmp_path / name[0]).mkdir()
        predict(scene, tmp_path / name[0] / "mask.tif", model=model, config=FP32)
    assert (tmp_path / "a" / "mask.tif").read_bytes() == (tmp_path / "b" / "mask.tif").read_bytes()


def test_inputs_are_left_alone(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 100, 100))
    before = scene.read_bytes()
    (tmp_path / "out").mkdir()
    predict(scene, tmp_path / "out" / "mask.tif", model=model, config=FP32)
    assert scene.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"scene.tif", "out"}


def test_existing_output_is_kept(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 64, 64))
    (tmp_path / "mask.tif").write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        predict(scene, tmp_path / "mask.tif", model=model, config=FP32)
    assert (tmp_path / "mask.tif").read_text() == "mine"
    with pytest.raises(OutputError, match="both input and output"):
        predict(scene, scene, model=model, config=FP32, overwrite=True)


def test_scene_that_does_not_fit_the_model(tmp_path: Path, model: Path) -> None:
    four = write_scene(tmp_path / "four.tif", noise(4, 64, 64), photometric="MINISBLACK")
    with pytest.raises(SceneError, match=r"four.tif has 4 bands, model .* expects 3 .*; choose with --bands"):
        predict(four, tmp_path / "mask.tif", model=model, config=FP32)
    predict(four, tmp_path / "mask.tif", model=model, config=FP32.model_copy(update={"bands": (1, 2, 3)}))
    deep = write_scene(tmp_path / "deep.tif", noise(3, 64, 64).astype("uint16"))
    with pytest.raises(SceneError, match=r"deep.tif is uint16, model .* was trained on uint8"):
        predict(deep, tmp_path / "deep_mask.tif", model=model, config=FP32)
    assert not (tmp_path / "deep_mask.tif").exists()


class Listener(SilentProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.warned: list[str] = []
        self.noted: list[str] = []

    def warn(self, text: str) -> None:
        self.warned.append(text)

    def note(self, text: str) -> None:
        self.noted.append(text)


def test_other_pixel_size_is_told(tmp_path: Path, model: Path) -> None:
    listener = Listener()
    scene = write_scene(tmp_path / "scene.tif", noise(3, 64, 64), transform=north_up(10.0))
    predict(scene, tmp_path / "mask.tif", model=model, config=FP32, progress=listener)
    assert len(listener.warned) == 1
    assert "10 m pixels, the model was trained at 0.5 m" in listener.warned[0]


def test_pixel_sizes_within_those_trained_on_are_fine(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model.safetensors", gsd_m=2.5, gsd_range_m=(1.0, 2.5))
    for size, words in ((0.6, None), (1.0, None), (2.0, None), (3.8, "trained at 1 to 2.5 m"), (0.7, None)):
        listener = Listener()
        scene = write_scene(tmp_path / f"{size}.tif", noise(3, 64, 64), transform=north_up(size))
        predict(scene, tmp_path / "mask.tif", model=model, config=FP32, progress=listener, overwrite=True)
        far = size * 1.5 < 1.0 or words is not None
        assert len(listener.warned) == far
        assert words is None or words in listener.warned[0]


def test_the_model_that_comes_along_is_used_when_there_is_no_run(tmp_path: Path) -> None:
    """In a folder without runs, as a newcomer has it."""
    listener = Listener()
    scene = write_scene(tmp_path / "scene.tif", noise(3, 96, 96), transform=north_up(2.0))
    report = predict(scene, tmp_path / "mask.tif", config=FP32, progress=listener)
    assert listener.noted[0].startswith(
        "no finished run under runs, so with the model that comes with geoseg"
    )
    assert not listener.warned
    assert set(report.class_pixels) == {"background", "field", "boundary"}
    assert DEFAULT_MODEL.stat().st_size <= 25_000_000


def test_truncated_scene_fails_and_leaves_nothing(tmp_path: Path, model: Path) -> None:
    rng = np.random.default_rng(0)
    bands = rng.integers(0, 255, (3, 400, 400), dtype=np.uint8)
    scene = write_scene(tmp_path / "scene.tif", bands, tiled=True, blockxsize=128, blockysize=128)
    scene.write_bytes(scene.read_bytes()[:200_000])
    with pytest.raises((ReadError, SceneError), match=r"scene.tif"):
        predict(scene, tmp_path / "mask.tif", model=model, config=FP32)
    assert {path.name for path in tmp_path.iterdir()} == {"scene.tif"}


def test_newest_finished_run_is_taken(tmp_path: Path) -> None:
    import os

    assert find_model(None, runs=tmp_path / "runs") == DEFAULT_MODEL
    for age, name in enumerate(["new", "old"]):
        path = write_model(tmp_path / "runs" / name / "model.safetensors")
        os.utime(path, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "runs" / "unfinished").mkdir()
    (tmp_path / "runs" / "unfinished" / "last.pt").write_bytes(b"")
    assert find_model(None, runs=tmp_path / "runs").parent.name == "new"
    assert find_model(tmp_path / "runs" / "old").name == "model.safetensors"
    with pytest.raises(ModelError, match="is not finished"):
        find_model(tmp_path / "runs" / "unfinished")
    with pytest.raises(ModelError, match=r"holds no model.safetensors"):
        find_model(tmp_path)
    with pytest.raises(ModelError, match="does not exist"):
        find_model(tmp_path / "nowhere")


def test_refinement_changes_the_mask(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 128, 128))
    masks = []
    for refine in (True, False):
        output = tmp_path / f"{refine}.tif"
        predict(scene, output, model=model, config=FP32.model_copy(update={"refine": refine}))
        with rasterio.open(output) as mask:
            masks.append(mask.read(1))
    assert (masks[0] != masks[1]).any()


class Overwrites(SilentProgress):
    """Writes another scene over the one that is read, once."""

    def __init__(self, scene: Path, other: bytes) -> None:
        self.scene, self.other, self.chips = scene, other, 0

    def advance(self, count: int = 1) -> None:
        self.chips += count
        if self.chips == 6:
            self.scene.write_bytes(self.other)


def test_no_mask_is_of_two_scenes(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoseg.render.blocks.CHIPS_HIGH", 1)
    monkeypatch.setattr("geoseg.render.blocks.CHIPS_WIDE", 1)
    scene, mask = write_scene(tmp_path / "scene.tif", noise(3, 200, 96)), tmp_path / "mask.tif"
    first = scene.read_bytes()
    other = write_scene(tmp_path / "other.tif", noise(3, 200, 96, seed=1)).read_bytes()
    call: dict[str, Any] = {"model": model, "config": FP32, "resources": Resources(workers=1)}
    predict(scene, mask, **call)
    whole = mask.read_bytes()
    mask.unlink()
    with pytest.raises(ReadError, match=r"changed while it was read|is the file damaged"):
        predict(scene, mask, progress=Overwrites(scene, other), **call)
    assert not mask.exists()
    with pytest.raises(OutputError, match="was begun with"):
        predict(scene, mask, resume=True, **call)
    # What was kept is of the scene that the journal is of.
    scene.write_bytes(first)
    again = predict(scene, mask, resume=True, **call)
    assert 0 < again.resumed_blocks < again.blocks
    assert mask.read_bytes() == whole
