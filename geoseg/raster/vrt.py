"""What a VRT mosaic says, read without GDAL: which pixels of which files lie where.

GDAL's virtual rasters (https://gdal.org/drivers/raster/vrt.html) can make it read any file, ask servers and
run code. Here only what ``gdalbuildvrt`` writes of rasters on one grid is understood: pieces that are copied,
pixel by pixel, from rasters in the folder of the VRT or below. All else is refused by name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

import rasterio.crs
from affine import Affine
from rasterio.enums import ColorInterp
from rasterio.windows import Window

from geoseg.errors import SceneError
from geoseg.raster.crs_text import names_a_file
from geoseg.raster.remote import is_remote

MAX_BYTES = 128 * 1024**2
"""Largest file read: a piece has some 500 bytes."""

MAX_ELEMENTS = 2_000_000
"""Most elements of it: a piece has six to nine."""

_MAX_DEPTH = 16
_MOST_PX = 2**40
"""So many are more than any raster may have."""

_EXACT_PX = 0.01
"""Rectangles that are this near to whole pixels are meant to be on them; gdalbuildvrt rounds."""

_DTYPES = {"Byte": "uint8"} | {
    name: name.lower()
    for name in (
        *("Int8", "UInt8", "Int16", "UInt16", "Int32", "UInt32", "Int64", "UInt64"),
        *("Float32", "Float64"),
    )
}
_HARMLESS = {
    *("SourceFilename", "SourceBand", "SourceProperties", "SrcRect", "DstRect"),
    *("NODATA", "UseMaskBand", "ScaleOffset", "ScaleRatio"),
}
_CURE = "gdal_translate makes one GeoTIFF of it"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A rectangle of a file that is copied to one of the mosaic.

    Attributes:
        path: the file.
        band: 1-based band of it.
        of_mask: it is the mask of that band that is copied.
        source: its pixels.
        target: those of the mosaic; as many.
        nodata: pixels of this value are not copied.
        masked: pixels that the file's mask hides are not copied.
        constant: what the pixels become, whatever the file holds.
    """

    path: Path
    band: int
    of_mask: bool
    source: Window
    target: Window
    nodata: float | None
    masked: bool
    constant: float | None


@dataclass(frozen=True, kw_only=True)
class VirtualBand:
    """A band of the mosaic.

    Attributes:
        dtype: numpy's name.
        nodata: declared value, if any.
        description: its name, if any.
        color: what it is drawn as.
        palette: colours of its values, if any.
        scale: of its values.
        offset: likewise.
        pieces: in the order they are laid over each other.
    """

    dtype: str
    nodata: float | None
    description: str | None
    color: ColorInterp
    palette: dict[int, tuple[int, int, int, int]]
    scale: float
    offset: float
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True)
class VirtualRaster:
    """A mosaic.

    Attributes:
        shape: height and width in pixels.
        crs: of ``transform``, if known.
        transform: pixel corner (col, row) to CRS (x, y); the identity when unknown.
        tags: of the file.
        bands: at least one.
        mask: where its pixels come from; ``None`` when it has none.
    """

    shape: tuple[int, int]
    crs: rasterio.crs.CRS | None
    transform: Affine
    tags: dict[str, str]
    bands: tuple[VirtualBand, ...]
    mask: tuple[Piece, ...] | None


@dataclass(slots=True)
class _Node:
    """An element of XML."""

    tag: str
    attributes: dict[str, str]
    text: str = ""
    children: list[_Node] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[_Node]:
        return (child for child in self.children if child.tag == tag)

    def get(self, tag: str) -> _Node | None:
        return next(self.all(tag), None)

    def text_of(self, tag: str) -> str | None:
        found = self.get(tag)
        return None if found is None else found.text.strip()


