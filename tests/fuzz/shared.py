"""What several targets need."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from random import Random

from fuzz.core import Files
from fuzz.mutate import damaged
from geoseg.facts.common import Facts
from geoseg.info import info
from geoseg_cli import facts_text, terminal


def show(facts: Facts) -> None:
    """Print facts as ``geoseg info`` does, both ways."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        terminal.emit_json(facts)
        for line in facts_text.lines(facts):
            terminal.emit(terminal.one_line(line))
    printed.getvalue().encode()


def show_info(path: Path, *, counts: bool = False) -> None:
    """What ``geoseg info`` does."""
    show(info(path, counts=counts))


def seed_and_other(rng: Random, seeds: Sequence[Files]) -> tuple[Files, Files]:
    """Two seeds with the same names, if there are two."""
    seed = rng.choice(seeds)
    alike = [other for other in seeds if other.keys() == seed.keys()]
    return dict(seed), rng.choice(alike)


def damage_one(rng: Random, seed: Files, other: Files, names: Sequence[str] | None = None) -> Files:
    """``seed`` with damaged bytes in one of its files."""
    name = rng.choice(list(names or seed))
    return {**seed, name: damaged(rng, seed[name], other.get(name, b""))}


def files_in(folder: Path) -> Files:
    """All files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
