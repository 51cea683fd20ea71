"""Small regions go where the rules say, checked by a plain implementation of the rules."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.vector.dissolve import MinArea, dissolve, parse_area
from geoseg.vector.regions import Runs

IDS = arrays(
    np.uint8, st.tuples(st.integers(1, 10), st.integers(1, 10)), elements=st.sampled_from([0, 1, 2, 2, 255])
)


def labels_of(ids: NDArray[np.uint8]) -> NDArray[np.int64]:
    runs = Runs.of(ids)
    return np.repeat(runs.region, runs.length).reshape(ids.shape)


def plain(ids: NDArray[np.uint8], min_area: int) -> tuple[NDArray[np.uint8], int, int]:
    """The rules of :func:`dissolve`, read aloud; every region is looked at again in every round."""
    ids = ids.copy()
    dissolved = 0
    while True:
        labels = labels_of(ids)
        area = np.bincount(labels.ravel())
        class_of = {int(label): int(ids[labels == label][0]) for label in np.unique(labels)}
        small = {label for label, value in class_of.items() if value != 255 and area[label] < min_area}
        border: dict[int, dict[int, int]] = {label: {} for label in class_of}
        pairs = [(labels[:, 1:], labels[:, :-1]), (labels[1:], labels[:-1])]
        for first, second in pairs:
            for one, two in zip(first.ravel().tolist(), second.ravel().tolist(), strict=True):
                if one != two and 255 not in (class_of[one], class_of[two]):
                    border[one][two] = border[one].get(two, 0) + 1
                    border[two][one] = border[two].get(one, 0) + 1
        moves = {}
        for label in small:
            neighbours = border[label]
            if any((area[n], n) < (area[label], label) for n in neighbours if n in small):
                continue
            if neighbours:
                moves[label] = max(neighbours, key=lambda n: (neighbours[n], area[n], -n))
        if not moves:
            for label in small:
                ids[labels == label] = 255
            return ids, dissolved, len(small)
        dissolved += len(moves)
        for label, target in moves.items():
            ids[labels == label] = class_of[target]


@given(ids=IDS, min_area=st.integers(0, 12))
@settings(max_examples=200, deadline=None)
def test_same_as_the_rules_read_aloud(ids: NDArray[np.uint8], min_area: int) -> None:
    before = ids.copy()
    done = dissolve(ids, min_area, np.ones(len(ids)))
    expected, dissolved, dropped = plain(ids, min_area)
    np.testing.assert_array_equal(done.ids, expected)
    assert (done.dissolved, done.dropped) == (dissolved, dropped)
    np.testing.assert_array_equal(ids, before)
    labels = labels_of(done.ids)
    areas = np.bincount(labels.ravel())[labels]
    assert (areas[done.ids != 255] >= min_area).all()
    np.testing.assert_array_equal(done.ids[ids == 255], 255)


def test_goes_to_the_longest_border_not_the_largest_region() -> None:
    ids = np.zeros((6, 6), np.uint8)
    ids[2:5, 2:5] = 1
    ids[3, 3] = 2
    ids[2, 3] = 0
    # The pixel of class 2 has three edges with class 1 and one with class 0.
    done = dissolve(ids, 2, np.ones(6))
    assert done.ids[3, 3] == 1
    assert (done.dissolved, done.dropped) == (1, 0)


def test_never_into_nodata_and_dropped_without_another_neighbour() -> None:
    ids = np.full((5, 7), 255, np.uint8)
    ids[1, 1] = 1
    ids[3, 3:6] = 2
    ids[2, 4] = 1
    done = dissolve(ids, 2, np.ones(5))
    assert done.ids[1, 1] == 255
    assert done.ids[2, 4] == 2
    assert (done.dissolved, done.dropped) == (1, 1)


def test_joins_the_parcels_that_a_speck_had_parted() -> None:
    ids = np.array([[1, 1, 0, 1, 1]], np.uint8)
    assert dissolve(ids, 2, np.ones(1)).ids.tolist() == [[1, 1, 1, 1, 1]]


def test_area_of_the_limit_stays_despite_rounding() -> None:
    ids = np.zeros((4, 20), np.uint8)
    ids[1, 3:13] = 1
    assert dissolve(ids, 1.0, np.full(4, 0.1)).dissolved == 0
    assert dissolve(ids, 1.001, np.full(4, 0.1)).dissolved == 1


def test_area_of_a_pixel_may_differ_by_row() -> None:
    ids = np.zeros((6, 4), np.uint8)
    ids[1, 1] = ids[4, 1] = 1
    done = dissolve(ids, 1.5, np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0]))
    assert (done.ids[1, 1], done.ids[4, 1]) == (0, 1)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("250", 250.0, "m2"),
        ("250m2", 250.0, "m2"),
        (" 0.5 ha ", 5000.0, "m2"),
        (".5HA", 5000.0, "m2"),
        ("2km2", 2e6, "m2"),
        ("12 m²", 12.0, "m2"),
        ("20px", 20.0, "px"),
    ],
)
def test_areas_with_units(text: str, value: float, unit: str) -> None:
    assert parse_area(text) == MinArea(value=value, unit=unit)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "ha", "-5m2", "5 acres", "nan", "1e3", "5m2 6m2", "inf"])
def test_what_is_no_area(text: str) -> None:
    with pytest.raises(ConfigError, match=r"250m2, 0\.5ha or 20px"):
        parse_area(text)
