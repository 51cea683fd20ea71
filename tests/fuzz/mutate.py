"""Damages bytes and JSON, the same way for the same random numbers."""

from __future__ import annotations

import copy
import json
import math
import string
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Json = Any

WORDS = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1)
"""Whole numbers around which programs err."""

TEXTS = (
    "", " ", "\n", "a\nb", "\x00", "a\x00b", "\x1b[2J", "\u202e", "\ufeff", "\ud800", "é", "\U0001f600",
    "../x", "/etc/passwd", "C:\\x", "file:///etc/passwd", "http://127.0.0.1:9/x", "/vsicurl/http://x/y",
    "%s%n", "{0}", "[b]x", "<b>", "&amp;", "NaN", "1e999", "-1", "0x10", "None", "true", "٣", ";", "'; --",
    "a" * 300, "class", "background", "boundary", "object",
)  # fmt: skip

ODD: tuple[Json, ...] = (
    None, True, False, [], {}, [[]], [None], {"": {}}, -0.0, 0.5, 1.5, -1, -(2**31), -(2**63), 2**53 + 1,
    2**63 - 1, 2**63, 2**64, 10**30, 10**400, 5e-324, 1e-300, 1e16, 1e300, 1.7e308, -1e308,
    math.nan, math.inf, -math.inf, *WORDS, *TEXTS,
)  # fmt: skip
"""Values that are rarely thought of."""


def chance(rng: Random, share: float) -> bool:
    """Whether something that happens in this share of cases does."""
    return rng.random() < share


# ---------------------------------------------------------------------------------------------- bytes


def _flip(rng: Random, data: bytearray, _: bytes) -> None:
    at = rng.randrange(len(data))
    data[at] ^= 1 << rng.randrange(8)


def _set(rng: Random, data: bytearray, _: bytes) -> None:
    data[rng.randrange(len(data))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def _word(rng: Random, data: bytearray, _: bytes) -> None:
    size = rng.choice((1, 2, 4, 8))
    at = rng.randrange(max(1, len(data) - size + 1))
    value = (rng.choice(WORDS) + rng.randint(-1, 1)) % 256**size
    data[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))


def _cut(rng: Random, data: bytearray, _: bytes) -> None:
    at = rng.randrange(len(data))
    del data[at : at + rng.randint(1, min(64, len(data)))]


def _end(rng: Random, data: bytearray, _: bytes) -> None:
    del data[rng.randrange(len(data)) :]


def _repeat(rng: Random, data: bytearray, _: bytes) -> None:
    at = rng.randrange(len(data))
    data[at:at] = data[at : at + rng.randint(1, 64)] * rng.choice((1, 1, 2, 30))


def _fill(rng: Random, data: bytearray, _: bytes) -> None:
    at, size = rng.randrange(len(data)), rng.randint(1, 32)
    data[at : at + size] = bytes([rng.choice((0, 255, rng.randrange(256)))]) * len(data[at : at + size])


def _noise(rng: Random, data: bytearray, _: bytes) -> None:
    at, size = rng.randrange(len(data)), rng.randint(1, 32)
    data[at : at + size] = rng.randbytes(size)


def _splice(rng: Random, data: bytearray, other: bytes) -> None:
    if not other:
        return
    begin, at = rng.randrange(len(other)), rng.randrange(len(data))
    piece = other[begin : begin + rng.randint(1, 256)]
    data[at : at + (len(piece) if chance(rng, 0.5) else 0)] = piece


def _move(rng: Random, data: bytearray, _: bytes) -> None:
    begin, at, size = rng.randrange(len(data)), rng.randrange(len(data)), rng.randint(1, 64)
    piece = data[begin : begin + size]
    data[at : at + len(piece)] = piece


_BYTE_OPERATIONS: tuple[Callable[[Random, bytearray, bytes], None], ...] = (
    *(_flip, _flip, _set, _set, _word, _word, _cut, _end, _repeat, _fill, _noise, _splice, _move),
)


