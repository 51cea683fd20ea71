"""Makes an environment with the lowest versions that pyproject.toml allows, and runs the tests in it.

A floor that nobody tries rises unseen: code takes what newer releases have, and a release that pip may still
choose does not work. Needs a package index and 8 GB of disk.

    python tests/lowest.py --environment .venv-lowest
    python tests/lowest.py --environment .venv-lowest --keep -- tests/vector -m slow
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Make the environment, run the tests, and take the environment away again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--environment", type=Path, required=True, help="where to make it; a new folder")
    parser.add_argument("--keep", action="store_true", help="go on with one that is there, and leave it")
    parser.add_argument("tests", nargs="*", help="words for pytest; the quick tests when not given")
    options = parser.parse_args()
    if options.environment.exists() and not options.keep:
        parser.error(f"{options.environment} exists; remove it, or use --keep")
    try:
        python = _environment(options.environment.absolute())
        tests = options.tests or ["-q", "-n", "2", "--dist", "worksteal", "-m", "not slow"]
        words = [python, "-m", "pytest", "-p", "no:cacheprovider", *tests]
        return subprocess.run(words, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}).returncode
    finally:
        if not options.keep:
            shutil.rmtree(options.environment, ignore_errors=True)


def _environment(folder: Path) -> Path:
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    _run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv")
    # Floors of what the project names itself; what these need in turn is as new as it comes.
    floors = folder / "lowest.txt"
    where = ("--quiet", "--python", python)
    compiled = ("--resolution", "lowest-direct", "--all-extras", ROOT / "pyproject.toml", "-o", floors)
    _run(python, "-m", "uv", "pip", "compile", *where, *compiled)
    _run(python, "-m", "uv", "pip", "install", *where, "-r", floors)
    _run(python, "-m", "uv", "pip", "install", *where, "--no-deps", "-e", ROOT)
    _run(python, "-m", "uv", "pip", "check", "--python", python)
    return python


def _run(*words: str | Path) -> None:
    # uv would keep a second copy of it all.
    subprocess.run([str(word) for word in words], check=True, env=os.environ | {"UV_NO_CACHE": "1"})


if __name__ == "__main__":
    sys.exit(main())
