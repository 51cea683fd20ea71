"""The sections of a run's report that tell how good it became in pixels: figures, classes, refinement."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from geoseg.page.markup import Html, Node, el, join, name_of
from geoseg.page.matrix import MAX_CLASSES, confusions, matrix
from geoseg.page.numbers import change, count, percent, score
from geoseg.page.table import table, tiles, with_bar
from geoseg.review import epochs
from geoseg.review.labelled import class_name, class_shares
from geoseg.review.look import BOUNDARY_PX, Findings
from geoseg.review.source import Source

_LOSSES = {
    "loss": "loss",
    "coarse": "coarse map",
    "point": "points",
    "auxiliary": "auxiliary head",
    "dice": "Dice",
}


def headline(source: Source) -> Html:
    """The figures that answer: how good, and at what price?"""
    log, best, found = source.log, source.best, source.findings
    miou, boundary = log.at("val_miou", best), log.at("val_boundary_iou", best)
    where = "validation, best epoch"
    if miou is None and found is not None and found.measured:
        miou, boundary = found.refined.matrix.miou(), found.refined.boundary.miou()
        where = found.looked.words()
    entries: list[tuple[str, str, Node]] = [
        ("mIoU", score(miou), where if miou is not None else "not measured yet"),
        (
            "Boundary IoU",
            score(boundary),
            f"{where}, {BOUNDARY_PX}\u00a0px" if boundary is not None else None,
        ),
        *epochs.course(source, "mIoU"),
        *epochs.device(source),
    ]
    return tiles(entries)


def curves(source: Source) -> Html | None:
    """Charts of everything the log holds about learning, and a table of all of it."""
    log = source.log
    edges = f"Boundary IoU ({BOUNDARY_PX} px)", "mean over the classes"
    drawn = [
        epochs.losses(log, "Training loss", _LOSSES),
        epochs.class_scores(source, "Validation IoU", "val_iou", mean=("val_miou", "mIoU")),
        epochs.one(log, "val_boundary_iou", *edges, marked=source.best),
    ]
    return epochs.learning(source, drawn, {"val_miou", "val_boundary_iou", *_LOSSES})


def classes(source: Source) -> Html | None:
    """A row for every class, and the confusion matrix."""
    found, store = source.findings, source.store
    if found is None or not found.measured:
        return None
    matrix_, boundary = found.refined.matrix, found.refined.boundary
    columns = (matrix_.iou(), matrix_.precision(), matrix_.recall(), matrix_.f1(), boundary.iou())
    in_train, in_val = (class_shares(store, split) for split in ("train", "val"))
    rows: list[list[Node]] = []
    for class_id in range(len(store.classes)):
        iou, *others = (float(column[class_id]) for column in columns)
        figures: list[Node] = [with_bar(score(iou), iou), *map(score, others)]
        shares = [percent(share[class_id]) if share else "–" for share in (in_train, in_val)]
        rows.append([class_name(store, class_id), *figures, *shares])
    means: list[Node] = [score(_mean(column)) for column in columns]
    return join(
        table(
            ["class", "IoU", "precision", "recall", "F1", "Boundary IoU", "share of train", "share of val"],
            rows,
            foot=["mean", *means, None, None],
            caption=join(
                f"The model, with refinement, on {found.looked.words()}; every pixel of the land counts "
                f"once. Accuracy {percent(matrix_.accuracy())} of {count(matrix_.pixels)} labelled pixels; "
                f"Boundary IoU in a band of {BOUNDARY_PX} px. Shares are of the labelled pixels of a split.",
            ),
        ),
        epochs.drift(source, "val_miou", "mIoU", matrix_.miou()),
        el("h3", "Confusion"),
        el("p", _confusion_words(found, store.classes.names), class_="note"),
        matrix(matrix_.counts, store.classes.names),
    )


def refinement(source: Source) -> Html | None:
    """What the point head changed, on the same chips and by the same counting."""
    found = source.findings
    if found is None or not found.measured:
        return None
    pairs: list[tuple[Node, float, float]] = [
        ("mIoU", found.coarse.matrix.miou(), found.refined.matrix.miou()),
        ("Boundary IoU", found.coarse.boundary.miou(), found.refined.boundary.miou()),
        ("accuracy", found.coarse.matrix.accuracy(), found.refined.matrix.accuracy()),
    ]
    before, after = found.coarse.matrix.iou(), found.refined.matrix.iou()
    changes = np.abs(after - before)
    present = np.flatnonzero(~np.isnan(changes))
    most = np.sort(present[np.argsort(-changes[present], kind="stable")[:MAX_CLASSES]])
    for class_id in most.tolist():
        name = join("IoU ", class_name(source.store, class_id))
        pairs.append((name, float(before[class_id]), float(after[class_id])))
    rows = [
        [name, score(coarse), score(refined), change(refined - coarse)] for name, coarse, refined in pairs
    ]
    pixels = found.refined.matrix.pixels
    balance = found.mended - found.spoiled
    gain = f"{'a gain' if balance >= 0 else 'a loss'} of {count(abs(balance))} pixels"
    words = (
        f"Refinement mended {count(found.mended)} and spoiled {count(found.spoiled)} of {count(pixels)} "
        f"labelled pixels on {found.looked.words()}: {gain}, {percent(abs(balance) / pixels)}. Coarse is the "
        "coarse map of the same network, upsampled bilinearly."
    )
    if len(most) < len(present):
        words += f" Of the classes the {len(most)} are listed whose IoU changed most."
    return join(el("p", words), table(["", "coarse", "refined", "change"], rows))


def _mean(scores: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else math.nan


def _confusion_words(found: Findings, names: Sequence[str]) -> Html:
    counts = found.refined.matrix.counts
    parts = [
        join(
            name_of(names[true]), " taken for ", name_of(names[guess]),
            f", {percent(pixels / int(counts[true].sum()))} of it",
        )
        for true, guess, pixels in confusions(counts, most=3)
    ]  # fmt: skip
    told = "Each cell is the share of its row, and the pixels."
    if not parts:
        return join(told, " Nothing was confused.")
    listed = [node for part in parts for node in ("; ", part)][1:]
    return join(told, " Most often: ", *listed, ".")
