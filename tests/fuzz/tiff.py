"""Lies in the directories of a TIFF: a damaged file is the sound one, with new directories at its end."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from tiff_directories import BYTES, LETTERS, MOST_DIRECTORIES, Entry, Tiff

from fuzz.mutate import TEXTS, WORDS, chance, damaged, number

SIZES = {
    256: (0, 1, 2, 15, 17, 31, 33, 63, 65, 500, 70_000, 2**31 - 1, 2**31, 2**32 - 1),
    257: (0, 1, 2, 15, 17, 31, 33, 63, 65, 500, 70_000, 2**31 - 1, 2**31, 2**32 - 1),
    258: (0, 1, 2, 4, 7, 8, 12, 16, 24, 32, 64, 128, 65535),
    259: (0, 1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34712, 34887, 34925, 50000, 50001, 50002, 65535),
    262: (0, 1, 2, 3, 4, 5, 6, 8, 9, 32844, 32845, 65535),
    266: (0, 1, 2, 3),
    277: (0, 1, 2, 3, 4, 5, 255, 4096, 65535),
    278: (0, 1, 3, 16, 65_536, 2**31, 2**32 - 1),
    284: (0, 1, 2, 3),
    317: (0, 1, 2, 3, 9),
    322: (0, 1, 8, 16, 24, 64, 4096, 65_536, 2**31),
    323: (0, 1, 8, 16, 24, 64, 4096, 65_536, 2**31),
    338: (0, 1, 2, 3, 999),
    339: (0, 1, 2, 3, 4, 5, 6, 7),
    254: (0, 1, 2, 3, 4, 5),
}
"""What is worth trying for tags that say how pixels are stored."""

_MORE_TAGS = (269, 270, 273, 274, 279, 282, 305, 320, 324, 325, 330, 340, 341, 347, 530, 532, 33432)
_GEO_TAGS = (33550, 33920, 33922, 34264, 34735, 34736, 34737)
_GDAL_TAGS = (42112, 42113, 50674, 50844, 50909)
_TAGS = (*SIZES, *_MORE_TAGS, *_GEO_TAGS, *_GDAL_TAGS)

_NODATA = (
    "nan",
    "-nan",
    "inf",
    "-inf",
    "1e400",
    "256",
    "-1",
    "65536",
    "3.5",
    "0x1F",
    "",
    " 0 ",
    "1e-320",
    "a",
    "9" * 400,
)


def _with_value(rng: Random, order: str, entry: Entry) -> Entry:
    """Another number at one place of an entry."""
    letter, size = LETTERS.get(entry.kind, "B"), BYTES.get(entry.kind, 1)
    letter, size = ("B", 1) if struct.calcsize(f"<{letter}") != size else (letter, size)
    places = max(1, len(entry.data) // size)
    at = rng.randrange(places)
    wanted = SIZES.get(entry.tag)
    value: float = rng.choice(wanted) if wanted and chance(rng, 0.8) else number(rng)
    if letter in "fd":
        packed = struct.pack(f"{order}d", float(value)) if letter == "d" else _float32(order, float(value))
    else:
        whole = 0 if value != value or abs(value) == float("inf") else int(value)
        packed = (whole % 256**size).to_bytes(size, "little" if order == "<" else "big")
    data = entry.data[: at * size] + packed + entry.data[(at + 1) * size :]
    return replace(entry, data=data)


def _float32(order: str, value: float) -> bytes:
    try:
        return struct.pack(f"{order}f", value)
    except OverflowError:
        return struct.pack(f"{order}f", float("inf"))


def _odd_entry(rng: Random, order: str) -> Entry:
    """An entry that the file did not have."""
    tag = rng.choice(_TAGS) if chance(rng, 0.9) else rng.randrange(65536)
    if tag in {42112, 42113, 270, 305, 34737}:
        text = rng.choice(_NODATA if tag == 42113 else TEXTS).encode("utf-8", "surrogatepass") + b"\0"
        return Entry(tag=tag, kind=2, count=len(text), data=text)
    kind = rng.choice((1, 3, 4, 12)) if chance(rng, 0.9) else rng.randrange(0, 20)
    count = rng.choice((1, 1, 1, 2, 3, 4, 6, 16, 24))
    entry = Entry(tag=tag, kind=kind, count=count, data=bytes(BYTES.get(kind, 1) * count))
    for _ in range(min(count, 6)):
        entry = _with_value(rng, order, entry)
    return entry


def _changed_entry(rng: Random, order: str, entry: Entry) -> Entry:
    kind = rng.randrange(8)
    if kind <= 2:
        return _with_value(rng, order, entry)
    if kind == 3:
        return replace(
            entry, count=max(0, rng.choice((*WORDS, entry.count + 1, entry.count - 1, entry.count * 2)))
        )
    if kind == 4:
        return replace(entry, kind=rng.choice((0, 1, 2, 3, 4, 5, 7, 11, 12, 16, 99)))
    if kind == 5:
        data = damaged(rng, entry.data, most=2) if entry.data else b"\1"
        return replace(entry, data=data, count=max(1, len(data) // BYTES.get(entry.kind, 1)))
    if kind == 6:
        return replace(entry, tag=rng.choice(_TAGS))
    data = (entry.data * 40)[:4000]
    return replace(entry, data=data, count=len(data) // BYTES.get(entry.kind, 1))


def damaged_tiff(rng: Random, data: bytes, other: bytes) -> bytes:
    """A TIFF whose directories lie in 1 to 4 places; some of what they say may be of ``other``."""
    tiff = Tiff.parse(data)
    directories = [list(entries) for entries in tiff.directories]
    theirs = Tiff.parse(other).directories
    for _ in range(rng.randint(1, 4)):
        # The first directory is the image; masks and overviews follow.
        entries = directories[0] if chance(rng, 0.7) else rng.choice(directories)
        kind = rng.randrange(12)
        if kind == 0 and entries:
            entries.pop(rng.randrange(len(entries)))
        elif kind in {1, 2}:
            entries.append(_odd_entry(rng, tiff.order))
        elif kind == 3:
            entries.append(rng.choice(rng.choice(theirs)))
        elif kind == 4:
            rng.shuffle(directories)
        elif kind == 5 and len(directories) < MOST_DIRECTORIES:
            directories.append(list(rng.choice(directories)))
        elif entries:
            at = rng.randrange(len(entries))
            # Tags of the second half of the alphabet are where geoseg, not libtiff, has to think.
            geo = [i for i, entry in enumerate(entries) if entry.tag in {*_GEO_TAGS, *_GDAL_TAGS}]
            at = rng.choice(geo) if geo and chance(rng, 0.3) else at
            entries[at] = _changed_entry(rng, tiff.order, entries[at])
    built: Sequence[Sequence[Entry]] = directories
    if chance(rng, 0.95):
        built = [sorted(entries, key=lambda entry: entry.tag) for entries in directories]
    made = replace(tiff, directories=tuple(tuple(entries) for entries in built)).build(loop=chance(rng, 0.03))
    return damaged(rng, made, other, most=2) if chance(rng, 0.1) else made
