"""Prediction against truth: a mask against labels, or a model against chips it was not trained on.

Both are counted window by window in integers, so a scene of any size fits and the scores do not depend on the
windows. Pixels without truth (255) and pixels without prediction (nodata of the mask) are left out; the
report says how many.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.coords import BoundingBox
from rasterio.windows import Window

from geoseg.chips.store import Chip, ChipStore
from geoseg.classes import IGNORE, ClassMap
from geoseg.config import EvaluateConfig
from geoseg.errors import ChipsError, LabelsError, ModelError, SceneError
from geoseg.metrics import BoundaryCounts, ConfusionMatrix, json_score
from geoseg.models.card import ModelCard, find_model, read_card
from geoseg.progress import SILENT, Progress
from geoseg.raster import formats
from geoseg.raster.labels import Labels, open_labels
from geoseg.raster.mask import Mask, open_mask
from geoseg.raster.remote import file_name, shown
from geoseg.raster.windows import block_windows, clip, slices_within

WINDOW_PX = 2048
"""Side of the windows a mask is read in: some 60 MB of arrays, and a multiple of the mask's blocks."""

_GPU_BATCH = 8


@dataclass(frozen=True, kw_only=True)
class EvaluateReport:
    """Scores of a mask or a model. A score is NaN where nothing defines it; means leave NaN out.

    Attributes:
        prediction: the mask, or the model file.
        truth: the labels, or the chips folder.
        split: of the chips; ``None`` for a mask.
        refine: whether the model's points were refined; ``None`` for a mask.
        iou: intersection over union of each class name, in the order of their ids.
        precision: share of the predicted pixels that are right.
        recall: share of the true pixels that were found.
        f1: harmonic mean of the two.
        boundary_iou: IoU of the bands just inside of the outlines.
        miou: mean of ``iou`` over the classes present, background included.
        mean_boundary_iou: mean of ``boundary_iou`` over the classes present.
        accuracy: share of the counted pixels that are right.
        boundary_px: width of the band of ``boundary_iou``.
        confusion: pixels by true class (rows) and predicted class (columns).
        pixels: pixels counted.
        unpredicted_pixels: pixels with truth, left out because the mask has nodata there.
        ignored_pixels: pixels left out because they have no truth.
    """

    prediction: Path
    truth: Path
    split: str | None
    refine: bool | None
    iou: dict[str, float]
    precision: dict[str, float]
    recall: dict[str, float]
    f1: dict[str, float]
    boundary_iou: dict[str, float]
    miou: float
    mean_boundary_iou: float
    accuracy: float
    boundary_px: int
    confusion: tuple[tuple[int, ...], ...]
    pixels: int
    unpredicted_pixels: int
    ignored_pixels: int

    @property
    def unpredicted_share(self) -> float:
        """Share of the pixels with truth that the mask has nodata at."""
        return self.unpredicted_pixels / max(1, self.pixels + self.unpredicted_pixels)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; ``null`` where a score is NaN."""
        return {
            "prediction": shown(self.prediction),
            "truth": str(self.truth),
            "split": self.split,
            "refine": self.refine,
            "miou": json_score(self.miou),
            "mean_boundary_iou": json_score(self.mean_boundary_iou),
            "accuracy": json_score(self.accuracy),
            "boundary_px": self.boundary_px,
            "iou": _json_scores(self.iou),
            "precision": _json_scores(self.precision),
            "recall": _json_scores(self.recall),
            "f1": _json_scores(self.f1),
            "boundary_iou": _json_scores(self.boundary_iou),
            "confusion": [list(row) for row in self.confusion],
            "pixels": self.pixels,
            "unpredicted_pixels": self.unpredicted_pixels,
            "unpredicted_share": self.unpredicted_share,
            "ignored_pixels": self.ignored_pixels,
        }


def _json_scores(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: json_score(score) for name, score in scores.items()}


def evaluate(
    mask: Path,
    labels: Path,
    config: EvaluateConfig | None = None,
    *,
    progress: Progress = SILENT,
) -> EvaluateReport:
    """Score a mask against labels, which are burned onto the mask's grid.

    The scene's edge is an outline for Boundary IoU, as the image's edge is in the paper; nodata and unknown
    land are none. Memory does not grow with the scene.

    Args:
        mask: class ids on a grid; classes are matched by name where the mask names its own. Here, or a
            GeoTIFF on a server where the user himself named it.
        labels: polygons or a raster of class ids, in any CRS.
        config: how to compare; the defaults when not given.
        progress: told about every window.

    Raises:
        SceneError: the mask is none, or holds ids it does not name.
        LabelsError: the labels cannot be used, have classes the mask has not, lie elsewhere, or share no
            pixel with what the mask predicts.
        ReadError: a file is damaged.
    """
    config = config or EvaluateConfig()
    mask, labels = Path(mask), Path(labels)
    with open_mask(mask, remote=True) as source, _labels_for(source, labels, config) as truth:
        if not truth.covers(source.geobox):
            raise _elsewhere(truth, source)
        classes = source.classes or _unnamed(source, truth, progress)
        scores = _Scores(len(classes), config.boundary_px)
        windows = list(block_windows(source.geobox.shape, WINDOW_PX))
        progress.begin("evaluate", len(windows), "windows")
        for window in windows:
            _count_window(source, truth, window, scores)
            progress.advance()
        progress.end()
        source.check_unchanged()
        for note in truth.notes:
            progress.warn(note)
    if not scores.matrix.pixels:
        raise LabelsError(
            f"labels {labels} share no pixel with what {shown(mask)} predicts; give labels of the same place"
        )
    return scores.report(mask, labels, classes.names)


def evaluate_model(
    model: Path,
    tiles: Path,
    split: str = "test",
    config: EvaluateConfig | None = None,
    *,
    refine: bool = True,
    device: str = "auto",
    progress: Progress = SILENT,
) -> EvaluateReport:
    """Score a model on a split of a chips folder.

    Where chips overlap, a pixel counts in the first one only. What lies beyond a chip is not known, so pixels
    closer than the band's width to a chip's edge are left out of Boundary IoU, the scene's own edge included.

    Args:
        model: a run folder or a ``.safetensors`` file.
        tiles: a folder :func:`geoseg.tile.tile` made.
        split: ``train``, ``val`` or ``test``.
        config: the width of Boundary IoU's band; the labels' part does not apply.
        refine: decide unsure pixels by the point head; otherwise score the coarse map.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        progress: told about every chip.

    Raises:
        ModelError: no model, a damaged one, or one made for other classes or bands.
        ChipsError: no chips folder, a damaged one, or no chip in ``split``.
        ConfigError: no such device.
    """
    config = config or EvaluateConfig()
    model = find_model(Path(model))
    card = read_card(model)
    store = ChipStore.open(Path(tiles))
    _check_fit(card, model, store, progress)
    chips = store.chips(split)
    if not chips:
        there = ", ".join(sorted({chip.split for chip in store.chips()}))
        raise ChipsError(f"{store.folder} has no chips of split {split}; choose one of {there}")
    scores = _Scores(len(store.classes), config.boundary_px)
    progress.begin("evaluate", len(chips), "chips")
    for chip, labels, ids in _predictions(model, store, chips, refine=refine, device=device):
        _count_chip(chip, labels, ids, scores)
        progress.advance()
    progress.end()
    if not scores.matrix.pixels:
        raise ChipsError(f"no chip of split {split} in {store.folder} has labels; choose another split")
    return scores.report(model, store.folder, store.classes.names, split=split, refine=refine)


class _Scores:
    """What is counted; turned into the report at the end."""

    def __init__(self, classes: int, boundary_px: int) -> None:
        self.matrix = ConfusionMatrix(classes)
        self.boundary = BoundaryCounts(classes, boundary_px)

    def report(
        self,
        prediction: Path,
        truth: Path,
        class_names: tuple[str, ...],
        *,
        split: str | None = None,
        refine: bool | None = None,
    ) -> EvaluateReport:
        matrix, boundary = self.matrix, self.boundary

        def named(scores: NDArray[np.float64]) -> dict[str, float]:
            return dict(zip(class_names, scores.tolist(), strict=True))

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
            miou=matrix.miou(),
            mean_boundary_iou=boundary.miou(),
            accuracy=matrix.accuracy(),
            boundary_px=boundary.width_px,
            confusion=tuple(tuple(row) for row in matrix.counts.tolist()),
            pixels=matrix.pixels,
            unpredicted_pixels=matrix.unpredicted,
            ignored_pixels=matrix.ignored,
        )


def _labels_for(mask: Mask, labels: Path, config: EvaluateConfig) -> Labels:
    """Labels with the mask's ids; a raster of class ids has neither column nor class name."""
    class_name = config.class_name
    if mask.classes is not None and config.class_column is None and _is_vector(labels):
        class_name = _polygon_class(mask.classes, class_name, labels)
    return open_labels(
        labels,
        class_column=config.class_column,
        class_name=class_name,
        unlabelled=config.unlabelled,
        classes=mask.classes,
    )


