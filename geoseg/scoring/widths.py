"""How wide the band of Boundary IoU is: in pixels, in metres, or in percent of the image's diagonal."""

from __future__ import annotations

import math

from geoseg.config import WIDTH_FORM
from geoseg.errors import ConfigError
from geoseg.progress import Progress

MAX_PX = 256
"""Beyond it a band is no outline any more, and windows would need too much land around them."""

_WIDE_PX = 64


def parse_width(text: str) -> tuple[float, str]:
    """``3px``, ``3`` (pixels), ``2.5m`` or ``2%`` as number and unit.

    Raises:
        ConfigError: it is something else.
    """
    found = WIDTH_FORM.fullmatch(text)
    if found is None or float(found[1]) <= 0.0:
        raise ConfigError(f"boundary {text}: write a width such as 2px, 3m or 2% (of the diagonal)")
    number, unit = float(found[1]), found[2] or "px"
    if unit == "px" and (number != int(number) or not 1 <= number <= MAX_PX):
        raise ConfigError(f"boundary {text}: write 1 to {MAX_PX} whole pixels")
    return number, unit


def width_px(text: str, shape: tuple[int, int], gsd_m: float | None, progress: Progress) -> int:
    """Width in whole pixels, at least one.

    Args:
        text: as for :func:`parse_width`.
        shape: (height, width) of the scene or the chips.
        gsd_m: side of a pixel; ``None`` when unknown.
        progress: warned of a share of the diagonal that is no outline any more.

    Raises:
        ConfigError: no width, one in metres of a grid without a known place, or one too wide.
    """
    number, unit = parse_width(text)
    if unit == "m" and gsd_m is None:
        raise ConfigError(f"boundary {text}: the size of a pixel is not known; give a width in px")
    # As Cheng et al. have it: the share of the diagonal, rounded, and never less than a pixel.
    exact = {
        "px": number,
        "m": number / (gsd_m or 1.0),
        "%": number / 100.0 * math.hypot(*shape),
    }[unit]
    width = max(1, round(exact))
    if width > MAX_PX:
        raise ConfigError(
            f"boundary {text} is {width} px here, and {MAX_PX} are the most; "
            "percent are meant for chips and small scenes, so give a width in px or m"
        )
    if unit == "%" and width > _WIDE_PX:
        progress.warn(
            f"a boundary of {text} of the diagonal is {width} px wide here: most of an object is in it; "
            "percent are meant for chips and small scenes, px or m for large ones"
        )
    return width
