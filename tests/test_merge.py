"""Shards to mask: the very bytes of one machine, and nothing a hostile shard could do."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_of_tests import noise, write_model
from rasterio.windows import Window
from scenes import rotated, some_gcps, write_scene

from geoseg.config import PredictConfig
from geoseg.errors import GeosegError, InputError, OutputError, ReadError
from geoseg.merge import merge
from geoseg.predict import predict
from geoseg.render.shards import ShardId
from geoseg.shard import predict_shard

FP32 = PredictConfig(precision="fp32", size_px=64, overlap_px=32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


def make_shards(scene: Path, output: Path, count: int, **options: Any) -> list[Path]:
    return [
        predict_shard(scene, output, ShardId(index=index, count=count), device="cpu", **options).output
        for index in range(1, count + 1)
    ]


CASES: dict[str, dict[str, Any]] = {
    "whole": {"counts": (1, 2, 5)},
    "window and all layers": {"counts": (3,), "window": Window(237, 51, 311, 103), "layers": True},
    "fine, rotated": {
        "counts": (2,),
        "scale": 2,
        "window": Window(200, 0, 99, 99),
        "grid": {"transform": rotated(30.0)},
    },
    "ground control points": {
        "counts": (2,),
        "window": Window(200, 0, 100, 90),
        "grid": {"gcps": some_gcps(200, 600), "crs": "EPSG:32633"},
    },
    "3d crs": {"counts": (2,), "window": Window(200, 0, 100, 90), "grid": {"crs": "ESRI:54049"}},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_merged_shards_are_the_bytes_of_one_machine(
    tmp_path: Path, model: Path, case: dict[str, Any]
) -> None:
    scene = write_scene(tmp_path / "scene.tif", noise(3, 200, 600), **case.get("grid", {}))
    names = ("probabilities", "uncertainty") if case.get("layers") else ()
    config = FP32.model_copy(update={"scale": case.get("scale", 1)})
    options: dict[str, Any] = {"model": model, "config": config, "window": case.get("window")}

    def outputs(folder: str) -> dict[str, Path]:
        (tmp_path / folder).mkdir()
        return {name: tmp_path / folder / f"{name}.tif" for name in names}

    whole = predict(scene, tmp_path / "mask.tif", device="cpu", **options, **outputs("whole"))
    for count in case["counts"]:
        further = outputs(f"{count}")
        shards = make_shards(scene, tmp_path / f"{count}" / "mask.tif", count, **options, **further)
        assert not any(path.exists() for path in further.values())
        # Neither scene nor model, nor an order of the shards, is needed.
        scene.rename(tmp_path / "gone")
        report = merge(shards[::-1], tmp_path / f"{count}" / "mask.tif", **further)
        (tmp_path / "gone").rename(scene)
        for name in ("mask.tif", "mask.tif.aux.xml"):
            assert (tmp_path / f"{count}" / name).read_bytes() == (tmp_path / name).read_bytes()
        for name, path in further.items():
            assert path.read_bytes() == (tmp_path / "whole" / f"{name}.tif").read_bytes()
        assert report.class_pixels == whole.class_pixels
        assert (report.nodata_pixels, report.shape) == (whole.nodata_pixels, whole.shape)
        assert (report.shards, report.blocks) == (count, whole.blocks)
        json.dumps(report.to_json())


def test_an_area_of_interest_leaves_blocks_out(tmp_path: Path, model: Path) -> None:
    import geopandas
    from shapely.geometry import box

    scene = write_scene(tmp_path / "scene.tif", noise(3, 200, 600))
    corners = [(500_010, 4_999_910, 500_060, 4_999_980), (500_270, 4_999_990, 500_290, 5_000_000)]
    aoi = tmp_path / "aoi.geojson"
    shapes = geopandas.GeoSeries([box(*each) for each in corners], crs="EPSG:32633").to_crs("EPSG:4326")
    geopandas.GeoDataFrame(geometry=shapes).to_file(aoi)
    whole = predict(scene, tmp_path / "mask.tif", device="cpu", model=model, config=FP32, aoi=aoi)
    assert 0 < whole.nodata_pixels < 200 * 600
    (tmp_path / "2").mkdir()
    shards = make_shards(scene, tmp_path / "2" / "mask.tif", 2, model=model, config=FP32, aoi=aoi)
    merge(shards, tmp_path / "2" / "mask.tif")
    assert (tmp_path / "2" / "mask.tif").read_bytes() == (tmp_path / "mask.tif").read_bytes()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, model: Path) -> list[Path]:
    """Two shards of one prediction."""
    folder = tmp_path_factory.mktemp("shards")
    scene = write_scene(folder / "scene.tif", noise(3, 200, 600))
    return make_shards(scene, folder / "mask.tif", 2, model=model, config=FP32)


Members = dict[str, bytes]


def members(path: Path) -> Members:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, contents: Members, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def changed(key: str, **values: Any) -> Callable[[Members], Members]:
    """Change values of one of the JSON members."""

    def change(contents: Members) -> Members:
        return contents | {key: json.dumps(json.loads(contents[key]) | values).encode()}

    return change


def first_block(contents: Members) -> str:
    return min(name for name in contents if name.endswith(".block"))


IN_ONE: dict[str, tuple[Callable[[Members], Members], type[GeosegError], str]] = {
    "way out": (lambda c: c | {"../evil": b""}, InputError, r"holds \.\./evil, which no shard does"),
    "absolute": (lambda c: c | {"/tmp/evil": b""}, InputError, "which no shard does"),
    "foreign name": (lambda c: c | {"a.block": b""}, InputError, "which no shard does"),
    "other digits": (lambda c: c | {"٠٠٠٠٠٠٠.block": b""}, InputError, "which no shard does"),
    "no plan": (lambda c: {k: v for k, v in c.items() if k != "plan.json"}, InputError, "no plan.json"),
    "no facts": (lambda c: {k: v for k, v in c.items() if k != "shard.json"}, InputError, "no shard.json"),
    "long plan": (lambda c: c | {"plan.json": b" " * 2_000_000}, InputError, "plan.json of 2,000,000 bytes"),
    "plan is no JSON": (lambda c: c | {"plan.json": b"\xff"}, ReadError, "is damaged"),
    "plan is deep": (lambda c: c | {"plan.json": b"[" * 900_000}, ReadError, "is damaged"),
    "plan is a list": (lambda c: c | {"plan.json": b"[]"}, ReadError, "is damaged"),
    "facts are a list": (lambda c: c | {"shard.json": b"[]"}, ReadError, "is damaged"),
    "no such shard": (changed("shard.json", index=3), ReadError, "no shard 3 of 2"),
    "a true shard": (changed("shard.json", index=True), ReadError, "is damaged"),
    "a block less": (
        lambda c: {k: v for k, v in c.items() if k != first_block(c)},
        ReadError,
        "the shards hold",
    ),
    "a block more": (lambda c: c | {"0000099.block": b""}, ReadError, "the shards hold"),
    "another block": (
        lambda c: {("0000077.block" if k == first_block(c) else k): v for k, v in c.items()},
        ReadError,
        "does not hold the blocks of shard",
    ),
    "an empty block": (lambda c: c | {first_block(c): b""}, ReadError, "is damaged .no geoseg block"),
    "a long block": (lambda c: c | {first_block(c): b"x" * 10_000_000}, InputError, "of 10,000,000 bytes"),
    "swapped blocks": (
        lambda c: c | {first_block(c): max((k, v) for k, v in c.items() if k.endswith("block"))[1]},
        ReadError,
        "is damaged .another block",
    ),
}

IN_ALL: dict[str, tuple[Callable[[Members], Members], type[GeosegError], str]] = {
    "huge scene": (changed("plan.json", shape=[2**31 - 1, 2**31 - 1]), ReadError, "do not fit"),
    "long scene": (changed("plan.json", shape=[1, 2**31 - 1]), ReadError, "do not fit"),
    "endless grid": (changed("plan.json", overlap_px=64), ReadError, "do not fit"),
    "odd grid": (changed("plan.json", size_px=33, overlap_px=0), ReadError, "do not fit"),
    "huge blocks": (
        changed("plan.json", shape=[4096, 4096], size_px=4096, scale=4, layers=["mask", "probabilities"]),
        ReadError,
        "do not fit",
    ),
    "part outside": (changed("plan.json", window=[0, 500, 100, 600]), ReadError, "do not fit"),
    "other classes": (changed("plan.json", classes=200), ReadError, "do not fit"),
    "other version": (changed("plan.json", geoseg="9.9"), InputError, "made by geoseg 9.9"),
    "billions of blocks": (changed("shard.json", wanted=[[0, 2**40]]), ReadError, "the shards hold"),
    "blocks beyond": (changed("shard.json", wanted=[[0, 4], [99, 99]]), ReadError, "the shards hold"),
}

ONE_AND_ALL = [(change, False) for change in IN_ONE] + [(change, True) for change in IN_ALL]


@pytest.mark.parametrize(("name", "everywhere"), ONE_AND_ALL, ids=[name for name, _ in ONE_AND_ALL])
def test_hostile_shards_are_one_line(tmp_path: Path, good: list[Path], name: str, everywhere: bool) -> None:
    change, error, message = (IN_ALL if everywhere else IN_ONE)[name]
    shards = []
    for path in good:
        contents = members(path)
        shards.append(pack(tmp_path / path.name, contents if shards and not everywhere else change(contents)))
    with pytest.raises(error, match=message) as caught:
        merge(shards, tmp_path / "mask.tif")
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in good}


def test_a_packed_shard_is_refused_before_it_is_unpacked(tmp_path: Path, good: list[Path]) -> None:
    bomb = members(good[0]) | {"plan.json": b" " * 100_000_000}
    packed = pack(tmp_path / "bomb", bomb, zipfile.ZIP_DEFLATED)
    with pytest.raises(InputError, match="compressed, which no shard does"):
        merge([packed, good[1]], tmp_path / "mask.tif")


def test_an_encrypted_shard_is_refused(tmp_path: Path, good: list[Path]) -> None:
    data = bytearray(good[0].read_bytes())
    at = 0
    while (at := data.find(b"PK\x01\x02", at)) >= 0:
        data[at + 8] |= 1
        at += 4
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(InputError, match="encrypted, which no shard does"):
        merge([tmp_path / "a", good[1]], tmp_path / "mask.tif")


def test_a_name_that_is_there_twice_is_refused(tmp_path: Path, good: list[Path]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # zipfile's own, about the name
        path = pack(tmp_path / "a", members(good[0]))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("plan.json", b"{}")
    with pytest.raises(InputError, match=r"holds plan\.json twice"):
        merge([path, good[1]], tmp_path / "mask.tif")


def test_a_huge_directory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        for number in range(2000):
            archive.writestr(zipfile.ZipInfo(f"{number:07d}.block" + "x" * 1000), b"")
    with pytest.raises(InputError, match=r"has a directory of 2,\d{3},\d{3} bytes, as no shard has"):
        merge([tmp_path / "a"], tmp_path / "mask.tif")


def test_every_truncation_and_every_flipped_bit_is_noticed(tmp_path: Path, good: list[Path]) -> None:
    data = good[0].read_bytes()
    rng = np.random.default_rng(0)
    cuts = [0, 1, 4, 30, len(data) - 1, len(data) - 22, *rng.integers(0, len(data), 40).tolist()]
    for cut in cuts:
        (tmp_path / "a").write_bytes(data[:cut])
        with pytest.raises((InputError, ReadError), match=r"a is (no shard|truncated or damaged); "):
            merge([tmp_path / "a", good[1]], tmp_path / "mask.tif")
    expected = (tmp_path / "whole.tif", tmp_path / "mask.tif")
    merge(good, expected[0])
    noticed = 0
    for at in rng.integers(0, len(data), 200).tolist():
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        (tmp_path / "a").write_bytes(flipped)
        try:
            merge([tmp_path / "a", good[1]], expected[1], overwrite=True)
        except GeosegError:
            noticed += 1
        else:
            # Dates, permissions and the like do not matter.
            assert expected[0].read_bytes() == expected[1].read_bytes()
    assert noticed > 150


def test_what_is_no_shard(tmp_path: Path, good: list[Path]) -> None:
    (tmp_path / "text").write_text("hello")
    for path, message in [
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path, "is no file"),
        (tmp_path / "text", "is no shard"),
        (good[0].with_name("scene.tif"), "is no shard"),
    ]:
        with pytest.raises(InputError, match=message):
            merge([path, good[1]], tmp_path / "mask.tif")
    with pytest.raises(InputError, match="no shards"):
        merge([], tmp_path / "mask.tif")


def test_a_set_that_is_not_whole(tmp_path: Path, good: list[Path], model: Path) -> None:
    output = tmp_path / "mask.tif"
    with pytest.raises(InputError, match="shard 2 of 2 is missing; make it with --shard 2/2"):
        merge(good[:1], output)
    copy = tmp_path / "copy"
    copy.write_bytes(good[0].read_bytes())
    with pytest.raises(InputError, match="are both shard 1 of 2; give each shard once"):
        merge([*good, copy], output)
    with pytest.raises(InputError, match="are both shard 1 of 2"):
        merge([good[0], *good], output)
    scene = good[0].with_name("scene.tif")
    options: dict[str, Any] = {"model": model, "config": FP32, "device": "cpu"}
    third = predict_shard(scene, tmp_path / "m.tif", ShardId(index=3, count=3), **options).output
    with pytest.raises(InputError, match=r"is shard 3 of 3, .* is shard 1 of 2"):
        merge([good[0], third], output)
    options["config"] = FP32.model_copy(update={"margin": 0.5})
    other = predict_shard(scene, tmp_path / "m.tif", ShardId(index=2, count=2), **options).output
    with pytest.raises(InputError, match=r"does not belong to .*: margin 0.5 instead of 0.99; make all"):
        merge([good[0], other], output)
    with pytest.raises(InputError, match="the shards hold no uncertainty; predict them again"):
        merge(good, output, uncertainty=tmp_path / "u.tif")
    with pytest.raises(OutputError, match="both input and output"):
        merge(good, good[0], overwrite=True)
    output.write_text("mine")
    with pytest.raises(OutputError, match="--overwrite"):
        merge(good, output)
    assert output.read_text() == "mine"


def test_merging_starts_without_torch() -> None:
    code = "import sys, geoseg.merge; print(sorted({'torch', 'torchvision'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command(tmp_path: Path, good: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    from geoseg_cli.main import main

    assert main(["merge", *map(str, good), "-o", str(tmp_path / "mask.tif"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shards"] == 2
    assert main(["merge", str(good[0]), "-o", str(tmp_path / "b.tif")]) == 2
    assert capsys.readouterr().err.startswith("geoseg: error: shard 2 of 2 is missing")
    (tmp_path / "cut").write_bytes(good[0].read_bytes()[:-30])
    assert main(["merge", str(tmp_path / "cut"), str(good[1]), "-o", str(tmp_path / "b.tif")]) == 1
    assert "cut is truncated or damaged; copy or make this shard again" in capsys.readouterr().err
