"""ClassMap and BandStats."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 3),
    st.lists(st.integers(0, 30), min_size=1, max_size=6),
    st.integers(0, 2**32 - 1),
    st.sampled_from(["uint8", "int16", "uint16", "float32"]),
)
def test_merged_statistics_equal_those_of_all_pixels(
    bands: int, heights: list[int], seed: int, dtype: str
) -> None:
    rng = np.random.default_rng(seed)
    blocks = [(rng.normal(5000, 900, (bands, height, 7)) % 250).astype(dtype) for height in heights]
    valid = [rng.random((height, 7)) < 0.7 for height in heights]
    merged = BandStats.empty(bands)
    for block, mask in zip(blocks, valid, strict=True):
        merged = merged.merge(BandStats.of(block, mask))
    everything = np.concatenate([b[:, m] for b, m in zip(blocks, valid, strict=True)], axis=1).astype(float)
    assert merged.count == (everything.shape[1],) * bands
    if everything.size:
        np.testing.assert_allclose(merged.mean, everything.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(merged.std, everything.std(axis=1), rtol=1e-9, atol=1e-9)
        assert merged.minimum == tuple(everything.min(axis=1))
        assert merged.maximum == tuple(everything.max(axis=1))


def test_statistics_survive_a_large_mean() -> None:
    """The sum-of-squares formula loses all digits here; Welford's and Chan's do not."""
    values = 1e9 + np.arange(4000, dtype=np.float64).reshape(1, 40, 100) % 7
    stats = BandStats.empty(1)
    for row in range(40):
        stats = stats.merge(BandStats.of(values[:, row : row + 1], np.ones((1, 100), bool)))
    assert stats.std[0] == pytest.approx(values.std(), rel=1e-9)


def test_statistics_round_trip_and_damage() -> None:
    stats = BandStats.of(np.arange(12).reshape(2, 2, 3), np.ones((2, 3), bool))
    values = json.loads(json.dumps(stats.to_json()))
    assert BandStats.from_json(values) == stats
    for damage in ({"mean": [1.0]}, {"mean": [math.nan, 1.0]}, {"count": None}, {"m2": ["a", "b"]}):
        with pytest.raises(ValueError, match=r"band statistics|could not convert"):
            BandStats.from_json(values | damage)


def test_normalise_by_hand() -> None:
    stats = BandStats.of(np.array([[[1.0, 3.0]], [[5.0, 5.0]]]), np.ones((1, 2), bool))
    bands = np.array([[[1.0, 5.0, np.nan, 9.0]], [[5.0, 6.0, 5.0, 5.0]]], np.float32)
    valid = np.array([[True, True, True, False]])
    expected = [[[-1.0, 3.0, 0.0, 0.0]], [[0.0, 1.0, 0.0, 0.0]]]
    normal = stats.normalise(bands, valid)
    assert normal.dtype == np.float32
    np.testing.assert_array_equal(normal, expected)
