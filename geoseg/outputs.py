"""Outputs appear whole or not at all.

Work goes into a hidden staging folder beside the output and is renamed into place at the end, so an error,
Ctrl-C or SIGTERM leaves nothing at the output path, and a file that was there before stays as it was.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from geoseg.errors import OutputError

SIDECAR_SUFFIXES = (".aux.xml", ".ovr", ".msk")
"""Files GDAL keeps beside a raster. A stale one would override what a new file says of itself."""


def check_output(path: Path, *, overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse an output that cannot or must not be written, before any work is done.

    Raises:
        OutputError: ``path`` exists and ``overwrite`` is false, is one of ``inputs``, is a folder, or its
            parent folder is missing or not writable, or it is on a server.
    """
    for source in inputs:
        if path.exists() and source.exists() and path.samefile(source):
            raise OutputError(f"{path} is both input and output; choose another output")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file as output")
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists; use --overwrite to replace it")
    _check_parent(path)


def check_output_folder(path: Path, *, overwrite: bool, marker: str) -> None:
    """Refuse an output folder that cannot or must not be written.

    An existing empty folder is fine. With ``overwrite`` only a folder that holds a file called ``marker`` is
    replaced, so that a mistyped path never deletes somebody's data.

    Raises:
        OutputError: as :func:`check_output`.
    """
    if path.exists() and not path.is_dir():
        raise OutputError(f"{path} is a file; name a folder as output")
    if path.is_dir() and any(path.iterdir()):
        if not overwrite:
            raise OutputError(f"{path} exists and is not empty; use --overwrite to replace it")
        if not (path / marker).is_file():
            raise OutputError(f"{path} has no {marker}, so it is not replaced; choose another output")
    _check_parent(path)


def _check_parent(path: Path) -> None:
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/|/vsi", path.as_posix()):
        # Which is not shown: it may hold a password.
        raise OutputError("the output is an address; write to a file here")
    parent = path.absolute().parent
    if not parent.is_dir():
        raise OutputError(f"folder {parent} of output {path.name} does not exist; create it first")
    if not os.access(parent, os.W_OK):
        raise OutputError(f"folder {parent} of output {path.name} is not writable; choose another output")


@contextlib.contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """Yield a path to write; when the block ends well, move it and its sidecars to ``path``.

    Everything the block leaves in the staging folder moves along, sidecars first and ``path`` itself last.
    Sidecars that an older output left behind are removed.
    """
    with _staging_folder(path) as staging:
        staged = staging / path.name
        yield staged
        for made in staging.iterdir():
            if made.is_file():
                # Some writers make private files; an output should carry the user's own umask.
                made.chmod(0o666 & ~_umask())
            _sync(made)
        for suffix in SIDECAR_SUFFIXES:
            stale = path.with_name(path.name + suffix)
            # os.path: Path.exists() raises when the suffix makes the name too long for the file system.
            if os.path.exists(stale) and not (staging / stale.name).exists():  # noqa: PTH110
                stale.unlink()
        others = [made for made in staging.iterdir() if made != staged]
        for made in [*sorted(others), staged]:
            made.replace(path.with_name(made.name))
        _sync(path.absolute().parent)


@contextlib.contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; when the block ends well, it replaces ``path``."""
    with _staging_folder(path) as staging:
        staged = staging / "new"
        staged.mkdir()
        yield staged
        if path.exists():
            path.rename(staging / "old")
        staged.rename(path)
        _sync(path.absolute().parent)


def remove_leftovers(path: Path) -> None:
    """Remove staging folders of ``path`` that killed processes left; nothing else may be writing it now."""
    for left in path.absolute().parent.glob(f"{_staging_prefix(path)}*"):
        shutil.rmtree(left, ignore_errors=True)


def _staging_prefix(path: Path) -> str:
    # A hash, not the name itself: a 255-byte output name leaves no room for a prefix.
    return f".geoseg-{hashlib.sha256(path.name.encode()).hexdigest()[:8]}-"


@contextlib.contextmanager
def _staging_folder(path: Path) -> Iterator[Path]:
    staging = Path(tempfile.mkdtemp(prefix=_staging_prefix(path), dir=path.absolute().parent))
    staging.chmod(0o777 & ~_umask())
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Push a file or folder to the disk, so that a rename after it never exposes an empty file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
