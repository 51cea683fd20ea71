"""The plan of a village: streets, blocks between them, houses along their sides, gardens, trees, cars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import LineString, Point, Polygon, box

from geoseg.sample import houses, planting
from geoseg.sample.houses import Front, House
from geoseg.sample.styles import GROUND, Color, Style
from geoseg.sample.things import Layout, Patch, Tree, along, main_axis, polygons_of, rectangle

MARGIN_M = 30.0
"""The village goes on this far beyond the scene, so that nothing ends at the scene's edge."""

_BLOCK_M2 = (2400.0, 5600.0)
_HIDDEN = 0.2
"""Share of a roof that trees cover at most."""

HEDGE = Style(
    color=(78, 98, 54), other=(60, 80, 46), cloud=0.06, mix=0.3, clump=0.12, grain=0.08, height_m=1.3
)
PAVEMENT = Style(color=(160, 157, 152), other=(138, 134, 128), cloud=0.04, mix=0.35, grain=0.04)
# Yards have the colours of roofs on purpose: clinker, slabs, soil.
YARDS: tuple[Style, ...] = (
    Style(color=(158, 100, 78), other=(132, 86, 70), cloud=0.05, mix=0.35, clump=0.02, grain=0.05),
    Style(color=(104, 102, 104), other=(86, 84, 86), cloud=0.04, mix=0.3, grain=0.04),
    Style(color=(128, 92, 72), other=(104, 80, 62), cloud=0.07, mix=0.4, clump=0.05, grain=0.06),
    GROUND["gravel"], GROUND["concrete"], GROUND["patio"], GROUND["lawn"], GROUND["garden"],
)  # fmt: skip
GLASS = Style(color=(48, 54, 62), other=(60, 66, 74), grain=0.02, height_m=1.4)
CARS: tuple[Color, ...] = (
    (208, 208, 206), (176, 178, 180), (62, 62, 66), (96, 98, 102), (140, 46, 44), (58, 78, 118), (40, 42, 46),
)  # fmt: skip

Row = Callable[[np.random.Generator, Front, float], Iterator[House]]

_ROWS: tuple[tuple[float, Row], ...] = (
    (0.24, houses.terrace), (0.17, houses.pair), (0.38, houses.detached), (0.14, houses.old_row),
    (0.07, houses.hall),
)  # fmt: skip
"""How much of the village each sort of row has; a block has one sort mainly."""


@dataclass(kw_only=True)
class _Village:
    """What has been laid out so far."""

    rng: np.random.Generator
    frame: Polygon
    streets: list[tuple[LineString, float]] = field(default_factory=list)
    houses: list[House] = field(default_factory=list)
    patches: list[Patch] = field(default_factory=list)
    cars: list[Patch] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)

    def draw(
        self,
        geometry: shapely.Geometry,
        style: Style,
        *,
        angle: float = 0.0,
        tint: float = 0.03,
        on: list[Patch] | None = None,
    ) -> None:
        """Ground of one look, in a shade of its own; ``on`` another layer than the ground's."""
        red, green, blue = self.rng.normal(1.0, tint) * self.rng.normal(1.0, 0.012, 3)
        x, y = self.rng.uniform(0.0, 1e4, 2)
        for part in polygons_of(geometry):
            (self.patches if on is None else on).append(
                Patch(polygon=part, style=style, angle=angle, tint=(red, green, blue), shift_m=(x, y))
            )


