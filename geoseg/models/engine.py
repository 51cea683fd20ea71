"""The network as prediction runs it: batch norms folded away, weights in the dtype it computes in.

Training needs batch norms, float32 weights and an auxiliary head; prediction only what they put out. Folding
a batch norm into the convolution before it saves a pass over each feature map, and weights that are already
in the computing dtype save the casts that autocast makes anew for each chip. The layers that put out logits,
of the coarse map as of the points, stay float32: logits of a low precision tie where classes meet.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import Bottleneck

from geoseg.models.backbone import Backbone
from geoseg.models.deeplab import PointRendDeepLab
from geoseg.models.point_choice import Cap
from geoseg.models.pointrend import Inner, subdivide
from geoseg.models.points import FineRows

SIDE_MULTIPLE = 32
"""The side of a chip is a multiple of this many pixels: no map of any stride ends in a part of a cell."""

POINTS_STEP = 128
POINTS_AT_ONCE = 1024
"""The head runs on multiples of so many points, and on a CPU on no more than so many together."""

DTYPES = (torch.float32, torch.bfloat16, torch.float16)

_RUN_IN_ORDER = (nn.Sequential, Bottleneck, Backbone)
"""Modules that run a convolution and the batch norm registered right after it one after the other."""

_TURNS = tuple((quarters, mirrored) for quarters in range(4) for mirrored in (False, True))
"""The dihedral group D4: quarter turns, then perhaps a mirroring. The first one changes nothing."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What the network says of one chip, on the network's device.

    Attributes:
        coarse: (K, h, w) float32 logits, one cell for ``stride`` pixels, contiguous.
        fine: feature maps (C, h', w') the point head reads, one for each fine stage, in the network's dtype
            and laid out channels-last; each is all that its memory holds.
    """

    coarse: Tensor
    fine: tuple[Tensor, ...]


class ChipNetwork:
    """A trained network made ready to predict chips.

    On a CPU chips are computed one by one: that is faster, and no chip depends on its neighbours in a batch.
    Nor do the bits depend on the number of threads there, with one exception: oneDNN splits the sums of a
    ResNet's atrous convolutions (2048 channels in) otherwise for a few numbers, such as 3.

    Attributes:
        stride: pixels of a chip for one cell of the coarse map, a power of two.
        steps: doublings from the coarse map to full size.
        classes: number of classes, K.
        bands: number of bands, B.
        device: where the weights are.
        dtype: what the network computes in, but for its logits.
    """

    def __init__(self, model: PointRendDeepLab, *, dtype: torch.dtype) -> None:
        """Take ``model`` over and change its parts; :meth:`of` does that to a copy."""
        if dtype not in DTYPES:
            raise ValueError(f"a network computes in float32, bfloat16 or float16, not in {dtype}")
        self.stride = model.stride
        self.steps = model.steps
        self.classes = model.classes
        self.bands = model.bands
        self.device = next(model.parameters()).device
        self.dtype = dtype
        self._fine_stages = model.fine_stages
        model.auxiliary = None
        model.eval().requires_grad_(False)
        fold_batch_norms(model)
        self._early, self._late = _split_backbone(model.backbone, model.fine_stages)
        self._pyramid, self._logits = _split_classifier(model.classifier)
        self._head = model.point_head
        for part in (self._early, self._late, self._pyramid, self._logits):
            part.to(memory_format=torch.channels_last)
            part.to(torch.float32 if part is self._logits else dtype)
            if self.device.type == "cpu":
                _steady_pointwise(part)
        self._head.layers.to(dtype)

    @classmethod
    def of(cls, model: PointRendDeepLab, *, dtype: torch.dtype) -> ChipNetwork:
        """A copy of ``model`` on the same device; the auxiliary head is left out.

        Args:
            model: the network, float32; it stays as it is.
            dtype: float32, bfloat16 or float16.

        Raises:
            ValueError: another dtype.
        """
        return cls(copy.deepcopy(model), dtype=dtype)

    @torch.inference_mode()
    def look(self, images: Tensor, *, tta: bool = False) -> list[View]:
        """What the network says of each chip.

        Args:
            images: (N, B, S, S) float32 normalised, S a multiple of :data:`SIDE_MULTIPLE`.
            tta: take the coarse logits' mean over the eight flips and quarter turns of each chip. The fine
                maps are of the chip as it is.

        Returns:
            N views.

        Raises:
            ValueError: images of another shape.
        """
        views: list[View] = []
        for part in self._parts(images):
            values, fine = self._run_early(part)
            coarse = self._run_late(values)
            if tta:
                for quarters, mirrored in _TURNS[1:]:
                    values, _ = self._run_early(_turned(part, quarters, mirrored))
                    coarse = coarse + _turned_back(self._run_late(values), quarters, mirrored)
                coarse = coarse / len(_TURNS)
            views.extend(
                View(coarse=own.contiguous(), fine=maps)
                for own, maps in zip(_apart(coarse), _fine_of_each(fine, len(part)), strict=True)
            )
        return views

    @torch.inference_mode()
    def fine(self, images: Tensor) -> list[tuple[Tensor, ...]]:
        """The fine maps of each chip alone, as in :meth:`look`, by the first layers of the backbone.

        Args:
            images: as in :meth:`look`, and best the same batch: on a GPU another one may round otherwise.

        Returns:
            N times the maps (C, h', w') of :class:`View`.

        Raises:
            ValueError: images of another shape.
        """
        found: list[tuple[Tensor, ...]] = []
        for part in self._parts(images):
            found.extend(_fine_of_each(self._run_early(part)[1], len(part)))
        return found

    @torch.inference_mode()
    def refine(
        self,
        coarse: Tensor,
        fine: Sequence[FineRows],
        *,
        steps: int,
        cap: Cap,
        margin: float | None,
        inner: Inner | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Decide the unsure pixels by the point head: :func:`geoseg.models.pointrend.subdivide` with it.

        Args:
            coarse: (K, h, w) logits.
            fine: maps of the fine stages, in their order, that cover the same ground.
            steps: doublings; :attr:`steps` of them give full size.
            cap: most pixels decided in one step.
            margin: pixels whose two best class probabilities lie this far apart are sure; ``None``: none is.
            inner: (top, left, bottom, right) of the part wanted, in full-size pixels; all when not given.
            valid: (h * 2**steps, w * 2**steps) bool, pixels worth deciding; all when not given.

        Returns:
            (K, bottom - top, right - left) float32.
        """
        return subdivide(
            coarse, fine, self._decide, steps=steps, cap=cap, margin=margin, inner=inner, valid=valid
        )

    def _decide(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """The head, on a CPU on a few points at a time, and always on a number of them out of few.

        What the layers hand on then stays in the processor's cache. And oneDNN makes and keeps machine code
        for every shape it meets, some 300 kB each: with the numbers as they come, memory grew by 5 MB a chip.
        """
        points = len(fine)
        missing = -points % POINTS_STEP
        fine, coarse = (F.pad(values, (0, 0, 0, missing)) for values in (fine, coarse))
        at_once = POINTS_AT_ONCE if self.device.type == "cpu" else max(1, len(fine))
        parts = zip(torch.split(fine, at_once), torch.split(coarse, at_once), strict=True)
        return torch.cat([self._head(*part) for part in parts])[:points]

    def _parts(self, images: Tensor) -> Iterator[Tensor]:
        """The batches (n, B, S, S) float32 that ``images`` are computed in, on the network's device."""
        if images.ndim != 4 or images.shape[1] != self.bands:
            raise ValueError(f"images are (N, {self.bands}, S, S), not {tuple(images.shape)}")
        height, width = images.shape[2:]
        if height != width or not height or height % SIDE_MULTIPLE:
            raise ValueError(f"a chip's side is a multiple of {SIDE_MULTIPLE} px, not {height} x {width}")
        together = self._batch or max(1, len(images))
        for start in range(0, len(images), together):
            yield images[start : start + together].to(self.device)

    @property
    def _batch(self) -> int | None:
        """Chips computed at once; ``None``: all that are given."""
        return 1 if self.device.type == "cpu" else None

    def _run_early(self, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What the backbone's layers up to the last fine stage put out, and the fine maps (n, C, h', w')."""
        values = images.to(dtype=self.dtype, memory_format=torch.channels_last)
        found: dict[str, Tensor] = {}
        for name, layer in self._early.named_children():
            values = layer(values)
            if name in self._fine_stages:
                found[name] = values.contiguous(memory_format=torch.channels_last)
        return values, tuple(found[stage] for stage in self._fine_stages)

    def _run_late(self, values: Tensor) -> Tensor:
        """Coarse logits (n, K, h, w) float32, of what the early layers put out."""
        logits: Tensor = self._logits(self._pyramid(self._late(values)).float())
        return logits


def fold_batch_norms(model: nn.Module) -> None:
    """Fold each batch norm of ``model`` into the convolution right before it; an ``Identity`` replaces it.

    A batch norm is left alone where registration does not tell what runs before it.

    Args:
        model: a network in eval mode.
    """
    for parent in list(model.modules()):
        if not isinstance(parent, _RUN_IN_ORDER):
            continue
        for (conv_name, conv), (norm_name, norm) in pairwise(list(parent.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, nn.Identity())


def _split_backbone(backbone: Backbone, fine_stages: Sequence[str]) -> tuple[nn.Sequential, nn.Sequential]:
    """The layers up to the last fine stage, and from there to ``deep``; the tapped ones named by stage."""
    stages = backbone._stage_of
    layers = OrderedDict((stages.get(name, name), layer) for name, layer in backbone.named_children())
    names = list(layers)
    cut = max((names.index(stage) + 1 for stage in fine_stages), default=0)
    early, late = (
        nn.Sequential(OrderedDict((name, layers[name]) for name in part))
        for part in (names[:cut], names[cut : names.index("deep") + 1])
    )
    return early, late


def _split_classifier(classifier: nn.Module) -> tuple[nn.Sequential, nn.Sequential]:
    """The classifier without the convolution that puts out logits, and that convolution."""
    layers = list(classifier.children())
    if not isinstance(classifier, nn.Sequential) or not isinstance(layers[-1], nn.Conv2d):
        raise TypeError("the classifier is no chain that ends in a convolution")
    return nn.Sequential(*layers[:-1]), nn.Sequential(layers[-1])


class _SteadyPointwise(nn.Module):
    """A float32 1 x 1 convolution by oneDNN. ``Conv2d`` takes another way with one thread: other bits."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, values: Tensor) -> Tensor:
        """What the convolution makes of ``values`` (n, C, h, w), float32 on the CPU."""
        conv = self.conv
        return torch.mkldnn_convolution(
            values, conv.weight, conv.bias, (0, 0), conv.stride, conv.dilation, conv.groups
        )


def _steady_pointwise(part: nn.Module) -> None:
    """Put a :class:`_SteadyPointwise` in place of each float32 1 x 1 convolution, if oneDNN is there."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for parent in list(part.modules()):
        for name, child in list(parent.named_children()):
            if (
                isinstance(child, nn.Conv2d)
                and child.weight.dtype == torch.float32
                and child.kernel_size == (1, 1)
                and child.padding == (0, 0)
            ):
                setattr(parent, name, _SteadyPointwise(child))


def _apart(maps: Tensor) -> list[Tensor]:
    """The maps (C, h, w) of a batch (n, C, h, w); of several, each in memory of its own."""
    return [maps[0]] if len(maps) == 1 else [one.clone() for one in maps]


def _fine_of_each(fine: Sequence[Tensor], chips: int) -> list[tuple[Tensor, ...]]:
    """The fine maps (C, h', w') of each of ``chips`` chips, of maps by stage (n, C, h', w')."""
    apart = [_apart(maps) for maps in fine]
    return [tuple(maps[chip] for maps in apart) for chip in range(chips)]


def _turned(images: Tensor, quarters: int, mirrored: bool) -> Tensor:
    """``images`` (n, C, S, S) after a number of quarter turns and perhaps a mirroring of the columns."""
    turned = images.rot90(quarters, dims=(2, 3))
    return turned.flip(3) if mirrored else turned


def _turned_back(maps: Tensor, quarters: int, mirrored: bool) -> Tensor:
    """Undo :func:`_turned`."""
    return (maps.flip(3) if mirrored else maps).rot90(-quarters, dims=(2, 3))
