"""The network for objects: what it learns from, what it leaves alone, and what comes out."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from models_of_tests import write_model
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v3_large
from torchvision.models.detection import maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2

from geoseg.classes import ClassMap
from geoseg.config import Architecture, DetectionConfig, LossConfig, ModelConfig, PointConfig
from geoseg.errors import ModelError
from geoseg.models.card import read_card
from geoseg.models.checkpoint import load_instance_model, load_model, save_model
from geoseg.models.instances import Target, targets_of
from geoseg.models.mask_branch import Lesson, mask_loss
from geoseg.models.mask_rcnn import LOSSES, MaskRCNN, build_instance_model, weighted_sum
from geoseg.models.pyramid import build_pyramid
from geoseg.models.roi_points import grid_points, masks_at, points_in_chip

SMALL: Architecture = "maskrcnn_mobilenet_v3_large_fpn_pointrend"
FEW = DetectionConfig(train_boxes=32, proposals=40, max_objects=6, min_score=0.0)
LN2 = math.log(2)


@pytest.fixture(scope="module", autouse=True)
def no_download() -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise URLError("no network in tests")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("torchvision.models._api.load_state_dict_from_url", refuse)


@pytest.fixture(scope="module")
def network() -> MaskRCNN:
    torch.manual_seed(0)
    return build_instance_model(ModelConfig(architecture=SMALL), bands=2, classes=3, detection=FEW)


def images(count: int = 2, side: int = 64) -> Tensor:
    return torch.randn(count, 2, side, side, generator=torch.Generator().manual_seed(5))


def target(*things: tuple[int, int, int, int, int], unknown: tuple[int, int] = (0, 0)) -> Target:
    """Rectangles (class id, top, left, bottom, right), and unknown columns."""
    labels = torch.zeros(64, 64, dtype=torch.uint8)
    objects = torch.zeros(64, 64, dtype=torch.int32)
    for number, (class_id, top, left, bottom, right) in enumerate(things, start=1):
        labels[top:bottom, left:right] = class_id
        objects[top:bottom, left:right] = number
    labels[:, unknown[0] : unknown[1]] = 255
    return targets_of(labels, objects)


TWO = target((1, 4, 6, 30, 40), (2, 40, 20, 60, 34))
NONE = target()


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_untrained_masks_are_a_coin_toss_and_every_weight_learns(network: MaskRCNN) -> None:
    network.train().zero_grad()
    losses = network(images(), [TWO, NONE], generators=generators(1, 2))
    assert tuple(losses) == LOSSES
    assert float(losses["coarse"].detach()) == pytest.approx(LN2, abs=0.02)
    assert float(losses["point"].detach()) == pytest.approx(LN2, abs=0.02)
    weighted_sum(losses, LossConfig()).backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
    # The masks' own losses reach the pyramid, and the two heads.
    network.zero_grad()
    losses = network(images(), [TWO, NONE], generators=generators(1, 2))
    (losses["coarse"] + losses["point"]).backward()
    masks = network.roi_heads.masks
    for part in (network.backbone.fpn, network.backbone.body, masks.coarse_head, masks.point_head):
        gradients = [parameter.grad for parameter in part.parameters()]
        assert any(gradient is not None and float(gradient.abs().max()) > 0 for gradient in gradients)


@torch.no_grad()
def test_all_that_is_drawn_follows_the_chips_generators(network: MaskRCNN) -> None:
    network.train()
    state = torch.get_rng_state()
    once, again, other = (
        network(images(), [TWO, TWO], generators=generators(*seeds)) for seeds in ((1, 2), (1, 2), (1, 3))
    )
    assert torch.equal(torch.get_rng_state(), state)
    for name in LOSSES:
        assert torch.equal(once[name], again[name])
    assert not torch.equal(once["point"], other["point"])
    assert not torch.equal(once["objectness"], other["objectness"])


@torch.no_grad()
def test_parts_of_a_batch_have_its_mean_loss_when_they_share_their_counts(network: MaskRCNN) -> None:
    """What processes that train together rely on."""
    network.train()
    targets = [TWO, target((1, 2, 2, 9, 50), unknown=(30, 64))]
    whole = network(images(), targets, generators=generators(1, 2))
    counts: list[list[Tensor]] = [[], []]

    def part(chip: int, mean: bool) -> dict[str, Tensor]:
        calls = iter(zip(*counts, strict=True)) if mean else iter(())

        def process_mean(value: Tensor) -> Tensor:
            if mean:
                return torch.stack(next(calls)).mean()
            counts[chip].append(value)
            return value

        losses: dict[str, Tensor] = network(
            images()[chip : chip + 1],
            [targets[chip]],
            generators=generators(chip + 1),
            process_mean=process_mean,
        )
        return losses

    for chip in (0, 1):
        part(chip, False)
    parts = [part(chip, True) for chip in (0, 1)]
    assert counts[0][2] != counts[1][2]
    for name in LOSSES:
        assert float(parts[0][name] + parts[1][name]) / 2 == pytest.approx(float(whole[name]), rel=1e-4), name


def test_nothing_to_learn_costs_nothing(network: MaskRCNN) -> None:
    network.train().zero_grad()
    unknown = target(unknown=(0, 64))
    losses = network(images(), [unknown, unknown], generators=generators(1, 2))
    assert [losses[name].item() for name in ("proposal", "class", "box", "coarse", "point")] == [0.0] * 5
    weighted_sum(losses, LossConfig()).backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


@torch.no_grad()
def test_where_nothing_is_known_there_is_no_background(network: MaskRCNN) -> None:
    crowded = {**TWO, "crowd": torch.tensor([False, True])}
    half = target((1, 4, 6, 30, 20), unknown=(32, 64))
    anchors = torch.tensor([[4.0, 2.0, 22.0, 32.0], [34.0, 0.0, 60.0, 20.0], [2.0, 40.0, 12.0, 60.0]])
    labels, _ = network.rpn.assign_targets_to_anchors([anchors], [half])
    assert labels[0].tolist() == [1.0, -1.0, 0.0]
    # The same of the box head's samples, for unknown land and for a crowd.
    proposals = torch.rand(400, 4, generator=torch.Generator().manual_seed(0)) * 40
    proposals[:, 2:] = proposals[:, :2] + 8 + proposals[:, 2:] / 4
    network.train()
    (boxes,), _, (drawn,) = network.roi_heads._drawn([proposals], [half])
    assert int((drawn == 0).sum()) > 4
    assert not bool(((boxes[:, 0] + boxes[:, 2]) / 2 > 32).any())
    seen: list[Target] = []

    def keep(*args: object) -> None:
        seen.extend(args[2])  # type: ignore[call-overload]

    hook = network.rpn.register_forward_pre_hook(lambda _, given: keep(*given))
    network(images(1), [crowded], generators=generators(1))
    hook.remove()
    assert seen[0]["labels"].tolist() == [1]
    assert torch.equal(seen[0]["ignore"], TWO["masks"][1])


def test_mask_points_in_unknown_pixels_do_not_count() -> None:
    boxes = torch.tensor([[0.0, 0.0, 64.0, 64.0]])
    half = target((1, 8, 8, 50, 60), unknown=(40, 64))
    where = grid_points(8, boxes)
    logits = torch.randn(1, 64)
    lesson = Lesson(boxes=boxes, labels=torch.tensor([1]), matched=torch.tensor([0]), target=half)
    found = mask_loss(logits, [lesson], [where], lambda value: value)
    truth = masks_at(half["masks"], torch.tensor([0]), points_in_chip(boxes, where))
    left = where[..., 0] * 64 < 40
    expected = F.binary_cross_entropy_with_logits(logits[left], truth[left])
    assert torch.isclose(found, expected)
    assert 0 < int(left.sum()) < 64


def test_objects_come_out_at_the_resolution_of_the_chip(network: MaskRCNN) -> None:
    network.eval().choose(FEW)
    chips = torch.randn(2, 2, 50, 70)
    both = network.detect(chips)
    assert [len(found) for found in both] == [6, 6]
    for chip, found in zip(chips, both, strict=True):
        (alone,) = network.detect(chip[None])
        assert torch.equal(alone.boxes, found.boxes)
        arrays = found.numpy()
        assert arrays.boxes.shape == (6, 4)
        assert str(arrays.boxes.dtype) == str(arrays.scores.dtype) == "float32"
        assert set(found.labels.tolist()) <= {1, 2}
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        for (x1, y1, x2, y2), mask, (row, column) in zip(
            arrays.boxes.tolist(), arrays.masks, arrays.offsets.tolist(), strict=True
        ):
            assert str(mask.dtype) == "bool"
            assert (row, column) == (math.floor(y1), math.floor(x1))
            assert (row + mask.shape[0], column + mask.shape[1]) == (math.ceil(y2), math.ceil(x2))
            assert row + mask.shape[0] <= 50
            assert column + mask.shape[1] <= 70


def test_masks_that_nothing_refined_are_of_the_same_objects(network: MaskRCNN) -> None:
    network = deepcopy(network).eval()
    lively = network.roi_heads.masks
    generator = torch.Generator().manual_seed(3)
    for parameter in lively.point_head.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.5, generator=generator)
    chip = images(1, 96)
    (found,) = network.detect(chip)
    ((again, first),) = network.detect_both(chip)
    assert len(found) > 2
    for other in (again, first):
        for name in ("boxes", "labels", "scores", "offsets"):
            assert torch.equal(getattr(other, name), getattr(found, name)), name
    pairs = [*zip(found.masks, again.masks, first.masks, strict=True)]
    assert all(torch.equal(refined, same) for refined, same, _ in pairs)
    assert any(not torch.equal(refined, unrefined) for refined, _, unrefined in pairs)


def test_no_objects_and_chips_of_nodata(network: MaskRCNN) -> None:
    network.eval().choose(FEW.model_copy(update={"min_score": 1.0}))
    (found,) = network.detect(torch.zeros(1, 2, 64, 64))
    network.choose(FEW)
    assert len(found) == len(found.numpy()) == 0
    assert found.boxes.shape == (0, 4)
    assert found.labels.shape == found.scores.shape == (0,)
    assert found.offsets.shape == (0, 2)
    assert found.masks == ()
    assert found.labels.dtype == found.offsets.dtype == torch.int64


def test_lower_precision_leaves_boxes_exact(network: MaskRCNN) -> None:
    """Boxes take part in float32: bfloat16 knows multiples of 2 only above 256."""
    network.eval()
    anchors: list[Tensor] = []
    hook = network.rpn.anchor_generator.register_forward_hook(lambda _, __, found: anchors.extend(found))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = network.detect(images(1))
    hook.remove()
    assert anchors[0].dtype == found.boxes.dtype == found.scores.dtype == torch.float32


@pytest.mark.parametrize(
    ("architecture", "options", "bands"),
    [
        ("maskrcnn_resnet50_fpn_pointrend", {}, 3),
        ("maskrcnn_resnet50_fpn_v2_pointrend", {"norm": "batch"}, 5),
        (SMALL, {"mask_head": "conv"}, 1),
    ],
)
def test_networks(architecture: Architecture, options: dict[str, str], bands: int) -> None:
    config = ModelConfig.model_validate({"architecture": architecture, **options})
    with torch.device("meta"):
        model = build_instance_model(config, bands=bands, classes=4)
    assert all(parameter.requires_grad for parameter in model.parameters())
    first = next(module for module in model.modules() if isinstance(module, nn.Conv2d))
    assert first.in_channels == bands
    norms = {type(module) for module in model.modules() if "Norm" in type(module).__name__}
    assert norms & {nn.BatchNorm2d, nn.GroupNorm} == {
        nn.BatchNorm2d if config.norm == "batch" else nn.GroupNorm
    }
    strides = {name: 64 // values.shape[-1] for name, values in model.backbone(torch.empty(
        1, bands, 64, 64, device="meta")).items()}  # fmt: skip
    assert strides == {"0": 4, "1": 8, "2": 16, "3": 32, "pool": 64}


@pytest.mark.parametrize("build", [maskrcnn_resnet50_fpn, maskrcnn_resnet50_fpn_v2])
def test_all_but_the_masks_is_torchvisions(build: Callable[..., nn.Module]) -> None:
    """Layer by layer, by name and shape; so torchvision's own weights of detectors would fit."""
    config = ModelConfig.model_validate({"architecture": f"{build.__name__}_pointrend", "norm": "batch"})
    with torch.device("meta"):
        theirs = build(weights=None, weights_backbone=None, num_classes=4)
        ours = build_instance_model(config, bands=3, classes=4)
    found, expected = (
        {name: tuple(values.shape) for name, values in model.state_dict().items() if "mask" not in name}
        for model in (ours, theirs)
    )
    assert found == expected


