"""What predicting a scene costs around the network: `predict` against the bare network on the same chips.

Usage: python benchmarks/bench_predict.py [--side 2048] [--architecture NAME] [--runs 3]
The scene is soft noise, the weights are random (refinement then works at its cap).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin

from geoseg.classes import BandStats, ClassMap
from geoseg.config import ModelConfig, PointConfig, PredictConfig
from geoseg.models.card import ModelCard
from geoseg.models.checkpoint import load_model, save_model
from geoseg.models.deeplab import build_model
from geoseg.models.inference import choose_precision, predict_logits
from geoseg.predict import predict
from geoseg.raster.scene import Scene
from geoseg.raster.windows import chip_windows


def write_scene(path: Path, side: int) -> None:
    """Soft noise: cheap to make, not constant, not pathological to encode."""
    rng = np.random.default_rng(0)
    small = rng.integers(30, 220, (3, side // 32 + 1, side // 32 + 1), dtype=np.uint8)
    bands = np.kron(small, np.ones((1, 32, 32), np.uint8))[:, :side, :side]
    bands = bands + rng.integers(0, 20, bands.shape, dtype=np.uint8)
    profile = {"driver": "GTiff", "count": 3, "height": side, "width": side, "dtype": "uint8"}
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate"}
    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 0.5, 0.5)}
    with rasterio.open(path, "w", **profile, **layout, **place) as dataset:
        dataset.write(bands)


def write_model(path: Path, architecture: str) -> None:
    """A model with random weights."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"architecture": architecture})
    classes = ClassMap.from_names(["background", "a", "b", "c", "d"], background=0)
    stats = BandStats(
        count=(1,) * 3, mean=(130.0,) * 3, m2=(3600.0,) * 3, minimum=(0.0,) * 3, maximum=(255.0,) * 3
    )
    card = ModelCard(
        architecture=config,
        points=PointConfig(),
        classes=classes,
        band_names=("red", "green", "blue"),
        dtype="uint8",
        stats=stats,
        gsd_m=0.5,
        size_px=512,
        geoseg_version="0",
        torch_version=str(torch.__version__),
        training={},
    )
    save_model(path, build_model(config, bands=3, classes=len(classes)), card)


def network_alone(scene: Path, model_path: Path, *, refine: bool) -> float:
    """Seconds of the forward passes over the scene's chips, everything else left out of the clock."""
    model, card = load_model(model_path)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    autocast, _ = choose_precision("auto", torch.device("cpu"))
    seconds = 0.0
    with Scene.open(scene) as source:
        for window in chip_windows(source.geobox.shape, 512, 128):
            bands, valid = source.read(window)
            image = torch.from_numpy(card.stats.normalise(bands, valid))[None]
            image = image.contiguous(memory_format=torch.channels_last)
            started = time.perf_counter()
            with torch.inference_mode(), torch.autocast("cpu", dtype=autocast, enabled=autocast is not None):
                predict_logits(model, image, refine=refine)
            seconds += time.perf_counter() - started
    return seconds


def main() -> None:
    """Run the pairs in turn and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=2048)
    parser.add_argument("--architecture", default="deeplabv3_mobilenet_v3_large")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scene, model = Path(folder, "scene.tif"), Path(folder, "model.safetensors")
        write_scene(scene, options.side)
        write_model(model, options.architecture)
        whole, refined, coarse = [], [], []
        for _ in range(options.runs):
            coarse.append(network_alone(scene, model, refine=False))
            refined.append(network_alone(scene, model, refine=True))
            report = predict(
                scene, Path(folder, "mask.tif"), model=model, config=PredictConfig(), overwrite=True
            )
            whole.append(report.seconds)
    medians = [statistics.median(times) for times in (whole, refined, coarse)]
    print(f"{options.architecture}, {options.side} x {options.side} px, {report.chips} chips of 512 px")
    print(
        f"predict {medians[0]:.1f} s, network with refinement {medians[1]:.1f} s, without {medians[2]:.1f} s"
    )
    print(f"predict / network with refinement: {medians[0] / medians[1]:.2f}")
    print(f"refinement at its cap / coarse network: {medians[1] / medians[2] - 1:.2f}")


if __name__ == "__main__":
    main()
