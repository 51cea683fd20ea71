"""The door to servers: one file that the user himself named, and no other.

GDAL's curl is refused every name and pointed at a dead proxy, for the whole process
(:mod:`geoseg.raster.tame`). Only while a thread opens or reads such a file, and in that thread alone, one
name is allowed: the file's own. So no sidecar, overview, mask or directory is ever asked for, whatever stands
in the file; and files here that name a server get no answer even then.

A server may send a request on to another one, by HTTP or FTP; GDAL follows, without the password.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from geoseg.errors import ReadError, SceneError
from geoseg.raster import formats, libgdal
from geoseg.raster.libgdal import NoAnswerError
from geoseg.raster.remote import RemoteName, parse, without_secrets

_PATIENCE = {
    "GDAL_HTTP_CONNECTTIMEOUT": "10",
    # Below 1000 bytes a second for this long: also how long the first byte may take.
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1000",
    # What GDAL takes to be passing: 429, 5xx, a connection reset; not a server that is gone.
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
}
"""Seconds and times, where the user's environment does not say otherwise."""

_NO_HEAD = {"CPL_VSIL_CURL_USE_HEAD": "NO"}
_REFUSES_HEAD = {400, 403, 405, 501}
"""What servers answer that give a file but not its headers alone; addresses signed for GET are such."""

_MEANINGS = {
    401: "the server wants a login",
    403: "the server refuses it",
    404: "the server has no such file",
    410: "the server has no such file",
}

_AGAIN = "check the network, then run it again (predict: with --resume)"


