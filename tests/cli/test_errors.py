"""Whatever goes wrong is one line on stderr, the last one, and an exit code; stdout stays empty."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scenes import write_scene

import geoseg.predict
from geoseg.errors import ReadError
from geoseg_cli.main import drop_foreign_proj, main


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif", np.ones((3, 8, 8), np.uint8))


def fail(args: list[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """Run what must fail; return the error line."""
    assert main(args) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("geoseg: error: ")
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("\n")
    return captured.err.removeprefix("geoseg: error: ").rstrip("\n")


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["trian"], "no such command 'trian'; did you mean 'train'?"),
        (["train", "--tile", "x"], "no such option: --tile; did you mean --tiles?"),
        (["train"], "missing option '--tiles'"),
        (["predict", "a.tif"], "missing option '--output'"),
        (["vectorize", "a", "b", "-o", "c"], "got unexpected extra argument"),
        (["tile", "a", "-l", "b", "-o", "c", "--size", "big"], "invalid value for '--size'"),
        (["predict", "a", "-o", "b", "--precision", "fp33"], "'fp33' is not one of 'auto', 'fp32'"),
        (["evaluate", "a.tif"], "give MASK and LABELS, or --tiles"),
        (["info"], "give either a path or --env"),
        (["info", "x", "--env"], "give either a path or --env"),
    ],
)
def test_wrong_use(args: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert line in fail(args, capsys)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["predict", "missing.tif", "-o", "x.tif"], "missing.tif does not exist; "),
        (["vectorize", "missing.tif", "-o", "x.gpkg"], "missing.tif does not exist; "),
        (["tile", "scene.tif", "-l", "missing.gpkg", "-o", "c"], "missing.gpkg does not exist; "),
        (["tile", "scene.tif", "missing.tif", "-l", "scene.tif", "-o", "c"], "missing.tif does not exist; "),
        (["evaluate", "missing.tif", "scene.tif"], "missing.tif does not exist; "),
        (["evaluate", "scene.tif", "missing.gpkg"], "missing.gpkg does not exist; "),
        (
            ["evaluate", "--tiles", "missing"],
            "chips folder missing does not exist; make one with geoseg tile",
        ),
        (["train", "--tiles", "missing"], "chips folder missing does not exist; make one with geoseg tile"),
        (["train", "--tiles", "scene.tif"], "chips folder scene.tif is a file; name the folder"),
        (["train", "--tiles", ".", "--resume", "r"], "run r does not exist; give the folder of a run"),
        (["predict", "scene.tif", "-o", "x.tif", "-m", "runs/a"], "model runs/a does not exist; "),
        (["predict", "scen.tif", "-o", "x.tif"], "scen.tif does not exist; did you mean scene.tif?"),
        (["info", "missing"], "missing does not exist; "),
        (["predict", "text.tif", "-o", "x.tif"], "scene text.tif is of an unknown format; "),
        (["predict", "gs://bucket/a.tif", "-o", "x.tif"], "scene gs://bucket/a.tif is not a local file; "),
        (["predict", "https://example.org", "-o", "x.tif"], "is no address of a file; write https://host/sc"),
        (["predict", "scene.tif", "-o", "s3://bucket/x.tif"], "the output is an address; write to a file h"),
        (["tile", "scene.tif", "-l", "https://e.org/a.gpkg", "-o", "c"], "a.gpkg is not a local file; "),
    ],
)
def test_inputs_are_checked(
    args: list[str], line: str, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("text.tif").write_text("no raster")
    assert line in fail(args, capsys)


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["predict", "scene.tif", "-o", "there.tif"], "there.tif exists; use --overwrite to replace it"),
        (["predict", "scene.tif", "-o", "scene.tif", "--overwrite"], "scene.tif is both input and output"),
        (["predict", "scene.tif", "-o", "no/x.tif"], "of output x.tif does not exist; create it first"),
        (["vectorize", "scene.tif", "-o", "there.tif"], "there.tif exists; use --overwrite to replace it"),
        (["vectorize", "scene.tif", "-o", "scene.tif", "--overwrite"], "scene.tif is both input and output"),
        (["tile", "scene.tif", "-l", "scene.tif", "-o", "folder"], "folder exists and is not empty; "),
        (["tile", "scene.tif", "-l", "scene.tif", "-o", "folder", "--overwrite"], "folder has no chips.json"),
        (["demo", "-o", "folder", "--overwrite"], "folder has no demo.json, so it is not replaced"),
    ],
)
def test_outputs_are_checked(
    args: list[str], line: str, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("there.tif").touch()
    Path("folder").mkdir()
    Path("folder/mine.txt").touch()
    before = sorted(Path().rglob("*"))
    assert line in fail(args, capsys)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--size", "100"], "--size 100: Input should be a multiple of 32; see geoseg predict --help"),
        (["--margin", "1.5"], "--margin 1.5: Input should be less than or equal to 1"),
        (["--bands", "1,x"], "--bands 1,x: write band numbers with commas, such as 1,2,3"),
        (["--bands", "0"], "--bands 0: Input should be greater than or equal to 1"),
    ],
)
def test_values_are_checked_and_named_as_typed(
    args: list[str], line: str, scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line in fail(["predict", "scene.tif", "-o", "x.tif", *args], capsys)


def test_values_that_do_not_go_together(scene: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["tile", "scene.tif", "-l", "scene.tif", "-o", "chips", "--size", "64", "--overlap", "64"]
    assert "overlap_px 64 must be below size_px 64" in fail(args, capsys)


DETECTOR = ["--architecture", "maskrcnn_resnet50_fpn_pointrend"]


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["--epochs", "0"], "--epochs 0: Input should be greater than or equal to 1"),
        (["--lr", "-1"], "--learning-rate -1.0: Input should be greater than 0"),
        (["--set", "train.epoch=3"], "--set: train.epoch: unknown key; did you mean train.epochs?"),
        (["--set", "epochs"], "--set epochs: write section.key=value"),
        (["--lr", "1", "--set", "train.epochs=-1"], "--set: train.epochs: Input should be greater"),
        (
            [*DETECTOR, "--set", "points.per_pixel=0.5"],
            "points.per_pixel does not apply to maskrcnn_resnet50",
        ),
        ([*DETECTOR, "--set", "points.per_object=16"], "chips"),  # fine: it is the folder that has none
        (["--config", "nope"], "no preset called nope"),
        (["--resume", ".", "--overwrite"], "leave out --run and --overwrite"),
    ],
)
def test_training_settings_are_checked(
    args: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line in fail(["train", "--tiles", ".", *args], capsys)


def test_escapes_in_names_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    line = fail(["predict", "a\x1b[31m\n\u202eb\x9b.tif", "-o", "x.tif"], capsys)
    assert line.startswith("a\\x1b[31m\\n\\u202eb\\x9b.tif does not exist")


def break_predict(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def broken(*args: Any, **keywords: Any) -> None:
        raise error

    monkeypatch.setattr(geoseg.predict, "predict", broken)


class OutOfMemoryError(RuntimeError):
    """torch's has this name."""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ReadError("scene.tif is cut short; copy it again"), 1, "scene.tif is cut short; copy it again"),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.tif"),
            1,
            "no space left on device, x.tif; make ",
        ),
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "x.tif"), 1, "permission denied, x.tif; check"),
        (MemoryError(), 1, "out of memory; lower --batch-size, --size or --memory, or close other programs"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate"), 1, "out of memory; lower --batch-size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 1, "out of memory; lower --batch-size"),
        (RuntimeError("could not create a primitive"), 1, "out of memory; lower --batch-size"),
        (ValueError("so\nodd"), 1, "ValueError: so odd; this is a bug in geoseg, "),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "a pipe to another process broke"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_failures_are_one_line(
    error: BaseException,
    code: int,
    line: str,
    scene: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    break_predict(monkeypatch, error)
    assert fail(["predict", "scene.tif", "-o", "x.tif"], capsys, code).startswith(line)


def test_interrupt_tells_what_the_stage_noted(
    scene: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = KeyboardInterrupt()
    error.add_note("2 of 9 blocks are kept")
    break_predict(monkeypatch, error)
    line = fail(["predict", "scene.tif", "-o", "my x.tif"], capsys, 130)
    again = "geoseg predict scene.tif -o 'my x.tif' --resume"
    assert line == f"interrupted; 2 of 9 blocks are kept; go on with: {again}"
    line = fail(["predict", "scene.tif", "--resume", "-o", "x.tif"], capsys, 130)
    assert line.endswith("go on with: geoseg predict scene.tif -o x.tif --resume")


@pytest.mark.parametrize("how", ["before", "after", "environment"])
def test_debug_shows_the_traceback_and_the_line_stays_last(
    how: str, scene: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_predict(monkeypatch, ReadError("bad luck; try again"))
    args = ["predict", "scene.tif", "-o", "x.tif"]
    if how == "environment":
        monkeypatch.setenv("GEOSEG_DEBUG", "1")
    else:
        args = ["--debug", *args] if how == "before" else [*args, "--debug"]
    assert main(args) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Traceback (most recent call last):" in captured.err
    assert "in broken" in captured.err
    assert captured.err.splitlines()[-1] == "geoseg: error: bad luck; try again"


SLOW_PREDICT = """
import signal, sys, time
# A runner that works in the background hands its children SIGINT and SIGHUP ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
import geoseg.predict
from geoseg.outputs import staged_file
from geoseg_cli.main import main

def slow(scene, output, **keywords):
    with staged_file(output) as staged:
        staged.write_text("half of it")
        print("ready", file=sys.stderr, flush=True)
        time.sleep(60)

geoseg.predict.predict = slow
sys.exit(main(["predict", "scene.tif", "-o", "mask.tif"]))
"""


@pytest.mark.parametrize(
    ("number", "code", "line"),
    [
        (signal.SIGTERM, 143, "geoseg: error: terminated"),
        (signal.SIGHUP, 129, "geoseg: error: terminated"),
        (signal.SIGINT, 130, "geoseg: error: interrupted"),
    ],
)
def test_signals_leave_nothing_behind(number: signal.Signals, code: int, line: str, scene: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_PREDICT], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    with process:
        assert process.stderr is not None
        assert process.stderr.readline() == "ready\n"
        process.send_signal(number)
        rest = process.stderr.read()
    assert process.returncode == code
    assert rest == line + "\n"
    assert sorted(path.name for path in Path().iterdir()) == ["scene.tif"]


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)]
    main(["--version"])
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGHUP)] == before


