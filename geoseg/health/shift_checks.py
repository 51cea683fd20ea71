"""Findings about labels that are moved against the image."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from geoseg.health.finding import Finding, Severity, finding, plural
from geoseg.health.shift import Shift
from geoseg.raster.geobox import GeoBox

WARN_PX = 2.0
"""Shorter shifts are within what people draw."""

ERROR_PX = 4.0
"""Longer shifts put the edges of most labels on the wrong ground."""

_ALIKE_PX = 1.5


def shift_findings(shifts: Mapping[str, Shift | None], grids: Mapping[str, GeoBox | None]) -> list[Finding]:
    """Judge the shifts of scenes; those that are not sure say nothing.

    Args:
        shifts: by name of the scene.
        grids: the grid of each scene, which turns pixels into CRS units; ``None`` when not known.
    """
    sure = {name: shift for name, shift in shifts.items() if shift is not None and shift.sure}
    found = []
    steps: list[tuple[Severity, float, float]] = [("error", ERROR_PX, np.inf), ("warning", WARN_PX, ERROR_PX)]
    for severity, low, high in steps:
        # What the windows differ by is taken off: a blunt peak is no proof of a short shift.
        moved = {
            name: shift for name, shift in sure.items() if low <= shift.length_px - shift.spread_px < high
        }
        if moved:
            found.append(_finding(severity, moved, len(sure), grids))
    return found


def _finding(
    severity: Severity, moved: Mapping[str, Shift], sure: int, grids: Mapping[str, GeoBox | None]
) -> Finding:
    ordered = sorted(moved.items(), key=lambda item: -item[1].length_px)
    points = np.array([(shift.columns_px, shift.rows_px) for shift in moved.values()])
    middle = np.median(points, axis=0)
    alike = bool((np.hypot(*(points - middle).T) <= _ALIKE_PX).all())
    lengths = [shift.length_px for shift in moved.values()]
    by = (
        f"{min(lengths):.1f}"
        if max(lengths) - min(lengths) < 0.05
        else f"{min(lengths):.1f} to {max(lengths):.1f}"
    )
    return finding(
        severity,
        "shift",
        f"labels lie {by} px beside the edges in the image, in {len(moved)} of {plural(sure, 'scene')} "
        "whose edges are clear enough to tell",
        (f"move the labels by {_pixels(*middle)}" if alike else "move each scene's labels as told")
        + ", or find out which of the two is georeferenced wrongly",
        [
            f"{name}: {_pixels(shift.columns_px, shift.rows_px)}{_in_crs(shift, grids.get(name))}"
            for name, shift in ordered
        ],
    )


def _pixels(columns_px: float, rows_px: float) -> str:
    across, down = "right" if columns_px >= 0 else "left", "down" if rows_px >= 0 else "up"
    return f"{abs(columns_px):.1f} px {across} and {abs(rows_px):.1f} px {down}"


def _in_crs(shift: Shift, grid: GeoBox | None) -> str:
    """The same move in units of the scene's CRS."""
    if grid is None or grid.crs is None or not grid.georeferenced:
        return ""
    to = grid.transform
    x = to.a * shift.columns_px + to.b * shift.rows_px
    y = to.d * shift.columns_px + to.e * shift.rows_px
    return f" (x {x:+.3g}, y {y:+.3g} in {'degrees' if grid.crs.is_geographic else 'CRS units'})"
