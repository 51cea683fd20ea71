"""The whole way through the command line on a scene with a known answer, as a user would type it."""

from __future__ import annotations

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from rasterio.features import rasterize
from scenes import north_up, pixel_box, write_labels, write_scene

from geoseg_cli.main import main

TRANSFORM = north_up(0.5)


def run(*words: str | Path) -> None:
    """A call that must end well."""
    assert main([str(word) for word in words]) == 0, words


def make_scene(folder: Path, name: str, seed: int, size: int) -> tuple[Path, Path]:
    """Bright squares on dark ground, in noise; the labels are the squares."""
    rng = np.random.default_rng(seed)
    squares = [
        pixel_box(TRANSFORM, row + int(rng.integers(4)), col + int(rng.integers(4)), 22, 20)
        for row in range(4, size - 30, 40)
        for col in range(4, size - 30, 40)
    ]
    truth = rasterize([(square, 1) for square in squares], (size, size), transform=TRANSFORM)
    bands = np.where(truth == 1, 190, 60) + rng.normal(0, 12, (3, size, size))
    scene = write_scene(folder / f"{name}.tif", np.clip(bands, 1, 255).astype(np.uint8), transform=TRANSFORM)
    return scene, write_labels(folder / f"{name}.gpkg", squares)


@pytest.mark.slow
def test_the_three_calls_work_as_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scene, labels = make_scene(tmp_path, "scene", 0, 256)
    run(
        "tile",
        scene,
        "--labels",
        labels,
        "-o",
        "chips",
        "--size",
        64,
        "--overlap",
        32,
        "--block",
        128,
        "--class-name",
        "roof",
    )
    small = [
        "--set",
        "model.head_width=32",
        "--set",
        "train.ema_decay=0.9",
        "--epochs",
        "7",
        "--batch-size",
        "2",
    ]
    run("train", "--tiles", "./chips", *small, "--lr", "0.003")
    run("predict", "scene.tif", "-o", "mask.tif")
    run("vectorize", "mask.tif", "-o", "parcels.gpkg")
    capfd.readouterr()
    run("evaluate", "mask.tif", labels, "--class-name", "roof", "--json")
    scores = json.loads(capfd.readouterr().out)

    with rasterio.open("scene.tif") as source, rasterio.open("mask.tif") as mask:
        assert (mask.crs, mask.transform, mask.shape) == (source.crs, source.transform, source.shape)
        ids = mask.read(1)
    truth = rasterize([(g, 1) for g in geopandas.read_file(labels).geometry], (256, 256), transform=TRANSFORM)
    # The scores told are those of an independent count.
    both = int(((ids == 1) & (truth == 1)).sum())
    either = int(((ids == 1) | (truth == 1)).sum())
    assert scores["iou"]["roof"] == pytest.approx(both / either)
    assert scores["iou"]["roof"] > 0.5, "it has learned something"

    parcels = geopandas.read_file("parcels.gpkg", layer="parcels")
    assert set(parcels.class_name) == {"roof"}
    assert parcels.crs == "EPSG:32633"
    # Simplified outlines keep the land: area and place agree with the mask to a few percent.
    assert parcels.area_m2.sum() == pytest.approx((ids == 1).sum() * 0.25, rel=0.05)
    drawn = shapely.union_all(parcels.geometry.to_numpy())
    assert drawn.area == pytest.approx(parcels.area_m2.sum(), rel=1e-6), "polygons do not overlap"
