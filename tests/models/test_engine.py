"""The network as prediction runs it, against the network as it was trained."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from geoseg.config import ModelConfig
from geoseg.models.deeplab import PointRendDeepLab, build_model
from geoseg.models.engine import DTYPES, ChipNetwork, View, fold_batch_norms
from geoseg.models.point_choice import Cap, area_cap
from geoseg.models.pointrend import PointHead, subdivide
from geoseg.models.points import FineRows

BANDS, CLASSES = 4, 5
ARCHITECTURES = ("deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "deeplabv3_resnet101")


def trained(**options: object) -> PointRendDeepLab:
    """A random network whose batch norms have something to say, and whose head has an opinion."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"head_width": 16, "head_depth": 2, **options})
    model = build_model(config, bands=BANDS, classes=CLASSES).eval()
    for norm in batch_norms(model):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.uniform_(-0.3, 0.3)
        norm.running_var.uniform_(0.5, 2.0)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.3, 0.3)
    nn.init.normal_(model.point_head.predictor.weight)
    return model


def batch_norms(*modules: nn.Module) -> list[nn.BatchNorm2d]:
    found = [inner for module in modules for inner in module.modules()]
    return [inner for inner in found if isinstance(inner, nn.BatchNorm2d)]


def parts_of(network: ChipNetwork) -> list[nn.Module]:
    return [part for part in vars(network).values() if isinstance(part, nn.Module)]


def images(side: int = 64, chips: int = 1, seed: int = 1) -> Tensor:
    return torch.randn(chips, BANDS, side, side, generator=torch.Generator().manual_seed(seed))


def difference(found: Tensor, expected: Tensor) -> float:
    """Largest difference, as a share of the largest value."""
    assert found.shape == expected.shape
    return float((found.float() - expected).abs().max() / expected.abs().max())


def same(one: View, other: View) -> bool:
    maps = zip((one.coarse, *one.fine), (other.coarse, *other.fine), strict=True)
    return all(torch.equal(own, others) for own, others in maps)


def refined(network: ChipNetwork, view: View) -> Tensor:
    rows = [FineRows.of(feature_map) for feature_map in view.fine]
    return network.refine(view.coarse, rows, steps=network.steps, cap=area_cap(1 / 4), margin=0.95)


@pytest.fixture(scope="module")
def model() -> PointRendDeepLab:
    return trained(fine_stages=("stride4", "stride2"))


@pytest.fixture(scope="module")
def networks(model: PointRendDeepLab) -> dict[torch.dtype, ChipNetwork]:
    return {dtype: ChipNetwork.of(model, dtype=dtype) for dtype in DTYPES}


@pytest.fixture(scope="module")
def network(networks: dict[torch.dtype, ChipNetwork]) -> ChipNetwork:
    return networks[torch.float32]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_folding_leaves_no_batch_norm_and_every_number(architecture: str) -> None:
    model = trained(architecture=architecture, fine_stages=("stride8", "stride2"))
    assert batch_norms(model)
    network = ChipNetwork.of(model, dtype=torch.float32)
    assert not batch_norms(*parts_of(network))
    with torch.no_grad():
        expected = model(images())
    [view] = network.look(images())
    assert difference(view.coarse, expected.logits[0]) < 1e-4
    for found, stage in zip(view.fine, expected.features, strict=True):
        assert difference(found, stage[0]) < 1e-4


def test_folding_leaves_alone_what_may_run_in_another_order() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)
            self.norm = nn.BatchNorm2d(3)

    norm_first = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3))
    for module, kept in ((Backwards(), 1), (norm_first, 2), (nn.Sequential(*Backwards().children()), 0)):
        fold_batch_norms(module.eval())
        assert len(batch_norms(module)) == kept


@pytest.mark.parametrize("training", [True, False])
def test_the_given_model_stays_as_it_is(training: bool) -> None:
    model = trained(auxiliary=True).train(training)
    before = copy.deepcopy(model.state_dict())
    network = ChipNetwork.of(model, dtype=torch.bfloat16)
    network.look(images())
    after = model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(values, after[name]) for name, values in before.items())
    assert all(values.dtype == after[name].dtype for name, values in before.items())
    assert all(weights.requires_grad for weights in model.parameters())
    assert all(module.training == training for module in model.modules())
    assert model.auxiliary is not None
    own = sum(weights.numel() for part in parts_of(network) for weights in part.parameters())
    dropped = sum(weights.numel() for weights in model.auxiliary.parameters())
    assert own < sum(weights.numel() for weights in model.parameters()) - dropped


