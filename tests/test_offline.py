"""Nothing asks a network for anything; the tests themselves cannot (see ``conftest``)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

UNSHARE = shutil.which("unshare")


def without_network() -> bool:
    """Whether a process can be run without any network interface."""
    return (
        UNSHARE is not None and subprocess.run([UNSHARE, "-n", "true"], capture_output=True).returncode == 0
    )


@pytest.mark.parametrize("host", ["192.0.2.1", "example.org", "2001:db8::1"])
def test_tests_cannot_call_out(host: str) -> None:
    with pytest.raises(PermissionError, match="must not ask"):
        socket.create_connection((host, 80), timeout=1)


def test_tests_cannot_send_a_datagram() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        pytest.raises(PermissionError, match="must not ask"),
    ):
        datagrams.sendto(b"", ("192.0.2.1", 53))


def test_tests_can_call_themselves() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname()).close()


@pytest.mark.slow
@pytest.mark.skipif(not without_network(), reason="needs the right to make a network namespace")
def test_the_whole_way_without_a_network_interface(in_empty_folder: Path) -> None:
    """Not even loopback: what C libraries might ask for is seen too."""
    assert UNSHARE is not None
    words = [UNSHARE, "-n", sys.executable, "-m", "geoseg_cli", "-q", "demo", "--quick", "--output", "demo"]
    done = subprocess.run(words, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": ""})
    assert (done.returncode, done.stderr) == (0, "")
    assert (in_empty_folder / "demo" / "parcels.gpkg").stat().st_size > 0
