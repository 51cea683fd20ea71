"""What of a scene could not be read and was taken for nodata: ``geoseg predict --on-error nodata``."""

from __future__ import annotations

from dataclasses import dataclass

from rasterio.windows import Window

from geoseg.progress import Progress
from geoseg.raster.blockwise import joined
from geoseg.raster.windows import show
from geoseg.render.session import Session

GO_ON = "copy the scene again, or go on with --resume --on-error nodata"
"""What may be done about a scene that cannot be read, when it is predicted."""

_TOLD = 3


@dataclass(frozen=True, kw_only=True)
class Unread:
    """What could not be read.

    Attributes:
        pixels: how many.
        windows: where, in the scene: (column, row, width, height).
    """

    pixels: int = 0
    windows: tuple[tuple[int, int, int, int], ...] = ()


def tell_unread(session: Session, progress: Progress, *, all_read: bool = False) -> Unread:
    """Find out what of the part asked for cannot be read, and warn of it.

    It is looked up in the file, not remembered: other processes and earlier runs may have met it.

    Args:
        session: what was rendered.
        progress: told about the blocks, and warned.
        all_read: this process has just read all of the part, so nothing is looked up if it met nothing.
    """
    scene = session.scene
    if scene.on_error == "stop" or (all_read and not scene.lost_any):
        return Unread()
    found = joined(scene.unreadable(session.plan.part, progress))
    if not found:
        return Unread()
    pixels = sum(window.width * window.height for window in found)
    where = "; ".join(map(show, found[:_TOLD]))
    more = f"; and {len(found) - _TOLD:,} more places" if len(found) > _TOLD else ""
    progress.warn(f"{pixels:,} px of {scene.shown} cannot be read and are nodata: {where}{more}")
    return Unread(pixels=pixels, windows=tuple(map(_plain, found)))


def _plain(window: Window) -> tuple[int, int, int, int]:
    return window.col_off, window.row_off, window.width, window.height
