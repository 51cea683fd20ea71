"""Which shard has which blocks, and what is kept of a prediction for those who merge it."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from models_of_tests import CLASSES, noise, write_model
from rasterio.crs import CRS
from scenes import north_up, not_georeferenced_is_fine, rotated, some_gcps, some_rpcs, south_up, write_scene

from geoseg.config import PredictConfig
from geoseg.errors import InputError, OutputError
from geoseg.merge import merge
from geoseg.progress import SilentProgress
from geoseg.raster.geobox import GeoBox
from geoseg.render.blocks import BlockGrid
from geoseg.render.grid import ChipGrid
from geoseg.render.shardfile import open_shard
from geoseg.render.shards import Facts, ShardId, in_order, runs
from geoseg.render.work import Resources
from geoseg.shard import predict_shard

FP32 = PredictConfig(precision="fp32", size_px=64, overlap_px=32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


@given(
    shape=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    count=st.integers(1, 40),
    skip=st.integers(1, 5),
)
def test_every_block_is_in_one_shard_and_shards_differ_by_one(
    shape: tuple[int, int], count: int, skip: int
) -> None:
    blocks = BlockGrid.of(ChipGrid.of(shape, size_px=64, overlap_px=32), scale=1, layers={"mask": 1})
    wanted = list(range(0, len(blocks), skip))
    order = in_order(blocks, wanted)
    parts = [ShardId(index=index, count=count).of(order) for index in range(1, count + 1)]
    assert sorted(itertools.chain(*parts)) == wanted
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    # Neighbours stay together: the columns of strips only ever grow.
    strips = [blocks.place(block)[1] // 3 for block in itertools.chain(*parts)]
    assert strips == sorted(strips)


@pytest.mark.parametrize("text", ["1/1", "4/4", " 2/10 ", "10000/10000"])
def test_shards_are_named(text: str) -> None:
    shard = ShardId.parse(text)
    assert f"{shard.index}/{shard.count}" == text.strip()
    assert shard.path(Path("a/mask.tif")).name == f"mask.tif.shard-{shard.index}-of-{shard.count}"


@pytest.mark.parametrize("text", ["", "1", "0/4", "5/4", "1/0", "-1/4", "1/4/4", "a/b", "1/10001", "1/٤"])
def test_other_shards_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"^--shard .*; |^--shard .*: write which one of how many"):
        ShardId.parse(text)


@given(st.sets(st.integers(0, 300)))
def test_runs_hold_the_same_numbers(numbers: set[int]) -> None:
    found = runs(sorted(numbers))
    assert [number for first, last in found for number in range(first, last + 1)] == sorted(numbers)
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(found))


GRIDS: dict[str, dict[str, Any]] = {
    "rotated": {"transform": rotated(30.0)},
    "south up": {"transform": south_up()},
    "degrees": {"crs": "EPSG:4326", "transform": Affine(1e-5, 0, 15.1, 0, -0.7e-5, 45.3)},
    "gcps": {"gcps": some_gcps(70, 90), "crs": "EPSG:32633"},
    "no crs": {"crs": None, "transform": north_up()},
    "nothing": {"crs": None, "transform": None},
    "custom crs": {"crs": "+proj=aea +lat_1=29.5 +lat_2=45.5 +lat_0=23 +lon_0=-96 +datum=NAD83 +units=m"},
    "3d crs": {"crs": "ESRI:54049"},
    "vertical": {"crs": "EPSG:7415"},
    "rpcs": {"crs": None, "transform": None, "rpcs": some_rpcs()},
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_a_grid_is_kept_bit_for_bit(tmp_path: Path, grid: dict[str, Any]) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 70, 90), **grid)
    with not_georeferenced_is_fine(), rasterio.open(scene) as dataset:
        geobox = GeoBox.of(dataset).scaled(2)
    facts = Facts(geobox=geobox, classes=CLASSES, tags={"A": "b"}, wanted=((0, 3), (5, 5)))
    again = Facts.from_json(json.loads(json.dumps(facts.to_json())))
    assert again.geobox.crs == geobox.crs
    assert again.geobox.gcps_crs == geobox.gcps_crs
    assert again.geobox.transform == geobox.transform
    assert again.geobox.shape == geobox.shape
    assert again.geobox.rpcs == geobox.rpcs
    assert (geobox.rpcs is not None) == ("rpcs" in grid)
    assert [(p.row, p.col, p.x, p.y, p.z, p.id, p.info) for p in again.geobox.gcps] == [
        (p.row, p.col, p.x, p.y, p.z, p.id, p.info) for p in geobox.gcps
    ]
    assert (again.classes, again.tags, again.wanted) == (facts.classes, facts.tags, facts.wanted)
    assert again.wanted_count == 5
    assert again.wanted_blocks() == [0, 1, 2, 3, 5]


DAMAGE: dict[str, tuple[str, Any]] = {
    "no grid": ("geobox", None),
    "no list of runs": ("wanted", 7),
    "run backwards": ("wanted", [[3, 1]]),
    "runs that overlap": ("wanted", [[0, 3], [3, 4]]),
    "negative blocks": ("wanted", [[-1, 3]]),
    "blocks that are no numbers": ("wanted", [["a", "b"]]),
    "numbers that are no blocks": ("wanted", [[0, 1.5]]),
    "tags that are no text": ("tags", {"a": 1}),
    "no classes": ("classes", {"names": [], "colors": []}),
    "huge text": ("tags", {"a": "x" * 200_000}),
}


@pytest.mark.parametrize(("key", "value"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_facts_are_refused(key: str, value: Any) -> None:
    geobox = GeoBox(crs=CRS.from_epsg(32633), transform=north_up(), shape=(2, 3))
    values = Facts(geobox=geobox, classes=CLASSES, tags={}, wanted=()).to_json()
    Facts.from_json(values)
    with pytest.raises(ValueError, match=r"."):
        Facts.from_json(values | {key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("transform", [1, 0, 0, 0, float("nan"), 0]),
        ("transform", [1, 0, 0]),
        ("shape", [0, 5]),
        ("shape", [True, 5]),
        ("crs", "no WKT"),
        ("crs", "x" * 200_000),
        ("gcps", [[0, 0]]),
        ("gcps", [[0, 0, 0, 0, 0, 5, ""]]),
        ("rpcs", 5),
        ("rpcs", {"line_off": 1.0}),
        ("rpcs", some_rpcs().to_dict() | {"line_off": "x"}),
        ("rpcs", some_rpcs().to_dict() | {"samp_den_coeff": [1.0]}),
        ("rpcs", some_rpcs().to_dict() | {"other": 1.0}),
    ],
)
def test_damaged_grids_are_refused(key: str, value: Any) -> None:
    geobox = GeoBox(crs=CRS.from_epsg(32633), transform=north_up(), shape=(2, 3))
    values = Facts(geobox=geobox, classes=CLASSES, tags={}, wanted=()).to_json()
    values["geobox"][key] = value
    with pytest.raises(ValueError, match=r"."):
        Facts.from_json(values)


class _StopAfter(SilentProgress):
    def __init__(self, chips: int) -> None:
        self.left = chips

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left < 0:
            raise KeyboardInterrupt


def test_an_interrupted_shard_goes_on(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 300, 500))
    output, second = tmp_path / "mask.tif", ShardId(index=2, count=2)
    options: dict[str, Any] = {
        "model": model,
        "config": FP32,
        "device": "cpu",
        "resources": Resources(workers=1),
    }
    whole = predict_shard(scene, output, second, **options)
    expected = whole.output.read_bytes()
    whole.output.unlink()
    with pytest.raises(KeyboardInterrupt) as stopped:
        predict_shard(scene, output, second, progress=_StopAfter(whole.chips // 2), **options)
    assert "blocks are kept in" in stopped.value.__notes__[0]
    assert {path.name for path in tmp_path.iterdir()} == {
        "scene.tif",
        "mask.tif.shard-2-of-2.geoseg-resume",
    }
    with pytest.raises(OutputError, match="--resume"):
        predict_shard(scene, output, second, **options)
    again = predict_shard(scene, output, second, resume=True, **options)
    assert again.output.read_bytes() == expected
    assert 0 < again.resumed_blocks < again.blocks
    assert {path.name for path in tmp_path.iterdir()} == {"scene.tif", "mask.tif.shard-2-of-2"}
    with pytest.raises(OutputError, match="--overwrite"):
        predict_shard(scene, output, second, **options)


def test_a_shard_tells_what_it_holds(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 100, 300))
    report = predict_shard(
        scene, tmp_path / "mask.tif", ShardId(index=1, count=2), model=model, config=FP32, device="cpu"
    )
    json.dumps(report.to_json())
    shard = open_shard(report.output)
    assert shard.shard == ShardId(index=1, count=2)
    assert len(shard.names) == report.blocks
    assert shard.facts.wanted_count == report.all_blocks
    assert shard.facts.geobox.shape == (100, 300)


def test_more_shards_than_blocks(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 64, 64))
    paths = []
    for index in (1, 2, 3):
        shard = ShardId(index=index, count=3)
        report = predict_shard(scene, tmp_path / "mask.tif", shard, model=model, config=FP32, device="cpu")
        paths.append(report.output)
        assert report.all_blocks == 1
    assert merge(paths, tmp_path / "mask.tif").blocks == 1
