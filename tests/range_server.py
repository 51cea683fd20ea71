"""A web server on 127.0.0.1 that gives parts of files, remembers what it was asked for, and can misbehave."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request. ``first`` and ``last`` are the bytes of a GET with a range that was answered."""

    method: str
    path: str
    authorization: str | None
    first: int | None = None
    last: int | None = None


@dataclass(kw_only=True)
class RangeServer:
    """The server; made by :func:`serving`.

    Attributes:
        files: content by path, such as ``/scene.tif``.
        asked: requests, in order.
        headers: sent with every answer.
        hook: called with each request before it is answered; it may answer by itself and return True.
        gives_ranges: whether a range gets a part of the file, or all of it.
    """

    files: dict[str, bytes]
    asked: list[Asked] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    hook: Callable[[Any], bool | None] = lambda _: None
    gives_ranges: bool = True
    port: int = 0
    _server: ThreadingHTTPServer | None = None
    _connections: list[socket.socket] = field(default_factory=list)

    def url(self, path: str = "scene.tif", *, user: str = "", query: str = "") -> Path:
        """The address of a file, as a path."""
        return Path(f"http://{user}127.0.0.1:{self.port}/{path}{query}")

    def start(self) -> None:
        """Listen, always at the same port."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Be gone, in the midst of an answer if need be."""
        if self._server is not None:
            server, self._server = self._server, None
            server.shutdown()
            server.server_close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._connections.clear()

    @property
    def paths(self) -> set[str]:
        """What was asked for, without queries."""
        return {request.path.partition("?")[0] for request in self.asked}

    def times_sent(self, path: str = "/scene.tif") -> np.ndarray[Any, Any]:
        """How often each byte of a file was sent."""
        times = np.zeros(len(self.files[path]), int)
        for request in self.asked:
            if request.first is not None and request.last is not None and request.path.startswith(path):
                times[request.first : request.last + 1] += 1
        return times

    def _handler(owner: RangeServer) -> type[BaseHTTPRequestHandler]:  # noqa: N805
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                super().setup()
                owner._connections.append(self.connection)

            def do_GET(self) -> None:
                if owner.hook(self):
                    owner.asked.append(self.seen())
                    return
                content = owner.files.get(self.path.partition("?")[0])
                if content is None:
                    owner.asked.append(self.seen())
                    self.send_error(404)
                    return
                wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
                first, last = 0, len(content) - 1
                if wanted is not None and owner.gives_ranges:
                    first, last = int(wanted[1]), min(int(wanted[2] or last), last)
                    owner.asked.append(self.seen(first, last))
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
                else:
                    owner.asked.append(self.seen())
                    self.send_response(200)
                for key, value in owner.headers.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(last + 1 - first))
                self.end_headers()
                if self.command == "GET":
                    with contextlib.suppress(OSError):  # who asked wants no more
                        self.wfile.write(content[first : last + 1])

            do_HEAD = do_GET  # noqa: N815

            def seen(self, first: int | None = None, last: int | None = None) -> Asked:
                return Asked(
                    method=self.command,
                    path=self.path,
                    authorization=self.headers.get("Authorization"),
                    first=first,
                    last=last,
                )

            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle()

            def finish(self) -> None:
                with contextlib.suppress(OSError):
                    super().finish()

            def log_message(self, *_: object) -> None:
                pass

        return Handler


@contextlib.contextmanager
def serving(files: dict[str, bytes]) -> Iterator[RangeServer]:
    """A server of some files while the block runs."""
    server = RangeServer(files=files)
    server.start()
    try:
        yield server
    finally:
        server.stop()
