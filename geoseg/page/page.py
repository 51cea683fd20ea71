"""The shell of a page: one file that needs nothing else, and is allowed nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from geoseg.page.markup import Html, Node, el, join


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a page.

    Attributes:
        name: its anchor.
        title: its heading, and its entry in the list at the top.
        content: what it says; a section without is left out.
    """

    name: str
    title: str
    content: Html | None


def page(
    *,
    title: str,
    lead: Node,
    sections: Sequence[Section],
    foot: Node,
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
    served: bool = False,
) -> str:
    """A whole HTML document.

    Its policy forbids the browser to fetch anything, and to run any script but those given.

    Args:
        title: of the page.
        lead: below the title.
        sections: one after the other.
        foot: at the end.
        styles: further style sheets, without the tags around them.
        scripts: run in this order at the end of the page.
        served: the page may ask the server that it came from, and no other, for pictures and data.
    """
    told = [section for section in sections if section.content]
    policy = policy_of(scripts, served=served)
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        # Its own icon, empty, so that no browser goes looking for one.
        el("link", rel="icon", href="data:,"),
        *(Html(f"<style>\n{style}</style>") for style in (asset(__package__, "page.css"), *styles)),
    )
    contents = el("ul", *(el("li", el("a", part.title, href=f"#{part.name}")) for part in told))
    body = el(
        "body",
        el("header", el("h1", el("bdi", title)), lead),
        el("nav", contents, aria_label="Contents"),
        el("main", *map(_section, told)),
        el("footer", foot),
        *(Html(f"<script>{script}</script>") for script in scripts),
    )
    return f'<!DOCTYPE html>\n<html lang="en">\n{join(head, chr(10), body)}\n</html>\n'


def _section(section: Section) -> Html:
    heading = el("h2", section.title, id=f"{section.name}-title")
    return el("section", heading, section.content, id=section.name, aria_labelledby=f"{section.name}-title")


def policy_of(scripts: Sequence[str], *, served: bool = False) -> str:
    """The Content-Security-Policy of a page with these scripts."""
    hashes = " ".join(f"'{_hash(script)}'" for script in scripts) or "'none'"
    own = "'self' " if served else ""
    policy = f"default-src 'none'; img-src {own}data:; style-src 'unsafe-inline'; script-src {hashes}; "
    policy += "connect-src 'self'; " if served else ""
    return policy + "base-uri 'none'; form-action 'none'"


@cache
def asset(package: str, name: str) -> str:
    """Text of a file of a room; inside of an element that no markup ends but the element's own."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """What the policy calls a script that may run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode('ascii')}"
