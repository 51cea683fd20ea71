"""The loss against plain torch, and where it must not become nan."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from geoseg.config import LossConfig, ModelConfig, PointConfig
from geoseg.models.deeplab import PointRendDeepLab, build_model
from geoseg.models.losses import mean_cross_entropy, training_loss


@pytest.fixture(scope="module")
def network() -> PointRendDeepLab:
    torch.manual_seed(0)
    return build_model(ModelConfig(head_width=16, auxiliary=True), bands=3, classes=4)


def batch(size: tuple[int, int], chips: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(chips, 3, *size, generator=generator)
    return images, torch.randint(0, 4, (chips, *size), generator=generator)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.1, 1.0, 2.0, 5.0])])
def test_mean_cross_entropy_is_torchs_where_there_are_labels(weights: torch.Tensor | None) -> None:
    logits = torch.randn(2, 4, 6, 5)
    labels = torch.randint(0, 4, (2, 6, 5))
    labels[:, :3] = 255
    expected = F.cross_entropy(logits, labels, weight=weights, ignore_index=255)
    assert float(mean_cross_entropy(logits, labels, weights)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("weights", [None, torch.tensor([0.1, 1.0, 2.0, 5.0])])
def test_without_labels_loss_and_gradients_are_zero(
    network: PointRendDeepLab, weights: torch.Tensor | None
) -> None:
    network.train().zero_grad()
    images, labels = batch((64, 64))
    parts = training_loss(
        network,
        images,
        torch.full_like(labels, 255),
        points=PointConfig(),
        loss=LossConfig(),
        class_weights=weights,
    )
    parts.total.backward()
    assert parts.total.item() == parts.point.item() == 0.0
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert not parameter.grad.any()


@pytest.mark.parametrize("size", [(64, 64), (50, 83), (65, 65)])
def test_one_chip_of_any_size_trains(network: PointRendDeepLab, size: tuple[int, int]) -> None:
    network.train().zero_grad()
    images, labels = batch(size)
    labels[:, :10] = 255
    parts = training_loss(network, images, labels, points=PointConfig(), loss=LossConfig())
    parts.total.backward()
    total = parts.coarse + parts.point + 0.4 * parts.auxiliary
    assert parts.total.item() == pytest.approx(float(total), rel=1e-5)
    # The head starts without an opinion.
    assert float(parts.point) == pytest.approx(1.386, abs=0.02)
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
    assert network.point_head.predictor.weight.grad is not None
    assert bool(network.point_head.predictor.weight.grad.any())


def test_padding_has_no_labels(network: PointRendDeepLab) -> None:
    network.eval()
    images, labels = batch((40, 40))
    with torch.no_grad():
        parts = training_loss(network, images, labels, points=PointConfig(), loss=LossConfig())
        full = F.interpolate(network(images).logits, size=(48, 48), mode="bilinear", align_corners=False)
        expected = F.cross_entropy(full[:, :, :40, :40], labels)
    assert float(parts.coarse) == pytest.approx(float(expected), rel=1e-5)


def test_points_follow_the_generator(network: PointRendDeepLab) -> None:
    network.eval()
    images, labels = batch((64, 64), chips=2)
    # The head's opinion must differ between points for this to show.
    torch.nn.init.normal_(network.point_head.predictor.weight)

    def point(seed: int) -> float:
        with torch.no_grad():
            parts = training_loss(
                network,
                images,
                labels,
                points=PointConfig(),
                loss=LossConfig(),
                generator=torch.Generator().manual_seed(seed),
            )
        return float(parts.point)

    assert point(1) == point(1) != point(2)


def test_bf16_autocast_trains() -> None:
    torch.manual_seed(0)
    network = build_model(ModelConfig(head_width=16), bands=3, classes=4).train()
    images, labels = batch((64, 64), chips=2)
    images = images.contiguous(memory_format=torch.channels_last)
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        parts = training_loss(network, images, labels, points=PointConfig(), loss=LossConfig())
    parts.total.backward()
    assert parts.total.dtype == torch.float32
    assert float(parts.auxiliary) == 0.0
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


def test_one_class_trains() -> None:
    network = build_model(ModelConfig(head_width=16), bands=1, classes=1).train()
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    parts = training_loss(network, torch.randn(1, 1, 64, 64), labels, points=PointConfig(), loss=LossConfig())
    parts.total.backward()
    assert parts.total.item() == 0.0


def test_a_small_network_learns_to_draw_what_the_coarse_map_cannot() -> None:
    """Stripes of 8 px under cells of 16 px: only the point head can tell them apart."""
    torch.manual_seed(0)
    network = build_model(ModelConfig(head_width=32, head_depth=2), bands=1, classes=2).train()
    labels = (torch.arange(64) // 8 % 2).expand(2, 64, 64).contiguous()
    images = labels[:, None].float() * 2 - 1
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    points = PointConfig(per_pixel=1 / 16)
    for _ in range(15):
        optimizer.zero_grad()
        parts = training_loss(network, images, labels, points=points, loss=LossConfig(), generator=generator)
        parts.total.backward()
        optimizer.step()
    assert float(parts.point) < 0.5 * float(parts.coarse)
