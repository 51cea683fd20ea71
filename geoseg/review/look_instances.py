"""What a model that finds objects makes of chips: scores, and pictures of the worst of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.chips.store import Chip, ChipStore
from geoseg.classes import IGNORE
from geoseg.config import DetectionConfig
from geoseg.metrics.image_objects import TrueObjects
from geoseg.metrics.instances import InstanceCounts
from geoseg.metrics.regions import Region
from geoseg.models.card import ModelCard
from geoseg.page.picture import Ids, shown_bands, shrunk_ids, shrunk_image, stretched
from geoseg.progress import Progress
from geoseg.review.look import BOUNDARY_PX
from geoseg.review.pick import MAX_CHIPS, MAX_PICTURE_PX, MAX_PICTURED, Looked, Worst, chips_to_look_at
from geoseg.review.seen_instances import Finder, FoundObjects, SeenObjects
from geoseg.review.verdict import DEFAULT_SCORE, SCORES, Judge, ScoreTally, Verdict

CLEAR, COVERED, MISSED, FALSE = range(4)
"""What a pixel is: of no object, of one in truth and prediction, in truth only, in prediction only."""


@dataclass(frozen=True, kw_only=True)
class ObjectsScore:
    """How well the objects of one chip were found, at the default score.

    Attributes:
        chip: the chip.
        true: true objects.
        right: those found.
        false: predicted objects that are none.
        mean_iou: of those found; NaN without any.
    """

    chip: Chip
    true: int
    right: int
    false: int
    mean_iou: float

    @property
    def missed(self) -> int:
        """True objects not found."""
        return self.true - self.right

    @property
    def mistakes(self) -> int:
        """What is missed, and what is false."""
        return self.missed + self.false

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; NaN where there is no object at all."""
        objects = 2 * self.right + self.mistakes
        return 2 * self.right / objects if objects else math.nan

    @property
    def badness(self) -> tuple[float, float]:
        """What chips are sorted by, the largest first: mistakes, and of equally many what else is right."""
        return self.mistakes, 0.0 if math.isnan(self.f1) else -self.f1


@dataclass(frozen=True, kw_only=True)
class ObjectPanels:
    """What is drawn of a chip.

    Attributes:
        image: (h, w, 3) uint8.
        step: pixels of the chip for one of the image.
        truth: true objects, in pixels of the chip.
        found: what the model found.
        verdict: at the default score.
        pixels: (h, w) ``CLEAR``, ``COVERED``, ``MISSED`` or ``FALSE``; 255 where nothing is known.
    """

    image: NDArray[np.uint8]
    step: int
    truth: TrueObjects
    found: FoundObjects
    verdict: Verdict
    pixels: Ids


@dataclass(frozen=True, kw_only=True)
class ObjectFindings:
    """What :func:`look_at_objects` found.

    Attributes:
        looked: the chips looked at.
        scores: of each labelled chip looked at, the worst first.
        unlabelled: chips looked at that have no labelled pixel.
        refined: average precision of the model's objects.
        unrefined: that of the same with masks of 28 x 28 points; ``None`` of a model without subdivision.
        tally: objects counted at several scores.
        pictured: the worst chips and what is drawn of them.
    """

    looked: Looked
    scores: tuple[ObjectsScore, ...]
    unlabelled: int
    refined: InstanceCounts
    unrefined: InstanceCounts | None
    tally: ScoreTally
    pictured: tuple[tuple[ObjectsScore, ObjectPanels], ...]

    @property
    def measured(self) -> bool:
        """Whether there is any object to measure by, true or predicted."""
        return bool(self.tally.truth.any() or self.tally.predicted.any())