def test_it_tells_what_it_is(model: PointRendDeepLab, network: ChipNetwork) -> None:
    assert (network.stride, network.steps) == (16, 4)
    assert (network.bands, network.classes) == (BANDS, CLASSES)
    assert (network.device, network.dtype) == (torch.device("cpu"), torch.float32)
    with pytest.raises(ValueError, match=r"not in torch\.float64"):
        ChipNetwork.of(model, dtype=torch.float64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_a_view_holds(
    dtype: torch.dtype, model: PointRendDeepLab, networks: dict[torch.dtype, ChipNetwork]
) -> None:
    [view] = networks[dtype].look(images(96))
    assert view.coarse.shape == (CLASSES, 6, 6)
    assert view.coarse.dtype == torch.float32
    assert view.coarse.is_contiguous()
    assert [tuple(found.shape) for found in view.fine] == [(24, 24, 24), (16, 48, 48)]
    for found in view.fine:
        assert found.dtype == dtype
        assert FineRows.of(found).rows.data_ptr() == found.data_ptr()
        assert found.untyped_storage().nbytes() == found.nbytes
    with torch.no_grad():
        expected = model(images(96))
    tolerance = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.005}[dtype]
    assert difference(view.coarse, expected.logits[0]) < tolerance
    for found, stage in zip(view.fine, expected.features, strict=True):
        assert difference(found, stage[0]) < tolerance


