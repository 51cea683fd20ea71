"""What a catalogue needs to know of a model: a STAC Item with the Machine Learning Model extension.

Written after STAC 1.1 (github.com/radiantearth/stac-spec), MLM 1.5 (github.com/stac-extensions/mlm) and the
file extension 2.1. A model file does not know where on Earth it learned, so the Item has no geometry, as
GeoJSON allows; who knows the place may add ``geometry`` and ``bbox``. ``datetime`` is when the file was
written. Nothing here imports torch.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import prod
from pathlib import Path
from typing import Any
from urllib.parse import quote

from geoseg.errors import ModelError
from geoseg.models.card import ModelCard, find_model, fingerprint, read_card

STAC_VERSION = "1.1.0"
MLM = "https://stac-extensions.github.io/mlm/v1.5.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"

_TASKS = ["semantic-segmentation"]
_NETWORKS = {
    "deeplabv3_mobilenet_v3_large": "DeepLabV3 + PointRend on MobileNetV3-Large",
    "deeplabv3_resnet50": "DeepLabV3 + PointRend on ResNet-50",
    "deeplabv3_resnet101": "DeepLabV3 + PointRend on ResNet-101",
}
_SEMANTIC_VERSION = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
"""Ends of the names of tensors that are no parameters."""
_LAST_S = 253_402_300_799
"""The end of the year 9999, where Python's calendar ends."""


def model_item(
    model: Path, *, beside: Path, onnx: Path | None = None, size_px: int | None = None
) -> dict[str, Any]:
    """A STAC Item of a model file, JSON-ready.

    Args:
        model: a run folder or a model file.
        beside: the file the Item will be written to; the Item refers to the model relative to it.
        onnx: the same model as ONNX, to be listed too.
        size_px: side of the chips the ONNX file takes.

    Raises:
        ModelError: the file is missing, damaged or no model of geoseg.
    """
    path = find_model(model)
    card = read_card(path)
    if card.task != "semantic":
        raise ModelError(f"model {path} finds objects; write a STAC Item of one that gives pixels a class")
    checksum = fingerprint(path)
    name = _name(path)
    # Clocks are wrong at times, and an Item must have a date.
    written = datetime.fromtimestamp(min(max(int(path.stat().st_mtime), 0), _LAST_S), tz=UTC)
    assets = {"model": _weights(path, card, beside=beside, checksum=checksum)}
    if onnx is not None:
        assets["onnx"] = _onnx(onnx, card, beside=beside, size_px=size_px or card.size_px)
    return {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": [MLM, FILE],
        "id": f"{name}-{checksum[:8]}",
        "geometry": None,
        "properties": {
            "datetime": written.isoformat().replace("+00:00", "Z"),
            "title": f"{name}: {', '.join(card.classes.names)}",
            **({} if card.gsd_m is None else {"gsd": card.gsd_m}),
            "bands": _bands(card),
            "mlm:name": name,
            "mlm:architecture": _NETWORKS[card.architecture.architecture],
            "mlm:framework": "PyTorch",
            **_framework_version(card),
            "mlm:tasks": _TASKS,
            "mlm:total_parameters": count_parameters(path),
            **_pretrained(card),
            "mlm:accelerator": None,
            "mlm:accelerator_constrained": False,
            "mlm:input": [_input(card)],
            "mlm:output": [_output(card)],
            "mlm:hyperparameters": _hyperparameters(card),
            **_scores(card),
        },
        "links": [],
        "assets": assets,
    }