@pytest.mark.parametrize("args", [["--help"], ["--version"], ["predict", "--help"]])
def test_closed_stdout_is_quiet(args: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "geoseg_cli", *args],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 1


def test_closed_stderr_is_no_reason_to_fail_otherwise() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with contextlib.closing(os.fdopen(writer, "w")) as broken:
        done = subprocess.run(
            [sys.executable, "-m", "geoseg_cli", "predict", "a.tif", "-o", "b.tif"],
            stdout=subprocess.PIPE,
            stderr=broken,
            check=False,
        )
    assert done.returncode == 2
    assert done.stdout == b""


@pytest.mark.parametrize(("stream", "code"), [("1", 0), ("2", 0)])
def test_streams_that_were_never_open(stream: str, code: int) -> None:
    command = f"exec {shlex.quote(sys.executable)} -m geoseg_cli --version {stream}>&-"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert done.stderr == ""


@pytest.mark.parametrize("name", ["PROJ_LIB", "PROJ_DATA"])
def test_foreign_proj_is_dropped_when_the_wheel_has_its_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/usr/share/proj")
    assert drop_foreign_proj() == [name]
    assert name not in os.environ


def test_proj_of_a_system_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "site" / "rasterio"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    code = (
        f"import sys; sys.path.insert(0, {str(package.parent)!r}); "
        "from geoseg_cli.main import drop_foreign_proj; print(drop_foreign_proj())"
    )
    monkeypatch.setenv("PROJ_LIB", "/usr/share/proj")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
