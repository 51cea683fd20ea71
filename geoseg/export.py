"""Model to what others can use: an ONNX file for QGIS and other runtimes, a STAC Item for catalogues."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from geoseg.errors import ConfigError, InputError, OutputError
from geoseg.json_report import JsonReport
from geoseg.models.card import ModelCard, find_model, read_card
from geoseg.models.mlm import model_item
from geoseg.outputs import check_output, staged_file
from geoseg.progress import SILENT, Progress

SIZE_STEP_PX = 32
"""Sides of chips are multiples of this: of the areas that the refinement is capped in."""
SIZE_RANGE_PX = (64, 4096)


@dataclass(frozen=True, kw_only=True)
class ExportReport(JsonReport):
    """What :func:`export` did.

    Attributes:
        model: the model file.
        onnx: the ONNX file, if asked for.
        card: the STAC Item, if asked for.
        classes: class names; the position is the class id.
        size_px: side of the chips the ONNX file takes.
        refine: whether the ONNX file refines.
        gsd_m: side of a pixel the model learned from in metres; ``None`` when it is not known.
        onnx_bytes: size of the ONNX file.
        agreement: share of the pixels of a made-up chip to which onnxruntime and torch give one class.
        seconds: wall time.
    """

    model: Path
    onnx: Path | None
    card: Path | None
    classes: tuple[str, ...]
    size_px: int
    refine: bool
    gsd_m: float | None
    onnx_bytes: int | None
    agreement: float | None
    seconds: float


def export(
    model: Path | None,
    *,
    onnx: Path | None = None,
    card: Path | None = None,
    size_px: int | None = None,
    refine: bool = True,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> ExportReport:
    """Write a model as ONNX, as a STAC Item, or as both.

    Args:
        model: a run folder or a model file; the newest finished run under ``./runs`` when not given, else
            the model that comes with geoseg.
        onnx: where to write the model as ONNX; see :mod:`geoseg.models.onnx`.
        card: where to write the STAC Item; see :mod:`geoseg.models.mlm`. It lists the ONNX file too when
            both are written.
        size_px: side of the chips the ONNX file takes, a multiple of 32; the model's own when not given.
        refine: refine in the ONNX file as ``predict`` does; else it upsamples the coarse map.
        overwrite: replace existing outputs.
        progress: told what is going on.

    Raises:
        InputError: nothing to write, or a package is missing.
        ConfigError: ``size_px`` cannot be.
        ModelError: there is no such model, or it is damaged.
        OutputError: an output exists, is an input, or has another suffix.
        WriteError: onnxruntime does not compute what torch does.
    """
    started = time.monotonic()
    path = find_model(model)
    _check_outputs(path, onnx, card, overwrite=overwrite)
    facts = read_card(path)
    size_px = _size(facts, size_px)
    size_bytes = agreement = None
    progress.note(f"model {path}")
    if onnx is not None:
        from geoseg.models.onnx import check_onnx_installed

        check_onnx_installed()
        _tell(facts, progress)

        from geoseg.models.checkpoint import load_model
        from geoseg.models.onnx import write_onnx

        network, _ = load_model(path)
        made = write_onnx(onnx, network, facts, size_px=size_px, refine=refine)
        size_bytes, agreement = made.size_bytes, made.agreement
    if card is not None:
        item = model_item(path, beside=card, onnx=onnx, size_px=size_px)
        with staged_file(card) as staged:
            text = json.dumps(item, indent=2, ensure_ascii=False, allow_nan=False)
            staged.write_text(text + "\n", encoding="utf-8")
    return ExportReport(
        model=path,
        onnx=onnx,
        card=card,
        classes=facts.classes.names,
        size_px=size_px,
        refine=refine,
        gsd_m=facts.gsd_m,
        onnx_bytes=size_bytes,
        agreement=agreement,
        seconds=time.monotonic() - started,
    )


def _tell(card: ModelCard, progress: Progress) -> None:
    """What a user of the ONNX file has to know."""
    progress.note("writing ONNX, which takes some ten seconds")
    if card.gsd_m is None:
        progress.warn("the model does not know its pixel size; set the resolution in QGIS yourself")
    if card.dtype != "uint8":
        progress.warn(
            f"the model takes {card.dtype}, and Deepness in QGIS is made for 8 bits; compare its masks"
        )


def _check_outputs(model: Path, onnx: Path | None, card: Path | None, *, overwrite: bool) -> None:
    if onnx is None and card is None:
        raise InputError("nothing to write; name an output: --onnx FILE, --card FILE or both")
    for output, option, suffixes in ((onnx, "--onnx", (".onnx",)), (card, "--card", (".json", ".geojson"))):
        if output is None:
            continue
        if output.suffix.lower() not in suffixes:
            raise OutputError(f"{option} {output} does not end in {suffixes[0]}; name it so")
        check_output(output, overwrite=overwrite, inputs=[model])


def _size(card: ModelCard, size_px: int | None) -> int:
    """The side of the chips: the one given, or the model's own, made longer to the next possible one."""
    if size_px is None:
        return max(SIZE_RANGE_PX[0], -(-card.size_px // SIZE_STEP_PX) * SIZE_STEP_PX)
    least, most = SIZE_RANGE_PX
    if not least <= size_px <= most or size_px % SIZE_STEP_PX:
        raise ConfigError(f"--size {size_px}: give a multiple of {SIZE_STEP_PX} from {least} to {most}")
    return size_px
