"""Runs a target on many damaged inputs and says which of them did what must not happen.

An input follows from the target's name and its number alone. Inputs are tried in child processes, some
hundred in each, so that a crash of a C library is seen, and the number that it came with.

What must not happen: anything but a result or a :class:`~geoseg.errors.GeosegError` of one line, a death, a
hang, much memory, a word on stdout or stderr, a file that appears beside the input.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import mmap
import os
import re
import resource
import shutil
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import NoReturn

from geoseg.errors import GeosegError

Files = dict[str, bytes]
"""What an input consists of, by names below its folder."""

BATCH = 400
MOST_CPU_S = 5.0
MOST_WALL_S = 120.0
MOST_GROWTH_BYTES = 500 * 1000**2
MOST_ADDRESSES_BYTES = 3 * 1024**3
KEPT_ALIKE = 3
OUT = "out"
"""Folder beside the input that a target may write into."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Something that reads what strangers write.

    Attributes:
        name: what it is called on the command line.
        seeds: makes sound inputs; the folder it is given is for making them.
        damage: makes an input of the seeds.
        run: reads the input in a folder; what it does besides follows from the random numbers.
    """

    name: str
    seeds: Callable[[Path], list[Files]]
    damage: Callable[[Random, Sequence[Files]], Files]
    run: Callable[[Path, Random], None]

    def input(self, seeds: Sequence[Files], number: int) -> Files:
        """The input with a number; the first ones are the seeds themselves."""
        if number < len(seeds):
            return seeds[number]
        return self.damage(Random(f"{self.name} {number}"), seeds)

    def try_input(self, folder: Path, number: int) -> None:
        """Read the input with a number, which lies in ``folder``."""
        self.run(folder, Random(f"{self.name} {number} run"))


@dataclass(kw_only=True)
class Tally:
    """What became of a target's inputs.

    Attributes:
        name: of the target.
        executions: inputs tried.
        refused: those that ended with a :class:`~geoseg.errors.GeosegError`.
        seconds: what it took.
        findings: a line for each kind, with the numbers of inputs that led to it.
        kept: folders with such inputs.
    """

    name: str
    executions: int = 0
    refused: int = 0
    seconds: float = 0.0
    findings: dict[str, list[int]] = field(default_factory=dict)
    kept: list[Path] = field(default_factory=list)

    def line(self) -> str:
        """The tally for people."""
        refused = self.refused / max(self.executions, 1)
        speed = self.executions / max(self.seconds, 1e-9)
        return (
            f"{self.name:12} {self.executions:9,} executions, {speed:6.0f}/s, {refused:4.0%} refused, "
            f"{len(self.findings)} findings"
        )


def put(files: Files, folder: Path) -> None:
    """Write an input into an empty folder."""
    for name, content in files.items():
        path = folder / name
        if "/" in name:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def campaign(target: Target, *, numbers: range, seconds: float, scratch: Path, keep: Path) -> Tally:
    """Try inputs until all are tried or the time is over.

    Args:
        target: what reads them.
        numbers: which ones.
        seconds: the longest it may take.
        scratch: folder for what comes and goes; in memory, if it shall be fast.
        keep: folder where inputs are kept that did what must not happen.
    """
    folder, keep = scratch.absolute() / target.name, keep.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "seeds").mkdir(parents=True)
    seeds = target.seeds(folder / "seeds")
    tally, begin = Tally(name=target.name), time.monotonic()
    slot = mmap.mmap(-1, 24)
    at = numbers.start
    while at < numbers.stop and time.monotonic() < begin + seconds:
        todo = range(at, min(at + BATCH, numbers.stop))
        told = folder / "told.jsonl"
        told.write_bytes(b"")
        slot[:24] = struct.pack("<qqq", at, 0, 0)
        gc.freeze()
        child = os.fork()
        if child == 0:
            _work(target, seeds, todo, folder, told, slot, begin + seconds)
        _, status = os.waitpid(child, 0)
        number, done, refused = struct.unpack("<qqq", slot[:24])
        tally.executions += done
        tally.refused += refused
        for line in told.read_text().splitlines():
            _note(tally, target, seeds, keep, **json.loads(line))
        if os.WIFSIGNALED(status):
            noise = (folder / "noise").read_text("utf-8", "replace")
            kind = _death(os.WTERMSIG(status), noise)
            _note(tally, target, seeds, keep, number=number, kind=kind, text=noise)
            tally.executions += 1
            number += 1
        elif os.WEXITSTATUS(status):
            raise RuntimeError(f"the child of {target.name} failed: {(folder / 'noise').read_text()}")
        at = number
    tally.seconds = time.monotonic() - begin
    return tally


def _death(number: int, noise: str) -> str:
    """A death in a few words; where it was follows from what the fault handler wrote."""
    frames = re.findall(r'File "[^"]*?/(geoseg/[^"]+)", line \d+ in (\w+)', noise)
    where = f" in {frames[0][0]} {frames[0][1]}" if frames else ""
    name = "hang" if number in {signal.SIGPROF, signal.SIGALRM} else f"death by {signal.Signals(number).name}"
    return name + where


def _note(
    tally: Tally, target: Target, seeds: Sequence[Files], keep: Path, *, number: int, kind: str, text: str
) -> None:
    alike = tally.findings.setdefault(kind, [])
    alike.append(number)
    if len(alike) > KEPT_ALIKE:
        return
    folder = keep / f"{target.name}-{number}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    put(target.input(seeds, number), folder)
    (folder / "what.txt").write_text(f"{kind}\n\n{text}\n", "utf-8", "replace")
    tally.kept.append(folder)


def _work(
    target: Target,
    seeds: Sequence[Files],
    todo: range,
    folder: Path,
    told: Path,
    slot: mmap.mmap,
    stop: float,
) -> NoReturn:
    """Be a child: try inputs, and tell of those that did what must not happen."""
    code = 1
    try:
        noise = os.open(folder / "noise", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(noise, stream)
        _limit()
        with told.open("a") as tell:
            tried = _Trial(target, folder / "input", noise)
            done = refused = 0
            for number in todo:
                slot[:24] = struct.pack("<qqq", number, done, refused)
                found = tried(target.input(seeds, number), number)
                done, refused = done + 1, refused + tried.refused
                for kind, text in found:
                    tell.write(json.dumps({"number": number, "kind": kind, "text": text}) + "\n")
                tell.flush()
                slot[:24] = struct.pack("<qqq", number + 1, done, refused)
                if time.monotonic() > stop or any(kind.startswith("memory") for kind, _ in found):
                    break
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _limit() -> None:
    """Let a hang, and memory without bounds, be this child's end."""
    faulthandler.enable()
    for number in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
        faulthandler.register(number, chain=True)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * mmap.PAGESIZE + MOST_ADDRESSES_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.resetwarnings()
    # A warning that a library's user would see is a word too much.
    warnings.simplefilter("always")
    warnings.simplefilter("ignore", ResourceWarning)
    warnings.simplefilter("ignore", DeprecationWarning)


