"""Colours that travel with the polygons: QGIS styles a GeoPackage by the table ``layer_styles`` in it.

Layers of other formats have no place for a style; QGIS takes that of a ``.qml`` beside them.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from geoseg.classes import hex_digits_to_rgb
from geoseg.raster.qml import add_classes, as_text, label, new_style

_FILL_ALPHA = 140
_OUTLINE_SHADE = 0.55
_TABLE = """
CREATE TABLE IF NOT EXISTS layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256), f_table_schema TEXT(256),
    f_table_name TEXT(256), f_geometry_column TEXT(256), styleName TEXT(30), styleQML TEXT, styleSLD TEXT,
    useAsDefault BOOLEAN, description TEXT, owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')))
"""
_ADD = """
INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName,
    styleQML, styleSLD, useAsDefault, description, owner, ui)
VALUES ('', '', ?, 'geom', 'classes', ?, '', 1, 'geoseg classes', '', NULL)
"""
# QGIS itself registers the table like this.
_REGISTER = """
INSERT OR IGNORE INTO gpkg_contents (table_name, data_type, identifier, description, srs_id)
VALUES ('layer_styles', 'attributes', 'layer_styles', 'QGIS layer styles', 0)
"""


def add_style(geopackage: Path, layer: str, styles: Mapping[int, tuple[str, str]]) -> None:
    """Add the default style of a layer, colouring it by ``class_id``; other layers keep theirs.

    Args:
        geopackage: a file that nobody has open.
        layer: name of its layer, with the geometry column ``geom``.
        styles: name and ``#RRGGBB`` of every class id.

    Raises:
        sqlite3.Error: the disk is full or not writable.
    """
    with contextlib.closing(sqlite3.connect(geopackage)) as connection, connection:
        connection.execute(_TABLE)
        connection.execute(_REGISTER)
        connection.execute(_ADD, (layer, qml(styles)))


def qml(styles: Mapping[int, tuple[str, str]], *, mask: Mapping[int, tuple[str, str]] | None = None) -> str:
    """A QGIS layer style (QML) with a category for every class id.

    Args:
        styles: name and ``#RRGGBB`` of every class id of the polygons.
        mask: those of the mask, where the same file is to style it too, being called like it.
    """
    root = new_style()
    if mask is not None:
        add_classes(root, mask)
    renderer = SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr="class_id", symbollevels="0", forceraster="0"
    )
    categories, symbols = SubElement(renderer, "categories"), SubElement(renderer, "symbols")
    for index, (class_id, (name, color)) in enumerate(styles.items()):
        SubElement(
            categories,
            "category",
            value=str(class_id),
            symbol=str(index),
            label=label(name),
            render="true",
            type="long",
        )
        _add_symbol(symbols, index, color)
    return as_text(root)


def _add_symbol(symbols: Element, index: int, color: str) -> None:
    red, green, blue = hex_digits_to_rgb(color)
    dark = ",".join(str(round(channel * _OUTLINE_SHADE)) for channel in (red, green, blue))
    symbol = SubElement(
        symbols, "symbol", type="fill", name=str(index), alpha="1", clip_to_extent="1", force_rhr="0"
    )
    layer = SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "locked": "0", "pass": "0"})
    properties = {
        "color": f"{red},{green},{blue},{_FILL_ALPHA}",
        "style": "solid",
        "outline_color": f"{dark},255",
        "outline_style": "solid",
        "outline_width": "0.26",
        "outline_width_unit": "MM",
        "joinstyle": "bevel",
    }
    options = SubElement(layer, "Option", type="Map")
    for name, value in properties.items():
        SubElement(options, "Option", type="QString", name=name, value=value)
    # QGIS before 3.18 knows only these.
    for name, value in properties.items():
        SubElement(layer, "prop", k=name, v=value)
