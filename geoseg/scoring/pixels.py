"""Counts pixels, in all and by blocks of land, and makes scores of the counts."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.classes import IGNORE
from geoseg.errors import ConfigError, SceneError
from geoseg.metrics import BoundaryCounts, ConfusionMatrix, mean_present
from geoseg.metrics.bootstrap import MAX_BLOCKS, Interval, interval, resample
from geoseg.metrics.boundary import boundary_bands
from geoseg.metrics.confusion import kappas
from geoseg.raster.labels import Labels
from geoseg.raster.remote import shown
from geoseg.raster.windows import clip, slices_within
from geoseg.scoring.prediction import Prediction
from geoseg.scoring.report import EvaluateReport, PixelIntervals

BLOCKS_WANTED = 64
"""Blocks a scene is cut into when the user does not say how large they are."""

LEAST_BLOCK_PX = 64

Table = Mapping[Hashable, NDArray[np.int64]]


def block_side(shape: tuple[int, int], blocks_px: int | None) -> int:
    """Side of the blocks of a raster in pixels: what is wanted, else such that there are about 64.

    Raises:
        ConfigError: there would be too many to keep.
    """
    side = blocks_px or max(LEAST_BLOCK_PX, math.ceil(math.sqrt(shape[0] * shape[1] / BLOCKS_WANTED)))
    count = math.ceil(shape[0] / side) * math.ceil(shape[1] / side)
    if count > MAX_BLOCKS:
        raise ConfigError(
            f"{count:,} blocks of {side} px, and {MAX_BLOCKS:,} are the most; make blocks larger"
        )
    return side


class PixelCounts:
    """Everything counted of a pair of maps.

    Attributes:
        matrix: of all pixels.
        boundary: of all pixels.
        block_px: side of the blocks.
        blocks: (5, K) int64 of each block: right, true and predicted pixels, and intersection and union of
            the bands of Boundary IoU.
        unscored: ids of classes that get no score, see :meth:`leave_out`.
    """

    def __init__(self, classes: int, boundary_px: int, block_px: int) -> None:
        self.matrix = ConfusionMatrix(classes)
        self.boundary = BoundaryCounts(classes, boundary_px)
        self.block_px = block_px
        self.blocks: dict[Hashable, NDArray[np.int64]] = {}
        self.unscored: list[int] = []

    def leave_out(self, class_id: int) -> None:
        """Give a class that the truth cannot have no score; its pixels stay wrong ones of other classes."""
        self.unscored.append(class_id)
        for parts in self.blocks.values():
            parts[[0, 2, 3, 4], class_id] = 0

    def add(
        self,
        block: Hashable,
        pair: tuple[NDArray[np.uint8], NDArray[np.uint8]],
        bands: tuple[NDArray[np.uint8], NDArray[np.uint8]],
        counted: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count pixels (h, w) of one block.

        Args:
            block: which.
            pair: class ids of the truth and of the prediction.
            bands: what :func:`geoseg.metrics.boundary.boundary_bands` made of them.
            counted: the pixels that Boundary IoU counts; all when not given.
        """
        matrix = ConfusionMatrix(self.matrix.classes)
        matrix.update(*pair)
        boundary = BoundaryCounts(self.matrix.classes, self.boundary.width_px)
        boundary.add_bands(*bands, counted)
        self.matrix += matrix
        self.boundary += boundary
        if not matrix.pixels:
            return
        parts = np.stack(
            [
                np.diagonal(matrix.counts),
                matrix.counts.sum(1),
                matrix.counts.sum(0),
                boundary.intersection,
                boundary.union,
            ]
        )
        self.blocks[block] = self.blocks[block] + parts if block in self.blocks else parts

    def report(
        self,
        prediction: Path,
        truth: Path,
        class_names: tuple[str, ...],
        *,
        split: str | None = None,
        refine: bool | None = None,
        gsd_m: float | None = None,
    ) -> EvaluateReport:
        """The scores of what was counted; ``gsd_m`` is the side of a pixel."""
        matrix, boundary = self.matrix, self.boundary

        def scored(scores: NDArray[np.float64]) -> NDArray[np.float64]:
            scores = scores.copy()
            scores[self.unscored] = np.nan
            return scores

        def named(scores: NDArray[np.float64]) -> dict[str, float]:
            return dict(zip(class_names, scored(scores).tolist(), strict=True))

        return EvaluateReport(
            prediction=prediction,
            truth=truth,
            split=split,
            refine=refine,
            iou=named(matrix.iou()),
            precision=named(matrix.precision()),
            recall=named(matrix.recall()),
            f1=named(matrix.f1()),
            boundary_iou=named(boundary.iou()),
            miou=mean_present(scored(matrix.iou())),
            mean_boundary_iou=mean_present(scored(boundary.iou())),
            accuracy=matrix.accuracy(),
            kappa=matrix.kappa(),
            boundary_px=boundary.width_px,
            boundary_m=None if gsd_m is None else boundary.width_px * gsd_m,
            confusion=tuple(tuple(row) for row in matrix.counts.tolist()),
            pixels=matrix.pixels,
            unpredicted_pixels=matrix.unpredicted,
            ignored_pixels=matrix.ignored,
            intervals=pixel_intervals(self.blocks, class_names, self.block_px),
        )


