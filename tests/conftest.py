"""Shared by all tests: every test starts in an empty folder, without a network or foreign GDAL settings."""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Set before anything imports torch: two test processes with two threads each would fight over two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in (
    *("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH"),
    *("GEOSEG_DEBUG", "NO_COLOR", "FORCE_COLOR"),
):
    os.environ.pop(name, None)

# A shell that starts the tests in the background has Ctrl-C ignored, in their children too.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)

_CALLS_OUT = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
"""Events of Python's sockets, and which of their arguments is the address or the host."""


def is_here(host: Any) -> bool:
    """Whether a host is this machine, by the names of it that need no look-up."""
    name = host.decode() if isinstance(host, bytes) else host
    return name in (None, "", "localhost", "::1") or str(name).startswith("127.")


def _stay_here(event: str, arguments: tuple[Any, ...], calls_out: dict[str, int] = _CALLS_OUT) -> None:
    place = calls_out.get(event)  # an argument: the module's own names are gone before the last event
    if place is None:
        return
    address = arguments[place]
    if isinstance(address, tuple):
        address = address[0]
    elif event == "socket.connect":
        return  # a socket in the file system
    if not is_here(address):
        raise PermissionError(f"a test must not ask {address} for anything")


# For the whole process, whoever opens a socket: a test that needs a network fails here, not in a year.
sys.addaudithook(_stay_here)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test inside its own ``tmp_path``, so that nothing lands in the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


GROWN_MB = 300
"""What a file of tests may leave in memory before that is looked after."""

_held_mb = 0.0


@pytest.fixture(scope="module", autouse=True)
def memory_given_back() -> Iterator[None]:
    """Give back what the tests of a file freed: glibc keeps it, and plans of memory see a full machine."""
    global _held_mb
    yield
    if _pages_mb() > _held_mb + GROWN_MB:
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
        if trim is not None:
            trim(0)
        _held_mb = _pages_mb()


def _pages_mb() -> float:
    statm = Path("/proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6 if statm.exists() else 0.0
