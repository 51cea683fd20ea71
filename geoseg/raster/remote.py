"""Which paths mean a file on a server, what GDAL calls it, and what may be shown of it.

Nothing here asks a server. A user may type ``https://host/scene.tif`` (or ``http://``), ``s3://bucket/key``,
or what GDAL calls them, ``/vsicurl/https://host/scene.tif`` and ``/vsis3/bucket/key``. Paths are
:class:`pathlib.Path` everywhere, which makes one slash of two: ``https:/host/scene.tif``. So two slashes in a
row further on cannot be told from one.

An address may hold a password or a signature. Neither is ever shown: of
``https://user:password@host/a.tif?sig=x`` messages and reports hold ``https://host/a.tif``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from geoseg.errors import InputError

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|/vsi")
_ARCHIVE = re.compile(r"/vsi(zip|tar|gzip|7z|rar)/|(zip|tar|gzip)(\+[a-z0-9]+)?:/", re.IGNORECASE)
_HTTP = re.compile(r"(?:/vsicurl/)?(https?):/+(.*)", re.IGNORECASE | re.DOTALL)
_S3 = re.compile(r"(?:/vsis3/|s3:/+)([A-Za-z0-9][A-Za-z0-9._-]*)/+(.+)", re.IGNORECASE | re.DOTALL)
_PLACE = re.compile(
    r"(?P<user>[^/?#]*@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^/?#:@\[\]]+)(?P<port>:\d+)?(?P<rest>/.+)"
)
"""What follows ``https://``: host, port, and a path that names something."""

_USER = re.compile(
    r"([A-Za-z][A-Za-z0-9+.-]*:/+)(?:[^\s/?#]*@|[^\s/?#@]*:(?!\d+(?:[/?#\s]|$))\S*@)", re.IGNORECASE
)
"""User and password; the second form is a password with a slash in it, which is no valid address."""

_QUERY = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*:/+[^\s?#]*|/vsi[a-z0-9_]+)[?#]\S*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class RemoteName:
    """A file on a server, as the user named it.

    Attributes:
        vsi: GDAL's exact name, which may hold a password; never to be shown.
        shown: the address as people know it, without user, password and query.
    """

    vsi: str = field(repr=False)
    shown: str

    @property
    def url(self) -> str | None:
        """The address that is asked; ``None`` for S3, where GDAL makes it."""
        return self.vsi.removeprefix("/vsicurl/") if self.vsi.startswith("/vsicurl/") else None


def is_remote(path: Path) -> bool:
    """Whether a path is an address or one of GDAL's virtual file systems, of whatever kind."""
    return _REMOTE.match(path.as_posix()) is not None


def parse(path: Path, *, what: str, error: type[InputError]) -> RemoteName:
    """The file on a server that ``path`` names.

    Args:
        path: what the user named; :func:`is_remote`.
        what: ``scene``, ``mask``, ... for the message.
        error: class of the error raised.

    Raises:
        InputError: another kind of address than those geoseg reads, or a malformed one.
    """
    text = path.as_posix()
    if not text.isprintable():
        raise error(f"{what} {_one_line(shown(path))} has control characters in its address; check it")
    if found := _S3.fullmatch(text):
        bucket, key = found.groups()
        return RemoteName(vsi=f"/vsis3/{bucket}/{key}", shown=shown(path))
    if found := _HTTP.fullmatch(text):
        scheme, place = found[1].lower(), found[2]
        parts = _PLACE.fullmatch(place)
        if parts is None or re.search(r"[\s\\]", place):
            raise error(
                f"{what} {_one_line(shown(path))} is no address of a file; write https://host/scene.tif"
            )
        return RemoteName(vsi=f"/vsicurl/{scheme}://{place}", shown=shown(path))
    raise not_local(path, what=what, error=error)


def not_local(path: Path, *, what: str, error: type[InputError]) -> InputError:
    """The error about a path that is no local file where one is wanted."""
    if _ARCHIVE.match(path.as_posix()):
        return error(f"{what} {_one_line(shown(path))} is inside of an archive; unpack it first")
    return error(f"{what} {_one_line(shown(path))} is not a local file; download it first")


def shown(path: Path) -> str:
    """A path for messages and reports: a local one as it is, an address without what may be secret."""
    if not is_remote(path):
        return str(path)
    text = without_secrets(path.as_posix())
    if found := _HTTP.fullmatch(text):
        return f"{found[1].lower()}://{found[2]}"
    if found := _S3.fullmatch(text):
        return f"s3://{found[1]}/{found[2]}"
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]+):/+", r"\1://", text)


def without_secrets(text: str) -> str:
    """``text`` with user, password and query taken out of every address in it."""
    if ":/" not in text and "/vsi" not in text:
        return text
    return _QUERY.sub(r"\1", _USER.sub(r"\1", text))


def file_name(path: Path) -> str:
    """Last part of a path, of an address without its query."""
    return PurePosixPath(shown(path)).name if is_remote(path) else path.name


def stem(path: Path) -> str:
    """:func:`file_name` without its suffix."""
    return PurePosixPath(file_name(path)).stem if is_remote(path) else path.stem


def absolute(path: Path) -> Path:
    """``path`` as another process finds it, wherever that works."""
    return path if is_remote(path) else path.absolute()


def local(paths: Iterable[Path]) -> list[Path]:
    """Those of ``paths`` that are files here, which an output might be one of."""
    return [path for path in paths if not is_remote(path)]


def _one_line(text: str) -> str:
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())
