"""Where people live: a hamlet of houses in gardens, farms around a yard."""

from __future__ import annotations

import math

import numpy as np
import shapely
from shapely import affinity
from shapely.geometry import LineString, Polygon, box

from geoseg.sample import planting
from geoseg.sample.styles import BARN_ROOFS, GROUND, ROOFS
from geoseg.sample.things import Building, Patch, Tree, along, main_axis, polygons_of, rectangle

_LOT_M2 = 950.0


def cut_end(leaf: Polygon, area_m2: float, gap_m: float) -> tuple[Polygon, list[Polygon]]:
    """Cut a piece of about ``area_m2`` off one end of a leaf; the rest follows after a gap."""
    _, _, angle, centre = main_axis(leaf)
    if leaf.area < 1.5 * area_m2:
        return leaf, []
    flat = affinity.rotate(leaf, -angle, origin=tuple(centre), use_radians=True)
    left, bottom, right, top = flat.bounds
    at = left + (right - left) * area_m2 / leaf.area
    pieces = []
    for side in (box(left - 1, bottom - 1, at, top + 1), box(at + gap_m, bottom - 1, right + 1, top + 1)):
        part = affinity.rotate(flat.intersection(side), angle, origin=tuple(centre), use_radians=True)
        pieces.append([p for p in polygons_of(part) if p.area > 800.0])
    if not pieces[0] or not pieces[1]:
        return leaf, []
    return pieces[0][0], pieces[0][1:] + pieces[1]


def cut_farm(rng: np.random.Generator, leaf: Polygon, road: LineString) -> tuple[Polygon, list[Polygon]]:
    """Cut a farm's ground off the end of a leaf that is nearer to the road."""
    area = rng.uniform(5_500.0, 8_500.0)
    piece, rest = cut_end(leaf, area, 3.0)
    if rest and min(part.distance(road) for part in rest) < piece.distance(road):
        turned = affinity.rotate(leaf, 180.0, origin="centroid")
        piece, rest = cut_end(turned, area, 3.0)
        back = tuple(np.asarray(leaf.centroid.coords)[0])
        piece = affinity.rotate(piece, 180.0, origin=back)
        rest = [affinity.rotate(part, 180.0, origin=back) for part in rest]
    return piece, rest


def farm(
    rng: np.random.Generator, ground: Polygon, buildings: list[Building], trees: list[Tree]
) -> list[Patch]:
    """Barns and a house around a yard, trees around them."""
    length, width, angle, centre = main_axis(ground)
    patches = [_patch(rng, ground.buffer(-1.0), "garden", angle)]
    reach_u, reach_v = min(31.0, max(18.0, length / 2 - 11.0)), min(25.0, max(14.0, width / 2 - 13.0))
    yard = box(-reach_u + 7, -reach_v + 5, reach_u - 7, reach_v - 5)
    yard = affinity.rotate(yard, angle, origin=(0, 0), use_radians=True)
    yard = affinity.translate(yard, *centre).buffer(3.0).intersection(ground.buffer(-4.0))
    patches += [
        _patch(rng, part, str(rng.choice(["gravel", "concrete"])), angle) for part in polygons_of(yard)
    ]
    across = math.pi / 2
    slots = [(0.0, reach_v, 0.0), (0.0, -reach_v, 0.0), (reach_u, 0.0, across), (-reach_u, 0.0, across)]
    house = int(rng.integers(4))
    room = ground.buffer(-3.0)
    for slot, (u, v, turned) in enumerate(slots):
        at = centre + along(angle, u + rng.normal(0, 1.5), v + rng.normal(0, 1.5))
        if slot == house:
            building = _house(rng, at[0], at[1], angle + turned, scale=1.2)
        elif rng.random() < 0.88:
            building = _barn(rng, at[0], at[1], angle + turned + rng.normal(0, 0.02))
        else:
            continue
        if room.contains(building.polygon()) and not _hits(building, buildings, 2.0):
            buildings.append(building)
    for _ in range(3):
        at = centre + along(angle, rng.uniform(-55, 55), rng.uniform(-40, 40))
        shed = _shed(rng, at[0], at[1], angle)
        if room.contains(shed.polygon()) and not _hits(shed, buildings, 4.0):
            buildings.append(shed)
    heap_at = centre + along(angle, rng.choice([-1, 1]) * 50.0, rng.uniform(-12, 12))
    heap = rectangle(heap_at, 26.0, 7.0, angle)
    if room.contains(heap) and not any(b.polygon(2.0).intersects(heap) for b in buildings):
        patches.append(_patch(rng, heap.buffer(1.5), "concrete", angle))
        patches.append(_patch(rng, heap, "silage", angle))
    planting.garden(rng, trees, ground, int(rng.integers(14, 24)))
    return patches


def hamlet(
    rng: np.random.Generator,
    ground: Polygon,
    buildings: list[Building],
    trees: list[Tree],
    road: LineString,
) -> list[Patch]:
    """Lots along a lane, a house with a garden on each."""
    length, _, angle, centre = main_axis(ground)
    lane = LineString([centre - along(angle, length, 0.0), centre + along(angle, length, 0.0)])
    lane = lane.intersection(ground.buffer(1.0))
    patches = [_patch(rng, ground, "garden", angle)]
    blocks = polygons_of(ground.buffer(-1.0).difference(lane.buffer(4.2, cap_style="flat")))
    for block in blocks:
        for lot in _lots(rng, block):
            patches += _lot(rng, lot, lane, buildings, trees)
    patches += [
        _patch(rng, part, "gravel", angle) for part in polygons_of(lane.buffer(3.0, cap_style="flat"))
    ]
    patches += [
        _patch(rng, part, "asphalt", angle) for part in polygons_of(lane.buffer(2.3, cap_style="flat"))
    ]
    nearest = shapely.shortest_line(lane, road)
    if nearest.length < 60.0:
        ends = np.asarray(nearest.coords)
        patches.append(_patch(rng, LineString(ends).buffer(2.3), "asphalt", angle))
    return patches


