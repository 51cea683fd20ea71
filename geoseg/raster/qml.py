"""QGIS styles of rasters, as QML: a legend of the classes alone.

QGIS makes 256 entries of a mask's palette, most of them black, and shows uncertainty in grey between ends of
its own. A file ``mask.qml`` beside ``mask.tif`` is the style it opens it with instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, tostring

from geoseg.raster.layers import Layer

SUFFIX = ".qml"

# Seven colours of matplotlib's viridis, evenly spaced: dark where the mask is sure.
_VIRIDIS = ("#440154", "#443983", "#31688E", "#21918C", "#35B779", "#90D743", "#FDE725")


def style_of(output: Path) -> Path:
    """Where QGIS looks for the style of a file. ``mask.tif`` and ``mask.gpkg`` share ``mask.qml``."""
    return output.with_suffix(SUFFIX)


def layer_style(layer: Layer) -> str | None:
    """The style of a mask or of uncertainty; ``None`` for probabilities, whose bands QGIS may combine."""
    root = new_style()
    if layer.shows_classes and layer.classes is not None:
        styles = zip(layer.classes.names, layer.classes.colors, strict=True)
        add_classes(root, dict(enumerate(styles)))
    elif layer.scale is not None and layer.count == 1 and layer.classes is None:
        _add_ramp(root)
    else:
        return None
    return as_text(root)


def new_style() -> Element:
    """A style that says nothing yet. That of a raster and that of polygons go into one, if need be."""
    return Element("qgis", version="3.22", styleCategories="Symbology")


def add_classes(root: Element, styles: Mapping[int, tuple[str, str]]) -> None:
    """Draw a raster of class ids: one entry of the legend for each, everything else transparent.

    Args:
        root: of :func:`new_style`.
        styles: name and ``#RRGGBB`` of every class id.
    """
    renderer = _renderer(root, type="paletted")
    palette = SubElement(renderer, "colorPalette")
    for class_id, (name, color) in styles.items():
        SubElement(
            palette, "paletteEntry", value=str(class_id), label=label(name), color=color.lower(), alpha="255"
        )


def as_text(root: Element) -> str:
    """The style as the text of a file."""
    return "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n" + tostring(root, encoding="unicode")


def label(name: str) -> str:
    """A name as XML may hold it: control characters have no place there, escaped or not."""
    return "".join(filter(str.isprintable, name))


def _add_ramp(root: Element) -> None:
    """Draw shares of one; QGIS knows them by the band's scale."""
    renderer = _renderer(root, type="singlebandpseudocolor", classificationMin="0", classificationMax="1")
    shader = SubElement(
        SubElement(renderer, "rastershader"),
        "colorrampshader",
        colorRampType="INTERPOLATED",
        classificationMode="2",
        clip="0",
        minimumValue="0",
        maximumValue="1",
    )
    for at, color in enumerate(_VIRIDIS):
        share = f"{at / (len(_VIRIDIS) - 1):.4g}"
        SubElement(shader, "item", value=share, label=share, color=color.lower(), alpha="255")


def _renderer(root: Element, **attributes: str) -> Element:
    pipe = SubElement(root, "pipe")
    common = {"band": "1", "opacity": "1", "alphaBand": "-1", "nodataColor": ""}
    renderer = SubElement(pipe, "rasterrenderer", {**attributes, **common})
    SubElement(renderer, "rasterTransparency")
    return renderer
