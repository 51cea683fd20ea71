"""A result in the browser, whatever its size: tiles are drawn from the files when they are looked at."""

from __future__ import annotations

from collections.abc import Callable

from geoseg.errors import InputError
from geoseg.mapview.atlas import Atlas, Sources, open_atlas
from geoseg.mapview.document import document
from geoseg.mapview.server import MapServer, Tiles
from geoseg.mapview.tally import count_some
from geoseg.progress import SILENT, Progress

LARGE_PX = 100_000_000
"""Scenes from this size on should have overviews."""


def view(
    sources: Sources,
    *,
    port: int = 0,
    ready: Callable[[str], None],
    progress: Progress = SILENT,
) -> None:
    """Serve a map on 127.0.0.1 until interrupted.

    Args:
        sources: what is shown.
        port: to listen on; any free one when 0.
        ready: called with the address once it can be opened.
        progress: told what cannot be read, and which files are slow.

    Raises:
        SceneError: a raster cannot be used, or not over this scene.
        LabelsError: polygons cannot be used, or lie elsewhere.
        InputError: the port is taken.
        ReadError: a file is damaged.
        KeyboardInterrupt: Ctrl-C, the way it ends.
    """
    with open_atlas(sources) as atlas:
        _warn_of_slow(atlas, progress)
        tally = None if atlas.mask is None else count_some(atlas.mask)
        tiles = Tiles(atlas, document(atlas, tally=tally))
        try:
            server = MapServer(tiles, port=port, fail=progress.warn)
        except OSError as error:
            raise InputError(f"port {port} cannot be used: {error.strerror}; choose another one") from error
        with server:
            ready(server.url)
            server.serve_forever(poll_interval=0.2)


def _warn_of_slow(atlas: Atlas, progress: Progress) -> None:
    height, width = atlas.pyramid.shape
    if height * width < LARGE_PX:
        return
    files = []
    if atlas.image is not None:
        files.append(("scene", atlas.image.scene.overviews, atlas.image.scene.shown))
    if atlas.mask is not None:
        files.append(("mask", atlas.mask.mask.overviews, str(atlas.mask.mask.path)))
    for what, overviews, path in files:
        if not overviews:
            progress.note(
                f"{what} {path} has no overviews, so far-off views are slow; gdaladdo -r average makes some"
            )
