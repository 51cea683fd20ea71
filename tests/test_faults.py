"""Bad days: killed at any moment, a full disk, two runs at once, odd names. Whole outputs or none."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from faults import RENAMING, Ended, Job, Launcher, content, litter
from faults_cases import BY_VERB, CHIPS, Case, make_world
from models_of_tests import noise
from safetensors.torch import load_file
from scenes import north_up, pixel_box, write_class_raster, write_labels, write_scene

from geoseg.errors import OutputError
from geoseg.outputs import held

KILLS = int(os.environ.get("GEOSEG_TEST_KILLS", "6"))
"""Times a process is killed; more for a thorough look."""

TILE = ("tile", "../scene.tif", "-l", "../labels.gpkg", "-o", "chips", *CHIPS)
VECTORIZE = ("vectorize", "../mask.tif", "-o", "v.gpkg")
REPORT = ("report", "../scene.tif", "../mask.tif", "-o", "r.html")
MADE = {TILE: "chips", VECTORIZE: "v.gpkg", REPORT: "r.html"}


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    with Launcher(tmp_path_factory.mktemp("told")) as launcher:
        yield launcher


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene, its labels, and a mask."""
    world = tmp_path_factory.mktemp("world")
    write_scene(world / "scene.tif", noise(3, 128, 128))
    places = [(row, col) for row in range(4, 128, 40) for col in range(4, 128, 40)]
    write_labels(world / "labels.gpkg", [pixel_box(north_up(), *place, 30, 26) for place in places])
    ids = np.kron(np.random.default_rng(0).integers(0, 3, (16, 16)), np.ones((8, 8))).astype(np.uint8)
    write_class_raster(world / "mask.tif", ids, nodata=255)
    return world


@pytest.fixture
def here(world: Path) -> Iterator[Path]:
    """An empty folder beside the inputs."""
    folder = world / "here"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


def a_line(ended: Ended, code: int, starts: str = "") -> None:
    """Insist on one line of error, the last one."""
    assert ended.code == code, ended
    assert ended.line.startswith(f"geoseg: error: {starts}"), ended
    assert "Traceback" not in ended.err
    assert "is a bug" not in ended.err
    assert not ended.left


def old_and_new(launcher: Launcher, here: Path, call: tuple[str, ...]) -> tuple[str | None, str | None]:
    """Make what another call made before at the output; contents of that, and of what the call makes."""
    made = here / MADE[call]
    assert launcher.run([*call, "--overwrite"], here).code == 0
    new = content(made)
    if made.is_dir():
        (made / "from before").touch()
    else:
        made.write_text("old")
    return content(made), new


def wait_for_rename(job: Job) -> None:
    while RENAMING not in job.err():
        time.sleep(0.005)


@pytest.mark.parametrize("call", [TILE, VECTORIZE])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_stopped_in_the_midst_of_a_rename(
    call: tuple[str, ...], number: signal.Signals, launcher: Launcher, here: Path
) -> None:
    old, new = old_and_new(launcher, here, call)
    for delay_s in (0.0, 0.15):
        job = launcher.start([*call, "--overwrite"], here, linger_s=0.2)
        wait_for_rename(job)
        time.sleep(delay_s)
        job.send(number)
        if number != signal.SIGKILL:
            # Impatience must not break the clean-up.
            job.send(signal.SIGINT)
            job.send(signal.SIGTERM)
        ended = job.end()
        assert content(here / MADE[call]) in {old, new}
        if number == signal.SIGKILL:
            assert ended.code == -9
        else:
            # Python hears of signals that arrive together in the order of their numbers.
            a_line(ended, ended.code if ended.code in {130, 143} else 143)
            assert not litter(here)
    assert launcher.run([*call, "--overwrite"], here).code == 0
    assert content(here / MADE[call]) == new
    assert not litter(here)


