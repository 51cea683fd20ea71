"""What a file is by its first bytes, before any GDAL sees it.

GDAL goes by content, whatever the suffix says: a VRT or MRF called ``scene.tif`` would be opened as what it
is, and read or write other files. So geoseg looks first and then names the one driver that may open the file.
"""

from __future__ import annotations

import stat
from pathlib import Path

from geoseg.errors import InputError
from geoseg.raster.remote import is_remote, not_local

HEAD_BYTES = 4096

RASTER_DRIVERS = ("GTiff", "JP2OpenJPEG", "HFA", "PNG", "JPEG")
"""GDAL drivers that may open a scene, a mask or raster labels."""

VECTOR_DRIVERS = ("GPKG", "GeoJSON", "GeoJSONSeq", "ESRI Shapefile", "FlatGeobuf")
"""GDAL drivers that may open vector labels."""

GEOPARQUET = "GeoParquet"

_RASTER_MAGIC = (
    (b"II*\x00", "GTiff"),
    (b"MM\x00*", "GTiff"),
    (b"II+\x00", "GTiff"),
    (b"MM\x00+", "GTiff"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JP2OpenJPEG"),
    (b"\xff\x4f\xff\x51", "JP2OpenJPEG"),
    (b"EHFA_HEADER_TAG", "HFA"),
)
_VECTOR_MAGIC = (
    (b"SQLite format 3\x00", "GPKG"),
    (b"fgb\x03", "FlatGeobuf"),
    (b"\x00\x00\x27\x0a", "ESRI Shapefile"),
    (b"PAR1", GEOPARQUET),
)
_JSON_SUFFIXES = {".geojsonl": "GeoJSONSeq", ".geojsons": "GeoJSONSeq", ".ndjson": "GeoJSONSeq"}


def read_head(path: Path, *, what: str, error: type[InputError]) -> bytes:
    """First bytes of a regular local file.

    Args:
        path: what the user named.
        what: ``scene``, ``labels``, ... for the message.
        error: class of the error raised.

    Raises:
        InputError: ``path`` is remote, missing, a folder, a pipe or a device, or not readable.
    """
    if is_remote(path) or path.absolute().as_posix().startswith("/vsi"):
        raise not_local(path, what=what, error=error)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise error(f"{what} {path} is a folder; name a file")
        if not stat.S_ISREG(mode):
            raise error(f"{what} {path} is not a regular file; name a file on disk")
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except NotADirectoryError as inside:
        raise error(f"{what} {path} is inside of a file; unpack it first") from inside
    except FileNotFoundError as missing:
        raise error(f"{what} {path} does not exist; check the path") from missing
    except (OSError, ValueError) as unreadable:
        # ValueError: a NUL in the path. OSError: no permission, name too long (inline XML as a path), ...
        reason = getattr(unreadable, "strerror", None) or str(unreadable)
        shown = str(path) if len(str(path)) <= 200 else f"{str(path)[:200]}..."
        raise error(f"{what} {_one_line(shown)} cannot be opened: {reason}; check the path") from unreadable


def raster_driver(head: bytes) -> str | None:
    """GDAL driver of the raster that starts with ``head``, or ``None`` when geoseg reads no such raster."""
    return next((driver for magic, driver in _RASTER_MAGIC if head.startswith(magic)), None)


def is_mosaic(head: bytes, path: Path) -> bool:
    """Whether a file is called, and looks like, a VRT of rasters; which is not for GDAL to open."""
    return path.suffix.lower() == ".vrt" and b"<VRTDataset" in head


def is_raster(head: bytes, path: Path) -> bool:
    """Whether geoseg reads the file as a raster."""
    return raster_driver(head) is not None or is_mosaic(head, path)


def vector_driver(head: bytes, suffix: str) -> str | None:
    """GDAL driver (or :data:`GEOPARQUET`) of the vector file, or ``None`` when geoseg reads no such file."""
    for magic, driver in _VECTOR_MAGIC:
        if head.startswith(magic):
            return driver
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n\x1e")
    if text.startswith(b"{") and not _is_utf_16(head):
        return _JSON_SUFFIXES.get(suffix.lower(), "GeoJSON")
    return None


def _is_utf_16(head: bytes) -> bool:
    letters = {head[0:4:2]: head[1:4:2], head[1:4:2]: head[0:4:2]}.get(b"\0\0", b"\0")
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or (letters.isascii() and b"\0" not in letters)


def describe(head: bytes) -> str:
    """What a refused file looks like, for the error line."""
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head:
        return "an empty file"
    if b"<VRTDataset" in text or b"<OGRVRTDataSource" in text:
        return "a VRT, which can make GDAL read any other file"
    if text[:14].lower().startswith((b"<!doctype html", b"<html")):
        return "a web page"
    if text.startswith(b"<"):
        return "an XML file"
    if _is_utf_16(head):
        return "text in UTF-16"
    if head.startswith(b"PK\x03\x04"):
        return "a ZIP archive"
    if head.startswith((b"\x89HDF", b"CDF\x01", b"CDF\x02")):
        return "an HDF or NetCDF file"
    return "of an unknown format"


def cure(head: bytes, otherwise: str) -> str:
    """What to do about a refused file, for the error line; ``otherwise`` where its kind suggests nothing."""
    kind = describe(head)
    if kind.startswith("a VRT"):
        return "write it as one GeoTIFF with gdal_translate"
    if kind == "a ZIP archive":
        return "unpack it first"
    if kind == "an HDF or NetCDF file":
        return "write what you need of it as a GeoTIFF with gdal_translate"
    return otherwise


def _one_line(text: str) -> str:
    return " ".join(text.split())
