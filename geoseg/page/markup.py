"""Markup that is safe by construction: plain text is escaped wherever it enters, only :class:`Html` is not.

Names of classes, bands and scenes may come from strangers. Besides the characters of markup they may hold
control characters, some of which turn the direction of the text around them: those are shown, not obeyed.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from geoseg.raster.remote import file_name, shown

VOID = frozenset({"meta", "img", "br", "hr", "link", "input", "col"})
"""Elements of HTML without an end tag that are used here."""

_SHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_KEPT = frozenset("\n\t\u200d\u200c")
"""Line ends, and the joiners that some scripts and emoji need."""


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


Node = Html | str | None
"""What may stand inside of an element; plain text is escaped, ``None`` is nothing."""

Attribute = str | int | float | bool | None
"""``None`` and ``False`` leave the attribute out, ``True`` writes its name alone."""


def escaped(text: str) -> Html:
    """``text`` as markup that shows it, within an element or a quoted attribute."""
    return Html(html.escape(visible(text), quote=True))


def visible(text: str) -> str:
    r"""``text`` with control characters, direction marks and lone surrogates written as ``\u`` and digits."""
    return "".join(
        f"\\u{ord(char):04x}" if unicodedata.category(char) in _SHOWN and char not in _KEPT else char
        for char in text
    )


def el(name: str, /, *children: Node, **attributes: Attribute) -> Html:
    """An element.

    Args:
        name: of HTML or SVG.
        children: markup, or text to escape.
        attributes: ``class_`` is ``class``, ``data_x`` is ``data-x``.
    """
    start = f"<{name}{''.join(_attribute(*pair) for pair in attributes.items())}>"
    if name in VOID:
        return Html(start)
    return Html(f"{start}{join(*children)}</{name}>")


def join(*nodes: Node) -> Html:
    """The nodes one after the other."""
    return Html("".join(node if isinstance(node, Html) else escaped(node) for node in nodes if node))


def name_of(text: str) -> Html:
    """A name from outside, whose direction of writing ends with it."""
    return el("bdi", text)


def names_of(paths: Sequence[Path]) -> list[str]:
    """Names of files, or whole paths where names do not tell them apart."""
    short = [file_name(path) for path in paths]
    return short if len(set(short)) == len(short) else [shown(path) for path in paths]


def _attribute(name: str, value: Attribute) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {written}"
    return f' {written}="{escaped(str(value))}"'
