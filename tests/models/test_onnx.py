"""The ONNX file says what the network says when it is fed as Deepness feeds it, in old runtimes too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models_of_tests import noise, write_model
from torch import Tensor

from geoseg.classes import BandStats
from geoseg.config import ModelConfig
from geoseg.errors import InputError, ModelError, WriteError
from geoseg.models import onnx as onnx_file
from geoseg.models.card import ModelCard, read_card
from geoseg.models.checkpoint import load_model
from geoseg.models.deeplab import PointRendDeepLab, build_model
from geoseg.models.graph import FedNormaliser, PixelsToProbabilities, _unsure
from geoseg.models.inference import predict_logits
from geoseg.models.point_choice import most_uncertain
from geoseg.models.pointrend import step_margin

SIZE_PX = 96


def as_deepness_feeds(pixels: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """(B, H, W) pixels as the plugin hands them to a model: its arithmetic, in its order, on its axes."""
    scaled = np.float32(pixels.transpose(1, 2, 0)[None] * 1.0 / 255.0)
    standard = (scaled - np.zeros(len(pixels), np.float32)) / np.ones(len(pixels), np.float32)
    return np.transpose(standard, (0, 3, 1, 2))


def stats_of(mean: list[float], std: list[float], limit: float | None) -> BandStats:
    return BandStats(
        count=(100,) * len(mean),
        mean=tuple(mean),
        m2=tuple(100 * value**2 for value in std),
        minimum=(0.0,) * len(mean),
        maximum=(255.0,) * len(mean),
        limit_std=limit,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[PointRendDeepLab, ModelCard]:
    network, card = load_model(write_model(tmp_path_factory.mktemp("run") / "model.safetensors"))
    return network, replace(card, stats=stats_of([120.0, 90.0, 100.0], [60.0, 30.0, 50.0], 2.0))


def expected(trained: tuple[PointRendDeepLab, ModelCard], pixels: np.ndarray[Any, Any]) -> Tensor:
    """(1, K, H, W) class probabilities as ``predict`` decides them."""
    network, card = trained
    seen = card.stats.normalise(pixels, (pixels != 0).any(axis=0))
    return predict_logits(network, torch.from_numpy(seen)[None]).softmax(dim=1)


def needs_onnx() -> None:
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name)


def session_of(model: Path | bytes) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("limit", [None, 2.5])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16"])
def test_every_whole_number_is_normalised_as_in_training(
    trained: tuple[PointRendDeepLab, ModelCard], dtype: str, limit: float | None
) -> None:
    kind = np.iinfo(dtype)
    values = np.arange(kind.min, kind.max + 1).astype(dtype).reshape(16, -1)
    pixels = np.stack([values, values[::-1]])
    stats = stats_of([101.3, 7000.7], [37.77, 1234.5], limit)
    card = replace(trained[1], band_names=("a", "b"), dtype=dtype, stats=stats)
    found = FedNormaliser(card)(torch.from_numpy(as_deepness_feeds(pixels)))
    np.testing.assert_array_equal(found[0].numpy(), stats.normalise(pixels, np.ones(values.shape, bool)))


def test_zero_in_all_bands_is_nothing_where_numbers_are_unsigned(
    trained: tuple[PointRendDeepLab, ModelCard],
) -> None:
    pixels = np.array([[[0, 0, 7]], [[0, 5, 0]]])
    stats = stats_of([3.0, 4.0], [2.0, 2.0], None)
    for dtype, nothing in (("uint8", [True, False, False]), ("int16", [False] * 3), ("float32", [False] * 3)):
        card = replace(trained[1], band_names=("a", "b"), dtype=dtype, stats=stats)
        found = FedNormaliser(card)(torch.from_numpy(as_deepness_feeds(pixels.astype(dtype))))[0].numpy()
        whole = stats.normalise(pixels.astype(dtype), ~np.array([nothing]))
        np.testing.assert_allclose(found, whole, atol=1e-6)
        assert (found[:, 0, 0] == 0.0).all() == nothing[0]


@pytest.mark.parametrize("limit", [None, 1.5])
def test_floats_that_are_no_numbers_are_nothing(
    trained: tuple[PointRendDeepLab, ModelCard], limit: float | None
) -> None:
    pixels = np.array([[[0.25, np.nan, np.inf, -np.inf, 9.0]]], np.float32)
    stats = stats_of([0.3], [0.1], limit)
    card = replace(trained[1], band_names=("a",), dtype="float32", stats=stats)
    found = FedNormaliser(card)(torch.from_numpy(as_deepness_feeds(pixels)))[0].numpy()
    np.testing.assert_allclose(found, stats.normalise(pixels, np.ones((1, 5), bool)), rtol=1e-5)
    assert (found[0, 0, 1:4] == 0.0).all()


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"output_stride": 8, "fine_stages": ("stride2", "stride8"), "head_depth": 0},
        {"auxiliary": True, "norm": "group"},
    ],
    ids=["default", "stride 8", "group norm"],
)
@pytest.mark.parametrize("refine", [True, False])
def test_probabilities_are_those_of_predict(
    trained: tuple[PointRendDeepLab, ModelCard], config: dict[str, Any], refine: bool
) -> None:
    torch.manual_seed(3)
    card = trained[1]
    shape = ModelConfig(head_width=8, **{"head_depth": 1, **config})
    network = build_model(shape, bands=3, classes=len(card.classes)).eval()
    for name, parameter in network.named_parameters():
        if "point_head" in name and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    pixels = noise(3, SIZE_PX, SIZE_PX)
    seen = torch.from_numpy(card.stats.normalise(pixels, np.ones(pixels.shape[1:], bool)))[None]
    whole = PixelsToProbabilities(network, card, size_px=SIZE_PX, refine=refine).eval()
    with torch.inference_mode():
        found = whole(torch.from_numpy(as_deepness_feeds(pixels)))
    logits = predict_logits(network, seen, refine=refine)
    torch.testing.assert_close(found, logits.softmax(dim=1), atol=1e-5, rtol=0)
    coarse = predict_logits(network, seen, refine=False)
    assert torch.equal(logits, coarse) != refine  # the points do change something


class Unsure(torch.nn.Module):
    """Which pixels of (3, h, w) logits are decided, as floats."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.left = left

    def forward(self, logits: Tensor) -> Tensor:
        return _unsure(logits, self.left, 4).float()