def lay_out_village(
    rng: np.random.Generator, width_m: float, height_m: float
) -> tuple[Layout, tuple[House, ...]]:
    """A village of ``width_m`` x ``height_m``, and its houses, those just beyond the edge included."""
    frame = box(-MARGIN_M, -MARGIN_M, width_m + MARGIN_M, height_m + MARGIN_M)
    village = _Village(rng=rng, frame=frame)
    half = math.hypot(width_m / 2 + MARGIN_M, height_m / 2 + MARGIN_M)
    whole = affinity.rotate(box(-half, -half, half, half), rng.uniform(0.0, 90.0), origin=(0, 0))
    whole = affinity.translate(whole, width_m / 2, height_m / 2)
    blocks = _divide(village, whole, 11.0)
    for block in blocks:
        _build(village, block)
    for line, width in sorted(village.streets, key=lambda street: street[1]):
        _pave(village, line, width)
    for line, width in village.streets:
        _park_along(village, line, width)
    trees, crowns = _crowns(village)
    layout = Layout(
        width_m=width_m,
        height_m=height_m,
        parcels=(),
        patches=(*village.patches, *village.cars),
        buildings=tuple(part for house in village.houses for part in house.parts),
        trees=trees,
        crowns=crowns,
    )
    return layout, tuple(village.houses)


def _divide(village: _Village, block: Polygon, street_m: float) -> list[Polygon]:
    """Cut land into blocks by streets that get narrower from cut to cut."""
    rng = village.rng
    if not block.intersects(village.frame):
        return []
    length, width, angle, centre = main_axis(block)
    if block.area < rng.uniform(*_BLOCK_M2):
        return [block]
    foot = centre + along(angle, rng.uniform(-0.14, 0.14) * length, 0.0)
    across = angle + math.pi / 2 + rng.normal(0.0, 0.07)
    reach = length + width
    line = LineString([foot - along(across, reach, 0.0), foot + along(across, reach, 0.0)])
    parts = polygons_of(block.difference(line.buffer(street_m / 2, cap_style="flat")))
    seen = line.intersection(block.buffer(street_m)).intersection(village.frame)
    if not seen.is_empty:
        village.streets.append((seen, street_m))
    narrower = max(5.2, street_m * rng.uniform(0.82, 0.97))
    return [leaf for part in parts for leaf in _divide(village, part, narrower)]


def _build(village: _Village, block: Polygon) -> None:
    """Houses along the sides of a block, gardens behind them, or a green."""
    rng = village.rng
    village.draw(block, GROUND[str(rng.choice(["garden", "lawn", "garden"]))], angle=rng.uniform(0, math.pi))
    if rng.random() < 0.05:
        _green(village, block)
        return
    room, own = block.buffer(-0.6, join_style="mitre"), list[House]()
    shapely.prepare(room)
    shares = np.array([share for share, _ in _ROWS])
    main = int(rng.choice(len(_ROWS), p=shares))
    for front in _fronts(block):
        at = rng.uniform(0.6, 2.5)
        while at < front.length - 4.0:
            row = _ROWS[main if rng.random() < 0.75 else int(rng.choice(len(_ROWS), p=shares))][1]
            end = at
            for house in row(rng, front, at):
                _, _, length, _ = place = _place(front, house)
                if place[0] + length > front.length:
                    break
                if houses.free(house, room, own):
                    own.append(houses.finished(rng, house))
                    end = max(end, place[0] + length)
                    _furnish(village, front, house, block)
                elif end == at:
                    break
            at = end + rng.uniform(1.5, 4.5) if end > at else at + 3.0
        for _ in range(int(front.length / 28.0)):
            hut = houses.shed(rng, front, rng.uniform(1.0, front.length - 6.0), rng.uniform(12.0, 26.0))
            if houses.free(hut, room, own):
                own.append(hut)
    village.houses += [house for house in own if house.polygon.intersects(village.frame)]
    _garden(village, block, own)


def _fronts(block: Polygon) -> list[Front]:
    """The longer sides of a block, the longest first; the block lies to their left."""
    ring = np.asarray(shapely.orient_polygons(block).exterior.coords)
    steps = np.diff(ring, axis=0)
    lengths = np.hypot(steps[:, 0], steps[:, 1])
    order = np.argsort(-lengths, kind="stable")[:4]
    return [
        Front(start=ring[i], angle=math.atan2(steps[i][1], steps[i][0]), length=float(lengths[i]))
        for i in order
        if lengths[i] > 14.0
    ]


