"""What a stage says, on a terminal and in a log."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from geoseg_cli.progress import TerminalProgress


class Clock:
    """Seconds that only pass when told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def work(progress: TerminalProgress, clock: Clock, total: int, seconds_each: float) -> None:
    progress.begin("predict", total, "chips")
    for _ in range(total):
        clock.seconds += seconds_each
        progress.advance()
    progress.end()


def test_log_gets_a_line_every_ten_percent(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with TerminalProgress(clock=clock) as progress:
        work(progress, clock, 200, 1.0)
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == ""
    assert len(lines) == 10
    assert lines[0] == "predict: 20 of 200 chips (10%), 3:00 left"
    assert lines[-1] == "predict: 200 of 200 chips (100%), 0:00 left"


def test_short_work_gets_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with TerminalProgress(clock=clock) as progress:
        work(progress, clock, 50, 0.01)
    assert capsys.readouterr().err == ""


def test_slow_work_gets_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with TerminalProgress(clock=clock) as progress:
        progress.begin("train", 1000, "steps")
        for _ in range(7):
            clock.seconds += 100.0
            progress.advance()
    assert capsys.readouterr().err.splitlines() == [
        "train: 3 of 1000 steps (0%), 27:41:40 left",
        "train: 6 of 1000 steps (1%), 27:36:40 left",
    ]


def test_rows_are_a_growing_table(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalProgress() as progress:
        progress.row({"epoch": 1, "loss": 1.25, "val mIoU": 0.5})
        progress.row({"epoch": 2, "loss": 0.00002, "val mIoU": "-"})
        progress.row({"epoch": 3, "loss": 0.5})
    assert capsys.readouterr().err.splitlines() == [
        "    epoch       loss   val mIoU",
        "        1     1.2500     0.5000",
        "        2      2e-05          -",
        "    epoch       loss",
        "        3     0.5000",
    ]


def test_quiet_keeps_the_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with TerminalProgress(quiet=True, clock=clock) as progress:
        progress.note("cpu")
        progress.row({"epoch": 1})
        work(progress, clock, 20, 10.0)
        progress.warn("odd\x1b[2J")
    assert capsys.readouterr().err == "geoseg: warning: odd\\x1b[2J\n"


def test_stray_calls_do_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    with TerminalProgress() as progress:
        progress.advance()
        progress.end()
        progress.begin("empty", 0, "chips")
        progress.end()
    assert capsys.readouterr().err == ""


LIVE = """
from geoseg_cli.progress import TerminalProgress
with TerminalProgress() as progress:
    progress.begin("predict", 4, "chips")
    progress.advance(2)
    progress.note("device [bold]cpu[/bold]")
    progress.row({"epoch": 1})
    progress.advance(2)
    progress.end()
print("clean")
"""


def on_a_terminal(**environment: str) -> str:
    """What ``LIVE`` draws on a terminal."""
    leader, follower = pty.openpty()
    env = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLUMNS": "100"} | environment
    process = subprocess.Popen([sys.executable, "-c", LIVE], stdout=subprocess.PIPE, stderr=follower, env=env)
    os.close(follower)
    drawn = b""
    try:
        while part := os.read(leader, 65536):
            drawn += part
    except OSError:
        pass  # Linux says so when the other end is closed
    finally:
        os.close(leader)
    assert process.communicate()[0] == b"clean\n"
    assert process.returncode == 0
    return drawn.decode()


COLOR = re.compile(r"\x1b\[[0-9;]*(3[0-9]|4[0-9]|9[0-9])[0-9;]*m")


def test_terminal_gets_a_bar() -> None:
    drawn = on_a_terminal()
    assert "4/4" in drawn
    assert "━" in drawn
    assert COLOR.search(drawn)
    assert "device [bold]cpu[/bold]" in drawn  # text, not markup
    assert "\x1b[?25h" in drawn  # the cursor is shown again


def test_no_color() -> None:
    drawn = on_a_terminal(NO_COLOR="1")
    assert "4/4" in drawn
    assert not COLOR.search(drawn)


def test_dumb_terminal_gets_no_bar() -> None:
    drawn = on_a_terminal(TERM="dumb")
    assert "\x1b" not in drawn
    assert "device [bold]cpu[/bold]" in drawn
