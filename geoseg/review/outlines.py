"""Outlines over an image as SVG, in strokes that differ in colour, in lightness and in dashes."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.chips.outline import rings
from geoseg.metrics.regions import Region
from geoseg.page.markup import Html, el
from geoseg.page.picture import Rgb, data_address
from geoseg.review.gallery import hex_of

_SVG = "http://www.w3.org/2000/svg"
_SMOOTH_PX = 0.75
"""How far an outline may move to lose the stairs of its pixels."""

_TINY_PX = 30
"""Objects of fewer pixels are drawn pixel by pixel."""

_CASING = "#000000"
_LINE_PX, _CASING_PX = 2.4, 4.4
"""Widths on the page, however large the picture is shown."""

_TEXTS_A_SIDE = 22
"""Lines of text that a picture has room for."""

_ROOM = 1.6
"""Width of a score in heights of its text: narrower objects are not labelled."""


@dataclass(frozen=True, kw_only=True)
class Stroke:
    """How a kind of outline is drawn.

    Attributes:
        name: what it means.
        color: of the line, which lies on a wider black one.
        dashes: of the line, ``none`` or lengths in pixels of the page, to which its round ends add.
    """

    name: str
    color: Rgb
    dashes: str = "none"


@dataclass(frozen=True, kw_only=True)
class Outline:
    """An object to draw.

    Attributes:
        region: its pixels in the chip.
        stroke: what it is.
        text: written on it, where it has room.
    """

    region: Region
    stroke: Stroke
    text: str = ""


def picture(image: bytes, side: tuple[int, int], outlines: Sequence[Outline], *, width_px: int) -> bytes:
    """An SVG of an image and outlines over it.

    Args:
        image: PNG or JPEG.
        side: height and width of the ground that it covers, in pixels of the chip.
        outlines: later ones lie over earlier ones.
        width_px: width that the SVG has by itself.
    """
    height, width = side
    paths = [(outline, _path(outline.region)) for outline in outlines if outline.region.mask.any()]
    font = round(width / _TEXTS_A_SIDE, 1)
    svg = el(
        "svg",
        el("image", href=data_address(image), width=width, height=height),
        el("g", *(_drawn(path, outline.stroke) for outline, path in paths), fill="none"),
        el(
            "g",
            *(_text(outline, font) for outline, _ in paths if outline.text),
            fill="#ffffff",
            stroke="#000000",
            stroke_width=round(font / 5, 2),
            stroke_linejoin="round",
            paint_order="stroke",
            text_anchor="middle",
            font_family="sans-serif",
            font_weight="bold",
            font_size=font,
        ),
        xmlns=_SVG,
        viewBox=f"0 0 {width} {height}",
        width=width_px,
        height=round(width_px * height / width),
    )
    return svg.encode()


def address(svg: bytes) -> str:
    """A ``data:`` address of an SVG."""
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode('ascii')}"


def legend(title: str, strokes: Sequence[Stroke]) -> Html:
    """What the strokes mean, beside the legends of colours."""
    return el(
        "div",
        el("b", title),
        " ",
        el("ul", *(el("li", _sample(stroke), " ", stroke.name) for stroke in strokes)),
        class_="legend",
    )


def _sample(stroke: Stroke) -> Html:
    return el(
        "svg",
        _drawn("M2 7H34", stroke),
        viewBox="0 0 36 14",
        class_="swatch",
        aria_hidden="true",
    )


def _drawn(path: str, stroke: Stroke) -> Html:
    """A line on a casing; of one width on the page whatever the scale."""
    fixed = "non-scaling-stroke"
    return el(
        "g",
        el(
            "path",
            d=path,
            stroke=_CASING,
            stroke_opacity=0.75,
            stroke_width=_CASING_PX,
            stroke_linejoin="round",
            vector_effect=fixed,
        ),
        el(
            "path",
            d=path,
            stroke=hex_of(stroke.color),
            stroke_width=_LINE_PX,
            stroke_dasharray=stroke.dashes,
            stroke_linecap="round",
            stroke_linejoin="round",
            vector_effect=fixed,
        ),
    )


def _path(region: Region) -> str:
    """Outline of a region with its holes, as an SVG path in pixels of the chip."""
    import shapely

    lines = [shapely.linearrings(ring) for _, ring in rings(region.mask.astype(np.uint16))]
    if region.area >= _TINY_PX:
        lines = [shapely.simplify(line, _SMOOTH_PX) for line in lines]
    first = np.array([region.col, region.row])
    corners = [shapely.get_coordinates(line)[:-1] + first for line in lines]
    return "".join(f"M{' '.join(f'{x:g},{y:g}' for x, y in ring.tolist())}Z" for ring in corners)


def _text(outline: Outline, font: float) -> Html | None:
    region = outline.region
    if region.mask.shape[1] < _ROOM * font or region.mask.shape[0] < font:
        return None
    rows, columns = region.mask.nonzero()
    # The middle of a bent object is not its own; the nearest of its pixels is.
    at = np.hypot(rows - rows.mean(), columns - columns.mean()).argmin()
    x, y = region.col + columns[at] + 0.5, region.row + rows[at] + 0.5
    return el("text", outline.text, x=round(float(x), 1), y=round(float(y) + font / 3, 1))
