"""Renders what is missing in a journal: in this process, or on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from geoseg.progress import Progress
from geoseg.render.blocks import Layers
from geoseg.render.journal import Journal
from geoseg.render.memory import strips
from geoseg.render.session import Session

if TYPE_CHECKING:
    from geoseg.render.renderer import Counts


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the work may take; none of it changes a pixel.

    Attributes:
        workers: threads; one for each core when not given. With ``dask="local"`` processes.
        memory_mb: most memory in MB (10^6 bytes): of this process, of all processes that ``dask="local"``
            starts together, or of each worker of another cluster. Half of what is free when not given.
        dask: the address of a dask scheduler whose workers render, or ``local`` to start processes here.
    """

    workers: int | None = None
    memory_mb: float | None = None
    dask: str | None = None


def render_missing(
    session: Session, journal: Journal, todo: list[int], resources: Resources, progress: Progress
) -> tuple[Counts, int]:
    """Render blocks into the journal; returns the chips counted and the threads used.

    Raises:
        InputError: the memory limit is too low, or the cluster cannot be used.
        ReadError: the scene is damaged, or on a server that does not give it or has another one by now.
        WriteError: the disk is full.
    """
    from geoseg.render.renderer import Counts

    if not todo:
        return Counts(), 0
    if resources.dask is not None:
        from geoseg.render.cluster import render_on_cluster

        done = render_on_cluster(session, journal, todo, resources.dask, resources, progress)
    else:
        done = _render_here(session, journal, todo, resources, progress)
    session.scene.check_unchanged()
    return done


def _render_here(
    session: Session, journal: Journal, todo: list[int], resources: Resources, progress: Progress
) -> tuple[Counts, int]:
    from geoseg.render.renderer import render

    def keep(block: int, layers: Layers) -> int:
        # A journal of one scene must not get blocks of what was copied over it meanwhile.
        session.scene.check_not_written()
        return journal.add(block, layers)

    job = session.job()
    division = session.divide(job, memory_mb=resources.memory_mb, workers=resources.workers)
    progress.note(f"workers {division.workers}, memory up to {division.peak_mb:,.0f} MB")
    counts = render(
        job,
        strips(session.blocks, todo, division.blocks_wide),
        keep,
        workers=division.workers,
        progress=progress,
    )
    return counts, division.workers
