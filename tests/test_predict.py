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
from rasterio.windows import Window
from rio_cogeo.cogeo import cog_validate
from scenes import north_up, not_georeferenced_is_fine, rotated, some_gcps, south_up, write_scene

from geoseg.classes import IGNORE, BandStats, ClassMap
from geoseg.config import ModelConfig, PointConfig, PredictConfig
from geoseg.errors import ModelError, OutputError, ReadError, SceneError
from geoseg.models.card import ModelCard, find_model
from geoseg.models.checkpoint import load_model, save_model
from geoseg.models.deeplab import build_model
from geoseg.models.inference import predict_logits
from geoseg.predict import predict
from geoseg.progress import SilentProgress
from geoseg.raster.mask import open_mask
from geoseg.raster.mosaic import taper
from geoseg.raster.scene import Scene
from geoseg.raster.windows import chip_windows

CLASSES = ClassMap.from_names(["background", "field", "house"], background=0)
FP32 = PredictConfig(precision="fp32", size_px=64, overlap_px=16)


def write_model(path: Path, *, bands: int = 3, dtype: str = "uint8", gsd_m: float | None = 0.5) -> Path:
    """A small network with random weights, lively enough that its classes vary over a noisy scene."""
    torch.manual_seed(1)
    config = ModelConfig(head_width=8, head_depth=1)
    model = build_model(config, bands=bands, classes=len(CLASSES))
    for name, parameter in model.named_parameters():
        if "point_head" in name and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(
        path,
        model,
        ModelCard(
            architecture=config,
            points=PointConfig(),
            classes=CLASSES,
            band_names=tuple(f"band {band}" for band in range(1, bands + 1)),
            dtype=dtype,
            stats=BandStats(
                count=(100,) * bands,
                mean=(120.0,) * bands,
                m2=(100 * 60.0**2,) * bands,
                minimum=(0.0,) * bands,
                maximum=(255.0,) * bands,
            ),
            gsd_m=gsd_m,
            size_px=64,
            geoseg_version="0",
            torch_version=str(torch.__version__),
            training={},
        ),
    )
    return path


def noise(bands: int, height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 255, (bands, height // 8 + 1, width // 8 + 1))
    fine = np.kron(coarse, np.ones((1, 8, 8), int))[:, :height, :width]
    return np.clip(fine + rng.integers(-20, 20, fine.shape), 1, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.mark.parametrize("shape", [(100, 150), (64, 64), (30, 47), (1, 1), (1, 200), (65, 129)])
def test_mask_equals_a_whole_scene_in_memory(tmp_path: Path, model: Path, shape: tuple[int, int]) -> None:
    """The oracle keeps everything: sum of weighted probabilities over the whole scene, then argmax."""
    scene = write_scene(tmp_path / "scene.tif", noise(3, *shape))
    predict(scene, tmp_path / "mask.tif", model=model, config=FP32, device="cpu")

    network, card = load_model(model)
    total = np.zeros((3, shape[0] + 64, shape[1] + 64), np.float64)
    profile = taper(64, 16).astype(np.float64)
    with Scene.open(scene) as source:
        for window in chip_windows(shape, 64, 16):
            bands, valid = source.read(window)
            image = torch.from_numpy(card.stats.normalise(bands, valid))[None]
            with torch.inference_mode():
                logits = predict_logits(network, image.contiguous(memory_format=torch.channels_last))
            weighted = torch.softmax(logits, 1)[0].double().numpy() * np.outer(profile, profile)
            total[:, window.row_off : window.row_off + 64, window.col_off : window.col_off + 64] += weighted
    total = total[:, : shape[0], : shape[1]]
    with open_mask(tmp_path / "mask.tif") as mask:
        ids = mask.read(Window(0, 0, shape[1], shape[0]))
    best = np.sort(total, axis=0)
    sure = best[-1] - best[-2] > 1e-4 * best.sum(axis=0)
    assert sure.mean() > 0.9 or shape == (1, 1)
    np.testing.assert_array_equal(ids[sure], total.argmax(axis=0)[sure])
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


def test_batch_size_changes_nothing_but_speed(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 150, 150))
    masks = []
    for batch_size in (1, 3, 100):
        output = tmp_path / f"mask{batch_size}.tif"
        config = FP32.model_copy(update={"batch_size": batch_size})
        predict(scene, output, model=model, config=config)
        with rasterio.open(output) as mask:
            masks.append(mask.read(1))
    # Convolutions of another batch size may round differently, so near-ties may flip; nothing else may.
    assert (masks[0] == masks[1]).mean() > 0.999
    assert (masks[0] == masks[2]).mean() > 0.999


def test_same_call_gives_the_same_bytes(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 100, 150))
    for name in ("a.tif", "b.tif"):
        (tmp_path / name[0]).mkdir()
        predict(scene, tmp_path / name[0] / "mask.tif", model=model, config=FP32)
    assert (tmp_path / "a" / "mask.tif").read_bytes() == (tmp_path / "b" / "mask.tif").read_bytes()


class _StopAfter(SilentProgress):
    def __init__(self, chips: int, error: type[BaseException]) -> None:
        self.left, self.error = chips, error

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left < 0:
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_interruption_leaves_nothing(tmp_path: Path, model: Path, error: type[BaseException]) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 200, 200))
    with pytest.raises(error):
        predict(scene, tmp_path / "mask.tif", model=model, config=FP32, progress=_StopAfter(5, error))
    assert {path.name for path in tmp_path.iterdir()} == {"scene.tif"}


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


def test_other_pixel_size_is_told(tmp_path: Path, model: Path) -> None:
    class Listener(SilentProgress):
        def __init__(self) -> None:
            self.warned: list[str] = []

        def warn(self, text: str) -> None:
            self.warned.append(text)

    listener = Listener()
    scene = write_scene(tmp_path / "scene.tif", noise(3, 64, 64), transform=north_up(10.0))
    predict(scene, tmp_path / "mask.tif", model=model, config=FP32, progress=listener)
    assert len(listener.warned) == 1
    assert "10 m pixels, the model was trained at 0.5 m" in listener.warned[0]


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

    with pytest.raises(ModelError, match="no finished run under"):
        find_model(None, runs=tmp_path / "runs")
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
