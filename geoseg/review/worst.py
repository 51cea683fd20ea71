"""The section of a run's report that shows chips, the worst first."""

from __future__ import annotations

from geoseg.chips.store import ChipStore
from geoseg.classes import IGNORE
from geoseg.page.markup import Html, Node, el, join, name_of
from geoseg.page.numbers import percent, score, some
from geoseg.page.picture import Ids, Rgb, data_address, jpeg, palette_png, ramp
from geoseg.page.table import folded, table
from geoseg.review.gallery import Legend, Picture, legends, row
from geoseg.review.look import UNCERTAINTY_LEVELS, ChipScore, Findings, Panels

MAX_BYTES = 3_200_000
"""Most bytes of pictures; base64 makes a third more of them. Chips that do not fit are left out."""

MAX_LISTED = 200

# Light to dark, so that they are told apart without colour too.
_ERRORS: tuple[tuple[str, Rgb], ...] = (
    ("right", (232, 234, 232)),
    ("wrong", (20, 22, 24)),
    ("mended by refinement", (96, 176, 226)),
    ("spoiled by refinement", (200, 76, 0)),
)
_SURE_TO_UNSURE: tuple[Rgb, ...] = (
    (255, 252, 235),
    (250, 196, 110),
    (222, 98, 72),
    (128, 32, 96),
    (24, 8, 48),
)


def worst_chips(found: Findings | None, store: ChipStore) -> Html | None:
    """Chips as pictures, the worst first, and a table of all that were looked at."""
    if found is None or not found.scores:
        return None
    places: list[Html] = []
    room = MAX_BYTES
    for rank, (chip_score, panels) in enumerate(found.pictured, 1):
        files = _files(panels, store)
        room -= sum(map(len, files))
        if room < 0 and places:
            break
        places.append(_place(rank, chip_score, panels, files, store))
    words = (
        f"The {len(places)} worst of {found.looked.words()}, by the share of labelled pixels that the "
        "refined prediction has wrong."
    )
    if found.unlabelled:
        words += f" {found.unlabelled} without labels are left out."
    hint = "Point at a picture to see what lies there in all six; click it, or press Enter, for a large view."
    return join(
        el("p", f"{words} {hint}", class_="note"),
        legends(_legends(store)),
        *places,
        _all_chips(found) if len(found.scores) > len(places) else None,
    )


def _legends(store: ChipStore) -> list[Legend]:
    classes = [(name, store.classes.rgb(class_id)) for class_id, name in enumerate(store.classes.names)]
    return [
        Legend(name="classes", title="Classes", entries=classes),
        Legend(name="errors", title="Errors", entries=_ERRORS),
        Legend(name="uncertainty", title="Uncertainty", entries=_levels(), ends=("sure", "unsure")),
    ]


def _levels() -> list[tuple[str, Rgb]]:
    """Colours of the steps of uncertainty, and what they stand for."""
    colors = ramp(_SURE_TO_UNSURE, UNCERTAINTY_LEVELS)
    return [(f"{(at + 0.5) / UNCERTAINTY_LEVELS:.2f}", color) for at, color in enumerate(colors)]


def _files(panels: Panels, store: ChipStore) -> list[bytes]:
    colors = [store.classes.rgb(class_id) for class_id in range(len(store.classes))]
    return [
        jpeg(panels.image),
        *(palette_png(ids, colors) for ids in (panels.labels, panels.coarse, panels.refined)),
        palette_png(panels.uncertainty, [color for _, color in _levels()]),
        palette_png(panels.errors, [color for _, color in _ERRORS]),
    ]


def _place(rank: int, chip_score: ChipScore, panels: Panels, files: list[bytes], store: ChipStore) -> Html:
    names = store.classes.names
    kinds = [
        ("image", "what the network saw, stretched", None),
        ("labels", _shares(panels.labels, names), "classes"),
        ("coarse", _shares(panels.coarse, names), "classes"),
        ("refined", _shares(panels.refined, names), "classes"),
        ("uncertainty", "one minus the margin between the two likeliest classes", "uncertainty"),
        ("errors", _shares(panels.errors, [name for name, _ in _ERRORS]), "errors"),
    ]
    pictures = [
        Picture(title=title, address=data_address(file), alternative=f"{title}: {told}", legend=legend)
        for (title, told, legend), file in zip(kinds, files, strict=True)
    ]
    title = join(f"{rank}. ", name_of(chip_score.chip.name))
    return row(title, _figures(chip_score), pictures, shape=panels.labels.shape)


def _figures(chip_score: ChipScore) -> Node:
    return join(
        el("b", f"{percent(chip_score.wrong)} wrong"),
        f" (coarse {percent(chip_score.coarse_wrong)}) · mIoU {score(chip_score.miou)} "
        f"(coarse {score(chip_score.coarse_miou)}) · Boundary IoU {score(chip_score.boundary_iou)} "
        f"(coarse {score(chip_score.coarse_boundary_iou)}) · scene ",
        name_of(chip_score.chip.scene),
    )


def _shares(ids: Ids, names: tuple[str, ...] | list[str]) -> str:
    """What a map holds, in words: the commonest first."""
    known = ids[ids != IGNORE]
    if not known.size:
        return "nothing known"
    parts = [(int((known == at).sum()), name) for at, name in enumerate(names)]
    most = sorted((part for part in parts if part[0]), key=lambda part: -part[0])[:5]
    return ", ".join(f"{name} {percent(pixels / known.size, 0)}" for pixels, name in most)


def _all_chips(found: Findings) -> Html:
    listed = found.scores[:MAX_LISTED]
    rows: list[list[Node]] = [
        [
            name_of(entry.chip.name),
            percent(entry.labelled / (entry.chip.window[2] * entry.chip.window[3])),
            percent(entry.wrong),
            percent(entry.coarse_wrong),
            score(entry.miou),
            score(entry.coarse_miou),
            score(entry.boundary_iou),
        ]
        for entry in listed
    ]
    heads: list[Node] = ["chip", "labelled", "wrong", "wrong, coarse", "mIoU", "mIoU, coarse", "Boundary IoU"]
    return folded(some(len(found.scores), "labelled chip") + ", all that were looked at", table(heads, rows))
