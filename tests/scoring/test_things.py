"""Objects cut to the land that is compared."""

from __future__ import annotations

import numpy as np
import shapely
from numpy.testing import assert_allclose

from geoseg.scoring.things import Things, cut_out, cut_to


def boxes(*corners: tuple[float, float, float, float]) -> np.ndarray:
    return np.array([shapely.box(*corner) for corner in corners], object)


def things(*corners: tuple[float, float, float, float]) -> Things:
    return Things.of(boxes(*corners), np.arange(len(corners)))


def test_cut_to_an_area() -> None:
    """Inside; 60 % inside; 40 % inside; beyond; along the edge."""
    every = things((1, 1, 2, 2), (9, 0, 9 + 1 / 0.6, 1), (9, 2, 11.5, 3), (20, 0, 21, 1), (10, 0, 12, 5))
    cut = cut_to(every, shapely.box(0, 0, 10, 10))
    assert cut.things.class_id.tolist() == [0, 1]
    assert_allclose(shapely.area(cut.things.geometry), [1.0, 1.0])
    assert_allclose(shapely.area(cut.remains), [1.0])


def test_cut_out_unknown_land() -> None:
    every = things((0, 0, 10, 1), (20, 0, 30, 1), (40, 0, 50, 1), (60, 0, 61, 1))
    cut = cut_out(every, boxes((1, 0, 3, 1), (2, 0, 4, 1), (22, 0, 30, 1), (40, 0, 50, 1)))
    assert cut.things.class_id.tolist() == [0, 3]
    assert_allclose(shapely.area(cut.things.geometry), [7.0, 1.0])
    assert_allclose(shapely.area(cut.remains), [2.0])


def test_nothing_unknown_changes_nothing() -> None:
    every = things((0, 0, 10, 1))
    cut = cut_out(every, np.zeros(0, object))
    assert cut.things.geometry[0].equals(every.geometry[0])
    assert not len(cut.remains)


def test_lines_that_cutting_leaves_are_dropped() -> None:
    bent = shapely.Polygon([(0, 0), (10, 0), (10, 5), (12, 5), (12, 8), (0, 8)])
    cut = cut_to(Things.of(np.array([bent], object), [4]), shapely.box(0, 0, 12, 5))
    assert shapely.get_type_id(cut.things.geometry).tolist() == [3]
    assert shapely.area(cut.things.geometry)[0] == 50.0


def test_things_without_area_are_none() -> None:
    assert len(Things.of(np.array([shapely.Polygon(), shapely.box(0, 0, 1, 1)], object), [1, 2])) == 1
