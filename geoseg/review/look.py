"""What a model makes of chips: scores before and after refinement, and pictures of the worst of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoseg.chips.store import Chip, ChipStore
from geoseg.classes import IGNORE, BandStats
from geoseg.metrics import BoundaryCounts, ConfusionMatrix
from geoseg.page.picture import Ids, shown_bands, shrunk_ids, shrunk_image, stretched
from geoseg.progress import Progress
from geoseg.review.pick import MAX_CHIPS, MAX_PICTURE_PX, MAX_PICTURED, Looked, Worst, chips_to_look_at
from geoseg.review.seen import Runner, Seen

BOUNDARY_PX = 2
"""Width of the band of Boundary IoU, that of training's validation."""

UNCERTAINTY_LEVELS = 15

RIGHT, WRONG, MENDED, SPOILED = range(4)
"""What refinement did to a pixel: right and wrong in both predictions, only wrong before, only after."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """Counts of one kind of prediction.

    Attributes:
        matrix: every pixel of the land once.
        boundary: the same for Boundary IoU, without a margin as wide as its band around each chip.
    """

    matrix: ConfusionMatrix
    boundary: BoundaryCounts

    @classmethod
    def of(cls, classes: int) -> Tally:
        """Nothing counted yet."""
        return cls(matrix=ConfusionMatrix(classes), boundary=BoundaryCounts(classes, BOUNDARY_PX))


@dataclass(frozen=True, kw_only=True)
class ChipScore:
    """How well one chip was predicted, over all of its labelled pixels.

    Attributes:
        chip: the chip.
        labelled: pixels with truth.
        wrong: share of them that the refined prediction has wrong.
        coarse_wrong: share of them that the coarse prediction has wrong.
        miou: mean IoU of the refined prediction over the classes present.
        coarse_miou: the same of the coarse one.
        boundary_iou: mean Boundary IoU of the refined prediction.
        coarse_boundary_iou: the same of the coarse one.
    """

    chip: Chip
    labelled: int
    wrong: float
    coarse_wrong: float
    miou: float
    coarse_miou: float
    boundary_iou: float
    coarse_boundary_iou: float


@dataclass(frozen=True, kw_only=True)
class Panels:
    """What is drawn of a chip, all of one size (h, w), 255 where nothing is known.

    Attributes:
        image: (h, w, 3) uint8.
        labels: class ids.
        coarse: class ids of the coarse map, upsampled bilinearly.
        refined: class ids with refinement.
        uncertainty: one minus the margin between the two best refined probabilities, in
            ``UNCERTAINTY_LEVELS`` steps.
        errors: ``RIGHT``, ``WRONG``, ``MENDED`` or ``SPOILED``.
    """

    image: NDArray[np.uint8]
    labels: Ids
    coarse: Ids
    refined: Ids
    uncertainty: Ids
    errors: Ids


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What :func:`look_at` found.

    Attributes:
        looked: the chips looked at.
        scores: of each labelled chip looked at, the worst first.
        unlabelled: chips looked at that have no labelled pixel.
        coarse: counts of the coarse prediction.
        refined: counts of the refined one.
        mended: labelled pixels of the land that were wrong before refinement, and right after.
        spoiled: those that were right before, and wrong after.
        pictured: the worst chips and what is drawn of them.
    """

    looked: Looked
    scores: tuple[ChipScore, ...]
    unlabelled: int
    coarse: Tally
    refined: Tally
    mended: int
    spoiled: int
    pictured: tuple[tuple[ChipScore, Panels], ...]

    @property
    def measured(self) -> bool:
        """Whether any pixel was counted."""
        return self.refined.matrix.pixels > 0


