"""One prediction against the first of several."""

from __future__ import annotations

from dataclasses import dataclass

from geoseg.raster.geobox import GeoBox
from geoseg.scoring.layers import Scored
from geoseg.scoring.objects import paired_f1
from geoseg.scoring.pixels import Table, paired_intervals
from geoseg.scoring.report import Difference, EvaluateReport


@dataclass(frozen=True, kw_only=True)
class OfMask:
    """A mask scored, and what a comparison with another needs of it.

    Attributes:
        report: its scores.
        blocks: counts of pixels by block of land.
        geobox: its grid.
        scored: its objects, when asked for.
    """

    report: EvaluateReport
    blocks: Table
    geobox: GeoBox
    scored: Scored | None


def difference(one: OfMask | Scored, first: OfMask | Scored) -> Difference:
    """How much better a prediction is than the first one."""
    miou = boundary = f1 = None
    miou_interval = boundary_interval = f1_interval = None
    if isinstance(one, OfMask) and isinstance(first, OfMask):
        miou = one.report.miou - first.report.miou
        boundary = one.report.mean_boundary_iou - first.report.mean_boundary_iou
        if one.geobox.same_grid(first.geobox):
            miou_interval, boundary_interval = paired_intervals(one.blocks, first.blocks)
    here, there = (each.scored if isinstance(each, OfMask) else each for each in (one, first))
    if here is not None and there is not None:
        f1 = here.report.all.f1 - there.report.all.f1
        f1_interval = paired_f1(here.found, there.found)
    return Difference(
        miou=miou,
        miou_interval=miou_interval,
        mean_boundary_iou=boundary,
        mean_boundary_iou_interval=boundary_interval,
        object_f1=f1,
        object_f1_interval=f1_interval,
    )
