"""PointRend's operations against brute force, and against every mistake its seeds made."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from geoseg.models.point_choice import (
    Cap,
    draw_points,
    most_uncertain,
    probability_margin,
    training_count,
    training_points,
    uncertainty,
)
from geoseg.models.pointrend import PointHead, subdivide
from geoseg.models.points import (
    FineRows,
    as_rows,
    gather_bilinear,
    labels_at,
    pixel_centres,
    point_sample,
    upsample,
)

sizes = st.integers(1, 9)
seeds = st.integers(0, 2**31)
FLAT = FineRows.of(torch.zeros(1, 16, 16))


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def random(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(height=sizes, width=sizes, channels=sizes, points=st.integers(0, 20), seed=seeds)
def test_fast_gather_equals_grid_sample(
    height: int, width: int, channels: int, points: int, seed: int
) -> None:
    feature_map = random(seed, channels, height, width)
    where = torch.rand(points, 2, generator=torch.Generator().manual_seed(seed + 1))
    where = torch.cat([where, torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.5, 0.5]])])
    for laid_out in (feature_map, feature_map[None].to(memory_format=torch.channels_last)[0]):
        fast = gather_bilinear(as_rows(laid_out), (height, width), where)
        assert torch.allclose(fast, point_sample(feature_map[None], where[None])[0].T, atol=1e-5)


def test_fast_gather_keeps_bf16_close() -> None:
    feature_map = random(0, 256, 16, 16)
    where = torch.rand(300, 2, generator=torch.Generator().manual_seed(1))
    fast = gather_bilinear(as_rows(feature_map.bfloat16()), (16, 16), where)
    assert fast.dtype == torch.bfloat16
    assert float((fast.float() - point_sample(feature_map[None], where[None])[0].T).abs().max()) < 0.05


def test_rows_of_a_channels_last_map_are_no_copy() -> None:
    feature_map = random(0, 1, 8, 5, 7).to(memory_format=torch.channels_last)
    assert as_rows(feature_map[0]).data_ptr() == feature_map.data_ptr()


def test_a_constant_map_is_constant_up_to_its_edges() -> None:
    # Zero padding reads .25 in the corner and .56 half a pixel inside.
    where = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [0.5 / 128, 0.5], [1.0, 0.0]]])
    assert torch.equal(point_sample(torch.ones(1, 1, 16, 16), where), torch.ones(1, 1, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sampling_deterministically_is_the_same(dtype: torch.dtype) -> None:
    where = torch.cat([random(1, 2, 50, 2).clamp(0, 1), torch.tensor([[[0.0, 0.0], [1.0, 1.0]]] * 2)], dim=1)
    results = []
    for deterministic in (False, True):
        maps = random(0, 2, 3, 6, 9).to(dtype).requires_grad_()
        torch.use_deterministic_algorithms(deterministic)
        try:
            sampled = point_sample(maps, where)
            (sampled * torch.arange(52)).sum().backward()
        finally:
            torch.use_deterministic_algorithms(False)
        results.append((sampled.detach(), maps.grad))
    for plain, exact in zip(*results, strict=True):
        assert plain is not None
        assert exact is not None
        assert plain.dtype == exact.dtype == dtype
        assert torch.allclose(plain, exact, atol=1e-4)


def test_a_head_without_hidden_layers_is_linear() -> None:
    head = PointHead(fine_channels=5, classes=3, depth=0)
    fine, coarse = random(1, 4, 5), random(2, 4, 3)
    assert len(head.layers) == 0
    expected = torch.cat([fine, coarse], dim=1) @ head.predictor.weight.T + head.predictor.bias
    assert torch.allclose(head(fine, coarse), expected, atol=1e-6)


def test_sampling_is_differentiable() -> None:
    maps = random(0, 1, 2, 4, 4).requires_grad_()
    point_sample(maps, torch.rand(1, 5, 2)).sum().backward()
    assert maps.grad is not None
    assert float(maps.grad.sum()) == pytest.approx(10.0, rel=1e-5)


@settings(max_examples=30, deadline=None)
@given(height=sizes, width=sizes, seed=seeds)
def test_labels_at_pixel_centres_are_the_pixels(height: int, width: int, seed: int) -> None:
    labels = torch.randint(0, 256, (1, height, width), generator=torch.Generator().manual_seed(seed))
    where = pixel_centres(torch.arange(height * width), (height, width))[None]
    assert torch.equal(labels_at(labels, where), labels.flatten(1))


def test_labels_at_the_far_corner_are_the_last_pixel() -> None:
    labels = torch.full((1, 512, 512), 255)
    labels[0, -1, -1] = 7
    where = torch.tensor([[[1.0, 1.0], [1.0 - 2**-24, 1.0 - 2**-24], [0.0, 0.0]]])
    assert labels_at(labels, where).tolist() == [[7, 7, 255]]


@settings(max_examples=30, deadline=None)
@given(classes=st.integers(2, 9), seed=seeds)
def test_uncertainty_equals_a_sort(classes: int, seed: int) -> None:
    logits = random(seed, 2, classes, 3, 4).round(decimals=1)
    ordered = logits.sort(dim=1, descending=True).values
    assert torch.equal(uncertainty(logits), ordered[:, 1] - ordered[:, 0])
    ordered = logits.softmax(1).sort(dim=1, descending=True).values
    assert torch.allclose(probability_margin(logits), ordered[:, 0] - ordered[:, 1])


def test_one_class_is_never_uncertain() -> None:
    logits = random(0, 2, 1, 4, 4)
    assert bool((uncertainty(logits) == -math.inf).all())
    assert bool((probability_margin(logits) == 1.0).all())
    assert not len(most_uncertain(logits[0], 5, margin=1.0))
    assert len(most_uncertain(logits[0], 5, margin=None)) == 5


@pytest.mark.parametrize(
    ("shape", "count"),
    [((512, 512), 1024), ((512, 256), 512), ((256, 512), 512), ((500, 512), 1000), ((3, 3), 1)],
)
def test_training_points_grow_with_the_area(shape: tuple[int, int], count: int) -> None:
    assert training_count(shape, 1 / 256) == count


def test_draws_are_repeatable_and_inside() -> None:
    first, second = (
        draw_points(16, generators(5, 6, 7), over_generation=3, importance=0.75) for _ in range(2)
    )
    assert [draw.shape for draw in first] == [(3, 48, 2), (3, 4, 2)]
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
        assert 0 <= float(one.min()) <= float(one.max()) < 1
    alone, _ = draw_points(16, generators(6), over_generation=3, importance=0.75)
    assert torch.equal(alone[0], first[0][1])


@pytest.mark.parametrize("importance", [0.0, 0.5, 1.0])
def test_any_share_of_importance_points(importance: float) -> None:
    draws = draw_points(7, generators(1, 2), over_generation=1, importance=importance)
    assert training_points(random(0, 2, 3, 4, 4), *draws, 7).shape == (2, 7, 2)


def sharp_map() -> Tensor:
    """Nearly one-hot logits (1, 3, 32, 32) of a trained network: three upright stripes."""
    stripes = torch.arange(32).clamp(max=31) * 3 // 32
    one_hot = F.one_hot(stripes, 3).float().T[None, :, None].expand(-1, -1, 32, -1)
    return 10 * one_hot + 0.1 * random(3, 1, 3, 32, 32)


def near_boundary(points: Tensor) -> float:
    column = points[0, :, 0] * 32
    distance = torch.minimum((column - 11).abs(), (column - 22).abs())
    return float((distance <= 0.5).float().mean())


def test_importance_points_lie_at_boundaries() -> None:
    logits = sharp_map()
    candidates, coverage = draw_points(400, generators(0), over_generation=3, importance=1.0)
    found = near_boundary(training_points(logits, candidates, coverage, 400))
    by_chance = near_boundary(candidates)
    # The seed's order: sort the classes of every cell, then sample the sorted maps.
    top = point_sample(logits.sort(dim=1, descending=True).values, candidates)
    seed_choice = (top[:, 1] - top[:, 0]).topk(400, dim=1).indices
    seed = near_boundary(candidates[0, seed_choice[0]][None])
    assert by_chance < 0.1
    assert seed < 0.12
    assert found > 0.15 > seed


def brute_force_choice(logits: Tensor, count: int, margin: float) -> set[int]:
    probabilities = logits.double().softmax(0).flatten(1).sort(dim=0, descending=True).values
    unsure = (probabilities[0] - probabilities[1]) < margin
    gaps = logits.flatten(1).sort(dim=0, descending=True).values
    gap = (gaps[0] - gaps[1]).tolist()
    candidates = [i for i in range(len(gap)) if unsure[i]]
    return set(sorted(candidates, key=lambda i: (gap[i], i))[:count])


@settings(max_examples=60, deadline=None)
@given(
    classes=st.integers(2, 6),
    count=st.integers(1, 40),
    margin=st.sampled_from([0.0, 0.2, 0.5, 0.9, 0.95, 1.0]),
    step=st.sampled_from([0.01, 1.0]),
    seed=seeds,
)
def test_choice_equals_brute_force(classes: int, count: int, margin: float, step: float, seed: int) -> None:
    # Steps of a whole logit make many ties: the first pixels in row-major order win.
    logits = (3 * random(seed, classes, 5, 6) / step).round() * step
    chosen = most_uncertain(logits, count, margin=margin)
    assert chosen.tolist() == sorted(brute_force_choice(logits, count, margin))


def test_choice_stays_inside() -> None:
    allowed = torch.zeros(4, 6, dtype=torch.bool)
    allowed[:2, :5] = True
    chosen = most_uncertain(torch.zeros(2, 4, 6), 100, margin=None, allowed=allowed)
    assert chosen.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]


def test_coarse_features_come_from_the_original_map() -> None:
    coarse = random(0, 3, 4, 4)
    result = subdivide(
        coarse, [FLAT], lambda _, logits: 3 * logits, steps=4, cap=Cap(points=10**6), margin=None
    )
    # Reading the refined map instead would multiply by 3 in every step.
    assert float(result.abs().max()) <= 3 * float(coarse.abs().max()) * (1 + 1e-6)
    centres = pixel_centres(torch.arange(64 * 64), (64, 64))
    assert torch.allclose(result.flatten(1), 3 * point_sample(coarse[None], centres[None])[0], atol=1e-5)


def test_fine_features_as_large_as_the_coarse_map_still_refine() -> None:
    coarse = random(0, 3, 4, 4)
    fine = FineRows.of(random(1, 3, 4, 4))
    result = subdivide(coarse, [fine], lambda fine, _: fine, steps=1, cap=Cap(points=64), margin=None)
    assert not torch.allclose(result, upsample(coarse[None], (8, 8))[0])


def test_a_sure_map_never_asks_the_head() -> None:
    def never(fine: Tensor, coarse: Tensor) -> Tensor:
        raise AssertionError

    coarse = torch.tensor([20.0, 0.0, -5.0])[:, None, None].expand(3, 4, 4)
    result = subdivide(coarse, [FLAT], never, steps=4, cap=Cap(points=50), margin=0.95)
    assert torch.equal(result, coarse[:, :1, :1].expand(3, 64, 64))


def test_the_head_is_asked_for_no_more_than_the_cap() -> None:
    asked = []

    def count(fine: Tensor, coarse: Tensor) -> Tensor:
        asked.append(len(fine))
        return coarse

    subdivide(torch.zeros(2, 4, 4), [FLAT], count, steps=3, cap=Cap(points=100), margin=0.95)
    assert asked == [64, 100, 100]


@settings(max_examples=40, deadline=None)
@given(
    margin=st.sampled_from([None, 0.3, 0.9]),
    top=st.integers(0, 60),
    left=st.integers(0, 90),
    height=st.integers(1, 64),
    width=st.integers(1, 96),
    steps=st.integers(1, 4),
    seed=seeds,
)
def test_a_part_equals_that_part_of_the_whole(
    margin: float | None, top: int, left: int, height: int, width: int, steps: int, seed: int
) -> None:
    scale = 1 << steps
    coarse = 2 * random(seed, 3, 64 // scale, 96 // scale)
    fine = [FineRows.of(random(seed + 1, 3, 16, 24))]
    inner = (top, left, min(64, top + height), min(96, left + width))
    cap = Cap(points=10**6)
    decide = lambda fine, coarse: fine + coarse  # noqa: E731
    whole = subdivide(coarse, fine, decide, steps=steps, cap=cap, margin=margin)
    part = subdivide(coarse, fine, decide, steps=steps, cap=cap, margin=margin, inner=inner)
    assert torch.equal(part, whole[:, inner[0] : inner[2], inner[1] : inner[3]])


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(1, 20),
    area=st.integers(1, 7),
    rows=st.integers(0, 9),
    columns=st.integers(0, 9),
    seed=seeds,
)
def test_cap_binds_in_each_area(count: int, area: int, rows: int, columns: int, seed: int) -> None:
    logits = random(seed, 3, 11, 13).round()
    chosen = most_uncertain(logits, count, margin=0.9, area=area, origin=(rows, columns))
    everywhere = {
        ((row + rows) // area, (column + columns) // area) for row in range(11) for column in range(13)
    }
    expected = []
    for number in everywhere:
        allowed = torch.tensor(
            [[((r + rows) // area, (c + columns) // area) == number for c in range(13)] for r in range(11)]
        )
        expected += most_uncertain(logits, count, margin=0.9, allowed=allowed).tolist()
    assert chosen.tolist() == sorted(expected)


def test_invalid_pixels_are_never_decided() -> None:
    valid = torch.zeros(64, 64, dtype=torch.bool)
    valid[:20, 30:] = True
    result = subdivide(
        torch.zeros(2, 4, 4),
        [FLAT],
        lambda _, coarse: coarse + 1,
        steps=4,
        cap=Cap(points=10**6),
        margin=None,
        valid=valid,
    )
    assert torch.equal(result[0] == 1, valid)


def test_head_sees_coarse_logits_at_every_layer() -> None:
    head = PointHead(fine_channels=5, classes=2, width=8, depth=3)
    assert [layer.in_features for layer in [*head.layers, head.predictor]] == [7, 10, 10, 10]
    assert float(head.predictor.weight.detach().std()) < 0.005
    assert not head.predictor.bias.any()
    fine, coarse = random(0, 2, 4, 5), random(1, 2, 4, 2)
    with torch.no_grad():
        for layer in head.layers:
            layer.weight[:, :-2] = 0
        head.predictor.weight[:, :-2] = 0
    # Only the coarse part of the last layer is left: the answer still depends on it.
    assert torch.allclose(head(fine, coarse), coarse @ head.predictor.weight[:, -2:].T, atol=1e-6)


def test_a_ramp_keeps_its_place_when_doubled() -> None:
    ramp = (torch.arange(16) * 16 + 7.5).expand(1, 1, 4, 16)
    up = upsample(ramp, (64, 256))[0, 0, 0]
    assert torch.allclose(up[8:-8], torch.arange(256.0)[8:-8], atol=1e-4)
