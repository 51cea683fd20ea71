"""The things of the made-up landscape.

In local metres: x to the east, y to the north, (0, 0) at the lower left corner of the scene.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry import Polygon

from geoseg.sample.styles import Color, Style


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A piece of ground of one look.

    Attributes:
        polygon: outline.
        style: look.
        angle: direction of rows in radians, counter-clockwise from east.
        tint: what the colour is multiplied by, one a band.
        shift_m: where its noise is taken from, so that no two patches look the same.
    """

    polygon: Polygon
    style: Style
    angle: float = 0.0
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shift_m: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """A field: one crop inside one outline, drawn by ``patches`` (inner field and headlands)."""

    polygon: Polygon
    crop: str
    patches: tuple[Patch, ...]


@dataclass(frozen=True, kw_only=True)
class Building:
    """A rectangular building.

    Attributes:
        kind: ``house``, ``barn`` or ``shed``.
        x, y: centre.
        length, width: sides; the ridge runs along the length.
        angle: direction of the ridge in radians, counter-clockwise from east.
        eave_m: height of the walls.
        pitch: rise of the roof, tangent; 0 for a flat one.
        hipped: whether the short ends slope as well.
        color: of the roof in full sun.
        panels: whether solar panels cover most of the sunnier half.
        wing: drawn only where it is higher than what is there: a part of a house with several roofs.
    """

    kind: str
    x: float
    y: float
    length: float
    width: float
    angle: float
    eave_m: float
    pitch: float
    hipped: bool
    color: Color
    panels: bool = False
    wing: bool = False

    def polygon(self, margin: float = 0.0) -> Polygon:
        """Outline, ``margin`` metres further out."""
        centre = np.array([self.x, self.y])
        return rectangle(centre, self.length + 2 * margin, self.width + 2 * margin, self.angle)


@dataclass(frozen=True, kw_only=True)
class Tree:
    """A tree crown; ``waves`` are (amplitude, phase) of its outline's 2nd, 3rd and 5th harmonic."""

    x: float
    y: float
    radius: float
    height: float
    color: Color
    waves: tuple[tuple[float, float], ...]

    def polygon(self, corners: int = 20) -> Polygon:
        """Outline of the crown."""
        phi = np.linspace(0.0, 2 * math.pi, corners, endpoint=False)
        reach = self.radius * outline(phi, self.waves)
        return Polygon(np.column_stack([self.x + reach * np.cos(phi), self.y + reach * np.sin(phi)]))


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A landscape.

    Attributes:
        width_m, height_m: size of the scene.
        parcels: fields.
        patches: other ground, to be drawn over the fields in this order.
        buildings: later ones are drawn over earlier ones.
        trees: of any kind.
        crowns: what trees cover seen from above, one polygon a group; does not touch ``buildings``.
    """

    width_m: float
    height_m: float
    parcels: tuple[Parcel, ...]
    patches: tuple[Patch, ...]
    buildings: tuple[Building, ...]
    trees: tuple[Tree, ...]
    crowns: tuple[Polygon, ...]


def turn(angle: float) -> NDArray[np.float64]:
    """Rotation matrix, counter-clockwise."""
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def along(angle: float, u: float, v: float) -> NDArray[np.float64]:
    """A step of ``u`` along and ``v`` to the left of a direction, as (x, y)."""
    return turn(angle) @ (u, v)


def rectangle(centre: NDArray[np.float64], length: float, width: float, angle: float) -> Polygon:
    """A rectangle whose length lies in direction ``angle``."""
    u, v = length / 2, width / 2
    corners = np.array([(-u, -v), (u, -v), (u, v), (-u, v)])
    return Polygon(corners @ turn(angle).T + centre)


def main_axis(polygon: Polygon) -> tuple[float, float, float, NDArray[np.float64]]:
    """Length, width, direction of the length and centre of the smallest rectangle around a polygon."""
    corners = np.asarray(shapely.minimum_rotated_rectangle(polygon).exterior.coords)[:4]
    sides = [corners[1] - corners[0], corners[2] - corners[1]]
    lengths = [float(np.hypot(*side)) for side in sides]
    longer = int(lengths[1] > lengths[0])
    angle = math.atan2(sides[longer][1], sides[longer][0])
    return lengths[longer], lengths[1 - longer], angle, corners.mean(axis=0)


def outline(phi: NDArray[np.float64], waves: tuple[tuple[float, float], ...]) -> NDArray[np.float64]:
    """Relative reach of a crown in direction ``phi``."""
    reach = np.ones_like(phi)
    for harmonic, (amplitude, phase) in zip((2, 3, 5), waves, strict=True):
        reach = reach + amplitude * np.cos(harmonic * phi + phase)
    return reach


def polygons_of(geometry: shapely.Geometry) -> list[Polygon]:
    """The polygons in a geometry of any kind, empty ones left out."""
    parts = shapely.get_parts(geometry, return_index=False)
    flat: list[Polygon] = []
    for part in parts:
        if isinstance(part, Polygon) and not part.is_empty:
            flat.append(part)
        elif part.geom_type in {"MultiPolygon", "GeometryCollection"}:
            flat += polygons_of(part)
    return flat
