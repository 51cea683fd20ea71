"""Class names and colours as GIS programs keep them: GDAL's ``.aux.xml`` beside a raster.

TIFF itself has no place for category names, and rasterio no call to read or set them; the sidecar's format is
GDAL's PAM (gdal.org/drivers/raster/gtiff.html, "persistent auxiliary metadata").
"""

from __future__ import annotations

import os
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from geoseg.classes import ClassMap
from geoseg.raster.remote import is_remote

MAX_SIDECAR_BYTES = 4_000_000


def sidecar_of(raster: Path) -> Path:
    """Path of the PAM sidecar of a raster."""
    return raster.with_name(raster.name + ".aux.xml")


def write_categories(raster: Path, classes: ClassMap) -> None:
    """Add the class names to a raster's sidecar, keeping what GDAL wrote there (such as a CRS)."""
    sidecar = sidecar_of(raster)
    # GDAL has just written it, or nobody has: it is not a stranger's.
    root = ElementTree.parse(sidecar).getroot() if sidecar.exists() else Element("PAMDataset")
    band = next((b for b in root.iter("PAMRasterBand") if b.get("band") == "1"), None)
    if band is None:
        band = SubElement(root, "PAMRasterBand", band="1")
    for old in band.findall("CategoryNames"):
        band.remove(old)
    categories = SubElement(band, "CategoryNames")
    for name in classes.names:
        SubElement(categories, "Category").text = "".join(filter(str.isprintable, name))
    ElementTree.indent(root)
    sidecar.write_bytes(ElementTree.tostring(root, encoding="utf-8") + b"\n")


def read_categories(raster: Path) -> tuple[str, ...]:
    """Category names of band 1 in a raster's sidecar; none when it has no sidecar or an unreadable one.

    None of a raster on a server, whose sidecar is not asked for.
    """
    if is_remote(raster):
        return ()
    sidecar = sidecar_of(raster)
    # os.path: Path.is_file() raises when the suffix makes the name too long for the file system.
    if not os.path.isfile(sidecar) or sidecar.stat().st_size > MAX_SIDECAR_BYTES:  # noqa: PTH113
        return ()
    content = sidecar.read_bytes()
    if b"<!" in content.replace(b"<!--", b""):
        return ()  # a document type: entities could unfold without end, and GDAL writes none
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError:
        return ()
    band = next((b for b in root.iter("PAMRasterBand") if b.get("band") == "1"), None)
    names = band.find("CategoryNames") if band is not None else None
    return tuple((category.text or "").strip() for category in names) if names is not None else ()
