"""Facts of ONNX files, as ``geoseg export`` writes them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from geoseg import strict_json
from geoseg.errors import ModelError
from geoseg.facts.common import Facts, class_rows, file_mb
from geoseg.models.card import CARD_KEY, ModelCard

SUFFIX = ".onnx"
MAX_BYTES = 2**31
"""What protobuf, in which ONNX files are written, goes up to."""

_MAX_TEXT = 200


def onnx_facts(path: Path) -> Facts:
    """What an ONNX file says of itself; nothing is computed with it.

    Raises:
        ModelError: the package onnx is missing, or the file is no ONNX file.
    """
    if importlib.util.find_spec("onnx") is None:
        raise ModelError(f"{path} is an ONNX file, which needs onnx to look into; pip install 'geoseg[onnx]'")
    if path.stat().st_size >= MAX_BYTES:
        raise ModelError(f"{path} is larger than an ONNX file can be; give one that geoseg export made")
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        proto = onnx.load_model_from_string(path.read_bytes())
        inputs = [_tensor(value) for value in proto.graph.input]
        outputs = [_tensor(value) for value in proto.graph.output]
    except (DecodeError, ValueError, RecursionError) as error:
        raise ModelError(f"{path} is no ONNX file, or a damaged one; export the model again") from error
    told = {_text(entry.key): _text(entry.value) for entry in proto.metadata_props}
    if not inputs:
        raise ModelError(f"{path} is no ONNX file, or a damaged one; export the model again")
    return {
        "kind": "onnx",
        "path": str(path),
        "file_mb": file_mb(path),
        "made_by": f"{_text(proto.producer_name)} {_text(proto.producer_version)}".strip()[:_MAX_TEXT]
        or None,
        "opset": max(
            (entry.version for entry in proto.opset_import if entry.domain in {"", "ai.onnx"}), default=None
        ),
        "ir_version": proto.ir_version,
        "inputs": inputs,
        "outputs": outputs,
        **_card_facts(told, path),
        "metadata": {
            key[:_MAX_TEXT]: _value(value) for key, value in sorted(told.items()) if key != CARD_KEY
        },
    }


def _tensor(value: Any) -> Facts:
    """Name and shape of what goes in or comes out; a side that is left open is -1."""
    sides = value.type.tensor_type.shape.dim
    return {
        "name": _text(value.name)[:_MAX_TEXT],
        "shape": [side.dim_value if side.HasField("dim_value") else -1 for side in sides],
    }


def _card_facts(told: dict[str, str], path: Path) -> Facts:
    """What the model's card tells, which geoseg puts into the file; nothing of a file of another program."""
    if CARD_KEY not in told:
        return {"architecture": None, "classes": None, "bands": None, "gsd_m": None, "chip_size_px": None}
    try:
        card = ModelCard.from_json(strict_json.loads(told[CARD_KEY]))
    except (ValueError, TypeError) as error:
        raise ModelError(f"{path}: model card is no sound JSON; export the model again") from error
    except ModelError as error:
        raise ModelError(f"{path}: {error}; export the model again") from error
    size = _value(told.get("tile_size", "null"))
    return {
        "architecture": card.architecture.architecture,
        "classes": class_rows(card.classes),
        "bands": list(card.band_names),
        "dtype": card.dtype,
        "gsd_m": card.gsd_m,
        "chip_size_px": size if isinstance(size, int) else None,
        "trained_with": {"geoseg": card.geoseg_version, "torch": card.torch_version},
    }


def _text(value: str | bytes) -> str:
    """Text of the file; protobuf gives bytes where it is no UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _value(text: str) -> Any:
    """A value of the metadata: JSON where it is, else text."""
    try:
        return strict_json.loads(text) if len(text) <= 100_000 else text[:_MAX_TEXT]
    except ValueError:
        return text[:_MAX_TEXT]