def look_at(model: Path, store: ChipStore, stats: BandStats, *, device: str, progress: Progress) -> Findings:
    """Run a model once over the validation chips, or the training chips when there are none.

    Args:
        model: a file that fits the chips.
        store: the chips.
        stats: of the bands, as the model has them.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        progress: told about every chip.

    Raises:
        ConfigError: no such device.
        ModelError: the model is damaged.
        ChipsError, ReadError: a chip is.
    """
    split, in_split, chips = chips_to_look_at(store, MAX_CHIPS)
    coarse, refined = Tally.of(len(store.classes)), Tally.of(len(store.classes))
    drawn_bands = shown_bands(store.band_names)
    scores: list[ChipScore] = []
    worst: Worst[tuple[ChipScore, Panels]] = Worst(MAX_PICTURED)
    changed = np.zeros(4, np.int64)
    runner = Runner.load(model, stats, device)
    progress.begin("report", len(chips), "chips")
    for chip in chips:
        seen = runner.run(chip, *store.read(chip))
        changed += np.bincount(_errors(seen)[_own(seen.chip)].ravel(), minlength=IGNORE + 1)[:4]
        score = _score(seen, coarse, refined)
        if score is not None:
            scores.append(score)
            worst.add((score.wrong,), partial(_shown, score, seen, drawn_bands))
        progress.advance()
    progress.end()
    return Findings(
        looked=Looked(
            split=split,
            in_split=in_split,
            chips=len(chips),
            parameters=runner.parameters,
            device=runner.device,
        ),
        scores=tuple(sorted(scores, key=lambda score: -score.wrong)),
        unlabelled=len(chips) - len(scores),
        coarse=coarse,
        refined=refined,
        mended=int(changed[MENDED]),
        spoiled=int(changed[SPOILED]),
        pictured=worst.first(),
    )


def _own(chip: Chip) -> tuple[slice, slice]:
    """(rows, columns) of a chip's arrays that no chip before it covers."""
    col, row = chip.own[0] - chip.window[0], chip.own[1] - chip.window[1]
    return slice(row, row + chip.own[3]), slice(col, col + chip.own[2])


def _score(seen: Seen, coarse: Tally, refined: Tally) -> ChipScore | None:
    """Count a chip; its own score, or ``None`` when nothing of it is labelled."""
    classes = refined.matrix.classes
    own = _own(seen.chip)
    # The edge of a chip is no outline of what lies on it.
    inner = np.zeros(seen.labels.shape, np.bool_)
    inner[BOUNDARY_PX:-BOUNDARY_PX, BOUNDARY_PX:-BOUNDARY_PX] = True
    counted = np.zeros_like(inner)
    counted[own] = inner[own]
    alone = []
    for tally, predicted in ((coarse, seen.coarse), (refined, seen.refined)):
        tally.matrix.update(seen.labels[own], predicted[own])
        tally.boundary.update(seen.labels, predicted, counted)
        chip = Tally.of(classes)
        chip.matrix.update(seen.labels, predicted)
        chip.boundary.update(seen.labels, predicted, inner)
        alone.append(chip)
    before, after = alone
    if not after.matrix.pixels:
        return None
    return ChipScore(
        chip=seen.chip,
        labelled=after.matrix.pixels,
        wrong=1 - after.matrix.accuracy(),
        coarse_wrong=1 - before.matrix.accuracy(),
        miou=after.matrix.miou(),
        coarse_miou=before.matrix.miou(),
        boundary_iou=after.boundary.miou(),
        coarse_boundary_iou=before.boundary.miou(),
    )


def _errors(seen: Seen) -> Ids:
    """``RIGHT``, ``WRONG``, ``MENDED`` or ``SPOILED`` (S, S); 255 without truth."""
    before, after = seen.coarse == seen.labels, seen.refined == seen.labels
    errors = np.select([before & after, ~before & ~after, after], [RIGHT, WRONG, MENDED], SPOILED)
    return np.where(seen.labels == IGNORE, IGNORE, errors).astype(np.uint8)


def _shown(score: ChipScore, seen: Seen, drawn_bands: Sequence[int]) -> tuple[ChipScore, Panels]:
    return score, _panels(seen, drawn_bands)


def _panels(seen: Seen, drawn_bands: Sequence[int]) -> Panels:
    step = -(-len(seen.labels) // MAX_PICTURE_PX)
    level = np.minimum(seen.uncertainty * UNCERTAINTY_LEVELS, UNCERTAINTY_LEVELS - 1).astype(np.uint8)

    def drawn(ids: Ids) -> Ids:
        return shrunk_ids(np.where(seen.valid, ids, np.uint8(IGNORE)), step)

    return Panels(
        image=shrunk_image(stretched(seen.bands[list(drawn_bands)], seen.valid), step),
        labels=drawn(seen.labels),
        coarse=drawn(seen.coarse),
        refined=drawn(seen.refined),
        uncertainty=drawn(level),
        errors=drawn(_errors(seen)),
    )
