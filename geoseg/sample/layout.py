"""Divides the land: a road through it, a stream, tracks, blocks, and parcels with grass between them.

Blocks are cut in two again and again across their longer side, the way land was divided in fact, so parcels
come out as neighbouring strips and quadrangles with slightly bent edges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
import shapely
import shapely.ops
from numpy.typing import NDArray
from shapely import affinity
from shapely.geometry import LineString, Polygon, box

from geoseg.sample import planting, settlement
from geoseg.sample.styles import CROPS, GROUND
from geoseg.sample.things import Building, Layout, Parcel, Patch, Tree, along, main_axis, polygons_of

MARGIN_M = 45.0
"""The land goes on this far beyond the scene, so that nothing ends at the scene's edge."""

ROAD_M = 6.0
TRACK_M = 3.2
STREAM_M = 3.4

_TRACK_GAP_M = 11.5
_BLOCK_M2 = 95_000.0
_PARCEL_M2 = 21_000.0
_FULL_SIZE_M2 = 300_000.0
"""In smaller scenes the parcels are smaller too, so that some of everything fits in."""
_SMALLEST_M2 = 900.0
_HEADLAND_M = 14.0
_GAP_M = 1.1
"""Half the width of gaps between crowns that count as covered."""


@dataclass(kw_only=True)
class _Land:
    """What has been laid out so far."""

    rng: np.random.Generator
    width_m: float
    height_m: float
    patches: list[Patch] = field(default_factory=list)
    parcels: list[Parcel] = field(default_factory=list)
    buildings: list[Building] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    hedges: list[tuple[LineString, float]] = field(default_factory=list)
    tracks: list[LineString] = field(default_factory=list)


def lay_out(rng: np.random.Generator, width_m: float, height_m: float) -> Layout:
    """A landscape of ``width_m`` x ``height_m``."""
    land = _Land(rng=rng, width_m=width_m, height_m=height_m)
    frame = box(-MARGIN_M, -MARGIN_M, width_m + MARGIN_M, height_m + MARGIN_M)
    road = _road(rng, frame)
    stream = _stream(rng, frame)
    ground = frame.difference(road.buffer(ROAD_M / 2 + rng.uniform(4.0, 5.5)))
    ground = ground.difference(stream.buffer(STREAM_M / 2 + rng.uniform(6.0, 9.0)))
    scale = min(1.0, width_m * height_m / _FULL_SIZE_M2)
    leaves: list[Polygon] = []
    for block in polygons_of(ground):
        for piece in _divide(land, block, _BLOCK_M2 * scale, tracks=True):
            leaves += _divide(land, piece, _PARCEL_M2 * scale, tracks=False)
    _use(land, leaves, road)
    _draw_ways(land, road, stream)
    planting.along_stream(rng, land.trees, stream, STREAM_M / 2)
    for line, density in land.hedges:
        planting.hedge(rng, land.trees, line, density)
    for track in land.tracks:
        planting.roadside(rng, land.trees, track, 4.2, spacing_m=(14.0, 60.0), chance=0.3)
    planting.roadside(rng, land.trees, road, ROAD_M / 2 + 4.0, spacing_m=(11.0, 14.0), chance=0.55)
    return _finish(land, road)


def _finish(land: _Land, road: LineString) -> Layout:
    """Keep what the scene shows; trees keep off roads and buildings."""
    houses = shapely.union_all([building.polygon(1.0) for building in land.buildings])
    free = shapely.union_all([houses, road.buffer(ROAD_M / 2 - 0.5)])
    shapely.prepare(free)
    outlines = [tree.polygon() for tree in land.trees]
    keep = [not free.intersects(outline) for outline in outlines]
    trees = tuple(tree for tree, kept in zip(land.trees, keep, strict=True) if kept)
    crowns = shapely.union_all([outline for outline, kept in zip(outlines, keep, strict=True) if kept])
    # Small gaps between crowns are shade, not ground one would map.
    closed = crowns.buffer(_GAP_M, quad_segs=3).buffer(-_GAP_M, quad_segs=3).union(crowns)
    closed = shapely.union_all([_without_small_holes(part, 50.0) for part in polygons_of(closed)])
    closed = shapely.make_valid(closed.difference(houses).simplify(0.08))
    return Layout(
        width_m=land.width_m,
        height_m=land.height_m,
        parcels=tuple(land.parcels),
        patches=tuple(land.patches),
        buildings=tuple(land.buildings),
        trees=trees,
        crowns=tuple(part for part in polygons_of(closed) if part.area > 2.0),
    )


def _without_small_holes(polygon: Polygon, smallest_m2: float) -> Polygon:
    holes = [hole for hole in polygon.interiors if Polygon(hole).area >= smallest_m2]
    return Polygon(polygon.exterior, holes)


def _road(rng: np.random.Generator, frame: Polygon) -> LineString:
    """A paved road through the middle part of the frame, gently bent."""
    left, bottom, right, top = frame.bounds
    size = max(right - left, top - bottom)
    angle = rng.uniform(0.12, 0.45) * rng.choice([-1, 1]) + rng.choice([0.0, math.pi / 2])
    return _bent_line(rng, _middle(rng, frame, 0.12), angle, 1.6 * size, sway_m=0.022 * size, bends=5)


