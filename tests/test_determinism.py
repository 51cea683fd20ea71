"""Run again in another process, with other threads, hash seed, locale and time zone: the same bytes."""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from maps_of_tests import write_map
from models_of_tests import write_model

_TIMES = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
CALLS = [
    "tile scene.tif --labels parcels.gpkg --class-column class_name -o out/chips --size 64 --overlap 16",
    "tile scene.tif --labels parcels.gpkg --task instance --format coco -o out/objects --size 128",
    "predict scene.tif --model model.safetensors --size 64 --window 100,50,300,250 -o out/mask.tif "
    "--probabilities out/shares.tif --uncertainty out/unsure.tif --precision fp32",
    "vectorize mask.tif -o out/parcels.gpkg --min-area 20px",
    "vectorize mask.tif -o out/parcels.fgb",
    "evaluate mask.tif parcels.gpkg --class-column class_name --objects --json",
]
WAYS = [
    {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "1"},
    {
        "OMP_NUM_THREADS": "3",
        "PYTHONHASHSEED": "2",
        "GDAL_NUM_THREADS": "3",
        "LC_ALL": "C",
        "TZ": "Asia/Tokyo",
    },
]


def content(path: Path) -> str:
    """A file's bytes; of a GeoPackage its rows, but for when they were written."""
    if path.suffix != ".gpkg":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    with closing(sqlite3.connect(path)) as connection:
        return _TIMES.sub("", "\n".join(connection.iterdump()))


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS, ids=lambda call: " ".join(call.split()[:2]))
def test_neither_threads_nor_hashes_nor_locale_change_a_byte(in_empty_folder: Path, call: str) -> None:
    write_map(in_empty_folder)
    write_model(in_empty_folder / "model.safetensors")
    told = []
    for number, way in enumerate(WAYS):
        (in_empty_folder / "out").mkdir()
        done = subprocess.run(
            [sys.executable, "-m", "geoseg_cli", *call.split()],
            capture_output=True,
            text=True,
            env=os.environ | way,
        )
        assert done.returncode == 0, done.stderr
        out = (in_empty_folder / "out").rename(in_empty_folder / f"out{number}")
        files = {str(path.relative_to(out)): content(path) for path in out.rglob("*") if path.is_file()}
        told.append((files, done.stdout if "--json" in call else ""))
    assert told[0] == told[1]
    assert told[0][0] or told[0][1]
