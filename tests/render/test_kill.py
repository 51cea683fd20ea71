"""A real process, killed for real: SIGKILL, SIGTERM, SIGINT; then --resume gives the same bytes."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from models_of_tests import noise, write_model
from scenes import write_scene

from geoseg.predict import predict
from geoseg.render.journal import journal_folder

KILLS = int(os.environ.get("GEOSEG_TEST_KILLS", "3"))
"""Times the process is killed; more for a thorough look."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene of 27 blocks, a model, and the mask they make."""
    folder = tmp_path_factory.mktemp("kill")
    write_scene(folder / "scene.tif", noise(3, 1100, 600))
    write_model(folder / "model.safetensors")
    (folder / "whole").mkdir()
    predict(folder / "scene.tif", folder / "whole" / "mask.tif", model=folder / "model.safetensors")
    return folder


def start(folder: Path, mask: Path, *more: str) -> subprocess.Popen[str]:
    words = ["predict", folder / "scene.tif", "-o", mask, "--model", folder / "model.safetensors", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "geoseg_cli", *map(str, words)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def blocks(mask: Path) -> int:
    return len(list(journal_folder(mask).glob("*.block")))


def wait_for(process: subprocess.Popen[str], mask: Path, count: int) -> bool:
    """Wait until there are ``count`` blocks; false when the process ended before."""
    while process.poll() is None:
        if blocks(mask) >= count:
            return True
        time.sleep(0.005)
    return False


@pytest.mark.slow
def test_sigkill_at_any_moment(folder: Path, tmp_path: Path) -> None:
    mask = tmp_path / "mask.tif"
    rng = random.Random(0)
    killed = 0
    while killed < KILLS:
        process = start(folder, mask, "--resume")
        # Sometimes as soon as a block is there, sometimes while the next ones are worked on or put together.
        if wait_for(process, mask, blocks(mask) + rng.choice([0, 1, 1, 2])):
            time.sleep(rng.uniform(0.0, 0.3))
        process.kill()
        _, told = process.communicate()
        if process.returncode == 0:
            mask.unlink()  # it was faster: start over
            continue
        assert process.returncode == -signal.SIGKILL, told
        assert not mask.exists()
        killed += 1
    process = start(folder, mask, "--resume")
    _, told = process.communicate(timeout=200)
    assert process.returncode == 0, told
    assert mask.read_bytes() == (folder / "whole" / "mask.tif").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"mask.tif", "mask.tif.aux.xml"}


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signals_keep_the_journal_and_tell_how_to_go_on(
    folder: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    mask = tmp_path / "mask.tif"
    process = start(folder, mask)
    assert wait_for(process, mask, 2)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code, told
    assert not mask.exists()
    last = told.splitlines()[-1]
    assert "blocks are kept in" in last
    assert last.endswith("--resume")
    command = last.partition("go on with: geoseg ")[2].split()
    done = subprocess.run(
        [sys.executable, "-m", "geoseg_cli", *command], capture_output=True, text=True, check=True
    )
    assert "blocks were finished before" in done.stderr
    assert mask.read_bytes() == (folder / "whole" / "mask.tif").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"mask.tif", "mask.tif.aux.xml"}
