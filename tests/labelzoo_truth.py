"""What odd labels must come out as, told pixel by pixel without any library of geometry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import scenes
from numpy.typing import NDArray

Ring = Sequence[tuple[float, ...]]


@dataclass(frozen=True)
class Land:
    """Land that a feature of labels covers.

    Attributes:
        rings: in pixels; inside is what an odd number of them go around.
        name: of the class; ``None`` for land known to be unknown.
    """

    rings: tuple[Ring, ...]
    name: str | None = "object"

    def pixels(self, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """(H, W) whether a pixel's centre is inside."""
        inside = np.zeros(shape, np.bool_)
        for ring in self.rings:
            inside ^= around(ring, shape)
        return inside

    @property
    def area(self) -> float:
        """Of the first ring, in square pixels: what is smaller burns over what is larger."""
        xs, ys = np.array([point[:2] for point in self.rings[0]], float).T
        return abs(float(np.dot(xs, np.roll(ys, -1)) - np.dot(ys, np.roll(xs, -1)))) / 2


def around(ring: Ring, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W) which pixel centres a ring goes around: a ray to the right crosses it an odd number of times."""
    rows, cols = np.mgrid[: shape[0], : shape[1]] + 0.5
    inside = np.zeros(shape, np.bool_)
    for (x, y), (next_x, next_y) in zip(ring, [*ring[1:], ring[0]], strict=True):
        if y == next_y:
            continue
        crosses = (y > rows) != (next_y > rows)
        inside ^= crosses & (cols < (next_x - x) * (rows - y) / (next_y - y) + x)
    return inside


@dataclass(frozen=True)
class Truth:
    """What labels say of a scene.

    Attributes:
        names: of the classes, the background first.
        ids: (H, W), 255 where unknown.
        objects: pixels (H, W) of every object that shows.
    """

    names: tuple[str, ...]
    ids: NDArray[np.uint8]
    objects: tuple[NDArray[np.bool_], ...]


def truth_of(lands: Sequence[Land], names: Sequence[str], shape: tuple[int, int]) -> Truth:
    """Burn lands by hand; ``names`` are those of the classes after the background."""
    every = ("background", *names)
    ids, owner = np.zeros(shape, np.uint8), np.full(shape, -1)
    for number in sorted(range(len(lands)), key=lambda n: -lands[n].area):
        name, inside = lands[number].name, lands[number].pixels(shape)
        ids[inside] = 255 if name is None else every.index(name)
        owner[inside] = number
    shown = [owner == n for n, land in enumerate(lands) if land.name not in (None, "background")]
    return Truth(every, ids, tuple(pixels for pixels in shown if pixels.any()))


def check_chips(truth: Truth, folder: Path) -> None:
    """What ``tile`` made of them, in one chip."""
    facts = json.loads((folder / "chips.json").read_text())
    assert tuple(facts["classes"]["names"]) == truth.names
    (chip,) = facts["chips"]
    rows, cols = (slice(0, size) for size in truth.ids.shape)
    labels = _read(folder / f"labels/{chip['name']}.tif")
    np.testing.assert_array_equal(labels[rows, cols], truth.ids)
    assert (labels == 255).sum() == (truth.ids == 255).sum() + labels.size - truth.ids.size


def check_objects(truth: Truth, folder: Path) -> None:
    """Every object of the truth is one object of the chip, and there are no others."""
    check_chips(truth, folder)
    (path,) = (folder / "objects").glob("*.tif")
    numbers = _read(path)[: truth.ids.shape[0], : truth.ids.shape[1]]
    found = {(numbers == number).tobytes() for number in range(1, int(numbers.max()) + 1)}
    assert found == {pixels.tobytes() for pixels in truth.objects}
    assert len(found) == len(truth.objects) == numbers.max()


def _read(path: Path) -> NDArray[Any]:
    with scenes.not_georeferenced_is_fine(), rasterio.open(path) as dataset:
        values: NDArray[Any] = dataset.read(1)
        return values


def check_scores(truth: Truth, scores: Mapping[str, Any]) -> None:
    """What ``evaluate --json`` says of the truth against the labels."""
    assert scores["pixels"] == (truth.ids != 255).sum()
    assert scores["miou"] == 1.0


def check_looks(truth: Truth, report: Mapping[str, Any]) -> None:
    """What ``doctor --json`` counted."""
    counts = np.bincount(truth.ids[truth.ids != 255], minlength=len(truth.names))
    assert tuple(report["class_shares"]) == truth.names
    np.testing.assert_allclose(list(report["class_shares"].values()), counts / counts.sum(), atol=1e-12)
