"""Class weights by hand, and orders of an epoch counted."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.chips.balance import class_weights, rare_order

LAWS = ("inverse", "inverse_sqrt", "median_frequency", "effective")


def test_no_weights() -> None:
    assert class_weights("none", [5, 1]) is None


def test_inverse() -> None:
    assert class_weights("inverse", [300, 100]) == pytest.approx([0.5, 1.5])


def test_inverse_sqrt() -> None:
    assert class_weights("inverse_sqrt", [900, 100]) == pytest.approx([0.5, 1.5])


def test_a_class_without_pixels_changes_nothing() -> None:
    assert class_weights("inverse", [300, 0, 100]) == pytest.approx([0.5, 1.0, 1.5])
    for law in LAWS:
        with_it, without = (
            class_weights(law, [[30, 0, 10], [9, 0, 0]]),
            class_weights(law, [[30, 10], [9, 0]]),
        )
        assert with_it is not None
        assert [with_it[0], with_it[2]] == pytest.approx(without)


def test_given_weights_are_scaled_to_mean_one() -> None:
    assert class_weights((1.0, 3.0), [7, 9]) == pytest.approx([0.5, 1.5])


def test_median_frequency_goes_by_the_chips_that_hold_the_class() -> None:
    # Class 0 has 90 + 60 of 200 pixels; class 1, 10 of the 100 of the first chip; class 2, 40 of the other.
    frequency = [0.75, 0.10, 0.40]
    raw = np.array([0.40 / f for f in frequency])
    assert class_weights("median_frequency", [[90, 10, 0], [60, 0, 40]]) == pytest.approx(
        (raw / raw.mean()).tolist()
    )


def test_effective_is_flat_for_common_classes_and_inverse_for_rare_ones() -> None:
    weights = class_weights("effective", [10**9, 10**8, 10**3, 10**2])
    assert weights is not None
    common, less_common, rare, rarest = weights
    assert less_common / common == pytest.approx(1.0, abs=1e-6)
    assert rarest / rare == pytest.approx(10.0, rel=0.01)
    # By the formula itself, where its powers still have digits: N is the geometric mean of 4 and 36.
    effective = [(1 - (11 / 12) ** n) / (1 - 11 / 12) for n in (4, 36)]
    raw = np.array([1 / n for n in effective])
    assert class_weights("effective", [4, 36]) == pytest.approx((raw / raw.mean()).tolist())
    assert class_weights("effective", [1, 1]) == pytest.approx([1.0, 1.0])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 10**10), min_size=1, max_size=8), st.sampled_from(LAWS))
def test_every_law_has_mean_one_favours_the_rare_and_knows_no_amount_of_land(
    pixels: list[int], law: str
) -> None:
    weights = class_weights(law, pixels)
    assert weights is not None
    present = [(count, weight) for count, weight in zip(pixels, weights, strict=True) if count]
    assert np.isfinite(weights).all()
    if present:
        assert np.mean([weight for _, weight in present]) == pytest.approx(1.0)
        ordered = [weight for _, weight in sorted(present)]
        assert all(a >= b * (1 - 1e-9) for a, b in itertools.pairwise(ordered))
    if law != "effective" or not present or min(count for count, _ in present) > 1000:
        assert class_weights(law, [7 * count for count in pixels]) == pytest.approx(weights, rel=1e-3)


PIXELS = np.array([[100, 0, 0]] * 16 + [[90, 10, 0]] * 3 + [[70, 0, 30]])


def test_without_share_the_order_is_the_plain_one() -> None:
    order = [3, 1, 2, 0]
    assert rare_order(PIXELS[:4], order, 0.0, seed=1, epoch=1) == order
    assert rare_order(np.zeros((4, 2)), order, 1.0, seed=1, epoch=1) == order


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_an_epoch_has_its_length_and_follows_from_seed_and_epoch(share: float) -> None:
    def of(seed: int, epoch: int) -> list[int]:
        return rare_order(PIXELS, range(20), share, seed=seed, epoch=epoch)

    assert len(of(0, 1)) == 20
    assert of(0, 1) == of(0, 1)
    assert len({tuple(of(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9
    # Every showing of a chip has a number of its own, the first that of the chip.
    for chip, times in Counter(number % 20 for number in of(0, 1)).items():
        assert {number for number in of(0, 1) if number % 20 == chip} == {chip + 20 * t for t in range(times)}


def test_rare_classes_come_up_as_often_as_the_share_says() -> None:
    for share in (0.0, 0.5, 1.0):
        shown = Counter(
            number % 20
            for epoch in range(60)
            for number in rare_order(
                PIXELS, np.random.default_rng(epoch).permutation(20).tolist(), share, seed=3, epoch=epoch
            )
        )
        total = 60 * 20
        assert sum(shown.values()) == total
        # A third of the dealt places is that of class 2, which one chip holds, and a third that of class 1,
        # which three hold alike; class 0 is in all of them, and chips with more of it come up more.
        wanted = share * (1 / 3 + 70 / 1940 / 3) + (1 - share) / 20
        assert shown[19] / total == pytest.approx(wanted, abs=0.02)
        wanted = share * (1 / 9 + 90 / 1940 / 3) + (1 - share) / 20
        for chip in (16, 17, 18):
            assert shown[chip] / total == pytest.approx(wanted, abs=0.02)


def test_chips_without_labels_are_never_dealt() -> None:
    pixels = np.array([[0, 0]] * 5 + [[3, 1]] * 2)
    for seed in range(20):
        assert {chip % 7 for chip in rare_order(pixels, range(7), 1.0, seed=seed, epoch=0)} == {5, 6}
