"""From images to full-size logits, and where and how precisely to compute them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from geoseg.errors import ConfigError
from geoseg.models.deeplab import PointRendDeepLab
from geoseg.models.point_choice import area_cap
from geoseg.models.pointrend import subdivide
from geoseg.models.points import FineRows, upsample

DEFAULT_MARGIN = 0.99
DEFAULT_POINTS_PER_PIXEL = 1 / 4

PRECISION_OF: Mapping[torch.dtype | None, Literal["fp32", "bf16", "fp16"]] = {
    None: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}
"""Names of what :func:`choose_precision` chooses."""

DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

_CPU_INFO = Path("/proc/cpuinfo")
_BF16_FLAGS = ("amx_bf16", "avx512_bf16")


@torch.inference_mode()
def predict_logits(
    model: PointRendDeepLab,
    images: Tensor,
    *,
    refine: bool = True,
    margin: float | None = DEFAULT_MARGIN,
    points_per_pixel: float = DEFAULT_POINTS_PER_PIXEL,
) -> Tensor:
    """Class logits of every pixel.

    Works under autocast; point coordinates, interpolation and the result are float32 all the same.

    Args:
        model: the network, in eval mode.
        images: (N, B, H, W) float32 normalised, any H and W.
        refine: decide unsure pixels by the point head; otherwise the coarse map is upsampled bilinearly.
        margin: pixels whose two best class probabilities lie this far apart are sure at the first step; less
            is enough at later ones (:func:`geoseg.models.pointrend.step_margin`). ``None``: none is sure.
        points_per_pixel: most pixels decided in one step, as a share of those in each area
            (:data:`geoseg.models.point_choice.AREA_PX`).

    Returns:
        (N, K, H, W) float32.
    """
    if images.device.type == "cpu" and len(images) > 1:
        # One by one is faster on a CPU, and the result cannot depend on the batch.
        parts = [
            predict_logits(model, image, refine=refine, margin=margin, points_per_pixel=points_per_pixel)
            for image in images[:, None]
        ]
        return torch.cat(parts)
    height, width = images.shape[2:]
    output = model(images)
    if refine:
        padded = [side * model.stride for side in output.logits.shape[2:]]
        valid = None
        if padded != [height, width]:
            valid = torch.zeros(padded, dtype=torch.bool, device=images.device)
            valid[:height, :width] = True
        refined = [
            subdivide(
                output.logits[chip],
                [FineRows.of(feature_map[chip]) for feature_map in output.features],
                model.point_head,
                steps=model.steps,
                cap=area_cap(points_per_pixel),
                margin=margin,
                inner=(0, 0, height, width),
                valid=valid,
            )
            for chip in range(len(images))
        ]
        return torch.stack(refined)
    rows, columns = output.logits.shape[2:]
    full = upsample(output.logits.float(), (rows * model.stride, columns * model.stride))
    return full[:, :, :height, :width]


def choose_device(name: str = "auto") -> torch.device:
    """The device called ``auto`` (CUDA if there is any), ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigError: no such name, or no such device here.
    """
    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return torch.device("cuda:0" if available else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    kind, colon, number = name.partition(":")
    if kind != "cuda" or (colon and not (number.isascii() and number.isdigit())):
        raise ConfigError(f"--device {name}: no such device; use auto, cpu, cuda or cuda:N")
    index = int(number) if colon else 0
    if index >= available:
        raise ConfigError(f"--device {name}: this machine has {available} CUDA devices; use auto or cpu")
    return torch.device("cuda", index)


def choose_precision(name: str, device: torch.device) -> tuple[torch.dtype | None, str]:
    """The dtype to autocast to (``None``: float32 throughout), and why, in words for the user.

    Args:
        name: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: where the network runs.

    Raises:
        ConfigError: no such name, or float16 without a CUDA device.
    """
    cuda = device.type == "cuda"
    if name == "fp32":
        return None, "fp32 as asked"
    if name == "bf16":
        return torch.bfloat16, "bf16 as asked"
    if name == "fp16":
        if not cuda:
            raise ConfigError(f"precision fp16 needs a CUDA device, not {device}; use auto, bf16 or fp32")
        return torch.float16, "fp16 as asked"
    if name != "auto":
        raise ConfigError(f"precision {name} does not exist; use auto, fp32, bf16 or fp16")
    if cuda:
        with torch.cuda.device(device):
            if torch.cuda.is_bf16_supported(including_emulation=False):
                return torch.bfloat16, "bf16 (the GPU computes in it)"
        return torch.float16, "fp16 (the GPU has no bf16)"
    found = cpu_bf16_flag()
    if found is None:
        return None, "fp32 (this CPU has no bf16 instructions)"
    return torch.bfloat16, f"bf16 (this CPU has {found})"


def cpu_bf16_flag() -> str | None:
    """The instruction set that makes bfloat16 fast on this CPU, by the kernel's name, or ``None``."""
    try:
        text = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    flags: set[str] = set()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "flags":
            flags = set(value.split())
            break
    return next((flag for flag in _BF16_FLAGS if flag in flags), None)