@pytest.mark.parametrize("left", [0, 1])
def test_runtime_decides_the_pixels_that_predict_decides_ties_included(left: int) -> None:
    needs_onnx()
    draw = torch.Generator().manual_seed(left)
    side = 128 >> left
    # Few different values: most are ties, and nearly all on the right are sure.
    logits = torch.randint(-2, 3, (3, side, side), generator=draw).float() / 4
    logits[:, :, side // 2 :] *= 64
    logits[:, :, : side // 4] /= 64
    proto = onnx_file._as_proto(Unsure(left), logits)
    found = session_of(proto.SerializeToString()).run(None, {"pixels": logits.numpy()})[0]
    chosen = most_uncertain(logits, 256, margin=step_margin(0.99, left, 4), area=32 >> left)
    assert np.flatnonzero(found).tolist() == chosen.tolist()
    leftmost = int((chosen % side < 32 >> left).sum())
    assert leftmost == 4 * 256  # a quarter where the cap binds, and all where it does not
    assert len(chosen) < side * side // 2 if left == 0 else len(chosen) > side * side // 2


def test_other_sizes_are_refused(trained: tuple[PointRendDeepLab, ModelCard]) -> None:
    with pytest.raises(ValueError, match="80 is no multiple of 32"):
        PixelsToProbabilities(*trained, size_px=80, refine=True)


def test_without_the_extra_there_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_file, "_NEEDED", ("json", "no_such_onnx", "no_such_runtime"))
    with pytest.raises(InputError) as caught:
        onnx_file.check_onnx_installed()
    assert str(caught.value) == (
        "ONNX files need no_such_onnx and no_such_runtime; pip install 'geoseg[onnx]'"
    )


@pytest.fixture(scope="module")
def made(trained: tuple[PointRendDeepLab, ModelCard], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file; making one takes some seconds, so all look at the same."""
    needs_onnx()
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    done = onnx_file.write_onnx(path, *trained, size_px=SIZE_PX)
    assert done.size_bytes == path.stat().st_size
    assert done.agreement > 0.999
    return path


def test_runtime_says_what_predict_says(trained: tuple[PointRendDeepLab, ModelCard], made: Path) -> None:
    session = session_of(made)
    assert [(each.name, each.shape, each.type) for each in session.get_inputs()] == [
        ("pixels", [1, 3, SIZE_PX, SIZE_PX], "tensor(float)")
    ]
    assert [(each.name, each.shape, each.type) for each in session.get_outputs()] == [
        ("probabilities", [1, 3, SIZE_PX, SIZE_PX], "tensor(float)")
    ]
    classes: set[int] = set()
    for seed in range(3):
        pixels = noise(3, SIZE_PX, SIZE_PX, seed=seed)
        pixels[:, :20, seed * 9 :] = 0  # where a chip hangs over the scene's border
        found = session.run(None, {"pixels": as_deepness_feeds(pixels)})[0]
        probabilities = expected(trained, pixels).numpy()
        np.testing.assert_allclose(found, probabilities, atol=1e-4)
        assert (found.argmax(axis=1) == probabilities.argmax(axis=1)).mean() > 0.9999
        classes |= set(np.unique(found.argmax(axis=1)).tolist())
    assert classes == {0, 1, 2}


def test_a_chip_without_unsure_pixels_is_only_upsampled(made: Path) -> None:
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(made)
    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    last = weights["network.classifier.4.bias"]
    last.CopyFrom(numpy_helper.from_array(np.float32([0, 900, 0]), last.name))
    session = session_of(proto.SerializeToString())
    found = session.run(None, {"pixels": as_deepness_feeds(noise(3, SIZE_PX, SIZE_PX))})[0]
    np.testing.assert_array_equal(found[0, 1], np.ones((SIZE_PX, SIZE_PX)))


def test_old_runtimes_read_it_and_it_tells_nothing_of_its_maker(made: Path) -> None:
    import onnx

    proto = onnx.load(made)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ir_version <= 8
    assert [(each.domain, each.version) for each in proto.opset_import] == [("", 18)]
    assert not any(node.metadata_props or node.doc_string or node.domain for node in proto.graph.node)
    assert not any(tensor.external_data for tensor in proto.graph.initializer)
    for trace in (str(Path.cwd()), "site-packages", ".py"):
        assert trace.encode() not in made.read_bytes()


def test_metadata_is_what_deepness_reads(trained: tuple[PointRendDeepLab, ModelCard], made: Path) -> None:
    found = session_of(made).get_modelmeta().custom_metadata_map
    values = {key: json.loads(value) for key, value in found.items()}
    card = values.pop("geoseg")
    assert values == {
        "model_type": "Segmentor",
        "class_names": {"0": "background", "1": "field", "2": "house"},
        "resolution": 50.0,
        "tile_size": SIZE_PX,
        "tiles_size": SIZE_PX,
        "tiles_overlap": 25,
        "standardization_mean": [0.0, 0.0, 0.0],
        "standardization_std": [1.0, 1.0, 1.0],
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
    }
    assert ModelCard.from_json(card) == trained[1]


def test_a_runtime_that_computes_otherwise_is_noticed(
    trained: tuple[PointRendDeepLab, ModelCard],
    made: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import onnx

    proto = onnx.load(made)
    wrong = next(tensor for tensor in proto.graph.initializer if tensor.name == "normalise.scale")
    wrong.CopyFrom(onnx.numpy_helper.from_array(np.float32([[[[9]], [[9]], [[-9]]]]), wrong.name))
    del proto.metadata_props[:]
    monkeypatch.setattr(onnx_file, "_as_proto", lambda *_: proto)
    output = tmp_path / "model.onnx"
    with pytest.raises(WriteError, match=r"^onnxruntime gives \d+\.\d+% of the pixels another class"):
        onnx_file.write_onnx(output, *trained, size_px=SIZE_PX)
    assert list(tmp_path.iterdir()) == []


def test_what_the_exporter_cannot_do_is_told_in_one_line(
    trained: tuple[PointRendDeepLab, ModelCard], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        try:
            raise TypeError("no such step\nsee elsewhere")
        except TypeError as error:
            raise torch.onnx.OnnxExporterError("a page\nof advice") from error

    monkeypatch.setattr(torch.onnx, "export", fail)
    monkeypatch.setattr(onnx_file, "_NEEDED", ())
    with pytest.raises(ModelError) as caught:
        onnx_file.write_onnx(tmp_path / "model.onnx", *trained, size_px=SIZE_PX)
    assert str(caught.value) == (
        f"torch {torch.__version__} cannot write this model as ONNX (no such step); "
        "update torch, onnx and onnxscript"
    )
    assert list(tmp_path.iterdir()) == []


def test_resolution_is_left_out_when_it_is_not_known(tmp_path: Path) -> None:
    card = read_card(write_model(tmp_path / "model.safetensors", gsd_m=None))
    assert "resolution" not in onnx_file.metadata(card, 64)
