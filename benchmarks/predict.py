"""What predicting a scene costs around the network, and what it saves against the loop everybody writes.

Usage: python benchmarks/predict.py [--scene SCENE --model MODEL] [--side 4096] [--precision bf16] [--runs 3]
                                    [--naive] [--bands4]

Three ways to the same mask, each in a process of its own, in turn:

(a) network: nothing but the network on chips that lie ready in memory, as many as the scene has, at the same
    precision, on as many threads: the limit. First without its point head, then with it;
(b) predict: ``geoseg predict``, everything included: start, reading, refining, the Cloud-Optimised GeoTIFF;
(c) naive (with ``--naive``): windows read one by one, batches of 4 in float32, each chip refined, a float32
    accumulator of the whole scene, argmax, an LZW GeoTIFF.

Without ``--scene`` the scene is soft noise and the network random, but as sure of itself as trained ones are.
With ``--scene`` it is laid out as often as needed to fill the side; ``--bands4`` makes four uint16 bands of
the first three and a model to match.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
import torch
from rasterio.transform import from_origin
from rasterio.windows import Window

from geoseg.classes import BandStats, ClassMap
from geoseg.config import ModelConfig, PointConfig
from geoseg.models.card import ModelCard
from geoseg.models.checkpoint import load_model, save_model
from geoseg.models.deeplab import build_model
from geoseg.models.engine import ChipNetwork
from geoseg.models.inference import DEFAULT_MARGIN, DTYPES
from geoseg.models.point_choice import area_cap
from geoseg.models.pointrend import subdivide
from geoseg.models.points import FineRows
from geoseg.render.grid import ChipGrid
from geoseg.render.session import default_workers

SIZE, OVERLAP = 512, 128
TILES = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "BIGTIFF": "IF_SAFER"}


def write_noise(path: Path, side: int) -> None:
    """Soft noise: cheap to make, not constant, not pathological to encode."""
    rng = np.random.default_rng(0)
    small = rng.integers(30, 220, (3, side // 32 + 1, side // 32 + 1), dtype=np.uint8)
    bands = np.kron(small, np.ones((1, 32, 32), np.uint8))[:, :side, :side]
    write_bands(path, bands + rng.integers(0, 20, bands.shape, dtype=np.uint8))


def write_bands(path: Path, bands: np.ndarray) -> None:
    """A tiled DEFLATE GeoTIFF of ``bands`` (B, H, W)."""
    profile = {"driver": "GTiff", "count": len(bands), "height": bands.shape[1], "width": bands.shape[2]}
    place = {"crs": "EPSG:32633", "transform": from_origin(5e5, 5e6, 0.5, 0.5), "photometric": "MINISBLACK"}
    with rasterio.open(path, "w", dtype=bands.dtype, **profile, **TILES, **place) as dataset:
        dataset.write(bands)


def lay_out(path: Path, source: Path, side: int, *, four: bool) -> None:
    """The scene mirrored at its edges until it fills the side."""
    with rasterio.open(source) as dataset:
        bands = dataset.read([1, 2, 3])
    for axis in (1, 2):
        while bands.shape[axis] < side:
            bands = np.concatenate([bands, np.flip(bands, axis)], axis)
    bands = bands[:, :side, :side]
    if four:
        bands = np.concatenate([bands, bands[:1]]).astype(np.uint16) * 257
    write_bands(path, bands)


def write_random_model(path: Path, architecture: str) -> None:
    """A model with random weights whose coarse logits are spread as those of a trained one."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"architecture": architecture})
    classes = ClassMap.from_names(["background", "a", "b", "c", "d"], background=0)
    model = build_model(config, bands=3, classes=len(classes)).eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 3, 512, 512)).logits
        last = list(model.classifier.children())[-1]
        last.bias -= logits.mean(dim=(0, 2, 3))  # type: ignore[operator]
        for weights in (last.weight, last.bias):
            weights *= 30 / logits.std(dim=(2, 3)).mean()  # type: ignore[operator]
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
        size_px=SIZE,
        geoseg_version="0",
        torch_version=str(torch.__version__),
        training={},
    )
    save_model(path, model, card)


