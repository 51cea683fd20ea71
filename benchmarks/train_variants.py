"""What each choice of the training is worth: variants trained on the same chips, scored on unseen scenes.

Usage: python benchmarks/train_variants.py SCENE... --labels LABELS -o FOLDER [--seeds 0 1 2]
           [--variants os16-pointrend os8-bilinear ...] [--base train.epochs=20 ...] [--class-name field]
Scenes are dealt to train, val and test anew for each seed (60, 15, 25 %); all variants of a seed see the
same. A variant is a set of options over the base: see VARIANTS, or make one up: NAME:key=value,key=value.
Prints mIoU and Boundary IoU of the test scenes' masks (mean and spread over the seeds, and the mean of the
differences from the first variant), CPU minutes of training, and CPU seconds a megapixel of prediction.
What is done already in FOLDER is not done again.

``article`` trains as the article's code does (a linear head on the stride-8 stage, W/16 points of a chip,
classes sorted before they are sampled), but predicts as geoseg does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rasterio.windows import Window
from torch import Tensor

from geoseg.metrics import BoundaryCounts, ConfusionMatrix
from geoseg.raster.labels import open_labels
from geoseg.raster.mask import open_mask

WIDTHS_PX = (1, 2, 3)
AS_ARTICLE = "--as-article"
PLAIN = ["loss.point_weight=0"]
ARTICLE_POINTS = "points.per_pixel=2.44140625e-4"
"""W / 16 points of a chip of W x W pixels, for crops of 256 px: 16."""
VARIANTS: dict[str, list[str]] = {
    "os16-pointrend": [],
    "os16-bilinear": PLAIN,
    "os8-bilinear": [*PLAIN, "model.output_stride=8"],
    "article": ["model.head_depth=0", "model.fine_stages=[stride8]", ARTICLE_POINTS],
}


def main() -> None:
    """Train and score what is not done yet, and print the table."""
    if sys.argv[1:2] == [AS_ARTICLE]:
        sys.exit(as_article(sys.argv[2:]))
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=layout)
    parser.add_argument("scenes", nargs="+", type=Path)
    parser.add_argument("--labels", type=Path, required=True, help="a file, or a folder of files named alike")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS))
    parser.add_argument("--base", nargs="*", default=[], help="options of every variant")
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--class-name", default="object")
    kinds.add_argument("--class-column", help="field of the labels that tells the classes apart")
    parser.add_argument("--boundary", help="tile --boundary")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    results: dict[str, list[dict[str, Any]]] = {}
    for seed in options.seeds:
        split = deal(options.scenes, seed)
        chips = make_chips(options, split, seed)
        for text in options.variants:
            name, _, given = text.partition(":")
            overrides = [*options.base, *VARIANTS.get(name, []), *filter(None, split_overrides(given))]
            folder = options.output / f"{name}-{seed}"
            done = folder / "result.json"
            if not done.exists():
                done.write_text(json.dumps(run(options, chips, folder, name, overrides, split, seed)))
            results.setdefault(name, []).append(json.loads(done.read_text()))
            print(f"{name} seed {seed}: {json.dumps(results[name][-1])}", flush=True)
    show(results)


def as_article(arguments: list[str]) -> int:
    """Run geoseg with the article's choice of training points."""
    from geoseg.models import losses
    from geoseg.models.points import point_sample
    from geoseg_cli.main import main as run_geoseg

    def sorted_first(logits: Tensor, candidates: Tensor, coverage: Tensor, count: int) -> Tensor:
        with torch.no_grad():
            top = point_sample(logits.sort(dim=1, descending=True).values, candidates)
            chosen = (top[:, 1] - top[:, 0]).topk(count - coverage.shape[1], dim=1).indices
        important = candidates.gather(1, chosen.unsqueeze(2).expand(-1, -1, 2))
        return torch.cat([important, coverage], dim=1)

    losses.training_points = sorted_first
    return run_geoseg(arguments)