def count_window(prediction: Prediction, truth: Labels, window: Window, counts: PixelCounts) -> None:
    """Count the pixels of ``window``, reading as many around it as the band is wide.

    Raises:
        SceneError: the prediction holds an id that its classes do not have.
    """
    halo_px = counts.boundary.width_px
    col, row = window.col_off - halo_px, window.row_off - halo_px
    around = Window(col, row, window.width + 2 * halo_px, window.height + 2 * halo_px)
    # What is left of it inside of the scene: there the border of the arrays is the edge of the scene.
    read = clip(around, prediction.geobox.shape) or window
    predicted = prediction.read(read)
    check_ids(predicted, prediction, counts.matrix.classes)
    pair = (truth.burn(prediction.geobox.window(read)), predicted)
    bands = boundary_bands(*pair, counts.boundary.width_px)
    for block, part in blocks_of(window, counts.block_px):
        inside = slices_within(part, read)
        counts.add(
            block,
            (pair[0][inside], pair[1][inside]),
            (bands[0][inside], bands[1][inside]),
        )


def check_ids(ids: NDArray[np.uint8], prediction: Prediction, classes: int) -> None:
    """Refuse ids beyond the classes.

    Raises:
        SceneError: there is one.
    """
    foreign = (ids >= classes) & (ids != IGNORE)
    if foreign.any():
        raise SceneError(
            f"mask {shown(prediction.path)} holds the id {ids[foreign][0]} of {classes} "
            "classes; predict it again"
        )


def blocks_of(window: Window, side_px: int) -> Iterator[tuple[tuple[int, int], Window]]:
    """The blocks, by row and column, that a window touches, and the part of it in each."""
    left, top = window.col_off, window.row_off
    right, bottom = left + window.width, top + window.height
    for row in range(top // side_px, math.ceil(bottom / side_px)):
        for col in range(left // side_px, math.ceil(right / side_px)):
            x, y = max(left, col * side_px), max(top, row * side_px)
            width, height = min(right, (col + 1) * side_px) - x, min(bottom, (row + 1) * side_px) - y
            yield (row, col), Window(x, y, width, height)


def pixel_intervals(blocks: Table, class_names: tuple[str, ...], block_px: int) -> PixelIntervals:
    """Intervals of the scores of pixels."""
    draws = resample(blocks)
    if draws is None:
        none = dict.fromkeys(class_names)
        return PixelIntervals(
            blocks=len(blocks),
            block_px=block_px,
            miou=None,
            mean_boundary_iou=None,
            accuracy=None,
            kappa=None,
            iou=none,
            boundary_iou=none,
        )
    iou, boundary = _iou(draws), _boundary_iou(draws)
    return PixelIntervals(
        blocks=len(blocks),
        block_px=block_px,
        miou=interval(_mean(iou)),
        mean_boundary_iou=interval(_mean(boundary)),
        accuracy=interval(draws[:, 0].sum(1) / draws[:, 1].sum(1)),
        kappa=interval(kappas(draws[:, 0], draws[:, 1], draws[:, 2])),
        iou={name: interval(iou[:, i]) for i, name in enumerate(class_names)},
        boundary_iou={name: interval(boundary[:, i]) for i, name in enumerate(class_names)},
    )


def paired_intervals(blocks: Table, first: Table) -> tuple[Interval | None, Interval | None]:
    """Intervals of mean IoU and mean Boundary IoU less those of the first, over the same blocks of land."""
    both = {**first, **blocks}
    here, there = resample(blocks, both), resample(first, both)
    if here is None or there is None:
        return None, None
    return (
        interval(_mean(_iou(here)) - _mean(_iou(there))),
        interval(_mean(_boundary_iou(here)) - _mean(_boundary_iou(there))),
    )


def _iou(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU (R, K); NaN for classes absent from a draw."""
    return _divided(draws[:, 0], draws[:, 1] + draws[:, 2] - draws[:, 0])


def _boundary_iou(draws: NDArray[np.float64]) -> NDArray[np.float64]:
    return _divided(draws[:, 3], draws[:, 4])


def _divided(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.full(whole.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def _mean(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the classes present, (R,); NaN without any."""
    present = ~np.isnan(scores)
    return _divided(np.where(present, scores, 0.0).sum(1), present.sum(1))
