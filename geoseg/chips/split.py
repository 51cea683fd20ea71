"""Who trains, who validates, who tests; and the proof that they share no pixel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from geoseg.chips.ground import Ground, all_outlines, overlapping_pairs
from geoseg.chips.store import Split

_TRIALS = 64
_STEPS = 6400


def group_by_ground(ground: Ground, scenes: NDArray[np.intp], windows: NDArray[np.int64]) -> NDArray[np.intp]:
    """Number the windows so that those of different scenes that share ground get the same number.

    Args:
        ground: of all scenes.
        scenes: (N,) scene number of each window.
        windows: (N, 4) of col, row, width, height in pixels; those of one scene do not overlap.

    Returns:
        (N,) group numbers, 0 up to the number of groups, in order of first appearance.
    """
    parent = list(range(len(scenes)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    pairs, _ = overlapping_pairs(ground, scenes, windows)
    for one, other in pairs.tolist():
        low, high = sorted((root(one), root(other)))
        parent[high] = low
    return np.unique([root(node) for node in range(len(scenes))], return_inverse=True)[1].astype(np.intp)


def assign(pixels: NDArray[np.int64], *, val_share: float, test_share: float, seed: int) -> list[Split]:
    """Give groups to splits by chance, so that shares of labelled pixels and of every class come near.

    Of many random draws, each completed greedily, the one closest to the wanted shares is kept. With two
    groups one goes to val, with three or more val and test get at least one each, and train always does.

    Args:
        pixels: (G, K) labelled pixels of each class in each group.
        val_share: wanted share of val, 0 for none.
        test_share: wanted share of test, 0 for none.
        seed: same seed, same groups: same answer.

    Returns:
        One split a group.
    """
    shares: dict[Split, float] = {"train": 1.0 - val_share - test_share, "val": val_share, "test": test_share}
    wanted: list[Split] = [split for split in ("train", "val", "test") if shares[split] > 0.0][: len(pixels)]
    target = np.array([shares[split] for split in wanted])
    target = target / target.sum()
    portions = _portions(pixels)
    rng = np.random.default_rng(seed % 2**64)
    best, best_miss = np.zeros(len(pixels), np.intp), np.inf
    for _ in range(max(4, min(_TRIALS, _STEPS // max(1, len(pixels))))):
        taken, miss = _draw(portions, target, rng)
        if miss < best_miss:
            best, best_miss = taken, miss
    return [wanted[number] for number in best]


def _portions(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """(G, 1 + C): each group's portion of all labelled pixels, and of each class that occurs."""
    counts = np.concatenate([pixels.sum(axis=1, keepdims=True), pixels], axis=1).astype(np.float64)
    total = counts.sum(axis=0)
    if total[0] == 0.0:
        return np.full((len(pixels), 1), 1.0 / max(1, len(pixels)))
    present = total > 0.0
    portions = counts[:, present] / total[present]
    # All labelled pixels together weigh as much as all classes together.
    portions[:, 1:] /= np.sqrt(max(1, portions.shape[1] - 1))
    return np.asarray(portions)