@pytest.mark.parametrize("call", [TILE, VECTORIZE, REPORT])
def test_no_room_on_the_disk(call: tuple[str, ...], launcher: Launcher, here: Path) -> None:
    # A limit on the size of a file does to each file what a full disk does.
    for size in (0, 3000, 90_000):
        ended = launcher.run([*call, "-q"], here, limits={"file_size": size}, stderr="/dev/null")
        assert ended.code in {0, 1}
        if ended.code == 1:
            assert [path.name for path in here.iterdir()] == []
    old, _ = old_and_new(launcher, here, call)
    told = launcher.run([*call, "--overwrite"], here, limits={"file_size": 3000})
    a_line(told, 1, "writing ")
    assert ".geoseg-" not in told.line
    assert content(here / MADE[call]) == old
    assert not litter(here)


def test_the_folder_of_the_output_goes_away(launcher: Launcher, here: Path) -> None:
    (here / "out").mkdir()
    job = launcher.start([*VECTORIZE[:3], "out/v.gpkg"], here, linger_s=0.4)
    wait_for_rename(job)
    shutil.rmtree(here / "out")
    a_line(job.end(), 1, "writing out/v.gpkg failed: no such file or directory; is its folder still there?")


def test_two_at_once_leave_one_whole_output(launcher: Launcher, here: Path) -> None:
    jobs = [launcher.start([*TILE, "--overwrite"], here, linger_s=0.2) for _ in range(2)]
    assert [job.end().code for job in jobs] == [0, 0]
    two = content(here / "chips")
    assert launcher.run([*TILE, "--overwrite"], here).code == 0
    assert content(here / "chips") == two
    assert not litter(here)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path), pytest.raises(OutputError, match="is in use by another geoseg"), held(tmp_path):
        pass
    with held(tmp_path):
        pass


NAMES = (
    "田野.gpkg",
    "حقل.gpkg",
    "поле 🌾.gpkg",
    'it\'s "a" %s {field} & $HOME.gpkg',
    "-o.gpkg",
    "n" * 242 + ".gpkg",
    os.fsdecode(b"caf\xe9.gpkg"),
)


@pytest.mark.parametrize("name", NAMES)
def test_names_in_any_script(name: str, launcher: Launcher, here: Path) -> None:
    shutil.copy(here.parent / "mask.tif", here / name.replace(".gpkg", ".tif"))
    ended = launcher.run(["vectorize", "--json", "-o", name, "--", name.replace(".gpkg", ".tif")], here)
    if name.isprintable():
        assert ended.code == 0, ended
        assert (here / name).is_file()
    else:
        a_line(ended, 2, str(here))
        assert ended.line.endswith("caf\\udce9.tif: this name is not UTF-8, which GDAL needs; rename it")
    assert not litter(here)


@pytest.mark.parametrize(
    "how",
    [
        {"env": {"HOME": None, "USER": None, "LOGNAME": None}},
        {"env": {"HOME": "/proc/nowhere", "TMPDIR": "/proc/nowhere"}},
        {"stdin": "closed", "stdout": "closed", "stderr": "closed"},
        {"stderr": "/dev/full"},
        {"limits": {"files": 32}},
    ],
)
def test_a_poor_surrounding_is_no_reason_to_fail(
    how: dict[str, object], launcher: Launcher, here: Path
) -> None:
    for call, made in MADE.items():
        ended = launcher.run(call, here, **how)
        assert ended.code == 0, ended
        assert content(here / made) is not None
    assert not litter(here)


def test_stdout_that_is_full(launcher: Launcher, here: Path) -> None:
    a_line(
        launcher.run(["info", "../mask.tif", "--json"], here, stdout="/dev/full"),
        1,
        "writing to stdout failed: no space left on device; ",
    )


@pytest.mark.parametrize(("umask", "mode"), [(0o077, 0o600), (0o000, 0o666)])
def test_outputs_carry_the_umask(umask: int, mode: int, launcher: Launcher, here: Path) -> None:
    assert launcher.run(VECTORIZE, here, umask=umask).code == 0
    assert (here / "v.gpkg").stat().st_mode & 0o777 == mode


def test_a_folder_that_is_no_more(launcher: Launcher, here: Path, tmp_path: Path) -> None:
    # Somebody deletes the folder one is in: what is named absolutely still works, or a line tells.
    gone = tmp_path / "gone"
    gone.mkdir()
    ended = launcher.run(["vectorize", here.parent / "mask.tif", "-o", here / "v.gpkg"], gone, vanish=True)
    assert ended.code == 0, ended
    assert (here / "v.gpkg").is_file()
    gone.mkdir()
    ended = launcher.run(["vectorize", here.parent / "mask.tif", "-o", "v.gpkg"], gone, vanish=True)
    a_line(ended, 1, "the folder you are in is gone; go to one that is there")


