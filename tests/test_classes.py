"""ClassMap and BandStats."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from band_stats import stats_of

from geoseg.classes import MAX_CLASSES, BandStats, ClassMap, default_color


def test_class_map_round_trip() -> None:
    classes = ClassMap.from_names(["background", "field", "house"], background=0)
    again = ClassMap.from_json(json.loads(json.dumps(classes.to_json())))
    assert again == classes
    assert again.id_of("house") == 2
    assert classes.rgb(0) == (0x8C, 0x8C, 0x8C)
    with pytest.raises(KeyError):
        classes.id_of("river")


def test_a_boundary_class_is_the_last_and_travels() -> None:
    classes = ClassMap.from_names(["background", "field"], background=0).with_boundary()
    assert classes.names == ("background", "field", "boundary")
    assert (classes.background, classes.boundary) == (0, 2)
    assert len(set(classes.colors)) == 3
    assert ClassMap.from_json(json.loads(json.dumps(classes.to_json()))) == classes
    # Files made before there was such a class know nothing of it.
    old = {key: value for key, value in classes.to_json().items() if key != "boundary"}
    assert ClassMap.from_json(old).boundary is None
    for taken in (classes, ClassMap.from_names(["Boundary"])):
        with pytest.raises(ValueError, match="called boundary already"):
            taken.with_boundary()
    with pytest.raises(ValueError, match=f"{MAX_CLASSES + 1} classes"):
        ClassMap.from_names([f"c{i}" for i in range(MAX_CLASSES)]).with_boundary()


def test_background_does_not_shift_the_colours() -> None:
    with_background = ClassMap.from_names(["background", "a", "b"], background=0)
    without = ClassMap.from_names(["a", "b"])
    assert with_background.colors[1:] == without.colors


def test_default_colours_are_distinct() -> None:
    colors = [default_color(index) for index in range(MAX_CLASSES)]
    assert len(set(colors)) == len(colors)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"names": ["a"]},
        {"names": "ab", "colors": ["#000000", "#000000"]},
        {"names": ["a", "a"], "colors": ["#000000", "#000000"]},
        {"names": ["a"], "colors": ["red"]},
        {"names": ["a"], "colors": ["#00000g"]},
        {"names": ["a"], "colors": ["#000000"], "background": 1},
        {"names": ["a"], "colors": ["#000000"], "background": True},
        {"names": ["a"], "colors": ["#000000"], "boundary": 1},
        {"names": ["a"], "colors": ["#000000"], "boundary": "a"},
        {"names": ["a"], "colors": ["#000000"], "background": 0, "boundary": 0},
        {"names": [], "colors": []},
        None,
    ],
)
def test_damaged_class_maps_are_refused(values: object) -> None:
    with pytest.raises(ValueError, match=r"class|colour|background|boundary"):
        ClassMap.from_json(values)  # type: ignore[arg-type]


def test_statistics_round_trip_and_damage() -> None:
    stats = stats_of(np.arange(12).reshape(2, 2, 3), np.ones((2, 3), bool), limit_std=8.0)
    values = json.loads(json.dumps(stats.to_json()))
    assert BandStats.from_json(values) == stats
    # Files made before there was a limit have none.
    old = {key: value for key, value in values.items() if key != "limit_std"}
    assert BandStats.from_json(old) == replace(stats, limit_std=None)
    damages: list[dict[str, object]] = [{"mean": [1.0]}, {"mean": [math.nan, 1.0]}, {"count": None}]
    damages += [{"m2": ["a", "b"]}, {"limit_std": 0.0}, {"limit_std": math.inf}, {"limit_std": "x"}]
    for damage in damages:
        with pytest.raises(ValueError, match=r"band statistics|could not convert"):
            BandStats.from_json(values | damage)


def test_normalise_by_hand() -> None:
    stats = stats_of(np.array([[[1.0, 3.0]], [[5.0, 5.0]]]), np.ones((1, 2), bool))
    bands = np.array([[[1.0, 5.0, np.nan, 9.0]], [[5.0, 6.0, 5.0, 5.0]]], np.float32)
    valid = np.array([[True, True, True, False]])
    expected = [[[-1.0, 3.0, 0.0, 0.0]], [[0.0, 1.0, 0.0, 0.0]]]
    normal = stats.normalise(bands, valid)
    assert normal.dtype == np.float32
    np.testing.assert_array_equal(normal, expected)


def test_normalised_values_keep_to_the_limit() -> None:
    stats = stats_of(np.array([[[1.0, 3.0]], [[5.0, 5.0]]]), np.ones((1, 2), bool), limit_std=4.0)
    bands = np.array([[[5.5, 6.5, -3.4e38, np.inf]], [[8.0, 99.0, -99.0, np.nan]]], np.float32)
    normal = stats.normalise(bands, np.ones((1, 4), bool))
    np.testing.assert_array_equal(normal, [[[3.5, 4.0, -4.0, 0.0]], [[3.0, 4.0, -4.0, 0.0]]])
    huge = np.array([[[-1.7e308]], [[1e300]]])
    np.testing.assert_array_equal(stats.normalise(huge, np.ones((1, 1), bool)), [[[0.0]], [[0.0]]])
