"""A small network with random weights, and scenes it finds interesting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from geoseg.classes import BandStats, ClassMap
from geoseg.config import ModelConfig, PointConfig
from geoseg.models.card import ModelCard
from geoseg.models.checkpoint import save_model
from geoseg.models.deeplab import build_model

CLASSES = ClassMap.from_names(["background", "field", "house"], background=0)


def write_model(
    path: Path,
    *,
    bands: int = 3,
    dtype: str = "uint8",
    gsd_m: float | None = 0.5,
    gsd_range_m: tuple[float, float] | None = None,
    seed: int = 1,
) -> Path:
    """A small network with random weights, lively enough that its classes vary over a noisy scene."""
    torch.manual_seed(seed)
    config = ModelConfig(head_width=8, head_depth=1)
    model = build_model(config, bands=bands, classes=len(CLASSES))
    for name, parameter in model.named_parameters():
        if "point_head" in name and parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.5)
    # An untrained coarse map is nearly one value; blending it would prove nothing.
    with torch.no_grad():
        pixels = torch.from_numpy(noise(bands, 256, 256)).float().unfold(1, 64, 64).unfold(2, 64, 64)
        chips = (pixels.permute(1, 2, 0, 3, 4).reshape(16, bands, 64, 64) - 120) / 60
        last = list(model.eval().classifier.children())[-1]
        last.weight *= 1.5 / model(chips).logits.std(dim=(0, 2, 3)).mean()
        last.bias -= model(chips).logits.mean(dim=(0, 2, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(
        path,
        model,
        ModelCard(
            architecture=config,
            points=PointConfig(),
            classes=CLASSES,
            band_names=tuple(f"band {band}" for band in range(1, bands + 1)),
            dtype=dtype,
            stats=BandStats(
                count=(100,) * bands,
                mean=(120.0,) * bands,
                m2=(100 * 60.0**2,) * bands,
                minimum=(0.0,) * bands,
                maximum=(255.0,) * bands,
            ),
            gsd_m=gsd_m,
            gsd_range_m=gsd_range_m,
            size_px=64,
            geoseg_version="0",
            torch_version=str(torch.__version__),
            training={},
        ),
    )
    return path


def noise(bands: int, height: int, width: int, seed: int = 0) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 255, (bands, height // 8 + 1, width // 8 + 1))
    fine = np.kron(coarse, np.ones((1, 8, 8), int))[:, :height, :width]
    return np.clip(fine + rng.integers(-20, 20, fine.shape), 1, 255).astype(np.uint8)