@dataclass(frozen=True, kw_only=True)
class Version:
    """What a server tells of a file that changes when the file does.

    Attributes:
        size: in bytes; ``None`` when it does not say.
        etag: its tag of this content, or empty.
        modified: date of the last change as it writes it, or empty.
    """

    size: int | None
    etag: str
    modified: str

    @classmethod
    def of(cls, told: dict[str, str]) -> Version:
        """From the headers of an answer, which may be about a part of the file."""
        total = told.get("content-range", "").rpartition("/")[2] or told.get("content-length", "")
        return cls(
            size=int(total) if total.isdecimal() else None,
            etag=told.get("etag", ""),
            modified=told.get("last-modified", ""),
        )


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file on a server that was looked at and may be opened; made by :func:`look` alone.

    Attributes:
        name: what it is called.
        version: what the server told of it.
        head: its first bytes.
        takes_head: whether the server answers HEAD; it is asked with GET otherwise.
    """

    name: RemoteName
    version: Version
    head: bytes = field(repr=False)
    takes_head: bool

    @property
    def shown(self) -> str:
        """The address for messages."""
        return self.name.shown

    @property
    def fingerprint(self) -> str:
        """Stands for the content: SHA-256 of address, size, ETag and date, as 64 hexadecimal digits.

        The content itself is not hashed, as that would mean to fetch all of it.
        """
        facts = [self.shown, self.version.size, self.version.etag, self.version.modified]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    @property
    def tells_changes(self) -> bool:
        """Whether the server tells more than the size, so that another content can be noticed."""
        return bool(self.version.etag or self.version.modified)

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """Let this thread ask for this file while the block runs."""
        with _allowed(self.name, {} if self.takes_head else _NO_HEAD):
            yield

    def trouble(self) -> str | None:
        """What is wrong with the file right now, as the server has it; ``None`` when nothing is."""
        own = {} if self.takes_head else _NO_HEAD
        try:
            with _allowed(self.name, own | {"GDAL_HTTP_MAX_RETRY": "0"}):
                now = Version.of(libgdal.headers(self.name.vsi))
        except NoAnswerError as reason:
            return _plain(str(reason))
        return None if now == self.version else "it is another file on the server by now"

    def check_unchanged(self, what: str) -> None:
        """Refuse to go on with a mixture of two files.

        Raises:
            ReadError: the server has another file by now, or does not answer.
        """
        if (trouble := self.trouble()) is not None:
            again = "start anew with --overwrite" if "another file" in trouble else _AGAIN
            raise ReadError(f"{what} {self.shown} was read, but cannot be relied on: {trouble}; {again}")

    def read_error(self, doing: str, reason: str) -> ReadError:
        """The error about a read that failed.

        Args:
            doing: such as ``reading rows 0..9 of scene``.
            reason: what GDAL says, which knows blocks but no servers.
        """
        trouble = self.trouble()
        if trouble is None:
            return ReadError(
                f"{doing} {self.shown} failed: {without_secrets(reason)}; is the file damaged? "
                f"If not, {_AGAIN}"
            )
        return ReadError(f"{doing} {self.shown} failed: {trouble}; {_AGAIN}")


def look(path: Path, *, what: str) -> RemoteFile:
    """Ask a server for a file that the user himself named.

    Args:
        path: :func:`geoseg.raster.remote.is_remote`.
        what: ``scene``, ``mask``, ... for the message.

    Raises:
        SceneError: the server does not answer, does not have the file or does not give it, or the address is
            of no kind that geoseg reads.
    """
    name = parse(path, what=what, error=SceneError)
    if not libgdal.can_ask_servers:
        raise SceneError(f"{what} {name.shown} cannot be read by this build of rasterio; download it first")
    # A failure of before, or an older version, would be remembered as long as the process lives.
    libgdal.forget(name.vsi)
    try:
        version, takes_head = _ask(name)
        with _allowed(name, {} if takes_head else _NO_HEAD):
            head = b"" if version.size == 0 else libgdal.first_bytes(name.vsi, formats.HEAD_BYTES)
    except NoAnswerError as reason:
        raise SceneError(
            f"{what} {name.shown} cannot be opened: {_plain(str(reason))}; check the address"
        ) from reason
    return RemoteFile(name=name, version=version, head=head, takes_head=takes_head)


def fingerprint(path: Path, *, what: str) -> str:
    """:attr:`RemoteFile.fingerprint` of the file that the server has now, at the cost of one request.

    Raises:
        SceneError: as :func:`look`.
    """
    name = parse(path, what=what, error=SceneError)
    try:
        version, takes_head = _ask(name)
    except NoAnswerError as reason:
        raise SceneError(f"{what} {name.shown} is out of reach: {_plain(str(reason))}; {_AGAIN}") from reason
    return RemoteFile(name=name, version=version, head=b"", takes_head=takes_head).fingerprint


def _ask(name: RemoteName) -> tuple[Version, bool]:
    """What the server tells of a file, and whether it answers HEAD."""
    try:
        with _allowed(name, {}):
            return Version.of(libgdal.headers(name.vsi)), True
    except NoAnswerError as refused:
        if _status(str(refused)) not in _REFUSES_HEAD:
            raise
    libgdal.forget(name.vsi)
    with _allowed(name, _NO_HEAD):
        return Version.of(libgdal.headers(name.vsi)), False


@contextlib.contextmanager
def _allowed(name: RemoteName, more: dict[str, str]) -> Iterator[None]:
    proxy = _proxy(name)
    options = {
        "CPL_VSIL_CURL_ALLOWED_FILENAME": name.vsi,
        "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
        # Instead of the dead one. Empty is none at all: curl would look into the environment otherwise.
        "GDAL_HTTP_PROXY": proxy,
        "GDAL_HTTPS_PROXY": proxy,
    }
    patience = {key: value for key, value in _PATIENCE.items() if key not in os.environ}
    with libgdal.thread_options(options | patience | more):
        yield


def _proxy(name: RemoteName) -> str:
    """The user's own proxy, from the variables that GDAL and curl read; empty for none."""
    from urllib.request import getproxies_environment, proxy_bypass

    secure = os.environ.get("AWS_HTTPS", "YES").upper() not in {"NO", "FALSE", "OFF", "0"}
    url = (
        name.url
        or f"{'https' if secure else 'http'}://{os.environ.get('AWS_S3_ENDPOINT', 's3.amazonaws.com')}"
    )
    scheme, _, rest = url.partition("://")
    own = [
        os.environ.get("GDAL_HTTPS_PROXY") if scheme == "https" else None,
        os.environ.get("GDAL_HTTP_PROXY"),
    ]
    if told := next(filter(None, own), None):
        return told
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    proxies = getproxies_environment()
    if proxy_bypass(host):
        return ""
    return proxies.get(scheme) or proxies.get("all") or ""


def _status(words: str) -> int | None:
    found = re.search(r"HTTP response code.*?: (\d+)", words)
    return None if found is None else int(found[1])


def _plain(words: str) -> str:
    """What GDAL says of a server, for people."""
    status = _status(words)
    if status and 300 <= status < 400:
        return f"the server sends on to where geoseg does not follow (HTTP {status})"
    if status:
        return f"{_MEANINGS.get(status, 'the server fails')} (HTTP {status})"
    if words.startswith("Invalid AWS response"):
        return "the server does not answer as S3 does"
    if "ange downloading not supported" in words:
        return "the server does not give parts of files (HTTP ranges)"
    if status == 0 or not words.strip():
        return "the server does not answer"
    return without_secrets(" ".join(words.removeprefix("CURL error: ").split()))[:200].rstrip(".;")