def widen_model(path: Path, source: Path) -> None:
    """The same network for four uint16 bands; the fourth has no weight."""
    model, card = load_model(source)
    first = next(module for module in model.backbone.modules() if isinstance(module, torch.nn.Conv2d))
    first.weight = torch.nn.Parameter(torch.cat([first.weight, first.weight[:, :1] * 0], dim=1))
    stats = card.stats
    columns = {name: values for name, values in vars(stats).items() if name != "limit_std"}
    wide = {name: (*values, values[0]) for name, values in columns.items()}
    scaled = {name: tuple(value * 257 for value in wide[name]) for name in ("mean", "minimum", "maximum")}
    stats = BandStats(count=wide["count"], m2=tuple(value * 257**2 for value in wide["m2"]), **scaled)
    names = (*card.band_names, "again")
    save_model(path, model, replace(card, band_names=names, dtype="uint16", stats=stats))


def network_alone(scene: Path, model_path: Path, precision: str) -> tuple[float, float]:
    """Seconds of the network on as many chips as the scene has, without and with its point head."""
    model, card = load_model(model_path)
    network = ChipNetwork.of(model, dtype=DTYPES[precision])
    with rasterio.open(scene) as source:
        grid = ChipGrid.of(source.shape, size_px=SIZE, overlap_px=OVERLAP)
        chips = grid.shape[0] * grid.shape[1]
        images = []
        for number in range(16):
            row, col = number // 4 * (source.height - SIZE) // 3, number % 4 * (source.width - SIZE) // 3
            bands = source.read(window=Window(col, row, SIZE, SIZE))
            valid = np.ones((SIZE, SIZE), bool)
            images.append(torch.from_numpy(card.stats.normalise(bands, valid))[None])
    workers = default_workers("cpu")
    inner = (OVERLAP // 2, OVERLAP // 2, SIZE - OVERLAP // 2, SIZE - OVERLAP // 2)
    with ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1)) as pool:
        views = [view for found in pool.map(network.look, images) for view in found]
        rows = [[FineRows.of(maps) for maps in view.fine] for view in views]

        def refine(number: int) -> int:
            view, fine = views[number % 16], rows[number % 16]
            cap = area_cap(1 / 4)
            return len(
                network.refine(
                    view.coarse, fine, steps=network.steps, cap=cap, margin=DEFAULT_MARGIN, inner=inner
                )
            )

        list(pool.map(refine, range(16)))
        seconds = []
        for work in (lambda number: len(network.look(images[number % 16])), refine):
            started = time.perf_counter()
            list(pool.map(work, range(chips)))
            seconds.append(time.perf_counter() - started)
    return seconds[0], sum(seconds)


def naive(scene: Path, model_path: Path, output: Path) -> None:
    """The loop everybody writes."""
    model, card = load_model(model_path)
    half = np.minimum(np.arange(SIZE), np.arange(SIZE)[::-1]) + 0.5
    ramp = np.minimum(1, half / OVERLAP).astype(np.float32)
    weight = np.outer(ramp, ramp)
    with rasterio.open(scene) as source:
        height, width = source.shape
        offsets = [
            sorted({*range(0, length - SIZE, SIZE - OVERLAP), length - SIZE}) for length in (height, width)
        ]
        windows = [Window(col, row, SIZE, SIZE) for row in offsets[0] for col in offsets[1]]
        total = np.zeros((len(card.classes), height, width), np.float32)
        for start in range(0, len(windows), 4):
            batch = windows[start : start + 4]
            valid = np.ones((SIZE, SIZE), bool)
            images = [card.stats.normalise(source.read(window=window), valid) for window in batch]
            with torch.inference_mode():
                found = model(torch.from_numpy(np.stack(images)))
                for number, window in enumerate(batch):
                    logits = subdivide(
                        found.logits[number],
                        [FineRows.of(maps[number]) for maps in found.features],
                        model.point_head,
                        steps=model.steps,
                        cap=area_cap(1 / 4),
                        margin=DEFAULT_MARGIN,
                    )
                    rows = slice(window.row_off, window.row_off + SIZE)
                    cols = slice(window.col_off, window.col_off + SIZE)
                    total[:, rows, cols] += torch.softmax(logits, 0).numpy() * weight
        ids = total.argmax(axis=0).astype(np.uint8)
        profile = source.profile | {"count": 1, "dtype": "uint8", "compress": "lzw", "nodata": 255}
        profile.pop("photometric", None)
        with rasterio.open(output, "w", **profile) as target:
            target.write(ids, 1)


