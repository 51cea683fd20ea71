"""The answer never depends on how the work is cut, stopped or gone on with: byte-identical masks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
import torch
from models_of_tests import noise, write_model
from rasterio.windows import Window
from scenes import north_up, write_scene

from geoseg.config import PredictConfig
from geoseg.errors import InputError, OutputError, WriteError
from geoseg.outputs import staged_file
from geoseg.predict import predict
from geoseg.progress import SilentProgress
from geoseg.render import memory, session
from geoseg.render.journal import Journal, journal_folder
from geoseg.render.work import Resources

FP32 = PredictConfig(precision="fp32", size_px=64, overlap_px=32)
SHAPE = (290, 600)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bands = noise(3, *SHAPE)
    bands[:, 40:90, 100:300] = 0
    folder = tmp_path_factory.mktemp("scene")
    tiles: dict[str, Any] = {"tiled": True, "blockxsize": 128, "blockysize": 128}
    return write_scene(folder / "scene.tif", bands, nodata=0, transform=north_up(0.5), **tiles)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model: Path, scene: Path) -> Path:
    """The mask that every other way must give; probabilities and uncertainty beside it."""
    folder = tmp_path_factory.mktemp("whole")
    predict(
        scene,
        folder / "mask.tif",
        model=model,
        config=FP32,
        probabilities=folder / "p.tif",
        uncertainty=folder / "u.tif",
    )
    return folder


def read(path: Path) -> np.ndarray[Any, Any]:
    with rasterio.open(path) as raster:
        return raster.read()


@pytest.mark.parametrize(
    ("config", "resources"),
    [
        ({"batch_size": 4}, {"workers": 1}),
        ({"batch_size": 16}, {"workers": 5}),
        ({}, {"workers": 2, "memory_mb": "least"}),
    ],
    ids=["batch 4, 1 worker", "batch 16, 5 workers", "least memory"],
)
def test_neither_batch_nor_workers_nor_memory_change_a_byte(
    tmp_path: Path,
    model: Path,
    scene: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: dict[str, Any],
    resources: dict[str, Any],
) -> None:
    if resources.pop("memory_mb", None):
        # Exactly what one block a strip and one worker take.
        monkeypatch.setattr(session, "divide", _least)
    predict(
        scene,
        tmp_path / "mask.tif",
        model=model,
        config=FP32.model_copy(update=config),
        resources=Resources(**resources),
    )
    assert (tmp_path / "mask.tif").read_bytes() == (whole / "mask.tif").read_bytes()


def _least(blocks: Any, appetite: Any, *, held_mb: float, **_: Any) -> memory.Division:
    needed = held_mb + memory.peak_mb(blocks, appetite, workers=1, blocks_wide=1)
    found = memory.divide(blocks, appetite, memory_mb=needed, workers=8, held_mb=held_mb, full_width=False)
    assert (found.workers, found.blocks_wide) == (1, 1)
    return found


def test_torch_threads_change_nothing_and_are_left_alone(
    tmp_path: Path, model: Path, scene: Path, whole: Path
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        predict(scene, tmp_path / "mask.tif", model=model, config=FP32)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert (tmp_path / "mask.tif").read_bytes() == (whole / "mask.tif").read_bytes()


class _StopAfter(SilentProgress):
    def __init__(self, chips: int, error: type[BaseException]) -> None:
        self.left, self.error = chips, error

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left < 0:
            raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
def test_interruption_keeps_finished_blocks_and_resume_goes_on(
    tmp_path: Path, model: Path, scene: Path, whole: Path, error: type[BaseException]
) -> None:
    mask = tmp_path / "mask.tif"
    with pytest.raises(error) as stopped:
        predict(scene, mask, model=model, config=FP32, progress=_StopAfter(80, error))
    assert not mask.exists()
    assert "blocks are kept" in stopped.value.__notes__[0]
    with pytest.raises(OutputError, match=r"unfinished prediction; go on with --resume or .* --overwrite"):
        predict(scene, mask, model=model, config=FP32)
    report = predict(scene, mask, model=model, config=FP32, resume=True)
    assert 0 < report.resumed_blocks < report.blocks
    assert mask.read_bytes() == (whole / "mask.tif").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"mask.tif", "mask.tif.aux.xml"}


def test_interruption_before_the_first_block_leaves_nothing(tmp_path: Path, model: Path, scene: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        predict(
            scene, tmp_path / "mask.tif", model=model, config=FP32, progress=_StopAfter(0, KeyboardInterrupt)
        )
    assert list(tmp_path.iterdir()) == []


def test_resume_without_a_journal_starts_anew(tmp_path: Path, model: Path, scene: Path, whole: Path) -> None:
    predict(scene, tmp_path / "mask.tif", model=model, config=FP32, resume=True)
    assert (tmp_path / "mask.tif").read_bytes() == (whole / "mask.tif").read_bytes()


def _begin(mask: Path, scene: Path, model: Path, **options: Any) -> None:
    stop = _StopAfter(100, KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        predict(scene, mask, model=model, **{"config": FP32} | options, progress=stop)
    assert journal_folder(mask).is_dir()


def test_another_scene_model_or_option_is_refused(tmp_path: Path, model: Path, scene: Path) -> None:
    mask = tmp_path / "mask.tif"
    _begin(mask, scene, model)
    changed = tmp_path / "changed.tif"
    changed.write_bytes(scene.read_bytes() + b"\0")
    other_model = write_model(tmp_path / "model.safetensors", seed=2)
    for options, what in (
        ({"scene": changed}, "another scene"),
        ({"model": other_model}, "another model"),
        ({"config": FP32.model_copy(update={"margin": 0.5})}, "margin 0.99 instead of 0.5"),
        ({"config": FP32.model_copy(update={"overlap_px": 0})}, "overlap 32 instead of 0"),
        ({"window": Window(0, 0, 100, 100)}, "window none instead of 0,0,100,100"),
        ({"uncertainty": tmp_path / "u.tif"}, "layers mask instead of mask,uncertainty"),
    ):
        given: dict[str, Any] = {"scene": scene, "model": model, "config": FP32} | options
        with pytest.raises(OutputError, match=f"was begun with {what}; .* --overwrite"):
            predict(given.pop("scene"), mask, resume=True, **given)
    assert journal_folder(mask).is_dir()


def test_damaged_blocks_are_rendered_again(tmp_path: Path, model: Path, scene: Path, whole: Path) -> None:
    mask = tmp_path / "mask.tif"
    _begin(mask, scene, model)
    kept = sorted(journal_folder(mask).glob("*.block"))
    kept[0].write_bytes(kept[0].read_bytes()[:-5])
    kept[1].write_bytes(b"")
    (journal_folder(mask) / "0000007.block.123").write_bytes(b"half")
    predict(scene, mask, model=model, config=FP32, resume=True)
    assert mask.read_bytes() == (whole / "mask.tif").read_bytes()


def test_what_a_killed_process_left_is_removed(tmp_path: Path, model: Path, scene: Path) -> None:
    mask = tmp_path / "mask.tif"
    killed = (
        "import os, pathlib, sys; from geoseg.outputs import staged_file; "
        "stage = staged_file(pathlib.Path(sys.argv[1])); "
        "print(stage.__enter__().parent, flush=True); os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", killed, mask], capture_output=True, text=True)
    left = Path(done.stdout.strip())
    assert left.is_dir()
    with staged_file(mask) as living:
        predict(scene, mask, model=model, config=FP32)
        assert living.parent.exists(), "somebody is writing there"
        living.write_bytes(mask.read_bytes())
    assert not left.exists()


def test_damaged_plan_is_told(tmp_path: Path, model: Path, scene: Path) -> None:
    mask = tmp_path / "mask.tif"
    _begin(mask, scene, model)
    for text in ("", "[]", "{}", '{"geoseg": 1}', "[" * 100_000):
        (journal_folder(mask) / "plan.json").write_text(text)
        with pytest.raises(OutputError, match=r"plan.json is damaged .*; start anew with --overwrite"):
            predict(scene, mask, model=model, config=FP32, resume=True)
    predict(scene, mask, model=model, config=FP32, overwrite=True)
    assert mask.exists()


def test_journal_in_use_is_told(tmp_path: Path, model: Path, scene: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    mask = tmp_path / "mask.tif"
    _begin(mask, scene, model)
    with (journal_folder(mask) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for resume in (True, False):
            with pytest.raises(OutputError, match="is in use by another geoseg"):
                predict(scene, mask, model=model, config=FP32, resume=resume)


def test_disk_full_keeps_the_journal(
    tmp_path: Path, model: Path, scene: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = tmp_path / "mask.tif"
    added = []
    add = Journal.add

    def failing(self: Journal, block: int, layers: Any) -> int:
        if len(added) == 3:
            monkeypatch.setattr(Path, "write_bytes", _no_space)
        added.append(block)
        return add(self, block, layers)

    monkeypatch.setattr(Journal, "add", failing)
    with pytest.raises(WriteError, match=r"no space left on device; make room, then go on with --resume"):
        predict(scene, mask, model=model, config=FP32)
    monkeypatch.undo()
    assert not mask.exists()
    report = predict(scene, mask, model=model, config=FP32, resume=True)
    assert report.resumed_blocks == 3
    assert mask.read_bytes() == (whole / "mask.tif").read_bytes()


def _no_space(*_: object) -> int:
    import errno
    import os

    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "window",
    [Window(0, 0, 600, 290), Window(37, 101, 250, 120), Window(599, 289, 1, 1), Window(500, 200, 999, 999)],
)
def test_window_is_a_crop_of_the_whole(
    tmp_path: Path, model: Path, scene: Path, whole: Path, window: Window
) -> None:
    report = predict(scene, tmp_path / "mask.tif", model=model, config=FP32, window=window)
    rows = slice(window.row_off, min(window.row_off + window.height, 290))
    columns = slice(window.col_off, min(window.col_off + window.width, 600))
    np.testing.assert_array_equal(read(tmp_path / "mask.tif")[0], read(whole / "mask.tif")[0, rows, columns])
    with rasterio.open(scene) as a, rasterio.open(tmp_path / "mask.tif") as b:
        assert b.transform == a.transform @ rasterio.Affine.translation(window.col_off, window.row_off)
        assert (b.height, b.width) == report.shape


def test_bounds_are_a_window(tmp_path: Path, model: Path, scene: Path, whole: Path) -> None:
    with rasterio.open(scene) as source:
        left, top = source.transform @ (37, 101)
        right, bottom = source.transform @ (287, 221)
    for name, slack in (("exact.tif", 0.0), ("inside.tif", 0.2)):
        bounds = (left + slack, bottom + slack, right - slack, top - slack)
        predict(scene, tmp_path / name, model=model, config=FP32, bounds=bounds)
        np.testing.assert_array_equal(read(tmp_path / name)[0], read(whole / "mask.tif")[0, 101:221, 37:287])


def test_parts_that_cannot_be(tmp_path: Path, model: Path, scene: Path) -> None:
    for options, message in (
        ({"window": Window(600, 0, 10, 10)}, "lie outside of"),
        ({"bounds": (0, 0, 1, 1)}, "lie outside of"),
        ({"bounds": (5, 0, 1, 1)}, "write left,bottom,right,top"),
        ({"window": Window(0, 0, 10, 10), "bounds": (0, 0, 1, 1)}, "give one of them"),
    ):
        with pytest.raises(InputError, match=message):
            predict(scene, tmp_path / "mask.tif", model=model, config=FP32, **options)
    bare = write_scene(tmp_path / "bare.tif", noise(3, 64, 64), crs=None, transform=None)
    with pytest.raises(InputError, match="need georeferencing"):
        predict(bare, tmp_path / "mask.tif", model=model, config=FP32, bounds=(0, 0, 1, 1))
    assert {path.name for path in tmp_path.iterdir()} == {"bare.tif"}


def test_aoi_hides_what_is_outside_and_changes_nothing_inside(
    tmp_path: Path, model: Path, scene: Path, whole: Path
) -> None:
    geopandas = pytest.importorskip("geopandas")
    with rasterio.open(scene) as source:
        transform, crs = source.transform, source.crs
    corners = [(30, 20), (200, 20), (120, 200), (20, 170)]
    aoi = tmp_path / "aoi.geojson"
    polygon = shapely.Polygon([transform @ corner for corner in corners])
    geopandas.GeoSeries([polygon], crs=crs).to_crs(4326).to_file(aoi)
    report = predict(scene, tmp_path / "mask.tif", model=model, config=FP32, aoi=aoi)
    ids, full = read(tmp_path / "mask.tif")[0], read(whole / "mask.tif")[0]
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    outline = shapely.Polygon(corners)
    inside = shapely.contains_xy(outline, columns + 0.5, rows + 0.5)
    # A pixel centre may fall on either side of an edge that went through another CRS.
    edge = shapely.distance(outline.exterior, shapely.points(columns + 0.5, rows + 0.5)) < 1e-2
    np.testing.assert_array_equal(ids[inside & ~edge], full[inside & ~edge])
    assert (ids[~inside & ~edge] == 255).all()
    assert report.chips < 60, "chips away from the polygon are not computed"
    assert ids.shape == SHAPE
    far = tmp_path / "far.geojson"
    geopandas.GeoSeries([shapely.box(0, 0, 1, 1)], crs=4326).to_file(far)
    with pytest.raises(InputError, match=r"area of interest .* lies outside of the scene"):
        predict(scene, tmp_path / "far.tif", model=model, config=FP32, aoi=far)


def test_further_layers_change_nothing_and_agree_with_the_mask(
    tmp_path: Path, model: Path, scene: Path, whole: Path
) -> None:
    predict(scene, tmp_path / "mask.tif", model=model, config=FP32)
    assert (tmp_path / "mask.tif").read_bytes() == (whole / "mask.tif").read_bytes()
    ids, levels, unsure = read(whole / "mask.tif")[0], read(whole / "p.tif"), read(whole / "u.tif")[0]
    nodata = ids == 255
    assert nodata.sum() == 50 * 200
    assert (levels[:, nodata] == 255).all()
    assert (unsure[nodata] == 255).all()
    assert (levels[:, ~nodata] <= 254).all()
    sums = levels[:, ~nodata].astype(int).sum(axis=0)
    assert abs(sums - 254).max() <= 2, "probabilities sum to one, but for rounding"
    best = np.sort(levels[:, ~nodata].astype(int), axis=0)
    np.testing.assert_array_less(abs(254 - (best[-1] - best[-2]) - unsure[~nodata].astype(int)), 2)
    sure = best[-1] > best[-2]
    np.testing.assert_array_equal(levels[:, ~nodata].argmax(axis=0)[sure], ids[~nodata][sure])


def test_scale_renders_finer_on_the_same_ground(
    tmp_path: Path, model: Path, scene: Path, whole: Path
) -> None:
    config = FP32.model_copy(update={"scale": 2})
    predict(scene, tmp_path / "mask.tif", model=model, config=config)
    ids, full = read(tmp_path / "mask.tif")[0], read(whole / "mask.tif")[0]
    assert ids.shape == (580, 1200)
    with rasterio.open(scene) as a, rasterio.open(tmp_path / "mask.tif") as b:
        for col, row in ((0, 0), (600, 0), (0, 290), (600, 290), (123, 45)):
            ours, theirs = b.transform @ (2 * col, 2 * row), a.transform @ (col, row)
            assert abs(ours[0] - theirs[0]) <= 1e-9 * a.transform.a
            assert abs(ours[1] - theirs[1]) <= 1e-9 * a.transform.a
    np.testing.assert_array_equal(ids[::2, ::2] == 255, full == 255)
    known = full != 255
    assert (ids[::2, ::2][known] == full[known]).mean() > 0.9
    pairs = ids.reshape(290, 2, 600, 2)
    assert (pairs.min(axis=(1, 3)) != pairs.max(axis=(1, 3))).any(), "finer than the scene's pixels"
    predict(scene, tmp_path / "part.tif", model=model, config=config, window=Window(37, 101, 250, 120))
    np.testing.assert_array_equal(read(tmp_path / "part.tif")[0], ids[202:442, 74:574])


def test_tta_is_another_answer(tmp_path: Path, model: Path, scene: Path) -> None:
    # Of the coarse map alone: the head of a random network hears little of it.
    coarse = FP32.model_copy(update={"refine": False})
    found = []
    for name, tta in (("plain", False), ("once", True), ("again", True)):
        predict(
            scene,
            tmp_path / f"{name}.tif",
            model=model,
            config=coarse.model_copy(update={"tta": tta}),
            window=Window(300, 0, 64, 64),
            probabilities=tmp_path / f"{name}_p.tif",
        )
        found.append(read(tmp_path / f"{name}_p.tif"))
    np.testing.assert_array_equal(found[1], found[2])
    assert (found[0] != found[1]).any()


def test_too_little_memory_is_told(tmp_path: Path, model: Path, scene: Path) -> None:
    with pytest.raises(InputError, match=r"100 MB of memory are too little: at least [\d,]+ MB are needed"):
        predict(scene, tmp_path / "mask.tif", model=model, config=FP32, resources=Resources(memory_mb=100))
    assert list(tmp_path.iterdir()) == []
