"""``python -m fuzz``: the targets, one after the other, until the time is over.

A finding's folder holds the input. ``python -m fuzz --target NAME --number N --keep FOLDER`` writes the input
with a number again, reads it, and lets what happens come through.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from fuzz import TARGETS, load
from fuzz.core import OUT, Tally, campaign, put


def main() -> int:
    """Run targets; 1 when anything was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=TARGETS, help="only these")
    parser.add_argument("--seconds", type=float, default=600.0, help="for all targets together")
    parser.add_argument("--count", type=int, default=10**9, help="most inputs of each target")
    parser.add_argument("--start", type=int, default=0, help="number of the first input")
    parser.add_argument("--number", type=int, help="read this input only, here")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="where findings are kept")
    options = parser.parse_args()
    names = options.target or list(TARGETS)
    shared_memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared_memory if shared_memory.is_dir() else None) as scratch:
        if options.number is not None:
            _one(names[0], options.number, options.keep.absolute(), Path(scratch))
            return 0
        tallies: list[Tally] = []
        for name in names:
            tally = campaign(
                load(name),
                numbers=range(options.start, options.start + options.count),
                seconds=options.seconds / len(names),
                scratch=Path(scratch),
                keep=options.keep.absolute(),
            )
            _tell(tally)
            tallies.append(tally)
    return int(any(tally.findings for tally in tallies))


def _tell(tally: Tally) -> None:
    sys.stdout.write(tally.line() + "\n")
    for kind, numbers in sorted(tally.findings.items(), key=lambda item: -len(item[1])):
        sys.stdout.write(f"  {len(numbers)} times {kind}: {', '.join(map(str, numbers[:5]))}\n")
    for folder in tally.kept:
        sys.stdout.write(f"  kept {folder}\n")
    sys.stdout.flush()


def _one(name: str, number: int, keep: Path, scratch: Path) -> None:
    target = load(name)
    (scratch / "seeds").mkdir()
    folder = keep / f"{name}-{number}"
    (folder / OUT).mkdir(parents=True, exist_ok=True)
    put(target.input(target.seeds(scratch / "seeds"), number), folder)
    target.try_input(folder, number)
    sys.stdout.write(f"{folder}: nothing happened\n")


if __name__ == "__main__":
    sys.exit(main())
