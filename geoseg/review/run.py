"""The report of a training run: one HTML file that explains what came out, and from what."""

from __future__ import annotations

from pathlib import Path

from geoseg import __version__
from geoseg.chips.store import ChipStore
from geoseg.outputs import staged_file
from geoseg.page.markup import Html, Node, el, join
from geoseg.page.page import Section, asset, page
from geoseg.progress import SILENT, Progress
from geoseg.review import epochs, facts, scores
from geoseg.review.source import Source
from geoseg.review.worst import worst_chips

REPORT = "report.html"


def write_run_report(
    run: Path,
    store: ChipStore,
    *,
    command: str | None,
    device: str = "auto",
    progress: Progress = SILENT,
) -> Path:
    """Write ``run/report.html`` from what lies in the run folder, finished or not; an older one is replaced.

    The model, if there is one yet, is run once over the validation chips, or over the training chips when
    there are none. The same inputs make the same bytes.

    Args:
        run: a folder that ``train`` made.
        store: the chips it was trained on.
        command: what was typed to train it; left out when not given.
        device: ``auto``, ``cpu`` or ``cuda[:N]``, where the model runs.
        progress: told about every chip.

    Returns:
        The file.

    Raises:
        ConfigError: no such device.
        ModelError: there is no run at ``run``, or its model is damaged or does not fit the chips.
        ChipsError, ReadError: a chip is damaged.
    """
    run = Path(run)
    source = Source.gather(run, store, command=command, device=device, progress=progress)
    objects = source.task == "instance"
    document = page(
        title=f"Run {run.absolute().name}",
        lead=_lead(source),
        sections=[
            *(_of_objects(source) if objects else _of_pixels(source)),
            Section(name="time", title="Time", content=epochs.timings(source)),
            Section(name="model", title="Model", content=facts.model(source)),
            Section(name="data", title="Data", content=facts.data(source)),
            Section(name="configuration", title="Configuration", content=facts.configuration(source)),
            Section(name="versions", title="Versions", content=facts.versions(source)),
        ],
        foot=f"Written by geoseg {__version__}. This file needs no network and asks for nothing.",
        styles=[asset(__package__, "instances.css")] if objects else [],
        scripts=[asset(__package__, "page.js")],
    )
    with staged_file(run / REPORT) as staged:
        staged.write_text(document, encoding="utf-8", newline="\n")
    return run / REPORT


def _of_pixels(source: Source) -> list[Section]:
    """How good a model is that tells the class of every pixel."""
    return [
        Section(name="figures", title="Figures", content=scores.headline(source)),
        Section(name="curves", title="Curves", content=scores.curves(source)),
        Section(name="classes", title="Classes", content=scores.classes(source)),
        Section(name="refinement", title="Refinement", content=scores.refinement(source)),
        Section(name="chips", title="Chips, worst first", content=worst_chips(source.findings, source.store)),
    ]


def _of_objects(source: Source) -> list[Section]:
    """How good a model is that finds objects."""
    # Only now: what compares objects takes longer to import than the rest of the page.
    from geoseg.review import scores_instances
    from geoseg.review.worst_instances import worst_objects

    return [
        Section(name="figures", title="Figures", content=scores_instances.headline(source)),
        Section(name="curves", title="Curves", content=scores_instances.curves(source)),
        Section(name="classes", title="Classes", content=scores_instances.classes(source)),
        Section(name="refinement", title="Refinement", content=scores_instances.refinement(source)),
        Section(name="chips", title="Chips, worst first", content=worst_objects(source.objects)),
    ]


def _lead(source: Source) -> Html:
    """What the run is, in a line, and what must be known before reading on."""
    store = source.store
    architecture = source.config.model.architecture if source.config else "a run"
    splits = ", ".join(
        f"{len(store.chips(split))} {name}" for split, name in (("train", "training"), ("val", "validation"))
    )
    classes = f"{len(store.classes)} classes"
    if source.task == "instance":
        things = len(store.classes) - 1
        classes = "objects of one class" if things == 1 else f"objects of {things} classes"
    line = f"{architecture}, {classes}, {splits} chips of {store.size_px} px"
    notes: list[Node] = [el("li", note) for note in source.notes()]
    return join(el("p", line, class_="lead"), el("ul", *notes, class_="notes") if notes else None)
