"""Small regions go where the rules say, checked by a plain implementation of the rules."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from geoseg.errors import ConfigError
from geoseg.vector.dissolve import Dissolved, MinArea, Survey, Wanted, parse_area
from geoseg.vector.regions import Runs

IDS = arrays(
    np.uint8, st.tuples(st.integers(1, 10), st.integers(1, 10)), elements=st.sampled_from([0, 1, 2, 2, 255])
)


class Done(NamedTuple):
    ids: NDArray[Any]
    told: Dissolved


def dissolve(
    ids: NDArray[Any],
    min_area: float,
    row_area: NDArray[np.float64],
    *,
    rows: int = 100,
    max_hole: float = 0.0,
    wanted: Wanted | None = None,
) -> Done:
    """Both passes over a raster, ``rows`` rows at a time; 255 is nodata."""
    survey = Survey(255)
    cuts = [slice(top, top + rows) for top in range(0, len(ids), rows)]
    for cut in cuts:
        survey.add(ids[cut], row_area[cut])
    told = survey.dissolve(min_area=min_area, max_hole=max_hole, wanted=wanted)
    return Done(np.concatenate([told.relabel(ids[cut]) for cut in cuts]), told)


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


@given(ids=IDS, min_area=st.integers(0, 12), rows=st.integers(1, 11))
@settings(max_examples=200, deadline=None)
def test_same_as_the_rules_read_aloud(ids: NDArray[np.uint8], min_area: int, rows: int) -> None:
    before = ids.copy()
    done = dissolve(ids, min_area, np.ones(len(ids)), rows=rows)
    expected, dissolved, dropped = plain(ids, min_area)
    np.testing.assert_array_equal(done.ids, expected)
    assert (done.told.dissolved, done.told.dropped) == (dissolved, dropped)
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
    assert (done.told.dissolved, done.told.dropped) == (1, 0)


def test_never_into_nodata_and_dropped_without_another_neighbour() -> None:
    ids = np.full((5, 7), 255, np.uint8)
    ids[1, 1] = 1
    ids[3, 3:6] = 2
    ids[2, 4] = 1
    done = dissolve(ids, 2, np.ones(5))
    assert done.ids[1, 1] == 255
    assert done.ids[2, 4] == 2
    assert (done.told.dissolved, done.told.dropped) == (1, 1)


def test_joins_the_parcels_that_a_speck_had_parted() -> None:
    ids = np.array([[1, 1, 0, 1, 1]], np.uint8)
    assert dissolve(ids, 2, np.ones(1)).ids.tolist() == [[1, 1, 1, 1, 1]]


def test_area_of_the_limit_stays_despite_rounding() -> None:
    ids = np.zeros((4, 20), np.uint8)
    ids[1, 3:13] = 1
    assert dissolve(ids, 1.0, np.full(4, 0.1)).told.dissolved == 0
    assert dissolve(ids, 1.001, np.full(4, 0.1)).told.dissolved == 1


def test_area_of_a_pixel_may_differ_by_row() -> None:
    ids = np.zeros((6, 4), np.uint8)
    ids[1, 1] = ids[4, 1] = 1
    done = dissolve(ids, 1.5, np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0]))
    assert (done.ids[1, 1], done.ids[4, 1]) == (0, 1)


@pytest.mark.parametrize("rows", [1, 3, 10])
def test_holes_are_filled_and_islands_are_none(rows: int) -> None:
    ids = np.zeros((10, 12), np.uint8)
    ids[1:9, 1:11] = 1
    ids[2:7, 2:7] = 255  # a hole of nodata, with an island in it, with a hole in that
    ids[3:6, 3:6] = 2
    ids[4, 4] = 0
    ids[7, 9] = 3  # another class: a polygon of its own, no hole

    def filled(max_hole: float) -> tuple[int, NDArray[Any]]:
        done = dissolve(
            ids, 0, np.ones(10), rows=rows, max_hole=max_hole, wanted=lambda labels: labels % 255 > 0
        )
        return done.told.filled, done.ids

    inner = np.where(np.arange(120).reshape(10, 12) == 4 * 12 + 4, 2, ids)
    for max_hole, count, expected in ((1, 0, ids), (2, 1, inner), (26, 1, inner)):
        # The nodata around the island has two neighbours, so it is no hole, however large holes may be.
        number, found = filled(max_hole)
        assert number == count
        np.testing.assert_array_equal(found, expected)
    ids[3:6, 3:6] = 255
    ids[3:6, 3:6] = 255
    number, found = filled(26)
    assert number == 1
    assert (found[2:7, 2:7] == 1).all()
    assert (found == 3).sum() == 1


def test_what_reaches_the_edge_is_no_hole() -> None:
    ids = np.ones((6, 6), np.uint8)
    ids[0, 2] = ids[3, 5] = ids[5, 0] = ids[2, 0] = 0
    wanted = lambda labels: labels == 1  # noqa: E731
    assert dissolve(ids, 0, np.ones(6), rows=2, max_hole=5, wanted=wanted).told.filled == 0


@given(ids=IDS, max_hole=st.integers(0, 9), rows=st.integers(1, 11))
@settings(max_examples=150, deadline=None)
def test_holes_in_bands_are_those_of_the_whole(ids: NDArray[np.uint8], max_hole: int, rows: int) -> None:
    def wanted(labels: NDArray[Any]) -> NDArray[np.bool_]:
        return np.isin(labels, (1, 2))

    whole = dissolve(ids, 0, np.ones(len(ids)), max_hole=max_hole, wanted=wanted)
    cut = dissolve(ids, 0, np.ones(len(ids)), rows=rows, max_hole=max_hole, wanted=wanted)
    np.testing.assert_array_equal(cut.ids, whole.ids)
    changed = ids != whole.ids
    labels = labels_of(ids)
    for label in np.unique(labels[changed]):
        assert (labels == label).sum() < max_hole
        rows_, cols = np.nonzero(labels == label)
        assert min(rows_.min(), cols.min()) > 0
        assert rows_.max() < len(ids) - 1
        assert cols.max() < ids.shape[1] - 1


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
