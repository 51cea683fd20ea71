"""Model to ONNX and STAC: what others read of it, and what is refused."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest
from models_of_tests import noise, write_model

from geoseg.classes import ClassMap
from geoseg.config import ModelConfig
from geoseg.errors import ConfigError, InputError, ModelError, OutputError
from geoseg.export import export
from geoseg.models.checkpoint import load_model, save_model
from geoseg.models.mlm import count_parameters, model_item
from geoseg_cli.main import main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("runs") / "of fields, 2" / "model.safetensors")


def written_anew(model: Path, path: Path, **changes: Any) -> Path:
    """The same weights under a changed card."""
    network, card = load_model(model)
    save_model(path, network, replace(card, **changes))
    return path


def check_item(item: dict[str, Any]) -> None:
    """Raise where ``item`` breaks a rule of STAC 1.1 or of MLM 1.5."""
    pystac = pytest.importorskip("pystac")
    schema = pytest.importorskip("stac_model.schema")
    from pystac.validation import validate_dict

    # No extensions: their schemas would have to come from the net.
    validate_dict(item, pystac.STACObjectType.ITEM, extensions=[])
    properties = item["properties"]
    schema.MLModelProperties(**properties)
    assert {"mlm:name", "mlm:architecture", "mlm:tasks", "mlm:input", "mlm:output"} <= properties.keys()
    assert not {"mlm:artifact_type", "mlm:compile_method", "mlm:entrypoint"} & properties.keys()
    assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9_.\-\s]+[a-zA-Z0-9]", properties["mlm:name"])
    assert properties["mlm:pretrained"] or properties["mlm:pretrained_source"] is None
    assert all(re.fullmatch(r"[0-9a-zA-Z_.-]+", key) for key in properties["mlm:hyperparameters"])
    (given,), (put_out,) = properties["mlm:input"], properties["mlm:output"]
    assert given["bands"] == [band["name"] for band in properties["bands"]]
    assert "bands" in given["input"]["dim_order"]
    assert len(given["value_scaling"]) == len(given["bands"])
    for described in (given["input"], put_out["result"]):
        assert len(described["shape"]) == len(described["dim_order"]) == len(set(described["dim_order"]))
    assert [each["value"] for each in put_out["classification:classes"]] == list(
        range(put_out["result"]["shape"][1])
    )
    for each in put_out["classification:classes"]:
        assert re.fullmatch(r"[0-9A-Za-z_-]+", each["name"])
        assert re.fullmatch(r"[0-9A-F]{6}", each["color_hint"])
        assert each["description"]
    for asset in item["assets"].values():
        assert "mlm:model" in asset["roles"]
        assert asset["mlm:artifact_type"]
        assert [band["name"] for band in asset["bands"]] == given["bands"]
        assert not {"mlm:name", "mlm:input", "mlm:output", "mlm:hyperparameters"} & asset.keys()


def check_asset(asset: dict[str, Any], item: Path, wanted: Path) -> None:
    """Raise unless ``asset`` of the Item at ``item`` is the file ``wanted``."""
    file = (item.parent / unquote(asset["href"])).resolve()
    assert file == wanted.resolve()
    assert asset["file:size"] == file.stat().st_size
    assert asset["file:checksum"] == "1220" + hashlib.sha256(file.read_bytes()).hexdigest()


def test_card_describes_the_model(tmp_path: Path, model: Path) -> None:
    item_path = tmp_path / "cards" / "card.json"
    item_path.parent.mkdir()
    report = export(model.parent, card=item_path)
    assert (report.model, report.card, report.onnx, report.onnx_bytes) == (model, item_path, None, None)
    item = json.loads(item_path.read_text(encoding="utf-8"))
    check_item(item)
    check_asset(item["assets"]["model"], item_path, model)
    assert list(item["assets"]) == ["model"]
    assert item["geometry"] is None  # the file does not know where it learned
    assert "bbox" not in item
    properties = item["properties"]
    assert properties["mlm:name"] == "geoseg-of-fields-2"
    assert properties["gsd"] == 0.5
    assert properties["mlm:pretrained"] is False
    (given,) = properties["mlm:input"]
    assert given["input"]["shape"] == [-1, 3, 64, 64]
    assert given["value_scaling"] == [{"type": "z-score", "mean": 120.0, "stddev": 60.0}] * 3
    assert "pre_processing_function" not in given
    assert properties["bands"][1]["name"] == "band 2"
    assert properties["bands"][1]["data_type"] == "uint8"
    assert properties["mlm:hyperparameters"]["head_width"] == 8
    network, _ = load_model(model)
    assert properties["mlm:total_parameters"] == sum(values.numel() for values in network.parameters())


def test_card_of_an_unusual_model(tmp_path: Path, model: Path) -> None:
    card = load_model(model)[1]
    odd = written_anew(
        model,
        tmp_path / "_é_.safetensors",
        architecture=ModelConfig(head_width=8, head_depth=1, backbone_weights="/home/somebody/w.pth"),
        classes=ClassMap.from_names(["Straße & Weg", "1", "水"]),
        stats=replace(card.stats, limit_std=4.5),
        band_names=("NIR", "red", "red"),
        dtype="uint16",
        gsd_m=None,
        torch_version="a nightly one",
        training={"epochs": 3, "scores": {"miou": 0.5}, "config": {"secret": "/home/somebody"}},
    )
    item = model_item(odd, beside=tmp_path / "card.json")
    check_item(item)
    properties = item["properties"]
    assert properties["mlm:name"] == "geoseg"
    assert "gsd" not in properties
    assert "mlm:framework_version" not in properties
    assert (properties["mlm:pretrained"], properties["mlm:pretrained_source"]) == (True, "w.pth")
    assert properties["geoseg:validation_scores"] == {"miou": 0.5}
    assert [each["description"] for each in properties["mlm:output"][0]["classification:classes"]] == [
        "Straße & Weg",
        "1",
        "水",
    ]
    assert properties["mlm:input"][0]["pre_processing_function"]["expression"] == (
        "numpy.clip(bands, mean - 4.5 * stddev, mean + 4.5 * stddev)"
    )
    assert "/home" not in json.dumps(item)  # who shares a model need not share the names on his disk


def test_a_damaged_model_has_no_parameters(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"12345678{}")
    with pytest.raises(ModelError, match="is damaged; copy or train the model again"):
        count_parameters(tmp_path / "model.safetensors")


def test_onnx_and_card_from_the_command_line(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    onnx, card = tmp_path / "m.onnx", tmp_path / "m.json"
    words = ["export", str(model), "--onnx", str(onnx), "--card", str(card), "--size", "96", "--no-refine"]
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["onnx"], told["card"], told["size_px"], told["refine"]) == (str(onnx), str(card), 96, False)
    assert told["onnx_bytes"] == onnx.stat().st_size
    assert told["agreement"] > 0.999
    item = json.loads(card.read_text(encoding="utf-8"))
    check_item(item)
    check_asset(item["assets"]["onnx"], card, onnx)
    assert item["assets"]["onnx"]["href"] == "./m.onnx"
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    pixels = np.float32(noise(3, 96, 96) / 255.0)[None]
    (probabilities,) = session.run(None, {"pixels": pixels})
    assert probabilities.shape == (1, 3, 96, 96)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    # Both are there now.
    assert main(words) == 2
    assert capsys.readouterr().err == f"geoseg: error: {onnx} exists; use --overwrite to replace it\n"


def test_a_card_is_told_in_one_line(tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = tmp_path / "card.json"
    assert main(["export", str(model.parent), "--card", str(card)]) == 0
    assert capsys.readouterr().err.splitlines() == [f"model {model}", f"wrote {card}"]


def test_without_the_extra_onnx_is_refused_and_a_card_is_not(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("geoseg.models.onnx._NEEDED", ("json", "no_such_onnx"))
    assert main(["export", str(model), "--onnx", str(tmp_path / "m.onnx")]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "geoseg: error: ONNX files need no_such_onnx; pip install 'geoseg[onnx]'"
    )
    assert list(tmp_path.iterdir()) == []
    assert main(["export", str(model), "--card", str(tmp_path / "m.json")]) == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, InputError, "nothing to write; name an output: --onnx FILE, --card FILE or both"),
        ({"onnx": "m.pt"}, OutputError, "--onnx m.pt does not end in .onnx; name it so"),
        ({"card": "m.yaml"}, OutputError, "--card m.yaml does not end in .json; name it so"),
        (
            {"onnx": "m.onnx", "size_px": 100},
            ConfigError,
            "--size 100: give a multiple of 32 from 64 to 4096",
        ),
        ({"onnx": "m.onnx", "size_px": 32}, ConfigError, "--size 32: give a multiple of 32 from 64 to 4096"),
        ({"onnx": "no/m.onnx"}, OutputError, "of output m.onnx does not exist; create it first"),
    ],
)
def test_refusals(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {key: Path(value) if isinstance(value, str) else value for key, value in options.items()}
    with pytest.raises(error, match=re.escape(message)):
        export(model, **paths)
    assert list(tmp_path.iterdir()) == []


def test_the_side_of_chips_that_cannot_be_is_made_longer(tmp_path: Path, model: Path) -> None:
    for size_px, wanted in ((500, 512), (512, 512), (33, 64)):
        other = written_anew(model, tmp_path / "model.safetensors", size_px=size_px)
        assert export(other, card=tmp_path / "card.json", overwrite=True).size_px == wanted


def test_a_missing_model_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"model .*none does not exist"):
        export(tmp_path / "none", card=tmp_path / "card.json")
    assert list(tmp_path.iterdir()) == []
