"""What a map shows, in words: classes and their areas, the files, the model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.mapview.atlas import Atlas
from geoseg.mapview.layers import ClassLayer, ImageLayer
from geoseg.mapview.pixels import crs_name
from geoseg.mapview.tally import Tally
from geoseg.models.card import ModelCard, fingerprint
from geoseg.page.markup import Html, Node, el, join, name_of
from geoseg.page.numbers import NONE, count, percent, size, some
from geoseg.page.table import facts, table, with_bar
from geoseg.raster.remote import file_name

MAX_LISTED = 60
"""Most classes in a table; the largest."""


def classes(atlas: Atlas, tally: Tally | None) -> Html | None:
    """Shares and areas of the classes, and how many polygons each has."""
    legend = atlas.legend
    if legend is None:
        return None
    parcels = atlas.parcels
    polygons = np.zeros(256, np.int64) if parcels is None else np.bincount(parcels.class_ids, minlength=256)
    ids = sorted({*(tally.ids if tally else ()), *np.flatnonzero(polygons).tolist()})
    if not ids:
        return None
    shown = ids
    if len(ids) > MAX_LISTED:
        weight = polygons if tally is None else tally.pixels
        shown = sorted(sorted(ids, key=lambda at: -int(weight[at]))[:MAX_LISTED])
    head: list[Node] = ["class"]
    if tally is not None:
        head += ["share", "pixels", *(["ha", "m²"] if tally.area_m2 is not None else [])]
    head += ["polygons"] if parcels is not None else []
    rows = [
        [
            el("span", swatch(legend.colors[at], at), name_of(legend.names[at]), class_="class"),
            *_shares(tally, at),
            *([count(int(polygons[at]))] if parcels is not None else []),
        ]
        for at in shown
    ]
    return join(table(head, rows), el("p", _words(tally, len(ids) - len(shown)), class_="note"))


def swatch(color: str, class_id: int) -> Html:
    """A patch of a class's colour; the script lays the class's pattern on it."""
    return el("span", class_="patch", style=f"background-color:{color}", data_class=class_id)


def _shares(tally: Tally | None, class_id: int) -> list[Node]:
    if tally is None:
        return []
    cells: list[Node] = [
        with_bar(percent(tally.share(class_id)), tally.share(class_id)),
        count(int(tally.pixels[class_id])),
    ]
    if tally.area_m2 is not None:
        cells += [area_ha(tally.hectares(class_id)), count(round(float(tally.area_m2[class_id])))]
    return cells


def area_ha(hectares: float | None) -> str:
    """An area, ``12.3``; small ones in more digits."""
    if hectares is None:
        return NONE
    return count(round(hectares)) if hectares >= 1000 else f"{hectares:.3g}"


def _words(tally: Tally | None, left_out: int) -> str:
    words = []
    if tally is not None:
        unknown = int(tally.pixels[255])
        words.append(
            "Shares are of the pixels with data."
            if tally.exact
            else "About: estimated from a few of the mask's pixels; geoseg report counts them all."
        )
        if unknown:
            words.append(f"{count(unknown)} pixels have none.")
        if tally.area_m2 is None:
            words.append("The size of a pixel on the ground is not known, so there are no areas.")
    if left_out:
        words.append(f"The {count(left_out)} smallest of the classes are left out.")
    return " ".join(words)


def files(atlas: Atlas, notes: Sequence[str] = ()) -> Html:
    """The scene and the files over it."""
    box, place = atlas.geobox, atlas.ground.place.geobox
    gsd = box.gsd_m or place.gsd_m
    image = atlas.image
    pairs: list[tuple[Node, Node]] = [
        ("mask" if image is None else "scene", _file(atlas.base)),
        (
            "size",
            f"{count(box.width)} x {count(box.height)} px{'' if image is None else f', {image.scene.dtype}'}",
        ),
        ("CRS", name_of(crs_name(atlas.ground.place.crs)) if atlas.ground.place.crs else "unknown"),
        ("placed by", _placing(atlas)),
        ("ground sampling", "unknown" if gsd is None else f"{gsd:.4g} m"),
        ("bounds", _bounds(atlas)),
        ("drawn", None if image is None else name_of(f"black to white, {_ends(image)}")),
    ]
    for view in atlas.rasters:
        if isinstance(view.layer, ClassLayer) and view is not atlas.rasters[0]:
            mask = view.layer.mask
            pairs += [
                ("mask", _file(mask.path)),
                ("its size", f"{count(mask.geobox.width)} x {count(mask.geobox.height)} px"),
            ]
    if atlas.sources.uncertainty is not None:
        pairs.append(("uncertainty", _file(atlas.sources.uncertainty)))
    for layer in atlas.vectors:
        parcels = layer.parcels
        left_out = f"; {some(parcels.left_out, 'feature')} not on the scene" if parcels.left_out else ""
        pairs += [
            (layer.title, _file(parcels.path)),
            ("of them", f"{count(len(parcels))}, {count(parcels.vertices)} vertices{left_out}"),
        ]
    if atlas.sources.labels is not None and all(not layer.dashed for layer in atlas.vectors):
        pairs.append(("labels", _file(atlas.sources.labels)))
    remarks = el("ul", *(el("li", note) for note in notes), class_="notes") if notes else None
    return join(remarks, facts(pairs))


def model(path: Path, card: ModelCard, made_by: str | None) -> Html:
    """What made the mask, in short.

    Args:
        path: the model file.
        card: what it says of itself.
        made_by: fingerprint that the mask has of its model, if it has one.
    """
    network, own = card.architecture, fingerprint(path)
    differs = made_by is not None and made_by not in {own, own[: len(made_by)]}
    note = "The mask says that another model made it." if differs else None
    scores = card.training.get("scores")
    miou, ap50 = (scores.get(name) if isinstance(scores, dict) else None for name in ("miou", "ap50"))
    pairs: list[tuple[Node, Node]] = [
        ("network", str(network.architecture)),
        ("classes", name_of(", ".join(card.classes.names))),
        ("bands", name_of(f"{', '.join(card.band_names)} of {card.dtype}")),
        ("ground sampling", "unknown" if card.gsd_m is None else f"{card.gsd_m:.4g} m"),
        ("chips", f"{card.size_px} px"),
        ("validation mIoU", f"{miou:.3f}" if isinstance(miou, float) else None),
        ("validation AP50", f"{ap50:.3f}" if isinstance(ap50, float) else None),
        ("geoseg", name_of(card.geoseg_version)),
        ("file", join(name_of(path.name), f", {size(path.stat().st_size)}")),
        ("SHA-256", el("code", own)),
    ]
    return join(el("ul", el("li", note), class_="notes") if note else None, facts(pairs))


def _ends(image: ImageLayer) -> str:
    return ", ".join(
        f"{name}: {low:.4g} to {high:.4g}"
        for name, (low, high) in zip(image.scene.band_names, image.ends, strict=True)
    )


def _file(path: Path) -> Html:
    length = f", {size(path.stat().st_size)}" if path.exists() else ""
    return join(name_of(file_name(path)), length)


def _placing(atlas: Atlas) -> str:
    place = atlas.ground.place
    if place.gcps:
        return f"{len(place.gcps)} ground control points; coordinates are those of the plane through them"
    if not place.geobox.georeferenced:
        return "nothing: coordinates are pixels"
    transform: Any = place.geobox.transform
    if transform.b or transform.d:
        return "a turned transform; the map shows the scene as it is stored"
    return (
        "a transform, south up; the map shows the scene as it is stored" if transform.e > 0 else "a transform"
    )


def _bounds(atlas: Atlas) -> str:
    box, digits = atlas.ground.place.geobox, atlas.ground.to_json()["digits"]
    if not box.georeferenced:
        return ""
    left, bottom, right, top = (f"{value:.{digits}f}" for value in box.bounds)
    return f"x {left} to {right}, y {bottom} to {top}"
