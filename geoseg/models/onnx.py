"""A model as an ONNX file that brings its own normalisation and refinement.

The file is made for Deepness, the QGIS plugin (github.com/PUTvision/qgis-plugin-deepness), whose keys its
metadata has, and holds for any onnxruntime from :data:`OLDEST_RUNTIME` on. Deepness feeds pixel values / 255,
subtracts ``standardization_mean`` and divides by ``standardization_std``, which are 0 and 1 here, sets
probabilities below ``seg_thresh`` to 0, which it is, and takes the likeliest class.
"""

from __future__ import annotations

import importlib.util
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geoseg import __version__
from geoseg.errors import InputError, ModelError, WriteError
from geoseg.models.card import CARD_KEY, ModelCard
from geoseg.models.deeplab import PointRendDeepLab
from geoseg.models.graph import FED_UNIT, PixelsToProbabilities
from geoseg.outputs import staged_file

OPSET = 18
IR_VERSION = 8
"""Version of the file format: what opset 18 came with, and no newer than it needs."""
OLDEST_RUNTIME = "1.14"
"""The first onnxruntime that knows opset 18."""

INPUT_NAME, OUTPUT_NAME = "pixels", "probabilities"

_NEEDED = ("onnx", "onnxscript", "onnxruntime")
_OVERLAP_PERCENT = 25
_LEAST_AGREEMENT = 0.999


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """What :func:`write_onnx` made.

    Attributes:
        size_bytes: how large it is.
        agreement: share of the pixels of a made-up chip to which onnxruntime and torch give one class.
    """

    size_bytes: int
    agreement: float


def check_onnx_installed() -> None:
    """Refuse when what writing ONNX needs is not there.

    Raises:
        InputError: it is not.
    """
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise InputError(f"ONNX files need {' and '.join(missing)}; pip install 'geoseg[onnx]'")


def write_onnx(
    path: Path, network: PointRendDeepLab, card: ModelCard, *, size_px: int, refine: bool = True
) -> OnnxFile:
    """Write ``network`` as ONNX, and see that onnxruntime computes with it what torch does.

    Args:
        path: the file to write; an existing one is replaced.
        network: the network, in eval mode, on the CPU.
        card: what its file says about itself; it is put into the metadata too, under ``geoseg``.
        size_px: side of the chips it will take, a multiple of 32.
        refine: with the refinement; else the coarse map is upsampled bilinearly.

    Raises:
        InputError: a package is missing.
        ModelError: torch cannot write this network as ONNX.
        WriteError: onnxruntime computes something else.
    """
    check_onnx_installed()
    whole = PixelsToProbabilities(network, card, size_px=size_px, refine=refine).eval()
    proto = _as_proto(whole, torch.zeros(1, len(card.band_names), size_px, size_px))
    _clean(proto)
    for key, value in metadata(card, size_px).items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value, ensure_ascii=False, allow_nan=False)
    with staged_file(path) as staged:
        staged.write_bytes(proto.SerializeToString())
        agreement = _agreement(staged, whole, made_up_pixels(card, size_px))
        if agreement < _LEAST_AGREEMENT:
            raise WriteError(
                f"onnxruntime gives {1 - agreement:.2%} of the pixels another class than torch does; "
                "try other versions of onnxruntime and torch"
            )
        return OnnxFile(size_bytes=staged.stat().st_size, agreement=agreement)


def metadata(card: ModelCard, size_px: int) -> dict[str, Any]:
    """What Deepness reads, and the card; JSON values.

    ``tile_size`` is the key the plugin reads, ``tiles_size`` the one its documentation tells. Without
    ``resolution`` (centimetres a pixel) the plugin takes what its user sets.
    """
    bands = len(card.band_names)
    return {
        "model_type": "Segmentor",
        "class_names": {str(class_id): name for class_id, name in enumerate(card.classes.names)},
        **({} if card.gsd_m is None else {"resolution": round(card.gsd_m * 100, 6)}),
        "tile_size": size_px,
        "tiles_size": size_px,
        "tiles_overlap": _OVERLAP_PERCENT,
        "standardization_mean": [0.0] * bands,
        "standardization_std": [1.0] * bands,
        "seg_thresh": 0.0,
        "seg_small_segment": 0,
        CARD_KEY: card.to_json(),
    }


def made_up_pixels(card: ModelCard, size_px: int) -> Tensor:
    """Blotches as bright and as varied as what the model was trained on: (1, B, S, S), values / 255."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.randn((1, len(card.band_names), size_px // 16, size_px // 16), generator=draw)
    blotches = torch.nn.functional.interpolate(coarse, size=(size_px, size_px), mode="bicubic")
    mean, scale = (
        torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
        for values in (card.stats.mean, card.stats.scale)
    )
    low, high = (
        torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)
        for values in (card.stats.minimum, card.stats.maximum)
    )
    return (mean + scale * blotches).maximum(low).minimum(high) / FED_UNIT


def _as_proto(whole: nn.Module, example: Tensor) -> Any:
    """The graph of ``whole`` as an ``onnx.ModelProto``."""
    try:
        with _silent(), torch.no_grad():
            program = torch.onnx.export(
                whole,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ModelError(
            f"torch {torch.__version__} cannot write this model as ONNX ({_first_cause(error)}); "
            "update torch, onnx and onnxscript"
        ) from error
    assert program is not None
    return program.model_proto


def _first_cause(error: BaseException) -> str:
    """What went wrong in the first place, in a line: the exporter's own message is a page of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), type(error).__name__)


@contextmanager
def _silent() -> Iterator[None]:
    """No talk of the exporter's own work: deprecations inside of it, and of what it optimised.

    Older releases of onnxscript print the latter, in the middle of the JSON that a program reads.
    """
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _clean(proto: Any) -> None:
    """Keep the computation only: the exporter notes the code of each step, with the paths of this machine."""
    graph = proto.graph
    del graph.value_info[:]
    for parts in ([proto, graph], graph.node, graph.input, graph.output, graph.initializer):
        for part in parts:
            part.ClearField("metadata_props")
            part.ClearField("doc_string")
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version = "geoseg", __version__


def _agreement(path: Path, whole: PixelsToProbabilities, pixels: Tensor) -> float:
    """Share of ``pixels`` to which onnxruntime and torch give one class."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = torch.from_numpy(session.run([OUTPUT_NAME], {INPUT_NAME: pixels.numpy()})[0])
    with torch.inference_mode():
        expected = whole(pixels)
    return float((found.argmax(dim=1) == expected.argmax(dim=1)).double().mean())