def split_overrides(text: str) -> list[str]:
    """``a=1,b=[x,y]`` at the commas outside of brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "[") - (letter == "]")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def deal(scenes: list[Path], seed: int) -> dict[str, list[Path]]:
    """Scenes of each split."""
    order = np.random.default_rng(seed).permutation(len(scenes))
    test, val = max(1, round(len(scenes) * 0.25)), max(1, round(len(scenes) * 0.15))
    dealt = [sorted(scenes)[index] for index in order]
    return {"test": dealt[:test], "val": dealt[test : test + val], "train": dealt[test + val :]}


def labels_of(labels: Path, scene: Path) -> Path:
    """The labels of a scene."""
    if not labels.is_dir():
        return labels
    return next(
        path for path in sorted(labels.glob(f"{scene.stem}.*")) if path.suffix in {".gpkg", ".geojson"}
    )


def class_of(options: argparse.Namespace) -> list[str]:
    """How tile is told the classes."""
    if options.class_column:
        return ["--class-column", options.class_column]
    return ["--class-name", options.class_name]


def make_chips(options: argparse.Namespace, split: dict[str, list[Path]], seed: int) -> Path:
    """Chips of the train and val scenes."""
    chips: Path = options.output / f"chips-{seed}"
    if not chips.exists():
        table = options.output / f"split-{seed}.csv"
        known = [(scene, name) for name in ("train", "val") for scene in split[name]]
        table.write_text("scene,split\n" + "".join(f"{scene.stem},{name}\n" for scene, name in known))
        labels = [part for scene, _ in known for part in ("--labels", str(labels_of(options.labels, scene)))]
        if not options.labels.is_dir():
            labels = ["--labels", str(options.labels)]
        extra = ["--boundary", options.boundary] if options.boundary else []
        geoseg("tile", *[str(scene) for scene, _ in known], *labels, "-o", str(chips), *extra,
               *class_of(options), "--split-file", str(table))  # fmt: skip
    return chips


def run(
    options: argparse.Namespace,
    chips: Path,
    folder: Path,
    name: str,
    overrides: list[str],
    split: dict[str, list[Path]],
    seed: int,
) -> dict[str, Any]:
    """Train, predict the test scenes, score them."""
    folder.mkdir(parents=True, exist_ok=True)
    sets = [part for override in overrides for part in ("--set", override)]
    started = time.perf_counter()
    sets += ["--set", f"train.seed={seed}", "--no-report", "--overwrite"]
    arguments = ["train", "--tiles", str(chips), "--run", str(folder / "run"), *sets]
    train_cpu = geoseg(*arguments, article=name == "article")
    train_wall = time.perf_counter() - started
    masks = folder / "masks"
    plain = ["--no-refine"] if set(PLAIN) <= set(overrides) else []
    masks.mkdir(exist_ok=True)
    # Several scenes go to a folder, one to a file.
    goal = masks if len(split["test"]) > 1 else masks / f"{split['test'][0].stem}.tif"
    cpu = geoseg("predict", *map(str, split["test"]), "-o", str(goal), "--overwrite",
                 "--model", str(folder / "run"), *plain)  # fmt: skip
    start_cpu = geoseg("info", "--env")
    matrix: ConfusionMatrix | None = None
    bands: list[BoundaryCounts] = []
    for scene in split["test"]:
        with open_mask(masks / f"{scene.stem}.tif") as mask:
            names = mask.classes.names
            height, width = mask.geobox.shape
            predicted = mask.read(Window(0, 0, width, height))
            with open_labels(
                labels_of(options.labels, scene),
                class_column=options.class_column,
                class_name=None if options.class_column else options.class_name,
                classes=mask.classes,
            ) as labels:
                truth = labels.burn(mask.geobox)
        if matrix is None:
            matrix = ConfusionMatrix(len(names))
            bands = [BoundaryCounts(len(names), px) for px in WIDTHS_PX]
        matrix.update(truth, predicted)
        for band in bands:
            band.update(truth, predicted)
    assert matrix is not None
    rows = [json.loads(line) for line in (folder / "run/metrics.jsonl").read_text().splitlines()]
    return {
        "miou": matrix.miou(),
        "iou": dict(zip(names, matrix.iou().tolist(), strict=True)),
        **{f"biou{px}": band.miou() for px, band in zip(WIDTHS_PX, bands, strict=True)},
        "val_miou": max((row["val_miou"] or 0.0) for row in rows),
        "train_cpu_min": train_cpu / 60,
        "train_wall_min": train_wall / 60,
        "predict_cpu_s_per_mpx": (cpu - start_cpu) / (matrix.pixels / 1e6),
        "options": overrides,
    }


def geoseg(*arguments: str, article: bool = False) -> float:
    """Run a verb; the CPU seconds it took."""
    before = os.times()
    how = [__file__, AS_ARTICLE] if article else ["-m", "geoseg_cli"]
    done = subprocess.run([sys.executable, *how, "-q", *arguments], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"geoseg {' '.join(arguments)}\n{done.stderr}")
    after = os.times()
    return (after.children_user - before.children_user) + (after.children_system - before.children_system)


def show(results: dict[str, list[dict[str, Any]]]) -> None:
    """The table."""
    columns = ["miou", "biou1", "biou2", "biou3", "val_miou", "train_cpu_min", "predict_cpu_s_per_mpx"]
    print(f"{'variant':24}" + "".join(f"{column:>24}" for column in columns))
    first = next(iter(results.values()))
    for name, runs in results.items():
        cells = []
        for column in columns:
            values = [result[column] for result in runs]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            gain = statistics.fmean(a[column] - b[column] for a, b in zip(runs, first, strict=False))
            cells.append(f"{statistics.fmean(values):.4f} ±{spread:.4f} {gain:+.4f}")
        print(f"{name:24}" + "".join(f"{cell:>24}" for cell in cells))


if __name__ == "__main__":
    main()
