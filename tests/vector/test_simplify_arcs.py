"""Arcs are simplified by the rules, read aloud in plain Python, and never cross, touch or collapse."""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from geoseg.vector import crowd
from geoseg.vector import simplify_arcs as module
from geoseg.vector.crowd import Crowd, Triangles
from geoseg.vector.simplify_arcs import simplify_arcs, smooth_arcs

Point = tuple[float, float]

IDS = arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 0, 0, 1, 2])
)
TOLERANCE = st.sampled_from([0.0, 0.8, 1.0, 2.0, 4.0, 50.0])
FORM = st.sampled_from(["turns", "every", "middles", "moved"])
FAST = settings(max_examples=120, deadline=None)


# --- Arcs of label rasters ---


@dataclass
class Lines:
    """Arcs as lists of points, and as the arrays the functions want."""

    arcs: list[list[Point]]
    points: NDArray[np.float64] = field(init=False)
    offsets: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.points = np.array([point for arc in self.arcs for point in arc], np.float64).reshape(-1, 2)
        self.offsets = np.cumsum([0] + [len(arc) for arc in self.arcs])

    def simplified(self, tolerance: float, cut_rows: tuple[float, float] | None = None) -> Lines:
        before = self.points.copy()
        kept = simplify_arcs(self.points, self.offsets, tolerance, cut_rows=cut_rows)
        assert (kept.shape, kept.dtype) == ((len(self.points),), np.bool_)
        np.testing.assert_array_equal(self.points, before)
        flags = iter(kept.tolist())
        return Lines([[point for point in arc if next(flags)] for arc in self.arcs])

    def smoothed(self, rounds: int) -> Lines:
        points, offsets = smooth_arcs(self.points, self.offsets, rounds)
        pairs = itertools.pairwise(offsets.tolist())
        return Lines([[(x, y) for x, y in points[start:stop].tolist()] for start, stop in pairs])


def outlines(ids: NDArray[np.uint8], form: str = "turns", cuts: tuple[float, ...] = ()) -> Lines:
    """Arcs along the pixel edges of a raster (H, W), its frame too; nodes are where not two edges meet.

    Args:
        ids: class ids.
        form: vertices at ``turns`` only, at ``every`` half pixel, these ``moved`` a little, or at the
            ``middles`` of edges.
        cuts: rows, in the middle between two lines, where all arcs are cut.
    """
    height, width = ids.shape
    framed = np.full((height + 2, width + 2), -1, np.int16)
    framed[1:-1, 1:-1] = ids
    near: dict[Point, list[Point]] = {}
    for y, x in np.argwhere(framed[1:, 1:-1] != framed[:-1, 1:-1]).tolist():
        link(near, (x, y), (x + 0.5, y), (x + 1.0, y))
    for y, x in np.argwhere(framed[1:-1, 1:] != framed[1:-1, :-1]).tolist():
        link(near, (x, y), (x, y + 0.5), (x, y + 1.0))
    nodes = {point for point, others in near.items() if len(others) != 2 or point[1] in cuts}
    used: set[tuple[Point, Point]] = set()
    arcs = []
    for start in [*sorted(nodes), *sorted(near)]:
        for second in near[start]:
            if (start, second) in used:
                continue
            arc = [start, second]
            while arc[-1] not in nodes and arc[-1] != start:
                one, two = near[arc[-1]]
                arc.append(two if one == arc[-2] else one)
            used.update(itertools.pairwise(arc), itertools.pairwise(arc[::-1]))
            arcs.append(shaped(arc, nodes, form))
    return Lines(arcs)


def link(near: dict[Point, list[Point]], *points: Point) -> None:
    for one, two in itertools.pairwise(points):
        near.setdefault(one, []).append(two)
        near.setdefault(two, []).append(one)


def shaped(arc: list[Point], nodes: set[Point], form: str) -> list[Point]:
    if form == "turns":
        inner = [b for a, b, c in zip(arc, arc[1:], arc[2:], strict=False) if a[0] != c[0] and a[1] != c[1]]
        return [arc[0], *inner, arc[-1]]
    if form == "middles":
        some = [point for point in arc if point in nodes or (point[0] + point[1]) % 1 != 0]
        return some if arc[0] in nodes else [*some, some[0]]
    return [moved(x, y) for x, y in arc] if form == "moved" else arc


