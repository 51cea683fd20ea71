"""What the ground looks like from above: crops, grass, roads, yards, water.

Colours overlap between classes on purpose: a meadow has the colours of a verge, bare soil those of a track or
a tiled roof. What tells them apart is texture and shape, as in real imagery.
"""

from __future__ import annotations

from dataclasses import dataclass

Color = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Style:
    """Look of a kind of ground. Amplitudes are shares of the brightness.

    Attributes:
        color: RGB 0..255 in full sun.
        other: RGB that spots, ruts and bare patches tend to.
        cloud: amplitude of large soft variation.
        mix: how far spots go towards ``other``.
        clump: amplitude of tufts and leaves of a metre or two.
        streak: amplitude of thin lines along the rows.
        row_m: distance of plant or ridge rows.
        row: amplitude of the rows.
        tram_m: distance of tramlines (pairs of wheel marks); 0 for none.
        tram: how far tramlines go towards ``other``.
        swath_m: width of mowing or drilling swaths.
        swath: amplitude between neighbouring swaths.
        grain: amplitude of the finest texture.
        height_m: of the plants; they shade what lies beside them.
    """

    color: Color
    other: Color
    cloud: float = 0.04
    mix: float = 0.2
    clump: float = 0.02
    streak: float = 0.0
    row_m: float = 2.0
    row: float = 0.0
    tram_m: float = 0.0
    tram: float = 0.0
    swath_m: float = 6.0
    swath: float = 0.0
    grain: float = 0.03
    height_m: float = 0.0


_SOIL = (146.0, 117.0, 88.0)

CROPS: dict[str, Style] = {
    "wheat": Style(
        color=(196, 171, 115), other=(160, 135, 92), cloud=0.045, mix=0.25, clump=0.018, streak=0.035,
        tram_m=18.0, tram=0.75, swath_m=3.0, swath=0.008, grain=0.025, height_m=0.8,
    ),
    "barley": Style(
        color=(208, 189, 141), other=(172, 158, 104), cloud=0.05, mix=0.3, clump=0.02, streak=0.04,
        tram_m=15.0, tram=0.7, grain=0.025, height_m=0.7,
    ),
    "oats": Style(
        color=(146, 150, 88), other=(178, 164, 104), cloud=0.05, mix=0.4, clump=0.025, streak=0.035,
        tram_m=21.0, tram=0.8, grain=0.03, height_m=0.9,
    ),
    "maize": Style(
        color=(82, 103, 56), other=(116, 119, 66), cloud=0.06, mix=0.22, clump=0.04, streak=0.05,
        row_m=1.9, row=0.09, swath_m=6.0, swath=0.02, grain=0.06, height_m=2.2,
    ),
    "beet": Style(
        color=(98, 122, 66), other=(130, 134, 80), cloud=0.06, mix=0.35, clump=0.03, streak=0.05,
        row_m=2.2, row=0.05, tram_m=27.0, tram=0.8, grain=0.045, height_m=0.4,
    ),
    "potato": Style(
        color=(84, 106, 60), other=(142, 118, 86), cloud=0.05, mix=0.25, clump=0.03, streak=0.05,
        row_m=2.0, row=0.11, tram_m=24.0, tram=0.8, grain=0.04, height_m=0.5,
    ),
    "soil": Style(
        color=_SOIL, other=(112, 90, 70), cloud=0.07, mix=0.45, clump=0.02, streak=0.055,
        row_m=3.1, row=0.03, swath_m=4.0, swath=0.025, grain=0.04,
    ),
    "seedbed": Style(
        color=(168, 141, 110), other=(138, 112, 86), cloud=0.06, mix=0.5, clump=0.015, streak=0.045,
        tram_m=15.0, tram=0.4, swath_m=3.0, swath=0.02, grain=0.03,
    ),
    "stubble": Style(
        color=(204, 184, 140), other=(166, 146, 106), cloud=0.04, mix=0.3, clump=0.02, streak=0.07,
        row_m=5.4, row=0.05, swath_m=5.4, swath=0.035, grain=0.035,
    ),
    "meadow": Style(
        color=(124, 136, 80), other=(150, 150, 94), cloud=0.05, mix=0.35, clump=0.03, streak=0.03,
        swath_m=4.5, swath=0.045, grain=0.035, height_m=0.2,
    ),
    "hay": Style(
        color=(146, 150, 92), other=(178, 168, 116), cloud=0.04, mix=0.3, clump=0.025, streak=0.06,
        row_m=6.0, row=0.07, swath_m=6.0, swath=0.03, grain=0.035,
    ),
}  # fmt: skip
"""Crops of a July day in central Europe."""

GROUND: dict[str, Style] = {
    "verge": Style(
        color=(128, 132, 82), other=(172, 160, 118), cloud=0.07, mix=0.55, clump=0.11, grain=0.08,
        height_m=0.3,
    ),
    "bank": Style(color=(96, 112, 62), other=(136, 138, 84), cloud=0.08, mix=0.5, clump=0.14, grain=0.09),
    "garden": Style(
        color=(118, 134, 76), other=(156, 152, 104), cloud=0.08, mix=0.45, clump=0.06, grain=0.06,
        height_m=0.1,
    ),
    "lawn": Style(color=(126, 140, 82), other=(150, 152, 96), cloud=0.03, mix=0.25, clump=0.02, grain=0.03),
    "asphalt": Style(color=(134, 133, 134), other=(116, 115, 116), cloud=0.04, mix=0.4, grain=0.025),
    "line": Style(color=(222, 222, 216), other=(190, 190, 186), grain=0.02),
    "track": Style(color=(188, 172, 142), other=(150, 138, 108), cloud=0.05, mix=0.5, clump=0.04, grain=0.05),
    "gravel": Style(color=(180, 170, 150), other=(146, 138, 118), cloud=0.06, mix=0.6, grain=0.05),
    "concrete": Style(color=(178, 176, 168), other=(150, 147, 138), cloud=0.04, mix=0.4, grain=0.03),
    "patio": Style(color=(170, 150, 134), other=(140, 126, 112), cloud=0.05, mix=0.3, grain=0.05),
    "pool": Style(color=(92, 170, 188), other=(112, 190, 204), cloud=0.03, grain=0.02),
    "water": Style(color=(66, 84, 76), other=(88, 102, 84), cloud=0.08, mix=0.3, streak=0.05, grain=0.03),
    "dirt": Style(color=(150, 128, 98), other=(122, 108, 78), cloud=0.08, mix=0.7, clump=0.07, grain=0.06),
    "silage": Style(color=(216, 216, 212), other=(180, 182, 180), cloud=0.04, clump=0.04, grain=0.03),
}  # fmt: skip
"""All that is neither crop nor building nor tree: background."""

ROOFS: tuple[Color, ...] = (
    (166, 92, 66), (150, 84, 66), (178, 108, 80), (132, 82, 66), (112, 86, 78), (86, 86, 94), (146, 70, 56),
)  # fmt: skip
BARN_ROOFS: tuple[Color, ...] = (
    (156, 92, 68), (168, 104, 80), (196, 198, 198), (146, 70, 56), (86, 86, 94),
)  # fmt: skip
CROWNS: tuple[Color, ...] = (
    (92, 114, 60), (80, 104, 57), (104, 122, 66), (72, 96, 58), (112, 124, 72), (66, 88, 60),
)  # fmt: skip
UNDERGROWTH: Color = (44.0, 56.0, 34.0)
