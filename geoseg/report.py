"""A result as one file to look at and to mail: scene, mask and polygons over each other, and scores."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from geoseg.json_report import JsonReport
from geoseg.mapview import facts, scores
from geoseg.mapview.atlas import Atlas, Sources, open_atlas
from geoseg.mapview.bundle import Bundle, bundle
from geoseg.mapview.document import document, without_map
from geoseg.mapview.ran import Ran
from geoseg.mapview.ran import section as ran_section
from geoseg.mapview.scores import Scored
from geoseg.mapview.tally import count_all
from geoseg.models.card import ModelCard, find_model, read_card
from geoseg.outputs import staged_file
from geoseg.page.markup import Html, el
from geoseg.page.output import check_page
from geoseg.page.page import Section
from geoseg.progress import SILENT, Progress


@dataclass(frozen=True, kw_only=True)
class PageReport(JsonReport):
    """What :func:`report` made.

    Attributes:
        output: the page.
        size_bytes: its size.
        polygons: polygons in it.
        notes: what was left out or simplified to keep it small.
        seconds: wall time.
    """

    output: Path
    size_bytes: int
    polygons: int
    notes: tuple[str, ...]
    seconds: float


def report(
    sources: Sources,
    output: Path,
    *,
    model: Path | None = None,
    scored: Scored | None = None,
    more_scores: Html | None = None,
    ran: Ran | None = None,
    title: str | None = None,
    command: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> PageReport:
    """Write a page that shows a result, needs no network, and stays below 10 MB whatever the scene.

    Scene, mask and uncertainty are in it as tiles of as many levels as fit; polygons simplified, the largest
    if they are too many. The page says what it leaves out. The same inputs make the same bytes. Without a
    scene the map is of the mask; without either there is no map.

    Args:
        sources: what is shown.
        output: ``.html``.
        model: a run folder or model file that made the mask, for its facts.
        scored: scores of the mask, such as :func:`geoseg.evaluate.evaluate` finds.
        more_scores: further tables below them.
        ran: what it took to make the mask, such as :func:`geoseg.predict.predict` tells.
        title: of the page; the name of the scene, else of the mask, when not given.
        command: what was typed; left out when not given.
        overwrite: replace an existing output.
        progress: told what is being done.

    Raises:
        SceneError: a raster cannot be used, or not over this scene.
        LabelsError: polygons cannot be used, or lie elsewhere.
        ModelError: there is no such model.
        OutputError: the output is no ``.html``, exists, or is an input.
        ReadError: a file is damaged, or a raster was written to meanwhile.
    """
    started = time.monotonic()
    check_page(output, overwrite=overwrite, inputs=sources.files())
    made_of = None if model is None else find_model(model)
    card = None if made_of is None else read_card(made_of)
    sections = [Section(name="scores", title="Scores", content=scores.section(scored, more_scores))]
    told = [
        Section(name="run", title="Run", content=None if ran is None else ran_section(ran)),
        Section(name="command", title="Command", content=None if command is None else el("pre", command)),
    ]
    if sources.base is None:
        if made_of is not None and card is not None:
            sections.append(_model(made_of, card, None))
        text = without_map(title or output.stem, [*sections, *told])
        return _written(text, output, None, started)
    with open_atlas(sources, None if card is None else card.classes) as atlas:
        tally = None if atlas.mask is None else count_all(atlas.mask, progress)
        drawn = bundle(atlas, progress)
        atlas.check_unchanged()
        if made_of is not None and card is not None:
            sections.append(_model(made_of, card, None if atlas.mask is None else atlas.mask.made_by()))
        text = document(atlas, tally=tally, bundled=drawn, sections=[*sections, *told], title=title)
        return _written(text, output, atlas, started, drawn)


def _model(path: Path, card: ModelCard, made_by: str | None) -> Section:
    return Section(name="model", title="Model", content=facts.model(path, card, made_by))


def _written(
    text: str, output: Path, atlas: Atlas | None, started: float, drawn: Bundle | None = None
) -> PageReport:
    with staged_file(output) as staged:
        staged.write_text(text, encoding="utf-8", newline="\n")
    return PageReport(
        output=output,
        size_bytes=output.stat().st_size,
        polygons=0 if drawn is None else sum(int(vector["count"]) for vector in drawn.vectors),
        notes=(*(drawn.notes if drawn else ()), *(atlas.notes if atlas else ())),
        seconds=time.monotonic() - started,
    )