def _draw(
    portions: NDArray[np.float64], target: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.intp], float]:
    """One random assignment (G,) and how far it misses the target shares."""
    order = rng.permutation(len(portions))
    taken = np.zeros(len(portions), np.intp)
    goal = target[:, np.newaxis] * portions.sum(axis=0)
    have = np.zeros_like(goal)
    for step, group in enumerate(order):
        if step < len(target):
            # The first ones go round, so that no split stays empty; the smallest split is served first.
            number = len(target) - 1 - step
        else:
            # Squared misses relative to the goal: what placing the group here changes.
            after = have + portions[group]
            change = (np.square((after - goal) / target[:, np.newaxis])).sum(axis=1)
            change -= (np.square((have - goal) / target[:, np.newaxis])).sum(axis=1)
            number = int(np.argmin(change))
        taken[group] = number
        have[number] += portions[group]
    return taken, float(np.square((have - goal) / target[:, np.newaxis]).sum())


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What the chips that were cut say about the split, whatever rule made it.

    Attributes:
        shared_pixels: pixels that chips of two splits have in common, in one scene or
            on the ground.
        least_distance_px: smallest gap between a train chip and a val or test chip of the
            same plane, in pixels of the finer scene; 0 when they touch, ``None`` when there is no such
            pair. Between scenes of different CRSs it is rough: a degree is taken to be as wide as it is high.
    """

    shared_pixels: int
    least_distance_px: float | None


def prove(
    ground: Ground, scenes: NDArray[np.intp], windows: NDArray[np.int64], splits: Sequence[Split]
) -> Proof:
    """Measure what splits share, from the windows of the chips alone.

    Args:
        ground: of all scenes.
        scenes: (N,) scene number of each chip.
        windows: (N, 4) of col, row, width, height in pixels, clipped to the scene.
        splits: N splits.
    """
    names, numbers = np.unique(np.array(splits), return_inverse=True)
    shared = sum(
        _shared_in_scene(windows[scenes == scene], numbers[scenes == scene]) for scene in np.unique(scenes)
    )
    pairs, pixels = overlapping_pairs(ground, scenes, windows)
    apart = numbers[pairs[:, 0]] != numbers[pairs[:, 1]]
    shared += int(np.ceil(pixels[apart].sum()))
    is_train = np.array(splits) == "train"
    if len(names) < 2 or not is_train.any():
        return Proof(shared_pixels=shared, least_distance_px=None)
    return Proof(shared_pixels=shared, least_distance_px=_least_distance(ground, scenes, windows, is_train))


def _shared_in_scene(windows: NDArray[np.int64], splits: NDArray[np.intp]) -> int:
    """Pixels in windows (N, 4) of two splits; exact, on the grid that the windows' edges make."""
    xs = np.unique(np.concatenate([windows[:, 0], windows[:, 0] + windows[:, 2]]))
    ys = np.unique(np.concatenate([windows[:, 1], windows[:, 1] + windows[:, 3]]))
    owner = np.full((len(ys) - 1, len(xs) - 1), -1, np.int8)
    shared = np.zeros(owner.shape, np.bool_)
    left, right = np.searchsorted(xs, windows[:, 0]), np.searchsorted(xs, windows[:, 0] + windows[:, 2])
    top, bottom = np.searchsorted(ys, windows[:, 1]), np.searchsorted(ys, windows[:, 1] + windows[:, 3])
    for x0, x1, y0, y1, split in zip(left, right, top, bottom, splits, strict=True):
        cells = owner[y0:y1, x0:x1]
        shared[y0:y1, x0:x1] |= (cells != -1) & (cells != split)
        cells[...] = split
    return int((np.diff(ys)[:, np.newaxis] * np.diff(xs))[shared].sum())


def _least_distance(
    ground: Ground, scenes: NDArray[np.intp], windows: NDArray[np.int64], is_train: NDArray[np.bool_]
) -> float | None:
    least = np.inf
    # Within a scene in its own pixels, exactly.
    boxes = shapely.box(windows[:, 0], windows[:, 1], *(windows[:, :2] + windows[:, 2:]).T)
    for scene in np.unique(scenes):
        mine = scenes == scene
        least = min(least, _gap(boxes[mine & is_train], boxes[mine & ~is_train]))
    # Between scenes on the ground, where pixels have a size.
    outlines = all_outlines(ground, scenes, windows)
    planes = ground.planes(scenes)
    sides = np.sqrt(shapely.area(outlines) / (windows[:, 2] * windows[:, 3]))
    for plane in np.unique(planes):
        mine = (planes == plane) & (sides > 0.0)
        if len(np.unique(scenes[mine])) > 1 and least > 0.0:
            gap = _gap(outlines[mine & is_train], outlines[mine & ~is_train])
            least = min(least, gap / float(sides[mine].min()))
    return round(float(least), 1) if np.isfinite(least) else None


def _gap(one: NDArray[np.object_], other: NDArray[np.object_]) -> float:
    """Smallest distance between two sets of polygons; infinite when one is empty."""
    if not len(one) or not len(other):
        return np.inf
    _, distances = shapely.STRtree(one).query_nearest(other, return_distance=True, all_matches=False)
    return float(distances.min()) if len(distances) else np.inf