def test_mask_rcnns_own_masks_learn_and_come_out_too() -> None:
    config = ModelConfig(architecture=SMALL, mask_head="conv")
    model = build_instance_model(config, bands=2, classes=3, detection=FEW).train()
    losses = model(images(1), [TWO], generators=generators(1))
    assert float(losses["coarse"].detach()) > 0.0
    assert float(losses["point"]) == 0.0
    weighted_sum(losses, LossConfig()).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in model.parameters())
    (found,) = model.eval().detect(images(1))
    assert len(found) == len(found.masks) == 6


def test_a_model_file_tells_its_task_and_comes_back(network: MaskRCNN) -> None:
    pixels = write_model(Path("pixels.safetensors"))
    card = read_card(pixels)
    assert card.task == "semantic"
    own = replace(
        card,
        architecture=ModelConfig(architecture=SMALL),
        points=PointConfig(),
        classes=ClassMap.from_names(["background", "house", "tree"], background=0),
        band_names=("red", "nir"),
        stats=type(card.stats)(
            count=(1, 1), mean=(0.0, 0.0), m2=(1.0, 1.0), minimum=(0.0, 0.0), maximum=(1.0, 1.0)
        ),
    )
    path = Path("objects.safetensors")
    save_model(path, network, own)
    found, again = load_instance_model(path, detection=FEW)
    assert again == own
    assert again.task == found.task == "instance"
    assert not found.training
    own_state = network.state_dict()
    assert own_state.keys() == found.state_dict().keys()
    assert all(torch.equal(values, own_state[name]) for name, values in found.state_dict().items())
    with pytest.raises(ModelError, match=r"^model objects\.safetensors finds objects; give one that gives "):
        load_model(path)
    with pytest.raises(ModelError, match=r"^model pixels\.safetensors gives pixels a class; give one that f"):
        load_instance_model(pixels)


