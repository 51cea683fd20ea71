"""A result as one file to look at and to mail: scene, mask and polygons over each other, and scores."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoseg.errors import OutputError
from geoseg.mapview import facts, scores
from geoseg.mapview.atlas import Sources, open_atlas
from geoseg.mapview.bundle import bundle
from geoseg.mapview.document import document
from geoseg.mapview.scores import Scored
from geoseg.mapview.tally import count_all
from geoseg.models.card import find_model, read_card
from geoseg.outputs import check_output, staged_file
from geoseg.page.markup import Html, el
from geoseg.page.page import Section
from geoseg.progress import SILENT, Progress
from geoseg.raster.remote import shown

SUFFIXES = (".html", ".htm")


@dataclass(frozen=True, kw_only=True)
class PageReport:
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

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "output": shown(self.output),
            "size_bytes": self.size_bytes,
            "polygons": self.polygons,
            "notes": list(self.notes),
            "seconds": self.seconds,
        }


def report(
    sources: Sources,
    output: Path,
    *,
    model: Path | None = None,
    scored: Scored | None = None,
    more_scores: Html | None = None,
    command: str | None = None,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> PageReport:
    """Write a page that shows a result, needs no network, and stays below 10 MB whatever the scene.

    Scene, mask and uncertainty are in it as tiles of as many levels as fit; polygons simplified, the largest
    if they are too many. The page says what it leaves out. The same inputs make the same bytes.

    Args:
        sources: what is shown.
        output: ``.html``.
        model: a run folder or model file that made the mask, for its facts.
        scored: scores of the mask, such as :func:`geoseg.evaluate.evaluate` finds.
        more_scores: further tables below them.
        command: what was typed; left out when not given.
        overwrite: replace an existing output.
        progress: told what is being done.

    Raises:
        SceneError: a raster cannot be used, or not over this scene.
        LabelsError: polygons cannot be used, or lie elsewhere.
        ModelError: there is no such model.
        OutputError: the output is no ``.html``, exists, or is an input.
        ReadError: a file is damaged.
    """
    started = time.monotonic()
    if output.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{output} is no page; name it .html")
    check_output(output, overwrite=overwrite, inputs=sources.files())
    made_of = None if model is None else find_model(model)
    card = None if made_of is None else read_card(made_of)
    with open_atlas(sources) as atlas:
        tally = None if atlas.mask is None else count_all(atlas.mask, progress)
        drawn = bundle(atlas, progress)
        sections = [Section(name="scores", title="Scores", content=scores.section(scored, more_scores))]
        if made_of is not None and card is not None:
            by = None if atlas.mask is None else atlas.mask.made_by()
            sections.append(Section(name="model", title="Model", content=facts.model(made_of, card, by)))
        if command is not None:
            sections.append(Section(name="command", title="Command", content=el("pre", command)))
        text = document(atlas, tally=tally, bundled=drawn, sections=sections)
    with staged_file(output) as staged:
        staged.write_text(text, encoding="utf-8", newline="\n")
    return PageReport(
        output=output,
        size_bytes=output.stat().st_size,
        polygons=_polygons(drawn.vectors),
        notes=tuple(drawn.notes),
        seconds=time.monotonic() - started,
    )


def _polygons(vectors: Sequence[dict[str, Any]]) -> int:
    return sum(int(vector["count"]) for vector in vectors)