def look_at_objects(
    model: Path,
    store: ChipStore,
    card: ModelCard,
    rules: DetectionConfig,
    *,
    device: str,
    progress: Progress,
) -> ObjectFindings:
    """Run a model once over the validation chips, or the training chips when there are none.

    Args:
        model: a file that fits the chips.
        store: instance chips.
        card: what the model says of itself.
        rules: how objects are chosen.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        progress: told about every chip.

    Raises:
        ConfigError: no such device.
        ModelError: the model is damaged.
        ChipsError, ReadError: a chip is.
    """
    split, in_split, chips = chips_to_look_at(store, MAX_CHIPS)
    drawn_bands = shown_bands(store.band_names)
    refined, unrefined = (InstanceCounts(len(store.classes), BOUNDARY_PX) for _ in range(2))
    # Of lower scores than the model reports nothing can be told.
    levels = [score for score in SCORES if score >= rules.min_score or score == DEFAULT_SCORE]
    tally = ScoreTally(len(store.classes), levels)
    scores: list[ObjectsScore] = []
    worst: Worst[tuple[ObjectsScore, ObjectPanels]] = Worst(MAX_PICTURED)
    finder = Finder.load(model, card, rules, device)
    progress.begin("report", len(chips), "chips")
    for chip in chips:
        seen = finder.run(store, chip)
        if (seen.labels != IGNORE).any():
            _count(refined, seen, seen.found.regions)
            _count(unrefined, seen, seen.found.unrefined)
            judge = Judge(seen.truth, seen.found)
            tally.add(seen.truth, seen.found, [judge.at(level) for level in levels])
            verdict = judge.at(DEFAULT_SCORE)
            scores.append(_score(chip, verdict))
            worst.add(scores[-1].badness, partial(_shown, scores[-1], seen, verdict, drawn_bands))
        progress.advance()
    progress.end()
    return ObjectFindings(
        looked=Looked(
            split=split,
            in_split=in_split,
            chips=len(chips),
            parameters=finder.parameters,
            device=finder.device,
        ),
        scores=tuple(sorted(scores, key=lambda score: score.badness, reverse=True)),
        unlabelled=len(chips) - len(scores),
        refined=refined,
        unrefined=unrefined if card.architecture.mask_head == "pointrend" else None,
        tally=tally,
        pictured=worst.first(),
    )


def _count(counts: InstanceCounts, seen: SeenObjects, regions: Sequence[Region]) -> None:
    truth, found = seen.truth, seen.found
    counts.update(truth.regions, truth.class_ids, regions, found.class_ids, found.scores, truth.crowd)


def _score(chip: Chip, verdict: Verdict) -> ObjectsScore:
    right = int(verdict.hit.sum())
    return ObjectsScore(
        chip=chip,
        true=len(verdict.hit),
        right=right,
        false=int(verdict.false.sum()),
        mean_iou=float(verdict.ious.mean()) if right else math.nan,
    )


def _shown(
    score: ObjectsScore, seen: SeenObjects, verdict: Verdict, drawn_bands: Sequence[int]
) -> tuple[ObjectsScore, ObjectPanels]:
    step = -(-len(seen.labels) // MAX_PICTURE_PX)
    return score, ObjectPanels(
        image=shrunk_image(stretched(seen.bands[list(drawn_bands)], seen.valid), step),
        step=step,
        truth=seen.truth,
        found=seen.found,
        verdict=verdict,
        pixels=shrunk_ids(_pixels(seen, verdict), step),
    )


def _pixels(seen: SeenObjects, verdict: Verdict) -> Ids:
    shape = seen.labels.shape
    truth = _covered(shape, seen.truth.regions[: len(seen.truth.numbers)])
    told = np.flatnonzero(verdict.right | verdict.false).tolist()
    found = _covered(shape, [seen.found.regions[at] for at in told])
    pixels = np.select([truth & found, truth, found], [COVERED, MISSED, FALSE], CLEAR)
    known = seen.valid & ((seen.labels != IGNORE) | truth)
    return np.where(known, pixels, IGNORE).astype(np.uint8)


def _covered(shape: tuple[int, ...], regions: Sequence[Region]) -> NDArray[np.bool_]:
    """Pixels (H, W) of any of the regions."""
    covered = np.zeros(shape, np.bool_)
    for region in regions:
        height, width = region.mask.shape
        covered[region.row : region.row + height, region.col : region.col + width] |= region.mask
    return covered