def damaged(rng: Random, data: bytes, other: bytes = b"", *, most: int = 4) -> bytes:
    """``data`` with 1 to ``most`` small damages; ``other`` is what may be spliced into it."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, most)):
        if not changed:
            return rng.randbytes(rng.randint(0, 16))
        rng.choice(_BYTE_OPERATIONS)(rng, changed, other)
    return bytes(changed)


def damaged_text(rng: Random, text: str) -> str:
    """Text with something odd in it."""
    at = rng.randint(0, len(text))
    kind = rng.randrange(6)
    if kind == 0:
        return rng.choice(TEXTS)
    if kind == 1:
        return text[:at] + rng.choice(TEXTS) + text[at:]
    if kind == 2:
        return text[:at]
    if kind == 3:
        return text[:at] + rng.choice(string.printable) + text[at + 1 :]
    if kind == 4:
        return text[:at] + str(number(rng)) + text[at + rng.randint(0, 3) :]
    return text * rng.choice((2, 50))


def number(rng: Random) -> float | int:
    """A number, seldom a harmless one."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.choice(WORDS) + rng.randint(-1, 1)
    if kind == 1:
        return -rng.choice(WORDS)
    if kind == 2:
        return rng.choice(
            (math.nan, math.inf, -math.inf, 1e308, -1e308, 5e-324, 1e-9, 0.1, 1e20, 2**63, 10**25)
        )
    if kind == 3:
        return rng.uniform(-1000, 1000)
    return rng.randint(-5, 300)


# ----------------------------------------------------------------------------------------------- JSON


def _places(value: Json, found: list[tuple[Any, Any]]) -> None:
    """Every container and key below ``value``, as far as a few thousand."""
    keys: Sequence[Any] = ()
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        # Of long lists the ends are enough.
        keys = range(len(value)) if len(value) <= 40 else [*range(20), *range(len(value) - 20, len(value))]
    for key in keys:
        if len(found) > 4000:
            return
        found.append((value, key))
        _places(value[key], found)


def _other_value(rng: Random, old: Json, places: list[tuple[Any, Any]]) -> Json:
    kind = rng.randrange(8)
    if kind == 0:
        return rng.choice(ODD)
    if kind == 1 and places:
        container, key = rng.choice(places)
        return copy.deepcopy(container[key])
    if kind == 2:
        return rng.choice(([old], {"a": old}, str(old), [old] * rng.choice((2, 300))))
    if kind == 3 and isinstance(old, list | dict):
        deep: Json = old
        for _ in range(rng.choice((3, 200))):
            deep = [deep]
        return deep
    if isinstance(old, bool) or old is None:
        return rng.choice((True, False, None, 0, 1, "true"))
    if isinstance(old, int | float):
        if chance(rng, 0.5):
            return number(rng)
        try:
            return rng.choice((old + 1, old - 1, -old, old * 2, old * 1000, float(old), old / 3, str(old)))
        except OverflowError:
            return -1
    if isinstance(old, str):
        return damaged_text(rng, old)
    if isinstance(old, list) and old:
        at = rng.randrange(len(old))
        return rng.choice(
            (old[:at], old[at:], old + old, old[::-1], [*old, rng.choice(ODD)], old[:at] + old[at + 1 :])
        )
    return rng.choice(ODD)


def damaged_json(rng: Random, value: Json, *, most: int = 3) -> Json:
    """A copy of ``value`` with 1 to ``most`` changes: other values, keys gone, moved, renamed or added."""
    holder = {"root": copy.deepcopy(value)}
    for _ in range(rng.randint(1, most)):
        places: list[tuple[Any, Any]] = []
        _places(holder["root"], places)
        if not places or chance(rng, 0.01):
            holder["root"] = rng.choice(ODD)
            continue
        container, key = rng.choice(places)
        kind = rng.randrange(10)
        if kind == 0:
            del container[key]
        elif kind == 1 and isinstance(container, dict):
            container[damaged_text(rng, str(key))] = container.pop(key)
        elif kind == 2 and isinstance(container, dict):
            container[rng.choice(TEXTS)] = rng.choice(ODD)
        elif kind == 3 and isinstance(container, list):
            container.insert(rng.randint(0, len(container)), copy.deepcopy(container[key]))
        else:
            container[key] = _other_value(rng, container[key], places)
    return holder["root"]


def json_bytes(rng: Random, value: Json) -> bytes:
    """``value`` as a file: mostly sound JSON, sometimes with NaN, and now and then with damaged bytes."""
    indent = rng.choice((None, None, 1))
    data = json.dumps(value, indent=indent, ensure_ascii=True).encode()
    if chance(rng, 0.15):
        data = damaged(rng, data, b'{"a":[1e999,"\\ud800",-0,nul]}', most=2)
    if chance(rng, 0.02):
        data = rng.choice(
            (
                b"\xef\xbb\xbf" + data,
                data.decode("utf-8", "replace").encode("utf-16"),
                b"[" * 100_000,
                data + b"\x00",
            )
        )
    return data
