"""The file of a shard: a ZIP archive of stored members, so that any tool shows what is in it.

``plan.json``
    the plan, as in the journal
``shard.json``
    which shard, and :class:`geoseg.render.shards.Facts`
``0000042.block``
    a finished block, as in the journal

Shards come from other machines and are read with care: members are found by the exact names they must have,
nothing is inflated or written anywhere, and no size is believed before it was compared with what may be.
"""

from __future__ import annotations

import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from geoseg import strict_json
from geoseg.errors import InputError, ReadError, WriteError
from geoseg.outputs import staged_file
from geoseg.render.journal import PLAN_FILE, Journal
from geoseg.render.plan import Plan
from geoseg.render.shards import Facts, ShardId, dumps

FACTS_FILE = "shard.json"
MAX_FACTS_BYTES = 4_000_000
MAX_PLAN_BYTES = 1_000_000
MAX_BLOCKS = 300_000

_LONGEST_DIRECTORY_ENTRY = 128
_AGAIN = "copy or make this shard again"
_NO_SHARD = "give what geoseg predict --shard wrote"
_THE_EPOCH = (1980, 1, 1, 0, 0, 0)

_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_LOCAL = struct.Struct("<4s5H3L2H")

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    NotImplementedError,
    RuntimeError,
)
"""What :mod:`zipfile` raises for damaged archives; not all of it is documented."""


def write_shard(
    path: Path, shard: ShardId, *, plan: Plan, facts: Facts, blocks: Iterable[int], journal: Journal
) -> None:
    """Pack finished blocks; the file appears whole or not at all.

    Args:
        path: where to.
        shard: which one.
        plan: what was rendered.
        facts: what merging needs.
        blocks: the shard's blocks, finished in ``journal``.
        journal: where they are.

    Raises:
        WriteError: the disk is full or not writable.
    """
    try:
        with (
            staged_file(path) as staged,
            zipfile.ZipFile(staged, "w", zipfile.ZIP_STORED, strict_timestamps=True) as archive,
        ):
            header = {"index": shard.index, "count": shard.count, **facts.to_json()}
            archive.writestr(zipfile.ZipInfo(PLAN_FILE, _THE_EPOCH), dumps(plan.to_json()))
            archive.writestr(zipfile.ZipInfo(FACTS_FILE, _THE_EPOCH), dumps(header))
            for block in blocks:
                part = journal.path(block)
                archive.writestr(zipfile.ZipInfo(part.name, _THE_EPOCH), part.read_bytes())
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WriteError(f"writing {path} failed: {reason}; make room, then go on with --resume") from error


@dataclass(frozen=True, kw_only=True)
class _Member:
    offset: int
    size: int
    crc: int


@dataclass(frozen=True, kw_only=True)
class ShardFile:
    """A shard that was opened; the file itself is open only while something is read.

    Attributes:
        path: the file.
        shard: which one it is.
        plan: what was rendered.
        facts: what merging needs.
        names: names of the members besides ``plan.json`` and ``shard.json``.
    """

    path: Path
    shard: ShardId
    plan: Plan
    facts: Facts
    _members: Mapping[str, _Member] = field(repr=False)

    @property
    def names(self) -> set[str]:
        """Names of the blocks' files."""
        return {*self._members} - {PLAN_FILE, FACTS_FILE}

    def read(self, name: str, limit: int) -> bytes:
        """The bytes of a block's file.

        Args:
            name: one of ``names``.
            limit: most bytes it may have.

        Raises:
            ReadError: the file is damaged there.
        """
        return _read(self.path, name, self._members[name], limit)


def open_shard(path: Path) -> ShardFile:
    """Open a shard; no block is read yet.

    Raises:
        InputError: there is no such file, or it is no shard.
        ReadError: it is a truncated or damaged one.
    """
    members = _directory(path)
    for name in (PLAN_FILE, FACTS_FILE):
        if name not in members:
            raise InputError(f"{path} is no shard: it has no {name}; {_NO_SHARD}")
    try:
        plan = Plan.from_json(strict_json.loads(_read(path, PLAN_FILE, members[PLAN_FILE], MAX_PLAN_BYTES)))
        values = strict_json.loads(_read(path, FACTS_FILE, members[FACTS_FILE], MAX_FACTS_BYTES))
        shard = ShardId(index=_index(values["index"]), count=_index(values["count"]))
        facts = Facts.from_json(values)
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ReadError(f"{path} is damaged ({reason}); {_AGAIN}") from error
    return ShardFile(path=path, shard=shard, plan=plan, facts=facts, _members=members)


