"""The documentation: links lead somewhere, verb pages are those of the verbs, calls that are shown parse."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import typer.main

from geoseg import config
from geoseg_cli.app import app

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def generator() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("make_verbs", DOCS / "make_verbs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(path: Path) -> set[str]:
    """What a forge makes of the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def prose(path: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def test_verb_pages_are_fresh() -> None:
    made = generator().pages()
    assert set(made) == {"README.md", *(f"{verb}.md" for verb in COMMANDS)}
    assert {path.name for path in (DOCS / "verbs").iterdir()} == set(made)
    for name, text in made.items():
        assert (DOCS / "verbs" / name).read_text(encoding="utf-8") == text, f"{name} is stale: make docs"


def test_verb_pages_hold_every_flag_and_the_configured_defaults() -> None:
    made = generator().pages()
    for verb, command in COMMANDS.items():
        page = made[f"{verb}.md"] + made["README.md"]
        for param in command.params:
            for flag in (*param.opts, *param.secondary_opts):
                if flag.startswith("--"):
                    assert f"`{flag}`" in page, f"{verb} {flag}"
    assert f"default: `{config.TileConfig().size_px}`" in made["tile.md"]
    assert f"default: `{config.PredictConfig().margin:g}`" in made["predict.md"]


def test_links_lead_somewhere() -> None:
    assert len(PAGES) > 20
    for page in PAGES:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
            if re.match(r"https?://", target):
                continue
            place, _, anchor = target.partition("#")
            found = (page.parent / place).resolve() if place else page
            assert found.exists(), f"{page.relative_to(ROOT)} links to {target}"
            assert ROOT in found.parents
            if anchor:
                assert anchor in anchors(found), f"{page.relative_to(ROOT)} links to {target}"


def test_files_that_are_named_exist() -> None:
    for page in PAGES:
        for name in re.findall(
            r"`((?:tests|benchmarks|docs|geoseg|cli|configs)/[\w./-]+\.\w+)`", prose(page)
        ):
            assert (ROOT / name).is_file(), f"{page.relative_to(ROOT)} names {name}"


def test_no_path_of_somebody_s_machine() -> None:
    for page in PAGES:
        found = re.findall(
            r"(?<![\w.])/(?:home|root|work|Users|mnt|opt)/\S*", page.read_text(encoding="utf-8")
        )
        assert found == [], page.name


@pytest.mark.parametrize("page", ["tutorial.md", "benchmarks.md"])
def test_calls_that_are_shown_parse(page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    calls = [line for block in blocks for line in block.splitlines() if line.startswith("geoseg ")]
    assert calls
    for call in calls:
        _, verb, *words = shlex.split(call, comments=True)
        COMMANDS[verb].make_context(verb, words)  # raises when it does not parse


def test_pictures_are_small_and_all_are_shown() -> None:
    pictures = [path for path in (DOCS / "images").iterdir() if path.suffix == ".webp"]
    assert sum(path.stat().st_size for path in pictures) < 600_000
    shown = "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("*.md"))
    assert all(f"(images/{path.name})" in shown for path in pictures)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_example_in_python_runs(tmp_path: Path) -> None:
    text = (DOCS / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    told = re.search(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    assert told is not None
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith(told.group(1))
    assert {"mask.tif", "parcels.gpkg", "report.html"} <= {path.name for path in tmp_path.iterdir()}


def test_making_the_pages_needs_no_torch() -> None:
    import subprocess

    code = (
        f"import runpy, sys; runpy.run_path({str(DOCS / 'make_verbs.py')!r}); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
