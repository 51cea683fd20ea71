"""The few functions of rasterio's GDAL that rasterio does not pass on, called directly.

Options: rasterio sets one for the process when it is asked in the main thread, but for one thread when it is
asked in any other. Here the caller says which of the two it is.

Files on servers: what a server tells of a file, and its first bytes, through the very connection, proxies,
certificates and credentials that GDAL will read it with.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import rasterio._env


def _function(name: str, result: Any, *arguments: Any) -> Any:
    """A function of GDAL; ``None`` where the symbols of linked libraries are out of reach, as on Windows."""
    # Looking into rasterio's own module finds the GDAL it is linked to, wherever that lies.
    found = getattr(_library, name, None)
    if found is not None:
        found.restype, found.argtypes = result, arguments
    return found


_library = ctypes.CDLL(rasterio._env.__file__)
_text, _handle = ctypes.c_char_p, ctypes.c_void_p

_set_option = _function("CPLSetConfigOption", None, _text, _text)
_set_thread_option = _function("CPLSetThreadLocalConfigOption", None, _text, _text)
_get_thread_option = _function("CPLGetThreadLocalConfigOption", _text, _text, _text)
_metadata = _function("VSIGetFileMetadata", ctypes.POINTER(_text), _text, _text, _handle)
_free_list = _function("CSLDestroy", None, _handle)
_open = _function("VSIFOpenExL", _handle, _text, _text, ctypes.c_int)
_read = _function("VSIFReadL", ctypes.c_size_t, _handle, ctypes.c_size_t, ctypes.c_size_t, _handle)
_close = _function("VSIFCloseL", ctypes.c_int, _handle)
_forget = _function("VSICurlPartialClearCache", None, _text)
_reset_error = _function("CPLErrorReset", None)
_reset_file_error = _function("VSIErrorReset", None)
_last_error = _function("CPLGetLastErrorMsg", _text)
_last_file_error = _function("VSIGetLastErrorMsg", _text)

_push_handler = _function("CPLPushErrorHandler", None, _handle)
_pop_handler = _function("CPLPopErrorHandler", None)
_parse_xml = _function("CPLParseXMLString", _handle, _text)
_free_xml = _function("CPLDestroyXMLNode", None, _handle)
_open_dataset = _function("GDALOpenEx", _handle, _text, ctypes.c_uint, *(ctypes.POINTER(_text),) * 3)
_close_dataset = _function("GDALClose", ctypes.c_int, _handle)
_band = _function("GDALGetRasterBand", _handle, _handle, ctypes.c_int)
_mask_flags = _function("GDALGetMaskFlags", ctypes.c_int, _handle)
_mask_band = _function("GDALGetMaskBand", _handle, _handle)
_overview_count = _function("GDALGetOverviewCount", ctypes.c_int, _handle)
_overview = _function("GDALGetOverview", _handle, _handle, ctypes.c_int)
_width = _function("GDALGetRasterBandXSize", ctypes.c_int, _handle)
_height = _function("GDALGetRasterBandYSize", ctypes.c_int, _handle)
_block_size = _function("GDALGetBlockSize", None, _handle, *(ctypes.POINTER(ctypes.c_int),) * 2)
_data_type = _function("GDALGetRasterDataType", ctypes.c_int, _handle)
_type_bytes = _function("GDALGetDataTypeSizeBytes", ctypes.c_int, ctypes.c_int)

_NEEDED = (
    *(_set_thread_option, _get_thread_option, _metadata, _free_list, _open, _read, _close, _forget),
    *(_reset_error, _reset_file_error, _last_error, _last_file_error),
)

can_ask_servers = all(function is not None for function in _NEEDED)
"""Whether all but :func:`set_option` can be called here."""


def set_option(key: str, value: str | int) -> None:
    """Set an option for all threads of the process."""
    # rasterio knows which of them want more than a text.
    rasterio._env.set_gdal_config(key, value)
    if _set_option is not None:
        _set_option(key.encode(), str(value).encode())


@contextlib.contextmanager
def thread_options(options: Mapping[str, str]) -> Iterator[None]:
    """Set options for this thread while the block runs; they go before those of the process."""
    before = {key: _get_thread_option(key.encode(), None) for key in options}
    try:
        for key, value in options.items():
            _set_thread_option(key.encode(), value.encode())
        yield
    finally:
        for key, own in before.items():
            _set_thread_option(key.encode(), own)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    _push_handler(ctypes.cast(_library.CPLQuietErrorHandler, ctypes.c_void_p))
    try:
        yield
    finally:
        _pop_handler()


def is_xml(content: bytes) -> bool:
    """Whether GDAL can read a text as XML; ``True`` where that cannot be asked here."""
    if _parse_xml is None or _free_xml is None:
        return True
    with _quiet():
        root = _parse_xml(content)
    if root:
        _free_xml(root)
    return bool(root)


_OF_RASTER = 2
_PER_DATASET = 2


@dataclass(frozen=True, kw_only=True)
class Part:
    """An overview or a mask, as GDAL sees it.

    Attributes:
        kind: which of the two.
        width, height: its pixels.
        block_width, block_height: of its blocks.
        block_bytes: of a block of one band.
    """

    kind: Literal["overview", "mask"]
    width: int
    height: int
    block_width: int
    block_height: int
    block_bytes: int


def parts(name: str, driver: str) -> list[Part]:
    """Overviews and mask of the first band of a raster, and overviews of the mask.

    None where GDAL's functions are out of reach, or the raster cannot be opened.
    """
    if _open_dataset is None or _block_size is None:
        return []
    with _quiet():
        drivers = (_text * 2)(driver.encode(), None)
        dataset = _open_dataset(name.encode("utf-8", "surrogateescape"), _OF_RASTER, drivers, None, None)
        if not dataset:
            return []
        try:
            band = _band(dataset, 1)
            found = [_part("overview", each) for each in _overviews(band)]
            if _mask_flags(band) in {0, _PER_DATASET}:
                mask = _mask_band(band)
                found += [_part("mask", mask), *(_part("overview", each) for each in _overviews(mask))]
            return found
        finally:
            _close_dataset(dataset)


def _overviews(band: Any) -> list[Any]:
    every = (_overview(band, at) for at in range(_overview_count(band)))
    return [each for each in every if each]


def _part(kind: Literal["overview", "mask"], band: Any) -> Part:
    wide, high = ctypes.c_int(), ctypes.c_int()
    _block_size(band, ctypes.byref(wide), ctypes.byref(high))
    return Part(
        kind=kind,
        width=_width(band),
        height=_height(band),
        block_width=wide.value,
        block_height=high.value,
        block_bytes=wide.value * high.value * _type_bytes(_data_type(band)),
    )


class NoAnswerError(Exception):
    """A server did not give what it was asked for; the text is GDAL's."""


