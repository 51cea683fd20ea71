"""The network: bands, strides, stages, weights, and that nothing is fetched unasked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision.models import mobilenet_v3_large, resnet50
from torchvision.ops import SqueezeExcitation

from geoseg.config import Architecture, ModelConfig
from geoseg.errors import ModelError
from geoseg.models.backbone import adapt_first_weights
from geoseg.models.deeplab import build_model
from geoseg.models.randomness import ChipDropout

MOBILENET: Architecture = "deeplabv3_mobilenet_v3_large"
RESNET: Architecture = "deeplabv3_resnet50"


@pytest.fixture(autouse=True)
def no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise URLError("no network in tests")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)


@pytest.mark.parametrize(
    ("architecture", "stride", "channels"),
    [
        (MOBILENET, 16, (16, 24, 40)),
        (RESNET, 16, (64, 256, 512)),
        (RESNET, 8, (64, 256, 512)),
        ("deeplabv3_resnet101", 16, (64, 256, 512)),
    ],
)
def test_shapes(architecture: Architecture, stride: int, channels: tuple[int, ...]) -> None:
    config = ModelConfig(
        architecture=architecture,
        output_stride=8 if stride == 8 else 16,
        fine_stages=("stride2", "stride4", "stride8"),
        auxiliary=True,
        head_width=8,
    )
    model = build_model(config, bands=4, classes=3).eval()
    with torch.no_grad():
        output = model(torch.randn(1, 4, 64, 96))
    assert output.logits.shape == (1, 3, 64 // stride, 96 // stride)
    assert output.auxiliary is not None
    assert output.auxiliary.shape == output.logits.shape
    sizes = [(64 // step, 96 // step) for step in (2, 4, 8)]
    assert [tuple(feature.shape[1:]) for feature in output.features] == [
        (count, *size) for count, size in zip(channels, sizes, strict=True)
    ]
    assert 2**model.steps == model.stride == stride


def test_fine_features_are_finer_than_the_coarse_map_by_default() -> None:
    model = build_model(ModelConfig(), bands=3, classes=2).eval()
    with torch.no_grad():
        output = model(torch.randn(1, 3, 64, 64))
    assert output.features[0].shape[2:] == (16, 16)
    assert output.logits.shape[2:] == (4, 4)
    assert output.auxiliary is None


@pytest.mark.parametrize("size", [(500, 513), (321, 100), (1, 1), (16, 17)])
def test_any_size_is_padded(size: tuple[int, int]) -> None:
    model = build_model(ModelConfig(head_width=8), bands=1, classes=2).eval()
    with torch.no_grad():
        output = model(torch.randn(1, 1, *size))
    assert output.logits.shape[2:] == (-(-size[0] // 16), -(-size[1] // 16))


def test_stride_8_sees_what_stride_16_sees_and_the_cells_between(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trous of "algorithme a trous": with the same weights, every other cell is the coarser network's."""
    # Squeezing looks at the whole map, whose mean has other cells.
    monkeypatch.setattr(SqueezeExcitation, "forward", lambda _, values: values)
    coarse, fine = (
        build_model(ModelConfig(output_stride=stride, head_width=8), bands=3, classes=2)
        .double()
        .eval()
        .backbone
        for stride in (16, 8)
    )
    fine.load_state_dict(coarse.state_dict())
    images = torch.randn(1, 3, 512, 512, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        deep, deeper = coarse(images)["deep"], fine(images)["deep"]
    assert (deep.shape[2:], deeper.shape[2:]) == ((32, 32), (64, 64))
    # Borders see padding of other widths.
    inside = slice(14, 18)
    expected = deep[:, :, inside, inside]
    found = deeper[:, :, ::2, ::2][:, :, inside, inside]
    size = float(expected.abs().max())
    assert size > 0.0
    assert torch.allclose(found / size, expected / size, atol=1e-9)


def test_group_norm_norms_every_chip_by_itself() -> None:
    torch.manual_seed(0)
    model = build_model(ModelConfig(norm="group", head_width=8, dropout=0.0), bands=3, classes=2).train()
    assert not [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        both, alone = model(images).logits, model(images[1:]).logits
    assert torch.allclose(both[1:], alone, atol=1e-5)


def test_dropout_has_the_share_asked_for() -> None:
    model = build_model(ModelConfig(dropout=0.25, auxiliary=True, head_width=8), bands=3, classes=2)
    assert not [module for module in model.modules() if isinstance(module, nn.Dropout)]
    shares = [module.share for module in model.modules() if isinstance(module, ChipDropout)]
    assert shares == [0.25, 0.1]


def test_atrous_rates_follow_the_stride() -> None:
    for stride, rates in ((16, [6, 12, 18]), (8, [12, 24, 36])):
        config = ModelConfig(architecture=RESNET, output_stride=8 if stride == 8 else 16)
        with torch.device("meta"):
            model = build_model(config, bands=3, classes=2)
        found = [m.dilation[0] for m in model.classifier.modules() if isinstance(m, nn.Conv2d)]
        assert [rate for rate in found if rate > 1] == rates


@pytest.mark.parametrize("architecture", [MOBILENET, RESNET])
def test_batch_norm_settles_within_a_short_training(architecture: Architecture) -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig(architecture=architecture, auxiliary=True), bands=3, classes=2)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert {module.momentum for module in norms} == {0.1}


def test_batch_of_one_works_in_train_mode() -> None:
    model = build_model(ModelConfig(head_width=8), bands=3, classes=2).train()
    assert bool(model(torch.randn(1, 3, 64, 64)).logits.isfinite().all())


@pytest.mark.parametrize("bands", [1, 2, 3, 4, 7, 8])
def test_adapted_weights_answer_grey_alike(bands: int) -> None:
    """An image that is the same in all bands gives what it gave in RGB."""
    weights = torch.randn(8, 3, 3, 3)
    adapted = adapt_first_weights(weights, bands)
    assert adapted.shape == (8, bands, 3, 3)
    if bands == 3:
        assert torch.equal(adapted, weights)
    if bands >= 3:
        assert torch.allclose(adapted[:, :3] * bands / 3, weights)
    assert torch.allclose(adapted.sum(1), weights.sum(1), atol=1e-5)


def torch_file(path: Path, state: dict[str, torch.Tensor]) -> Path:
    torch.save(state, path)
    return path


def safetensors_file(path: Path, state: dict[str, torch.Tensor]) -> Path:
    path = path.with_suffix(".safetensors")
    save_file(state, path)
    return path


@pytest.mark.parametrize("write", [torch_file, safetensors_file])
def test_backbone_weights_from_a_file(
    tmp_path: Path, write: Callable[[Path, dict[str, torch.Tensor]], Path]
) -> None:
    torch.manual_seed(3)
    state = mobilenet_v3_large(weights=None).state_dict()
    path = write(tmp_path / "weights.pth", state)
    model = build_model(ModelConfig(backbone_weights=str(path)), bands=5, classes=2)
    own = model.backbone.state_dict()
    assert torch.equal(own["16.0.weight"], state["features.16.0.weight"])
    assert torch.equal(own["3.block.0.0.weight"], state["features.3.block.0.0.weight"])
    assert torch.allclose(own["0.0.weight"][:, 1] * 5 / 3, state["features.0.0.weight"][:, 1])


@pytest.mark.parametrize("architecture", [MOBILENET, RESNET])
@pytest.mark.parametrize("bands", [1, 2, 4, 8])
def test_weights_of_rgb_serve_any_number_of_bands(
    tmp_path: Path, architecture: Architecture, bands: int
) -> None:
    """A grey image gives in many bands what it gave in three, all the way through the backbone."""
    torch.manual_seed(bands)
    whole = resnet50 if architecture == RESNET else mobilenet_v3_large
    path = torch_file(tmp_path / "weights.pth", whole(weights=None).state_dict())
    config = ModelConfig(architecture=architecture, backbone_weights=str(path), head_width=8)
    wide, rgb = (build_model(config, bands=count, classes=2).backbone.eval() for count in (bands, 3))
    grey = torch.randn(1, 1, 64, 64)
    with torch.no_grad():
        ours, trained = (model(grey.expand(-1, count, -1, -1)) for model, count in ((wide, bands), (rgb, 3)))
    assert ours.keys() == trained.keys()
    for stage, values in ours.items():
        assert torch.allclose(values, trained[stage], rtol=1e-3, atol=1e-4 * float(trained[stage].std())), (
            stage
        )


def test_weights_of_a_whole_deeplab_are_taken_too(tmp_path: Path) -> None:
    state = {f"backbone.{key}": value for key, value in resnet50(weights=None).state_dict().items()}
    path = torch_file(tmp_path / "weights.pth", state)
    model = build_model(ModelConfig(architecture=RESNET, backbone_weights=str(path)), bands=3, classes=2)
    assert torch.equal(model.backbone.state_dict()["conv1.weight"], state["backbone.conv1.weight"])


class Evil:
    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return Path.touch, (Path("executed"),)  # type: ignore[return-value]


def test_weight_files_that_do_not_fit(tmp_path: Path) -> None:
    def build(path: Path) -> None:
        build_model(ModelConfig(backbone_weights=str(path)), bands=3, classes=2)

    with pytest.raises(ModelError, match="do not exist"):
        build(tmp_path / "none.pth")
    with pytest.raises(ModelError, match="has no 0"):
        build(torch_file(tmp_path / "resnet.pth", resnet50(weights=None).state_dict()))
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    (tmp_path / "empty.pth").touch()
    torch.save({"state": [1, 2]}, tmp_path / "other.pth")
    torch.save(Evil(), tmp_path / "evil.pth")
    for name in ("text.pth", "text.safetensors", "empty.pth", "other.pth", "evil.pth"):
        with pytest.raises(ModelError, match=r"^[^\n]+; give a file of torchvision weights$"):
            build(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_only_imagenet_fetches_and_failing_to_is_one_line() -> None:
    build_model(ModelConfig(), bands=3, classes=2)
    with pytest.raises(ModelError, match=r"^ImageNet weights could not be fetched [^\n]*; give a file"):
        build_model(ModelConfig(backbone_weights="imagenet"), bands=3, classes=2)


def test_imagenet_weights_are_unpickled_safely(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def fetch(url: str, **kwargs: object) -> dict[str, torch.Tensor]:
        asked.update(kwargs)
        return dict(mobilenet_v3_large(weights=None).state_dict())

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    build_model(ModelConfig(backbone_weights="imagenet"), bands=3, classes=2)
    assert asked["weights_only"] is True
    assert asked["check_hash"] is True