def _furnish(village: _Village, front: Front, house: House, block: Polygon) -> None:
    """What belongs to a house: its plot, a way to the street, a terrace, a car, a pool."""
    rng = village.rng
    if house.kind in {"garage", "shed"}:
        return
    u, v, length, depth = _place(front, house)
    plot = front.box(u, v + depth, length, rng.uniform(7.0, 14.0)).intersection(block)
    grown = rng.random() < 0.6
    style = GROUND[str(rng.choice(["lawn", "garden", "verge"]))] if grown else YARDS[int(rng.integers(6))]
    village.draw(plot, style, angle=front.angle, tint=0.08)
    if rng.random() < 0.4:
        for side in (u, u + length):
            village.draw(front.box(side - 0.4, v + depth, 0.8, 9.0).intersection(block), HEDGE, tint=0.06)
    if rng.random() < 0.6:
        terrace = front.box(
            u + 0.15 * length, v + depth, length * rng.uniform(0.4, 0.8), rng.uniform(2.0, 4.0)
        )
        village.draw(terrace.intersection(block), YARDS[int(rng.integers(6))], angle=front.angle, tint=0.08)
    if v > 1.0:
        yard = YARDS[int(rng.integers(len(YARDS)))]
        village.draw(front.box(u, 0.0, length, v), yard, angle=front.angle, tint=0.08)
        if v > 4.8 and rng.random() < 0.5:
            _car(
                village, front.at(u + length * rng.uniform(0.2, 0.8), v / 2 - 0.1), front.angle + math.pi / 2
            )
    if house.kind == "hall":
        apron = house.polygon.buffer(6.0, join_style="mitre").intersection(block)
        village.draw(apron, GROUND[str(rng.choice(["asphalt", "concrete", "gravel"]))])
        for step in np.arange(2.0, length - 2.0, 2.9):
            if v > 5.0 and rng.random() < 0.6:
                _car(village, front.at(u + step, v - 2.6), front.angle + math.pi / 2)
    elif rng.random() < 0.05:
        pool = front.box(u + 1.0, v + depth + 5.0, rng.uniform(4.0, 7.0), 3.2)
        village.draw(pool.buffer(0.7).intersection(block), GROUND["patio"])
        village.draw(pool.intersection(block), GROUND["pool"])


