"""How loud to be, and how the report of a stage looks when it is done."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.raster.remote import file_name, shown
from geoseg_cli import terminal
from geoseg_cli.progress import TerminalProgress

if TYPE_CHECKING:
    from geoseg.demo import DemoReport
    from geoseg.demo_objects import DemoObjectsReport
    from geoseg.estimate import Estimate
    from geoseg.export import ExportReport
    from geoseg.merge import MergeReport
    from geoseg.predict import PredictManyReport, PredictReport
    from geoseg.report import PageReport
    from geoseg.seams import SeamsReport
    from geoseg.shard import ShardReport
    from geoseg.tile import TileReport
    from geoseg.train import TrainReport
    from geoseg.vectorize import VectorizeReport

Columns = Mapping[str, Mapping[str, Any] | None]


@dataclass(frozen=True, kw_only=True)
class Talk:
    """What the user wants to see.

    Attributes:
        quiet: nothing but warnings and errors.
        verbose: how often ``-v`` was given.
        json: one JSON object on stdout instead of tables.
        debug: tracebacks.
        words: what was typed after ``geoseg``.
        missing: pages that were asked for and could not be written, and why.
    """

    quiet: bool = False
    verbose: int = 0
    json: bool = False
    debug: bool = False
    words: tuple[str, ...] = ()
    missing: list[str] = field(default_factory=list)

    def progress(self) -> TerminalProgress:
        """Where a stage tells what it is doing."""
        return TerminalProgress(quiet=self.quiet or self.json)

    def show(
        self,
        values: Mapping[str, Any],
        *,
        lines: Sequence[str],
        table: Columns | None = None,
        first: str = "class",
        then: Sequence[str | Path] = (),
    ) -> None:
        """Print the report of a stage.

        Args:
            values: everything, for ``--json``.
            lines: what was made, for people.
            table: columns of the table above them, each a mapping from row name to value.
            first: header of the row names.
            then: the command to type next.
        """
        if self.json:
            terminal.emit_json(values)
            return
        if self.quiet:
            return
        if table:
            print_table(table, first=first)
        for line in lines:
            terminal.say(line)
        if then:
            terminal.say("next: " + command(*then))


def print_table(columns: Columns, *, first: str = "class", stderr: bool = True) -> None:
    """Print a table; columns that are ``None`` are left out, cells that are missing stay empty."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    shown = {name: cells for name, cells in columns.items() if cells is not None}
    rows = dict.fromkeys(row for cells in shown.values() for row in cells)
    if not rows:
        return
    # Text, not markup: a class may be called [red].
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(Text(terminal.one_line(first)), overflow="fold")
    for name in shown:
        table.add_column(Text(terminal.one_line(name)), justify="right", overflow="fold")
    for row in rows:
        cells = [Text(number(values.get(row))) for values in shown.values()]
        table.add_row(Text(terminal.one_line(str(row))), *cells)
    terminal.console(stderr=stderr).print(table)


