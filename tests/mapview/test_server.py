"""``geoseg view``: what the server answers, to whom, and what it refuses."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from maps_of_tests import NOTE, read_strokes, write_map

from geoseg.errors import InputError, ReadError
from geoseg.mapview.atlas import Sources, open_atlas
from geoseg.mapview.document import document
from geoseg.mapview.layers import ImageLayer
from geoseg.mapview.server import HOST, MapServer, Tiles
from geoseg.mapview.tally import count_some
from geoseg.page.markup import visible
from geoseg.view import view


@contextlib.contextmanager
def served(folder: Path) -> Iterator[MapServer]:
    scene, mask, parcels = write_map(folder)
    with open_atlas(Sources(scene=scene, mask=mask, parcels=parcels)) as atlas:
        assert atlas.mask is not None
        tiles = Tiles(atlas, document(atlas, tally=count_some(atlas.mask)))
        failed: list[str] = []
        with MapServer(tiles, fail=failed.append) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()
        assert failed == []


class Answer:
    def __init__(
        self, server: MapServer, path: str, *, method: str = "GET", host: str | None = None, **headers: str
    ):
        port = server.server_address[1]
        connection = http.client.HTTPConnection(HOST, port, timeout=20)
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_host=True)
            connection.putheader("Host", host or f"{HOST}:{port}")
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders()
            answer = connection.getresponse()
            self.status, self.headers, self.content = answer.status, answer.headers, answer.read()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MapServer]:
    with served(tmp_path) as found:
        yield found


def test_page_tiles_outlines_and_attributes(server: MapServer) -> None:
    root = f"/{server.token}/"
    page = Answer(server, root)
    assert page.status == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b'id="map"' in page.content
    assert Answer(server, f"{root}r/0/0/0/0").content.startswith(b"\xff\xd8")
    assert Answer(server, f"{root}r/1/1/0/0").content.startswith(b"\x89PNG")
    outlines = Answer(server, f"{root}v/0/0/0/0").content
    assert outlines[0] == 0  # none left out
    assert [number for number, _, _ in read_strokes(outlines[1:])] == [0, 1]
    told = json.loads(Answer(server, f"{root}f/0/0/0").content)
    assert ["area_m2", 14600.0] in told["rows"]
    assert told["bounds"] == [150, 100, 450, 300]
    ((_, _, rings),) = read_strokes(bytes.fromhex(told["strokes"]))
    assert sorted(rings[0]) == sorted(
        (int(x / told["step"]), int(y / told["step"])) for x in (150, 450) for y in (100, 300)
    )
    # By size: the first is the largest, and after the last comes the first.
    ranked = [json.loads(Answer(server, f"{root}n/0/{rank}/0").content)["number"] for rank in range(3)]
    assert ranked == [0, 1, 0]
    # Of those that are sure enough; and all scores, two bytes each.
    assert json.loads(Answer(server, f"{root}n/0/0/42").content)["number"] == 1
    assert Answer(server, f"{root}n/0/0/91").status == 404
    assert np.frombuffer(Answer(server, f"{root}s/0").content, "<u2").tolist() == [4150, 9000]
    note = dict(json.loads(Answer(server, f"{root}f/0/0/0").content)["rows"])["note"]
    assert note == visible(NOTE)


def test_head_has_no_content(server: MapServer) -> None:
    answer = Answer(server, f"/{server.token}/", method="HEAD")
    assert (answer.status, answer.content) == (200, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/favicon.ico",
        "/wrong/",
        "/{wrong}/",
        "/{token}",
        "/{token}x/",
        "//{token}//",
        "/{token}/../../etc/passwd",
        "/{token}/..%2f..%2fetc/passwd",
        "/{token}/r/../scene.tif",
        "/{token}/scene.tif",
        "/{token}/r/0/0/0/0/",
        "/{token}/r/0/0/0/0?x=1",
        "/{token}/r/9/0/0/0",
        "/{token}/r/0/2/0/0",
        "/{token}/r/0/99/0/0",
        "/{token}/r/0/-1/0/0",
        "/{token}/r/0/0/2/0",
        "/{token}/r/0/0/999999/999999",
        "/{token}/r/0/0/0/\u0663",
        "/{token}/v/0/-5/0/0",
        "/{token}/v/0/-99/0/0",
        "/{token}/v/0/0/2/0",
        "/{token}/v/1/0/0/0",
        "/{token}/f/0/2/0",
        "/{token}/f/0/999999999/0",
        "/{token}/f/0/0/99",
        "/{token}/n/1/0/0",
        "/{token}/s/1",
    ],
)
def test_nothing_lies_elsewhere(server: MapServer, path: str) -> None:
    wrong = server.token[:-1] + ("A" if server.token[-1] != "A" else "B")
    asked = path.format(token=server.token, wrong=wrong).encode().decode("latin-1")
    with contextlib.closing(socket.create_connection(server.server_address[:2], timeout=20)) as connection:
        host = f"{HOST}:{server.server_address[1]}"
        connection.sendall(
            f"GET {asked} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin-1")
        )
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.endswith(b"Not Found")


def test_too_long_is_not_looked_at(server: MapServer) -> None:
    assert Answer(server, f"/{server.token}/r/0/{'9' * 300}/0/0").status == 414
    assert Answer(server, "/" + "a" * 100_000).status == 414


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "BREW"])
def test_only_reading(server: MapServer, method: str) -> None:
    assert Answer(server, f"/{server.token}/", method=method).status == 405


@pytest.mark.parametrize(
    "host", ["example.org", "127.0.0.1", "localhost", "127.0.0.1:1", "127.0.0.1.example.org:80", ""]
)
def test_other_names_are_turned_away(server: MapServer, host: str) -> None:
    path = f"/{server.token}/"
    with contextlib.closing(
        http.client.HTTPConnection(HOST, server.server_address[1], timeout=20)
    ) as connection:
        connection.putrequest("GET", path, skip_host=True)
        connection.putheader("Host", host)
        connection.endheaders()
        assert connection.getresponse().status == 421
    assert Answer(server, path, host=f"localhost:{server.server_address[1]}").status == 200


def test_no_name_and_two_names(server: MapServer) -> None:
    good = f"Host: {HOST}:{server.server_address[1]}\r\n"
    for headers in ("", good + good, good + "Host: example.org\r\n"):
        with contextlib.closing(
            socket.create_connection(server.server_address[:2], timeout=20)
        ) as connection:
            connection.sendall(
                f"GET /{server.token}/ HTTP/1.1\r\n{headers}Connection: close\r\n\r\n".encode()
            )
            assert connection.makefile("rb").read().startswith(b"HTTP/1.1 421 ")


def test_other_pages_and_bodies_are_turned_away(server: MapServer) -> None:
    path = f"/{server.token}/r/0/0/0/0"
    assert Answer(server, path, Sec_Fetch_Site="cross-site").status == 403
    assert Answer(server, path, Sec_Fetch_Site="same-site").status == 403
    assert Answer(server, path, Sec_Fetch_Site="same-origin").status == 200
    assert Answer(server, path, Content_Length="5").status == 400


def test_every_answer_is_fenced(server: MapServer) -> None:
    for path in (f"/{server.token}/", f"/{server.token}/r/0/0/0/0", "/wrong"):
        headers = Answer(server, path).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; img-src 'self' data:; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe-inline" not in policy.partition("script-src")[2]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert "Access-Control-Allow-Origin" not in headers
        assert "Python" not in headers["Server"]


def test_tokens_are_long_and_new(tmp_path: Path) -> None:
    tokens = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        with served(tmp_path / name) as server:
            assert server.server_address[0] == "127.0.0.1"
            tokens.add(server.token)
    assert len(tokens) == 2
    assert all(len(token) >= 32 for token in tokens)


def test_many_at_once_get_the_same(server: MapServer) -> None:
    path = f"/{server.token}/r/1/0/0/0"
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(Answer(server, path).content)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    assert len(set(found)) == 1


def test_a_damaged_tile_is_an_answer_and_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene, _, _ = write_map(tmp_path)
    failed: list[str] = []
    with open_atlas(Sources(scene=scene)) as atlas:
        tiles = Tiles(atlas, document(atlas, tally=None))

        def damaged(*_: object) -> bytes:
            raise ReadError("reading scene s.tif failed: it ends early; is the file damaged?")

        monkeypatch.setattr(ImageLayer, "tile", damaged)
        with MapServer(tiles, fail=failed.append) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                answers = [Answer(server, f"/{server.token}/r/0/0/{column}/0").status for column in (0, 1)]
            finally:
                server.shutdown()
                thread.join()
    assert answers == [500, 500]
    assert failed == ["reading scene s.tif failed: it ends early; is the file damaged?"] * 2


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    scene, _, _ = write_map(tmp_path)
    with contextlib.closing(socket.create_server((HOST, 0))) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} cannot be used: .*; choose another one"):
            view(Sources(scene=scene), port=port, ready=lambda _: None)


def test_the_verb_tells_the_address_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    scene, mask, parcels = write_map(tmp_path)
    # A runner that works in the background hands its children SIGINT ignored.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from geoseg_cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "view", *map(str, (scene, mask, parcels)), "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        host, _, rest = url.removeprefix("http://").partition("/")
        with contextlib.closing(http.client.HTTPConnection(host, timeout=20)) as connection:
            connection.request("GET", f"/{rest}")
            assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "geoseg: error: interrupted"
    assert "Traceback" not in errors
