"""Prediction against truth: masks or polygons against labels, or a model against chips it was not trained on.

Pixels are counted window by window in integers, so a scene of any size fits and the scores do not depend on
the windows. Pixels without truth (255) and pixels without prediction (nodata of the mask) are left out; the
report says how many. Objects are polygons: the regions of a mask, traced exactly, or those of a layer.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg.chips.store import Chip, ChipStore
from geoseg.config import EvaluateConfig
from geoseg.errors import ChipsError, InputError, LabelsError
from geoseg.metrics.boundary import boundary_bands
from geoseg.models.card import find_model, read_card
from geoseg.progress import SILENT, Progress
from geoseg.raster.labels import Labels, open_labels
from geoseg.raster.mask import open_mask
from geoseg.raster.remote import file_name, local, shown
from geoseg.raster.windows import block_windows, slices_within
from geoseg.scoring.detections import check_scored, polygons_width_m
from geoseg.scoring.errors import check_errors_output, write_object_errors, write_pixel_errors
from geoseg.scoring.fit import check_fit
from geoseg.scoring.layers import Scored, score_grid, score_layer
from geoseg.scoring.pixels import PixelCounts, block_side, count_window
from geoseg.scoring.prediction import Likeliest, Prediction
from geoseg.scoring.report import CompareReport, EvaluateReport, PolygonsReport
from geoseg.scoring.sources import GridPair, PolygonLayer, area_of, only_class
from geoseg.scoring.truth import elsewhere, is_vector, labels_for, unnamed
from geoseg.scoring.versus import OfMask, difference
from geoseg.scoring.widths import width_px

__all__ = [
    "CompareReport",
    "EvaluateReport",
    "PolygonsReport",
    "compare",
    "evaluate",
    "evaluate_model",
    "evaluate_polygons",
]

WINDOW_PX = 2048
"""Side of the windows a mask is read in: some 60 MB of arrays, and a multiple of the mask's blocks."""

_SHARES_AT_ONCE = 16 * 1024**2
_LEAST_WINDOW_PX = 256
_GPU_BATCH = 8


