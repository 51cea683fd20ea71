"""The README tells what the tool does: its help, its verbs, its pictures."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def shown_help(*verb: str) -> str:
    """What ``geoseg [VERB] --help`` prints on a terminal of 100 columns without colours."""
    environment = {**os.environ, "COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "geoseg_cli", *verb, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())


def test_help_in_the_readme_is_the_real_one() -> None:
    block = re.search(r"## `geoseg --help`\n\n```text\n(.*?)```", README, re.DOTALL)
    assert block is not None
    # Releases of rich differ by a space here and there.
    assert block.group(1).split() == shown_help().split()


@pytest.mark.parametrize(
    "verb",
    [
        "tile",
        "doctor",
        "train",
        "predict",
        "merge",
        "vectorize",
        "evaluate",
        "report",
        "view",
        "export",
        "check-seams",
        "demo",
        "info",
    ],
)
def test_every_option_the_readme_names_exists(verb: str) -> None:
    shown = shown_help(verb)
    calls = re.findall(rf"geoseg {verb} ([^\n`#]*)", README)
    assert calls, f"the README does not show geoseg {verb}"
    for call in calls:
        for option in re.findall(r"(?<!\S)--[a-z-]+", call):
            assert option in shown, f"{option} of: geoseg {verb} {call}"


def test_pictures_and_links_exist() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target


def test_nothing_was_left_open() -> None:
    assert "@@" not in README