def _index(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("no number of a shard")
    return value


def _directory(path: Path) -> dict[str, _Member]:
    """Where each member lies, from the archive's own directory."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{path} is no file; {_NO_SHARD}")
        with path.open("rb") as file:
            if file.read(4) != b"PK\x03\x04":
                raise InputError(f"{path} is no shard; {_NO_SHARD}")
            _check_directory_size(file, path)
            with zipfile.ZipFile(file) as archive:
                entries = archive.infolist()
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give all shards of a mask") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ReadError(f"reading {path} failed: {reason}; check the file") from error
    except _ZIP_ERRORS as error:
        raise ReadError(f"{path} is truncated or damaged; {_AGAIN}") from error
    members: dict[str, _Member] = {}
    for entry in entries:
        shown = entry.filename[:80]
        if entry.filename in members:
            raise InputError(f"{path} holds {shown} twice, which no shard does; {_NO_SHARD}")
        if entry.filename not in {PLAN_FILE, FACTS_FILE} and not _is_block(entry.filename):
            raise InputError(f"{path} holds {shown}, which no shard does; {_NO_SHARD}")
        if entry.flag_bits & 1:
            raise InputError(f"{path} holds {shown} encrypted, which no shard does; {_NO_SHARD}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise InputError(f"{path} holds {shown} compressed, which no shard does; {_NO_SHARD}")
        members[entry.filename] = _Member(offset=entry.header_offset, size=entry.file_size, crc=entry.CRC)
    return members


def _is_block(name: str) -> bool:
    digits, dot, kind = name.partition(".")
    return dot == "." and kind == "block" and 7 <= len(digits) <= 10 and digits.isascii() and digits.isdigit()


def _check_directory_size(file: IO[bytes], path: Path) -> None:
    """Refuse a directory that would take much memory to read; zipfile reads it whole, whatever its size.

    Raises:
        InputError: it has more entries than a shard may have.
        zipfile.BadZipFile: there is none: the file is truncated.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END.size))
    sign, *_, entries, directory_bytes, _, comment = _END.unpack(file.read(_END.size))
    if sign != b"PK\x05\x06" or comment:
        raise zipfile.BadZipFile("no end of an archive")
    # The record for more than 65,535 entries, looked for where zipfile does.
    file.seek(max(0, size - _END.size - _LOCATOR_64.size - _END_64.size))
    *_, entries_64, bytes_64, _ = _END_64.unpack(file.read(_END_64.size))
    if file.read(4) == b"PK\x06\x07":
        entries, directory_bytes = entries_64, bytes_64
    if entries > MAX_BLOCKS or directory_bytes > _LONGEST_DIRECTORY_ENTRY * (entries + 1):
        raise InputError(f"{path} has a directory of {directory_bytes:,} bytes, as no shard has; {_NO_SHARD}")


def _read(path: Path, name: str, member: _Member, limit: int) -> bytes:
    if member.size > limit:
        raise InputError(f"{path} holds {name} of {member.size:,} bytes, as no shard does; {_NO_SHARD}")
    try:
        with path.open("rb") as file:
            file.seek(member.offset)
            sign, *_, name_length, extra_length = _LOCAL.unpack(file.read(_LOCAL.size))
            found = file.read(name_length)
            file.seek(extra_length, os.SEEK_CUR)
            data = file.read(member.size)
    except (OSError, struct.error, ValueError) as error:
        raise ReadError(f"{path} is truncated or damaged; {_AGAIN}") from error
    whole = sign == b"PK\x03\x04" and found == name.encode() and len(data) == member.size
    if not whole or zlib.crc32(data) != member.crc:
        raise ReadError(f"{path} is truncated or damaged; {_AGAIN}")
    return data
