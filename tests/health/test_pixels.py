"""Counts of pixels, and what they say about a scene."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from geoseg.health.finding import Finding
from geoseg.health.pixels import Tally, pixel_findings

GOOD = np.random.default_rng(0).integers(1, 200, (3, 40, 50)).astype(np.uint8)
ALL = np.ones(GOOD.shape[1:], bool)
IDS = np.zeros(GOOD.shape[1:], np.uint8)


def tally(bands: NDArray[Any], valid: NDArray[np.bool_] = ALL) -> Tally:
    counted = Tally(len(bands), bands.dtype.name)
    counted.add(bands, valid, IDS)
    return counted


def findings(*tallies: Tally) -> list[Finding]:
    named = {f"s{number}": counted for number, counted in enumerate(tallies)}
    return pixel_findings(named, dict.fromkeys(named, ("red", "green", "blue")), sampled=False)


def test_counts_add_up_whatever_the_pieces() -> None:
    rng = np.random.default_rng(1)
    bands = rng.integers(0, 256, (2, 64, 64)).astype(np.uint8)
    bands[:, :9, :9], bands[:, -7:, -7:] = 0, 255
    valid = rng.random((64, 64)) > 0.2
    ids = rng.choice(np.array([0, 1, 255], np.uint8), (64, 64))
    pieces = Tally(2, "uint8")
    for rows in (slice(0, 5), slice(5, 6), slice(6, 64)):
        pieces.add(bands[:, rows], valid[rows], ids[rows])
    values = bands[:, valid]
    assert (pieces.pixels, pieces.valid) == (64 * 64, int(valid.sum()))
    assert pieces.labelled == int((ids[valid] != 255).sum())
    assert pieces.ids[1] == int((ids[valid] == 1).sum())
    assert pieces.low.tolist() == values.min(axis=1).tolist()
    assert pieces.high.tolist() == values.max(axis=1).tolist()
    assert pieces.full.tolist() == (values == 255).sum(axis=1).tolist()
    assert pieces.all_zero == int((values == 0).all(axis=0).sum()) > 0
    assert pieces.all_full == int((values == 255).all(axis=0).sum()) > 0


def test_good_pixels_give_nothing() -> None:
    assert findings(tally(GOOD), tally(GOOD.astype(np.float32)), tally(GOOD.astype(np.uint16))) == []


def test_floats_that_are_not_finite_do_no_harm() -> None:
    bands = GOOD.astype(np.float32)
    bands[0, :3], bands[1, 5] = np.nan, np.inf
    counted = tally(bands)
    assert counted.high.tolist() == [bands[0, 3:].max(), np.delete(bands[1], 5, axis=0).max(), bands[2].max()]
    assert findings(counted) == []


@pytest.mark.parametrize(
    ("share", "severity"), [(1.0, "error"), (0.95, "warning"), (0.6, "note"), (0.3, None)]
)
def test_nodata(share: float, severity: str | None) -> None:
    valid = np.arange(ALL.size).reshape(ALL.shape) >= share * ALL.size
    found = findings(tally(GOOD, valid))
    assert [finding.severity for finding in found] == ([] if severity is None else [severity])
    assert all(finding.check == "nodata" for finding in found)


def test_one_of_two_scenes_without_valid_pixels_is_no_error() -> None:
    (found,) = findings(tally(GOOD), tally(GOOD, ~ALL))
    assert (found.severity, found.where) == ("warning", ("s1",))


@pytest.mark.parametrize(
    ("value", "dtype"), [(0, "uint8"), (255, "uint8"), (65535, "uint16"), (0, "float32")]
)
def test_an_undeclared_nodata_value_is_suspected(value: int, dtype: str) -> None:
    bands = GOOD.astype(dtype)
    bands[:, :4] = value
    (found,) = findings(tally(bands))
    assert (found.severity, found.check) == ("warning", "blank")
    assert found.where == ("s0 (10.0%)",)
    assert f"--nodata {value}," in found.todo


def test_constant_and_saturated_bands_are_named() -> None:
    bands = GOOD.copy()
    bands[0], bands[2, :10] = 7, 255
    constant, saturated = findings(tally(bands))
    assert (constant.check, constant.where) == ("constant", ("s0: red is 7",))
    assert (saturated.check, saturated.where) == ("saturated", ("s0: blue (25.0%)",))
