"""Validation: how good the averaged network is on land it never saw, every pixel of it counted once."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from geoseg.metrics import BoundaryCounts, ConfusionMatrix, json_score
from geoseg.models.course import Scores

if TYPE_CHECKING:
    import torch

    from geoseg.chips.dataset import ChipDataset
    from geoseg.models.trainer import Trainer
    from geoseg.models.world import World

BOUNDARY_PX = 2
"""Width of the band of Boundary IoU."""


def validate(trainer: Trainer, dataset: ChipDataset, world: World, device: torch.device) -> Scores:
    """Scores of the averaged network's refined predictions; each process looks at its part of the chips."""
    from geoseg.chips.batches import batches_of

    classes = dataset.store.classes
    confusion, boundary = ConfusionMatrix(len(classes)), BoundaryCounts(len(classes), BOUNDARY_PX)
    mine = world.share(range(len(dataset)))
    with closing(batches_of(dataset, [[index] for index in mine])) as batches:
        for index, batch in zip(mine, batches, strict=True):
            chip = dataset.chips[index]
            truth = batch.labels[0].numpy()
            predicted = trainer.answer(batch)[0].cpu().numpy()
            counted = np.zeros(truth.shape, np.bool_)
            col, row = chip.own[0] - chip.window[0], chip.own[1] - chip.window[1]
            counted[row : row + chip.own[3], col : col + chip.own[2]] = True
            confusion.update(truth[counted], predicted[counted])
            # The edge of a chip is no outline of what lies on it.
            counted[:BOUNDARY_PX] = counted[-BOUNDARY_PX:] = False
            counted[:, :BOUNDARY_PX] = counted[:, -BOUNDARY_PX:] = False
            boundary.update(truth, predicted, counted)
    confusion.counts = world.total(confusion.counts, device)
    boundary.intersection = world.total(boundary.intersection, device)
    boundary.union = world.total(boundary.union, device)
    if not confusion.pixels:
        return Scores()
    return Scores(
        miou=json_score(confusion.miou()),
        iou=dict(zip(classes.names, map(json_score, confusion.iou()), strict=True)),
        boundary_iou=json_score(boundary.miou()),
    )
