"""Goes along linked lists, many at a time.

A list is told by what follows each of its members; following it is one step after the other by nature. Here
all lists take their steps at once, eight members a step, so that a raster of many lists needs few steps.
Those that go on for very long are finished by a plain loop.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DOUBLINGS = 3
_LEAP = 2**_DOUBLINGS
_STEPS_AT_ONCE = 1024
"""Steps of arrays, after which so few lists are left that a plain loop is faster."""


def open_lists(
    following: NDArray[np.int64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Members of lists from their starts to their ends.

    Args:
        following: (N,) what comes after each, negative at an end.
        starts: (L,) first member of each list.

    Returns:
        members of all lists, where each begins in them (L + 1,), and the negative number at each end (L,).
    """
    leap = following
    for _ in range(_DOUBLINGS):
        leap = _after(leap, leap)
    steps = _Steps(len(starts))
    ends = starts.copy()
    lists, at = np.flatnonzero(starts >= 0), starts[starts >= 0]
    while len(lists) and len(steps) < _STEPS_AT_ONCE:
        steps.add(lists, at)
        at = leap[at]
        ends[lists] = at
        lists, at = lists[at >= 0], at[at >= 0]
    if len(lists):
        onward: list[int] = leap.tolist()
        for one, member in zip(lists.tolist(), at.tolist(), strict=True):
            tail = []
            while member >= 0:
                tail.append(member)
                member = onward[member]
            steps.add_tail(one, tail)
            ends[one] = member
    heads, offsets = steps.in_order(np.ones(len(starts), np.bool_))
    rows = _rows(following, heads)
    real = rows >= 0
    return rows[real], _edges(real, offsets), ends


def closed_lists(
    following: NDArray[np.int64], candidates: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Members of lists that go round, each from its smallest member on, by that member.

    Args:
        following: (N,) what comes after each; every member is in a list that goes round.
        candidates: ascending; holds the smallest member of every wanted list. Lists of which it does not hold
            that are left out.

    Returns:
        members of all lists, and where each begins in them (L + 1,).
    """
    leap, least = following, np.arange(len(following))
    for _ in range(_DOUBLINGS):
        least = np.minimum(least, least[leap])
        leap = leap[leap]
    # Of a step's eight members, `least` is the smallest. One smaller than the first means: not its list.
    firsts = candidates[least[candidates] == candidates]
    steps = _Steps(len(firsts))
    whole = np.ones(len(firsts), np.bool_)
    lists, at = np.arange(len(firsts)), following[firsts]
    while len(lists) and len(steps) < _STEPS_AT_ONCE:
        first, lowest = firsts[lists], least[at]
        whole[lists[lowest < first]] = False
        steps.add(lists[lowest >= first], at[lowest >= first])
        lists, at = lists[lowest > first], leap[at[lowest > first]]
    if len(lists):
        _finish_rings(steps, whole, firsts, lists, at, leap, least)
    heads, offsets = steps.in_order(whole)
    rows = _rows(following, heads)
    first = np.repeat(firsts[whole], np.diff(offsets))
    real = ~np.logical_or.accumulate(rows == first[:, None], axis=1)
    edges = _edges(real, offsets)
    # The first member itself comes before what follows it.
    lengths = np.diff(edges) + 1
    begins = np.concatenate([[0], np.cumsum(lengths)])
    members = np.empty(begins[-1], np.int64)
    is_first = np.zeros(len(members), np.bool_)
    is_first[begins[:-1]] = True
    members[is_first], members[~is_first] = firsts[whole], rows[real]
    return members, begins


def _finish_rings(
    steps: _Steps,
    whole: NDArray[np.bool_],
    firsts: NDArray[np.int64],
    lists: NDArray[np.int64],
    at: NDArray[np.int64],
    leap: NDArray[np.int64],
    least: NDArray[np.int64],
) -> None:
    onward: list[int] = leap.tolist()
    lowest: list[int] = least.tolist()
    done: set[int] = set()
    # The smallest first: a list that it goes round is no other's.
    for one, member in sorted(zip(lists.tolist(), at.tolist(), strict=True)):
        first = int(firsts[one])
        tail = []
        while first not in done:
            if lowest[member] < first:
                done.add(first)
                break
            tail.append(member)
            if lowest[member] == first:
                break
            member = onward[member]
        whole[one] = first not in done
        steps.add_tail(one, tail)


class _Steps:
    """Steps of many lists: which lists took one, and where they were."""

    def __init__(self, count: int) -> None:
        self._lengths = np.zeros(count, np.int64)
        self._steps: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        self._tails: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def add(self, lists: NDArray[np.int64], at: NDArray[np.int64]) -> None:
        """A step of some lists."""
        self._steps.append((lists, at))
        self._lengths[lists] += 1

    def add_tail(self, one: int, tail: list[int]) -> None:
        """The rest of a list."""
        self._tails[one] = tail
        self._lengths[one] += len(tail)

    def in_order(self, wanted: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the wanted lists were, list by list, and where each begins in that."""
        lengths = np.where(wanted, self._lengths, 0)
        begins = np.cumsum(lengths) - lengths
        heads = np.empty(lengths.sum(), np.int64)
        for step, (lists, at) in enumerate(self._steps):
            chosen = wanted[lists]
            heads[begins[lists[chosen]] + step] = at[chosen]
        for one, tail in self._tails.items():
            if wanted[one]:
                end = begins[one] + lengths[one]
                heads[end - len(tail) : end] = tail
        return heads, np.concatenate([[0], np.cumsum(lengths[wanted])])


def _after(following: NDArray[np.int64], members: NDArray[np.int64]) -> NDArray[np.int64]:
    """What follows members; an end stays what it is."""
    return np.where(members >= 0, following[np.maximum(members, 0)], members)


def _rows(following: NDArray[np.int64], heads: NDArray[np.int64]) -> NDArray[np.int64]:
    """The members of each step, (S, 8)."""
    rows = np.empty((len(heads), _LEAP), np.int64)
    rows[:, 0] = heads
    for column in range(1, _LEAP):
        rows[:, column] = _after(following, rows[:, column - 1])
    return rows


def _edges(real: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where lists begin among members, from where they begin among steps."""
    return np.concatenate([[0], np.cumsum(np.count_nonzero(real, axis=1))])[offsets]