def _stream(rng: np.random.Generator, frame: Polygon) -> LineString:
    """A winding stream through one of the outer parts of the frame."""
    left, bottom, right, top = frame.bounds
    size = max(right - left, top - bottom)
    side = rng.choice([-1.0, 1.0])
    angle = rng.uniform(-0.5, 0.5) + rng.choice([0.0, math.pi / 2])
    centre = np.array([(left + right) / 2, (bottom + top) / 2])
    offset = side * size * rng.uniform(0.26, 0.34) * np.array([-math.sin(angle), math.cos(angle)])
    return _bent_line(rng, centre + offset, angle, 1.6 * size, sway_m=0.02 * size, bends=14)


def _middle(rng: np.random.Generator, frame: Polygon, spread: float) -> NDArray[np.float64]:
    left, bottom, right, top = frame.bounds
    return np.array(
        [
            (left + right) / 2 + rng.uniform(-spread, spread) * (right - left),
            (bottom + top) / 2 + rng.uniform(-spread, spread) * (top - bottom),
        ]
    )


def _bent_line(
    rng: np.random.Generator,
    centre: NDArray[np.float64],
    angle: float,
    length_m: float,
    *,
    sway_m: float,
    bends: int,
) -> LineString:
    """A line through ``centre`` that sways sideways, with corners cut (Chaikin 1974) until it is smooth."""
    along = np.linspace(-length_m / 2, length_m / 2, bends + 2)
    across = rng.normal(0.0, sway_m, bends + 2)
    direction = np.array([math.cos(angle), math.sin(angle)])
    normal = np.array([-direction[1], direction[0]])
    points = centre + along[:, np.newaxis] * direction + across[:, np.newaxis] * normal
    for _ in range(4):
        cut = np.empty((2 * len(points) - 2, 2))
        cut[0::2] = 0.75 * points[:-1] + 0.25 * points[1:]
        cut[1::2] = 0.25 * points[:-1] + 0.75 * points[1:]
        points = np.vstack([points[:1], cut, points[-1:]])
    return LineString(points)


def _divide(land: _Land, block: Polygon, target_m2: float, *, tracks: bool) -> list[Polygon]:
    """Cut ``block`` until its parts are about ``target_m2`` large; a strip is lost along every cut."""
    rng = land.rng
    if block.area < target_m2 * rng.uniform(1.1, 2.4):
        return [block]
    length, width, angle, centre = main_axis(block)
    across = angle + math.pi / 2
    if not tracks and length / width < 1.5 and rng.random() < 0.4:
        across = angle
        length, width = width, length
    share = rng.uniform(-0.2, 0.2)
    foot = centre + along(across, 0.0, share * length)
    line = _bent_line(
        rng, foot, across + rng.normal(0.0, 0.085), 2.5 * max(length, width), sway_m=0.02 * width, bends=3
    )
    inside = shapely.intersection(line, block.buffer(3.0))
    gap_m, hedge = (_TRACK_GAP_M, False) if tracks else _gap(rng)
    parts = [
        p for p in polygons_of(block.difference(line.buffer(gap_m / 2, cap_style="flat"))) if p.area > 900
    ]
    if len(parts) < 2:
        return [block]
    for piece in shapely.get_parts(inside):
        if tracks:
            land.tracks.append(piece)
        elif hedge:
            land.hedges.append((piece, rng.uniform(0.55, 1.0)))
        elif rng.random() < 0.3:
            land.hedges.append((piece, rng.uniform(0.03, 0.12)))
    return [leaf for part in parts for leaf in _divide(land, part, target_m2, tracks=tracks)]


def _gap(rng: np.random.Generator) -> tuple[float, bool]:
    """Width of the strip between two parcels, and whether a hedge grows on it."""
    if rng.random() < 0.24:
        return rng.uniform(9.5, 12.5), True
    return rng.uniform(4.5, 7.5), False


def _use(land: _Land, leaves: list[Polygon], road: LineString) -> None:
    """Give every leaf its use: hamlet and farms by the road, woods off it, fields elsewhere."""
    rng = land.rng
    view = box(0, 0, land.width_m, land.height_m)
    shown = [leaf for leaf in leaves if leaf.intersection(view).area > 0.7 * leaf.area]
    rest = [leaf for leaf in leaves if leaf not in shown]
    by_road = sorted(shown, key=lambda leaf: (leaf.distance(road) > 8.0, rng.random()))
    scale = land.width_m * land.height_m / 590_000.0
    hamlets = [by_road.pop(0) for _ in range(_count(rng, 2.0 * scale, by_road))]
    farms = [by_road.pop(0) for _ in range(_count(rng, 2.7 * scale, by_road))]
    woods = [by_road.pop(-1) for _ in range(_count(rng, 2.4 * scale, by_road))]
    for leaf in hamlets:
        land.patches += settlement.hamlet(rng, leaf, land.buildings, land.trees, road)
    for leaf in farms:
        yard, left_over = settlement.cut_farm(rng, leaf, road)
        land.patches += settlement.farm(rng, yard, land.buildings, land.trees)
        by_road += left_over
    for leaf in woods:
        wood, left_over = settlement.cut_end(leaf, rng.uniform(11_000.0, 20_000.0), 4.0)
        planting.wood(rng, land.trees, wood)
        by_road += left_over
    crops = _crop_order(rng, len(by_road) + len(rest))
    for leaf, crop in zip(by_road + rest, crops, strict=True):
        land.parcels += _parcels(rng, leaf, crop)


