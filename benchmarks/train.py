"""What training costs around the network, and against the loop everybody writes.

Usage: python benchmarks/train.py [--chips FOLDER] [--side 512] [--crop PX] [--architecture NAME] [--runs 3]
           [--precision auto] [--threads N]

Three ways through the same steps of the same network, in turn, each after a warm-up:

(a) steps: batches that lie ready in memory, as float32: forward, backward, optimiser, average. The limit.
(b) train: geoseg's own epoch: chips read, cached, turned, jittered, normalised, and (a);
(c) plain: a ``DataLoader`` of two workers that reads each chip with rasterio, normalises and turns it with
    numpy, float32 batches, forward, backward, optimiser; the same loss.

Prints samples/s and the ratios (medians over the runs), and how long (b) waited for chips. Without --chips a
made-up farmland scene is cut.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from geoseg.chips.batches import ChipBatch, batches_of, epoch_order
from geoseg.chips.dataset import ChipDataset
from geoseg.chips.store import ChipStore
from geoseg.config import Config, TileConfig
from geoseg.models.deeplab import build_model
from geoseg.models.inference import choose_device, choose_precision
from geoseg.models.losses import training_loss
from geoseg.models.randomness import chip_generators
from geoseg.models.trainer import Trainer, build_optimizer
from geoseg.presets import load_config
from geoseg.sample.farmland import CLASS_COLUMN, write_farmland
from geoseg.tile import tile


class PlainChips(Dataset[tuple[Tensor, Tensor]]):
    """What a script does: open, read, normalise, flip."""

    def __init__(self, store: ChipStore, crop: int | None) -> None:
        self.paths = [(store.image_path(chip), store.label_path(chip)) for chip in store.chips("train")]
        self.mean = np.array(store.stats.mean, np.float32).reshape(-1, 1, 1)
        self.std = np.array(store.stats.std, np.float32).reshape(-1, 1, 1)
        self.crop = crop

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image_path, label_path = self.paths[index]
        with rasterio.open(image_path) as dataset:
            image = dataset.read().astype(np.float32)
        with rasterio.open(label_path) as dataset:
            labels = dataset.read(1).astype(np.int64)
        image = (image - self.mean) / self.std
        side = self.crop or labels.shape[0]
        row, col = np.random.randint(0, labels.shape[0] - side + 1, 2)
        rows, cols = slice(row, row + side), slice(col, col + side)
        image, labels = image[:, rows, cols], labels[rows, cols]
        turns = np.random.randint(4)
        image, labels = np.rot90(image, turns, (1, 2)), np.rot90(labels, turns)
        noisy = image * np.random.uniform(0.9, 1.1) + np.random.normal(0, 0.02, image.shape)
        return torch.from_numpy(noisy.astype(np.float32)), torch.from_numpy(labels.copy())


def main() -> None:
    """Read the options, make chips, compare."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("--chips", type=Path)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--crop", type=int)
    parser.add_argument("--architecture", default="deeplabv3_mobilenet_v3_large")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    sets = [f"model.architecture={options.architecture}", f"train.precision={options.precision}"]
    if options.crop:
        sets.append(f"train.crop_px={options.crop}")
    config = load_config(None, sets)
    with tempfile.TemporaryDirectory() as folder:
        chips = options.chips or make_chips(Path(folder), options.side)
        compare(ChipStore.open(chips), config, options.runs)


def make_chips(folder: Path, side: int) -> Path:
    """Two dozen chips of made-up farmland."""
    write_farmland(folder / "scene.tif", folder / "labels.gpkg", size_px=side * 4, seed=1)
    shares = {"val_share": 0.0, "test_share": 0.0}
    cut = TileConfig(size_px=side, overlap_px=side // 4, class_column=CLASS_COLUMN, **shares)
    tile([folder / "scene.tif"], [folder / "labels.gpkg"], folder / "chips", cut)
    return folder / "chips"


def compare(store: ChipStore, config: Config, runs: int) -> None:
    """Time all three ways and print."""
    device = choose_device()
    autocast, why = choose_precision(config.train.precision, device)
    chips = len(store.chips("train"))
    settings = config.train
    order = epoch_order(chips, seed=0, epoch=1)
    steps = [order[start : start + settings.batch_size] for start in range(0, chips, settings.batch_size)]
    data = ChipDataset(store, "train", augment=config.augment, crop_px=settings.crop_px)
    crop = f", crops of {settings.crop_px} px" if settings.crop_px else ""
    print(f"{chips} chips of {store.size_px} px{crop}, {config.model.architecture}, {device}, {why}")

    def trainer() -> Trainer:
        classes = len(store.classes)
        return Trainer(config, stats=store.stats, classes=classes, device=device, autocast=autocast)

    ready = [ready_batch(batch) for batch in batches_of(data, steps)]
    pure, ours = trainer(), trainer()
    waits: list[float] = []

    def run_pure() -> None:
        pure.train_epoch(epoch(pure), ready, chips=chips)

    def run_ours() -> None:
        with closing(batches_of(data, steps, epoch=epoch(ours))) as batches:
            figures = ours.train_epoch(epoch(ours), batches, chips=chips)
        waits.append(figures.waited / figures.seconds)

    plain = plain_loop(store, config, device, autocast)
    ways: dict[str, Callable[[], None]] = {"steps": run_pure, "train": run_ours, "plain": plain}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs + 1):
        for name, run in ways.items():
            started = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:6} {chips / median:7.2f} samples/s")
    ratios = [a / b for a, b in zip(seconds["train"], seconds["steps"], strict=True)]
    gains = [a / b for a, b in zip(seconds["plain"], seconds["train"], strict=True)]
    print(f"train / steps: {statistics.median(ratios):.3f} of the time")
    print(f"plain / train: {statistics.median(gains):.2f} times as long")
    print(f"waited for chips: {100 * statistics.median(waits[1:]):.2f} % of the time")


def epoch(trainer: Trainer) -> int:
    """The next epoch; the schedule ends somewhere."""
    return min(trainer.epoch + 1, 40)


def ready_batch(batch: ChipBatch) -> ChipBatch:
    """The batch as float32, without noise to draw."""
    return replace(batch, bands=batch.bands.float(), noise=torch.zeros_like(batch.noise))


def plain_loop(
    store: ChipStore, config: Config, device: torch.device, autocast: torch.dtype | None
) -> Callable[[], None]:
    """The loop of a script around the same network and loss."""
    network = build_model(config.model, bands=len(store.band_names), classes=len(store.classes)).to(device)
    optimizer = build_optimizer(network, config.train)
    data = PlainChips(store, config.train.crop_px)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        return iter(DataLoader(data, batch_size=config.train.batch_size, shuffle=True, num_workers=2))

    def run() -> None:
        network.train()
        for number, (images, labels) in enumerate(batches()):
            images, labels = images.to(device), labels.to(device)
            seeds = torch.arange(len(images)) + 1000 * number
            with torch.autocast(device.type, dtype=autocast or torch.bfloat16, enabled=autocast is not None):
                parts = training_loss(
                    network,
                    images,
                    labels,
                    points=config.points,
                    loss=config.loss,
                    generators=chip_generators(seeds, device),
                )
            optimizer.zero_grad()
            torch.autograd.backward(parts.total)
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            parts.total.item()

    return run


if __name__ == "__main__":
    main()
