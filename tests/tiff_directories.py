"""TIFF directories taken apart and put together again, as lies too.

TIFF 6.0 and BigTIFF: a directory is a list of entries (tag, type, count, value or where it is).
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import NotGeoreferencedWarning

BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
LETTERS = {
    1: "B",
    3: "H",
    4: "I",
    6: "b",
    8: "h",
    9: "i",
    11: "f",
    12: "d",
    13: "I",
    16: "Q",
    17: "q",
    18: "Q",
}
MOST_DIRECTORIES = 12
"""As many are taken apart."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry of a directory; ``data`` is its value in the file's byte order."""

    tag: int
    kind: int
    count: int
    data: bytes


@dataclass(frozen=True, kw_only=True)
class Tiff:
    """A file and its directories."""

    data: bytes
    order: str
    big: bool
    directories: tuple[tuple[Entry, ...], ...]

    @classmethod
    def parse(cls, data: bytes) -> Tiff:
        """Take a sound file apart."""
        order = "<" if data[:2] == b"II" else ">"
        big = struct.unpack(f"{order}H", data[2:4])[0] == 43
        at = struct.unpack(f"{order}Q", data[8:16])[0] if big else struct.unpack(f"{order}I", data[4:8])[0]
        directories = []
        while at and len(directories) < MOST_DIRECTORIES:
            count = struct.unpack_from(f"{order}{'Q' if big else 'H'}", data, at)[0]
            at += 8 if big else 2
            entries = []
            for _ in range(count):
                tag, kind, items = struct.unpack_from(f"{order}HH{'Q' if big else 'I'}", data, at)
                size, room = BYTES[kind] * items, 8 if big else 4
                value_at = at + (12 if big else 8)
                if size > room:
                    value_at = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, value_at)[0]
                entries.append(Entry(tag=tag, kind=kind, count=items, data=data[value_at : value_at + size]))
                at += 20 if big else 12
            directories.append(tuple(entries))
            at = struct.unpack_from(f"{order}{'Q' if big else 'I'}", data, at)[0]
        return cls(data=data, order=order, big=big, directories=tuple(directories))

    def build(self, *, loop: bool = False) -> bytes:
        """The file with its directories at the end; with ``loop`` the last leads to the first again."""
        room, word = (8, "Q") if self.big else (4, "I")
        out = bytearray(self.data)
        out += b"\0" * (-len(out) % 8)
        starts, links = [], []
        for entries in self.directories:
            places = []
            for entry in entries:
                places.append(len(out))
                if len(entry.data) > room:
                    out += entry.data + b"\0" * (-len(entry.data) % 8)
            starts.append(len(out))
            out += struct.pack(f"{self.order}{'Q' if self.big else 'H'}", len(entries))
            for entry, place in zip(entries, places, strict=True):
                out += struct.pack(f"{self.order}HH{word}", entry.tag, entry.kind, entry.count % 256**room)
                inline = len(entry.data) <= room
                out += entry.data.ljust(room, b"\0") if inline else struct.pack(f"{self.order}{word}", place)
            links.append(len(out))
            out += b"\0" * room
        targets = [*starts[1:], starts[0] if loop and starts else 0]
        for link, target in zip(links, targets, strict=True):
            struct.pack_into(f"{self.order}{word}", out, link, target)
        if starts:
            struct.pack_into(f"{self.order}{word}", out, 8 if self.big else 4, starts[0])
        return bytes(out)


Told = tuple[int, int, Any]
"""Tag, type (2 text, 3 short, 4 long, 12 double, 16 long8), value or values."""


def write_tiff(path: Path, *directories: Sequence[Told], loop: bool = False) -> Path:
    """Write a TIFF that is only these directories; with ``loop`` the last leads to the first again."""
    made = tuple(
        tuple(_entry(*told) for told in sorted(entries, key=lambda told: told[0])) for entries in directories
    )
    path.write_bytes(Tiff(data=b"II*\0" + bytes(4), order="<", big=False, directories=made).build(loop=loop))
    return path


def _entry(tag: int, kind: int, value: Any) -> Entry:
    if isinstance(value, bytes):
        return Entry(tag=tag, kind=kind, count=len(value), data=value)
    numbers = value if isinstance(value, list) else [value]
    return Entry(
        tag=tag, kind=kind, count=len(numbers), data=struct.pack(f"<{len(numbers)}{LETTERS[kind]}", *numbers)
    )


def tiff_header(
    path: Path, *, width: int, height: int, rows: int, compression: int = 1, strip_bytes: int = 100
) -> Path:
    """A TIFF of one byte band that is only a header; its one strip says that it is of ``strip_bytes``."""
    directory: list[Told] = [
        (256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, compression), (262, 3, 1), (273, 4, 8),
        (277, 3, 1), (278, 4, rows), (279, 4, strip_bytes),
    ]  # fmt: skip
    return write_tiff(path, directory)


def place_of_block(path: Path, col: int = 0, row: int = 0, band: int = 1) -> slice:
    """Which bytes of a GeoTIFF are a block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        dataset = rasterio.open(path)
    with dataset:
        at = int(dataset.get_tag_item(f"BLOCK_OFFSET_{col}_{row}", "TIFF", bidx=band))
        return slice(at, at + int(dataset.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=band)))