def _place(front: Front, house: House) -> tuple[float, float, float, float]:
    """(u, v, length, depth) of the rectangle around a house in the directions of its front."""
    points = shapely.get_coordinates(house.polygon) - front.start
    cos, sin = math.cos(front.angle), math.sin(front.angle)
    low = (points @ np.array([[cos, -sin], [sin, cos]])).min(axis=0)
    high = (points @ np.array([[cos, -sin], [sin, cos]])).max(axis=0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def _garden(village: _Village, block: Polygon, own: list[House]) -> None:
    """Trees and bushes wherever no house stands, now and then with branches over a roof."""
    rng = village.rng
    left, bottom, right, top = block.bounds
    count = int(block.area / rng.uniform(65.0, 240.0))
    outlines = np.array([house.polygon for house in own], object)
    for x, y in rng.uniform((left, bottom), (right, top), (count, 2)).tolist():
        at = Point(x, y)
        if block.contains(at) and not shapely.contains(outlines, at).any():
            village.trees.append(planting.tree(rng, x, y, float(rng.choice([0.9, 1.3, 1.8, 2.4, 3.2]))))


def _green(village: _Village, block: Polygon) -> None:
    """A meadow with old trees and a path, or a sports ground."""
    rng = village.rng
    village.draw(block.buffer(-1.0), GROUND["lawn"])
    length, _, angle, centre = main_axis(block)
    path = LineString([centre - along(angle + 0.4, length, 0.0), centre + along(angle + 0.4, length, 0.0)])
    village.draw(path.buffer(1.1).intersection(block), GROUND["gravel"])
    left, bottom, right, top = block.bounds
    for x, y in rng.uniform((left, bottom), (right, top), (int(block.area / 90.0), 2)).tolist():
        if block.buffer(-2.0).contains(Point(x, y)):
            village.trees.append(planting.tree(rng, x, y, float(rng.uniform(2.2, 4.6))))


def _pave(village: _Village, line: LineString, width: float) -> None:
    village.draw(line.buffer(width / 2, cap_style="flat"), PAVEMENT)
    lane = line.buffer(max(1.9, width / 2 - 1.3), cap_style="square")
    village.draw(lane, GROUND["asphalt"], tint=0.05)
    if width > 9.0:
        for at in np.arange(0.0, line.length - 3.0, 6.0):
            dash = LineString([line.interpolate(at), line.interpolate(at + 2.5)]).buffer(
                0.1, cap_style="flat"
            )
            village.draw(dash, GROUND["line"])


def _park_along(village: _Village, line: LineString, width: float) -> None:
    """Cars at the kerbs, single trees between them."""
    rng = village.rng
    start, end = (np.asarray(line.coords)[at] for at in (0, -1))
    angle = math.atan2(*(end - start)[::-1])
    lines = np.array([each for each, _ in village.streets], object)
    reach = np.array([each / 2 + 3.0 for _, each in village.streets])
    for side in (-1.0, 1.0):
        at = rng.uniform(0.0, 8.0)
        while at < line.length:
            place = start + along(angle, at, side * (max(1.9, width / 2 - 1.3) - 1.05))
            chance = rng.random()
            junction = np.count_nonzero(shapely.distance(lines, shapely.points(place)) < reach) > 1
            if junction:
                chance = 0.5
            if chance < 0.25 and width > 5.5:
                _car(village, place, angle + (math.pi if side > 0 else 0.0))
            elif chance > 0.93:
                tree = start + along(angle, at, side * (width / 2 - 0.6))
                village.trees.append(planting.tree(rng, tree[0], tree[1], float(rng.uniform(1.5, 2.8))))
            at += rng.uniform(5.2, 9.0)


def _car(village: _Village, at: np.ndarray, angle: float) -> None:
    """A car with dark windows."""
    rng = village.rng
    color = CARS[int(rng.integers(len(CARS)))]
    body = Style(color=color, other=color, cloud=0.0, mix=0.0, grain=0.02, height_m=1.3)
    length, angle = rng.uniform(4.0, 4.8), angle + rng.normal(0.0, 0.03)
    village.draw(rectangle(at, length, 1.8, angle).buffer(0.15), body, on=village.cars)
    for back, size in ((-0.3 * length, 0.5), (0.14 * length, 0.7)):
        village.draw(rectangle(at + along(angle, back, 0.0), size, 1.5, angle), GLASS, on=village.cars)


def _crowns(village: _Village) -> tuple[tuple[Tree, ...], tuple[Polygon, ...]]:
    """Trees that hide no more of a roof than allowed, and what they cover."""
    outlines = np.array([tree.polygon(14) for tree in village.trees], object)
    roofs = np.array([house.polygon for house in village.houses], object)
    left = _HIDDEN * shapely.area(roofs)
    tree_of, roof_of = shapely.STRtree(roofs).query(outlines, predicate="intersects")
    shared = shapely.area(shapely.intersection(outlines[tree_of], roofs[roof_of]))
    keep = np.ones(len(outlines), np.bool_)
    for tree in np.unique(tree_of).tolist():
        here = tree_of == tree
        keep[tree] = bool((shared[here] <= left[roof_of[here]]).all())
        if keep[tree]:
            left[roof_of[here]] -= shared[here]
    kept = tuple(tree for tree, stays in zip(village.trees, keep, strict=True) if stays)
    return kept, tuple(polygons_of(shapely.union_all(outlines[keep])))