def test_a_resnets_first_feature_map_survives_the_layers_after_it() -> None:
    network = ChipNetwork.of(
        trained(architecture="deeplabv3_resnet50", output_stride=8, fine_stages=("stride2",)),
        dtype=torch.bfloat16,
    )
    [view] = network.look(images())
    assert view.coarse.shape == (CLASSES, 8, 8)
    assert torch.equal(view.fine[0], network.fine(images())[0][0])
    assert refined(network, view).shape == (CLASSES, 64, 64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_logits_are_computed_in_float32(
    dtype: torch.dtype, networks: dict[torch.dtype, ChipNetwork], network: ChipNetwork
) -> None:
    [view] = networks[dtype].look(images())
    full = refined(networks[dtype], view)
    assert full.dtype == torch.float32
    untouched = network.refine(view.coarse, [], steps=4, cap=Cap(points=1), margin=0.0)
    decided = full[:, (full != untouched).any(dim=0)]
    for logits in (view.coarse, decided):
        assert logits.numel()
        assert float((logits.to(dtype).float() != logits).float().mean()) > 0.9


def test_the_head_computes_in_the_dtypes_of_its_weights() -> None:
    torch.manual_seed(0)
    head = PointHead(fine_channels=8, classes=3, width=16, depth=3)
    nn.init.normal_(head.predictor.weight)
    fine, coarse = torch.randn(50, 8), torch.randn(50, 3)
    mixed = copy.deepcopy(head)
    mixed.layers.bfloat16()
    with torch.no_grad():
        expected, found = head(fine, coarse), mixed(fine.bfloat16(), coarse)
    assert found.dtype == torch.float32
    assert difference(found, expected) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_batch_does_not_change_a_chip(
    dtype: torch.dtype, networks: dict[torch.dtype, ChipNetwork]
) -> None:
    network, batch = networks[dtype], images(chips=3)
    together = network.look(batch)
    assert len(together) == len(network.fine(batch)) == 3
    for view, fine, image in zip(together, network.fine(batch), batch, strict=True):
        [alone] = network.look(image[None].clone())
        assert same(view, alone)
        assert same(View(coarse=view.coarse, fine=fine), alone)
    assert not same(together[0], together[1])
    assert network.look(batch[:0]) == []
    assert network.fine(batch[:0]) == []


def test_a_batch_at_once_as_on_a_gpu(
    networks: dict[torch.dtype, ChipNetwork], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, batch = networks[torch.float32], images(chips=3)
    apart = network.look(batch, tta=True)
    monkeypatch.setattr(ChipNetwork, "_batch", None)
    together = network.look(batch, tta=True)
    assert len(together) == 3
    for view, alone, fine in zip(together, apart, network.fine(batch), strict=True):
        assert difference(view.coarse, alone.coarse) < 1e-4
        assert view.coarse.is_contiguous()
        for found, expected, again in zip(view.fine, alone.fine, fine, strict=True):
            assert difference(found, expected) < 1e-4
            assert torch.equal(found, again)
            assert FineRows.of(found).rows.data_ptr() == found.data_ptr()
            assert found.untyped_storage().nbytes() == found.nbytes


def test_fine_maps_need_the_first_layers_only(network: ChipNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    [view] = network.look(images())
    monkeypatch.setattr(network, "_late", None)
    monkeypatch.setattr(network, "_pyramid", None)
    [found] = network.fine(images())
    assert all(torch.equal(own, other) for own, other in zip(view.fine, found, strict=True))


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="no oneDNN in this PyTorch")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_number_of_threads_does_not_change_a_chip(
    dtype: torch.dtype, networks: dict[torch.dtype, ChipNetwork], any_threads: None
) -> None:
    network, found = networks[dtype], []
    # Above 20480 numbers in a map PyTorch leaves its own convolutions for oneDNN's.
    for threads in (1, 2):
        torch.set_num_threads(threads)
        [view] = network.look(images(192))
        found.append((view, refined(network, view)))
    for view, full in found[1:]:
        assert same(view, found[0][0])
        assert torch.equal(full, found[0][1])


@pytest.fixture
def any_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_tta_is_the_mean_over_the_square(model: PointRendDeepLab, network: ChipNetwork) -> None:
    [view] = network.look(images(), tta=True)
    logits = []
    for transposed in (False, True):
        for axes in ((), (2,), (3,), (2, 3)):
            image = images().transpose(2, 3) if transposed else images()
            with torch.no_grad():
                back = model(image.flip(axes)).logits.double().flip(axes)
            logits.append(back.transpose(2, 3) if transposed else back)
    expected = torch.stack(logits).mean(dim=0)[0].float()
    assert view.coarse.dtype == torch.float32
    assert view.coarse.is_contiguous()
    assert difference(view.coarse, expected) < 1e-4
    [plain] = network.look(images())
    assert difference(plain.coarse, expected) > 0.01
    assert same(view, View(coarse=view.coarse, fine=plain.fine))


def test_tta_turns_with_the_image(network: ChipNetwork) -> None:
    [view] = network.look(images(), tta=True)
    [turned] = network.look(images().rot90(1, dims=(2, 3)).flip(2), tta=True)
    assert difference(turned.coarse, view.coarse.rot90(1, dims=(1, 2)).flip(1)) < 1e-5


def test_refining_is_subdivision_with_the_models_head(model: PointRendDeepLab, network: ChipNetwork) -> None:
    [view] = network.look(images())
    rows = [FineRows.of(feature_map) for feature_map in view.fine]
    valid = torch.zeros(64, 64, dtype=torch.bool)
    valid[:, :50] = True
    for inner, allowed in ((None, None), ((8, 0, 40, 24), None), ((8, 0, 40, 24), valid)):
        found = network.refine(
            view.coarse, rows, steps=4, cap=area_cap(1 / 4), margin=0.9, inner=inner, valid=allowed
        )
        with torch.inference_mode():
            expected = subdivide(
                view.coarse,
                rows,
                model.point_head,
                steps=4,
                cap=area_cap(1 / 4),
                margin=0.9,
                inner=inner,
                valid=allowed,
            )
        # The number of points in a call may change how a matrix product rounds.
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def balanced(model: PointRendDeepLab, image: Tensor) -> PointRendDeepLab:
    """A copy to which no class of ``image`` is likelier than another, by its coarse map as by its head."""
    model = copy.deepcopy(model)
    last = list(model.classifier.children())[-1]
    for bias in (last.get_parameter("bias"), model.point_head.predictor.bias):
        network = ChipNetwork.of(model, dtype=torch.float32)
        [view] = network.look(image)
        logits = view.coarse if bias is not model.point_head.predictor.bias else refined(network, view)
        with torch.no_grad():
            bias -= logits.mean(dim=(1, 2)).clone()
    return model


def test_bf16_sees_the_classes_that_float32_sees(model: PointRendDeepLab) -> None:
    image = images(128)
    labels = []
    for dtype in (torch.float32, torch.bfloat16):
        network = ChipNetwork.of(balanced(model, image), dtype=dtype)
        [view] = network.look(image)
        labels.append(refined(network, view).argmax(dim=0))
    counts = labels[0].flatten().bincount(minlength=CLASSES)
    assert float(counts.max() / counts.sum()) < 0.6
    assert float((labels[0] == labels[1]).float().mean()) > 0.95


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        ((1, BANDS, 64, 96), "multiple of 32 px, not 64 x 96"),
        ((1, BANDS, 48, 48), "multiple of 32 px, not 48 x 48"),
        ((1, BANDS, 0, 0), "multiple of 32 px, not 0 x 0"),
        ((1, BANDS + 1, 64, 64), "S, S"),
        ((BANDS, 64, 64), "S, S"),
    ],
)
def test_other_shapes_are_refused(shape: tuple[int, ...], problem: str, network: ChipNetwork) -> None:
    for run in (network.look, network.fine):
        with pytest.raises(ValueError, match=problem):
            run(torch.zeros(shape))
