"""Write docs/verbs: a page for every verb of geoseg, from the very parameters that ``--help`` shows.

Run by ``make docs``; a test compares the pages with what this would write.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
import typer.main

from geoseg_cli import options
from geoseg_cli.app import app

FOLDER = Path(__file__).parent / "verbs"

_EXIT_CODES = {
    0: "done",
    1: "failed while working: a file that cannot be read to its end, a full disk, a loss that is not finite; "
    "or all is done but the page of `--report PAGE` (one that is made unasked is only warned of)",
    2: "wrong use, or input that can never work; told before anything slow begins",
    3: "a score below `--min-miou` or `--min-f1`, or findings with `--strict`",
    129: "stopped by SIGHUP: the terminal was closed",
    130: "stopped by Ctrl-C",
    143: "stopped by SIGTERM",
}
_ASKED_FOR = {
    "--strict": "3: something worse than a note was found, with `--strict`",
    "--min-miou": "3: a score is below `--min-miou` or `--min-f1`",
}
_MADE = "<!-- Made by docs/make_verbs.py: change the help text, then run make docs. -->"


def pages() -> dict[str, str]:
    """Text of every page by its file name."""
    group: Any = typer.main.get_command(app)
    made = {f"{verb}.md": _verb_page(verb, command) for verb, command in group.commands.items()}
    return {"README.md": _index(group), **made}


def _index(group: Any) -> str:
    talk = next(iter(group.commands.values()))
    rows = [(f"[{verb}]({verb}.md)", _cell(_summary(command))) for verb, command in group.commands.items()]
    parts = [
        "# The verbs",
        _MADE,
        "What `geoseg VERB --help` says, one page a verb.",
        _table(("verb", "what it does"), rows),
        "## Of every verb",
        _options_table(talk, [p for p in talk.params if _panel(p) == options.TALK]),
        "Results go to stdout (with `--json` one object), all else to stderr. `NO_COLOR` is honoured.",
        "## Exit codes",
        _table(("code", "means"), [(str(code), text) for code, text in _EXIT_CODES.items()]),
        "An error is one line on stderr, the last one: `geoseg: error: WHAT, WHERE; WHAT TO DO`.",
    ]
    return "\n\n".join(parts) + "\n"


def _verb_page(verb: str, command: Any) -> str:
    context = typer.Context(command, info_name=f"geoseg {verb}")
    usage = " ".join([f"geoseg {verb}", *command.collect_usage_pieces(context)])
    examples = [line.strip() for line in command.help.splitlines() if line.strip().startswith("geoseg ")]
    parts = [
        f"# geoseg {verb}",
        _MADE,
        *_prose(command),
        f"```console\n{chr(10).join(examples)}\n```",
        f"Usage: `{usage}`",
    ]
    for panel, params in _panels(command):
        parts += [f"## {panel}", _options_table(command, params)]
    flags = {flag for param in command.params for flag in param.opts}
    extra = "".join(f" {text}." for flag, text in _ASKED_FOR.items() if flag in flags)
    parts.append(
        f"`-q`, `-v`, `--json`, `--debug` and the exit codes are [those of every verb](README.md).{extra}"
    )
    return "\n\n".join(parts) + "\n"


def _prose(command: Any) -> Iterator[str]:
    """Paragraphs of the help before its examples."""
    for paragraph in command.help.partition("Examples:")[0].split("\n\n"):
        if paragraph.strip():
            yield " ".join(paragraph.split())


def _summary(command: Any) -> str:
    return next(_prose(command))


def _panels(command: Any) -> list[tuple[str, list[Any]]]:
    """Parameters by panel in the order of the help, without the panel that all verbs share."""
    found: dict[str, list[Any]] = {}
    for param in command.params:
        if not param.hidden and _panel(param) != options.TALK:
            found.setdefault(_panel(param), []).append(param)
    return sorted(found.items(), key=lambda item: item[0] != "Arguments")


def _panel(param: Any) -> str:
    named = getattr(param, "rich_help_panel", None)
    return named or ("Arguments" if param.param_type_name == "argument" else "Options")


def _options_table(command: Any, params: Iterable[Any]) -> str:
    context = typer.Context(command)
    rows = [(_name(param), _kind(param, context), _told(param)) for param in params]
    return _table(("", "value", ""), rows)


def _name(param: Any) -> str:
    if param.param_type_name == "argument":
        return f"`{param.metavar or param.name}`"
    flags = sorted(param.opts, key=len) if len(param.opts[0]) == 2 else param.opts
    text = ", ".join(f"`{flag}`" for flag in flags)
    return f"{text} / `{param.secondary_opts[0]}`" if param.secondary_opts else text


def _kind(param: Any, context: Any) -> str:
    """What is to be typed after the flag; nothing for switches."""
    if getattr(param, "is_bool_flag", False) or getattr(param, "count", False):
        return ""
    if param.param_type_name == "option" and param.metavar:
        return _either(param.metavar)
    kind = (param.display_type_rich(ctx=context) or "").strip("<>").lower().removesuffix(" range")
    if kind.startswith("list["):
        kind = f"{kind[5:-1]} ..."
    return _either(kind)


def _either(kind: str) -> str:
    """A bar would end the cell of the table."""
    return " or ".join(f"`{part}`" for part in kind.split("|")) if kind else ""


def _told(param: Any) -> str:
    text = _cell(param.help or "")
    default = _default(param)
    notes = [*(["**required**"] if param.required else []), *([f"default: `{default}`"] if default else [])]
    return f"{text} ({', '.join(notes)})" if notes else text


def _default(param: Any) -> str | None:
    """As ``--help`` shows it: from the configuration where the option stands for one of its fields."""
    shown = param.show_default
    value = options.shown_default(shown) if isinstance(shown, str) else param.default if shown else None
    if isinstance(value, bool):
        if not param.secondary_opts:
            return None
        return (param.opts if value else param.secondary_opts)[0]
    return None if value is None or callable(value) or value == () else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write() -> None:
    """Bring the folder up to date, pages of verbs that are gone included."""
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for page in FOLDER.glob("*.md"):
        if page.name not in made:
            page.unlink()
    for name, text in made.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
