"""The shift of labels: planted ones are found to a fraction of a pixel, and nothing is made up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from patchwork import ids_of, patchwork
from rasterio.crs import CRS
from scenes import UTM, north_up, rotated

from geoseg.health.shift import REACH_PX, Shift, estimate, surfaces_of
from geoseg.health.shift_checks import shift_findings
from geoseg.raster.geobox import GeoBox

BANDS, BOXES = patchwork(512)
IDS = ids_of(BOXES, 512)
EVERYWHERE = np.ones(IDS.shape, bool)


def moved(ids: NDArray[Any], right: int, down: int) -> NDArray[Any]:
    """Labels moved over an image that stays."""
    return np.roll(ids, (down, right), (0, 1))


@settings(max_examples=20, deadline=None)
@given(right=st.integers(-8, 8), down=st.integers(-8, 8))
def test_planted_shifts_are_found(right: int, down: int) -> None:
    found = estimate(surfaces_of(BANDS, EVERYWHERE, moved(IDS, right, down)))
    assert found is not None
    assert found.sure
    # What must be done to the labels is the way back.
    assert found.columns_px == pytest.approx(-right, abs=0.25)
    assert found.rows_px == pytest.approx(-down, abs=0.25)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_other_numbers_and_one_band(dtype: str) -> None:
    band = (BANDS[:1].astype(np.float64) * 37.0 - 1000.0).astype(dtype)
    if dtype == "float32":
        band[0, 200:203, 200:203] = np.nan
    found = estimate(surfaces_of(band, EVERYWHERE, moved(IDS, 5, -3)))
    assert found is not None
    assert found.sure
    assert (found.columns_px, found.rows_px) == pytest.approx((-5.0, 3.0), abs=0.3)


@pytest.mark.parametrize("seed", range(6))
def test_labels_of_another_place_say_nothing(seed: int) -> None:
    other, _ = patchwork(512, seed=100 + seed)
    found = estimate(surfaces_of(other, EVERYWHERE, IDS))
    assert found is not None
    assert not found.sure


@pytest.mark.parametrize("seed", range(6))
def test_noise_says_nothing(seed: int) -> None:
    noise = np.random.default_rng(seed).integers(0, 255, BANDS.shape).astype(np.uint8)
    found = estimate(surfaces_of(noise, EVERYWHERE, IDS))
    assert found is not None
    assert not found.sure


def test_a_shift_beyond_reach_is_not_told() -> None:
    found = estimate(surfaces_of(BANDS, EVERYWHERE, moved(IDS, REACH_PX + 2, 0)))
    assert found is not None
    assert not found.sure


def test_too_few_edges_are_no_answer() -> None:
    assert surfaces_of(BANDS, EVERYWHERE, np.zeros_like(IDS)) == []
    assert surfaces_of(BANDS[:, :60, :60], EVERYWHERE[:60, :60], IDS[:60, :60]) == []
    assert estimate(surfaces_of(BANDS[:, :192, :192], EVERYWHERE[:192, :192], IDS[:192, :192])) is None


def test_the_edge_of_valid_pixels_is_no_edge_of_the_image() -> None:
    # Bands of nodata, and labels three pixels beside them: long edges that would pull the answer to -3.
    valid, bands, ids = EVERYWHERE.copy(), BANDS.copy(), IDS.copy()
    for col in (90, 250, 410):
        valid[:, col : col + 12] = False
        bands[:, :, col : col + 12] = 0
        ids[:, col + 3 : col + 15] = 1
    found = estimate(surfaces_of(bands, valid, ids))
    assert found is not None
    assert abs(found.columns_px) < 0.5


def shift(columns_px: float, rows_px: float, *, sure: bool = True, spread_px: float = 0.1) -> Shift:
    return Shift(
        columns_px=columns_px,
        rows_px=rows_px,
        sure=sure,
        agreement=1.0,
        second=0.5,
        spread_px=spread_px,
        windows=20,
    )


def grid(transform: Any) -> GeoBox:
    return GeoBox(crs=CRS.from_string(UTM), transform=transform, shape=(100, 100))


@pytest.mark.parametrize(
    ("found", "severity"),
    [
        (shift(1.0, -1.0), None),
        (shift(0.0, 2.5), "warning"),
        (shift(-6.0, 0.0), "error"),
        (shift(-6.0, 0.0, sure=False), None),
        (shift(2.5, 0.0, spread_px=0.8), None),
        (None, None),
    ],
)
def test_only_long_and_sure_shifts_are_findings(found: Shift | None, severity: str | None) -> None:
    findings = shift_findings({"a": found}, {"a": grid(north_up())})
    assert [finding.severity for finding in findings] == ([] if severity is None else [severity])


def test_the_move_is_told_in_pixels_and_on_the_ground() -> None:
    (found,) = shift_findings({"a": shift(4.0, 6.0)}, {"a": grid(north_up(0.5))})
    assert found.where == ("a: 4.0 px right and 6.0 px down (x +2, y -3 in CRS units)",)
    assert found.todo.startswith("move the labels by 4.0 px right and 6.0 px down")
    # A quarter turn: right is north, down is east.
    (found,) = shift_findings({"a": shift(4.0, 6.0)}, {"a": grid(rotated(90.0, 0.5))})
    assert "(x +3, y +2 in CRS units)" in found.where[0]


def test_scenes_moved_in_different_ways_have_no_common_cure() -> None:
    moves = {"a": shift(6.0, 0.0), "b": shift(-6.0, 0.0), "c": shift(0.5, 0.0)}
    (found,) = shift_findings(moves, dict.fromkeys(moves))
    assert found.count == 2
    assert "2 of 3 scenes" in found.what
    assert found.todo.startswith("move each scene's labels")
