"""Drives a Chromium that happens to be installed, over its debugging pipe, with the standard library only."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATH = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)
_START = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_TIMEOUT_S = 60.0


class Page:
    """One tab; what it asks for and complains about is kept.

    Attributes:
        requests: addresses that were asked for, ``data:`` and ``blob:`` left out.
        complaints: errors and warnings of the console, exceptions, and blocked resources.
    """

    def __init__(self, folder: Path, *, width: int = 1200, height: int = 900, touch: bool = False) -> None:
        """Start a browser whose profile is in ``folder``."""
        assert PATH is not None
        self.requests: list[str] = []
        self.complaints: list[str] = []
        out_r, out_w = (_high(fd) for fd in os.pipe())
        in_r, in_w = (_high(fd) for fd in os.pipe())
        flags = [
            "--headless=new",
            "--remote-debugging-pipe",
            "--disable-gpu",
            "--no-first-run",
            "--mute-audio",
            "--disable-background-networking",
            "--disable-component-update",
            f"--user-data-dir={folder}",
        ]
        flags += ["--no-sandbox", "--disable-dev-shm-usage"] if os.geteuid() == 0 else []
        command = [sys.executable, "-c", _START, str(in_r), str(out_w), PATH, *flags, "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(in_r, out_w), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(in_r)
        os.close(out_w)
        self._in, self._out, self._rest, self._last = in_w, out_r, b"", 0
        self._session: str | None = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=touch,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None
        try:
            self.call("Browser.close")
            self._process.wait(10)
        except (OSError, AssertionError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        os.close(self._in)
        os.close(self._out)

    def call(self, method: str, /, **params: Any) -> Any:
        """Ask the browser something."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._in, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + _TIMEOUT_S
        while True:
            answer = self._receive(until)
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _receive(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._out], [], [], max(0.0, until - time.monotonic()))
            assert ready, "the browser does not answer"
            part = os.read(self._out, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            url = params["request"]["url"]
            if not url.startswith(("data:", "blob:", "about:")):
                self.requests.append(url)
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"]))
        elif (method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning"}) or (
            method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}
        ):
            self.complaints.append(json.dumps(params))

    def open(self, url: str) -> None:
        """Go to an address, and wait until tiles of the map are there."""
        self.call("Page.navigate", url=url)
        self.wait(
            "document.readyState === 'complete' && document.querySelector('.leaflet-tile-loaded') !== null"
        )

    def run(self, script: str) -> Any:
        """The value of an expression on the page; a promise is waited for."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + _TIMEOUT_S
        while not self.run(condition):
            assert time.monotonic() < until, f"never came true: {condition}"
            time.sleep(0.05)

    def click(self, x: float, y: float) -> None:
        """Press and release the mouse at a point of the window."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press and release a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)

    def picture(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])


def _high(fd: int) -> int:
    """The same file under a number that the browser's own do not collide with."""
    moved = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(fd)
    return moved
