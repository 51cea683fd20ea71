"""The loss against plain torch, and where it must not become nan."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from geoseg.config import LossConfig, ModelConfig, PointConfig
from geoseg.models.deeplab import PointRendDeepLab, build_model
from geoseg.models.losses import dice_loss, mean_cross_entropy, near_borders, training_loss
from geoseg.models.randomness import chip_generators


@pytest.fixture(scope="module")
def network() -> PointRendDeepLab:
    torch.manual_seed(0)
    return build_model(ModelConfig(head_width=16, auxiliary=True), bands=3, classes=4)


def chance(chips: int, seed: int = 0) -> list[torch.Generator]:
    return chip_generators(torch.arange(chips) + 100 * seed, torch.device("cpu"))


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
        loss=LossConfig(dice_weight=1.0),
        generators=chance(len(images)),
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
    loss = LossConfig()
    parts = training_loss(network, images, labels, points=PointConfig(), loss=loss, generators=chance(1))
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
        loss = LossConfig()
        parts = training_loss(network, images, labels, points=PointConfig(), loss=loss, generators=chance(1))
        full = F.interpolate(network(images).logits, size=(48, 48), mode="bilinear", align_corners=False)
        expected = F.cross_entropy(full[:, :, :40, :40], labels)
    assert float(parts.coarse) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("border_weight", [1.0, 5.0])
def test_points_of_the_coarse_map_stand_for_all_of_it(
    network: PointRendDeepLab, border_weight: float
) -> None:
    network.eval()
    images, _ = batch((64, 64))
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    labels[:, :, 20:] = 1
    labels[:, 50:] = 255

    def coarse(per_pixel: float, importance: float) -> tuple[float, float]:
        with torch.no_grad():
            parts = training_loss(
                network,
                images,
                labels,
                points=PointConfig(importance=importance),
                loss=LossConfig(coarse_per_pixel=per_pixel, border_weight=border_weight, dice_weight=1.0),
                generators=chance(1),
            )
        return float(parts.coarse), float(parts.dice)

    everywhere = coarse(0.0, 0.0)
    assert coarse(1.0, 0.0) == pytest.approx(everywhere, rel=0.02)
    assert coarse(1 / 64, 0.75) != pytest.approx(everywhere, rel=0.001)


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
                generators=chance(2, seed),
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
        loss = LossConfig()
        parts = training_loss(network, images, labels, points=PointConfig(), loss=loss, generators=chance(2))
    parts.total.backward()
    assert parts.total.dtype == torch.float32
    assert float(parts.auxiliary) == 0.0
    assert all(bool(p.grad.isfinite().all()) for p in network.parameters() if p.grad is not None)


def test_one_class_trains() -> None:
    network = build_model(ModelConfig(head_width=16), bands=1, classes=1).train()
    labels = torch.zeros(1, 64, 64, dtype=torch.long)
    images, loss = torch.randn(1, 1, 64, 64), LossConfig()
    parts = training_loss(network, images, labels, points=PointConfig(), loss=loss, generators=chance(1))
    parts.total.backward()
    assert parts.total.item() == 0.0


def test_a_small_network_learns_to_draw_what_the_coarse_map_cannot() -> None:
    """Stripes of 8 px under cells of 16 px: only the point head can tell them apart."""
    torch.manual_seed(0)
    network = build_model(ModelConfig(head_width=32, head_depth=2), bands=1, classes=2).train()
    labels = (torch.arange(64) // 8 % 2).expand(2, 64, 64).contiguous()
    images = labels[:, None].float() * 2 - 1
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    points, loss = PointConfig(per_pixel=1 / 16), LossConfig()
    for step in range(15):
        optimizer.zero_grad()
        generators = chance(2, step)
        parts = training_loss(network, images, labels, points=points, loss=loss, generators=generators)
        parts.total.backward()
        optimizer.step()
    assert float(parts.point) < 0.5 * float(parts.coarse)


def test_a_batch_is_the_sum_of_its_chips_whatever_is_random() -> None:
    """Dropout and points follow the chip: two chips at once are each what they are alone."""
    torch.manual_seed(0)
    network = build_model(ModelConfig(head_width=16, norm="group"), bands=3, classes=4).train()
    torch.nn.init.normal_(network.point_head.predictor.weight)
    images, labels = batch((64, 64), chips=2)
    seeds = torch.tensor([7, 8])

    def loss_of(part: slice) -> tuple[float, float]:
        generators = chip_generators(seeds[part], torch.device("cpu"))
        parts = training_loss(
            network,
            images[part],
            labels[part],
            points=PointConfig(),
            loss=LossConfig(),
            generators=generators,
        )
        return float(parts.coarse), float(parts.point)

    both, first, second = loss_of(slice(0, 2)), loss_of(slice(0, 1)), loss_of(slice(1, 2))
    assert both == pytest.approx([(a + b) / 2 for a, b in zip(first, second, strict=True)], rel=1e-5)


def test_without_points_the_head_is_not_asked(network: PointRendDeepLab) -> None:
    network.train().zero_grad()
    images, labels = batch((64, 64))
    loss = LossConfig(point_weight=0.0)
    parts = training_loss(network, images, labels, points=PointConfig(), loss=loss, generators=chance(1))
    parts.total.backward()
    assert float(parts.point) == 0.0
    assert all(parameter.grad is None for parameter in network.point_head.parameters())


@pytest.mark.parametrize("within_px", [1, 2, 5])
def test_pixels_near_borders_are_those_with_another_class_within_reach(within_px: int) -> None:
    labels = torch.randint(0, 3, (2, 7, 6), generator=torch.Generator().manual_seed(1)).repeat_interleave(
        4, 2
    )
    labels = labels.repeat_interleave(4, 1)
    labels[:, 5:9, 3:6] = 255
    found = near_borders(labels, within_px)
    for chip in range(2):
        for row in range(labels.shape[1]):
            for col in range(labels.shape[2]):
                around = labels[
                    chip,
                    max(0, row - within_px) : row + within_px + 1,
                    max(0, col - within_px) : col + within_px + 1,
                ]
                own = labels[chip, row, col]
                expected = own != 255 and bool(((around != own) & (around != 255)).any())
                assert bool(found[chip, row, col]) == expected


def test_border_weights_weigh_the_mean() -> None:
    logits = torch.randn(1, 3, 8, 8)
    labels = torch.randint(0, 3, (1, 8, 8))
    labels[0, 0] = 255
    weights = 1.0 + 4.0 * near_borders(labels, 1)
    by_class = torch.tensor([1.0, 2.0, 0.5])
    each = F.cross_entropy(logits, labels, weight=by_class, ignore_index=255, reduction="none")
    known = labels != 255
    expected = (each * weights)[known].sum() / (weights * by_class[labels.where(known, 0)])[known].sum()
    assert float(mean_cross_entropy(logits, labels, by_class, weights)) == pytest.approx(
        float(expected), 1e-5
    )


def test_dice_is_zero_for_the_truth_and_near_one_for_its_opposite() -> None:
    labels = torch.zeros(2, 16, 16, dtype=torch.long)
    labels[:, :, 8:] = 1
    labels[:, 3] = 255
    right = F.one_hot(labels.where(labels != 255, 0), 2).movedim(-1, 1).float() * 50 - 25
    assert float(dice_loss(right, labels)) == pytest.approx(0.0, abs=1e-4)
    assert float(dice_loss(-right, labels)) > 0.98
    even = float(dice_loss(torch.zeros_like(right), labels))
    # Half a class everywhere: 2 * 0.5 n / (0.25 * 2 n + n) of each class's n pixels, plus one each.
    pixels = 15 * 8
    assert even == pytest.approx(1 - (pixels + 1) / (0.25 * 2 * pixels + pixels + 1), rel=1e-5)
