"""Texts of options become values, or one clear line."""

from __future__ import annotations

import pytest
from rasterio.windows import Window

from geoseg.errors import InputError
from geoseg_cli import options


@pytest.mark.parametrize(
    ("text", "megabytes"),
    [
        ("800", 800.0),
        ("800MB", 800.0),
        ("1.5 GB", 1500.0),
        ("2g", 2000.0),
        ("4GiB", 4 * 1024**3 / 1e6),
        ("500000kB", 500.0),
        ("1T", 1e6),
    ],
)
def test_sizes(text: str, megabytes: float) -> None:
    assert options.megabytes(text) == pytest.approx(megabytes)


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "0", "4 parsec", "nan"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="write a size such as 4GB or 800MB"):
        options.megabytes(text)


def test_windows() -> None:
    assert options.window(None) is None
    assert options.window("1,2,30,40") == Window(1, 2, 30, 40)


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,inf,4", "1.5,2,3,4", "1,2,0,4", ""])
def test_windows_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match=r"--window .*: write "):
        options.window(text)


def test_bounds() -> None:
    assert options.decimals("-1.5,2,3e2,4", "--bounds", 4) == (-1.5, 2.0, 300.0, 4.0)
    with pytest.raises(InputError, match="--bounds 1,2: write 4 numbers"):
        options.decimals("1,2", "--bounds", 4)