def _is_vector(labels: Path) -> bool:
    head = formats.read_head(labels, what="labels", error=LabelsError)
    return formats.raster_driver(head) is None


def _polygon_class(classes: ClassMap, class_name: str | None, labels: Path) -> str:
    """The one class that all polygons are, when no column tells."""
    apart = (classes.background, classes.boundary)
    foreground = [name for i, name in enumerate(classes.names) if i not in apart]
    if class_name is not None and class_name not in classes.names:
        raise LabelsError(
            f"class {class_name} for labels {labels} is none of the mask's {', '.join(classes.names)}; "
            "name one of these"
        )
    if class_name is None and len(foreground) != 1:
        raise LabelsError(
            f"labels {labels}: the mask has the classes {', '.join(foreground)}; "
            "say which column tells the class, or which one all polygons are"
        )
    return class_name or foreground[0]


def _unnamed(mask: Mask, truth: Labels, progress: Progress) -> ClassMap:
    """Classes of a mask that names none: those of the labels, id by id, and more where its ids go on."""
    progress.warn(f"{file_name(mask.path)} names no classes: ids are compared as they are")
    highest = len(truth.classes) - 1
    for window in block_windows(mask.geobox.shape, WINDOW_PX):
        ids = mask.read(window)
        highest = max(highest, int(ids.max(initial=0, where=ids != IGNORE)))
    names = [*truth.classes.names, *(f"class {i}" for i in range(len(truth.classes), highest + 1))]
    try:
        return ClassMap.from_names(names)
    except ValueError as error:
        raise SceneError(f"mask {shown(mask.path)}: {error}; give a mask of class ids") from error