def headers(name: str) -> dict[str, str]:
    """What a server tells of a file right now, by lower-case name.

    Raises:
        NoAnswerError: nothing that makes sense.
    """
    _reset()
    found = _metadata(name.encode(), b"HEADERS", None)
    if not found:
        raise NoAnswerError(_words())
    told: dict[str, str] = {}
    try:
        index = 0
        while line := found[index]:
            key, _, value = line.decode("utf-8", "replace").partition("=")
            told[key.strip().lower()] = value.strip()
            index += 1
    finally:
        _free_list(found)
    return told


def first_bytes(name: str, count: int) -> bytes:
    """Up to ``count`` bytes from the beginning of a file.

    Raises:
        NoAnswerError: the file cannot be opened.
    """
    _reset()
    handle = _open(name.encode(), b"rb", 1)
    if not handle:
        raise NoAnswerError(_words())
    try:
        buffer = ctypes.create_string_buffer(count)
        got = _read(buffer, 1, count, handle)
        if not got:
            raise NoAnswerError(_words())
        return buffer.raw[:got]
    finally:
        _close(handle)


def forget(name: str) -> None:
    """Drop what GDAL remembers of a file on a server: its size, its bytes, and that it was not there."""
    _forget(name.encode())


def _reset() -> None:
    _reset_error()
    _reset_file_error()


def _words() -> str:
    """What GDAL said last, in this thread."""
    texts = (_last_file_error(), _last_error())
    return next((text.decode("utf-8", "replace") for text in texts if text), "")
