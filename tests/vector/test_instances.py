"""Parcels told apart by the boundary between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from label_rasters import flood
from numpy.typing import NDArray

from geoseg.vector import instances as instances_module
from geoseg.vector.dissolve import Survey
from geoseg.vector.instances import Instances

LAND = np.array([1, 3])
BOUNDARY, ABSENT = 2, 255


def numbered(
    ids: NDArray[np.uint8], rows: int, probability: NDArray[np.uint8] | None = None, min_area: float = 0.0
) -> tuple[NDArray[np.int32], Instances]:
    cuts = range(0, len(ids), rows)
    survey = Survey(ABSENT)
    for top in cuts:
        survey.add(ids[top : top + rows], np.ones(len(ids[top : top + rows])))
    parcels = Instances(survey.parts(), land=LAND, boundary=BOUNDARY, min_area=min_area, absent=ABSENT)
    pieces = (
        (ids[top : top + rows], None if probability is None else probability[top : top + rows])
        for top in cuts
    )
    return np.concatenate(list(parcels.bands(pieces))), parcels


def two_parcels() -> NDArray[np.uint8]:
    ids = np.zeros((30, 40), np.uint8)
    ids[4:26, 4:36] = 1
    ids[4:26, 18:23] = BOUNDARY
    return ids


def test_neighbours_meet_in_the_middle_and_nothing_is_lost() -> None:
    ids = two_parcels()
    labels, parcels = numbered(ids, 7)
    assert parcels.class_of.tolist() == [-1, 1, 1, 1, 3]
    assert set(np.unique(labels)) == {-2, 1, 2}
    np.testing.assert_array_equal(labels > 0, ids > 0)
    assert (labels[4:26, 4:20] == 1).all()
    assert (labels[4:26, 21:36] == 2).all()
    np.testing.assert_array_equal(parcels.class_ids(labels), np.where(ids > 0, 1, 0))


def test_they_meet_on_the_ridge_when_it_is_known() -> None:
    ids = two_parcels()
    probability = np.zeros(ids.shape, np.uint8)
    probability[:, 18:22], probability[:, 22] = 60, 250  # askew: all the way to the right
    labels, _ = numbered(ids, 30, probability)
    assert (labels[4:26, 4:22] == 1).all()
    assert (labels[4:26, 23:36] == 2).all()


def test_small_parcels_are_grown_over() -> None:
    ids = two_parcels()
    ids[10:12, 20:22] = 1
    labels, parcels = numbered(ids, 30)
    assert labels.max() == 3
    labels, parcels = numbered(ids, 30, min_area=5)
    assert (labels.max(), parcels.dropped) == (2, 1)
    np.testing.assert_array_equal(labels > 0, ids > 0)


def test_small_parcels_far_from_others_are_left_as_they_are() -> None:
    ids = np.zeros((20, 20), np.uint8)
    ids[4:6, 4:6] = 1
    ids[12:14, 12:14] = 3
    labels, parcels = numbered(ids, 20, min_area=5)
    assert sorted(set(labels.ravel().tolist())) == [-2, 1, 2]
    np.testing.assert_array_equal(parcels.class_ids(labels), ids)
    assert parcels.dropped == 2


def test_nodata_and_other_classes_stay() -> None:
    ids = two_parcels()
    ids[0:3] = ABSENT
    ids[28:] = 7
    labels, parcels = numbered(ids, 11)
    assert (labels[0:3] == -1).all()
    assert (labels[28:] == -9).all()
    assert (parcels.class_ids(labels)[28:] == 7).all()


@given(
    ids=arrays(
        np.uint8,
        st.tuples(st.integers(1, 16), st.integers(1, 10)),
        elements=st.sampled_from([0, 1, 2, 2, 3, 255]),
    ),
    rows=st.integers(1, 17),
    limits=st.sampled_from([(1, 2), (3, 4), (64, 320)]),
    known=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_bands_change_nothing(
    ids: NDArray[np.uint8], rows: int, limits: tuple[int, int], known: bool
) -> None:
    probability = np.random.default_rng(0).integers(0, 255, ids.shape, np.uint8) if known else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instances_module, "_FAR_PX", limits[0])
        patch.setattr(instances_module, "_DEAR", limits[1])
        whole, _ = numbered(ids, 100, probability)
        cut, parcels = numbered(ids, rows, probability)
    np.testing.assert_array_equal(cut, whole)
    # Seeds are the regions of land, numbered by their first pixels; they never change.
    numbers, _ = flood(ids)
    land = np.isin(ids, LAND)
    order: dict[Any, int] = {}
    for number in numbers[land].tolist():
        order.setdefault(number, len(order) + 1)
    assert cut[land].tolist() == [order[number] for number in numbers[land].tolist()]
    assert len(parcels.class_of) == len(order) + 1 + len(LAND)
