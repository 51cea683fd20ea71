"""Without what is optional: all modules load, and each verb that needs more says what, and how to get it.

And with what another installation left in the environment: its PROJ, its GDAL.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from maps_of_tests import write_map
from models_of_tests import write_model

from geoseg_cli.main import main

EXTRAS = ("dask", "distributed", "onnx", "onnxscript", "onnxruntime", "pyarrow", "tensorboard")


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        ("predict scene.tif -o out.tif --model model.safetensors --dask local --size 64", "dask"),
        ("export model.safetensors --onnx out.onnx", "onnx"),
        ("info model.onnx", "onnx"),
        ("vectorize mask.tif -o out.parquet", "parquet"),
        ("evaluate mask.tif labels.parquet --class-name field", "parquet"),
        ("tile scene.tif --labels labels.parquet -o out", "parquet"),
        ("info labels.parquet", "parquet"),
    ],
)
def test_one_line_with_the_command_that_helps(
    in_empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: str,
    extra: str,
) -> None:
    write_map(in_empty_folder)
    write_model(in_empty_folder / "model.safetensors")
    (in_empty_folder / "labels.parquet").write_bytes(b"PAR1" + bytes(99) + b"PAR1")
    (in_empty_folder / "model.onnx").write_bytes(b"\x08\x08\x12\x06geoseg" + bytes(99))
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)
    assert main(words.split()) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("geoseg: error: ")
    assert f"pip install 'geoseg[{extra}]'" in said
    assert not list(in_empty_folder.glob("out*"))


def test_all_modules_load_without_them() -> None:
    program = (
        f"import importlib, pkgutil, sys; sys.modules.update(dict.fromkeys({EXTRAS!r}))\n"
        "for room in ('geoseg', 'geoseg_cli'):\n"
        "    for found in pkgutil.walk_packages(importlib.import_module(room).__path__, room + '.'):\n"
        "        if not found.name.endswith('__main__'): importlib.import_module(found.name)\n"
        "print(sorted(name for name in sys.modules if name.startswith('geoseg.'))[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("geoseg.")


@pytest.mark.parametrize("place", ["missing", "foreign"])
def test_settings_of_another_gdal_change_nothing(in_empty_folder: Path, place: str) -> None:
    """A conda shell or QGIS sets these for its own libraries; ours bring their data along."""
    write_map(in_empty_folder)
    folder = in_empty_folder / place
    if place == "foreign":
        folder.mkdir()
        (folder / "proj.db").write_bytes(np.random.default_rng(0).bytes(4096))
    names = ("PROJ_LIB", "PROJ_DATA", "GDAL_DATA", "GDAL_DRIVER_PATH")
    foreign = os.environ | dict.fromkeys(names, str(folder))
    told = [
        subprocess.run(
            [sys.executable, "-m", "geoseg_cli", "info", "scene.tif", "--json"],
            capture_output=True,
            text=True,
            env=environment,
        )
        for environment in (dict(os.environ), foreign)
    ]
    assert [done.returncode for done in told] == [0, 0]
    assert told[0].stderr == told[1].stderr == ""
    facts = [json.loads(done.stdout) for done in told]
    assert facts[0] == facts[1]
    assert facts[0]["crs"] == "EPSG:32633"