def moved(x: float, y: float) -> Point:
    """By less than a tenth of a pixel, too little for edges to meet; points of a cut stay on it."""
    return x + ((10 * x + 6 * y) % 13 - 6) / 64, y + ((14 * x + 2 * y) % 9 - 4) / 64 * (y % 1 == 0)


# --- What must hold ---


def turn(a: Point, b: Point, c: Point) -> float:
    """Exact for the coordinates in these tests."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def in_triangle(a: Point, b: Point, c: Point, point: Point) -> bool:
    if point in (a, b, c):
        return False
    if any(
        not min(axis) <= value <= max(axis)
        for axis, value in zip(zip(a, b, c, strict=True), point, strict=True)
    ):
        return False
    sides = [turn(a, b, point), turn(b, c, point), turn(c, a, point)]
    return all(side >= 0 for side in sides) or all(side <= 0 for side in sides)


def assert_apart(lines: Lines) -> None:
    """No two edges have a point in common but a vertex both end at."""
    edges = np.array([edge for arc in lines.arcs for edge in itertools.pairwise(arc)])
    boxes = shapely.linestrings(edges)
    one, two = shapely.STRtree(boxes).query(boxes)  # those whose bounds meet
    one, two = one[one < two], two[one < two]
    (a, b), (c, d) = edges[one].swapaxes(0, 1), edges[two].swapaxes(0, 1)

    def sides(p: NDArray[np.float64], q: NDArray[np.float64], r: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.sign((q - p)[:, 0] * (r - p)[:, 1] - (q - p)[:, 1] * (r - p)[:, 0])

    def on(p: NDArray[np.float64], q: NDArray[np.float64], r: NDArray[np.float64]) -> NDArray[np.bool_]:
        between = ((np.minimum(p, q) <= r) & (r <= np.maximum(p, q))).all(axis=1)
        return (sides(p, q, r) == 0) & between & (r != p).any(axis=1) & (r != q).any(axis=1)

    crossing = (sides(a, b, c) * sides(a, b, d) < 0) & (sides(c, d, a) * sides(c, d, b) < 0)
    touching = on(a, b, c) | on(a, b, d) | on(c, d, a) | on(c, d, b)
    same = ((a == c) & (b == d)).all(axis=1) | ((a == d) & (b == c)).all(axis=1)
    assert not (crossing | touching | same).any()


def faces(lines: Lines) -> tuple[Counter[frozenset[int]], NDArray[np.object_]]:
    """The arcs around every face, and the faces as polygons."""
    owner = {frozenset(edge): i for i, arc in enumerate(lines.arcs) for edge in itertools.pairwise(arc)}
    polygons = shapely.get_parts(shapely.polygonize([shapely.LineString(arc) for arc in lines.arcs]))
    around: Counter[frozenset[int]] = Counter()
    for polygon in polygons:
        rings = [list(ring.coords) for ring in (polygon.exterior, *polygon.interiors)]
        around[frozenset(owner[frozenset(edge)] for ring in rings for edge in itertools.pairwise(ring))] += 1
    return around, polygons


def assert_same_map(before: Lines, after: Lines) -> None:
    """Arcs have kept their ends, and lie around the same faces, which leave no gap and do not overlap."""
    assert [(arc[0], arc[-1]) for arc in after.arcs] == [(arc[0], arc[-1]) for arc in before.arcs]
    assert_apart(after)
    (around, _), (around_after, polygons) = faces(before), faces(after)
    assert around_after == around
    assert shapely.is_valid(polygons).all()
    assert shapely.coverage_is_valid(polygons)
    assert shapely.area(polygons).sum() == pytest.approx(shapely.union_all(polygons).area, rel=1e-12)


def least_kept(lines: Lines, cut_rows: tuple[float, float] | None) -> list[int]:
    ends = Counter(frozenset((arc[0], arc[-1])) for arc in lines.arcs)
    least = []
    for arc in lines.arcs:
        on_cut = cut_rows is not None and arc[0][1] == arc[-1][1] and arc[0][1] in cut_rows
        shared = ends[frozenset((arc[0], arc[-1]))] > 1
        least.append(2 if arc[0] == arc[-1] else int(shared or on_cut))
    return least


def rank(move: float, vertex: Point) -> tuple[int, int]:
    """What orders vertices: how far lines move without it, roughly, and then a hash of it."""
    mixed = 0
    for value in vertex:
        mixed ^= struct.unpack("Q", struct.pack("d", value + 0.0))[0]
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            mixed = (mixed ^ mixed >> shift) * factor % 2**64
    return struct.unpack("I", struct.pack("f", move))[0] >> 19, mixed >> 12


def move2(points: list[Point]) -> float:
    """Square of the distance of the furthest point from the line between the first and the last."""
    a, b = sorted([points[0], points[-1]])
    step = (b[0] - a[0], b[1] - a[1])
    length2 = step[0] ** 2 + step[1] ** 2
    furthest = 0.0
    for x, y in points[1:-1]:
        off = (x - a[0], y - a[1])
        along = off[0] * step[0] + off[1] * step[1]
        if along <= 0.0:
            square = off[0] ** 2 + off[1] ** 2
        elif along >= length2:
            square = (off[0] - step[0]) ** 2 + (off[1] - step[1]) ** 2
        else:
            square = (off[0] * step[1] - off[1] * step[0]) ** 2 / length2
        furthest = max(furthest, square)
    return furthest


def plain(arc: list[Point], foreign: set[Point], tolerance: float, least: int) -> list[Point]:
    """The rules of :func:`simplify_arcs` for one arc, read aloud."""
    never: set[tuple[int, ...]] = set()
    waiting: set[tuple[int, ...]] = set()
    left = list(range(len(arc)))
    while True:
        triangles = list(zip(left, left[1:], left[2:], strict=False))
        corners = [tuple(arc[i] for i in t) for t in triangles]
        own = [arc[i] for i in left]
        waiting = {t for t in waiting if any(in_triangle(*(arc[i] for i in t), point) for point in own)}
        moves = [move2(arc[a : c + 1]) for a, _, c in triangles]
        active = [
            m <= tolerance**2 and t not in never | waiting for m, t in zip(moves, triangles, strict=True)
        ]
        spare = len(left) - 2 - least
        if not any(active) or spare <= 0:
            return own
        ranks = [
            rank(move, arc[t[1]]) if a else (2**64, 0)
            for a, t, move in zip(active, triangles, moves, strict=True)
        ]
        around = [(2**64, 0), *ranks, (2**64, 0)]
        gone = []
        for i in range(len(triangles)):
            if active[i] and around[i] > ranks[i] < around[i + 2]:
                if any(in_triangle(*corners[i], point) for point in foreign):
                    never.add(triangles[i])
                elif any(in_triangle(*corners[i], point) for point in own):
                    waiting.add(triangles[i])
                else:
                    gone.append(i)
        gone = sorted(gone, key=lambda i: ranks[i])[:spare]
        left = [index for i, index in enumerate(left) if i - 1 not in gone]


# --- Simplification ---


@given(ids=IDS, tolerance=TOLERANCE, form=FORM)
@FAST
def test_same_as_the_rules_read_aloud(ids: NDArray[np.uint8], tolerance: float, form: str) -> None:
    lines = outlines(ids, form)
    least = least_kept(lines, None)
    expected = []
    for i, arc in enumerate(lines.arcs):
        foreign = {point for j, other in enumerate(lines.arcs) if j != i for point in other}
        expected.append(plain(arc, foreign, tolerance, least[i]))
    assert lines.simplified(tolerance).arcs == expected


@given(ids=IDS, tolerance=TOLERANCE, form=FORM, rounds=st.integers(0, 3), zoom=st.integers(1, 2))
@FAST
def test_the_map_stays_the_same(
    ids: NDArray[np.uint8], tolerance: float, form: str, rounds: int, zoom: int
) -> None:
    lines = outlines(np.kron(ids, np.ones((zoom, zoom), np.uint8)), form)
    assert_apart(lines)
    assert_same_map(lines, lines.simplified(tolerance).smoothed(rounds))


@given(ids=IDS, tolerance=TOLERANCE, form=FORM)
@FAST
def test_nothing_is_left_that_could_go(ids: NDArray[np.uint8], tolerance: float, form: str) -> None:
    lines = outlines(ids, form)
    simple = lines.simplified(tolerance)
    for i, (arc, least) in enumerate(zip(simple.arcs, least_kept(lines, None), strict=True)):
        if len(arc) - 2 <= least:
            continue
        others = {point for j, other in enumerate(lines.arcs) if j != i for point in other}.union(arc)
        before = lines.arcs[i]
        kept = simplify_arcs(lines.points, lines.offsets, tolerance, cut_rows=None)
        places = np.flatnonzero(kept[lines.offsets[i] : lines.offsets[i + 1]]).tolist()
        for a, b, c in zip(places, places[1:], places[2:], strict=False):
            large = move2(before[a : c + 1]) > tolerance**2
            assert large or any(in_triangle(before[a], before[b], before[c], point) for point in others)


@given(ids=IDS, tolerance=TOLERANCE, form=FORM)
@FAST
def test_no_line_moves_further_than_it_may(ids: NDArray[np.uint8], tolerance: float, form: str) -> None:
    lines = outlines(ids, form)
    for before, after in zip(lines.arcs, lines.simplified(tolerance).arcs, strict=True):
        away = shapely.distance(shapely.points(before), shapely.LineString(after))
        assert away.max() <= tolerance * (1 + 1e-9)


@given(ids=IDS, tolerance=TOLERANCE, form=FORM, rounds=st.integers(0, 2))
@FAST
def test_bands_one_by_one_make_a_whole(
    ids: NDArray[np.uint8], tolerance: float, form: str, rounds: int
) -> None:
    cuts = [0.5 + row for row in range(2, len(ids), 3)]
    lines = outlines(ids, form, cuts=tuple(cuts))
    done: dict[int, list[Point]] = {}
    for cut_rows in itertools.pairwise([-9.5, *cuts, 99.5]):
        inside = [
            i for i, arc in enumerate(lines.arcs) if all(cut_rows[0] <= y <= cut_rows[1] for _, y in arc)
        ]
        band = Lines([lines.arcs[i] for i in inside]).simplified(tolerance, cut_rows).smoothed(rounds)
        done.update(zip(inside, band.arcs, strict=True))
    assert sorted(done) == list(range(len(lines.arcs)))
    assert_same_map(lines, Lines([done[i] for i in range(len(lines.arcs))]))


@given(ids=IDS, tolerance=TOLERANCE, form=FORM, seed=st.integers(0, 99))
@FAST
def test_order_and_direction_of_arcs_do_not_matter(
    ids: NDArray[np.uint8], tolerance: float, form: str, seed: int
) -> None:
    lines = outlines(ids, form)
    rng = np.random.default_rng(seed)
    order, back = rng.permutation(len(lines.arcs)).tolist(), rng.integers(0, 2, len(lines.arcs)).tolist()
    mixed = Lines([lines.arcs[i][::-1] if back[i] else lines.arcs[i] for i in order]).simplified(tolerance)
    simple = lines.simplified(tolerance)
    assert mixed.arcs == [simple.arcs[i][::-1] if back[i] else simple.arcs[i] for i in order]


@given(ids=IDS, other=IDS, tolerance=TOLERANCE)
@FAST
def test_arcs_that_are_not_in_the_way_do_not_matter(
    ids: NDArray[np.uint8], other: NDArray[np.uint8], tolerance: float
) -> None:
    one, two = outlines(ids), outlines(other)
    two = Lines([[(x + 300.5, y - 7000.0) for x, y in arc] for arc in two.arcs])
    together = Lines(two.arcs + one.arcs).simplified(tolerance)
    assert together.arcs == two.simplified(tolerance).arcs + one.simplified(tolerance).arcs


def thin_lines(size: int = 24) -> NDArray[np.uint8]:
    """Lines one pixel wide: rings in rings, slanted ones, a spiral, and pixels that touch at corners."""
    y, x = np.mgrid[:size, :size]
    ids = np.zeros((2 * size, 2 * size), np.uint8)
    ids[:size, :size] = np.hypot(x - 11, y - 12).astype(int) % 2
    ids[:size, size:] = (x + 3 * y) // 2 % 7 == 0
    ids[size:, :size] = (x + y) % 2 * ((x - y) % 7 > 3)
    way = np.hypot(x - 12, y - 12)
    ids[size:, size:] = (np.arctan2(y - 12, x - 12) / np.pi + way / 1.5) % 2 < 1
    return ids


@pytest.mark.parametrize("tolerance", [1.0, 4.0, 100.0])
@pytest.mark.parametrize("form", ["turns", "middles", "moved"])
def test_thin_regions_survive(tolerance: float, form: str) -> None:
    lines = outlines(thin_lines(), form)
    simple = lines.simplified(tolerance)
    assert_same_map(lines, simple)
    assert len(simple.points) < len(lines.points)
    assert_same_map(lines, simple.smoothed(2))


def test_a_corner_waits_for_a_point_of_its_own_arc_to_go() -> None:
    bump = (5.9, 5.9)
    line = [(0.0, 12.0), (0.0, 0.0), (12.0, 0.0), (12.0, -40.0), (60.0, -40.0), (20.0, -7.0), bump]
    line += [(-7.0, 20.0), (-40.0, 60.0)]
    assert in_triangle(*line[:3], bump)
    # The corner is 8.5 from where the line would run; the bump, a little from its own, goes before.
    simple = Lines([line]).simplified(8.6)
    assert line[1] not in simple.arcs[0]
    fixed = Lines([line[:7], line[6:]])
    assert line[1] in fixed.simplified(8.6).arcs[0]
    assert_apart(simple)


def test_a_corner_stays_for_a_point_of_another_arc() -> None:
    post = [(5.5, 0.25), (5.625, 0.25)]
    corner = [(5.0, 0.0), (6.0, 0.0), (6.0, 1.0)]
    assert Lines([corner]).simplified(1.5).arcs == [[corner[0], corner[2]]]
    assert Lines([corner, post]).simplified(1.5).arcs == [corner, post]


def test_loops_and_twins_do_not_collapse() -> None:
    loop = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (2.0, 1.0), (2.0, 2.0), (0.0, 2.0), (0.0, 0.0)]
    lens = [[(9.0, 0.0), (10.0, 1.0), (11.0, 1.5), (12.0, 1.0), (13.0, 0.0)], [(13.0, 0.0), (9.0, 0.0)]]
    twins = [[(20.0, 0.0), (20.0, 9.0)], [(20.0, 0.0), (21.0, 4.0), (21.0, 5.0), (20.0, 9.0)]]
    alone = [(30.0, 0.0), (31.0, 1.0), (32.0, 0.0)]
    simple = Lines([loop, *lens, *twins, alone]).simplified(1000.0)
    assert [len(arc) for arc in simple.arcs] == [4, 3, 2, 2, 3, 2]
    # The last one is where most would be lost.
    assert simple.arcs[1][1] == (11.0, 1.5)
    assert_apart(simple)


def test_arcs_from_a_cut_row_to_the_same_keep_off_it() -> None:
    bump = [(1.0, 4.5), (1.0, 4.0), (2.0, 4.0), (2.0, 4.5)]
    across = [(5.0, 4.5), (5.0, 4.0), (6.0, 4.0), (6.0, 0.5)]
    lines = Lines([bump, across])
    assert [len(arc) for arc in lines.simplified(9.0, (0.5, 4.5)).arcs] == [3, 2]
    assert [len(arc) for arc in lines.simplified(9.0, (0.0, 5.0)).arcs] == [2, 2]


def test_zero_takes_only_what_lies_on_straight_lines() -> None:
    line = [(0.0, 0.0), (0.5, 0.5), (1.5, 1.5), (2.0, 1.5), (7.0, 1.5), (8.0, 1.25)]
    assert Lines([line]).simplified(0.0).arcs == [[line[0], line[2], line[4], line[5]]]


def test_work_in_portions_comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = outlines(parcels(60), "every")
    whole = lines.simplified(4.0)
    smooth = whole.smoothed(2)
    monkeypatch.setattr(module, "_AT_ONCE", 13)
    monkeypatch.setattr(crowd, "_PAIRS_AT_ONCE", 7)
    assert lines.simplified(4.0).arcs == whole.arcs
    assert whole.smoothed(2).arcs == smooth.arcs


def test_nothing_comes_of_nothing() -> None:
    empty = Lines([])
    assert simplify_arcs(empty.points, empty.offsets, 1.0, cut_rows=None).tolist() == []
    points, offsets = smooth_arcs(empty.points, empty.offsets, 2)
    assert (points.shape, offsets.tolist()) == ((0, 2), [0])


@pytest.mark.parametrize("shape", ["stair", "spiral"])
def test_few_rounds_for_long_regular_lines(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = []
    one_round = module._Lines.straighten
    monkeypatch.setattr(module._Lines, "straighten", lambda lines: rounds.append(1) or one_round(lines))
    along = np.arange(30_000)
    if shape == "stair":
        points = np.stack([(along + 1) // 2, along // 2], axis=1).astype(np.float64)
    else:  # every triangle a little larger than the one before
        way = 0.5 * along**0.6
        points = np.stack([way * np.cos(way), way * np.sin(way)], axis=1)
    kept = simplify_arcs(points, np.array([0, len(points)]), 1.5, cut_rows=None)
    assert kept.sum() < len(points) / 2
    assert len(rounds) < 100


def parcels(size: int = 150) -> NDArray[np.uint8]:
    """The nearest of scattered places, with ragged borders."""
    rng = np.random.default_rng(3)
    places = rng.uniform(0, size, (40, 2))
    at = np.stack(np.mgrid[:size, :size], axis=2) + rng.normal(0, 0.7, (size, size, 2))
    return np.argmin(((at[:, :, None] - places) ** 2).sum(axis=3), axis=2).astype(np.uint8)


@pytest.mark.parametrize("slope", [0.03, 0.2, 0.7, 1.0])
def test_stairs_of_a_straight_line_go_whatever_its_slope(slope: float) -> None:
    """The middles of the edges of a digital line are within half a pixel of it."""
    x = np.arange(1000)
    y = np.floor(slope * x)
    points = np.stack([np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]], axis=1)
    middles = (points[1:] + points[:-1]) / 2
    middles = middles[np.append(True, (np.diff(middles, axis=0) != 0).any(axis=1))]
    kept = simplify_arcs(middles, np.array([0, len(middles)]), 1.0, cut_rows=None)
    assert kept.sum() == 2


# --- Smoothing ---


def test_corners_are_cut_a_quarter_of_the_way() -> None:
    line = [(0.0, 0.0), (4.0, 0.0), (4.0, 8.0), (4.0, 12.0)]
    smooth = Lines([line, line[::-1]]).smoothed(1)
    expected = [(0.0, 0.0), (3.0, 0.0), (4.0, 2.0), (4.0, 8.0), (4.0, 12.0)]
    # The twin is in no triangle; and what is straight is left.
    assert smooth.arcs == [expected, expected[::-1]]


def test_a_corner_stays_if_something_is_in_it() -> None:
    line, post = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0)], [(3.75, 0.5), (2.0, 3.0)]
    assert Lines([line, post]).smoothed(1).arcs == [line, post]
    assert len(Lines([line, [(3.0, 1.0), (2.0, 3.0)]]).smoothed(1).arcs[0]) == 4
    back = [*line, (2.0, 6.0), post[0]]
    for one in (back, back[::-1]):
        assert line[1] in Lines([one]).smoothed(1).arcs[0]


# --- Points in triangles ---


@pytest.mark.parametrize("places", [1, 40, 400])
@pytest.mark.parametrize("reach", [1, 8, 14, 60])
def test_points_in_triangles_are_found(places: int, reach: int) -> None:
    rng = np.random.default_rng(places + reach)
    x, y = rng.integers(0, 120, (2, places)) / 2
    xs, ys = rng.integers(0, 120, (2, 1, 500)) / 2 + rng.integers(-reach, reach + 1, (2, 3, 500)) / 2
    skip_from = rng.integers(0, places, 500)
    triangles = Triangles(x=xs, y=ys, skip_from=skip_from, skip_to=skip_from + places // 2)
    found = [
        pair
        for which, point in Crowd(x, y).inside(triangles)
        for pair in zip(which.tolist(), point.tolist(), strict=True)
    ]
    expected = []
    for i, (a, b, c) in enumerate(zip(*np.stack([xs, ys], axis=2).tolist(), strict=True)):
        inside = [
            in_triangle(tuple(a), tuple(b), tuple(c), place)
            for place in zip(x.tolist(), y.tolist(), strict=True)
        ]
        expected += [
            (i, j) for j in np.flatnonzero(inside).tolist() if not 0 <= j - skip_from[i] <= places // 2
        ]
    assert sorted(found) == expected


def test_few_crowded_points_among_far_ones_are_found() -> None:
    x, y = np.array([0.0, 1e6, 7.0, 7.5, 7.25]), np.array([0.0, 3.0, 1.0, 1.0, 1.25])
    nowhere = np.array([-1, -1])
    corners = np.array([[[6.5, 0.0], [7.5, 1.0], [7.0, 3.0]], [[-9.0, 0.0], [1e7, 0.0], [1e7, 3.0]]])
    xs, ys = corners.transpose(2, 1, 0).copy()
    found = Crowd(x, y).inside(Triangles(x=xs, y=ys, skip_from=nowhere, skip_to=nowhere))
    pairs = {(int(i), int(j)) for which, point in found for i, j in zip(which, point, strict=True)}
    assert pairs == {(0, 2), (0, 4), (1, 0)}