def evaluate(
    mask: Path,
    labels: Path,
    config: EvaluateConfig | None = None,
    *,
    probabilities: bool = False,
    errors: Path | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> EvaluateReport:
    """Score a mask against labels, which are burned onto the mask's grid.

    The scene's edge is an outline for Boundary IoU, as the image's edge is in the paper; nodata and unknown
    land are none. Memory does not grow with the scene, but for its objects when these are asked for.

    Args:
        mask: class ids on a grid; classes are matched by name where the mask names its own. Here, or a
            GeoTIFF on a server where the user himself named it.
        labels: polygons or a raster of class ids, in any CRS.
        config: how to compare; the defaults when not given.
        probabilities: ``mask`` holds probabilities, one band a class: the likeliest counts.
        errors: where to draw errors, a ``.gpkg``: of objects when ``config.objects``, else of pixels.
        overwrite: replace ``errors`` if it exists.
        progress: told about every window.

    Raises:
        SceneError: the mask is none, or holds ids it does not name.
        LabelsError: the labels cannot be used, have classes the mask has not, lie elsewhere, or share no
            pixel with what the mask predicts.
        ConfigError: a width or blocks that do not fit the mask.
        OutputError: ``errors`` cannot or must not be written.
        ReadError: a file is damaged.
        WriteError: ``errors`` could not be written.
    """
    config = config or EvaluateConfig()
    mask, labels = Path(mask), Path(labels)
    if errors is not None:
        check_errors_output(errors, overwrite=overwrite, inputs=local([mask, labels]))
    return _of_mask(mask, labels, config, probabilities, errors, progress).report


def _of_mask(
    mask: Path,
    labels: Path,
    config: EvaluateConfig,
    probabilities: bool,
    errors: Path | None,
    progress: Progress,
) -> OfMask:
    opened = Likeliest.open(mask) if probabilities else open_mask(mask, remote=True)
    with opened as source, labels_for(source, labels, config) as truth:
        box = source.geobox
        if not truth.covers(box):
            raise elsewhere(truth, source)
        classes = source.classes or unnamed(source, truth, progress)
        block_px = block_side(box.shape, config.blocks_px)
        boundary_px = width_px(config.boundary, box.shape, box.gsd_m, progress)
        counts = PixelCounts(len(classes), boundary_px, block_px)
        _count(source, truth, counts, progress)
        if not counts.matrix.pixels:
            raise LabelsError(
                f"labels {labels} share no pixel with what {shown(mask)} predicts; "
                "give labels of the same place"
            )
        lines = classes.boundary
        if lines is not None and not counts.matrix.counts[lines].any():
            progress.warn(
                f"the labels have no {classes.names[lines]}, so it gets no score; where "
                f"{file_name(mask)} has it, the pixel counts as wrong"
            )
            counts.leave_out(lines)
        report = counts.report(mask, labels, classes.names, gsd_m=box.gsd_m)
        pair, scored = GridPair(prediction=source, truth=truth), None
        if config.objects:
            gaps = counts.matrix.unpredicted > 0
            scored = score_grid(pair, classes, block_px, gaps=gaps, progress=progress)
        if errors is not None and scored is not None:
            write_object_errors(errors, scored)
        elif errors is not None:
            write_pixel_errors(errors, pair, classes, progress)
        source.check_unchanged()
        for note in truth.notes:
            progress.warn(note)
    report = replace(report, objects=None if scored is None else scored.report, errors=errors)
    return OfMask(report=report, blocks=counts.blocks, geobox=box, scored=scored)


def _count(source: Prediction, truth: Labels, counts: PixelCounts, progress: Progress) -> None:
    side = WINDOW_PX
    if isinstance(source, Likeliest):
        side = min(side, max(_LEAST_WINDOW_PX, int((_SHARES_AT_ONCE / source.bands) ** 0.5)))
    windows = list(block_windows(source.geobox.shape, side))
    progress.begin("evaluate", len(windows), "windows")
    for window in windows:
        count_window(source, truth, window, counts)
        progress.advance()
    progress.end()


def evaluate_polygons(
    layer: Path,
    labels: Path,
    config: EvaluateConfig | None = None,
    *,
    area: Path | None = None,
    errors: Path | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> PolygonsReport:
    """Score a layer of polygons, such as vectorize writes, against labels: object by object.

    Polygons with a column ``score`` are detections: they may overlap, average precision is of all of them,
    and every other score of those that reach ``config.min_score``.

    Args:
        layer: polygons, their class in ``class_name`` (else the labels' column, else ``class_id``).
        labels: polygons or a raster of class ids, in any CRS.
        config: how to compare; what is about pixels does not apply. Boundary AP takes a width in metres, and
            2 m when none is given.
        area: polygons of the land to compare, or a raster that covers it; the bounds of ``layer`` when not
            given, so that labels may go on beyond.
        errors: where to draw errors, a ``.gpkg``.
        overwrite: replace ``errors`` if it exists.
        progress: told about rows of raster labels.

    Raises:
        LabelsError: layer or labels cannot be used, or lie apart.
        InputError: ``area`` cannot be used, labels whose unlabelled land is unknown, or settings for scores
            that the layer has not.
        OutputError: ``errors`` cannot or must not be written.
        ReadError: a file is damaged.
        WriteError: ``errors`` could not be written.
    """
    config = config or EvaluateConfig()
    layer, labels = Path(layer), Path(labels)
    if errors is not None:
        check_errors_output(errors, overwrite=overwrite, inputs=[layer, labels])
    scored = _of_layer(layer, labels, config, area, None, progress, alone=True)
    if errors is not None:
        write_object_errors(errors, scored)
    return PolygonsReport(prediction=layer, truth=labels, objects=scored.report, errors=errors)


def _of_layer(
    layer: Path,
    labels: Path,
    config: EvaluateConfig,
    area: Path | None,
    like: Scored | None,
    progress: Progress,
    *,
    alone: bool = False,
) -> Scored:
    """A layer scored; on the plane and by the blocks of ``like``, so that both can be compared."""
    vector = is_vector(labels)
    if vector and config.unlabelled == "ignore":
        raise InputError(
            "what lies outside of all labels is a wrong object, or unknown; for unknown, evaluate the mask "
            "with --objects"
        )
    if area is None:
        progress.note(f"compared within the bounds of {layer.name}, as no area is given")
    polygons = PolygonLayer.read(layer, config.class_column)
    if alone:
        check_scored(polygons, config)
    column = config.class_column if vector else None
    name = only_class(polygons, config.class_name, labels) if vector and column is None else None
    with open_labels(labels, class_column=column, class_name=name or "object") as truth:
        scored = score_layer(
            polygons,
            truth,
            area=None if area is None else area_of(area),
            plane=None if like is None else like.found.plane,
            block=None if like is None else like.found.block,
            min_score=config.min_score,
            boundary_m=polygons_width_m(config),
            progress=progress,
        )
        for note in (*polygons.notes, *truth.notes):
            progress.warn(note)
    return scored


def compare(
    predictions: Sequence[Path],
    labels: Path,
    config: EvaluateConfig | None = None,
    *,
    area: Path | None = None,
    progress: Progress = SILENT,
) -> CompareReport:
    """Score several masks or layers against the same labels, and each against the first.

    Differences get intervals by a bootstrap over the same blocks of land, which masks on one grid have; so
    have layers compared within one ``area``.

    Args:
        predictions: masks or polygon layers.
        labels: as for :func:`evaluate`.
        config: how to compare.
        area: as for :func:`evaluate_polygons`.
        progress: told about every window.

    Raises:
        GeosegError: as :func:`evaluate` and :func:`evaluate_polygons`.
    """
    config = config or EvaluateConfig()
    found: list[OfMask | Scored] = []
    reports: list[EvaluateReport | PolygonsReport] = []
    for prediction in map(Path, predictions):
        if is_vector(prediction, what="prediction"):
            like = next((one for one in found if isinstance(one, Scored)), None)
            scored = _of_layer(prediction, labels, config, area, like, progress)
            found.append(scored)
            reports.append(PolygonsReport(prediction=prediction, truth=labels, objects=scored.report))
        else:
            of_mask = _of_mask(prediction, labels, config, False, None, progress)
            found.append(of_mask)
            reports.append(of_mask.report)
    differences = tuple(difference(one, found[0]) for one in found[1:])
    return CompareReport(reports=tuple(reports), differences=differences)


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
        config: the width of Boundary IoU's band and the size of blocks: a chip belongs to the one that its
            own part begins in; without a size every chip is a block. The rest does not apply.
        refine: decide unsure pixels by the point head; otherwise score the coarse map.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        progress: told about every chip.

    Raises:
        ModelError: no model, a damaged one, or one made for other classes or bands.
        ChipsError: no chips folder, a damaged one, or no chip in ``split``.
        ConfigError: no such device, or a width that does not fit the chips.
    """
    config = config or EvaluateConfig()
    model = find_model(Path(model))
    card = read_card(model)
    store = ChipStore.open(Path(tiles))
    check_fit(card, model, store, progress)
    chips = store.chips(split)
    if not chips:
        there = ", ".join(sorted({chip.split for chip in store.chips()}))
        raise ChipsError(f"{store.folder} has no chips of split {split}; choose one of {there}")
    shape = (store.size_px, store.size_px)
    boundary_px = width_px(config.boundary, shape, store.gsd_m, progress)
    counts = PixelCounts(len(store.classes), boundary_px, config.blocks_px or store.size_px)
    progress.begin("evaluate", len(chips), "chips")
    for chip, labels, ids in _predictions(model, store, chips, refine=refine, device=device):
        side = config.blocks_px or 1
        _count_chip((chip.scene, chip.own[1] // side, chip.own[0] // side), chip, labels, ids, counts)
        progress.advance()
    progress.end()
    if not counts.matrix.pixels:
        raise ChipsError(f"no chip of split {split} in {store.folder} has labels; choose another split")
    return counts.report(
        model, store.folder, store.classes.names, split=split, refine=refine, gsd_m=store.gsd_m
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


def _count_chip(
    block: Hashable, chip: Chip, labels: NDArray[np.uint8], ids: NDArray[np.uint8], counts: PixelCounts
) -> None:
    own = slices_within(Window(*chip.own), Window(*chip.window))
    edge = counts.boundary.width_px
    counted = np.zeros(labels.shape, np.bool_)
    counted[own] = True
    counted[:edge] = counted[-edge:] = False
    counted[:, :edge] = counted[:, -edge:] = False
    bands = boundary_bands(labels, ids, edge)
    counts.add(block, (labels[own], ids[own]), (bands[0][own], bands[1][own]), counted[own])