def _count(rng: np.random.Generator, expected: float, leaves: list[Polygon]) -> int:
    """``expected`` rounded up or down by chance, at least 1, leaving most leaves for fields."""
    return min(max(1, math.floor(expected + rng.random())), math.ceil(len(leaves) / 4))


def _crop_order(rng: np.random.Generator, count: int) -> list[str]:
    """Crops in shuffled rounds, so that a scene has some of each."""
    order: list[str] = []
    while len(order) < count:
        order += [str(crop) for crop in rng.permutation(list(CROPS))]
    return order[:count]


def _parcels(rng: np.random.Generator, leaf: Polygon, crop: str) -> list[Parcel]:
    rounded = leaf.buffer(-4.0).buffer(4.0, quad_segs=4)
    return [
        _parcel(rng, _roughened(rng, part, 0.3), crop) for part in polygons_of(rounded) if part.area > 600.0
    ]


def _parcel(rng: np.random.Generator, polygon: Polygon, crop: str) -> Parcel:
    """A field, rows along its longer side, with headlands where the tractor turns."""
    style = CROPS[crop]
    _, _, angle, _ = main_axis(polygon)
    red, green, blue = rng.normal(1.0, 0.035) * rng.normal(1.0, 0.015, 3)
    x, y = rng.uniform(0.0, 1e4, 2)
    whole = Patch(polygon=polygon, style=style, angle=angle, tint=(red, green, blue), shift_m=(x, y))
    patches = [whole]
    core = polygon.buffer(-_HEADLAND_M, join_style="mitre")
    if style.tram_m + style.row + style.swath > 0 and core.area > 0.4 * polygon.area:
        # Only the short ends are worked across.
        sideways = affinity.scale(
            affinity.rotate(core, -angle, origin=(0, 0), use_radians=True).envelope, 1.0, 8.0
        )
        sideways = affinity.rotate(sideways, angle, origin=(0, 0), use_radians=True)
        ends = polygons_of(polygon.difference(sideways))
        patches += [replace(whole, polygon=end, angle=angle + math.pi / 2) for end in ends]
    return Parcel(polygon=polygon, crop=crop, patches=tuple(patches))


def _roughened(rng: np.random.Generator, polygon: Polygon, amplitude_m: float) -> Polygon:
    """Edges with small irregularities, as plants grow."""
    dense = shapely.segmentize(polygon, 5.0)
    ring = np.asarray(dense.exterior.coords)[:-1]
    moved = Polygon(ring + rng.normal(0.0, amplitude_m, ring.shape))
    return moved if moved.is_valid else polygon


def _draw_ways(land: _Land, road: LineString, stream: LineString) -> None:
    """Stream, tracks and road as ground, in the order in which they cross each other."""
    rng = land.rng
    view = box(-MARGIN_M, -MARGIN_M, land.width_m + MARGIN_M, land.height_m + MARGIN_M)

    def draw(geometry: shapely.Geometry, style: str, *, tint: float = 1.0) -> None:
        for part in polygons_of(shapely.intersection(geometry, view)):
            x, y = rng.uniform(0.0, 1e4, 2)
            look = GROUND[style]
            land.patches.append(Patch(polygon=part, style=look, tint=(tint, tint, tint), shift_m=(x, y)))

    draw(stream.buffer(STREAM_M / 2 + 3.0), "bank")
    draw(stream.buffer(STREAM_M / 2), "water")
    for track in land.tracks:
        paved = rng.random() < 0.25
        if paved:
            draw(track.buffer(TRACK_M / 2 + 0.7, cap_style="flat"), "dirt")
            draw(track.buffer(TRACK_M / 2, cap_style="square"), "asphalt", tint=1.12)
        else:
            for side in (-1.0, 1.0):
                rut = track.offset_curve(side * TRACK_M * 0.29)
                draw(
                    rut.buffer(TRACK_M * 0.2, cap_style="square"), str(rng.choice(["track", "track", "dirt"]))
                )
    draw(road.buffer(ROAD_M / 2 + 0.9), "dirt", tint=1.12)
    draw(road.buffer(ROAD_M / 2), "asphalt")
    for side in (-1.0, 1.0):
        draw(road.offset_curve(side * (ROAD_M / 2 - 0.35)).buffer(0.16), "line", tint=0.93)
    steps = np.arange(0.0, road.length, 9.0)
    dashes = [shapely.ops.substring(road, at, at + 4.0).buffer(0.17, cap_style="flat") for at in steps]
    draw(shapely.MultiPolygon([dash for dash in dashes if isinstance(dash, Polygon)]), "line")
