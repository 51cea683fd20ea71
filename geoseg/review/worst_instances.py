"""The section of a run's report that shows chips with their objects, those with most mistakes first."""

from __future__ import annotations

from collections import Counter

from geoseg.classes import IGNORE
from geoseg.page.markup import Html, Node, el, join, name_of
from geoseg.page.numbers import count, percent, score, some
from geoseg.page.picture import Rgb, data_address, jpeg, palette_png
from geoseg.page.table import folded, table
from geoseg.review import outlines
from geoseg.review.gallery import Legend, Picture, legends, row
from geoseg.review.look_instances import ObjectFindings, ObjectPanels, ObjectsScore
from geoseg.review.outlines import Outline, Stroke
from geoseg.review.verdict import DEFAULT_SCORE, MATCH_IOU
from geoseg.review.worst import MAX_BYTES, MAX_LISTED

# Far apart in lightness and in hue, and by dashes: they are told apart without colour too.
_FOUND: Rgb = (86, 180, 233)
_MISSED: Rgb = (255, 225, 77)
_FALSE: Rgb = (255, 90, 54)

FOUND = Stroke(name="found", color=_FOUND)
MISSED = Stroke(name="missed", color=_MISSED, dashes="5 5")
FALSE = Stroke(name="false", color=_FALSE, dashes="0.1 4.8")
BEYOND = Stroke(name="where nothing is known, so not counted", color=(255, 255, 255), dashes="9 4 0.1 4")

PIXELS: tuple[tuple[str, Rgb], ...] = (
    ("no object", (52, 58, 64)),
    ("true and predicted", _FOUND),
    ("true only", _MISSED),
    ("predicted only", _FALSE),
)


def worst_objects(found: ObjectFindings | None) -> Html | None:
    """Chips as pictures, the worst first, and a table of all that were looked at."""
    if found is None or not found.scores:
        return None
    places: list[Html] = []
    room = MAX_BYTES
    for rank, (chip_score, panels) in enumerate(found.pictured, 1):
        files = _files(panels)
        room -= sum(map(len, files))
        if room < 0 and places:
            break
        places.append(_place(rank, chip_score, panels, files))
    words = (
        f"The {len(places)} worst of {found.looked.words()}, by the objects missed and the false ones. Drawn "
        f"and counted are predicted objects with a score of {DEFAULT_SCORE:g} or more, which is what predict "
        f"reports; one is found from an IoU of {MATCH_IOU:g} on."
    )
    if found.unlabelled:
        words += f" {found.unlabelled} without labels are left out."
    hint = "Point at a picture to see what lies there; click it, or press Enter, for a large view."
    strokes = [FOUND, MISSED, FALSE]
    if any(panels.verdict.beyond.any() for _, panels in found.pictured):
        strokes.append(BEYOND)
    return join(
        el("p", f"{words} {hint}", class_="note"),
        el("div", outlines.legend("Outlines", strokes), class_="legends"),
        legends([Legend(name="pixels", title="Pixels", entries=PIXELS)]),
        *places,
        _all_chips(found) if len(found.scores) > len(places) else None,
    )


def _files(panels: ObjectPanels) -> list[bytes]:
    image = jpeg(panels.image)
    height, width = panels.image.shape[:2]
    side = height * panels.step, width * panels.step
    drawn = [outlines.picture(image, side, each, width_px=width) for each in (_true(panels), _said(panels))]
    return [image, *drawn, palette_png(panels.pixels, [color for _, color in PIXELS])]


def _true(panels: ObjectPanels) -> list[Outline]:
    """True objects, those that were missed over the others."""
    objects = panels.truth.regions[: len(panels.truth.numbers)]
    drawn = [
        Outline(region=region, stroke=FOUND if hit else MISSED)
        for region, hit in zip(objects, panels.verdict.hit.tolist(), strict=True)
    ]
    return sorted(drawn, key=lambda outline: outline.stroke is MISSED)


def _said(panels: ObjectPanels) -> list[Outline]:
    """Predicted objects with their scores, the false ones over the others."""
    verdict, found = panels.verdict, panels.found
    drawn = []
    for stroke, chosen in ((BEYOND, verdict.beyond), (FOUND, verdict.right), (FALSE, verdict.false)):
        for at in chosen.nonzero()[0].tolist():
            # Without the nought, which takes room; of two digits at most.
            text = f"{min(0.99, float(found.scores[at])):.2f}"[1:]
            drawn.append(Outline(region=found.regions[at], stroke=stroke, text=text))
    return drawn


def _place(rank: int, chip_score: ObjectsScore, panels: ObjectPanels, files: list[bytes]) -> Html:
    image, truth, said, pixels = files
    verdict = panels.verdict
    of_truth = f"{chip_score.right} found, {chip_score.missed} missed"
    of_said = f"{chip_score.right} right, {chip_score.false} false"
    if verdict.beyond.any():
        of_said += f", {int(verdict.beyond.sum())} where nothing is known"
    pictures = [
        Picture(
            title="image",
            address=data_address(image),
            alternative="image: what the network saw, stretched",
        ),
        Picture(
            title="true objects", address=outlines.address(truth), alternative=f"true objects: {of_truth}"
        ),
        Picture(
            title="found objects, scores",
            address=outlines.address(said),
            alternative=f"found objects, with their scores: {of_said}",
        ),
        Picture(
            title="pixels",
            address=data_address(pixels),
            alternative=f"pixels: {_shares(panels)}",
            legend="pixels",
        ),
    ]
    title = join(f"{rank}. ", name_of(chip_score.chip.name))
    return row(title, _figures(chip_score), pictures, shape=(panels.image.shape[0], panels.image.shape[1]))


def _figures(chip_score: ObjectsScore) -> Node:
    found = f"{count(chip_score.right)} of {count(chip_score.true)} found" if chip_score.true else "no object"
    if chip_score.right:
        found += f", with a mean IoU of {score(chip_score.mean_iou)}"
    return join(
        el("b", some(chip_score.mistakes, "mistake")),
        f": {count(chip_score.missed)} missed, {count(chip_score.false)} false · {found} · "
        f"F1 {score(chip_score.f1)} · scene ",
        name_of(chip_score.chip.scene),
    )


def _shares(panels: ObjectPanels) -> str:
    """What the map of pixels holds, in words: the commonest first."""
    known = panels.pixels[panels.pixels != IGNORE]
    if not known.size:
        return "nothing known"
    counts = Counter(known.ravel().tolist()).most_common()
    return ", ".join(f"{PIXELS[kind][0]} {percent(pixels / known.size, 0)}" for kind, pixels in counts)


def _all_chips(found: ObjectFindings) -> Html:
    rows: list[list[Node]] = [
        [
            name_of(entry.chip.name),
            count(entry.mistakes),
            count(entry.missed),
            count(entry.false),
            count(entry.right),
            count(entry.true),
            score(entry.f1),
            score(entry.mean_iou),
        ]
        for entry in found.scores[:MAX_LISTED]
    ]
    heads: list[Node] = ["chip", "mistakes", "missed", "false", "found", "true", "F1", "mean IoU of found"]
    return folded(some(len(found.scores), "labelled chip") + ", all that were looked at", table(heads, rows))
