"""The operations against numbers of another implementation.

``golden/*.npz`` were made outside of geoseg: random inputs, and what detectron2's PointRend (commit 02b5c4e2)
gives for them, cross-checked by float64 numpy formulas. ``*_border`` arrays use border padding; arrays made
with zero padding are compared where no neighbour lies outside of the map.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from geoseg.models.point_choice import Cap, most_uncertain, probability_margin, training_points, uncertainty
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

GOLDEN = Path(__file__).parent / "golden"
TOLERANCE = 1e-5


def golden(name: str) -> dict[str, Tensor]:
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays}


def close(found: Tensor, expected: Tensor) -> None:
    assert found.shape == expected.shape
    assert float((found.double() - expected.double()).abs().max()) <= TOLERANCE


def interior(points: Tensor, shape: tuple[int, int]) -> Tensor:
    """Points all of whose four neighbours lie inside of a map of ``shape``."""
    height, width = shape
    x, y = points[..., 0] * width, points[..., 1] * height
    return (x >= 0.5) & (x <= width - 0.5) & (y >= 0.5) & (y <= height - 0.5)


def test_point_sample() -> None:
    data = golden("point_sample")
    found = point_sample(data["feat"], data["points"])
    close(found, data["out_border"])
    inside = interior(data["points"], (5, 7))[:, None].expand_as(found)
    close(found[inside], data["out_zeros"][inside])
    assert not torch.allclose(found, data["out_zeros"], atol=1e-2)
    for chip in range(2):
        rows = gather_bilinear(as_rows(data["feat"][chip]), (5, 7), data["points"][chip])
        close(rows.T, data["out_border"][chip])


def test_labels_at_points() -> None:
    data = golden("point_sample")
    assert torch.equal(labels_at(data["labels"], data["label_points"]), data["out_labels_nearest"])


def test_uncertainty() -> None:
    data = golden("uncertainty")
    close(uncertainty(data["sem_logits"]), data["sem_uncertainty_logit"])
    close(-probability_margin(data["sem_logits"]), data["sem_uncertainty_prob"])


def test_uncertainty_of_a_mask_is_that_of_two_classes() -> None:
    data = golden("uncertainty")
    of_class = data["mask_logits"][torch.arange(5), data["mask_classes"]]
    close(uncertainty(torch.stack([of_class, torch.zeros_like(of_class)], dim=1)), data["mask_uncertainty"])


def test_points_on_grid() -> None:
    data = golden("points_on_grid")
    for chip in range(2):
        logits = two_classes(data["uncertainty"][chip])
        chosen = most_uncertain(logits, int(data["num_points"]), margin=None)
        assert set(chosen.tolist()) == set(data["indices"][chip].tolist())
        expected = dict(zip(data["indices"][chip].tolist(), data["coords"][chip], strict=True))
        close(pixel_centres(chosen, (16, 24)), torch.stack([expected[i] for i in chosen.tolist()]))
        assert len(most_uncertain(logits, 100_000, margin=None)) == int(data["all_count"])


def two_classes(wanted: Tensor) -> Tensor:
    """Logits (2, h, w) whose uncertainty ranks like ``wanted`` (1, h, w), which may be positive."""
    return torch.cat([wanted.max() - wanted, torch.zeros_like(wanted)])


def test_training_points() -> None:
    data = golden("train_points")
    unsure = uncertainty(point_sample(data["coarse"], data["over_generation"]))
    close(unsure, data["uncertainty_border"])
    found = training_points(data["coarse"], data["over_generation"], data["coverage"], int(data["N"]))
    assert found.shape == (2, 16, 2)
    assert point_sets(found[:, :12]) == point_sets(data["points_border"][:, :12])
    close(found[:, 12:], data["points_border"][:, 12:])
    for chip in range(2):
        chosen = data["over_generation"][chip][data["selected_border"][chip]]
        assert point_sets(chosen[None]) == point_sets(found[chip : chip + 1, :12])


def test_sorting_classes_before_sampling_would_choose_other_points() -> None:
    data = golden("train_points")
    found = training_points(data["coarse"], data["over_generation"], data["coverage"], int(data["N"]))
    wrong = point_sets(data["seed_points_wrong"][:, :12])
    for right, seed in zip(point_sets(found[:, :12]), wrong, strict=True):
        assert len(right & seed) <= 4


def point_sets(points: Tensor) -> list[set[tuple[float, ...]]]:
    return [{tuple(point) for point in chip.tolist()} for chip in points]


def golden_head(data: dict[str, Tensor]) -> PointHead:
    head = PointHead(fine_channels=5, classes=6, width=8, depth=3)
    names = {"layers.0": "1", "layers.1": "2", "layers.2": "3", "predictor": "_out"}
    weights = {f"{name}.weight": data[f"w{key}"] for name, key in names.items()}
    head.load_state_dict(weights | {f"{name}.bias": data[f"b{key}"] for name, key in names.items()})
    return head


@torch.no_grad()
def test_first_subdivision_step() -> None:
    data = golden("subdivision")
    count, head = int(data["num_points"]), golden_head(data)
    up = upsample(data["coarse"], (12, 10))
    close(up, data["step1_upsampled"])
    close(uncertainty(up), data["step1_uncertainty"])
    for chip in range(2):
        indices, coords = data["step1_indices"][chip], data["step1_coords"][chip]
        assert set(most_uncertain(up[chip], count, margin=None).tolist()) == set(indices.tolist())
        close(pixel_centres(indices, (12, 10)), coords)
        coarse = gather_bilinear(as_rows(data["coarse"][chip]), (6, 5), coords)
        fine = gather_bilinear(as_rows(data["fine"][chip]), (12, 10), coords)
        inside = interior(coords, (6, 5))
        close(coarse[inside], data["step1_coarse_feats"][chip].T[inside])
        inside = interior(coords, (12, 10))
        close(fine[inside], data["step1_fine_feats"][chip].T[inside])
        close(head(fine, coarse), data["step1_border_point_logits"][chip].T)
        inside &= interior(coords, (6, 5))
        close(head(fine, coarse)[inside], data["step1_point_logits"][chip].T[inside])
        result = subdivide(
            data["coarse"][chip],
            [FineRows.of(data["fine"][chip])],
            head,
            steps=1,
            cap=Cap(points=count),
            margin=None,
        )
        close(result.flatten(1)[:, indices], data["step1_border_point_logits"][chip])
        kept = torch.ones(120, dtype=torch.bool).index_fill(0, indices, False)
        close(result.flatten(1)[:, kept], data["step1_upsampled"][chip].flatten(1)[:, kept])


@torch.no_grad()
def test_whole_subdivision() -> None:
    data = golden("subdivision")
    head = golden_head(data)
    for chip in range(2):
        result = subdivide(
            data["coarse"][chip],
            [FineRows.of(data["fine"][chip])],
            head,
            steps=3,
            cap=Cap(points=int(data["num_points"])),
            margin=None,
        )
        close(result, data["final_border"][chip])


def test_upsampling_is_aligned() -> None:
    data = golden("alignment")
    ramp = data["src"][None, None, None]
    once = upsample(ramp, (1, 512))[0, 0, 0]
    close(once, data["one_x8_align_false"])
    thrice = upsample(upsample(upsample(ramp, (1, 128)), (1, 256)), (1, 512))[0, 0, 0]
    close(thrice, data["three_x2_align_false"])
    assert float((once - data["three_x2_align_true"])[4:-4].abs().max()) > 3


def test_parts_of_the_instance_numbers() -> None:
    data = golden("instance")
    relative = data["points_image"] / torch.tensor([80.0, 64.0])
    found = point_sample(data["feature_stride4"].expand(3, -1, -1, -1), relative)
    inside = interior(relative, (16, 20))[:, None].expand_as(found)
    close(found[inside], data["point_features"][inside])
    masks = point_sample(data["gt_masks"][:, None].float(), relative)[:, 0]
    inside = interior(relative, (64, 80))
    close(masks[inside], data["point_labels_bilinear"][inside])
    close(pixel_centres(torch.arange(16), (4, 4))[None], data["regular_grid_4"])
