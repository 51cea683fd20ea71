"""Class weights by hand."""

from __future__ import annotations

import pytest

from geoseg.chips.balance import class_weights


def test_no_weights() -> None:
    assert class_weights("none", [5, 1]) is None


def test_inverse() -> None:
    assert class_weights("inverse", [300, 100]) == pytest.approx([0.5, 1.5])


def test_inverse_sqrt() -> None:
    assert class_weights("inverse_sqrt", [900, 100]) == pytest.approx([0.5, 1.5])


def test_a_class_without_pixels_changes_nothing() -> None:
    assert class_weights("inverse", [300, 0, 100]) == pytest.approx([0.5, 1.0, 1.5])


def test_given_weights_are_scaled_to_mean_one() -> None:
    assert class_weights((1.0, 3.0), [7, 9]) == pytest.approx([0.5, 1.5])
