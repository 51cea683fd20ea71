"""Facts are those of the file, told in plain values, by whoever could read them otherwise."""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import onnx
import pytest
import rasterio
from chip_folders import make_chips
from models_of_tests import CLASSES, noise, write_model
from rasterio.crs import CRS
from rasterio.windows import Window
from rio_cogeo import cog_validate
from runs_of_tests import BEST, MIOU, write_run
from scenes import UTM, north_up, pixel_box, rotated, some_gcps, write_class_raster, write_labels, write_scene

import geoseg.info
from geoseg.classes import ClassMap
from geoseg.config import PredictConfig
from geoseg.errors import GeosegError
from geoseg.info import info
from geoseg.models.card import read_card
from geoseg.models.checkpoint import load_model
from geoseg.models.mlm import model_item
from geoseg.predict import predict
from geoseg.progress import SilentProgress
from geoseg.raster.cog import MODEL_TAG, MaskWriter, RasterWriter
from geoseg.raster.geobox import GeoBox
from geoseg.raster.layers import probability_layer, uncertainty_layer
from geoseg.render.shards import ShardId
from geoseg.shard import predict_shard
from geoseg.vectorize import vectorize
from geoseg_cli.main import main

NAMES = ClassMap.from_names(["background", "field", "house", "never"], background=0)


