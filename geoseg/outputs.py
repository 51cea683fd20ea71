"""Outputs appear whole or not at all.

Work goes into a hidden staging folder beside the output and is renamed into place at the end, so an error,
Ctrl-C or SIGTERM leaves nothing at the output path, and a file that was there before stays as it was. What
only a killed process can leave, a staging folder, is removed by the next one that writes the same output.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from geoseg.errors import OutputError, WriteError
from geoseg.rename import swap, undisturbed

SIDECAR_SUFFIXES = (".aux.xml", ".ovr", ".msk")
"""Files GDAL keeps beside a raster. A stale one would override what a new file says of itself."""

_FULL = "is the disk full?"
_DISK_ERRORS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: _FULL,
    errno.EIO: "is the disk sound?",
    errno.EROFS: "choose another output",
    errno.ENOENT: "is its folder still there?",
}
"""What happens to a disk, not to a program, and what to look at: told as a failure to write the output."""

_WITH_SIDECARS = (".tif", ".tiff", ".gpkg")
_NAME_BYTES = 255 - len(".aux.xml")
"""Longest name that leaves room for ``.aux.xml``, or for SQLite's ``-journal``."""

_OLD = "old"
_unfinished: set[Path] = set()


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
    if path.suffix.lower() in _WITH_SIDECARS and len(os.fsencode(path.name)) > _NAME_BYTES:
        raise OutputError(f"output {path} has too long a name for the files beside it; choose another")
    if path.exists() and not path.is_file():
        # Renaming over it would replace /dev/null by a mask.
        raise OutputError(f"{path} is not a regular file; name a file as output")
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
    if path.is_dir() and path.samefile(Path.cwd()):
        raise OutputError(f"output {path} is the folder you are in; name another one")
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

    Raises:
        WriteError: the disk is full, not writable, or its folder is gone.
    """
    with _staging_folder(path) as staging:
        staged = staging / path.name
        yield staged
        for made in staging.iterdir():
            if made.is_file():
                # Some writers make private files; an output should carry the user's own umask.
                made.chmod(0o666 & ~_umask())
            _sync(made)
        others = sorted(made for made in staging.iterdir() if made != staged)
        with undisturbed():
            for suffix in SIDECAR_SUFFIXES:
                stale = path.with_name(path.name + suffix)
                # os.path: Path.exists() raises when the suffix makes the name too long for the file system.
                if os.path.exists(stale) and not (staging / stale.name).exists():  # noqa: PTH110
                    stale.unlink()
            for made in [*others, staged]:
                made.replace(path.with_name(made.name))
        _sync(path.absolute().parent)


@contextlib.contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder to fill; when the block ends well, it replaces ``path``, at one stroke.

    Raises:
        WriteError: the disk is full, not writable, or its folder is gone.
    """
    with _staging_folder(path) as staging:
        staged = staging / "new"
        staged.mkdir()
        yield staged
        with undisturbed():
            try:
                staged.rename(path)
            except OSError:
                # Not empty: looking first would leave another process a moment to put its own there.
                if not path.is_dir():
                    raise
                swap(staged, path, aside=staging / _OLD)
        _sync(path.absolute().parent)


@contextlib.contextmanager
def made_in_place(path: Path, *, marker: str) -> Iterator[None]:
    """Have a folder made at ``path`` itself, for work of which the files tell where they are.

    What was there waits in a hidden folder meanwhile. When the block fails it comes back; when the process is
    killed, the next one that makes ``path`` puts it back before it begins.

    Args:
        path: the folder; :func:`check_output_folder` let it pass.
        marker: a file that the block writes last; it is empty until then.

    Raises:
        OutputError: another process is at work in it.
        WriteError: the disk is full, not writable, or its folder is gone.
    """
    _forget_unfinished(path, marker)
    with _staging_folder(path) as staging:
        old, new = staging / _OLD, staging / "new"
        new.mkdir()
        (new / marker).touch()
        with held(path) if path.exists() else contextlib.nullcontext(), held(new):
            try:
                with undisturbed():
                    if path.exists():
                        path.rename(old)
                    new.rename(path)
                yield
            except BaseException:
                # Renames before anything is deleted, which takes longer: a kill may come now, too.
                if path.exists() and not new.exists():
                    path.rename(staging / "failed")
                if old.exists():
                    old.rename(path)
                raise


