"""Help texts: examples that parse, defaults that are those of config.py, and nothing heavy imported."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import Any, get_args

import pytest
import typer.main

from geoseg import config
from geoseg_cli.app import app
from geoseg_cli.main import main

ROOT = typer.main.get_command(app)
VERBS = tuple(ROOT.commands)  # type: ignore[attr-defined]
HEAVY = {"torch", "torchvision", "rasterio", "geopandas", "pyogrio", "shapely", "pandas", "numpy", "pydantic"}
SECTIONS = {
    "tile": [config.TileConfig],
    "predict": [config.PredictConfig],
    "vectorize": [config.VectorizeConfig],
    "evaluate": [config.EvaluateConfig],
}


def command_of(verb: str) -> Any:
    return ROOT.commands[verb]  # type: ignore[attr-defined]


def settings_of(verb: str) -> list[Any]:
    return [p for p in command_of(verb).params if isinstance(getattr(p, "show_default", None), str)]


def help_of(verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    monkeypatch.setenv("COLUMNS", "200")
    assert main([verb, "--help"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_every_stage_is_a_verb() -> None:
    assert VERBS == (
        "tile",
        "doctor",
        "train",
        "predict",
        "merge",
        "vectorize",
        "evaluate",
        "report",
        "view",
        "check-seams",
        "export",
        "demo",
        "info",
    )


@pytest.mark.parametrize("verb", VERBS)
def test_help_starts_with_one_line_and_has_two_examples_that_parse(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [line.strip() for line in help_of(verb, capsys, monkeypatch).splitlines()]
    examples = [line for line in shown if line.startswith(f"geoseg {verb}")]
    assert len(examples) == 2
    assert command_of(verb).help.splitlines()[0] in shown
    for example in examples:
        assert len(example) <= 78  # a terminal of 80 columns must not break what is to be copied
        command_of(verb).make_context(verb, shlex.split(example)[2:])  # raises when it does not parse


@pytest.mark.parametrize("verb", VERBS)
def test_help_groups_the_options(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = help_of(verb, capsys, monkeypatch)
    assert "─ Options ─" not in shown
    for option in ("--quiet", "--verbose", "--json", "--debug", "--help"):
        assert option in shown.partition("─ Talk ─")[2]


@pytest.mark.parametrize("verb", VERBS)
def test_settings_are_fields_of_the_configuration(verb: str) -> None:
    for param in settings_of(verb):
        section, _, name = param.show_default.partition(".")
        field = getattr(config, section).model_fields[name]
        assert param.name == name
        assert param.default is None  # config.py has the default
        if param.type_descriptor.is_choice:
            choices = [
                get_args(part) or [part] for part in (get_args(field.annotation) or [field.annotation])
            ]
            assert set(param.type_descriptor.choices) <= {c for group in choices for c in group}
            assert list(param.type_descriptor.choices) == [
                c for group in choices for c in group if c is not type(None)
            ]


@pytest.mark.parametrize("verb", list(SECTIONS))
def test_every_field_has_an_option(verb: str) -> None:
    fields = {f"{s.__name__}.{name}" for s in SECTIONS[verb] for name in s.model_fields}
    assert {param.show_default for param in settings_of(verb)} == fields


@pytest.mark.parametrize("verb", [*SECTIONS, "train"])
def test_help_shows_the_configured_defaults(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = help_of(verb, capsys, monkeypatch).splitlines()
    for param in settings_of(verb):
        section, _, name = param.show_default.partition(".")
        default = getattr(config, section).model_fields[name].default
        index = next(
            i for i, line in enumerate(lines) if line[:1] == "│" and param.opts[0] in re.split("[ ,]", line)
        )
        row = lines[index] + lines[index + 1]  # long help texts go on in the next line
        if default is None:
            assert "[default" not in lines[index]
        elif isinstance(default, bool):
            flag = (param.opts if default else param.secondary_opts)[0].removeprefix("--")
            assert f"[default: {flag}]" in row
        else:
            text = f"{default:g}" if isinstance(default, float) else str(default)
            assert f"[default: {text}]" in row


def test_default_follows_config(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.TileConfig.model_fields["size_px"], "default", 4224)
    assert "[default: 4224]" in help_of("tile", capsys, monkeypatch)


@pytest.mark.parametrize(
    "args", [["--help"], [], ["--version"], ["trian"], ["predict", "missing.tif", "-o", "x.tif"]]
)
def test_nothing_heavy_is_imported(args: list[str]) -> None:
    code = (
        "import json, sys; from geoseg_cli.main import main; code = main(sys.argv[1:]); "
        "print(json.dumps([code, sorted({m.partition('.')[0] for m in sys.modules})]))"
    )
    done = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=True)
    code_, modules = json.loads(done.stdout.splitlines()[-1])
    unwanted = HEAVY if args == ["--help"] else HEAVY - {"pydantic"}  # typer checks values by pydantic
    assert unwanted & set(modules) == set()
    assert code_ == (2 if args and not args[0].startswith("-") else 0)


def test_bare_call_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    bare = capsys.readouterr()
    assert main(["--help"]) == 0
    assert bare.out == capsys.readouterr().out
    assert all(f" {verb} " in bare.out for verb in VERBS)
    assert bare.err == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    import geoseg

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"geoseg {geoseg.__version__}\n"
    assert main(["--version", "-v"]) == 0
    first, *libraries = capsys.readouterr().out.splitlines()
    assert first == f"geoseg {geoseg.__version__}"
    assert any(line.startswith("torch 2.") for line in libraries)
    assert any(line.startswith("GDAL ") for line in libraries)


def test_python_dash_m() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "geoseg_cli", "predict"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr == "geoseg: error: missing argument 'SCENE'; see geoseg predict --help\n"


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [("geoseg tr", "train"), ("geoseg predict --prec", "--precision"), ("geoseg train --device c", "cuda")],
)
def test_shell_completion(typed: str, wanted: str) -> None:
    words = typed.split()
    done = subprocess.run(
        [sys.executable, "-m", "geoseg_cli"],
        capture_output=True,
        text=True,
        check=False,
        env={
            "PATH": "/usr/bin:/bin",
            "_GEOSEG_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(words) - 1),
        },
    )
    assert wanted in done.stdout.split()
    assert done.stderr == ""