def run(*words: str | Path) -> float:
    """Seconds of another process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *map(str, words)], check=True, stdout=subprocess.PIPE, stderr=None)
    return time.perf_counter() - started


def prepare(options: argparse.Namespace, folder: Path) -> tuple[Path, Path]:
    """Scene and model to measure with."""
    scene, model = folder / "scene.tif", folder / "model.safetensors"
    if options.scene is None:
        write_noise(scene, options.side)
        write_random_model(model, options.architecture)
        return scene, model
    lay_out(scene, options.scene, options.side, four=options.bands4)
    if not options.bands4:
        return scene, options.model
    widen_model(model, options.model)
    return scene, model


def main() -> None:
    """Run the ways in turn and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scene", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--side", type=int, default=4096)
    parser.add_argument("--architecture", default="deeplabv3_mobilenet_v3_large")
    parser.add_argument("--precision", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--naive", action="store_true")
    parser.add_argument("--bands4", action="store_true")
    parser.add_argument("--only", choices=["network", "naive"], help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only == "network":
        sys.stdout.write(json.dumps(network_alone(options.scene, options.model, options.precision)))
        return
    if options.only == "naive":
        naive(options.scene, options.model, options.output)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scene, model = prepare(options, folder)
        given = ["--scene", scene, "--model", model]
        seconds: dict[str, list[float]] = {"coarse": [], "network": [], "predict": [], "naive": []}
        for _ in range(options.runs):
            words = [sys.executable, __file__, "--only", "network", "--precision", options.precision, *given]
            done = subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True)
            for way, found in zip(("coarse", "network"), json.loads(done.stdout), strict=True):
                seconds[way].append(found)
            mask = ["-o", folder / "mask.tif", "--overwrite", "--quiet", "--precision", options.precision]
            seconds["predict"].append(
                run("-m", "geoseg_cli", "predict", scene, *mask, "--model", model, "--size", str(SIZE))
            )
            if options.naive:
                seconds["naive"].append(
                    run(__file__, "--only", "naive", *given, "--output", folder / "n.tif")
                )
        medians = {way: statistics.median(times) for way, times in seconds.items() if times}
        what = f"{'4 x uint16' if options.bands4 else '3 x uint8'}, {options.precision}"
        print(f"{options.side} x {options.side} px, {what}, model {options.model or 'random'}")
        for way, median in medians.items():
            print(f"{way:8s} {median:7.1f} s   ({', '.join(f'{value:.1f}' for value in seconds[way])})")
        share = medians["network"] / medians["coarse"] - 1
        print(f"predict / network alone: {medians['predict'] / medians['network']:.2f}")
        print(f"predict / network without its head: {medians['predict'] / medians['coarse']:.2f}")
        print(f"refinement / network without it: {share:.1%}")
        if options.naive:
            with rasterio.open(folder / "mask.tif") as ours, rasterio.open(folder / "n.tif") as theirs:
                equal = float((ours.read(1) == theirs.read(1)).mean())
            print(f"naive / predict: {medians['naive'] / medians['predict']:.2f} at {equal:.3%} equal pixels")


if __name__ == "__main__":
    main()
