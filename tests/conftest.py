"""Shared by all tests: every test starts in an empty folder and finds no foreign GDAL or PROJ settings."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

# Set before anything imports torch: two test processes with two threads each would fight over two cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
for name in ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GEOSEG_DEBUG", "NO_COLOR", "FORCE_COLOR"):
    os.environ.pop(name, None)

# A shell that starts the tests in the background has Ctrl-C ignored, in their children too.
if (
    threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run the test inside its own ``tmp_path``, so that nothing lands in the checkout."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
