"""Hostile files meet the verbs that open them, in processes of their own that are watched from outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hostile import Watch
from hostile_files import COMMANDS, lay_out, make_kit, words
from hostile_states import CASES as STATES
from hostile_vectors import LABELS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's inotify watches the canaries")

# Scenes and masks meet the door in test_hostile.py: some unfold for minutes before they are done.
SLOTS = {"labels": LABELS, **STATES}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("slot", SLOTS)
def test_every_verb_meets_hostile_files(slot: str, tmp_path: Path, whole_kit: Path) -> None:
    """Of the verbs that open such a file each file meets two, in turn: a campaign of some 250 tries."""
    with Watch(tmp_path / "watch") as watch:
        lures = lay_out(watch.canaries.folder, watch.canaries.url)
        wrong = {}
        for at, (name, make) in enumerate(SLOTS[slot].items()):
            for turn in range(min(2, len(COMMANDS[slot]))):
                command = COMMANDS[slot][(2 * at + turn) % len(COMMANDS[slot])]
                folder = tmp_path / f"{name}-{turn}"
                folder.mkdir()
                tried = watch.run(words(command, make(folder, whole_kit, lures), whole_kit), folder)
                if tried.outcome == "neither":
                    wrong[f"{name}: {command}"] = (*tried.wrongs[:3], tried.line)
    assert wrong == {}


@pytest.fixture(scope="module")
def whole_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files of every kind."""
    return make_kit(tmp_path_factory.mktemp("good"))
