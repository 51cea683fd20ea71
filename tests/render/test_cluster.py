"""Rendering on a cluster: the bytes of one process, whoever dies meanwhile, and nobody left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models_of_tests import noise, write_model
from objects_of_tests import crowd, exact_network, write_card
from range_server import serving
from scenes import write_scene

from geoseg.config import PredictConfig
from geoseg.errors import GeosegError, InputError, OutputError, ReadError, WriteError
from geoseg.predict import predict
from geoseg.predict_objects import predict_objects
from geoseg.progress import SilentProgress
from geoseg.render import cluster, connect, journal, worker
from geoseg.render.blocks import BlockGrid
from geoseg.render.grid import ChipGrid
from geoseg.render.shards import in_order
from geoseg.render.work import Resources

distributed = pytest.importorskip("distributed")
psutil = pytest.importorskip("psutil")

FP32 = PredictConfig(precision="fp32", size_px=64, overlap_px=32)
SHAPE = (200, 600)


@given(
    shape=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    workers=st.integers(1, 20),
    skip=st.integers(1, 4),
)
def test_groups_hold_every_block_once_and_do_not_leave_a_strip(
    shape: tuple[int, int], workers: int, skip: int
) -> None:
    blocks = BlockGrid.of(ChipGrid.of(shape, size_px=64, overlap_px=32), scale=1, layers={"mask": 1})
    order = in_order(blocks, range(0, len(blocks), skip))
    left, groups = list(order), []
    while left:
        groups.append(cluster.next_group(blocks, left, workers))
        assert 1 <= len(groups[-1]) <= cluster.MAX_GROUP_BLOCKS
        del left[: len(groups[-1])]
    assert [block for group in groups for block in group] == order
    for group in groups:
        assert len({blocks.place(block)[1] // 3 for block in group}) == 1


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", noise(3, *SHAPE))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory, scene: Path, model: Path) -> bytes:
    """The mask as one process makes it."""
    output = tmp_path_factory.mktemp("expected") / "mask.tif"
    predict(scene, output, model=model, config=FP32, device="cpu")
    return output.read_bytes()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A cluster of one worker with two threads; quick to start, as it lives in this process."""
    with distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        protocol="tcp",
        dashboard_address=None,
        scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        silence_logs=logging.CRITICAL,
        local_directory=str(tmp_path_factory.mktemp("dask")),
    ) as local:
        yield local.scheduler_address


