"""Numbers far from usual: huge offsets and tiny spreads, counts beyond 2^53, millimetres far from the origin.

What is right is told by exact fractions.
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import geopandas
import numpy as np
import pytest
import torch
from affine import Affine
from label_rasters import traced
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from scenes import UTM, write_class_raster

from geoseg.chips.tally import LIMIT_STD, Tally
from geoseg.chips.view import View
from geoseg.classes import IGNORE, BandStats
from geoseg.config import VectorizeConfig
from geoseg.metrics import ConfusionMatrix
from geoseg.models.normalise import Normaliser
from geoseg.raster.geobox import GeoBox
from geoseg.vector.corners import Band
from geoseg.vector.dissolve import Survey
from geoseg.vector.trace import trace
from geoseg.vectorize import vectorize

RNG = np.random.default_rng(0)
COUNT = 20_000
BANDS = {
    "float64, 1e-5 at 1e8": 1e8 + RNG.normal(0.0, 1e-5, COUNT),
    "int32, one at 1e8": (10**8 + RNG.integers(-1, 2, COUNT)).astype(np.int32),
    "uint32, both ends": RNG.choice(np.array([0, 2**32 - 1], np.uint32), COUNT),
    "int32, both ends": RNG.choice(np.array([-(2**31), 2**31 - 1], np.int32), COUNT),
    "float32, 1e30": (RNG.random(COUNT) * 9e29).astype(np.float32),
    "float32, 1e-30": (RNG.random(COUNT) * 1e-30).astype(np.float32),
    "float32, few finite": np.where(RNG.random(COUNT) < 0.01, RNG.random(COUNT), np.nan).astype(np.float32),
    "float64, two zeros and one": RNG.choice([-0.0, 0.0, 1.0], COUNT),
}  # fmt: skip
CONSTANT = {
    "float64 0.1": np.full(COUNT, 0.1),
    "float32 0.1": np.full(COUNT, 0.1, np.float32),
    "two zeros": np.resize([-0.0, 0.0], COUNT),
    "int32 at its end": np.full(COUNT, 2**31 - 1, np.int32),
}


def exact(values: NDArray[np.generic]) -> tuple[float, float]:
    """Mean and standard deviation of the finite values."""
    numbers = [Fraction(float(value)) for value in values if math.isfinite(value)]
    mean = sum(numbers) / len(numbers)
    return float(mean), math.sqrt(sum((number - mean) ** 2 for number in numbers) / len(numbers))


def tallied(values: NDArray[np.generic], parts: int = 7) -> BandStats:
    """Statistics of a band, counted in parts."""
    whole = Tally.empty(1, values.dtype.name)
    for part in np.array_split(values, parts):
        whole = whole.merge(Tally.of(part[None, None], np.ones((1, len(part)), np.bool_)))
    return whole.stats()


@pytest.mark.parametrize("name", BANDS)
def test_statistics_and_normalised_values_are_the_exact_ones(name: str) -> None:
    values = BANDS[name]
    mean, std = exact(values)
    stats = tallied(values)
    assert stats.mean[0] == pytest.approx(mean, rel=1e-15, abs=1e-9 * std)
    assert stats.std[0] == pytest.approx(std, rel=1e-6)
    bands, valid = values[None, None], np.ones((1, len(values)), np.bool_)
    normal = stats.normalise(bands, valid)
    # numpy's long double holds what float64 cannot: 80 bits.
    wanted = (values.astype(np.longdouble) - np.longdouble(mean)) / np.longdouble(std)
    wanted = np.nan_to_num(np.clip(wanted, -LIMIT_STD, LIMIT_STD))
    np.testing.assert_allclose(normal[0, 0], wanted.astype(np.float64), rtol=2e-5, atol=2e-6)
    twin = Normaliser(stats, torch.device("cpu"))(
        torch.from_numpy(bands[None]), torch.from_numpy(valid[None])
    )
    assert_array_equal(twin[0].numpy(), normal)


@pytest.mark.parametrize("name", CONSTANT)
def test_a_constant_band_has_no_spread_and_stays_quiet_elsewhere(name: str) -> None:
    """0.1 summed up is no multiple of 0.1: the rest, taken for a spread, made noise of the next scene."""
    stats = tallied(CONSTANT[name])
    assert (stats.mean[0], stats.std[0]) == (CONSTANT[name][0], 0.0)
    assert stats.scale == (1.0,)


def test_a_spread_too_small_for_float32_is_none() -> None:
    values = (RNG.random(COUNT) * 1e-42).astype(np.float32)
    stats = tallied(values)
    with np.errstate(all="raise", under="ignore"):
        normal = stats.normalise(values[None, None], np.ones((1, COUNT), np.bool_))
    assert np.isfinite(normal).all()
    assert np.abs(normal).max() < 1e-30


def test_a_scene_without_values_normalises_to_nothing() -> None:
    values = np.full((1, 4, 4), np.nan, np.float32)
    tally = Tally.of(values, np.ones((4, 4), np.bool_))
    assert tally.counts == (0,)
    stats = BandStats(count=(1,), mean=(0.0,), m2=(0.0,), minimum=(0.0,), maximum=(0.0,), limit_std=8.0)
    assert not stats.normalise(values, np.ones((4, 4), np.bool_)).any()


def test_views_keep_small_differences_of_large_numbers() -> None:
    """What is trained at a random scale is what is predicted: 100,000,001 next to 100,000,003 are two."""
    values = (10**8 + RNG.integers(0, 4, (1, 32, 32))).astype(np.int32)
    stats = tallied(values.ravel())
    view = View(row=0.0, col=0.0, size_px=32, step=1.0)
    known, labels = np.ones((32, 32), np.bool_), np.zeros((32, 32), np.uint8)
    bands, valid, _ = view.of(values, known, labels, stats)
    assert_array_equal(stats.normalise(bands, valid), stats.normalise(values, known))


def test_statistics_beyond_float32_are_refused() -> None:
    values = tallied(np.arange(9.0)).to_json()
    with pytest.raises(ValueError, match="beyond all numbers of float32"):
        BandStats.from_json(values | {"mean": [1e39]})


def test_counts_beyond_two_to_the_53_are_exact() -> None:
    """float64 would lose the last one; int32 was full at a scene of 46341 x 46341."""
    big = ConfusionMatrix(2)
    big.counts[:] = [[2**53 + 1, 3], [2**31 + 1, 2**53 + 5]]
    one = ConfusionMatrix(2)
    one.update(np.array([0, 1, 1]), np.array([0, 0, 1]))
    both = big + one
    assert both.to_json()["counts"] == [[2**53 + 2, 3], [2**31 + 2, 2**53 + 6]]
    assert both.pixels == 2**54 + 2**31 + 13
    union = 2**53 + 2 + 3 + 2**31 + 2
    assert both.iou()[0] == pytest.approx(float(Fraction(2**53 + 2, union)), rel=1e-15)
    assert both.accuracy() == pytest.approx(float(Fraction(2**54 + 8, both.pixels)), rel=1e-15)


def test_what_is_small_does_not_depend_on_the_size_of_a_pixel() -> None:
    """0.01 m2 ten times over is less than 10 times 0.01 m2: equal areas were not, and another one went."""

    def dissolved(ids: NDArray[np.int64], pixel: float, rows: int) -> NDArray[np.int64]:
        survey, tops = Survey(IGNORE), range(0, len(ids), rows)
        for top in tops:
            part = ids[top : top + rows]
            survey.add(part, np.full(len(part), pixel))
        result = survey.dissolve(min_area=9 * pixel)
        return np.concatenate([result.relabel(ids[top : top + rows]) for top in tops])

    for seed in range(60):
        ids = np.random.default_rng(seed).integers(0, 3, (12, 12))
        wanted = dissolved(ids, 1.0, 12)
        for pixel in (0.01, 0.09, 0.7**2):
            for rows in (12, 5):
                assert_array_equal(dissolved(ids, pixel, rows), wanted)


@pytest.mark.parametrize(
    ("pixel", "crs", "origin", "column"),
    [
        (0.001, UTM, (1e7 / 16.0, 1e7), "area_m2"),
        (0.0005, UTM, (500_000.0, 5_000_000.0), "area_m2"),
        (1e-5, None, (13.4, 52.5), "area"),  # degrees that nobody called degrees: an image with a world file
    ],
)
def test_areas_of_small_pixels_far_from_the_origin(
    tmp_path: Path, pixel: float, crs: str | None, origin: tuple[float, float], column: str
) -> None:
    ids = np.zeros((40, 60), np.uint8)
    ids[3:4, 5:6], ids[10:30, 10:47], ids[15:17, 20:23] = 1, 1, 0
    transform = Affine(pixel, 0.0, origin[0], 0.0, -pixel, origin[1])
    mask = write_class_raster(tmp_path / "mask.tif", ids, transform=transform, crs=crs)
    vectorize(mask, tmp_path / "out.gpkg", VectorizeConfig(simplify_px=0.0, classes=("1",)))
    found = geopandas.read_file(tmp_path / "out.gpkg", layer="parcels").sort_values(column)
    wanted = [float(Fraction(pixel) ** 2 * count) for count in (1, 20 * 37 - 6)]
    lengths = [float(Fraction(pixel) * count) for count in (4, 2 * (20 + 37) + 10)]
    near = 1e-9 if crs is None else 1e-4
    assert found[column].tolist() == pytest.approx(wanted, rel=max(near, 4 * math.ulp(origin[1]) / pixel))
    lengths_found = found[column.replace("area", "perimeter").replace("m2", "m")].tolist()
    assert lengths_found == pytest.approx(lengths, rel=max(near, 4 * math.ulp(origin[1]) / pixel))


def test_one_grid_rounded_twice_is_one_grid() -> None:
    here = GeoBox(crs=None, transform=Affine(0.001, 0, 1e7, 0, -0.001, 1e7), shape=(900, 900))
    rounded = GeoBox(
        crs=None, transform=Affine(0.001, 0, math.nextafter(1e7, 0), 0, -0.001, 1e7), shape=(900, 900)
    )
    moved = GeoBox(crs=None, transform=Affine(0.001, 0, 1e7 + 1e-5, 0, -0.001, 1e7), shape=(900, 900))
    assert here.same_grid(rounded)
    assert not here.same_grid(moved)


def test_outlines_in_the_last_rows_that_gdal_can_count_are_those_at_the_top() -> None:
    """Rows times columns is far beyond 2^31, and so is twice a corner's row: a band is told to lie there."""
    labels = RNG.integers(0, 3, (9, 11))
    top = 2**31 - 11
    above = np.full((2, 11), IGNORE)
    bands = [
        Band(labels=above, top=0, height=top + 10),
        Band(labels=np.concatenate([above[:1], labels]), top=top, height=top + 10),
        Band(labels=np.concatenate([labels[-1:], above[:1]]), top=top + 9, height=top + 10),
    ]
    here = list(traced(labels, 9))
    there = [part for part in trace(bands, wanted=lambda ids: ids != IGNORE) if len(part)]

    def drawn(parts: list) -> list[tuple[int, int, list[list[float]]]]:
        rings = []
        for part in parts:
            for at in range(len(part.rings) - 1):
                points = part.points[part.rings[at] : part.rings[at + 1]]
                rings.append(sorted(map(tuple, points.tolist())))
        return sorted(rings)

    moved = [[(x, y - top) for x, y in ring] for ring in drawn(there)]
    assert moved == drawn(here)
    assert sum(int(part.area.sum()) for part in there) == labels.size