def _lots(rng: np.random.Generator, block: Polygon) -> list[Polygon]:
    if block.area < _LOT_M2 * rng.uniform(1.2, 1.9):
        return [block]
    length, _, angle, centre = main_axis(block)
    foot = centre + along(angle, rng.uniform(-0.1, 0.1) * length, 0.0)
    cut = LineString([foot - along(angle, 0.0, 2 * length), foot + along(angle, 0.0, 2 * length)])
    parts = [p for p in polygons_of(block.difference(cut.buffer(0.4))) if p.area > 200.0]
    return [lot for part in parts for lot in _lots(rng, part)] if len(parts) > 1 else [block]


def _lot(
    rng: np.random.Generator, lot: Polygon, lane: LineString, buildings: list[Building], trees: list[Tree]
) -> list[Patch]:
    _, _, angle, centre = main_axis(lot)
    patches = [_patch(rng, lot.buffer(-0.4), str(rng.choice(["lawn", "lawn", "garden"])), angle)]
    if rng.random() < 0.08 or lot.area < 380.0:
        planting.garden(rng, trees, lot, 6)
        return patches
    nearest = np.asarray(shapely.shortest_line(lot.centroid, lane).coords)
    towards = (nearest[1] - nearest[0]) / max(1e-6, float(np.hypot(*(nearest[1] - nearest[0]))))
    at = centre + towards * rng.uniform(0.0, 3.0)
    house = _house(rng, at[0], at[1], angle + rng.choice([0.0, math.pi / 2]) + rng.normal(0, 0.03))
    room = lot.buffer(-2.0)
    if room.contains(house.polygon()) and not _hits(house, buildings, 3.0):
        buildings.append(house)
        if rng.random() < 0.4:
            around = house.polygon(rng.uniform(1.2, 2.6)).intersection(lot)
            patches.append(_patch(rng, around, "patio", angle))
        drive = LineString([at, nearest[1]]).buffer(1.5, cap_style="flat")
        patches.append(_patch(rng, drive, str(rng.choice(["gravel", "concrete", "patio"])), angle))
    for _ in range(4):
        left, bottom, right, top = lot.bounds
        shed = _shed(rng, rng.uniform(left, right), rng.uniform(bottom, top), angle)
        if room.contains(shed.polygon()) and not _hits(shed, buildings, 2.5):
            buildings.append(shed)
            break
    if rng.random() < 0.16:
        pool = rectangle(lot.centroid.coords[0] - towards * 12.0, 8.0, 4.0, angle)
        if room.contains(pool) and not any(b.polygon(1.0).intersects(pool) for b in buildings):
            patches += [_patch(rng, pool.buffer(1.0), "patio", angle), _patch(rng, pool, "pool", angle)]
    planting.garden(rng, trees, lot, int(rng.integers(2, 7)))
    return patches


def _house(rng: np.random.Generator, x: float, y: float, angle: float, *, scale: float = 1.0) -> Building:
    return Building(
        kind="house", x=float(x), y=float(y),
        length=float(rng.uniform(12.0, 18.0) * scale), width=float(rng.uniform(9.5, 12.5) * scale),
        angle=float(angle), eave_m=float(rng.uniform(3.2, 5.0)), pitch=float(rng.uniform(0.55, 0.9)),
        hipped=bool(rng.random() < 0.3), color=_roof(rng, ROOFS), panels=bool(rng.random() < 0.18),
    )  # fmt: skip


def _barn(rng: np.random.Generator, x: float, y: float, angle: float) -> Building:
    return Building(
        kind="barn", x=float(x), y=float(y),
        length=float(rng.uniform(24.0, 42.0)), width=float(rng.uniform(12.0, 17.0)),
        angle=float(angle), eave_m=float(rng.uniform(4.0, 6.0)), pitch=float(rng.uniform(0.25, 0.5)),
        hipped=False, color=_roof(rng, BARN_ROOFS), panels=bool(rng.random() < 0.25),
    )  # fmt: skip


def _shed(rng: np.random.Generator, x: float, y: float, angle: float) -> Building:
    return Building(
        kind="shed", x=float(x), y=float(y),
        length=float(rng.uniform(7.0, 10.0)), width=float(rng.uniform(5.0, 7.0)),
        angle=float(angle), eave_m=2.5, pitch=float(rng.choice([0.0, 0.3])), hipped=False,
        color=_roof(rng, BARN_ROOFS),
    )  # fmt: skip


def _roof(
    rng: np.random.Generator, colors: tuple[tuple[float, float, float], ...]
) -> tuple[float, float, float]:
    base = np.array(colors[rng.integers(len(colors))]) * rng.normal(1.0, 0.06) * rng.normal(1.0, 0.02, 3)
    return float(base[0]), float(base[1]), float(base[2])


def _hits(building: Building, others: list[Building], distance_m: float) -> bool:
    outline = building.polygon()
    return any(other.polygon().distance(outline) < distance_m for other in others)


def _patch(rng: np.random.Generator, polygon: Polygon, style: str, angle: float) -> Patch:
    brightness = rng.normal(1.0, 0.03)
    red, green, blue = brightness * rng.normal(1.0, 0.012, 3)
    x, y = rng.uniform(0.0, 1e4, 2)
    return Patch(polygon=polygon, style=GROUND[style], angle=angle, tint=(red, green, blue), shift_m=(x, y))
