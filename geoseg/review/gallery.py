"""Pictures in rows, all of one place: what was seen, what is true, what was said of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from geoseg.page.markup import Html, Node, el, join
from geoseg.page.picture import Rgb


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One picture of a row.

    Attributes:
        title: below the picture.
        address: a ``data:`` address.
        alternative: what it shows, in words.
        legend: name of the legend that tells what its colours mean, if they mean anything.
    """

    title: str
    address: str
    alternative: str
    legend: str | None = None


@dataclass(frozen=True, kw_only=True)
class Legend:
    """What colours mean.

    Attributes:
        name: by which pictures refer to it.
        title: before the entries.
        entries: a name and a colour each.
        ends: for a ramp of colours, what its two ends are called; its entries are then not named one by one.
    """

    name: str
    title: str
    entries: Sequence[tuple[str, Rgb]]
    ends: tuple[str, str] | None = None


def legends(entries: Sequence[Legend]) -> Html:
    """What the colours of the pictures below mean."""
    return el("div", *map(_legend, entries), class_="legends")


def row(title: Node, figures: Node, pictures: Sequence[Picture], *, shape: tuple[int, int]) -> Html:
    """Pictures of one place beside each other.

    Args:
        title: what place.
        figures: what was counted there.
        pictures: of one size.
        shape: h, w of the pictures in pixels.
    """
    return el(
        "article",
        el("h3", title),
        el("p", figures, class_="note"),
        el("div", *(_picture(picture, shape) for picture in pictures), class_="pictures"),
        el("p", class_="readout", aria_hidden="true"),
        class_="place",
    )


def hex_of(color: Rgb) -> str:
    """``#rrggbb``."""
    return "#" + "".join(f"{channel:02x}" for channel in color)


def _picture(picture: Picture, shape: tuple[int, int]) -> Html:
    image = el(
        "img",
        src=picture.address,
        alt=picture.alternative,
        width=shape[1],
        height=shape[0],
        data_title=picture.title,
        data_legend=picture.legend,
    )
    return el("figure", el("div", image, class_="frame"), el("figcaption", picture.title))


def _legend(legend: Legend) -> Html:
    if legend.ends is None:
        swatches = [
            el("li", _swatch(hex_of(color)), el("bdi", name), data_color=hex_of(color))
            for name, color in legend.entries
        ]
        swatches.append(el("li", _swatch(None), "nothing known"))
        body = el("ul", *swatches)
    else:
        stops = ",".join(hex_of(color) for _, color in legend.entries)
        bar = el("span", class_="ramp", style=f"background:linear-gradient(to right,{stops})")
        # One by one for whoever asks a pixel; people see the bar.
        steps = [el("li", name, data_color=hex_of(color), hidden=True) for name, color in legend.entries]
        body = join(legend.ends[0], " ", bar, " ", legend.ends[1], el("ul", *steps, hidden=True))
    return el("div", el("b", legend.title), " ", body, class_="legend", data_legend=legend.name)


def _swatch(color: str | None) -> Html:
    return el("span", class_="patch" if color else "patch unknown", style=color and f"background:{color}")
