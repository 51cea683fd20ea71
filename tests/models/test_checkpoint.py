"""A model file comes back as it was, or is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from geoseg.classes import BandStats, ClassMap
from geoseg.config import ModelConfig, PointConfig
from geoseg.errors import ModelError
from geoseg.models.card import CARD_KEY, MAX_HEADER_BYTES, ModelCard, fingerprint, read_card
from geoseg.models.checkpoint import load_model, save_model
from geoseg.models.deeplab import PointRendDeepLab, build_model
from geoseg.models.inference import predict_logits

CONFIG = ModelConfig(head_width=8, head_depth=1, backbone_weights="/somewhere/else.pth")
CARD = ModelCard(
    architecture=CONFIG,
    points=PointConfig(importance=0.5),
    classes=ClassMap.from_names(["background", "Straße"], background=0),
    band_names=("red", "nir"),
    dtype="uint16",
    stats=BandStats(count=(9, 9), mean=(1.5, 2.0), m2=(3.0, 4.0), minimum=(0.0, 0.0), maximum=(9.0, 8.0)),
    gsd_m=0.25,
    size_px=512,
    geoseg_version="0.1.0",
    torch_version="2.15.0",
    training={"miou": 0.5, "epochs": [1, 2]},
)


@pytest.fixture(scope="module")
def network() -> PointRendDeepLab:
    torch.manual_seed(0)
    model = build_model(CONFIG.model_copy(update={"backbone_weights": None}), bands=2, classes=2)
    return model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload, no-any-return]


@pytest.fixture(scope="module")
def model_file(network: PointRendDeepLab, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    save_model(path, network, CARD)
    return path


def test_round_trip(network: PointRendDeepLab, model_file: Path) -> None:
    state = torch.get_rng_state()
    loaded, card = load_model(model_file)
    assert torch.equal(torch.get_rng_state(), state)
    assert card == CARD == read_card(model_file)
    assert not loaded.training
    for name, values in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], values)
    image = torch.randn(1, 2, 50, 40)
    loaded = loaded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert torch.equal(predict_logits(loaded, image), predict_logits(network.eval(), image))


def test_half_the_size_and_nearly_the_same(network: PointRendDeepLab, model_file: Path) -> None:
    save_model(Path("half.safetensors"), network, CARD, half=True)
    assert Path("half.safetensors").stat().st_size < 0.55 * model_file.stat().st_size
    loaded, card = load_model(Path("half.safetensors"))
    assert card == CARD
    for name, values in network.state_dict().items():
        found = loaded.state_dict()[name]
        assert found.dtype == values.dtype
        assert torch.allclose(found, values, rtol=2e-3, atol=1e-6), name


def test_files_of_the_same_model_are_equal(network: PointRendDeepLab, model_file: Path) -> None:
    again = Path("again.safetensors")
    save_model(again, network, CARD)
    assert again.read_bytes() == model_file.read_bytes()
    assert fingerprint(again) == fingerprint(model_file)
    assert len(fingerprint(again)) == 64
    assert sorted(Path().iterdir()) == [again]


def test_bf16_weights_are_kept_as_float32(network: PointRendDeepLab) -> None:
    half = build_model(network_config(), bands=2, classes=2).bfloat16()
    save_model(Path("half.safetensors"), half, CARD)
    loaded, _ = load_model(Path("half.safetensors"))
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}


def network_config() -> ModelConfig:
    return CONFIG.model_copy(update={"backbone_weights": None})


def test_scores_that_are_nan_become_null(network: PointRendDeepLab) -> None:
    path = Path("nan.safetensors")
    save_model(path, network, replace(CARD, training={"iou": [float("nan"), 0.5], "loss": float("inf")}))
    assert read_card(path).training == {"iou": [None, 0.5], "loss": None}


def test_a_card_that_could_not_be_read_back_replaces_nothing(
    network: PointRendDeepLab, model_file: Path
) -> None:
    path = Path("kept.safetensors")
    path.write_bytes(model_file.read_bytes())
    with pytest.raises(ModelError):
        save_model(path, network, replace(CARD, training={"log": "x" * MAX_HEADER_BYTES}))
    assert path.read_bytes() == model_file.read_bytes()
    assert sorted(Path().iterdir()) == [path]


def with_header(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def with_card(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    def change_card(header: dict[str, Any]) -> None:
        card = json.loads(header["__metadata__"][CARD_KEY])
        change(card)
        header["__metadata__"][CARD_KEY] = json.dumps(card)

    return with_header(data, change_card)


HEADER_DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "seven bytes": lambda data: data[:7],
    "header cut": lambda data: data[:100],
    "data cut": lambda data: data[:-1],
    "half": lambda data: data[: len(data) // 2],
    "longer": lambda data: data + b"\0",
    "huge header": lambda data: (MAX_HEADER_BYTES + 1).to_bytes(8, "little") + data[8:],
    "endless header": lambda data: b"\xff" * 8 + data[8:],
    "pickle": lambda _: b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00" * 20,
    "tiff": lambda _: b"II*\0" + b"\0" * 300,
    "no json": lambda data: data[:8] + b"]" + data[9:],
    "a list": lambda _: (2).to_bytes(8, "little") + b"[]",
    "nested": lambda _: (200_000).to_bytes(8, "little") + b"[" * 200_000,
    "foreign": lambda data: with_header(data, lambda header: header.pop("__metadata__")),
    "metadata is text": lambda data: with_header(data, lambda header: header.update(__metadata__="x")),
    "offsets": lambda data: with_header(data, lambda header: header.update(more={"data_offsets": ["x"]})),
    "card is text": lambda data: with_header(data, lambda header: header["__metadata__"].update(geoseg="{")),
    "card is a list": lambda data: with_header(
        data, lambda header: header["__metadata__"].update(geoseg="[]")
    ),
    "newer": lambda data: with_card(data, lambda card: card.update(version=2)),
}
CARD_DAMAGE: dict[str, Callable[[dict[str, Any]], object]] = {
    **{
        f"without {key}": (lambda card, key=key: card.pop(key))  # type: ignore[misc]
        for key in CARD.to_json()
        if key != "gsd_range_m"  # which older models lack
    },
    "architecture": lambda card: card["architecture"].update(architecture="unet"),
    "unknown option": lambda card: card["architecture"].update(extra=1),
    "giant head": lambda card: card["architecture"].update(head_width=10**9),
    "no classes": lambda card: card["classes"].update(names=[], colors=[]),
    "no bands": lambda card: card.update(band_names=[]),
    "other bands": lambda card: card.update(band_names=["red"]),
    "bands no text": lambda card: card.update(band_names=[1, 2]),
    "surrogate": lambda card: card.update(band_names=["\ud800", "b"]),
    "dtype": lambda card: card.update(dtype="complex64"),
    "mean": lambda card: card["stats"].update(mean=[float("nan"), 1]),
    "count": lambda card: card["stats"].update(count=[float("inf"), 1]),
    "spread below 0": lambda card: card["stats"].update(m2=[-1.0, 1.0]),
    "count below 0": lambda card: card["stats"].update(count=[-1, 1]),
    "endless count": lambda card: card["stats"].update(count=[10**400, 1]),
    "gsd": lambda card: card.update(gsd_m=-1),
    "gsd range": lambda card: card.update(gsd_range_m=[2.0, 1.0]),
    "gsd range of one": lambda card: card.update(gsd_range_m=[2.0]),
    "size": lambda card: card.update(size_px=10**9),
    "training": lambda card: card.update(training=3),
}


@pytest.mark.parametrize("name", HEADER_DAMAGE)
def test_damaged_files_are_refused_in_one_line(name: str, model_file: Path) -> None:
    path = Path("damaged.safetensors")
    path.write_bytes(HEADER_DAMAGE[name](model_file.read_bytes()))
    for read in (read_card, load_model):
        with pytest.raises(ModelError, match=r"^damaged\.safetensors[^\n]*; [^\n]+$"):
            read(path)


@pytest.mark.parametrize("name", CARD_DAMAGE)
def test_damaged_cards_are_refused_in_one_line(name: str, model_file: Path) -> None:
    path = Path("damaged.safetensors")
    path.write_bytes(with_card(model_file.read_bytes(), CARD_DAMAGE[name]))
    with pytest.raises(ModelError, match=r"^damaged\.safetensors: [^\n]*; copy or train the model again$"):
        read_card(path)


def test_missing_files_and_folders() -> None:
    for path in (Path("none.safetensors"), Path()):
        for read in (read_card, load_model):
            with pytest.raises(ModelError, match=r"^model [^\n]*; give "):
                read(path)


def drop(tensors: dict[str, torch.Tensor]) -> None:
    del tensors["point_head.predictor.bias"]


def add(tensors: dict[str, torch.Tensor]) -> None:
    tensors["more"] = torch.zeros(1)


def reshape(tensors: dict[str, torch.Tensor]) -> None:
    tensors["point_head.predictor.bias"] = torch.zeros(3)


def retype(tensors: dict[str, torch.Tensor]) -> None:
    tensors["point_head.predictor.bias"] = torch.zeros(2, dtype=torch.float64)


def poison(tensors: dict[str, torch.Tensor]) -> None:
    tensors["point_head.predictor.bias"][0] = float("nan")


@pytest.mark.parametrize("change", [drop, add, reshape, retype, poison])
def test_weights_that_do_not_fit_the_card(
    change: Callable[[dict[str, torch.Tensor]], None], model_file: Path
) -> None:
    tensors = load_file(model_file)
    change(tensors)
    save_file(tensors, "odd.safetensors", metadata={CARD_KEY: json.dumps(CARD.to_json())})
    with pytest.raises(ModelError, match=r"^odd\.safetensors: [^\n]*; copy or train the model again$"):
        load_model(Path("odd.safetensors"))


def test_overlapping_tensors_are_refused(model_file: Path) -> None:
    def overlap(header: dict[str, Any]) -> None:
        names = [name for name in header if name.endswith("running_mean")]
        header[names[0]]["data_offsets"] = header[names[1]]["data_offsets"]

    Path("odd.safetensors").write_bytes(with_header(model_file.read_bytes(), overlap))
    with pytest.raises(ModelError, match=r"^odd\.safetensors"):
        load_model(Path("odd.safetensors"))
