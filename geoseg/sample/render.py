"""Draws a landscape as a camera would see it from above.

The landscape is drawn at twice the resolution, in strips: colours of the ground, heights of plants, roofs and
crowns, light and cast shadows by marching towards one sun, then the lens (box average and a small blur, so
that pixels on edges are mixed) and the sensor (noise, a gentle change of light over the scene).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import rasterio.features
import shapely
from affine import Affine
from numpy.typing import NDArray

from geoseg.sample.styles import GROUND, UNDERGROWTH, Color, Style
from geoseg.sample.texture import Floats, Textures, sample
from geoseg.sample.things import Building, Layout, Patch, Tree, outline, turn

OVERSAMPLING = 2
SUN_AZIMUTH = math.radians(146.0)
"""Clockwise from north, where the light comes from."""
SUN_TANGENT = math.tan(math.radians(55.0))

# Rows drawn at once, more of them in scenes that are less wide: what lies around a strip is drawn twice.
_STRIP_PX, _WIDE_PX = 192, 2048
_CROPS_M = 3.0
_PANEL: Color = (42.0, 50.0, 70.0)
# Light in the shade, as a share of full sun; the sky is blue.
_SKY = np.array([0.40, 0.44, 0.51], np.float32)
_BLUR = 0.13
_NOISE = 2.1


def render(layout: Layout, shape: tuple[int, int], gsd_m: float, seed: int) -> NDArray[np.uint8]:
    """The landscape as an image.

    Args:
        layout: what is there.
        shape: (height, width) in pixels; the upper left corner is at (0, ``layout.height_m``).
        gsd_m: side of a pixel in metres.
        seed: of textures and noise.

    Returns:
        (3, H, W) uint8, red, green, blue; never 0.
    """
    rng = np.random.default_rng([seed, 2])
    textures = Textures.of(rng)
    painter = _Painter.of(layout, textures)
    height, width = shape
    step_m = gsd_m / OVERSAMPLING
    # Shadows and blur reach into a strip from outside of it.
    halo = math.ceil(painter.longest_shadow_m / gsd_m) + 2
    image = np.empty((3, height, width), np.float32)
    strip_px = _STRIP_PX * max(1, _WIDE_PX // width)
    for top in range(0, height, strip_px):
        rows = min(strip_px, height - top)
        canvas = _Canvas.of(
            left_m=-halo * gsd_m,
            top_m=layout.height_m - (top - halo) * gsd_m,
            rows=(rows + 2 * halo) * OVERSAMPLING,
            columns=(width + 2 * halo) * OVERSAMPLING,
            step_m=step_m,
        )
        strip = _lens(painter.paint(canvas))
        image[:, top : top + rows] = strip[:, halo : halo + rows, halo : halo + width]
    return _sensor(rng, image)


@dataclass(frozen=True, kw_only=True)
class _Canvas:
    """A strip being drawn: its samples' places in metres and the heights and colours so far.

    Attributes:
        x_m, y_m: (1, w) and (h, 1) float32 centres of samples.
        color: (3, h, w) float32, in full sun.
        height: (h, w) float32 metres above ground.
        solid: (h, w), where roofs and crowns are, which light hits at an angle.
    """

    step_m: float
    transform: Affine
    x_m: Floats
    y_m: Floats
    color: Floats
    height: Floats
    solid: NDArray[np.bool_]

    @classmethod
    def of(cls, *, left_m: float, top_m: float, rows: int, columns: int, step_m: float) -> _Canvas:
        x_m = (left_m + (np.arange(columns) + 0.5) * step_m).astype(np.float32)
        y_m = (top_m - (np.arange(rows) + 0.5) * step_m).astype(np.float32)
        return cls(
            step_m=step_m,
            transform=Affine(step_m, 0.0, left_m, 0.0, -step_m, top_m),
            x_m=x_m[np.newaxis, :],
            y_m=y_m[:, np.newaxis],
            color=np.empty((3, rows, columns), np.float32),
            height=np.zeros((rows, columns), np.float32),
            solid=np.zeros((rows, columns), np.bool_),
        )

    def window(self, x: float, y: float, reach: float) -> tuple[slice, slice] | None:
        """Samples within a square of half side ``reach`` around a place; ``None`` when there are none."""
        column, row = (x - self.transform.c) / self.step_m, (self.transform.f - y) / self.step_m
        size = reach / self.step_m + 1.0
        rows = slice(max(0, math.floor(row - size)), min(self.height.shape[0], math.ceil(row + size)))
        columns = slice(
            max(0, math.floor(column - size)), min(self.height.shape[1], math.ceil(column + size))
        )
        return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


@dataclass(frozen=True, kw_only=True)
class _Painter:
    """A landscape ready to be drawn strip by strip."""

    textures: Textures
    outlines: NDArray[np.object_]
    looks: _Looks
    buildings: tuple[Building, ...]
    trees: tuple[Tree, ...]
    crowns: NDArray[np.object_]
    longest_shadow_m: float

    @classmethod
    def of(cls, layout: Layout, textures: Textures) -> _Painter:
        everywhere = shapely.box(-1e4, -1e4, 1e4, 1e4)
        patches = (
            Patch(polygon=everywhere, style=GROUND["verge"]),
            *(patch for parcel in layout.parcels for patch in parcel.patches),
            *layout.patches,
        )
        return cls(
            textures=textures,
            outlines=np.array([patch.polygon for patch in patches], object),
            looks=_Looks.of(patches),
            buildings=layout.buildings,
            trees=tuple(sorted(layout.trees, key=lambda tree: tree.height)),
            crowns=np.array(layout.crowns, object),
            longest_shadow_m=_highest_m(layout) / SUN_TANGENT,
        )

    def paint(self, canvas: _Canvas) -> Floats:
        """Colours (3, h, w) as the light leaves them."""
        self._ground(canvas)
        for building in self.buildings:
            self._roof(canvas, building)
        self._crowns(canvas)
        return _lit(canvas, self.longest_shadow_m)

    def _burn(self, outlines: NDArray[np.object_], canvas: _Canvas, numbered: bool) -> NDArray[np.uint32]:
        """Number of the last outline on every sample (1 when not ``numbered``), 0 for none."""
        rows, columns = canvas.height.shape
        left, top = canvas.transform @ (0, 0)
        right, bottom = canvas.transform @ (columns, rows)
        here = np.flatnonzero(shapely.intersects(outlines, shapely.box(left, bottom, right, top)))
        shapes = [(outlines[i], int(i) + 1 if numbered else 1) for i in here]
        burned = np.zeros((rows, columns), np.uint32)
        if shapes:
            rasterio.features.rasterize(shapes, out=burned, transform=canvas.transform)
        return burned

    def _ground(self, canvas: _Canvas) -> None:
        number = self._burn(self.outlines, canvas, numbered=True) - 1

        def of(name: str) -> Floats:
            return self.looks.column(name)[number]

        x, y = canvas.x_m, canvas.y_m
        cos, sin = of("cos"), of("sin")
        along, across = x * cos + y * sin, y * cos - x * sin
        shift_x, shift_y = of("shift_x"), of("shift_y")
        there_x, there_y = x + shift_x, y + shift_y
        along += shift_x
        across += shift_y
        cloud = sample(self.textures.cloud, there_x, there_y, stretch=2.0)
        streak = sample(self.textures.streak, along, across)
        clump = sample(self.textures.clump, there_x, there_y)
        # Rows are never quite straight.
        across += 0.12 * cloud
        value = 1.0 + of("cloud") * cloud + of("clump") * clump + of("streak") * streak
        value += of("grain") * sample(self.textures.grain, there_x, there_y)
        value += of("row") * np.sin(across * of("row_turn"))
        value += of("swath") * np.tanh(3.0 * np.sin(across * of("swath_turn")))
        mix = of("mix") * np.clip(0.5 + 0.75 * cloud + 0.25 * clump, 0.0, 1.6)
        mix += of("tram") * _wheels(across, of("tram_m"))
        canvas.height[:] = of("height_m") * (1.0 + 0.06 * clump)
        for band in range(3):
            base, other = of(f"color{band}"), of(f"other{band}")
            canvas.color[band] = (base + (other - base) * np.minimum(mix, 1.0)) * value

    def _roof(self, canvas: _Canvas, building: Building) -> None:
        window = canvas.window(building.x, building.y, math.hypot(building.length, building.width) / 2)
        if window is None:
            return
        rows, columns = window
        dx, dy = canvas.x_m[:, columns] - building.x, canvas.y_m[rows] - building.y
        (cos, minus_sin), _ = turn(building.angle)
        u, v = dx * cos - dy * minus_sin, dy * cos + dx * minus_sin
        inside = (np.abs(u) <= building.length / 2) & (np.abs(v) <= building.width / 2)
        rise = building.width / 2 - np.abs(v)
        if building.hipped:
            rise = np.minimum(rise, building.length / 2 - np.abs(u))
        height = building.eave_m + building.pitch * rise
        if building.wing:
            inside &= height > canvas.height[window]
        tiles = 1.0 + 0.025 * np.sin(2 * math.pi * v / 1.4) + 0.04 * sample(self.textures.streak, v * 8, u)
        tiles += 0.03 * sample(self.textures.grain, u, v) + 0.05 * (rise < 0.35) * (building.pitch > 0)
        sunny = v * math.cos(building.angle + SUN_AZIMUTH) > 0
        panel = building.panels & sunny & (np.abs(np.abs(v) - building.width / 4) < building.width * 0.18)
        panel &= np.abs(u) < building.length * 0.42
        canvas.height[window][inside] = height[inside]
        canvas.solid[window][inside] = True
        for band in range(3):
            color = np.where(
                panel, _PANEL[band] * (1.0 + 0.08 * (np.mod(u, 1.7) < 0.25)), building.color[band] * tiles
            )
            canvas.color[band][window][inside] = color[inside]

    def _crowns(self, canvas: _Canvas) -> None:
        covered = self._burn(self.crowns, canvas, numbered=False).astype(np.bool_)
        leaves = sample(
            self.textures.clump, canvas.x_m + 0 * canvas.y_m, canvas.y_m + 0 * canvas.x_m, stretch=0.8
        )
        grain = sample(self.textures.grain, canvas.x_m + 0 * canvas.y_m, canvas.y_m + 0 * canvas.x_m)
        tops = np.where(covered, np.float32(1.0), np.float32(-1.0))
        canvas.solid[covered] = True
        for band in range(3):
            canvas.color[band][covered] = UNDERGROWTH[band] * (1.0 + 0.1 * leaves[covered])
        for tree in self.trees:
            window = canvas.window(tree.x, tree.y, 1.4 * tree.radius)
            if window is None:
                continue
            rows, columns = window
            dx, dy = canvas.x_m[:, columns] - tree.x, canvas.y_m[rows] - tree.y
            reach = outline(np.arctan2(dy, dx), tree.waves) * tree.radius
            inward = 1.0 - (dx * dx + dy * dy) / (reach * reach)
            crown = tree.height * (0.45 + 0.55 * np.sqrt(np.maximum(inward, 0.0)))
            crown += 0.28 * leaves[window] * min(1.0, tree.radius / 3.0)
            above = (inward > 0) & covered[window] & (crown > tops[window])
            tops[window][above] = crown[above]
            value = 1.0 + 0.10 * leaves[window] + 0.07 * grain[window]
            for band in range(3):
                canvas.color[band][window][above] = (tree.color[band] * value)[above]
        canvas.height[covered] = tops[covered]


@dataclass(frozen=True, kw_only=True)
class _Looks:
    """What :class:`Style` and :class:`Patch` say, one row a patch."""

    names: dict[str, int]
    table: Floats

    @classmethod
    def of(cls, patches: tuple[Patch, ...]) -> _Looks:
        rows = [_look(patch) for patch in patches]
        names = {name: column for column, name in enumerate(rows[0])}
        return cls(names=names, table=np.array([list(row.values()) for row in rows], np.float32))

    def column(self, name: str) -> Floats:
        return np.ascontiguousarray(self.table[:, self.names[name]])


_PLAIN = ("cloud", "mix", "clump", "streak", "row", "tram_m", "tram", "swath", "grain", "height_m")


def _look(patch: Patch) -> dict[str, float]:
    style: Style = patch.style
    look = {name: getattr(style, name) for name in _PLAIN}
    look |= {"cos": math.cos(patch.angle), "sin": math.sin(patch.angle)}
    look |= {"shift_x": patch.shift_m[0] % 307.2, "shift_y": patch.shift_m[1] % 307.2}
    look |= {"row_turn": 2 * math.pi / style.row_m, "swath_turn": math.pi / style.swath_m}
    for band, tint in enumerate(patch.tint):
        look |= {f"color{band}": style.color[band] * tint, f"other{band}": style.other[band] * tint}
    return look


def _wheels(across: Floats, spacing: Floats) -> Floats:
    """How much a sample lies in one of the two wheel marks of a tramline, 0..1."""
    every = np.where(spacing > 0, spacing, np.float32(1.0))
    middle = np.abs(across - every * np.round(across / every))
    marks = np.clip(1.6 - np.abs(middle - 0.95) / 0.28, 0.0, 1.0)
    return np.where(spacing > 0, marks, np.float32(0.0))


def _highest_m(layout: Layout) -> float:
    """What nothing in a landscape is higher than, leaves on top of trees included."""
    roofs = (each.eave_m + each.pitch * each.width / 2 for each in layout.buildings)
    trees = (each.height for each in layout.trees)
    return 1.0 + max(_CROPS_M, *roofs, *trees)


def _lit(canvas: _Canvas, reach_m: float) -> Floats:
    """Colours under sun and sky (3, h, w)."""
    to_sun = (math.sin(SUN_AZIMUTH), -math.cos(SUN_AZIMUTH))  # columns, rows
    sun = 1.0 - _shadow(canvas.height, canvas.step_m, to_sun, reach_m)
    down, right = np.gradient(canvas.height, canvas.step_m)
    # Leaves let light through and scatter it: crowns look softer than their surface.
    down, right = np.clip(down, -1.6, 1.6), np.clip(right, -1.6, 1.6)
    facing = (SUN_TANGENT - right * to_sun[0] - down * to_sun[1]) / np.sqrt(1.0 + down * down + right * right)
    facing = np.clip(facing / SUN_TANGENT, 0.0, 1.45)
    sun *= np.where(canvas.solid, facing, np.float32(1.0))
    lit = np.empty_like(canvas.color)
    for band in range(3):
        lit[band] = canvas.color[band] * (_SKY[band] + (1.0 - _SKY[band]) * sun)
    return lit


def _shadow(height: Floats, step_m: float, to_sun: tuple[float, float], reach_m: float) -> Floats:
    """How much each sample is shaded by something nearer to the sun, 0..1, found by marching towards it.

    Args:
        height: (h, w) metres above ground.
        step_m: side of a sample.
        to_sun: direction in columns and rows.
        reach_m: how long a shadow can be.
    """
    rows, columns = height.shape
    longest = max(abs(to_sun[0]), abs(to_sun[1]))
    blocked = np.zeros_like(height)
    steps = math.ceil(reach_m / step_m * longest)
    for step in range(1, steps + 1):
        down, right = round(to_sun[1] * step / longest), round(to_sun[0] * step / longest)
        here = (slice(max(0, -down), rows - max(0, down)), slice(max(0, -right), columns - max(0, right)))
        there = (slice(max(0, down), rows - max(0, -down)), slice(max(0, right), columns - max(0, -right)))
        climb = math.hypot(down, right) * step_m * SUN_TANGENT
        np.maximum(blocked[here], height[there] - np.float32(climb) - height[here], out=blocked[here])
    shaded: Floats = np.clip(blocked / np.float32(0.6), 0.0, 1.0)
    return shaded


def _lens(color: Floats) -> Floats:
    """Average the samples of each pixel and blur a little: (3, h, w) to (3, h / 2, w / 2)."""
    bands, rows, columns = color.shape
    n = OVERSAMPLING
    image: Floats = color.reshape(bands, rows // n, n, columns // n, n).mean(axis=(2, 4), dtype=np.float32)
    for axis in (1, 2):
        near = np.roll(image, 1, axis) + np.roll(image, -1, axis)
        image = (1.0 - 2.0 * _BLUR) * image + _BLUR * near
    return image


def _sensor(rng: np.random.Generator, image: Floats) -> NDArray[np.uint8]:
    """Light that changes over the scene, haze, noise, eight bits."""
    bands, rows, columns = image.shape
    across = np.linspace(-1.0, 1.0, columns, dtype=np.float32)[np.newaxis, :]
    down = np.linspace(-1.0, 1.0, rows, dtype=np.float32)[:, np.newaxis]
    slope = rng.uniform(-0.025, 0.025, 2).astype(np.float32)
    gain = 1.0 + slope[0] * across + slope[1] * down
    seen = np.empty(image.shape, np.uint8)
    common = rng.standard_normal((rows, columns), np.float32)
    for band in range(bands):
        noise = 0.6 * common + 0.8 * rng.standard_normal((rows, columns), np.float32)
        light = image[band] * gain * np.float32(rng.normal(0.97, 0.01)) + np.float32(7.0 + band)
        light += noise * (_NOISE * (0.6 + light / 255.0))
        # Not below 1: 0 is nodata.
        seen[band] = np.clip(np.round(light), 1, 254).astype(np.uint8)
    return seen
