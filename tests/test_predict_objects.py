"""From a scene to objects: the layer, the ids and the mask agree, and nothing depends on how it was made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.features
import shapely
from numpy.typing import NDArray
from objects_of_tests import crowd, exact_network, pieces, write_card
from rasterio.windows import Window
from scenes import north_up, rotated, write_scene

from geoseg.config import PredictConfig
from geoseg.errors import ConfigError, InputError, ModelError, OutputError, ReadError
from geoseg.merge import merge
from geoseg.merge_objects import merge_objects
from geoseg.predict import predict
from geoseg.predict_objects import predict_many_objects, predict_objects
from geoseg.progress import SilentProgress
from geoseg.render import plan, session
from geoseg.render.journal import journal_folder
from geoseg.render.shards import ShardId
from geoseg.render.work import Resources
from geoseg.shard import predict_shard
from geoseg.vector.write import DRIVERS
from geoseg_cli.main import main

SHAPE = (150, 230)
HOLE = (slice(80, 110), slice(120, 180))
EXACT = PredictConfig(simplify_px=0.0, precision="fp32")


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exact detector, and blocks of fewer chips than ``whole`` is made of."""
    monkeypatch.setattr(session, "load_network", exact_network)
    monkeypatch.setattr("geoseg.render.blocks.CHIPS_HIGH", 2)
    monkeypatch.setattr("geoseg.render.blocks.CHIPS_WIDE", 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("objects")
    write_card(folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def ids() -> NDArray[np.uint8]:
    return crowd(SHAPE, 40, np.random.default_rng(7))


@pytest.fixture(scope="module")
def scene(folder: Path, ids: NDArray[np.uint8]) -> Path:
    """A scene of objects, with a part that is nodata: 255."""
    bands = ids.copy()
    bands[HOLE] = 255
    return write_scene(folder / "scene.tif", bands[None], nodata=255, transform=north_up(0.5))


@pytest.fixture(scope="module")
def truth(ids: NDArray[np.uint8]) -> NDArray[np.int64]:
    known = ids.copy()
    known[HOLE] = 0
    return pieces(known)


@pytest.fixture(scope="module")
def whole(folder: Path, scene: Path) -> Path:
    """The outputs that every other way must give."""
    made = folder / "whole"
    made.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "load_network", exact_network)
        run(scene, made, folder)
    return made


def run(scene: Path, made: Path, folder: Path, **options: Any) -> Any:
    given = {"model": folder / "model.safetensors", "config": EXACT} | options
    return predict_objects(scene, made / "o.fgb", ids=made / "ids.tif", mask=made / "mask.tif", **given)


def same(one: Path, other: Path) -> bool:
    return all((one / n).read_bytes() == (other / n).read_bytes() for n in ("o.fgb", "ids.tif", "mask.tif"))


def read(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as raster:
        return raster.read(1)


def read_layer(path: Path) -> geopandas.GeoDataFrame:
    if path.suffix == ".parquet":
        return geopandas.read_parquet(path)
    return pyogrio.read_dataframe(path, layer=0)


def test_objects_are_whole_once_and_apart(whole: Path, scene: Path, truth: NDArray[np.int64]) -> None:
    np.testing.assert_array_equal(read(whole / "ids.tif"), truth)
    layer = geopandas.read_file(whole / "o.fgb").set_index("id").sort_index()
    assert list(layer.index) == list(range(1, truth.max() + 1))
    with rasterio.open(scene) as source, rasterio.open(whole / "ids.tif") as raster:
        assert (raster.crs, raster.transform, raster.shape) == (source.crs, source.transform, source.shape)
        assert (raster.dtypes, raster.nodata) == (("int32",), 0)
        shapes = zip(layer.geometry, layer.index, strict=True)
        burned = rasterio.features.rasterize(shapes, SHAPE, transform=source.transform, dtype="int32")
    np.testing.assert_array_equal(burned, truth)
    assert layer.is_valid.all()
    assert set(layer.geom_type) == {"Polygon"}
    np.testing.assert_allclose(layer.area_m2, np.bincount(truth.ravel())[1:] * 0.25)
    np.testing.assert_allclose(layer.perimeter_m, layer.length, rtol=1e-3)
    rows, columns = np.nonzero(truth)
    edge = (rows == 0) | (columns == 0) | (rows == SHAPE[0] - 1) | (columns == SHAPE[1] - 1)
    assert set(layer.index[layer.touches_edge]) == set(truth[rows, columns][edge])


def test_classes_scores_and_mask(whole: Path, ids: NDArray[np.uint8], truth: NDArray[np.int64]) -> None:
    layer = geopandas.read_file(whole / "o.fgb").set_index("id").sort_index()
    first = np.unique(truth, return_index=True)[1][1:]
    own = ids.ravel()[first].astype(int)
    np.testing.assert_array_equal(layer.class_id, 1 + own % 2)
    assert list(layer.class_name) == [["field", "house"][i % 2] for i in own]
    np.testing.assert_allclose(layer.score, 0.5 + own % 50 / 100, atol=1e-4)
    mask = read(whole / "mask.tif")
    expected = np.where(truth > 0, 1 + ids.astype(int) % 2, 0)
    expected[HOLE] = 255
    np.testing.assert_array_equal(mask, expected)


@pytest.mark.parametrize(
    ("config", "resources"),
    [
        ({"batch_size": 4}, {"workers": 1}),
        ({"batch_size": 16}, {"workers": 5}),
    ],
    ids=["batch 4, 1 worker", "batch 16, 5 workers"],
)
def test_neither_batch_nor_workers_nor_blocks_change_a_byte(
    tmp_path: Path, folder: Path, scene: Path, whole: Path, config: dict[str, Any], resources: dict[str, Any]
) -> None:
    config_ = EXACT.model_copy(update=config)
    report = run(scene, tmp_path, folder, config=config_, resources=Resources(**resources))
    assert report.blocks > 1
    assert same(tmp_path, whole)


def test_another_grid_of_chips_changes_no_object(
    tmp_path: Path, folder: Path, scene: Path, truth: NDArray[np.int64]
) -> None:
    run(scene, tmp_path, folder, config=EXACT.model_copy(update={"size_px": 128, "overlap_px": 96}))
    np.testing.assert_array_equal(read(tmp_path / "ids.tif"), truth)


class _StopAfter(SilentProgress):
    def __init__(self, chips: int) -> None:
        self.left = chips

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left < 0:
            raise KeyboardInterrupt


def test_interrupted_and_gone_on_with(tmp_path: Path, folder: Path, scene: Path, whole: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(scene, tmp_path, folder, progress=_StopAfter(15))
    assert [path.name for path in tmp_path.iterdir()] == ["o.fgb.geoseg-resume"]
    with pytest.raises(OutputError, match=r"min score 0\.5 instead of 0\.25"):
        run(scene, tmp_path, folder, resume=True, config=EXACT.model_copy(update={"min_score": 0.25}))
    report = run(scene, tmp_path, folder, resume=True)
    assert 0 < report.resumed_blocks < report.blocks
    assert same(tmp_path, whole)
    assert not journal_folder(tmp_path / "o.fgb").exists()


def test_shards_make_the_same(tmp_path: Path, folder: Path, scene: Path, whole: Path) -> None:
    output = tmp_path / "o.fgb"
    shards = [
        predict_shard(
            scene, output, ShardId(index=i, count=3), model=folder / "model.safetensors", config=EXACT
        ).output
        for i in (1, 2, 3)
    ]
    merge_objects(shards, output, ids=tmp_path / "ids.tif", mask=tmp_path / "mask.tif", config=EXACT)
    assert same(tmp_path, whole)
    with pytest.raises(InputError, match=r"the shards hold objects; write polygons, such as -o objects.gpkg"):
        merge(shards, tmp_path / "m.tif")
    data = bytearray(shards[1].read_bytes())
    data[data.rindex(b"geoseg block 1") + 100] ^= 255
    shards[1].write_bytes(data)
    with pytest.raises(ReadError, match="damaged"):
        merge_objects(shards, tmp_path / "again.fgb")


def duplicates(shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Ids (2, H, W): houses that touch, in rows; and over most of them a shifted one, surer or less sure."""
    houses, twice = np.zeros((2, *shape), np.uint8)
    rng = np.random.default_rng(3)
    number = 0
    for top in range(4, shape[0] - 24, 26):
        for left in range(4, shape[1] - 20, 16):
            houses[top : top + 20, left : left + 16] = 1 + 7 * number % 250
            if number % 3:
                down, right = rng.integers(1, 5, 2)
                high, wide = rng.integers(6, 12, 2)
                twice[top + down : top + down + high, left + right : left + right + wide] = (
                    2 + 11 * number % 249
                )
            number += 1
    return np.stack([houses, twice])


def test_duplicates_are_left_out_however_the_work_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("geoseg.render.cover.band_rows", lambda _: 11)
    monkeypatch.setattr("geoseg.render.blocks.CHIPS_HIGH", 1)
    monkeypatch.setattr("geoseg.render.blocks.CHIPS_WIDE", 2)
    model = write_card(tmp_path / "model.safetensors", bands=2)
    layers = duplicates((90, 200))
    scene = write_scene(tmp_path / "scene.tif", layers, transform=north_up(0.5))
    made = {name: tmp_path / name for name in ("one", "many", "again", "shards", "all")}
    for folder in made.values():
        folder.mkdir()
    report = run(scene, made["one"], tmp_path, model=model)
    run(scene, made["many"], tmp_path, model=model, resources=Resources(workers=4))
    assert same(made["one"], made["many"])
    with pytest.raises(KeyboardInterrupt):
        run(scene, made["again"], tmp_path, model=model, progress=_StopAfter(report.chips - 1))
    resumed = run(scene, made["again"], tmp_path, model=model, resume=True)
    assert 0 < resumed.resumed_blocks < resumed.blocks
    assert resumed.covered == report.covered
    assert same(made["one"], made["again"])
    output = made["shards"] / "o.fgb"
    for index in (1, 2):
        predict_shard(scene, output, ShardId(index=index, count=2), model=model, config=EXACT)
    shards = sorted(map(str, made["shards"].glob("*.shard-*")))
    words = ["merge", *shards, "-o", str(output), "--simplify", "0", "--json"]
    words += ["--ids", str(made["shards"] / "ids.tif"), "--mask", str(made["shards"] / "mask.tif")]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert same(made["one"], made["shards"])
    # A surer house takes what is smaller and lies within it; a less sure one keeps more than half beside it.
    every = run(
        scene, made["all"], tmp_path, model=model, config=EXACT.model_copy(update={"min_visible": 0.0})
    )
    houses, twice = pieces(layers[0]).max(), pieces(layers[1]).max()
    assert told["covered"] == report.covered > 3
    assert every.covered == 0
    assert sum(report.objects.values()) == houses + twice - report.covered
    assert main([*words, "--overwrite", "--min-visible", "0"]) == 0
    assert same(made["all"], made["shards"])


def test_the_page_shows_objects_by_class_and_score(
    folder: Path, scene: Path, ids: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(folder / "model.safetensors")
    common = ["--model", model, "--simplify", "0", "--precision", "fp32"]
    assert main(["predict", str(scene), "-o", "o.gpkg", *common, "--report", "page.html", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["report"] == "page.html"
    text = Path("page.html").read_text(encoding="utf-8")
    data = json.loads(text.partition('id="map-data">')[2].partition("</script>")[0])
    (layer,) = data["vectors"]
    columns = {name: values for name, values, *_ in layer["columns"]}
    assert layer["count"] == len(columns["score"]) == sum(told["objects"].values())
    assert layer["scored"]
    by_id = pyogrio.read_dataframe("o.gpkg", layer="parcels").set_index("id")
    np.testing.assert_allclose(columns["score"], by_id.score[columns["id"]])
    # Classes have the colours of the model, not those of the order of their names.
    assert {name: color for name, color, _ in data["classes"].values()} == {
        "field": "#E69F00",
        "house": "#56B4E9",
    }
    assert "maskrcnn_resnet50_fpn_pointrend" in text
    # Where nothing is found, the page shows the scene.
    empty = write_scene(Path("empty.tif"), np.zeros((1, 70, 70), np.uint8))
    assert main(["predict", str(empty), "-o", "none.gpkg", *common, "--report", "none.html"]) == 0
    assert Path("none.html").exists()
    scenes = [str(scene), str(empty)]
    assert main(["predict", *scenes, "-o", "made", *common, "--report", "pages"]) == 0
    assert {path.name for path in Path("pages").iterdir()} == {"scene.html", "empty.html"}
    capsys.readouterr()
    assert main(["predict", *scenes, "-o", "made", *common, "--report", "pages", "--resume"]) == 0
    assert main(["predict", str(scene), "-o", "p.gpkg", *common, "--report", "p.html", "--shard", "1/2"]) == 2
    assert "--report shows a finished prediction; leave it out here" in capsys.readouterr().err


@pytest.mark.parametrize("window", [Window(41, 37, 100, 90), Window(220, 0, 10, 150), Window(0, 149, 1, 1)])
def test_window_is_cut_out_of_the_whole(
    tmp_path: Path, folder: Path, scene: Path, truth: NDArray[np.int64], window: Window
) -> None:
    report = run(scene, tmp_path, folder, window=window)
    rows, columns = window.toslices()
    part = truth[rows, columns]
    found = read(tmp_path / "ids.tif")
    # Of an object that the part cuts to pieces, the largest is left.
    kept = found > 0
    assert (part[kept] > 0).all()
    for number in np.unique(part[part > 0]):
        sizes = np.bincount(pieces((part == number).astype(np.uint8)).ravel())[1:]
        own = np.unique(found[(part == number) & kept])
        assert len(own) == 1
        assert np.count_nonzero(found == own[0]) == sizes.max()
    layer = pyogrio.read_dataframe(tmp_path / "o.fgb")
    assert len(layer) == len(np.unique(part[part > 0])) == sum(report.objects.values())


def test_area_of_interest_cuts_objects_and_tells_so(
    tmp_path: Path, folder: Path, scene: Path, whole: Path, truth: NDArray[np.int64]
) -> None:
    with rasterio.open(scene) as source:
        corners = [source.transform @ corner for corner in ((20.3, 10.3), (200.3, 40.3), (60.3, 140.3))]
    outline = shapely.Polygon(corners)
    geopandas.GeoSeries([outline], crs="EPSG:32633").to_file(tmp_path / "aoi.gpkg")
    run(scene, tmp_path, folder, aoi=tmp_path / "aoi.gpkg")
    found = read(tmp_path / "ids.tif")
    rows, columns = np.indices(SHAPE)
    x, y = rasterio.open(scene).transform @ (columns + 0.5, rows + 0.5)
    inside = shapely.contains_xy(outline, x, y)
    assert (found[~inside] == 0).all()
    mask, full = read(tmp_path / "mask.tif"), read(whole / "mask.tif")
    assert (mask[~inside] == 255).all()
    np.testing.assert_array_equal(mask[(found > 0)], full[(found > 0)])
    layer = geopandas.read_file(tmp_path / "o.fgb").set_index("id")
    for number in layer.index:
        own = np.unique(truth[found == number])
        assert len(own) == 1
        goes_on = bool((~inside & (truth == own[0])).any())
        reaches = bool(np.isin(number, np.concatenate([found[0], found[-1], found[:, 0], found[:, -1]])))
        assert layer.touches_edge[number] == (goes_on or reaches)


@pytest.mark.parametrize("suffix", DRIVERS)
def test_every_format_and_a_turned_scene(
    tmp_path: Path, folder: Path, ids: NDArray[np.uint8], suffix: str
) -> None:
    scene = write_scene(tmp_path / "scene.tif", ids[None, :70, :90], transform=rotated(30.0))
    report = predict_objects(scene, tmp_path / f"o{suffix}", model=folder / "model.safetensors", config=EXACT)
    layer = read_layer(report.output)
    truth = pieces(ids[:70, :90])
    assert len(layer) == truth.max() == sum(report.objects.values())
    assert layer.crs == ("EPSG:4326" if suffix == ".geojson" else "EPSG:32633")
    assert abs(layer.area_m2.sum() - np.count_nonzero(truth) * 0.25) < 1e-3


def test_simplified_objects_share_their_edges(tmp_path: Path, folder: Path, scene: Path, whole: Path) -> None:
    run(scene, tmp_path, folder, config=EXACT.model_copy(update={"simplify_px": 1.0}))
    layer, exact = (geopandas.read_file(path / "o.fgb") for path in (tmp_path, whole))
    assert read(tmp_path / "ids.tif").tobytes() == read(whole / "ids.tif").tobytes()
    assert layer.count_coordinates().sum() < 0.8 * exact.count_coordinates().sum()
    overlap = layer.area.sum() - shapely.union_all(layer.geometry.values).area
    assert overlap < 1e-6


def test_several_scenes(tmp_path: Path, folder: Path, scene: Path, whole: Path) -> None:
    other = write_scene(tmp_path / "empty.tif", np.zeros((1, 70, 70), np.uint8))
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"no scene")
    report = predict_many_objects(
        [scene, other, broken],
        tmp_path / "made",
        ids=tmp_path / "ids",
        model=folder / "model.safetensors",
        config=EXACT,
    )
    assert [each.output.name for each in report.done] == ["scene.gpkg", "empty.gpkg"]
    assert sum(report.done[1].objects.values()) == 0
    assert len(pyogrio.read_dataframe(tmp_path / "made" / "empty.gpkg", layer="parcels")) == 0
    assert (tmp_path / "ids" / "scene.tif").read_bytes() == (whole / "ids.tif").read_bytes()
    assert list(report.failed) == [str(broken)]


def test_what_does_not_apply_is_told_in_a_line(tmp_path: Path, folder: Path, scene: Path) -> None:
    model = folder / "model.safetensors"
    for name, value in (("scale", 2), ("tta", True), ("refine", False), ("margin", 0.5)):
        config = EXACT.model_copy(update={name: value})
        with pytest.raises(ConfigError, match=r"^--[a-z-]+ does not apply to a model that detects objects; "):
            predict_objects(scene, tmp_path / "o.gpkg", model=model, config=config)
    with pytest.raises(InputError, match="chips must overlap to tell whether an object goes on; use 32"):
        predict_objects(
            scene, tmp_path / "o.gpkg", model=model, config=EXACT.model_copy(update={"overlap_px": 0})
        )
    with pytest.raises(OutputError, match=r"o.tif must be a layer of polygons; write to one of .gpkg"):
        predict_objects(scene, tmp_path / "o.tif", model=model)
    with pytest.raises(ModelError, match=r"detects objects; write polygons, such as -o objects.gpkg"):
        predict(scene, tmp_path / "o.tif", model=model)
    with pytest.raises(OutputError, match="same path"):
        predict_objects(
            scene, tmp_path / "o.gpkg", ids=tmp_path / "x.tif", mask=tmp_path / "x.tif", model=model
        )
    assert list(tmp_path.iterdir()) == []


def test_command_line(
    tmp_path: Path, folder: Path, scene: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = str(folder / "model.safetensors")
    words = ["predict", str(scene), "-o", "o.fgb", "--model", model, "--ids", "ids.tif", "--mask", "mask.tif"]
    assert main([*words, "--simplify", "0", "--precision", "fp32", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert sum(told["objects"].values()) == len(pyogrio.read_dataframe("o.fgb"))
    assert same(tmp_path, whole)
    for extra, message in (
        (["--probabilities", "p.tif"], "--probabilities does not apply to a model that detects objects"),
        (["--tta"], "--tta does not apply to a model that detects objects; leave it out"),
    ):
        assert main([*words, "--overwrite", *extra]) == 2
        assert message in capsys.readouterr().err
    assert main(["predict", str(scene), "-o", "m.tif", "--model", model]) == 2
    assert "m.tif must be a layer of polygons" in capsys.readouterr().err
    assert main(["predict", str(scene), "-o", "x.gpkg", "--model", model, "--dry-run"]) == 0
    assert "nothing was written" in capsys.readouterr().err
    assert not Path("x.gpkg").exists()


def test_a_model_of_pixels_makes_no_polygons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scene(tmp_path / "scene.tif", np.ones((3, 70, 70), np.uint8))
    assert main(["predict", "scene.tif", "-o", "x.gpkg"]) == 2
    told = capsys.readouterr().err
    assert "write a mask, such as -o x.tif, and make polygons of it with geoseg vectorize" in told
    assert main(["predict", "scene.tif", "-o", "x.tif", "--ids", "i.tif"]) == 2
    assert "--ids does not apply to a model that tells classes of pixels" in capsys.readouterr().err


def test_suffixes_are_those_of_layers() -> None:
    assert set(plan.POLYGON_SUFFIXES) == set(DRIVERS)
