"""A short form of ``make fuzz``: the same inputs each time, of every target, in child processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

from fuzz import TARGETS
from fuzz.core import Files, Target, campaign
from geoseg.errors import GeosegError

COUNTS = {"geotiff": 800, "vectors": 500, "sidecars": 300, "masks": 300, "chips": 400, "coco": 3000}
COUNTS |= {"models": 500, "config": 300, "shards": 400}
"""Inputs of each target: together about a minute and a half."""


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_damaged_files_end_as_results_or_as_one_line(name: str, tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    ran = subprocess.run(
        [sys.executable, "-m", "fuzz", "--target", name, "--count", str(COUNTS[name]), "--seconds", "240"],
        env={**os.environ, "PYTHONPATH": str(tests)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    told = re.search(r"([0-9,]+) executions, .* ([0-9]+)% refused, 0 findings", ran.stdout)
    assert told is not None, ran.stdout
    assert int(told[1].replace(",", "")) == COUNTS[name]
    # Neither all nor, but for masks, none: inputs that get nowhere find nothing.
    assert (0 if name == "masks" else 5) <= int(told[2]) <= 95


def _misbehave(folder: Path, rng: Random) -> None:
    kind = (folder / "kind").read_text()
    if kind == "dies":
        os.kill(os.getpid(), 11)
    elif kind == "hangs":
        while True:
            rng.random()
    elif kind == "talks":
        os.write(2, b"libtiff says 17")
    elif kind == "eats":
        bytearray(600_000_000)
    elif kind == "litters":
        (folder / "x.aux.xml").touch()
    elif kind == "raises":
        raise KeyError("x")
    elif kind == "refuses":
        raise GeosegError("no")


KINDS = ("dies", "fine", "hangs", "talks", "eats", "litters", "raises", "refuses")


def _seeds(folder: Path) -> list[Files]:
    return [{"kind": kind.encode()} for kind in KINDS]


def _damage(rng: Random, seeds: Sequence[Files]) -> Files:
    return seeds[1]


@pytest.mark.slow
def test_what_must_not_happen_is_found_and_its_input_kept(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from fuzz.test_fuzz import Target, campaign, _seeds, _damage, _misbehave\n"
        "target = Target(name='bad', seeds=_seeds, damage=_damage, run=_misbehave)\n"
        "tally = campaign(target, numbers=range(20), seconds=200, scratch=Path('s'), keep=Path('keep'))\n"
        "print(tally.executions, tally.refused, len(tally.findings))\n"
        "print(*tally.findings, sep='\\n')\n"
    )
    Path("s").mkdir()
    ran = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert ran.stderr == ""
    assert ran.stdout.splitlines() == [
        "20 1 6",
        "death by SIGSEGV",
        "hang",
        "noise: libtiff says 0",
        "memory",
        "file .xml beside the input",
        "KeyError outside of geoseg",
    ]
    kept = {(folder / "kind").read_text() for folder in Path("keep").iterdir()}
    assert kept == {*KINDS} - {"fine", "refuses"}


def test_an_input_follows_from_its_number() -> None:
    made = [
        Target(name="n", seeds=_seeds, damage=lambda rng, _: {"x": rng.randbytes(8)}, run=_misbehave)
        for _ in "ab"
    ]
    inputs = [[target.input(_seeds(Path()), number) for number in range(30)] for target in made]
    assert inputs[0] == inputs[1]
    assert inputs[0][:8] == _seeds(Path())
    assert len({item["x"] for item in inputs[0][8:]}) == 22
    assert campaign.__doc__
