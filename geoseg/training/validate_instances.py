"""Validation of instances: average precision of the averaged network's objects on chips it never saw."""

from __future__ import annotations

import functools
import operator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from geoseg.metrics import json_score
from geoseg.metrics.image_objects import TrueObjects, cut_outs
from geoseg.metrics.instances import InstanceCounts
from geoseg.metrics.shares import mean_present
from geoseg.models.course import InstanceScores

if TYPE_CHECKING:
    import torch

    from geoseg.chips.dataset import ChipDataset
    from geoseg.models.instances import DetectionArrays
    from geoseg.models.trainer import Trainer
    from geoseg.models.world import World

BOUNDARY_PX = 2
"""Width of the band of Boundary AP."""


def validate_instances(
    trainer: Trainer, dataset: ChipDataset, world: World, device: torch.device
) -> InstanceScores:
    """AP and Boundary AP over the validation chips, each a picture of its own, as COCO counts.

    What lies mostly on land where nothing is known is neither right nor wrong. Each process looks at its part
    of the chips.
    """
    from geoseg.chips.batches import batches_of

    del device  # matches travel as objects
    classes = dataset.store.classes
    counts = InstanceCounts(len(classes), BOUNDARY_PX)
    mine = world.share(range(len(dataset)))
    with closing(batches_of(dataset, [[index] for index in mine])) as batches:
        for batch in batches:
            found: DetectionArrays = trainer.answer(batch)[0].numpy()
            assert batch.objects is not None
            _count(counts, batch.labels[0].numpy(), batch.objects[0].numpy(), found)
    counts = functools.reduce(operator.add, world.gathered(counts))
    if not counts.masks.truth[0].any():
        return InstanceScores()
    by_class = dict(zip(classes.names, map(json_score, counts.masks.ap()), strict=True))
    del by_class[classes.names[0]]  # the background is no object
    return InstanceScores(
        ap=json_score(counts.masks.mean_ap()),
        ap50=json_score(mean_present(counts.masks.at(0.5))),
        ap75=json_score(mean_present(counts.masks.at(0.75))),
        boundary_ap=json_score(counts.boundaries.mean_ap()),
        class_ap=by_class,
    )


def _count(
    counts: InstanceCounts,
    labels: NDArray[np.uint8],
    objects: NDArray[np.int32],
    found: DetectionArrays,
) -> None:
    """Add one chip."""
    truth = TrueObjects.of(labels, objects, counts.masks.classes)
    predicted = cut_outs(found.masks, found.offsets)
    counts.update(truth.regions, truth.class_ids, predicted, found.labels, found.scores, truth.crowd)
