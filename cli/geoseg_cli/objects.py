"""``geoseg predict`` and ``geoseg merge`` where the model detects objects: polygons instead of a mask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoseg.errors import GeosegError, InputError
from geoseg.raster.remote import file_name
from geoseg_cli import report, terminal

if TYPE_CHECKING:
    from geoseg.merge_objects import MergeObjectsReport
    from geoseg.predict_objects import PredictManyObjectsReport, PredictObjectsReport


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
    progress: Any,
    **common: Any,
) -> None:
    """Detect objects and tell of it."""
    from geoseg.predict_objects import predict_many_objects, predict_objects

    common |= {"ids": ids, "mask": mask, "qml": qml, "progress": progress}
    if not many:
        done = predict_objects(scenes[0], output, **common)
        progress.end()
        show(talk, done)
        return
    all_done = predict_many_objects(scenes, output, **common)
    progress.end()
    show_many(talk, all_done)
    if all_done.failed:
        raise GeosegError(f"{len(all_done.failed)} of {len(scenes)} scenes failed; see the warnings above")


def show(talk: report.Talk, done: PredictObjectsReport | MergeObjectsReport) -> None:
    """What ``predict`` or ``merge`` made of objects."""
    further = [f"wrote {path}" for path in (done.ids, done.mask, done.style) if path]
    talk.show(
        done.to_json(),
        table={"objects": done.objects, "area m2": done.area_m2},
        lines=[
            *further,
            f"wrote {done.output} ({sum(done.objects.values()):,} objects of {done.detections:,} detections) "
            f"in {terminal.clock(done.seconds)}",
        ],
        then=["view", done.output],
    )


def show_many(talk: report.Talk, done: PredictManyObjectsReport) -> None:
    """What ``predict`` made of several scenes."""
    counts = {file_name(each.scene): each.objects for each in done.done}
    names = dict.fromkeys(name for found in counts.values() for name in found)
    before = f", {len(done.skipped)} were there" if done.skipped else ""
    talk.show(
        done.to_json(),
        table={name: {scene: found.get(name) for scene, found in counts.items()} for name in names},
        first="scene",
        lines=[f"wrote {len(done.done)} layers to {done.output}{before} in {terminal.clock(done.seconds)}"],
    )