def read_vrt(path: Path, where: str) -> VirtualRaster:
    """Read a VRT mosaic; its pieces are not looked at.

    Args:
        path: the file.
        where: how messages call it.

    Raises:
        SceneError: it is damaged, or holds more than copies of rasters in its folder.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as reason:
        raise SceneError(f"{where} cannot be read: {reason.strerror}; check the path") from reason
    if len(content) > MAX_BYTES:
        raise SceneError(f"{where} is larger than {MAX_BYTES} bytes; make several mosaics of it")
    try:
        return _Reader(path.absolute().parent, where).raster(_parse(content))
    except expat.ExpatError as reason:
        raise SceneError(f"{where} is no XML: {reason}; make it anew with gdalbuildvrt") from reason
    except (ValueError, OverflowError) as reason:
        raise SceneError(f"{where} is damaged: {reason}; make it anew with gdalbuildvrt") from reason


def _parse(content: bytes) -> _Node:
    """The root element; raises ValueError for what no mosaic has."""
    root = _Node("", {})
    path = [root]
    left = MAX_ELEMENTS

    def start(tag: str, attributes: dict[str, str]) -> None:
        if len(path) > _MAX_DEPTH:
            raise ValueError(f"more than {_MAX_DEPTH} levels deep")
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"more than {MAX_ELEMENTS} elements")
        node = _Node(tag, attributes)
        path[-1].children.append(node)
        path.append(node)

    def end(_: str) -> None:
        path.pop()

    def text(data: str) -> None:
        path[-1].text += data

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type")

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)
    if root.children[0].tag != "VRTDataset":
        raise ValueError("it is no VRTDataset")
    return root.children[0]


@dataclass(frozen=True)
class _Reader:
    """Makes sense of the elements; ValueError is what is damaged, SceneError what is refused."""

    folder: Path
    where: str

    def raster(self, root: _Node) -> VirtualRaster:
        if kind := root.attributes.get("subClass"):
            raise self._refused(f"is a {kind}, which is more than a mosaic")
        if root.get("GCPList") is not None:
            raise self._refused("has ground control points")
        height, width = (int(root.attributes.get(key, 0)) for key in ("rasterYSize", "rasterXSize"))
        if min(height, width) < 1:
            raise ValueError("it has no pixels")
        if max(height, width) > _MOST_PX:
            raise ValueError(f"it has more than {_MOST_PX} pixels in a row or column")
        bands = tuple(self._band(node) for node in root.all("VRTRasterBand"))
        if not bands:
            raise ValueError("it has no bands")
        mask = root.get("MaskBand")
        inside = None if mask is None else mask.get("VRTRasterBand")
        numbers = root.text_of("GeoTransform")
        transform = Affine.identity()
        if numbers is not None:
            six = [float(number) for number in numbers.split(",")]
            if len(six) != 6:
                raise ValueError("its GeoTransform has not six numbers")
            transform = Affine.from_gdal(*six)
        return VirtualRaster(
            shape=(height, width),
            crs=self._crs(root.text_of("SRS")),
            transform=transform,
            tags=dict(self._tags(root)),
            bands=bands,
            mask=None if inside is None else tuple(self._pieces(inside)),
        )

    def _refused(self, why: str) -> SceneError:
        return SceneError(f"{self.where} {why}; {_CURE}")

    def _crs(self, text: str | None) -> rasterio.crs.CRS | None:
        if not text:
            return None
        if names_a_file(text):
            raise self._refused("has a CRS that leads to another file")
        try:
            return rasterio.crs.CRS.from_string(text)
        except rasterio.errors.CRSError as reason:
            raise ValueError("its CRS cannot be read") from reason

    def _tags(self, root: _Node) -> Iterator[tuple[str, str]]:
        for metadata in root.all("Metadata"):
            if not metadata.attributes.get("domain"):
                for item in metadata.all("MDI"):
                    yield item.attributes.get("key", ""), item.text

    def _band(self, node: _Node) -> VirtualBand:
        if kind := node.attributes.get("subClass"):
            raise self._refused(f"has a {kind}, which is more than a mosaic")
        told = node.attributes.get("dataType", "Byte")
        if told not in _DTYPES:
            raise self._refused(f"holds numbers of the kind {told[:40]}")
        nodata = node.text_of("NoDataValue")
        table = node.get("ColorTable")
        color = (node.text_of("ColorInterp") or "undefined").lower()
        return VirtualBand(
            dtype=_DTYPES[told],
            nodata=None if nodata is None else float(nodata),
            description=node.text_of("Description"),
            color=ColorInterp[color] if color in ColorInterp.__members__ else ColorInterp.undefined,
            palette={} if table is None else dict(enumerate(map(_color, table.all("Entry")))),
            scale=float(node.text_of("Scale") or 1.0),
            offset=float(node.text_of("Offset") or 0.0),
            pieces=tuple(self._pieces(node)),
        )

    def _pieces(self, band: _Node) -> Iterator[Piece]:
        for node in band.children:
            if node.tag in {"SimpleSource", "ComplexSource"}:
                yield self._piece(node)
            elif node.tag.endswith("Source") or node.tag.startswith("PixelFunction"):
                raise self._refused(f"has a {node.tag[:40]}, which is more than a copy of pixels")

    def _piece(self, node: _Node) -> Piece:
        name = node.get("SourceFilename")
        if name is None:
            raise ValueError("a source has no file name")
        for child in node.children:
            if child.tag not in _HARMLESS:
                raise self._refused(f"changes what it copies of {name.text[:200]} ({child.tag[:40]})")
        ratio, offset = float(node.text_of("ScaleRatio") or 1.0), float(node.text_of("ScaleOffset") or 0.0)
        if not math.isfinite(offset):
            raise ValueError("ScaleOffset is no number")
        if ratio != 0.0 and (ratio, offset) != (1.0, 0.0):
            raise self._refused(f"scales the values of {name.text[:200]}")
        source, target = self._rectangle(node, "SrcRect", name), self._rectangle(node, "DstRect", name)
        if (source.width, source.height) != (target.width, target.height):
            raise self._refused(f"shows {name.text[:200]} at another pixel size")
        band = node.text_of("SourceBand") or "1"
        nodata = node.text_of("NODATA")
        return Piece(
            path=self._inside(name),
            band=int(band.removeprefix("mask,")),
            of_mask=band.startswith("mask,"),
            source=source,
            target=target,
            nodata=None if nodata is None else float(nodata),
            masked=(node.text_of("UseMaskBand") or "false").lower() in {"true", "1", "yes"},
            constant=offset if ratio == 0.0 else None,
        )

    def _rectangle(self, node: _Node, tag: str, name: _Node) -> Window:
        found = node.get(tag)
        if found is None:
            raise self._refused(f"does not say which pixels of {name.text[:200]} it shows")
        given = [float(found.attributes.get(key, "nan")) for key in ("xOff", "yOff", "xSize", "ySize")]
        whole = [round(value) for value in given]
        if any(abs(value) > _MOST_PX for value in whole):
            raise ValueError(f"{tag} is more than {_MOST_PX} pixels away or long")
        if any(abs(value - near) > _EXACT_PX for value, near in zip(given, whole, strict=True)):
            raise self._refused(f"shows {name.text[:200]} between the pixels of its own grid")
        return Window(*whole)

    def _inside(self, name: _Node) -> Path:
        """Where a source lies, which is in the folder of the VRT or below, links followed."""
        given = Path(name.text)
        if is_remote(given):
            raise self._refused("takes pixels from a server")
        is_relative = name.attributes.get("relativeToVRT", "0") == "1"
        path = self.folder / given if is_relative else given
        shown = name.text[:200]
        try:
            if not path.is_absolute() or not path.resolve().is_relative_to(self.folder.resolve()):
                raise self._refused(f"takes pixels from {shown}, which is not in its folder")
            if not path.is_file():
                raise SceneError(
                    f"{self.where} is a mosaic of files, of which {shown} is missing; copy it too"
                )
        except OSError as reason:
            raise self._refused(f"takes pixels from {shown}, which cannot be opened") from reason
        return path


def _color(entry: _Node) -> tuple[int, int, int, int]:
    red, green, blue, alpha = (int(entry.attributes.get(f"c{i}", 255)) for i in range(1, 5))
    return red, green, blue, alpha
