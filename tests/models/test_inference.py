"""Full-size logits of any image, and the choice of device and precision."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import torch

from geoseg.config import ModelConfig
from geoseg.errors import ConfigError
from geoseg.models.deeplab import PointRendDeepLab, build_model
from geoseg.models.inference import choose_device, choose_precision, cpu_bf16_flag, predict_logits
from geoseg.models.points import pixel_centres, point_sample, upsample


def lively(bands: int = 3, classes: int = 4, **options: object) -> PointRendDeepLab:
    """A random network whose head has an opinion."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"head_width": 16, "head_depth": 2, **options})
    model = build_model(config, bands=bands, classes=classes).eval()
    torch.nn.init.normal_(model.point_head.predictor.weight)
    return model


@pytest.fixture(scope="module")
def network() -> PointRendDeepLab:
    return lively()


def images(*size: int, chips: int = 1) -> torch.Tensor:
    return torch.randn(chips, 3, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "size", [(500, 512), (512, 500), (513, 513), (321, 321), (100, 100), (1, 1), (17, 250)]
)
def test_any_size_comes_back_whole(network: PointRendDeepLab, size: tuple[int, int]) -> None:
    for refine in (True, False):
        logits = predict_logits(network, images(*size), refine=refine)
        assert logits.shape == (1, 4, *size)
        assert logits.dtype == torch.float32
        assert bool(logits.isfinite().all())


@pytest.mark.parametrize("options", [{}, {"architecture": "deeplabv3_resnet50", "output_stride": 8}])
def test_with_every_pixel_refined_it_is_the_head_on_every_pixel(options: dict[str, object]) -> None:
    model = lively(fine_stages=("stride2", "stride4"), **options)
    image = images(40, 56)
    refined = predict_logits(model, image, margin=None, points_per_pixel=10.0)
    with torch.no_grad():
        output = model(image)
        height, width = (side * model.stride for side in output.logits.shape[2:])
        points = pixel_centres(torch.arange(height * width), (height, width))[None]
        fine = torch.cat([point_sample(feature, points) for feature in output.features], dim=1)
        dense = model.point_head(fine[0].T, point_sample(output.logits, points)[0].T)
    dense = dense.T.view(4, height, width)[:, :40, :56]
    assert torch.allclose(refined[0], dense, atol=1e-4)


def test_without_refinement_it_is_the_upsampled_coarse_map(network: PointRendDeepLab) -> None:
    image = images(64, 96)
    with torch.no_grad():
        expected = upsample(network(image).logits, (64, 96))
    assert torch.equal(predict_logits(network, image, refine=False), expected)


def test_only_unsure_pixels_change(network: PointRendDeepLab) -> None:
    image = images(64, 64)
    nothing = predict_logits(network, image, margin=0.0)
    everything = predict_logits(network, image, margin=1.0, points_per_pixel=1.0)
    capped = predict_logits(network, image, margin=1.0, points_per_pixel=10 / 64**2)
    assert not torch.equal(everything, nothing)
    changed = (capped != nothing).any(dim=1)
    assert 1 <= int(changed.sum()) < 64 * 64


def test_the_batch_does_not_change_a_chip(network: PointRendDeepLab) -> None:
    batch = images(48, 48, chips=3)
    together = predict_logits(network, batch)
    for chip in range(3):
        assert torch.equal(together[chip : chip + 1], predict_logits(network, batch[chip : chip + 1]))


def test_padding_pixels_are_not_refined() -> None:
    model = lively()
    asked = []
    model.point_head.register_forward_hook(lambda _, inputs, __: asked.append(len(inputs[0])))
    predict_logits(model, images(17, 16), margin=None, points_per_pixel=10.0)
    assert asked == [3 * 2, 5 * 4, 9 * 8, 17 * 16]


@pytest.mark.parametrize("chips", [1, 2])
def test_bf16_autocast_is_close(network: PointRendDeepLab, chips: int) -> None:
    batch = images(64, 80, chips=chips).contiguous(memory_format=torch.channels_last)
    exact = predict_logits(network, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = predict_logits(network, batch)
    assert rough.dtype == torch.float32
    assert float((exact - rough).abs().mean()) < 0.05 * float(exact.abs().mean())


def test_channels_last_gives_the_same(network: PointRendDeepLab) -> None:
    image = images(64, 64)
    plain = predict_logits(network, image)
    last = predict_logits(network, image.contiguous(memory_format=torch.channels_last))
    assert float((plain - last).abs().max()) < 1e-3 * float(plain.abs().max())


def test_one_class_and_one_band() -> None:
    model = lively(bands=1, classes=1)
    logits = predict_logits(model, torch.randn(1, 1, 50, 50), margin=1.0)
    assert logits.shape == (1, 1, 50, 50)
    assert predict_logits(model, torch.randn(1, 1, 50, 50), margin=None).shape == (1, 1, 50, 50)


def test_devices() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in {"cpu", "cuda"}
    for name in ("cuda:99", "gpu", "cuda:", "cuda:x", "cuda:-1", ""):
        with pytest.raises(ConfigError, match=r"^--device [^\n]*; use "):
            choose_device(name)


def cpu_info(monkeypatch: pytest.MonkeyPatch, path: Path, text: str) -> None:
    path.write_text(text)
    monkeypatch.setattr("geoseg.models.inference._CPU_INFO", path)


def test_precision_of_a_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cpu = torch.device("cpu")
    cpu_info(monkeypatch, tmp_path / "new", "processor\t: 0\nflags\t\t: fpu avx512f avx512_bf16 sse\n")
    dtype, why = choose_precision("auto", cpu)
    assert dtype == torch.bfloat16
    assert "avx512_bf16" in why
    cpu_info(monkeypatch, tmp_path / "old", "processor\t: 0\nflags\t\t: fpu avx2 avx512_bf16x\n")
    dtype, why = choose_precision("auto", cpu)
    assert dtype is None
    assert "fp32" in why
    monkeypatch.setattr("geoseg.models.inference._CPU_INFO", tmp_path / "missing")
    assert cpu_bf16_flag() is None
    assert choose_precision("bf16", cpu)[0] == torch.bfloat16
    assert choose_precision("fp32", cpu)[0] is None
    for name in ("fp16", "int8"):
        with pytest.raises(ConfigError, match=r"^precision [^\n]*; use "):
            choose_precision(name, cpu)


@pytest.mark.parametrize(("supported", "dtype"), [(True, torch.bfloat16), (False, torch.float16)])
def test_precision_of_a_gpu(monkeypatch: pytest.MonkeyPatch, supported: bool, dtype: torch.dtype) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: supported)
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    gpu = torch.device("cuda", 0)
    assert choose_precision("auto", gpu)[0] == dtype
    assert choose_precision("fp16", gpu)[0] == torch.float16
