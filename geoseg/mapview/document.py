"""The page with the map on it: the same in one file and from a server, but for where its tiles come from."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from geoseg import __version__
from geoseg.classes import IGNORE
from geoseg.mapview import facts, sureness
from geoseg.mapview.atlas import Atlas, RasterView, VectorView
from geoseg.mapview.bundle import Bundle
from geoseg.mapview.layers import STEPS, ramp_colors
from geoseg.mapview.legend import PATTERNS, Legend
from geoseg.mapview.mistakes import AT_FIRST
from geoseg.mapview.pyramid import TILE_PX
from geoseg.mapview.tally import Tally
from geoseg.page.markup import Html, Node, el, join, name_of, visible
from geoseg.page.numbers import count, percent
from geoseg.page.page import Section, asset, page, policy_of
from geoseg.raster.remote import file_name

MOST_ENLARGED = 4
"""Levels beyond the scene's own pixels that the map zooms in."""

MORE = "Where polygons lie very densely only the largest are drawn; zoom in to see all of them."

_ASKS_NOTHING = "This file needs no network and asks for nothing."

_REFERS = re.compile(r"[^{}]*\{[^{}]*url\([^{}]*\}")
"""Rules of Leaflet's style sheet that want pictures, for controls that are not used here."""


def scripts() -> list[str]:
    """What runs on the page: Leaflet with its licence, then the map."""
    licence = asset(__package__, "leaflet/LICENSE")
    library = asset(__package__, "leaflet/leaflet.js").partition("//# sourceMappingURL")[0]
    return [f"/*\n{licence}*/\n{library}", asset(__package__, "map.js")]


def served_policy() -> str:
    """The Content-Security-Policy of a page whose tiles come from the server."""
    return policy_of(scripts(), served=True) + "; frame-ancestors 'none'"


def document(
    atlas: Atlas,
    *,
    tally: Tally | None,
    bundled: Bundle | None = None,
    sections: Sequence[Section] = (),
    notes: Sequence[str] = (),
    title: str | None = None,
) -> str:
    """A whole page.

    Args:
        atlas: what is looked at.
        tally: how much of each class there is.
        bundled: all tiles and outlines; asked from the server when not given.
        sections: below the map, after the classes and before the files.
        notes: what a reader must know.
        title: of the page; the name of the file that the others lie on when not given.
    """
    words = [*(bundled.notes if bundled else ()), *atlas.notes, *notes]
    return page(
        title=title or file_name(atlas.base),
        lead=el("p", _lead(atlas), class_="lead"),
        sections=[
            Section(name="map-section", title="Map", content=_map(atlas, tally, bundled)),
            Section(name="classes", title="Classes", content=facts.classes(atlas, tally)),
            *sections,
            Section(name="files", title="Files", content=facts.files(atlas, words)),
        ],
        foot=_foot(served=bundled is None),
        styles=[_REFERS.sub("", asset(__package__, "leaflet/leaflet.css")), asset(__package__, "map.css")],
        scripts=scripts(),
        served=bundled is None,
    )


def without_map(title: str, sections: Sequence[Section]) -> str:
    """A page of what there is to say where there is nothing to draw on."""
    foot = f"Written by geoseg {__version__}. {_ASKS_NOTHING}"
    return page(title=title, lead=None, sections=sections, foot=foot)


def _foot(*, served: bool) -> str:
    where = "It comes from this computer and asks for nothing elsewhere." if served else _ASKS_NOTHING
    return f"Written by geoseg {__version__}, map by Leaflet 1.9.4 (licence in its source). {where}"


def _lead(atlas: Atlas) -> str:
    box = atlas.geobox
    gsd = f", {box.gsd_m:.3g} m a pixel" if box.gsd_m else ""
    over = [*(view.title for view in atlas.rasters), *(view.title for view in atlas.vectors)]
    over = over if atlas.image is None else over[1:]
    return f"{box.width} x {box.height} px{gsd}" + (f", with {', '.join(over)}" if over else "")