class _Trial:
    """Tries one input after the other in one folder."""

    def __init__(self, target: Target, folder: Path, noise: int) -> None:
        self.refused = False
        self._target, self._folder, self._noise = target, folder, noise
        self._peak = _peak_bytes()

    def __call__(self, files: Files, number: int) -> list[tuple[str, str]]:
        """What must not have happened, each in a few words and at length."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        (self._folder / OUT).mkdir()
        put(files, self._folder)
        os.chdir(self._folder)
        signal.setitimer(signal.ITIMER_PROF, MOST_CPU_S)
        signal.setitimer(signal.ITIMER_REAL, MOST_WALL_S)
        found = list(self._outcome(number))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        found += self._traces(files)
        return found

    def _outcome(self, number: int) -> Iterator[tuple[str, str]]:
        self.refused = False
        try:
            self._target.try_input(self._folder, number)
        except GeosegError as error:
            self.refused = True
            text = str(error)
            if "\n" in text or "\r" in text or len(text) > 2000:
                yield f"error of several lines {_where(error)}", repr(text[:3000])
            if not _is_utf8(text):
                yield f"error that cannot be printed {_where(error)}", repr(text[:3000])
        except MemoryError as error:
            yield f"memory error {_where(error)}", _trace(error)
        except Exception as error:
            yield f"{type(error).__name__} {_where(error)}", _trace(error)

    def _traces(self, files: Files) -> Iterator[tuple[str, str]]:
        sys.stdout.flush()
        sys.stderr.flush()
        size = os.fstat(self._noise).st_size
        if size:
            text = os.pread(self._noise, min(size, 20_000), 0).decode("utf-8", "replace")
            yield f"noise: {re.sub('[0-9]+', '0', text.strip())[:80]}", text
            os.ftruncate(self._noise, 0)
        peak = _peak_bytes()
        if peak - self._peak > MOST_GROWTH_BYTES:
            yield "memory", f"{(peak - self._peak) / 1e6:.0f} MB more"
        self._peak = peak
        known = {name.partition("/")[0] for name in files} | {OUT}
        strange = sorted({entry.name for entry in os.scandir(self._folder)} - known)
        if strange:
            yield f"file {Path(strange[0]).suffix or strange[0]} beside the input", ", ".join(strange)


def _where(error: BaseException) -> str:
    """The innermost place in geoseg that an error came through."""
    places = [
        f"{frame.filename.rpartition('/geoseg/')[2]} {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if "/geoseg/" in frame.filename or "/geoseg_cli/" in frame.filename
    ]
    return f"in {places[-1]}" if places else "outside of geoseg"


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))[-20_000:]


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def documented(*errors: type[BaseException]) -> Iterator[None]:
    """What a function's docstring says that it raises is a refusal too."""
    try:
        yield
    except errors as error:
        raise GeosegError("refused") from error
