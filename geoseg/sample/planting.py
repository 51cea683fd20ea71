"""Trees: woods, hedges, rows along ways, gardens."""

from __future__ import annotations

import math

import numpy as np
import shapely
from shapely.geometry import LineString, Point, Polygon

from geoseg.sample.styles import CROWNS, Color
from geoseg.sample.things import Tree


def tree(rng: np.random.Generator, x: float, y: float, radius: float, *, color: Color | None = None) -> Tree:
    """A tree of about this crown radius; its height follows."""
    base = np.array(color if color is not None else CROWNS[rng.integers(len(CROWNS))])
    shade = base * rng.normal(1.0, 0.08) * rng.normal(1.0, 0.03, 3)
    waves = tuple((abs(rng.normal(0.0, a)), rng.uniform(0.0, 2 * math.pi)) for a in (0.07, 0.07, 0.05))
    return Tree(
        x=float(x),
        y=float(y),
        radius=float(radius),
        height=float(np.clip(radius * rng.uniform(1.7, 2.5), 2.5, 17.0)),
        color=(float(shade[0]), float(shade[1]), float(shade[2])),
        waves=waves,
    )


def wood(rng: np.random.Generator, trees: list[Tree], outline: Polygon) -> None:
    """Fill an outline with trees that stand close."""
    left, bottom, right, top = outline.bounds
    step = 5.2
    inner = outline.buffer(-1.5)
    shapely.prepare(inner)
    stands = rng.integers(0, len(CROWNS), 4)
    for row, y in enumerate(np.arange(bottom, top, step * 0.87)):
        for x in np.arange(left + (row % 2) * step / 2, right, step):
            at = (x + rng.normal(0, 1.1), y + rng.normal(0, 1.1))
            if rng.random() < 0.96 and inner.contains(Point(at)):
                stand = int(math.floor(at[0] / 55.0) + math.floor(at[1] / 70.0)) % 4
                kind = stands[stand] if rng.random() < 0.75 else rng.integers(len(CROWNS))
                trees.append(tree(rng, *at, float(rng.uniform(2.8, 4.8)), color=CROWNS[kind]))


def hedge(rng: np.random.Generator, trees: list[Tree], line: LineString, density: float) -> None:
    """Trees and bushes along a line; ``density`` 1 leaves hardly a gap."""
    at = rng.uniform(0.0, 6.0)
    gap = density < 0.3
    while at < line.length:
        radius = float(rng.uniform(2.9, 4.6)) if not gap else float(rng.uniform(3.4, 5.4))
        point = line.interpolate(at)
        trees.append(tree(rng, point.x + rng.normal(0, 0.7), point.y + rng.normal(0, 0.7), radius))
        at += radius * rng.uniform(0.9, 1.5)
        if rng.random() > density:
            at += rng.uniform(8.0, 40.0) if not gap else rng.uniform(25.0, 90.0)


def along_stream(rng: np.random.Generator, trees: list[Tree], stream: LineString, half_m: float) -> None:
    """Alders in clumps on both banks."""
    for side in (-1.0, 1.0):
        bank = stream.offset_curve(side * (half_m + 2.6))
        at = 0.0
        while at < bank.length:
            if rng.random() < 0.16:
                at += rng.uniform(15.0, 70.0)
            radius = float(rng.uniform(2.7, 4.4))
            point = bank.interpolate(at)
            trees.append(tree(rng, point.x + rng.normal(0, 0.8), point.y + rng.normal(0, 0.8), radius))
            at += radius * rng.uniform(1.0, 1.7)


def roadside(
    rng: np.random.Generator,
    trees: list[Tree],
    line: LineString,
    beside_m: float,
    *,
    spacing_m: tuple[float, float],
    chance: float,
) -> None:
    """Planted rows: evenly spaced stretches on one side or the other, with gaps."""
    for side in (-1.0, 1.0):
        row = line.offset_curve(side * beside_m)
        if row.is_empty or not isinstance(row, LineString):
            continue
        at = rng.uniform(0.0, 30.0)
        while at < row.length:
            run = rng.uniform(60.0, 220.0)
            if rng.random() < chance:
                spacing = rng.uniform(*spacing_m)
                size = rng.uniform(3.2, 4.4)
                for step in np.arange(at, min(at + run, row.length), spacing):
                    point = row.interpolate(step + rng.normal(0.0, 0.5))
                    if rng.random() < 0.92:
                        trees.append(tree(rng, point.x, point.y, float(size * rng.uniform(0.85, 1.2))))
            at += run


def garden(rng: np.random.Generator, trees: list[Tree], lot: Polygon, count: int) -> None:
    """A few trees near the edges of a lot."""
    edge = lot.buffer(-2.6)
    if edge.is_empty or not isinstance(edge, Polygon):
        return
    for _ in range(count):
        point = edge.exterior.interpolate(rng.uniform(0.0, edge.exterior.length))
        trees.append(tree(rng, point.x, point.y, float(rng.uniform(2.4, 4.4))))