class _Tell(SilentProgress):
    """Keeps what it is told, and does something after some chips."""

    def __init__(self, after: int = -1, action: Any = None) -> None:
        self.total = self.chips = 0
        self.notes: list[str] = []
        self.after, self.action = after, action

    def begin(self, name: str, total: int, unit: str) -> None:  # noqa: ARG002
        if unit == "chips":
            self.total = total

    def advance(self, count: int = 1) -> None:
        self.chips += count
        if self.action is not None and self.chips > self.after:
            action, self.action = self.action, None
            action()

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_cluster_gives_the_bytes_of_one_process(
    tmp_path: Path, scene: Path, model: Path, expected: bytes, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(scene.parent)
    progress = _Tell()
    report = predict(
        Path(scene.name),  # workers have another current folder
        tmp_path / "mask.tif",
        model=model,
        config=FP32,
        device="cpu",
        resources=Resources(dask=address),
        progress=progress,
    )
    assert report.output.read_bytes() == expected
    assert report.workers == 2
    assert report.chips >= progress.total
    assert progress.chips == progress.total + report.blocks  # which are written then
    assert any(address in note for note in progress.notes)
    assert {path.name for path in tmp_path.iterdir()} == {"mask.tif", "mask.tif.aux.xml"}


def test_objects_of_a_cluster_are_those_of_one_process(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geoseg.render.session.load_network", exact_network)
    monkeypatch.setattr("geoseg.render.blocks.CHIPS_HIGH", 2)
    monkeypatch.setattr("geoseg.render.blocks.CHIPS_WIDE", 3)
    model = write_card(tmp_path / "model.safetensors")
    ids = crowd((130, 300), 60, np.random.default_rng(1))
    scene = write_scene(tmp_path / "scene.tif", ids[None], tiled=True, blockxsize=64, blockysize=64)
    made = []
    with serving({"/scene.tif": scene.read_bytes()}) as server:
        for name, given, resources in (
            ("one", scene, Resources(workers=1)),
            ("cluster", scene, Resources(dask=address)),
            ("server", server.url(), Resources(workers=2)),
            ("both", server.url(), Resources(dask=address)),
        ):
            report = predict_objects(
                given,
                tmp_path / f"{name}.fgb",
                ids=tmp_path / f"{name}.tif",
                model=model,
                config=FP32,
                device="cpu",
                resources=resources,
            )
            made.append([report.output.read_bytes(), (tmp_path / f"{name}.tif").read_bytes()])
            assert report.blocks > 1
    assert all(files == made[0] for files in made[1:])


def test_workers_fetch_a_scene_on_a_server_themselves(
    tmp_path: Path, scene: Path, model: Path, expected: bytes, address: str
) -> None:
    options: dict[str, Any] = {"model": model, "config": FP32, "device": "cpu"}
    with serving({"/scene.tif": scene.read_bytes()}) as server:
        predict(server.url(), tmp_path / "mask.tif", resources=Resources(dask=address), **options)
        assert (tmp_path / "mask.tif").read_bytes() == expected
        assert server.paths == {"/scene.tif"}

        def change(_: Any) -> None:
            if len(server.asked) == 2:  # this process has looked at it
                server.headers = {"ETag": '"2"'}

        server.asked.clear()
        server.hook = change
        with pytest.raises(GeosegError, match=r"^worker .* would render another scene; "):
            predict(server.url(), tmp_path / "other.tif", resources=Resources(dask=address), **options)


def test_an_interrupted_run_stops_its_workers_and_goes_on(
    tmp_path: Path, scene: Path, model: Path, expected: bytes, address: str
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    options: dict[str, Any] = {"model": model, "config": FP32, "device": "cpu"}
    output = tmp_path / "mask.tif"
    with pytest.raises(KeyboardInterrupt) as stopped:
        predict(scene, output, resources=Resources(dask=address), progress=_Tell(0, interrupt), **options)
    assert "blocks are kept in" in stopped.value.__notes__[0]
    # The worker notices at its next chip; nothing it does from now on counts.
    worker._thread.submit(lambda: None).result(timeout=20)
    folder = journal.journal_folder(output)
    kept = [path for path in folder.iterdir() if path.suffix == ".block"]
    assert kept
    assert not list(folder.glob("*.run"))
    report = predict(scene, output, resume=True, **options)
    assert report.resumed_blocks == len(kept)
    assert output.read_bytes() == expected


def patched_errand(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Let workers see something else than this process does."""
    own = cluster._errand

    def errand(*args: Any) -> worker.Errand:
        made = own(*args)
        return dataclasses.replace(made, **{name: change(made) for name, change in changes.items()})

    monkeypatch.setattr(cluster, "_errand", errand)


def run(scene: Path, model: Path, dask: str) -> None:
    predict(scene, Path("mask.tif"), model=model, config=FP32, device="cpu", resources=Resources(dask=dask))


def test_a_worker_with_another_scene_is_refused(
    scene: Path, model: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched_errand(monkeypatch, plan=lambda made: dataclasses.replace(made.plan, scene="0" * 64))
    with pytest.raises(InputError, match=r"^worker .* would render another scene; give all machines"):
        run(scene, model, address)


def test_a_worker_without_the_scene_is_told(
    tmp_path: Path, scene: Path, model: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = tmp_path / "lost.tif"
    patched_errand(monkeypatch, request=lambda made: dataclasses.replace(made.request, scene=lost))
    with pytest.raises(InputError, match=rf"^worker .* does not see {lost}; keep it where all"):
        run(scene, model, address)


def test_a_worker_without_the_journal_is_told(
    tmp_path: Path, scene: Path, model: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = worker.render_blocks

    def elsewhere(errand: worker.Errand, *args: Any) -> worker.Rendered:
        return own(dataclasses.replace(errand, folder=tmp_path / "elsewhere"), *args)

    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr(cluster, "render_blocks", elsewhere)
    with pytest.raises(OutputError, match=r"^worker .* does not see .*elsewhere; write to a folder"):
        run(scene, model, address)


def test_a_worker_with_another_version_is_told(
    scene: Path, model: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patched_errand(monkeypatch, plan=lambda made: dataclasses.replace(made.plan, geoseg="9.9"))
    with pytest.raises(InputError, match=r"^worker .* has geoseg .*, not 9.9; install the same version"):
        run(scene, model, address)
    monkeypatch.setattr(connect, "__version__", "9.9")
    with pytest.raises(InputError, match=r"^dask worker .* has geoseg .*; install geoseg 9.9 on all"):
        run(scene, model, address)


def test_what_a_worker_raises_is_what_is_raised(
    tmp_path: Path, model: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = write_scene(tmp_path / "s.tif", noise(3, 300, 300), tiled=True, blockxsize=64, blockysize=64)
    scene.write_bytes(scene.read_bytes()[:200_000])
    with pytest.raises(ReadError, match=r"s\.tif"):
        run(scene, model, address)

    def full(*args: Any, **more: Any) -> int:
        raise WriteError("writing failed: no space left on device; make room")

    scene = write_scene(tmp_path / "t.tif", noise(3, 64, 64))
    monkeypatch.setattr(journal.Journal, "add", full)
    with pytest.raises(WriteError, match="no space left"):
        run(scene, model, address)


def test_too_little_memory_is_told(tmp_path: Path, scene: Path, model: Path, address: str) -> None:
    with pytest.raises(InputError, match="50 MB of memory are too little"):
        predict(
            scene,
            tmp_path / "mask.tif",
            model=model,
            config=FP32,
            device="cpu",
            resources=Resources(dask=address, memory_mb=50),
        )


@pytest.mark.parametrize(
    ("dask", "message"),
    [
        ("tcp://127.0.0.1:9", r"^no dask scheduler answers at tcp://127.0.0.1:9; start one"),
        ("nonsense://127.0.0.1:9", r"^no dask scheduler answers at nonsense://127.0.0.1:9; start one"),
        ("localhost:8786", r"^--dask localhost:8786: give an address such as tcp://host:8786, or local"),
    ],
)
def test_addresses_that_lead_nowhere(
    scene: Path, model: Path, dask: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "CONNECT_S", 1)
    with pytest.raises(InputError, match=message):
        run(scene, model, dask)
    assert not list(Path.cwd().iterdir())


def test_without_dask_the_way_to_get_it_is_told(
    scene: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'geoseg\[dask\]'$"):
        run(scene, model, "local")


def test_workers_that_keep_dying_are_given_up(
    tmp_path: Path, scene: Path, model: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*args: Any) -> worker.Rendered:
        raise distributed.KilledWorker("task", SimpleNamespace(address="tcp://a:1"), 3)

    monkeypatch.setattr(cluster, "render_blocks", die)
    with pytest.raises(GeosegError, match=r"^dask workers keep dying over block 0, .*; lower --memory"):
        run(scene, model, address)


def processes_of(pid: int) -> list[Any]:
    found: list[Any] = []
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return found
    for child in children:
        # One that ends while it is looked at must not hide the others.
        with contextlib.suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.append(child)
    return found


def wait_for_none(pid: int) -> list[Any]:
    """Worker processes that are still there after a while; a loaded machine takes long to reap them."""
    deadline = time.monotonic() + 20
    while (left := processes_of(pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


@pytest.mark.slow
def test_a_killed_worker_changes_nothing_and_nobody_is_left(
    tmp_path: Path, scene: Path, model: Path, expected: bytes
) -> None:
    seen: dict[str, Any] = {}

    def kill_one() -> None:
        found = processes_of(os.getpid())
        seen["processes"] = found
        seen["listening"] = {
            connection.laddr.ip
            for process in (psutil.Process(), *found)
            for connection in process.net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
        found[0].send_signal(signal.SIGKILL)

    progress = _Tell(0, kill_one)
    report = predict(
        scene,
        tmp_path / "mask.tif",
        model=model,
        config=FP32,
        device="cpu",
        resources=Resources(dask="local", workers=2, memory_mb=8000),
        progress=progress,
    )
    assert report.output.read_bytes() == expected
    assert report.workers == 2
    assert len(seen["processes"]) == 2
    assert seen["listening"] == {"127.0.0.1"}
    assert wait_for_none(os.getpid()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"mask.tif", "mask.tif.aux.xml"}


SCRIPT = """
import sys
from pathlib import Path

from geoseg.config import PredictConfig
from geoseg.predict import predict
from geoseg.progress import SilentProgress
from geoseg.render.work import Resources
from geoseg_cli import main
from geoseg_cli.signals import Signals


class Tell(SilentProgress):
    def advance(self, count=1):
        print("chips", flush=True)


if __name__ == "__main__":
    with Signals():
        try:
            predict(
                Path(sys.argv[1]),
                Path("mask.tif"),
                model=Path(sys.argv[2]),
                config=PredictConfig(precision="fp32", size_px=64, overlap_px=32),
                device="cpu",
                resources=Resources(dask="local", workers=2),
                progress=Tell(),
            )
        except BaseException as error:
            sys.exit(main._tell(error, [], debug=False))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="has no process groups")
def test_ctrl_c_leaves_nobody_behind(tmp_path: Path, scene: Path, model: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, "script.py", scene, model],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "chips\n"
        workers = processes_of(process.pid)
        assert len(workers) == 2
        # In a terminal it reaches the workers, too.
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert len(errors.splitlines()) == 1, errors
    assert errors.startswith("geoseg: error: ")
    deadline = time.monotonic() + 10
    while any(worker.is_running() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(worker.is_running() for worker in workers)
    assert {path.name for path in tmp_path.iterdir()} == {"script.py", "mask.tif.geoseg-resume"}
    assert not list((tmp_path / "mask.tif.geoseg-resume").glob("*.run"))
