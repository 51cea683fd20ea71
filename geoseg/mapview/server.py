"""The map for scenes of any size: a server on this computer, for one browser, that draws tiles when asked.

It listens on 127.0.0.1 alone, and answers only who knows a random token in the address and calls it by its
own name: a web page that is open in the same browser knows no token, and one that turns its own name into
127.0.0.1 (DNS rebinding) brings that name along. Nothing is read by a name from the address: layers and tiles
have numbers, and those are looked up among what the user opened.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from geoseg.errors import GeosegError
from geoseg.mapview.atlas import Atlas, VectorView
from geoseg.mapview.document import MOST_ENLARGED, served_policy
from geoseg.mapview.parcels import STEPS_A_PIXEL, TOLERANCE_PX
from geoseg.mapview.pyramid import TILE_PX
from geoseg.mapview.sureness import packed, scores_of

HOST = "127.0.0.1"
MAX_ADDRESS = 200
"""Most characters of what is asked for; the longest address the page uses is a third of it."""

MAX_TILE_POLYGONS = 4000
"""Most polygons in a tile; of more, the largest are drawn."""

MAX_SHAPE_BYTES = 200_000
CACHE_BYTES = 64 * 1024**2
TIMEOUT_S = 20.0
AT_ONCE = 4
"""Most answers that are made at the same time; others wait."""

_MARGIN_PX = 8
_TILE = re.compile(r"(r|v)/(\d{1,2})/(-?\d{1,2})/(\d{1,6})/(\d{1,6})")
_FEATURE = re.compile(r"f/(\d{1,2})/(\d{1,9})/(-?\d{1,2})")
_NEXT = re.compile(r"n/(\d{1,2})/(\d{1,9})/(\d{1,3})")
_SCORES = re.compile(r"s/(\d{1,2})")

Answer = tuple[str, bytes]
"""Type and content."""


class Tiles:
    """Makes what the page asks for; may be called by several threads at once."""

    def __init__(self, atlas: Atlas, document: str) -> None:
        """Of open files, and the page itself."""
        self._atlas = atlas
        self._page = document.encode("utf-8")
        # An open file is read by one thread at a time.
        self._locks = [threading.Lock() for _ in atlas.rasters]
        self._orders = [np.argsort(-view.parcels.area_px, kind="stable") for view in atlas.vectors]
        self._kept: OrderedDict[str, Answer] = OrderedDict()
        self._kept_bytes = 0
        self._kept_lock = threading.Lock()

    def answer(self, asked: str) -> Answer | None:
        """What lies at an address below the token; ``None`` when nothing does.

        Raises:
            GeosegError: a file is damaged.
        """
        if asked == "":
            return "text/html; charset=utf-8", self._page
        with self._kept_lock:
            if asked in self._kept:
                self._kept.move_to_end(asked)
                return self._kept[asked]
        made = self._make(asked)
        if made is not None:
            self._keep(asked, made)
        return made

    def _make(self, asked: str) -> Answer | None:
        if found := _TILE.fullmatch(asked):
            kind, layer, level, column, row = found[1], *(int(part) for part in found.groups()[1:])
            return (
                self._raster(layer, level, column, row)
                if kind == "r"
                else self._vector(layer, level, column, row)
            )
        if found := _FEATURE.fullmatch(asked):
            return self._feature(*(int(part) for part in found.groups()))
        if found := _NEXT.fullmatch(asked):
            return self._next(*(int(part) for part in found.groups()))
        if found := _SCORES.fullmatch(asked):
            return self._scores(int(found[1]))
        return None

    def _keep(self, asked: str, made: Answer) -> None:
        with self._kept_lock:
            if asked in self._kept:
                return
            self._kept[asked] = made
            self._kept_bytes += len(made[1])
            while self._kept_bytes > CACHE_BYTES:
                self._kept_bytes -= len(self._kept.popitem(last=False)[1][1])

    def _raster(self, layer: int, level: int, column: int, row: int) -> Answer | None:
        if layer >= len(self._atlas.rasters) or not self._atlas.pyramid.has(level, column, row):
            return None
        view = self._atlas.rasters[layer]
        with self._locks[layer]:
            made = view.layer.tile(level, column, row)
        return "image/png" if made.startswith(b"\x89PNG") else "image/jpeg", made

    def _vector(self, layer: int, level: int, column: int, row: int) -> Answer | None:
        view = self._view(layer)
        if view is None or not self._is_level(level):
            return None
        pixel = 2.0**level
        side, (height, width) = TILE_PX * pixel, self._atlas.pyramid.shape
        left, top = column * side, row * side
        if left >= width or top >= height:
            return None
        margin = _MARGIN_PX * pixel
        box = (left - margin, top - margin, left + side + margin, top + side + margin)
        found = view.parcels.within(box, level)
        made = view.parcels.strokes(
            found[:MAX_TILE_POLYGONS],
            step_px=pixel / STEPS_A_PIXEL,
            tolerance_px=TOLERANCE_PX * pixel,
            origin=(left, top),
            box=box,
        )
        # The first byte tells whether there are more.
        return "application/octet-stream", bytes([len(found) > MAX_TILE_POLYGONS]) + made

    def _feature(self, layer: int, number: int, level: int) -> Answer | None:
        view = self._view(layer)
        if view is None or not self._is_level(level) or number >= len(view.parcels):
            return None
        return self._told(view, number, level)

    def _next(self, layer: int, rank: int, percent: int) -> Answer | None:
        """The polygon with that rank by size, of those whose score is not below a percentage."""
        view = self._view(layer)
        if view is None:
            return None
        order, scores = self._orders[layer], scores_of(view.parcels)
        if scores is not None:
            order = order[~(scores[order] < percent / 100)]
        return None if not len(order) else self._told(view, int(order[rank % len(order)]), 0)

    def _scores(self, layer: int) -> Answer | None:
        """Scores of all polygons of a layer."""
        view = self._view(layer)
        scores = None if view is None else scores_of(view.parcels)
        return None if scores is None else ("application/octet-stream", packed(scores))

    def _told(self, view: VectorView, number: int, level: int) -> Answer:
        parcels, pixel = view.parcels, 2.0**level
        chosen = np.array([number])
        while True:
            step = pixel / STEPS_A_PIXEL
            strokes = parcels.strokes(chosen, step_px=step, tolerance_px=TOLERANCE_PX * pixel)
            if len(strokes) <= MAX_SHAPE_BYTES:
                break
            pixel *= 2
        told = {
            "number": number,
            "class": int(parcels.class_ids[number]),
            "rows": parcels.attributes(number),
            "bounds": [round(float(value), 2) for value in parcels.bounds[number]],
            "step": step,
            "strokes": strokes.hex(),
        }
        text = json.dumps(told, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return "application/json", text.encode("ascii")

    def _view(self, layer: int) -> VectorView | None:
        return self._atlas.vectors[layer] if layer < len(self._atlas.vectors) else None

    def _is_level(self, level: int) -> bool:
        return -MOST_ENLARGED <= level <= self._atlas.pyramid.coarsest


class MapServer(ThreadingHTTPServer):
    """Serves one map until it is closed.

    Attributes:
        url: what to open in a browser.
    """

    daemon_threads = True
    # Another program that listens on the port is told of, not joined.
    allow_reuse_address = False
    request_queue_size = 64

    def __init__(self, tiles: Tiles, *, port: int = 0, fail: Callable[[str], None]) -> None:
        """Listen on 127.0.0.1.

        Args:
            tiles: what is served.
            port: 0 takes a free one.
            fail: told, in a line, what could not be read.

        Raises:
            OSError: the port is taken.
        """
        self.tiles = tiles
        self.token = secrets.token_urlsafe(24)
        self.slots = threading.BoundedSemaphore(AT_ONCE)
        self.fail = fail
        self.policy = served_policy()
        super().__init__((HOST, port), _Handler)
        port = self.server_address[1]
        self.hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        self.url = f"http://{HOST}:{port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away, as it does when one zooms on, is no news."""


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: MapServer
    protocol_version = "HTTP/1.1"
    timeout = TIMEOUT_S
    server_version = "geoseg"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        refused = self._refused()
        if refused is not None:
            self._send(refused, "text/plain; charset=utf-8", refused.phrase.encode("ascii"))
            return
        try:
            with self.server.slots:
                made = self.server.tiles.answer(self.path.removeprefix(f"/{self.server.token}/"))
        except GeosegError as error:
            self.server.fail(str(error))
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", b"cannot be read")
            return
        if made is None:
            self._send(HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", b"Not Found")
            return
        self._send(HTTPStatus.OK, *made)

    def _refused(self) -> HTTPStatus | None:
        """Why nothing is looked up, if nothing is."""
        if len(self.path) > MAX_ADDRESS:
            return HTTPStatus.REQUEST_URI_TOO_LONG
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            return HTTPStatus.MISDIRECTED_REQUEST
        if self.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
            return HTTPStatus.FORBIDDEN
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            # What would follow the headers is not read, so the connection cannot go on.
            self.close_connection = True
            return HTTPStatus.BAD_REQUEST
        token = urlsplit(self.path).path.split("/")[1] if self.path.startswith("/") else ""
        if not secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode("ascii")):
            return HTTPStatus.NOT_FOUND
        return None if self.path.startswith(f"/{self.server.token}/") else HTTPStatus.NOT_FOUND

    def _send(self, status: HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", self.server.policy)
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, *_: object) -> None:
        """What the standard library refuses by itself: other methods, malformed and endless requests."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self.close_connection = True
        self._send(status, "text/plain; charset=utf-8", status.phrase.encode("ascii"))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: the addresses hold the token."""