def _count_window(mask: Mask, truth: Labels, window: Window, scores: _Scores) -> None:
    """Count the pixels of ``window``, reading as many around it as the band is wide."""
    halo_px = scores.boundary.width_px
    col, row = window.col_off - halo_px, window.row_off - halo_px
    around = Window(col, row, window.width + 2 * halo_px, window.height + 2 * halo_px)
    # What is left of it inside of the scene: there the border of the arrays is the edge of the scene.
    read = clip(around, mask.geobox.shape) or window
    inside = slices_within(window, read)
    predicted = mask.read(read)
    foreign = (predicted >= scores.matrix.classes) & (predicted != IGNORE)
    if foreign.any():
        raise SceneError(
            f"mask {shown(mask.path)} holds the id {predicted[foreign][0]} of {scores.matrix.classes} "
            "classes; predict it again"
        )
    labelled = truth.burn(mask.geobox.window(read))
    scores.matrix.update(labelled[inside], predicted[inside])
    counted = np.zeros(predicted.shape, np.bool_)
    counted[inside] = True
    scores.boundary.update(labelled, predicted, counted)


def _elsewhere(labels: Labels, mask: Mask) -> LabelsError:
    return LabelsError(
        f"labels {labels.path} lie elsewhere on Earth than mask {shown(mask.path)}: labels at "
        f"{_place(labels.bounds_lonlat())}, mask at {_place(mask.geobox.bounds_lonlat())}; "
        "give labels of the same place, or correct their CRS"
    )


def _place(bounds: BoundingBox | None) -> str:
    if bounds is None:
        return "an unknown place"
    return f"{bounds.left:.4f}..{bounds.right:.4f} E {bounds.bottom:.4f}..{bounds.top:.4f} N"


def _check_fit(card: ModelCard, model: Path, store: ChipStore, progress: Progress) -> None:
    """Refuse chips of other classes or bands than the model's."""
    if card.classes.names != store.classes.names:
        raise ModelError(
            f"model {model} knows the classes {', '.join(card.classes.names)}, the chips in {store.folder} "
            f"have {', '.join(store.classes.names)}; give a model trained on such chips"
        )
    if (len(card.band_names), card.dtype) != (len(store.band_names), store.dtype):
        raise ModelError(
            f"model {model} was trained on {len(card.band_names)} bands of {card.dtype}, the chips in "
            f"{store.folder} have {len(store.band_names)} of {store.dtype}; give a model trained on such"
        )
    if card.band_names != store.band_names:
        progress.warn(
            f"the model's bands are called {', '.join(card.band_names)}, those of the chips "
            f"{', '.join(store.band_names)}: taken to be the same, in this order"
        )


def _predictions(
    model: Path, store: ChipStore, chips: Sequence[Chip], *, refine: bool, device: str
) -> Iterator[tuple[Chip, NDArray[np.uint8], NDArray[np.uint8]]]:
    """Each chip with its labels (S, S) and the model's ids (S, S); computed as predict does."""
    import torch

    from geoseg.models.checkpoint import load_model
    from geoseg.models.inference import choose_device, choose_precision, predict_logits

    where = choose_device(device)
    autocast, _ = choose_precision("auto", where)
    network, card = load_model(model, device=where)
    network = network.to(memory_format=torch.channels_last)
    size = _GPU_BATCH if where.type == "cuda" else 1
    for start in range(0, len(chips), size):
        batch = chips[start : start + size]
        read = [store.read(chip) for chip in batch]
        images = torch.from_numpy(np.stack([card.stats.normalise(bands, valid) for bands, valid, _ in read]))
        with torch.autocast(where.type, dtype=autocast, enabled=autocast is not None):
            logits = predict_logits(
                network, images.to(where).contiguous(memory_format=torch.channels_last), refine=refine
            )
        ids = logits.argmax(dim=1).to(torch.uint8).cpu().numpy()
        for chip, (_, _, labels), predicted in zip(batch, read, ids, strict=True):
            yield chip, labels, predicted


def _count_chip(chip: Chip, labels: NDArray[np.uint8], ids: NDArray[np.uint8], scores: _Scores) -> None:
    own = slices_within(Window(*chip.own), Window(*chip.window))
    scores.matrix.update(labels[own], ids[own])
    edge = scores.boundary.width_px
    counted = np.zeros(labels.shape, np.bool_)
    counted[own] = True
    counted[:edge] = counted[-edge:] = False
    counted[:, :edge] = counted[:, -edge:] = False
    scores.boundary.update(labels, ids, counted)
