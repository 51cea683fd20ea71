"""Lists that are gone along many at a time, against one step after the other."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoseg.vector import lists as module
from geoseg.vector.lists import closed_lists, open_lists


@given(lengths=st.lists(st.integers(1, 40), max_size=12), seed=st.integers(0, 99), steps=st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_open_lists(lengths: list[int], seed: int, steps: int) -> None:
    order = np.random.default_rng(seed).permutation(sum(lengths))
    chains = np.split(order, np.cumsum(lengths)[:-1]) if lengths else []
    following = np.zeros(len(order), np.int64)
    for number, chain in enumerate(chains):
        following[chain[:-1]], following[chain[-1]] = chain[1:], -10 - number
    starts = np.array([chain[0] for chain in chains], np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STEPS_AT_ONCE", steps)
        members, offsets, ends = open_lists(following, starts)
    assert members.tolist() == order.tolist()
    assert np.diff(offsets).tolist() == lengths
    assert ends.tolist() == [-10 - number for number in range(len(lengths))]


def test_a_list_may_be_empty() -> None:
    members, offsets, ends = open_lists(np.array([1, -7]), np.array([-3, 0]))
    assert (members.tolist(), offsets.tolist(), ends.tolist()) == ([0, 1], [0, 0, 2], [-3, -7])


@given(lengths=st.lists(st.integers(1, 40), max_size=12), seed=st.integers(0, 99), steps=st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_closed_lists(lengths: list[int], seed: int, steps: int) -> None:
    order = np.random.default_rng(seed).permutation(sum(lengths))
    rings = np.split(order, np.cumsum(lengths)[:-1]) if lengths else []
    following = np.zeros(len(order), np.int64)
    for ring in rings:
        following[ring] = np.roll(ring, -1)
    expected = sorted(np.roll(ring, -int(ring.argmin())).tolist() for ring in rings)
    # Half of the lists are wanted, by their smallest members, among others that are none.
    wanted = expected[::2]
    others = {member for ring in wanted for member in ring[1:]}
    candidates = np.array(sorted({ring[0] for ring in wanted} | others), np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_STEPS_AT_ONCE", steps)
        members, offsets = closed_lists(following, candidates)
    found = [part.tolist() for part in np.split(members, offsets[1:-1])] if len(offsets) > 1 else []
    assert found == wanted


def test_long_lists_are_finished_by_a_plain_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 5000
    following = np.append(np.arange(1, count), -1)
    monkeypatch.setattr(module, "_STEPS_AT_ONCE", 3)
    members, offsets, _ = open_lists(following, np.array([0, count - 9]))
    assert members.tolist() == [*range(count), *range(count - 9, count)]
    assert offsets.tolist() == [0, count, count + 9]
    following[-1] = 0
    members, offsets = closed_lists(following, np.arange(count))
    assert members.tolist() == list(range(count))
    assert offsets.tolist() == [0, count]