def test_backbone_weights_from_a_file() -> None:
    state = mobilenet_v3_large(weights=None).state_dict()
    torch.save(state, "weights.pth")
    config = ModelConfig(architecture=SMALL, backbone_weights="weights.pth")
    body = build_pyramid(config, bands=4).body.state_dict()
    assert torch.equal(body["16.0.weight"], state["features.16.0.weight"])
    assert torch.allclose(body["0.0.weight"][:, 1] * 4 / 3, state["features.0.0.weight"][:, 1])
    other = config.model_copy(update={"architecture": "maskrcnn_resnet50_fpn_v2_pointrend"})
    with pytest.raises(ModelError, match=r"give torchvision weights of resnet50$"):
        build_pyramid(other, bands=3)


@pytest.mark.parametrize("mask_head", ["pointrend", "conv"])
def test_a_slim_pyramid_learns_and_detects(mask_head: str) -> None:
    config = ModelConfig.model_validate(
        {"architecture": SMALL, "pyramid_width": 32, "mask_head": mask_head, "norm": "batch"}
    )
    model = build_instance_model(config, bands=2, classes=3, detection=FEW).train()
    assert {values.shape[1] for values in model.backbone(images(1)).values()} == {32}
    # The widest of the usual network has 256 channels of 7 x 7 places; nothing may be left at that width.
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert max(max(module.in_features, module.out_features) for module in linear) == 32 * 7 * 7
    weighted_sum(model(images(1), [TWO], generators=generators(1)), LossConfig()).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None for parameter in model.parameters())
    (found,) = model.eval().detect(images(1))
    assert len(found) == len(found.masks) == 6
