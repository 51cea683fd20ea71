"""Hostile files meet the verbs that open them, in processes of their own that are watched from outside."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hostile import PATIENCE_S, Watch
from hostile_bombs import SLOW
from hostile_files import COMMANDS, lay_out, make_kit, words
from hostile_rasters import RASTERS
from hostile_refusals import REFUSED_RASTERS
from hostile_states import CASES as STATES
from hostile_vectors import LABELS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's inotify watches the canaries")

# What all verbs refuse alike, test_hostile.py sees refused.
OPENED = {name: make for name, make in RASTERS.items() if name not in REFUSED_RASTERS}
SLOTS = {"scene": OPENED, "mask": OPENED, "labels": LABELS, **STATES}
TURNS = {"scene": 1, "mask": 1}
"""How many verbs each file of a slot meets; of all other slots two."""

BOMB_S = 1.5
"""After this time a verb at work on a bomb is told to end."""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("slot", SLOTS)
def test_every_verb_meets_hostile_files(slot: str, tmp_path: Path, whole_kit: Path) -> None:
    """Of the verbs that open such a file each file meets some, in turn: a campaign of some 300 tries."""
    commands = COMMANDS[slot]
    turns = min(TURNS.get(slot, 2), len(commands))
    with Watch(tmp_path / "watch") as watch:
        lures = lay_out(watch.canaries.folder, watch.canaries.url)
        wrong = {}
        for at, (name, make) in enumerate(SLOTS[slot].items()):
            for turn in range(turns):
                command = commands[(turns * at + turn) % len(commands)]
                folder = tmp_path / f"{name}-{turn}"
                folder.mkdir()
                tried = watch.run(
                    words(command, make(folder, whole_kit, lures), whole_kit),
                    folder,
                    patience_s=BOMB_S if name in SLOW else PATIENCE_S,
                )
                if tried.outcome == "neither" or (tried.outcome == "stopped" and name not in SLOW):
                    wrong[f"{name}: {command}"] = (tried.outcome, *tried.wrongs[:3], tried.line)
    assert wrong == {}


@pytest.fixture(scope="module")
def whole_kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files of every kind."""
    return make_kit(tmp_path_factory.mktemp("good"))