def _forget_unfinished(path: Path, marker: str) -> None:
    """Take away what a killed process left of ``path``, for :func:`remove_leftovers` to put back the old."""
    unfinished = path / marker
    if unfinished.is_file() and unfinished.stat().st_size == 0:
        with held(path):
            path.rename(_new_name(path))


def remove_leftovers(path: Path) -> None:
    """Remove staging folders of ``path`` that killed processes left; those of living ones stay."""
    for left in path.absolute().parent.glob(f"{_staging_prefix(path)}*"):
        try:
            lock = _lock(left)
        except BlockingIOError:
            continue
        if lock is None:
            continue
        try:
            if (left / _OLD).exists() and not path.exists():
                # Killed between the two renames that some systems need.
                (left / _OLD).rename(path)
            shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(lock)


def remove_unfinished() -> None:
    """Remove what this process has in work, at its end.

    Clean-up runs by itself; but Ctrl-C may hit between two steps of it.
    """
    while _unfinished:
        shutil.rmtree(_unfinished.pop(), ignore_errors=True)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Have a folder for this process alone while the block runs, where the file system knows locks.

    Raises:
        OutputError: another process has it.
    """
    try:
        lock = _lock(folder)
    except BlockingIOError as error:
        raise OutputError(f"{folder} is in use by another geoseg; wait for it or stop it") from error
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _staging_prefix(path: Path) -> str:
    # A hash, not the name itself: a 255-byte output name leaves no room for a prefix.
    return f".geoseg-{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]}-"


def _new_name(path: Path) -> Path:
    return path.absolute().parent / f"{_staging_prefix(path)}{secrets.token_hex(4)}"


@contextlib.contextmanager
def _staging_folder(path: Path) -> Iterator[Path]:
    with _write_errors(path):
        remove_leftovers(path)
        staging, lock = _new_staging(path)
        try:
            yield staging
        except WriteError as error:
            # Nobody knows the hidden folder.
            text = str(error)
            for made in (staging / "new", staging / path.name):
                text = text.replace(str(made), str(path))
            error.args = (re.sub(re.escape(str(staging)) + r"[^'\";:,]*", lambda _: str(path), text),)
            raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            _unfinished.discard(staging)
            if lock is not None:
                os.close(lock)


def _new_staging(path: Path) -> tuple[Path, int | None]:
    while True:
        staging = _new_name(path)
        _unfinished.add(staging)
        staging.mkdir()
        lock = _lock(staging, wait=True)
        # Between these two, somebody else may have taken it for a leftover.
        if staging.exists():
            return staging, lock
        if lock is not None:
            os.close(lock)
        _unfinished.discard(staging)


def _lock(folder: Path, *, wait: bool = False) -> int | None:
    """Hold a folder until the handle is closed; ``None`` where no locks are known.

    Raises:
        BlockingIOError: another process has it.
    """
    try:
        import fcntl

        handle = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):  # Windows
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return handle


@contextlib.contextmanager
def _write_errors(path: Path) -> Iterator[None]:
    """Name the output, not the hidden folder beside it."""
    try:
        yield
    except OSError as error:
        inside = isinstance(error.filename, str) and _staging_prefix(path) in error.filename
        if error.errno not in _DISK_ERRORS or not (inside or error.filename is None):
            raise
        reason = (error.strerror or str(error)).lower()
        hint = _DISK_ERRORS[error.errno]
        raise WriteError(f"writing {path} failed: {reason}; {hint}") from error


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