def _map(atlas: Atlas, tally: Tally | None, bundled: Bundle | None) -> Html:
    height, width = atlas.pyramid.shape
    stage = el(
        "div",
        id="map",
        tabindex=0,
        role="application",
        aria_label="Map of the scene",
        aria_describedby="map-help",
    )
    frame = el(
        "div",
        el("div", stage, class_="map-box", style=f"--ratio:{width / height:.4f}"),
        el("p", id="map-place", aria_hidden="true"),
        el("p", MORE, id="map-more", class_="map-note", hidden=True),
        class_="map-frame",
    )
    layers = [
        *(_row(view, f"v{at}", 1.0) for at, view in reversed(list(enumerate(atlas.vectors)))),
        *(_row(view, f"r{at}", view.opacity) for at, view in reversed(list(enumerate(atlas.rasters)))),
    ]
    panel = el(
        "div",
        el("fieldset", el("legend", "Layers"), *layers, _switches(atlas)),
        _classes(atlas, tally),
        _errors(atlas),
        sureness.controls(atlas),
        _ramp(atlas),
        _help(),
        class_="map-panel",
    )
    told = el("p", id="map-told", role="status", class_="map-told")
    data = json.dumps(_data(atlas, tally, bundled), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    # Within a script nothing but its end tag and comments are markup.
    quoted = data.replace("<", "\\u003c").replace(">", "\\u003e")
    carried = Html(f'<script type="application/json" id="map-data">{quoted}</script>')
    return join(el("div", frame, panel, class_="map-and-panel"), told, carried)


def _row(view: RasterView | VectorView, key: str, opacity: float) -> Html:
    """What can be done with a layer."""
    left = isinstance(view, RasterView) and view.left
    box = el("input", type="checkbox", id=f"show-{key}", checked=view.shown, data_show=key)
    slider = el(
        "input",
        type="range",
        min=0,
        max=100,
        value=round(100 * opacity),
        data_opacity=key,
        aria_label=f"Opacity of {view.title} in percent",
    )
    sides = el(
        "select",
        el("option", "both sides", value="both"),
        el("option", "left side", value="left", selected=left),
        el("option", "right side", value="right", selected=key != "r0" and not left),
        data_side=key,
        aria_label=f"Side of the swipe line on which {view.title} shows",
        hidden=True,
    )
    return el("div", el("label", box, " ", view.title, for_=f"show-{key}"), slider, sides, class_="map-layer")


def _switches(atlas: Atlas) -> Html:
    swipe = None
    if len(atlas.rasters) + len(atlas.vectors) > 1:
        swipe = el("label", el("input", type="checkbox", id="map-swipe"), " swipe")
    patterns = None
    if atlas.legend is not None:
        patterns = el("label", el("input", type="checkbox", id="map-patterns", checked=True), " patterns")
    buttons = join(
        el("button", "Whole scene", type="button", id="map-whole"),
        el("button", "Full screen", type="button", id="map-full"),
    )
    return el("div", swipe, patterns, buttons, class_="map-switches")


def _classes(atlas: Atlas, tally: Tally | None) -> Html | None:
    if atlas.legend is None:
        return None
    kinds = set() if atlas.mistakes is None else set(atlas.mistakes.class_ids.tolist())
    entries = [_class(atlas.legend, at, _share(tally, at)) for at in listed(atlas, tally) if at not in kinds]
    buttons = el(
        "div",
        el("button", "All", type="button", id="map-all"),
        el("button", "None", type="button", id="map-none"),
        class_="map-switches",
    )
    listing = el("ul", *entries, class_="map-classes")
    return el("fieldset", el("legend", "Classes"), listing, buttons if len(entries) > 2 else None)


def _class(legend: Legend, class_id: int, told: str, *, shown: bool = True) -> Html:
    label = el(
        "label",
        el("input", type="checkbox", checked=shown, data_class_shown=class_id),
        facts.swatch(legend.colors[class_id], class_id),
        name_of(legend.names[class_id]),
    )
    return el("li", label, el("span", told, class_="value"))


def _errors(atlas: Atlas) -> Html | None:
    """Kinds of error and how many there are."""
    mistakes, legend = atlas.mistakes, atlas.legend
    if mistakes is None or legend is None:
        return None
    counts = np.bincount(mistakes.class_ids, minlength=IGNORE)
    entries = [
        _class(legend, at, count(int(counts[at])), shown=legend.names[at] in AT_FIRST)
        for at in np.flatnonzero(counts).tolist()
    ]
    return el("fieldset", el("legend", "Errors"), el("ul", *entries, class_="map-classes map-kinds"))


def listed(atlas: Atlas, tally: Tally | None) -> list[int]:
    """Ids of the classes that occur, as far as is known."""
    ids = set(tally.ids if tally else ())
    for view in atlas.vectors:
        ids.update(np.unique(view.parcels.class_ids).tolist())
    if tally is not None and not tally.exact and atlas.legend is not None and len(atlas.legend.told) <= 30:
        ids.update(atlas.legend.told)  # small ones may be missing in a look
    return sorted(int(at) for at in ids)


def _share(tally: Tally | None, class_id: int) -> str:
    if tally is None or not tally.pixels[class_id]:
        return ""
    hectares = tally.hectares(class_id)
    about = "" if tally.exact else "about "
    area = "" if hectares is None else f" · {facts.area_ha(hectares)} ha"
    return f"{about}{percent(tally.share(class_id))}{area}"


def _ramp(atlas: Atlas) -> Html | None:
    if all(view.kind != "ramp" for view in atlas.rasters):
        return None
    stops = ",".join(f"rgb({r} {g} {b})" for r, g, b in ramp_colors()[1:])
    bar = el("span", class_="ramp", style=f"background:linear-gradient(to right,{stops})")
    return el(
        "fieldset",
        el("legend", "Uncertainty"),
        el("p", "sure ", bar, " unsure", class_="map-ramp"),
        el("p", f"Below {1 / STEPS:.2f} it is not drawn.", class_="note"),
    )


def _help() -> Html:
    keys: list[tuple[Node, str]] = [
        ("arrows, +, −", "move and zoom"),
        ("Enter", "what is in the middle"),
        ("N, P", "next and previous polygon, the largest first"),
        ("Esc", "close what was told"),
    ]
    return el(
        "details",
        el("summary", "Keys, when the map has the focus"),
        el("dl", *(el("div", el("dt", name), el("dd", text)) for name, text in keys), class_="map-keys"),
        id="map-help",
    )


def _data(atlas: Atlas, tally: Tally | None, bundled: Bundle | None) -> dict[str, Any]:
    height, width = atlas.pyramid.shape
    legend = atlas.legend
    return {
        "size": [width, height],
        "tile": TILE_PX,
        "coarsest": atlas.pyramid.coarsest,
        "enlarged": MOST_ENLARGED,
        "place": atlas.ground.to_json(),
        "rasters": [
            {"title": visible(view.title), "kind": view.kind, "opacity": view.opacity, "shown": view.shown}
            | (bundled.rasters[at] if bundled else {"finest": 0})
            for at, view in enumerate(atlas.rasters)
        ],
        "vectors": [
            {
                "title": view.title,
                "dashed": view.dashed,
                "shown": view.shown,
                "count": len(view.parcels),
                "scored": sureness.scores_of(view.parcels) is not None,
            }
            | (bundled.vectors[at] if bundled else {})
            for at, view in enumerate(atlas.vectors)
        ],
        "classes": {
            str(at): [visible(legend.names[at]), legend.colors[at], rank % PATTERNS]
            for rank, at in enumerate(listed(atlas, tally))
            if at < IGNORE
        }
        if legend
        else {},
        "ramp": [list(color) for color in ramp_colors()],
    }
