"""``geoseg predict`` and ``geoseg merge`` where the model detects objects: polygons instead of a mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geoseg.errors import InputError
from geoseg.raster.remote import file_name, is_remote
from geoseg_cli import pages, report, terminal
from geoseg_cli.options import OUTPUT, setting

if TYPE_CHECKING:
    from geoseg.merge_objects import MergeObjectsReport
    from geoseg.predict_objects import PredictManyObjectsReport, PredictObjectsReport
    from geoseg.report import PageReport

Ids = Annotated[
    Path | None,
    typer.Option(
        "--ids",
        help="Also write which object each pixel is of: int32, 0 where there is none. Objects only.",
        rich_help_panel=OUTPUT,
    ),
]
ClassMask = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        help="Also write a mask of the classes of objects. Objects only.",
        rich_help_panel=OUTPUT,
    ),
]
MinVisible = Annotated[
    float | None,
    setting(
        "PredictConfig.min_visible",
        "--min-visible",
        help="Leave out objects that keep less of their pixels beside surer ones, 0 to 1. Objects only.",
        panel=OUTPUT,
    ),
]
Simplify = Annotated[
    float | None,
    setting(
        "PredictConfig.simplify_px",
        "--simplify",
        help="How far in pixels lines of objects may move; 0 keeps the pixel edges. Objects only.",
        panel=OUTPUT,
    ),
]


def detects_objects(model: Path | None) -> bool:
    """Whether the model that ``--model`` means detects objects.

    Raises:
        ModelError: there is no such model, or it is damaged.
    """
    from geoseg.models.card import find_model, read_card

    return read_card(find_model(model)).task == "instance"


def check_options(*, objects: bool, for_pixels: dict[str, Any], for_objects: dict[str, Any]) -> None:
    """Refuse options that the model has no use for; those that configure it are looked at by the library.

    Args:
        objects: whether the model detects objects.
        for_pixels: values of options that apply to other models.
        for_objects: values of options that apply to such models.

    Raises:
        InputError: one is given.
    """
    idle, what = (for_pixels, "detects objects") if objects else (for_objects, "tells classes of pixels")
    for flag, value in idle.items():
        if value:
            raise InputError(f"{flag} does not apply to a model that {what}; leave it out")


def predict(
    talk: report.Talk,
    scenes: Sequence[Path],
    output: Path,
    *,
    many: bool,
    ids: Path | None,
    mask: Path | None,
    qml: bool,
    page: Path | None,
    pages_at: dict[Path, Path],
    progress: Any,
    **common: Any,
) -> None:
    """Detect objects and tell of it.

    Args:
        talk: knows how.
        scenes: where to look.
        output: the layer, or a folder of them.
        many: whether it is a folder.
        ids: where to write their raster of ids, or a folder.
        mask: where to write their mask, or a folder.
        qml: also write styles.
        page: the folder of the pages of several scenes.
        pages_at: the page of each scene, if asked for.
        progress: told what is being done.
        common: as for :func:`geoseg.predict_objects.predict_objects`.
    """
    from geoseg.predict_objects import predict_many_objects, predict_objects

    common |= {"ids": ids, "mask": mask, "qml": qml, "progress": progress}
    if not many:
        done = predict_objects(scenes[0], output, **common)
        progress.end()
        written = pages.write_prediction(
            talk, done, pages_at.get(scenes[0]), progress, overwrite=common["overwrite"]
        )
        show(talk, done, page=written)
        pages.insist(talk)
        return
    all_done = predict_many_objects(scenes, output, **common)
    progress.end()
    for each in all_done.done:
        pages.write_prediction(talk, each, pages_at.get(each.scene), progress, overwrite=common["overwrite"])
    show_many(talk, all_done, pages=page)
    pages.insist(talk, failed=len(all_done.failed), scenes=len(scenes))


def show(
    talk: report.Talk, done: PredictObjectsReport | MergeObjectsReport, *, page: PageReport | None = None
) -> None:
    """What ``predict`` or ``merge`` made of objects, and the page about it."""
    scene: Path | None = getattr(done, "scene", None)
    further = [f"wrote {path}" for path in (done.ids, done.mask, done.style) if path]
    talk.show(
        done.to_json() | ({"report": str(page.output)} if page else {}),
        table={"objects": done.objects, "area m2": done.area_m2},
        lines=[
            *further,
            *report.page_lines(page),
            f"wrote {done.output} ({sum(done.objects.values()):,} objects of {done.detections:,} detections) "
            f"in {terminal.clock(done.seconds)}",
        ],
        then=() if scene is None or is_remote(scene) else ["view", scene, done.output],
    )


def show_many(talk: report.Talk, done: PredictManyObjectsReport, *, pages: Path | None) -> None:
    """What ``predict`` made of several scenes, and the folder of their pages."""
    counts = {file_name(each.scene): each.objects for each in done.done}
    names = dict.fromkeys(name for found in counts.values() for name in found)
    before = f", {len(done.skipped)} were there" if done.skipped else ""
    talk.show(
        done.to_json() | {"reports": None if pages is None else str(pages)},
        table={name: {scene: found.get(name) for scene, found in counts.items()} for name in names},
        first="scene",
        lines=[
            *([f"wrote pages to {pages}, to look at in a browser"] if pages is not None else []),
            f"wrote {len(done.done)} layers to {done.output}{before} in {terminal.clock(done.seconds)}",
        ],
    )