def number(value: Any) -> str:
    """A value for people: thousands apart, four digits, ``-`` for nothing."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if math.isnan(value):
            return "-"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return terminal.one_line(str(value))


def shares(counts: Mapping[str, int]) -> dict[str, str]:
    """Counts as percent of their sum."""
    total = sum(counts.values())
    return {name: f"{count / total:.1%}" if total else "-" for name, count in counts.items()}


def command(*words: str | Path) -> str:
    """A ``geoseg`` command that can be pasted into a shell."""
    return " ".join(["geoseg", *map(_quoted, words)])


def _quoted(word: str | Path) -> str:
    """A word for a shell; a path never looks like an option."""
    dashed = isinstance(word, Path) and str(word).startswith("-")
    return shlex.quote(f"./{word}" if dashed else str(word))


def show_tile(talk: Talk, done: TileReport) -> None:
    """What ``tile`` made."""
    by_split = {"chips": done.chips, **_transposed(done.class_pixels)}
    rule = "whole scenes" if done.block_px is None else f"blocks of {done.block_px} px"
    talk.show(
        done.to_json(),
        table=by_split if done.objects is None else _by_class(done, done.objects),
        first="split" if done.objects is None else "class",
        lines=[
            *([] if done.annotations is None else [_wrote_annotations(done)]),
            f"wrote {sum(done.chips.values()):,} chips to {done.output} in {terminal.clock(done.seconds)}, "
            f"split by {rule}",
        ],
        then=["train", "--tiles", done.output],
    )


def _wrote_annotations(done: TileReport) -> str:
    return f"wrote {done.annotations:,} COCO annotations to {done.output / 'annotations'}"


def _by_class(done: TileReport, objects: Mapping[str, Mapping[str, int]]) -> Columns:
    """Pixels and objects of the classes, which may be many; objects no chip shows whole in one column."""
    splits = [split for split, chips in done.chips.items() if chips]
    clipped: Counter[str] = Counter()
    for counts in (done.clipped_objects or {}).values():
        clipped.update(counts)
    return {
        **{f"{split} px": done.class_pixels[split] for split in splits},
        **{f"{split} objects": objects[split] for split in splits},
        "never whole": clipped,
    }


def _transposed(values: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    inner = dict.fromkeys(name for row in values.values() for name in row)
    return {f"{name} px": {outer: row.get(name, 0) for outer, row in values.items()} for name in inner}


def show_train(talk: Talk, done: TrainReport) -> None:
    """What ``train`` made."""
    best = "the last epoch" if done.best_epoch is None else f"epoch {done.best_epoch} of {done.epochs}"
    named = {"mIoU": done.best_miou, "AP": done.best_ap}
    score = "".join(f", validation {name} {value:.4f}" for name, value in named.items() if value is not None)
    table = {"validation IoU": done.best_iou, "validation AP": done.best_class_ap}
    talk.show(
        done.to_json(),
        table={title: scores for title, scores in table.items() if scores} or None,
        lines=[
            *([f"wrote {done.report}, to look at in a browser"] if done.report is not None else []),
            f"wrote {done.model} ({best}{score}) in {terminal.clock(done.seconds)} on {done.device}",
        ],
        then=[
            *("predict", "scene.tif", "-o", "objects.gpkg" if done.task == "instance" else "mask.tif"),
            *("--model", done.run),
        ],
    )


def show_predict(talk: Talk, done: PredictReport, page: PageReport | None = None) -> None:
    """What ``predict`` made, and the page about it."""
    height, width = done.shape
    nodata = f", {done.nodata_pixels:,} px nodata" if done.nodata_pixels else ""
    further = [f"wrote {path}" for path in (done.probabilities, done.uncertainty, done.style) if path]
    talk.show(
        done.to_json() | {"report": None if page is None else str(page.output)},
        table={"pixels": done.class_pixels, "share": shares(done.class_pixels)},
        lines=[
            *further,
            *page_lines(page),
            f"wrote {done.output} ({width} x {height} px{nodata}) in {terminal.clock(done.seconds)}",
        ],
        then=["vectorize", done.output, "-o", done.output.with_suffix(".gpkg")],
    )


def page_lines(page: PageReport | None) -> list[str]:
    """What is told of a page."""
    if page is None:
        return []
    return [*page.notes, f"wrote {page.output} ({megabytes(page.size_bytes)}), to look at in a browser"]


def show_shard(talk: Talk, done: ShardReport) -> None:
    """What ``predict --shard`` made."""
    mask = _quoted(done.mask)
    talk.show(
        done.to_json(),
        lines=[
            f"wrote {done.output} ({done.blocks} of {done.all_blocks} blocks) "
            f"in {terminal.clock(done.seconds)}",
            f"next, when all {done.count} shards are there: "
            f"geoseg merge {mask}.shard-*-of-{done.count} -o {mask}",
        ],
    )


def show_export(talk: Talk, done: ExportReport) -> None:
    """What ``export`` made."""
    lines = []
    if done.onnx is not None and done.onnx_bytes is not None:
        ground = "" if done.gsd_m is None else f" of {done.gsd_m * 100:.4g} cm"
        lines.append(
            f"wrote {done.onnx} ({done.onnx_bytes / 1e6:.0f} MB, chips of {done.size_px} x {done.size_px} px"
            f"{ground}, {'refined' if done.refine else 'coarse'}) in {terminal.clock(done.seconds)}"
        )
    if done.card is not None:
        lines.append(f"wrote {done.card}")
    talk.show(done.to_json(), lines=lines)


def show_merge(talk: Talk, done: MergeReport) -> None:
    """What ``merge`` made."""
    height, width = done.shape
    nodata = f", {done.nodata_pixels:,} px nodata" if done.nodata_pixels else ""
    further = [f"wrote {path}" for path in (done.probabilities, done.uncertainty, done.style) if path]
    talk.show(
        done.to_json(),
        table={"pixels": done.class_pixels, "share": shares(done.class_pixels)},
        lines=[
            *further,
            f"wrote {done.output} ({width} x {height} px{nodata}, {done.shards} shards) "
            f"in {terminal.clock(done.seconds)}",
        ],
        then=["vectorize", done.output, "-o", done.output.with_suffix(".gpkg")],
    )


def show_predict_many(talk: Talk, done: PredictManyReport, pages: Path | None = None) -> None:
    """What ``predict`` made of several scenes, and the folder of their pages."""
    counts: dict[str, Counter[str]] = {}
    for report in done.done:
        counts[file_name(report.scene)] = Counter(report.class_pixels)
    names = dict.fromkeys(name for found in counts.values() for name in found)
    before = f", {len(done.skipped)} were there" if done.skipped else ""
    talk.show(
        done.to_json() | {"reports": None if pages is None else str(pages)},
        table={f"{name} px": {scene: found[name] for scene, found in counts.items()} for name in names},
        first="scene",
        lines=[
            *([f"wrote pages to {pages}, to look at in a browser"] if pages is not None else []),
            f"wrote {len(done.done)} masks to {done.output}{before} in {terminal.clock(done.seconds)}",
        ],
    )


def show_estimate(talk: Talk, found: Estimate) -> None:
    """What ``predict`` would take."""
    height, width = found.shape
    time = "unknown: no pixel in the scene's middle is valid"
    if found.seconds is not None:
        time = f"about {terminal.clock(found.seconds)}"
    rows = {
        "mask": f"{width:,} x {height:,} px",
        "chips": f"{found.chips:,} of {found.chip_px} px, {found.overlap_px} px overlap",
        "blocks": f"{found.blocks:,} in {found.strips} strips",
        "workers": number(found.workers),
        "time": time,
        "memory": f"{found.memory_mb:,.0f} MB",
        "output": f"about {megabytes(found.output_bytes)}",
        "disk meanwhile": f"{megabytes(found.journal_bytes)}",
    }
    talk.show(
        found.to_json(),
        table={"": rows},
        first="plan",
        lines=[f"{shown(found.scene)} on {found.device}; nothing was written"],
    )


def show_seams(talk: Talk, found: SeamsReport) -> None:
    """Where two grids disagree."""
    lines = [f"wrote {found.output}"] if found.output is not None else []
    near, far = (None if share is None else f"{share:.3%}" for share in (found.near_share, found.far_share))
    talk.show(
        found.to_json(),
        table={
            "pixels": found.pixels,
            "changed": found.changed,
            "share": {
                name: f"{found.changed[name] / count:.3%}" if count else None
                for name, count in found.pixels.items()
            },
        },
        first="distance to a line",
        lines=[
            *lines,
            f"chips moved by {found.shift_px} px change {near or '-'} of the pixels within 16 px of a line "
            f"and {far or '-'} elsewhere",
        ],
    )


def megabytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def show_vectorize(talk: Talk, done: VectorizeReport) -> None:
    """What ``vectorize`` made."""
    talk.show(
        done.to_json(),
        table={"polygons": done.polygons, "area m2": done.area_m2},
        lines=[
            *([f"wrote {done.style}"] if done.style is not None else []),
            f"wrote {done.output} ({sum(done.polygons.values()):,} polygons, {done.vertices:,} vertices) "
            f"in {terminal.clock(done.seconds)}",
        ],
    )


def show_demo(talk: Talk, done: DemoReport) -> None:
    """What ``demo`` made, and what refinement brought."""
    talk.show(
        done.to_json(),
        table={
            "polygons": done.polygon_count,
            "IoU": done.refined.iou,
            "Boundary IoU": done.refined.boundary_iou,
            "without refinement": done.coarse.boundary_iou,
        },
        lines=[
            f"mIoU {number(done.refined.miou)} on land that training never saw "
            f"({number(done.coarse.miou)} without refinement)",
            f"look at {done.report or done.overlay} in a browser, or open {done.polygons} in QGIS",
            f"wrote {done.output} in {terminal.clock(done.seconds)}",
        ],
        then=["info", done.model],
    )


def show_demo_objects(talk: Talk, done: DemoObjectsReport) -> None:
    """What ``demo --task instance`` made, and how well it found the roofs."""
    every, ranked = done.scores.objects.all, done.scores.objects.detections
    assert ranked is not None
    talk.show(
        done.to_json(),
        lines=[
            f"found {done.objects:,} roofs of {every.truth:,} on land that training never saw",
            f"AP50 {number(ranked.all.ap50)} · AP {number(ranked.all.ap)} · F1 {number(every.f1)}",
            f"look at {done.report or done.overlay} in a browser, or open {done.polygons} in QGIS",
            f"wrote {done.output} in {terminal.clock(done.seconds)}",
        ],
        then=["info", done.model],
    )
