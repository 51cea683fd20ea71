"""Scenes of objects whose place is known, and a detector that sees them exactly, as far as its chip goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from geoseg.classes import BandStats, ClassMap
from geoseg.config import ModelConfig, PointConfig
from geoseg.models.card import CARD_KEY, ModelCard
from geoseg.models.instances import Detections
from geoseg.render.network import Loaded


def pieces(ids: NDArray[Any]) -> NDArray[np.int64]:
    """Number (H, W) of the 4-connected piece of equal ids of each pixel, from 1 by first pixel, or 0."""
    first = np.arange(ids.size).reshape(ids.shape)
    down, across = ids[1:] == ids[:-1], ids[:, 1:] == ids[:, :-1]
    while True:
        new = first.copy()
        # Each pixel takes the smallest number around it, then that of the pixel so called.
        for one, other, same in ((first[1:], new[:-1], down), (first[:, 1:], new[:, :-1], across)):
            other[same] = np.minimum(one, other)[same]
        for one, other, same in ((first[:-1], new[1:], down), (first[:, :-1], new[:, 1:], across)):
            other[same] = np.minimum(one, other)[same]
        new = new.ravel()[new]
        if (new == first).all():
            break
        first = new
    found, number = np.unique(np.where(ids > 0, first, -1), return_inverse=True)
    return number.reshape(ids.shape) + (found[0] >= 0)


def detections_of(ids: NDArray[Any], *, classes: int = 3) -> Detections:
    """What is seen of ``ids`` (S, S): each piece of equal ids is one object, of a class that its id tells."""
    found = pieces(ids)
    boxes, labels, scores, masks, offsets = [], [], [], [], []
    for number in range(1, int(found.max(initial=0)) + 1):
        rows, columns = np.nonzero(found == number)
        top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
        own = int(ids[rows[0], columns[0]])
        boxes.append((left, top, right, bottom))
        labels.append(1 + own % (classes - 1))
        scores.append(0.5 + own % 50 / 100)
        masks.append(torch.from_numpy(found[top:bottom, left:right] == number))
        offsets.append((int(top), int(left)))
    return Detections(
        boxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.int64),
        scores=torch.tensor(scores, dtype=torch.float32),
        masks=tuple(masks),
        offsets=torch.tensor(offsets, dtype=torch.int64).reshape(-1, 2),
    )


class ExactDetector:
    """Sees the objects whose ids the bands hold; those of different bands may overlap."""

    device = torch.device("cpu")

    def detect(self, images: torch.Tensor) -> list[Detections]:
        return [self._of(image.round().to(torch.int64).numpy()) for image in images]

    def _of(self, bands: NDArray[Any]) -> Detections:
        layers = [detections_of(ids) for ids in bands]
        return Detections(
            boxes=torch.cat([layer.boxes for layer in layers]),
            labels=torch.cat([layer.labels for layer in layers]),
            scores=torch.cat([layer.scores for layer in layers]),
            masks=tuple(mask for layer in layers for mask in layer.masks),
            offsets=torch.cat([layer.offsets for layer in layers]),
        )


def crowd(
    shape: tuple[int, int], count: int, rng: np.random.Generator, *, largest: int = 60
) -> NDArray[np.uint8]:
    """Ids (H, W): rectangles, discs, combs and rings of any size, many of which touch; 0 between them."""
    ids = np.zeros(shape, np.uint8)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    for index in range(count):
        y, x = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        height, width = rng.integers(1, largest, 2)
        box = (abs(rows - y) <= height // 2) & (abs(columns - x) <= width // 2)
        kind = rng.integers(0, 4)
        if kind == 1:
            box = (rows - y) ** 2 + (columns - x) ** 2 <= (height // 2) ** 2
        elif kind == 2:
            box &= ((columns // 4) % 2 == 0) | (rows == y)
        elif kind == 3:
            box &= ~((abs(rows - y) <= height // 4) & (abs(columns - x) <= width // 4))
        ids[box] = 1 + index % 250
    return ids


def write_card(path: Path, *, size_px: int = 64, bands: int = 1) -> Path:
    """A file that says it is an instance model, but has no weights: a test puts a detector in its place."""
    card = ModelCard(
        architecture=ModelConfig(architecture="maskrcnn_resnet50_fpn_pointrend"),
        points=PointConfig(),
        classes=ClassMap.from_names(["background", "field", "house"], background=0),
        band_names=tuple(f"ids {band}" for band in range(1, bands + 1)),
        dtype="uint8",
        # Bands as they are: (value - 0) / 1.
        stats=BandStats(
            count=(100,) * bands,
            mean=(0.0,) * bands,
            m2=(100.0,) * bands,
            minimum=(0.0,) * bands,
            maximum=(255.0,) * bands,
        ),
        gsd_m=0.5,
        size_px=size_px,
        geoseg_version="0",
        torch_version="0",
        training={},
    )
    save_file({"none": torch.zeros(1)}, path, metadata={CARD_KEY: json.dumps(card.to_json())})
    return path


def exact_network(*_: object) -> Loaded:
    """Stands for :func:`geoseg.render.network.load_network`."""
    return Loaded(detector=ExactDetector())
