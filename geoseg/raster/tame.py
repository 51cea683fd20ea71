"""Makes the GDALs of the process safe and quiet.

rasterio and pyogrio bundle a GDAL each (3.10 and 3.12 today). In both:

- every driver outside a short allow-list is taken out, so that a hostile file cannot be a VRT, MRF or WMS
  under another name (nor can a sidecar be one), and nothing but what geoseg reads and writes is parsed;
- no network: curl is refused every name and pointed at a dead proxy (which also stops CRS look-ups by URL);
  :mod:`geoseg.raster.server` alone lifts that, for one file the user named, and one thread at a time;
- messages of GDAL's own threads and libraries, which no Python handler sees, do not reach the terminal.

This holds for the whole process: a program that imports geoseg loses the other drivers.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import rasterio
import rasterio._env

from geoseg.raster import formats, libgdal
from geoseg.raster.lean import pyogrio

CACHE_BYTES = 128 * 1024**2

_OPTIONS: dict[str, str | int] = {
    "CPL_VSIL_CURL_ALLOWED_FILENAME": "none",
    "GDAL_HTTP_PROXY": "127.0.0.1:9",
    # Goes before the other one where the user's environment has it.
    "GDAL_HTTPS_PROXY": "127.0.0.1:9",
    "GDAL_CACHEMAX": CACHE_BYTES,
    # A JPEG cut short is a warning to libjpeg, which goes on with grey.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    # Where GDAL writes when no handler of ours is installed, as in its own threads.
    "CPL_LOG": os.environ.get("CPL_LOG", os.devnull),
}
_RASTER_SIDE_DRIVERS = ("COG", "MEM")


def _tame_rasterio() -> None:
    for key, value in _OPTIONS.items():
        # Whoever imports this first may be any thread, such as a dask worker's.
        libgdal.set_option(key, value)
    with rasterio.Env() as env:
        drivers = set(env.drivers())
    unwanted = drivers - {*formats.RASTER_DRIVERS, *_RASTER_SIDE_DRIVERS}
    libgdal.set_option("GDAL_SKIP", ",".join(sorted(unwanted)))
    # GDAL takes the skipped drivers out whenever it registers; rasterio registers once unless this is unset.
    # Asking GDAL for its list first keeps it from complaining about names that it does not know.
    rasterio._env._have_registered_drivers = False
    with rasterio.Env():
        pass


def _silence_libtiff() -> None:
    """Take out the handlers by which libtiff itself prints, past GDAL: "_tiffWriteProc: File too large"."""
    packages = Path(rasterio.__file__).parent.parent
    for library in [*packages.glob("rasterio.libs/libtiff*"), *packages.glob("rasterio/.dylibs/libtiff*")]:
        libtiff = ctypes.CDLL(str(library))  # the one rasterio has loaded, not a second one
        libtiff.TIFFSetErrorHandler(None)
        libtiff.TIFFSetWarningHandler(None)


def _tame_pyogrio() -> None:
    pyogrio.set_gdal_config_options(_OPTIONS)
    unwanted = set(pyogrio.list_drivers()) - {*formats.VECTOR_DRIVERS, "MEM"}
    pyogrio.set_gdal_config_options({"GDAL_SKIP": ",".join(sorted(unwanted))})
    # Registers again, now without the skipped drivers.
    importlib.reload(pyogrio.core)


def tame() -> None:
    """Make both GDALs safe and quiet."""
    _tame_rasterio()
    _silence_libtiff()
    _tame_pyogrio()
    _silence_undecodable_messages()


def _silence_undecodable_messages() -> None:
    """Drop the errors that rasterio's message handler has with text that is not UTF-8, as in damaged files.

    They cannot be caught: Cython prints them, by both of Python's hooks.
    """
    unraisable_before, uncaught_before = sys.unraisablehook, sys.excepthook

    def unraisable(event: Any) -> None:
        if not (isinstance(event.exc_value, UnicodeDecodeError) and "log_error" in str(event.object)):
            unraisable_before(event)

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        # One raised by Python code has a traceback.
        if kind is not UnicodeDecodeError or trace is not None:
            uncaught_before(kind, error, trace)

    sys.unraisablehook, sys.excepthook = unraisable, uncaught


_stderr_lock = threading.Lock()


@contextlib.contextmanager
def stderr_turned_away() -> Iterator[None]:
    """Send what C libraries print to file descriptor 2 nowhere, for the moment of an open.

    libgeotiff complains there about damaged keys, past every handler.
    """
    with _stderr_lock, contextlib.ExitStack() as stack:
        try:
            saved = os.dup(2)
        except OSError:
            saved = -1  # started without stderr
        if saved >= 0:
            stack.callback(os.close, saved)
            stack.callback(os.dup2, saved, 2)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 2)
            os.close(nowhere)
        yield