def plain(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts, once they were JSON: nothing else may be in them."""
    again: dict[str, Any] = json.loads(json.dumps(facts, allow_nan=False))
    return again


def some_ids() -> np.ndarray[Any, Any]:
    values = np.array([0, 1, 2, 255], np.uint8)
    return np.random.default_rng(0).choice(values, (600, 700), p=[0.5, 0.3, 0.1, 0.1])


def write_mask(path: Path, ids: np.ndarray[Any, Any]) -> Path:
    box = GeoBox(crs=CRS.from_string(UTM), transform=north_up(2.0), shape=ids.shape)
    with MaskWriter(path, box, NAMES, {MODEL_TAG: "ab" * 32}) as writer:
        writer.write_rows(0, ids)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


def test_mask(tmp_path: Path) -> None:
    ids = some_ids()
    path = write_mask(tmp_path / "mask.tif", ids)
    facts = plain(info(path, counts=True))
    assert facts["kind"] == "mask"
    assert facts["cog"] is cog_validate(path)[0] is True
    with rasterio.open(path) as dataset:
        assert facts["block_px"] == [dataset.block_shapes[0][1], dataset.block_shapes[0][0]] == [512, 512]
        assert facts["overviews"] == dataset.overviews(1) == [2]
        assert facts["compression"] == dataset.compression.value.lower() == "deflate"
        assert facts["bounds"] == list(dataset.bounds)
    assert (facts["size_px"], facts["gsd_m"], facts["crs"]) == ([700, 600], 2.0, UTM)
    assert facts["file_mb"] == path.stat().st_size / 1e6
    assert facts["tags"][MODEL_TAG] == "ab" * 32
    assert facts["made_by_default_model"] is False
    assert [row["color"] for row in facts["classes"]] == list(NAMES.colors)
    assert [row["role"] for row in facts["classes"]] == ["background", None, None, None]
    valid = int((ids != 255).sum())
    for class_id, row in enumerate(facts["classes"]):
        count = int((ids == class_id).sum())
        assert (row["class"], row["pixels"]) == (NAMES.names[class_id], count)
        assert row["share"] == pytest.approx(count / valid, abs=1e-6)
        assert row["area_m2"] == pytest.approx(count * 4.0)
    assert facts["nodata_pixels"] == ids.size - valid
    assert "pixels" not in info(path)["classes"][0]  # only when asked for


def test_masks_of_other_programs(tmp_path: Path) -> None:
    ids = np.array([[7, 7, 300], [0, 7, 300]], np.uint16)
    facts = plain(info(write_class_raster(tmp_path / "ids.tif", ids, nodata=0), counts=True))
    assert facts["kind"] == "mask"
    assert [(row["id"], row["pixels"]) for row in facts["classes"]] == [(7, 3), (300, 2)]
    assert facts["nodata_pixels"] == 1
    # A palette says that values are ids.
    colored = write_class_raster(tmp_path / "pal.tif", ids.astype(np.uint8), colormap={7: (255, 0, 128)})
    assert info(colored)["kind"] == "mask"
    assert info(colored, counts=True)["classes"][-1]["color"] is not None
    assert next(row for row in info(colored, counts=True)["classes"] if row["id"] == 7)["color"] == "#FF0080"


def test_shares_are_no_masks(tmp_path: Path) -> None:
    box = GeoBox(crs=CRS.from_string(UTM), transform=north_up(2.0), shape=(20, 30))
    for layer in (probability_layer(NAMES), uncertainty_layer()):
        path = tmp_path / f"{layer.what}.tif"
        with RasterWriter(path, box, layer) as writer:
            writer.write(Window(0, 0, 30, 20), np.full((layer.count, 20, 30), 9, np.uint8))
        facts = plain(info(path))
        assert facts["kind"] == layer.what
        assert facts["bands"][0]["scale"] == pytest.approx(1 / 254)
        assert [band["name"] for band in facts["bands"]] == list(layer.descriptions)
        with pytest.raises(GeosegError, match="no classes to count"):
            info(path, counts=True)


def test_scenes(tmp_path: Path) -> None:
    pixels = np.full((3, 30, 40), 9, np.uint8)
    turned = plain(info(write_scene(tmp_path / "a.tif", pixels, transform=rotated(30.0, 2.0))))
    assert turned["kind"] == "scene"
    assert abs(turned["rotation_deg"]) == pytest.approx(30.0)
    assert turned["pixel_size"] == pytest.approx([2.0, 2.0])
    assert turned["placed_by"] == "transform, turned"
    assert turned["default_model"] == {"fits": True, "warning": None}
    fine = info(write_scene(tmp_path / "b.tif", pixels, transform=north_up(0.1)))
    assert fine["default_model"]["fits"] is True
    assert fine["default_model"]["warning"].startswith(
        "has 0.1 m pixels, the model was trained at 1 to 2.5 m"
    )
    four = write_scene(
        tmp_path / "c.tif", noise(5, 30, 40), nodata=0, descriptions=["R", "G", "B", "red edge", "near IR"]
    )
    facts = plain(info(four))
    assert [band["name"] for band in facts["bands"]] == ["R", "G", "B", "red edge", "near IR"]
    assert {band["nodata"] for band in facts["bands"]} == {0.0}
    assert facts["default_model"]["fits"] is False
    assert "5 bands" in facts["default_model"]["why"]
    placed = plain(info(write_scene(tmp_path / "d.tif", pixels, gcps=some_gcps(30, 40), crs=UTM)))
    assert (placed["gcps"], placed["bounds"], placed["crs"]) == (4, None, UTM)
    assert placed["placed_by"] == "ground control points"
    many = np.full((100, 2, 2), math.nan, np.float32)  # more bands than a scene may have unchosen
    facts = plain(info(write_scene(tmp_path / "e.tif", many, nodata=math.nan)))
    assert len(facts["bands"]) == 100
    assert facts["bands"][0]["nodata"] == "nan"
    assert "choose some of them" in facts["default_model"]["why"]


def test_model(tmp_path: Path, model: Path) -> None:
    facts = plain(info(model))
    network, card = load_model(model)
    assert facts["parameters"] == sum(values.numel() for values in network.parameters())
    assert facts["weights"] == "float32"
    assert [row["class"] for row in facts["classes"]] == list(CLASSES.names)
    assert [row["color"] for row in facts["classes"]] == list(CLASSES.colors)
    assert facts["bands"][0]["std"] == pytest.approx(60.0)
    assert (facts["dtype"], facts["gsd_m"], facts["chip_size_px"]) == (card.dtype, 0.5, 64)
    assert (
        facts["sha256"]
        == subprocess.run(["sha256sum", model], capture_output=True, text=True, check=True).stdout.partition(
            " "
        )[0]
    )
    ours = plain(info(geoseg.models.card.DEFAULT_MODEL))
    assert (ours["is_default"], ours["weights"]) == (True, "float16")
    assert [row["iou"] for row in ours["classes"]] == pytest.approx([0.829, 0.891, 0.257], abs=0.001)
    assert ours["training"]["best_epoch"] == 48


def test_a_model_with_absurd_shapes_is_refused(tmp_path: Path, model: Path) -> None:
    raw = model.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    for shape in ([-1], [2**62], ["3"], "3", [1] * 9):
        header = json.loads(raw[8 : 8 + length])
        name = next(key for key in header if key.endswith(".weight"))
        header[name]["shape"] = shape
        text = json.dumps(header).encode()
        (tmp_path / "m.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
        with pytest.raises(GeosegError, match="damaged header"):
            info(tmp_path / "m.safetensors")


def test_runs_finished_and_not(tmp_path: Path) -> None:
    chips = make_chips(tmp_path)
    done = plain(info(write_run(tmp_path / "done", chips)))
    assert (done["kind"], done["finished"], done["epochs_done"]) == ("model", True, 3)
    assert done["minutes"] == pytest.approx(3 * 30.5 / 60, abs=0.01)
    going = write_run(tmp_path / "going", chips, model="best.safetensors", epochs=2)
    (going / "last.pt").touch()
    facts = plain(info(going))
    assert (facts["kind"], facts["finished"]) == ("run", False)
    assert (facts["epochs_done"], facts["epochs_planned"]) == (2, 3)
    assert (facts["best_epoch_so_far"], facts["best_score_so_far"]) == (BEST, MIOU[BEST - 1])
    assert facts["last_scores"]["miou"] == MIOU[1]
    assert set(facts["last_class_scores"]) == {row["class"] for row in facts["classes"]}
    assert facts["go_on"].endswith(f"--resume {going}")
    # Killed in its first epoch: nothing but the state.
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "last.pt").touch()
    facts = plain(info(tmp_path / "begun"))
    assert (facts["epochs_done"], facts["last_scores"]) == (0, {})


def test_times_that_no_calendar_knows(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock was wrong, on a file system that keeps such times.
    real = os.stat
    monkeypatch.setattr(os, "stat", lambda *a, **k: os.stat_result([*real(*a, **k)[:8], 3 * 10**11, 0]))
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "last.pt").touch()
    assert plain(info(tmp_path / "begun"))["last_saved"] is None
    item = model_item(model, beside=tmp_path / "item.json")
    assert item["properties"]["datetime"] == "9999-12-31T23:59:59Z"


def test_chips(tmp_path: Path) -> None:
    folder = make_chips(tmp_path)
    facts = plain(info(folder))
    assert facts["kind"] == "chips"
    listed = geopandas.read_file(folder / "chips.gpkg")
    for row in facts["splits"]:
        split = listed[listed["split"] == row["split"]]
        assert row["chips"] == len(split) == facts["chips"][row["split"]]
        if len(split):
            assert row["nodata_share"] == pytest.approx(1.0 - split["valid_share"].mean(), abs=1e-5)
    train = json.loads((folder / "chips.json").read_text())["chips"]
    ids = np.concatenate(
        [
            rasterio.open(folder / "labels" / f"{c['name']}.tif").read(1)
            for c in train
            if c["split"] == "train"
        ]
    )
    for row in facts["classes"]:
        share = (ids == row["id"]).sum() / (ids != 255).sum()
        assert row["train_share"] == pytest.approx(share, abs=1e-6)
    assert facts["scenes"] == ["scene"]
    assert facts["crs"] == UTM


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".geojson", ".shp", ".parquet"])
def test_polygons_of_geoseg(tmp_path: Path, suffix: str) -> None:
    ids = np.zeros((40, 60), np.uint8)
    ids[5:15, 5:15], ids[5:15, 30:40], ids[25:35, 5:15] = 1, 1, 2
    output = tmp_path / f"parcels{suffix}"
    report = vectorize(write_mask(tmp_path / "mask.tif", ids), output, qml=True)
    facts = plain(info(output))
    layer = {"layer": "parcels"} if suffix == ".gpkg" else {}  # the other one is the style
    frame = geopandas.read_parquet(output) if suffix == ".parquet" else geopandas.read_file(output, **layer)
    assert (facts["kind"], facts["features"], facts["geometry"]) == ("polygons", len(frame), "Polygon")
    assert facts["bounds"] == pytest.approx(list(frame.total_bounds))
    assert facts["crs"] == ("EPSG:4326" if suffix == ".geojson" else UTM)
    assert {"class_id", "class_name", "area_m2"} <= facts["fields"].keys()
    assert {row["class"]: row["polygons"] for row in facts["classes"] if row["polygons"]} == {
        "field": 2,
        "house": 1,
    }
    assert report.area_m2 is not None
    for row in facts["classes"]:
        assert row["area_m2"] == pytest.approx(report.area_m2[row["class"]], rel=1e-6)
    assert facts["styled"] is (suffix == ".gpkg")
    assert facts["style"] == "parcels.qml"


def test_other_layers(tmp_path: Path) -> None:
    box = pixel_box(north_up(), 0, 0, 9, 9)
    path = write_labels(tmp_path / "two.gpkg", [box, box], columns={"kind": ["a", "b"]})
    frame = geopandas.GeoDataFrame(geometry=[box.centroid], crs="EPSG:4326")
    assert info(path)["classes"] is None
    frame.to_file(path, layer="points", engine="pyogrio")
    facts = plain(info(path))
    assert [(one["layer"], one["features"], one["geometry"]) for one in facts["layers"]] == [
        ("two", 2, "Polygon"),
        ("points", 1, "Point"),
    ]
    assert "features" not in facts  # which of them is meant?
    frame.to_file(tmp_path / "points.fgb", engine="pyogrio")
    assert info(tmp_path / "points.fgb")["kind"] == "layer"


class Interrupt(SilentProgress):
    """Ctrl-C after so many chips."""

    def __init__(self, chips: int) -> None:
        self.left = chips

    def advance(self, count: int = 1) -> None:
        self.left -= count
        if self.left < 0:
            raise KeyboardInterrupt


def test_journal(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 300, 320))
    config = PredictConfig(precision="fp32", size_px=64, overlap_px=32)
    part = Window(0, 0, 60, 300)
    with pytest.raises(KeyboardInterrupt):
        predict(
            scene,
            tmp_path / "mask.tif",
            model=model,
            config=config,
            device="cpu",
            window=part,
            progress=Interrupt(12),
        )
    folder = tmp_path / "mask.tif.geoseg-resume"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    facts = plain(info(folder))
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert (facts["kind"], facts["of"]) == ("journal", str(tmp_path / "mask.tif"))
    assert facts["blocks_done"] == len(list(folder.glob("*.block"))) > 0
    assert (facts["window"], facts["scene_px"]) == ([0, 0, 60, 300], [320, 300])
    report = predict(
        scene, tmp_path / "mask.tif", model=model, config=config, device="cpu", window=part, resume=True
    )
    assert report.blocks == facts["blocks"] > report.resumed_blocks == facts["blocks_done"]


def test_shard(tmp_path: Path, model: Path) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 200, 320))
    config = PredictConfig(precision="fp32", size_px=64, overlap_px=32)
    made = predict_shard(
        scene, tmp_path / "mask.tif", ShardId(index=2, count=2), model=model, config=config, device="cpu"
    )
    facts = plain(info(made.output))
    assert (facts["kind"], facts["shard"], facts["of_shards"]) == ("shard", 2, 2)
    assert (facts["blocks"], facts["blocks_of_all"]) == (made.blocks, made.all_blocks)
    assert facts["mask_px"] == [320, 200]
    assert [row["class"] for row in facts["classes"]] == list(CLASSES.names)
    assert facts["go_on"] == f"geoseg merge {tmp_path}/mask.tif.shard-*-of-2 -o {tmp_path}/mask.tif"


def write_onnx(path: Path, **metadata: Any) -> Path:
    """An ONNX file that does nothing, with an input that is open in one direction."""
    sides = {"x": [1, 3, 96, 96], "y": [1, 3, 96, "wide"]}
    values = {
        name: onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in sides.items()
    }
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [values["x"]], [values["y"]]
    )
    proto = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], producer_name="someone"
    )
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in metadata.items()})
    path.write_bytes(proto.SerializeToString())
    return path


def test_onnx_of_text_that_is_no_text(tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "a.onnx", some="x")
    path.write_bytes(path.read_bytes().replace(b"some", b"so\xffe").replace(b"someone", b"some\xffne"))
    facts = info(path)
    assert facts["metadata"] == {"so\ufffde": "x"}


def test_onnx(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_onnx(tmp_path / "a.onnx", geoseg=read_card(model).to_json(), tile_size=96, seg_thresh=0.0)
    facts = plain(info(path))
    assert (facts["kind"], facts["chip_size_px"], facts["opset"]) == ("onnx", 96, 18)
    assert facts["inputs"] == [{"name": "x", "shape": [1, 3, 96, 96]}]
    assert facts["outputs"] == [{"name": "y", "shape": [1, 3, 96, -1]}]
    assert [row["class"] for row in facts["classes"]] == list(CLASSES.names)
    assert facts["metadata"] == {"seg_thresh": 0.0, "tile_size": 96}
    foreign = plain(info(write_onnx(tmp_path / "b.onnx", author="me")))
    assert (foreign["classes"], foreign["metadata"]) == (None, {"author": "me"})
    with pytest.raises(GeosegError, match="model card is damaged"):
        info(write_onnx(tmp_path / "c.onnx", geoseg={"version": 1}))
    (tmp_path / "d.onnx").write_bytes(path.read_bytes()[:50])
    with pytest.raises(GeosegError, match="no ONNX file, or a damaged one"):
        info(tmp_path / "d.onnx")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(GeosegError, match=r"pip install 'geoseg\[onnx\]'"):
        info(path)


def damaged(name: str, content: bytes) -> str:
    Path(name).write_bytes(content)
    return name


def plan_of(folder: str, **changes: Any) -> str:
    """A journal whose plan somebody made up."""
    plan = {
        "geoseg": "0", "torch": "2", "scene": "", "shape": [9, 9], "bands": [1], "nodata": None, "model": "",
        "classes": 2, "size_px": 64, "overlap_px": 32, "shift_px": 0, "refine": True, "margin": 0.9,
        "points_per_pixel": 0.1, "scale": 1, "tta": False, "precision": "fp32", "device": "cpu",
        "batch_size": 1, "window": None, "aoi": None, "layers": ["mask"],
    }  # fmt: skip
    Path(folder).mkdir()
    (Path(folder) / "plan.json").write_text(json.dumps(plan | changes))
    return folder


ZIP = b"PK\x05\x06" + bytes(18)
REFUSED: dict[str, Any] = {
    "nothing": lambda: "missing.tif",
    "empty": lambda: damaged("empty.bin", b""),
    "text": lambda: damaged("notes.txt", b"hello"),
    "style": lambda: damaged("mask.qml", b"<!DOCTYPE qgis><qgis/>"),
    "state": lambda: damaged("last.pt", b"PK\x03\x04" + ZIP),
    "zip": lambda: damaged("a.zip", b"PK\x03\x04" + bytes(30) + ZIP),
    "raster cut short": lambda: damaged("a.tif", b"II*\x00\x08\x00\x00\x00\xff\xff"),
    "vrt": lambda: damaged("b.tif", b"<VRTDataset rasterXSize='1' rasterYSize='1'/>"),
    "geopackage cut short": lambda: damaged("a.gpkg", b"SQLite format 3\x00" + bytes(90)),
    "json": lambda: damaged("a.json", b'{"a": 1}'),
    "foreign crs": lambda: damaged(
        "a.geojson", b'{"type":"FeatureCollection","crs":{"type":"link"},"features":[]}'
    ),
    "parquet": lambda: damaged("a.parquet", b"PAR1" + bytes(40) + b"PAR1"),
    "model cut short": lambda: damaged("a.safetensors", struct.pack("<Q", 99) + b"{}"),
    "folder": lambda: str(Path.cwd()),
    "plan that is none": lambda: plan_of("p.geoseg-resume", shape="large"),
    "plan of absurd size": lambda: plan_of("q.geoseg-resume", shape=[2**31 - 1, 2**31 - 1]),
    "plan of endless chips": lambda: plan_of("r.geoseg-resume", shape=[1, 2**31 - 1], overlap_px=63),
    "plan without stride": lambda: plan_of("s.geoseg-resume", overlap_px=64),
    "part outside": lambda: plan_of("t.geoseg-resume", window=[0, 0, 99, 99]),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_the_rest_is_one_line(case: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = case()
    code = main(["info", path])
    captured = capsys.readouterr()
    assert code in {1, 2}
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("geoseg: error: ")
    assert ";" in captured.err
    assert "bug in geoseg" not in captured.err


def test_nothing_slow_is_imported(tmp_path: Path, model: Path) -> None:
    write_mask(tmp_path / "mask.tif", some_ids())
    chips = make_chips(tmp_path, size=128)
    code = (
        "import sys; from geoseg.info import info; found = [info(path) for path in sys.argv[1:]]; "
        "print('torch' in sys.modules)"
    )
    paths = [str(tmp_path / "mask.tif"), str(chips), str(model)]
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_for_people_and_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_mask(tmp_path / "mask.tif", some_ids())
    assert main(["info", str(path), "--counts", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == plain(info(path, counts=True))
    assert main(["info", str(path), "--counts"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    values = {line[: line.index("  ")]: line for line in lines if not line.startswith(" ")}
    assert values["size"].endswith("  700 x 600 px")
    assert values["gsd"].endswith("  2 m")
    assert values["bounds"].endswith("  500000, 4998800, 501400, 5000000")
    # Values begin in one column, as do the cells of tables.
    assert len({len(line) - len(line[line.index("  ") :].lstrip()) for line in values.values()}) == 1
    at = lines.index(values["classes"])
    header, *rows = lines[at : at + 5]
    assert [row.split()[1] for row in rows] == list(NAMES.names)
    assert {row.index(row.split()[1]) for row in rows} == {header.index("class", header.index("id"))}
    assert all(line == line.rstrip() for line in lines)
    assert main(["info", str(shutil.copy(path, "copy.tif")), "-q"]) == 0
