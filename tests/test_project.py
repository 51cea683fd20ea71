"""Promises about the project itself: nothing unsafe in the code, everything needed in the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for folder in ("geoseg", "cli", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    "forbidden",
    [
        r"weights_only\s*=\s*False",
        r"pickle\.loads?\(",
        r"allow_pickle\s*=\s*True",
        r"yaml\.(unsafe_|full_)?load\((?!.*Loader=_PlainLoader)",
        r"torch\.hub\.",
        r"shell\s*=\s*True",
        r"\beval\((?!\))",
        r"\bexec\(",
        r"^\s*(import click|from click)\b",
    ],
)
def test_nothing_unsafe_in_the_code(forbidden: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(forbidden, line)
    ]
    assert found == []


def test_every_torch_load_is_weights_only() -> None:
    calls = [
        f"{path.name}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if "torch.load(" in line and "weights_only=True" not in line
    ]
    assert calls == []


def test_torch_floor_is_the_one_with_a_safe_unpickler() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "torch>=2.10" in project["dependencies"]


def test_version_is_told_once() -> None:
    import geoseg

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == geoseg.__version__


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("geoseg", {"torch", "rasterio", "geopandas", "pydantic", "numpy"}),
        ("geoseg.config", {"torch", "rasterio", "geopandas"}),
        ("geoseg.tile", {"torch", "torchvision"}),
        ("geoseg.doctor", {"torch", "torchvision"}),
        ("geoseg.vectorize", {"torch", "torchvision"}),
        ("geoseg.evaluate", {"torch", "torchvision"}),
        ("geoseg.report", {"torch", "torchvision"}),
        ("geoseg.view", {"torch", "torchvision"}),
        ("geoseg.predict", {"torch", "torchvision"}),
        ("geoseg.export", {"torch", "torchvision", "rasterio", "geopandas"}),
        ("geoseg.models.inference", {"rasterio", "geopandas", "shapely"}),
        ("geoseg.chips.dataset", {"rasterio", "geopandas", "shapely"}),
    ],
)
def test_imports_stay_light(module: str, unwanted: set[str]) -> None:
    code = f"import sys, {module}; print(sorted({unwanted!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
