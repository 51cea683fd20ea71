"""The journal of a prediction: a folder beside the output that knows what is done.

``OUT.geoseg-resume/`` holds ``plan.json`` and one file for each finished block. A file appears whole or not
at all, so the process may be killed at any moment. A lock keeps two runs from working on one journal.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from geoseg.errors import OutputError, WriteError
from geoseg.render.blocks import BlockGrid, Layers
from geoseg.render.plan import Plan

SUFFIX = ".geoseg-resume"
PLAN_FILE = "plan.json"
_LOCK_FILE = "lock"
_MAX_PLAN_BYTES = 1_000_000


def journal_folder(output: Path) -> Path:
    """Where the journal of ``output`` lies."""
    return output.with_name(output.name + SUFFIX)


def may_replace(output: Path, *, overwrite: bool, resume: bool) -> bool:
    """Whether outputs may be replaced: a run that is gone on with may have written some of them."""
    return overwrite or (resume and journal_folder(output).is_dir())


class Journal:
    """Finished blocks on disk. Several processes may add blocks to one journal; one owns it.

    Attributes:
        folder: where it lies.
        blocks: the blocks of the plan.
    """

    def __init__(self, folder: Path, blocks: BlockGrid) -> None:
        self.folder = folder
        self.blocks = blocks

    def path(self, block: int) -> Path:
        """File of a block."""
        return self.folder / f"{block:07d}.block"

    def finished(self, *, verify: bool = False) -> set[int]:
        """Blocks that are done; with ``verify`` only those that can be read back."""
        names = {self.path(block).name: block for block in range(len(self.blocks))}
        found = {names[entry.name] for entry in os.scandir(self.folder) if entry.name in names}
        if not verify:
            return found
        return {block for block in found if self._is_whole(block)}

    def _is_whole(self, block: int) -> bool:
        try:
            self.read(block)
        except ValueError:
            return False
        return True

    def add(self, block: int, layers: Layers, *, guest: str = "") -> int:
        """Keep a finished block; returns the bytes it takes on disk.

        Args:
            block: its number.
            layers: its values.
            guest: name of a run whose owner will :meth:`adopt` the block; it counts from then on only.

        Raises:
            WriteError: the disk is full or not writable.
        """
        data = self.blocks.encode(block, layers)
        path = self.path(block)
        if guest:
            path = path.with_name(f"{path.name}.{guest}")
        # Not the process's number: processes of two machines may have the same one.
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        try:
            draft.write_bytes(data)
            draft.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise _write_error(self.folder, error) from error
        return len(data)

    def adopt(self, guest: str) -> list[int]:
        """Make the blocks the journal's own that other processes added as ``guest``; returns them."""
        ending = f".block.{guest}"
        numbers = [entry.name.removesuffix(ending) for entry in os.scandir(self.folder)]
        found = [int(number) for number in numbers if number.isdecimal()]
        for block in found:
            path = self.path(block)
            path.with_name(f"{path.name}.{guest}").replace(path)
        return found

    def read(self, block: int) -> dict[str, Any]:
        """The layers of a finished block.

        Raises:
            ValueError: its file is damaged.
        """
        return self.blocks.decode(block, self.path(block).read_bytes())

    def remove(self) -> None:
        """Delete the journal."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def open_journal(
    folder: Path, plan: Plan, blocks: BlockGrid, *, resume: bool, replace: bool
) -> Iterator[Journal]:
    """The journal of a plan, new or gone on with, locked while the block runs.

    Left without an error it is removed; otherwise it stays, unless nothing was finished.

    Args:
        folder: where it lies.
        plan: what is rendered.
        blocks: the plan's blocks.
        resume: go on with what is there, if anything is.
        replace: throw away what is there; ``resume`` goes before it.

    Raises:
        OutputError: there is a journal and neither ``resume`` nor ``replace``, it is of another plan, or it
            is in use.
        WriteError: it cannot be written.
    """
    if folder.exists() and not (resume or replace):
        with contextlib.suppress(OSError):
            os.close(_lock(folder))  # refuses one that is not unfinished but at work
        raise OutputError(
            f"{folder} holds an unfinished prediction; go on with --resume or start anew with --overwrite"
        )
    try:
        folder.mkdir(exist_ok=True)
        lock = _lock(folder)
    except OSError as error:
        raise _write_error(folder, error) from error
    journal = Journal(folder, blocks)
    try:
        if replace and not resume:
            _clear(folder)
        _match(folder, plan)
    except BaseException:
        os.close(lock)
        raise
    try:
        yield journal
    except BaseException as error:
        # Somebody may have removed it.
        done = len(journal.finished()) if folder.is_dir() else 0
        if done:
            error.add_note(f"{done} of {len(blocks)} blocks are kept in {folder}")
        else:
            journal.remove()
        raise
    else:
        journal.remove()
    finally:
        os.close(lock)


def _lock(folder: Path) -> int:
    handle = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        import fcntl
    except ImportError:  # Windows: two runs on one journal are the user's own care there
        return handle
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            raise OutputError(f"{folder} is in use by another geoseg; wait for it or stop it") from error
        # Some network file systems know no locks.
        return os.open(folder / _LOCK_FILE, os.O_RDWR)
    return handle


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name != _LOCK_FILE:
            entry.unlink()


def _match(folder: Path, plan: Plan) -> None:
    path = folder / PLAN_FILE
    if not path.exists():
        _clear(folder)
        draft = path.with_suffix(".draft")
        try:
            draft.write_text(json.dumps(plan.to_json(), indent=1, sort_keys=True), encoding="utf-8")
            draft.replace(path)
        except OSError as error:
            raise _write_error(folder, error) from error
        return
    before = read_plan(path.read_bytes()[: _MAX_PLAN_BYTES + 1], str(path))
    differences = plan.differences(before)
    if differences:
        raise OutputError(
            f"{folder} was begun with {differences[0]}; give the same again or start anew with --overwrite"
        )


def read_plan(data: bytes, where: str) -> Plan:
    """The plan a ``plan.json`` tells.

    Raises:
        OutputError: it is damaged.
    """
    try:
        if len(data) > _MAX_PLAN_BYTES:
            raise ValueError("too long")
        return Plan.from_json(json.loads(data))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise OutputError(f"{where} is damaged ({reason}); start anew with --overwrite") from error


def _write_error(folder: Path, error: OSError) -> WriteError:
    reason = (error.strerror or str(error)).lower()
    if error.errno == errno.ENOENT:
        return WriteError(f"writing {folder} failed: {reason}; is its folder still there?")
    how = "make it writable" if error.errno in {errno.EROFS, errno.EACCES} else "make room"
    return WriteError(f"writing {folder} failed: {reason}; {how}, then go on with --resume")


def missing(journal: Journal, wanted: Iterable[int]) -> list[int]:
    """The blocks of ``wanted`` that are still to be rendered, in order."""
    done = journal.finished(verify=True)
    return [block for block in wanted if block not in done]
