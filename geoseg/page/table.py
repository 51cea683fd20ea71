"""Tables, lists of facts, and parts that are folded away."""

from __future__ import annotations

from collections.abc import Sequence

from geoseg.page.markup import Html, Node, el, join


def table(
    head: Sequence[Node],
    rows: Sequence[Sequence[Node]],
    *,
    caption: Node = None,
    foot: Sequence[Node] | None = None,
    words: int = 1,
) -> Html:
    """A table that scrolls sideways where the page is too narrow for it.

    Args:
        head: names of the columns.
        rows: cells; the first of each names the row.
        caption: above the table.
        foot: a last row that sums up.
        words: columns from the left that hold words; the others hold figures, aligned at their right.
    """

    def row(cells: Sequence[Node]) -> Html:
        named = el("th", cells[0], scope="row")
        return el("tr", named, *(_cell("td", cell, at, words) for at, cell in enumerate(cells[1:], 1)))

    made = scrolling(
        el(
            "table",
            el(
                "thead",
                el("tr", *(_cell("th", cell, at, words, scope="col") for at, cell in enumerate(head))),
            ),
            el("tbody", *map(row, rows)),
            el("tfoot", row(foot)) if foot else None,
        )
    )
    # Not the table's own caption: that would be as wide as the table, and scroll away with it.
    return el("figure", el("figcaption", caption), made, class_="tabled") if caption else made


def scrolling(content: Html) -> Html:
    """Content that may be wider than the page; the keyboard reaches it too."""
    return el("div", content, class_="scrolling", tabindex=0)


def facts(pairs: Sequence[tuple[Node, Node]]) -> Html:
    """Names and what is to be said of each; those without a value are left out."""
    known = [(name, value) for name, value in pairs if value]
    return el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in known), class_="facts")


def tiles(entries: Sequence[tuple[str, str, Node]]) -> Html:
    """Large figures: a name, the figure, and a word on it."""
    return el(
        "dl",
        *(
            el("div", el("dt", name), el("dd", figure, class_="figure"), el("dd", note) if note else None)
            for name, figure, note in entries
        ),
        class_="tiles",
    )


def folded(summary: Node, *content: Node, opened: bool = False) -> Html:
    """Content that opens on demand."""
    return el("details", el("summary", summary), join(*content), open=opened)


def with_bar(text: str, share: float | None) -> Html:
    """A figure over a bar as long as ``share``, 0 to 1."""
    if share is None or share != share:
        return el("span", text)
    return el("span", text, class_="bar", style=f"--share:{100 * min(1.0, max(0.0, share)):.1f}%")


def _cell(name: str, content: Node, at: int, words: int, *, scope: str | None = None) -> Html:
    return el(name, content, scope=scope, class_=None if at < words else "number")