@pytest.fixture(scope="module")
def full_world(tmp_path_factory: pytest.TempPathFactory, launcher: Launcher) -> Path:
    """Inputs of all verbs."""
    world = tmp_path_factory.mktemp("full")
    make_world(world, launcher)
    return world


def made_by(case: Case, folder: Path) -> dict[str, object]:
    """What is in the outputs; of a model the weights, bit by bit."""
    found: dict[str, object] = {}
    for name in case.outputs:
        model = folder / name / "model.safetensors"
        if case.verb.startswith("train"):
            weights = load_file(model) if model.exists() else {}
            found[name] = {key: value.numpy().tobytes() for key, value in weights.items()} or None
        else:
            found[name] = content(folder / name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "verb", ["tile instance", "train semantic", "predict mask", "predict objects", "predict shard", "merge"]
)
def test_killed_again_and_again(verb: str, launcher: Launcher, full_world: Path) -> None:
    case, rng = BY_VERB[verb], random.Random(verb)
    whole, here = full_world / f"{verb}, whole", full_world / f"{verb}, killed"
    whole.mkdir()
    here.mkdir()
    started = time.monotonic()
    assert launcher.run(case.args, whole).code == 0
    usual_s = time.monotonic() - started
    expected, call = made_by(case, whole), list(case.args)
    for _ in range(KILLS):
        job = launcher.start(call, here)
        time.sleep(rng.uniform(0.0, 0.7 * usual_s))
        number = rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
        job.send(number, group=rng.random() < 0.5)
        ended = job.end()
        assert not ended.left
        if ended.code == 0:
            break
        if number != signal.SIGKILL and ended.code != -number:
            a_line(ended, 128 + number)
        for name, found in made_by(case, here).items():
            assert found is None or found == expected[name]
        call = list(case.args)
        if verb.startswith("predict"):
            call += ["--resume"]
        elif verb.startswith("train") and (here / "run").exists():
            call = list(case.resume)
        elif None not in made_by(case, here).values():
            call += ["--overwrite"]  # stopped when all was done
    else:
        ended = launcher.run(call, here)
    assert ended.code == 0, ended
    assert made_by(case, here) == expected
    assert not litter(here)


@pytest.mark.slow
def test_two_trainings_in_one_folder(launcher: Launcher, full_world: Path) -> None:
    case, here = BY_VERB["train semantic"], full_world / "twice"
    here.mkdir()
    first = launcher.start(case.args, here)
    while not (here / "run").exists():
        time.sleep(0.01)
    a_line(launcher.run([*case.args, "--overwrite"], here), 2, "run is in use by another geoseg; wait for it")
    a_line(launcher.run(case.resume, here), 2, "run is in use by another geoseg; wait for it or stop it")
    assert first.end().code == 0


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["predict mask", "train semantic", "export", "tile coco"])
def test_too_little_memory_is_one_line(verb: str, launcher: Launcher, full_world: Path) -> None:
    case = BY_VERB[verb]
    for size_mb in (30, 60, 200):
        here = full_world / f"{verb} in {size_mb} MB"
        here.mkdir()
        ended = launcher.run(case.args, here, limits={"memory": size_mb * 10**6})
        if ended.code != 0:
            a_line(ended, ended.code or 0)
            assert "memory" in ended.line
            # What a verb does not have cannot be lowered.
            assert ("--batch-size" in ended.line) <= verb.startswith(("predict", "train"))
            assert not [name for name in litter(here) if name.startswith(".geoseg-")]


@pytest.mark.slow
def test_no_room_for_the_state_of_a_training(launcher: Launcher, full_world: Path) -> None:
    here = full_world / "no room"
    here.mkdir()
    told = launcher.run(BY_VERB["train semantic"].args, here, limits={"file_size": 10_000_000})
    a_line(told, 1, "writing ")
    assert told.line.endswith("is the disk full?")
    assert list(here.iterdir()) == []