def count_parameters(path: Path) -> int:
    """Numbers a training may change, in a model file; only its header is read.

    Raises:
        ModelError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            names = [name for name in tensors.keys() if not name.endswith(_STATISTICS)]  # noqa: SIM118
            return sum(prod(tensors.get_slice(name).get_shape()) for name in names)
    except SafetensorError as error:
        raise ModelError(f"{path} is damaged; copy or train the model again") from error


def _name(path: Path) -> str:
    """A name as MLM wants it: letters, digits, points, dashes; it starts and ends with none of the latter."""
    own = path.parent.absolute().name if path.stem == "model" else path.stem
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", own).strip("_.-")
    return f"geoseg-{plain}" if plain else "geoseg"


def _bands(card: ModelCard) -> list[dict[str, Any]]:
    stats = card.stats
    columns = zip(
        card.band_names, stats.mean, stats.std, stats.minimum, stats.maximum, stats.count, strict=True
    )
    return [
        {
            "name": name,
            "data_type": card.dtype,
            "statistics": {"mean": mean, "stddev": std, "minimum": low, "maximum": high, "count": count},
        }
        for name, mean, std, low, high, count in columns
    ]


def _framework_version(card: ModelCard) -> dict[str, str]:
    if not _SEMANTIC_VERSION.fullmatch(card.torch_version):
        return {}
    return {"mlm:framework_version": card.torch_version}


def _pretrained(card: ModelCard) -> dict[str, Any]:
    """Whether the backbone had learned something before; of a file only the name, not where it lay."""
    source = card.architecture.backbone_weights
    if source is None:
        return {"mlm:pretrained": False, "mlm:pretrained_source": None}
    return {
        "mlm:pretrained": True,
        "mlm:pretrained_source": "ImageNet" if source == "imagenet" else re.split(r"[/\\]", source)[-1],
    }


def _input(card: ModelCard) -> dict[str, Any]:
    stats = card.stats
    means_and_scales = zip(stats.mean, stats.scale, strict=True)
    value = {
        "name": "chip",
        "description": (
            f"A chip of {card.dtype} pixels in the scene's own units, normalised band by band. Its sides may "
            f"have any length; {card.size_px} px is what it learned from. Nodata is 0 after normalising."
        ),
        "bands": list(card.band_names),
        "input": {
            "shape": [-1, len(card.band_names), card.size_px, card.size_px],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "value_scaling": [
            {"type": "z-score", "mean": mean, "stddev": scale} for mean, scale in means_and_scales
        ],
    }
    if stats.limit_std is not None:
        # The same as clipping what was scaled to the limit on either side of 0.
        value["pre_processing_function"] = {
            "format": "python",
            "expression": (
                f"numpy.clip(bands, mean - {stats.limit_std:g} * stddev, mean + {stats.limit_std:g} * stddev)"
            ),
        }
    return value


def _output(card: ModelCard) -> dict[str, Any]:
    return {
        "name": "logits",
        "description": (
            "Logits of the classes; their softmax is the class probability. In a mask the class id is the "
            "likeliest class, and 255 is nodata."
        ),
        "tasks": _TASKS,
        "result": {
            "shape": [-1, len(card.classes), card.size_px, card.size_px],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "classification:classes": [
            {
                "value": class_id,
                "name": _slug(name, class_id),
                "description": _meaning(name, class_id, card),
                "color_hint": card.classes.colors[class_id].removeprefix("#").upper(),
            }
            for class_id, name in enumerate(card.classes.names)
        ],
    }


def _slug(name: str, class_id: int) -> str:
    """``name`` in the letters the classification extension allows."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_") or f"class_{class_id}"


def _meaning(name: str, class_id: int, card: ModelCard) -> str:
    """The name as it is, and what a class of geoseg's own is for."""
    if class_id == card.classes.background:
        return f"{name}: land that no label covered"
    return f"{name}: lines between polygons" if class_id == card.classes.boundary else name


def _hyperparameters(card: ModelCard) -> dict[str, Any]:
    """The network's shape, and the training in a few numbers; no paths of whoever trained it."""
    values = card.architecture.model_dump(mode="json", exclude={"architecture", "backbone_weights"})
    values |= {f"points_{key}": value for key, value in card.points.model_dump(mode="json").items()}
    values |= {key: card.training[key] for key in ("epochs", "best_epoch") if key in card.training}
    return values | {"chip_size_px": card.size_px}


def _scores(card: ModelCard) -> dict[str, Any]:
    scores = card.training.get("scores")
    return {"geoseg:validation_scores": dict(scores)} if isinstance(scores, Mapping) else {}


def _weights(path: Path, card: ModelCard, *, beside: Path, checksum: str) -> dict[str, Any]:
    return {
        "href": _href(path, beside),
        "type": "application/octet-stream; application=safetensors",
        "title": "Weights, and everything prediction needs to know",
        "description": f"Used by geoseg {card.geoseg_version} and newer: geoseg predict --model FILE.",
        "roles": ["mlm:model", "mlm:weights", "data"],
        "mlm:artifact_type": "safetensors.torch.save_file",
        **_file(path, checksum),
        **_band_names(card),
    }


def _onnx(path: Path, card: ModelCard, *, beside: Path, size_px: int) -> dict[str, Any]:
    return {
        "href": _href(path, beside),
        "type": "application/octet-stream; application=onnx",
        "title": "The whole way from pixels to probabilities",
        "description": (
            f"For onnxruntime and QGIS (Deepness). Takes one chip of {size_px} x {size_px} px, pixel values "
            "divided by 255 whatever their dtype; normalises by itself; gives class probabilities."
        ),
        "roles": ["mlm:model", "mlm:weights", "data"],
        "mlm:artifact_type": "torch.onnx.export",
        **_file(path, fingerprint(path)),
        **_band_names(card),
    }


def _file(path: Path, checksum: str) -> dict[str, Any]:
    """Size and checksum; 1220 is how multihash says 32 bytes of SHA-256."""
    return {"file:size": path.stat().st_size, "file:checksum": f"1220{checksum}"}


def _band_names(card: ModelCard) -> dict[str, Any]:
    """STAC 1.1 allows bands of an Item only where an asset has bands, and MLM wants them there."""
    return {"bands": [{"name": name} for name in card.band_names]}


def _href(path: Path, beside: Path) -> str:
    """``path`` as a relative reference from the folder of ``beside``."""
    relative = os.path.relpath(path.absolute(), beside.absolute().parent)
    text = quote(Path(relative).as_posix())
    return text if text.startswith("../") else f"./{text}"
