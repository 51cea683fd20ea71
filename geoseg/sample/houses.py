"""Houses along a street: terraces, pairs, detached ones with wings and garages, old rows, halls, sheds."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from geoseg.sample.styles import Color
from geoseg.sample.things import Building, along

ROOFS: tuple[Color, ...] = (
    (166, 92, 66), (150, 84, 66), (182, 112, 82), (132, 82, 66), (112, 86, 78), (92, 92, 98), (78, 78, 84),
    (146, 70, 56), (124, 112, 104), (160, 120, 96), (142, 140, 136),
)  # fmt: skip
FLAT_ROOFS: tuple[Color, ...] = (
    (150, 148, 142), (128, 128, 128), (176, 176, 172), (104, 104, 106), (196, 196, 194), (136, 126, 112),
    (118, 128, 98),
)  # fmt: skip
SHED_ROOFS: tuple[Color, ...] = (
    (150, 92, 72), (128, 128, 128), (96, 88, 82), (176, 176, 172), (110, 96, 82), (120, 72, 60),
)  # fmt: skip
_BRICK: Color = (128.0, 74.0, 60.0)


@dataclass(frozen=True, kw_only=True)
class House:
    """What is under one roof, seen from above.

    Attributes:
        polygon: outline of the roof.
        kind: ``terrace``, ``pair``, ``house``, ``old``, ``hall``, ``garage`` or ``shed``.
        parts: what is drawn of it, the main roof first; all within ``polygon``.
    """

    polygon: Polygon
    kind: str
    parts: tuple[Building, ...]


@dataclass(frozen=True, kw_only=True)
class Front:
    """One side of a block, that houses stand along.

    Attributes:
        start: (2,) where it begins.
        angle: its direction in radians, counter-clockwise from east; the block lies to the left.
        length: in metres.
    """

    start: NDArray[np.float64]
    angle: float
    length: float

    def at(self, u: float, v: float) -> NDArray[np.float64]:
        """The place ``u`` metres along and ``v`` into the block, (2,)."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        place: NDArray[np.float64] = self.start + np.array([u * cos - v * sin, u * sin + v * cos])
        return place

    def ring(self, corners: Sequence[tuple[float, float]]) -> Polygon:
        """Polygon of corners (u, v)."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        turned: Polygon = shapely.polygons(np.array(corners) @ [[cos, sin], [-sin, cos]] + self.start)
        return turned

    def box(self, u: float, v: float, length: float, depth: float) -> Polygon:
        """The rectangle from (u, v) on, ``length`` along and ``depth`` into the block."""
        return self.ring([(u, v), (u + length, v), (u + length, v + depth), (u, v + depth)])


def terrace(rng: np.random.Generator, front: Front, start: float) -> Iterator[House]:
    """Units that share their side walls, ridges along the street, one after the other."""
    width, depth = rng.uniform(5.8, 8.4), rng.uniform(8.5, 11.5)
    back, eave, pitch = rng.uniform(1.0, 4.5), rng.uniform(4.8, 6.2), rng.uniform(0.55, 0.85)
    common = _color(rng, ROOFS)
    flat = rng.random() < 0.12
    for _ in range(int(rng.integers(3, 9))):
        step = 0.0 if rng.random() < 0.6 else float(rng.uniform(0.4, 1.6))
        color = common if rng.random() < 0.45 else _color(rng, FLAT_ROOFS if flat else ROOFS)
        yield _box(
            rng, front, (start, back + step, width, depth), "terrace",
            lengthwise=True, eave=eave + rng.normal(0.0, 0.15), pitch=0.0 if flat else pitch, color=color,
        )  # fmt: skip
        start += width


def pair(rng: np.random.Generator, front: Front, start: float) -> Iterator[House]:
    """Two halves under one ridge, of different owners: the roofs differ in colour."""
    width, depth, back = rng.uniform(6.5, 8.5), rng.uniform(8.5, 11.0), rng.uniform(2.0, 5.0)
    eave, pitch, same = rng.uniform(3.2, 5.4), rng.uniform(0.6, 0.9), rng.random() < 0.4
    color = _color(rng, ROOFS)
    for half in range(2):
        if half and not same:
            color = _color(rng, ROOFS)
        yield _box(
            rng, front, (start + half * width, back, width, depth), "pair",
            lengthwise=True, eave=eave, pitch=pitch, color=color,
        )  # fmt: skip


def detached(rng: np.random.Generator, front: Front, start: float) -> Iterator[House]:
    """A house with a wing now and then, and a garage that may touch it."""
    length, depth, back = rng.uniform(8.0, 13.5), rng.uniform(7.5, 10.5), rng.uniform(2.5, 6.0)
    flat = rng.random() < 0.14
    lengthwise, hipped = bool(rng.random() < 0.65), bool(rng.random() < 0.4)
    pitch = 0.0 if flat else rng.uniform(0.45, 0.9)
    color = _color(rng, FLAT_ROOFS if flat else ROOFS)
    garage = rng.random() < 0.45
    if garage and rng.random() < 0.5:
        yield _garage(rng, front, start, back + rng.uniform(0.5, 3.0))
        start += 3.2 + (0.0 if rng.random() < 0.7 else 1.2)
    place = (start, back, length, depth)
    eave = rng.uniform(2.9, 5.2)
    house = _box(
        rng, front, place, "house", lengthwise=lengthwise, eave=eave, pitch=pitch, color=color, hipped=hipped
    )
    yield _with_wing(rng, front, place, house) if rng.random() < 0.38 else house
    if garage and rng.random() < 0.5:
        touching = 0.0 if rng.random() < 0.7 else 1.2
        yield _garage(rng, front, start + length + touching, back + rng.uniform(0.5, 3.0))


def old_row(rng: np.random.Generator, front: Front, start: float) -> Iterator[House]:
    """Houses of a village centre: at the street, side by side, each of its own size and roof."""
    back = rng.uniform(0.0, 0.8)
    for _ in range(int(rng.integers(3, 10))):
        width, depth = rng.uniform(6.0, 12.5), rng.uniform(8.0, 14.0)
        place = (start, back + float(rng.choice([0.0, 0.0, 0.5])), width, depth)
        house = _box(
            rng, front, place, "old",
            lengthwise=bool(rng.random() < 0.6), eave=rng.uniform(3.5, 6.5), pitch=rng.uniform(0.6, 1.0),
            color=_color(rng, ROOFS), hipped=bool(rng.random() < 0.12),
        )  # fmt: skip
        yield _with_wing(rng, front, place, house) if rng.random() < 0.4 else house
        start += width


def hall(rng: np.random.Generator, front: Front, start: float) -> Iterator[House]:
    """A workshop, a shop, a gym."""
    place = (start, rng.uniform(4.0, 8.0), rng.uniform(16.0, 30.0), rng.uniform(12.0, 19.0))
    flat = rng.random() < 0.7
    yield _box(
        rng, front, place, "hall",
        lengthwise=True, eave=rng.uniform(4.0, 6.5), pitch=0.0 if flat else 0.25,
        color=_color(rng, FLAT_ROOFS),
    )  # fmt: skip


def shed(rng: np.random.Generator, front: Front, u: float, v: float) -> House:
    """A hut in a garden."""
    return _box(
        rng, front, (u, v, rng.uniform(3.4, 6.0), rng.uniform(3.0, 4.5)), "shed",
        lengthwise=True, eave=2.2, pitch=float(rng.choice([0.0, 0.35])), color=_color(rng, SHED_ROOFS),
    )  # fmt: skip


def _garage(rng: np.random.Generator, front: Front, start: float, back: float) -> House:
    return _box(
        rng, front, (start, back, 3.2, rng.uniform(5.8, 7.0)), "garage",
        lengthwise=False, eave=2.6, pitch=0.0, color=_color(rng, FLAT_ROOFS),
    )  # fmt: skip


def _box(
    rng: np.random.Generator,
    front: Front,
    place: tuple[float, float, float, float],
    kind: str,
    *,
    lengthwise: bool,
    eave: float,
    pitch: float,
    color: Color,
    hipped: bool = False,
) -> House:
    """A house on a rectangle (u, v, length, depth); its ridge runs across the street, or ``lengthwise``."""
    u, v, length, depth = place
    x, y = front.at(u + length / 2, v + depth / 2)
    roof = Building(
        kind=kind, x=float(x), y=float(y),
        length=length if lengthwise else depth, width=depth if lengthwise else length,
        angle=front.angle if lengthwise else front.angle + math.pi / 2,
        eave_m=float(eave), pitch=float(pitch), hipped=hipped, color=color,
        panels=bool(pitch > 0.0 and rng.random() < 0.13), wing=True,
    )  # fmt: skip
    return House(polygon=front.box(*place), kind=kind, parts=(roof,))


def finished(rng: np.random.Generator, house: House) -> House:
    """The house with chimneys near its ridge, or boxes on its flat roof."""
    roof = house.parts[0]
    if house.kind in {"shed", "garage"} or rng.random() < 0.35:
        return house
    flat = roof.pitch == 0.0
    top = roof.eave_m + roof.pitch * roof.width / 2
    found = []
    for _ in range(int(rng.integers(1, 5)) if flat else 1):
        side = rng.uniform(0.9, 2.0) if flat else rng.uniform(0.6, 0.9)
        step = along(roof.angle, roof.length * rng.uniform(-0.3, 0.3), roof.width * rng.uniform(-0.2, 0.2))
        found.append(
            replace(
                roof, x=roof.x + float(step[0]), y=roof.y + float(step[1]), length=side, width=side,
                eave_m=top + 0.7, pitch=0.0, hipped=False, panels=False,
                color=_color(rng, FLAT_ROOFS) if flat else _BRICK,
            )
        )  # fmt: skip
    return replace(house, parts=(*house.parts, *found))


def _with_wing(
    rng: np.random.Generator, front: Front, place: tuple[float, float, float, float], house: House
) -> House:
    """The house as an L: a lower wing from one end of it into the garden."""
    u, v, length, depth = place
    main = house.parts[0]
    width = min(length * rng.uniform(0.4, 0.6), 6.5)
    reach = rng.uniform(3.5, 6.5)
    left = rng.random() < 0.5
    begin = u if left else u + length - width
    x, y = front.at(begin + width / 2, v + (depth + reach) / 2)
    wing = replace(
        main, x=float(x), y=float(y), length=depth + reach, width=width, angle=front.angle + math.pi / 2,
        eave_m=main.eave_m - 0.3 if main.pitch else main.eave_m - 0.8, panels=False, hipped=False,
    )  # fmt: skip
    end = v + depth + reach
    far, back, inner = u + length, v + depth, begin + width if left else begin
    if left:
        corners = [(u, v), (far, v), (far, back), (inner, back), (inner, end), (u, end)]
    else:
        corners = [(u, v), (far, v), (far, end), (inner, end), (inner, back), (u, back)]
    # The wing runs under the main roof; on its own land it is all there is.
    return House(polygon=front.ring(corners), kind=house.kind, parts=(main, wing))


def _color(rng: np.random.Generator, colors: Sequence[Color]) -> Color:
    base = (
        np.array(colors[int(rng.integers(len(colors)))]) * rng.normal(1.0, 0.07) * rng.normal(1.0, 0.025, 3)
    )
    return float(base[0]), float(base[1]), float(base[2])


def free(house: House, room: Polygon, others: Sequence[House]) -> bool:
    """Whether a house lies within a block and overlaps none of its others; walls may be shared."""
    if not room.covers(house.polygon):
        return False
    core = house.polygon.buffer(-0.02, join_style="mitre")
    return not shapely.intersects(core, [other.polygon for other in others]).any()
