"""What a model file says about itself: everything prediction needs besides the weights.

A model is one safetensors file. Its header is JSON; the key ``geoseg`` of the header's ``__metadata__`` holds
the card as JSON text. Nothing here imports torch, so a stage can refuse a scene before the slow imports.

File layout (safetensors format documentation, huggingface/safetensors): 8 bytes little-endian header length,
that many bytes of JSON, then the tensors' bytes without gaps.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from geoseg import strict_json
from geoseg.classes import BandStats, ClassMap
from geoseg.config import ModelConfig, PointConfig, Task
from geoseg.errors import ModelError

DEFAULT_MODEL = Path(__file__).parent / "weights" / "fields.safetensors"
"""The model that comes with geoseg; ``docs/models/fields.md`` tells what it knows and how well."""
ABOUT_DEFAULT = "for fields on RGB aerial scenes of 1 to 3 m a pixel"

CARD_KEY = "geoseg"
CARD_VERSION = 1
MAX_HEADER_BYTES = 1_000_000
"""Largest header read. A ResNet-101 model's has about 70 kB; more than this is no model of ours."""

MAX_BANDS = 4096

_LENGTH_BYTES = 8
_STORED = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
}
_NOT_LEARNED = (".running_mean", ".running_var", ".num_batches_tracked")
_MAX_AXES = 8
_DTYPES = frozenset(
    f"{kind}{bits}"
    for kind, sizes in {"uint": (8, 16, 32, 64), "int": (8, 16, 32, 64)}.items()
    for bits in sizes
) | {"float16", "float32", "float64"}


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Everything a prediction needs to know about a model.

    Attributes:
        architecture: the network.
        points: training points the network was trained with.
        classes: class names and colours; the position is the class id.
        band_names: names of the bands the network expects, in order.
        dtype: data type of the scenes it was trained on, by numpy's name.
        stats: statistics of the bands, in the scenes' own units; they normalise what the network sees.
        gsd_m: side of a training pixel in metres, or ``None`` when it is not known.
        gsd_range_m: of the scene with the smallest and of that with the largest pixels; ``None`` when that is
            not known.
        size_px: side of the chips it was trained on, in pixels.
        geoseg_version: version that wrote the file.
        torch_version: version it was trained with.
        training: scores and course of the training, JSON values only.
    """

    architecture: ModelConfig
    points: PointConfig
    classes: ClassMap
    band_names: tuple[str, ...]
    dtype: str
    stats: BandStats
    gsd_m: float | None
    size_px: int
    geoseg_version: str
    torch_version: str
    training: dict[str, Any]
    gsd_range_m: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.band_names) <= MAX_BANDS:
            raise ValueError(f"{len(self.band_names)} bands; 1 to {MAX_BANDS} are possible")
        if len(self.stats.mean) != len(self.band_names):
            raise ValueError(f"statistics of {len(self.stats.mean)} bands for {len(self.band_names)} bands")
        if self.dtype not in _DTYPES:
            raise ValueError(f"dtype {self.dtype!r} is not one of a raster")
        if self.gsd_m is not None and not (math.isfinite(self.gsd_m) and self.gsd_m > 0):
            raise ValueError(f"gsd_m {self.gsd_m} is no length")
        if self.gsd_range_m is not None and not 0 < self.gsd_range_m[0] <= self.gsd_range_m[1] < math.inf:
            raise ValueError(f"gsd_range_m {self.gsd_range_m} is no range of lengths")
        if not 32 <= self.size_px <= 8192:
            raise ValueError(f"size_px {self.size_px} is out of range")

    @property
    def task(self) -> Task:
        """What the network tells; it follows from the architecture."""
        return self.architecture.task

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; :meth:`from_json` reads it back. NaN in ``training`` becomes ``null``."""
        return {
            "version": CARD_VERSION,
            "architecture": self.architecture.model_dump(mode="json"),
            "points": self.points.model_dump(mode="json"),
            "classes": self.classes.to_json(),
            "band_names": list(self.band_names),
            "dtype": self.dtype,
            "stats": self.stats.to_json(),
            "gsd_m": self.gsd_m,
            "gsd_range_m": None if self.gsd_range_m is None else list(self.gsd_range_m),
            "size_px": self.size_px,
            "geoseg_version": self.geoseg_version,
            "torch_version": self.torch_version,
            "training": _without_nan(self.training),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ModelCard:
        """Read what :meth:`to_json` made.

        Raises:
            ModelError: a key is missing, a value is impossible, or a newer geoseg wrote it.
        """
        try:
            if values["version"] != CARD_VERSION:
                raise ValueError(f"its card has version {values['version']!r}, not {CARD_VERSION}")
            return cls(
                architecture=ModelConfig.model_validate(values["architecture"]),
                points=PointConfig.model_validate(values["points"]),
                classes=ClassMap.from_json(values["classes"]),
                band_names=tuple(_text(name) for name in values["band_names"]),
                dtype=_text(values["dtype"]),
                stats=BandStats.from_json(values["stats"]),
                gsd_m=None if values["gsd_m"] is None else float(values["gsd_m"]),
                size_px=int(values["size_px"]),
                geoseg_version=_text(values["geoseg_version"]),
                torch_version=_text(values["torch_version"]),
                training=dict(values["training"]),
                gsd_range_m=_range(values.get("gsd_range_m")),
            )
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ModelError(f"model card is damaged: {where}: {first['msg']}") from error
        except KeyError as error:
            raise ModelError(f"model card is damaged: it has no {error}") from error
        except (ValueError, TypeError, OverflowError, AttributeError) as error:
            raise ModelError(f"model card is damaged: {' '.join(str(error).split())}") from error


def find_model(model: Path | None, *, runs: Path = Path("runs")) -> Path:
    """The model file that ``--model`` means.

    Args:
        model: a ``.safetensors`` file, a run folder, or ``None`` for the newest finished run under ``runs``;
            when there is none, the model that comes with geoseg.
        runs: where runs are looked for.

    Raises:
        ModelError: there is no such file, or the run is not finished.
    """
    if model is None:
        finished = sorted(runs.glob("*/model.safetensors"), key=lambda path: path.stat().st_mtime)
        return finished[-1] if finished else DEFAULT_MODEL
    if model.is_dir():
        inside = model / "model.safetensors"
        if inside.is_file():
            return inside
        if (model / "last.pt").is_file():
            raise ModelError(f"run {model} is not finished; go on with geoseg train --resume {model}")
        raise ModelError(f"{model} holds no model.safetensors; give a run folder or a .safetensors file")
    if not model.exists():
        raise ModelError(f"model {model} does not exist; give a run folder or a .safetensors file")
    return model


def read_card(path: Path) -> ModelCard:
    """The card of a model file; only its header is read.

    Raises:
        ModelError: the file is missing, damaged, truncated, or no geoseg model.
    """
    header = _read_header(path)
    metadata = header.get("__metadata__")
    text = metadata.get(CARD_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise ModelError(
            f"{path} is a safetensors file, but no geoseg model; give a model that geoseg train made"
        )
    try:
        values = strict_json.loads(text)
    except ValueError as error:
        raise ModelError(f"{path}: model card is no sound JSON; copy or train the model again") from error
    try:
        return ModelCard.from_json(values)
    except ModelError as error:
        raise ModelError(f"{path}: {error}; copy or train the model again") from error


@dataclass(frozen=True, kw_only=True)
class Weights:
    """What a model file holds besides its card.

    Attributes:
        parameters: numbers that training learned; running means and the like are none.
        precision: how most of them are stored, by numpy's name.
    """

    parameters: int
    precision: str


def read_weights(path: Path) -> Weights:
    """Count the weights of a model file; only its header is read.

    Raises:
        ModelError: as :func:`read_card`.
    """
    counts: dict[str, int] = {}
    for name, entry in _read_header(path).items():
        if name == "__metadata__" or name.endswith(_NOT_LEARNED):
            continue
        shape, kind = entry.get("shape"), entry.get("dtype")
        sound = isinstance(shape, list) and all(type(side) is int and 0 <= side < 2**31 for side in shape)
        if not sound or len(shape) > _MAX_AXES or not isinstance(kind, str) or kind not in _STORED:
            raise ModelError(f"{path} has a damaged header; copy or train the model again")
        counts[kind] = counts.get(kind, 0) + math.prod(shape)
    most = max(counts, key=lambda kind: counts[kind], default="F32")
    return Weights(parameters=sum(counts.values()), precision=_STORED[most])


def fingerprint(path: Path) -> str:
    """SHA-256 of a model file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file, after checking that the file is as long as the header says."""
    if not path.exists():
        raise ModelError(f"model {path} does not exist; give a run folder or a .safetensors file")
    if not path.is_file():
        raise ModelError(f"model {path} is no regular file; give a .safetensors file")
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if size < _LENGTH_BYTES or not 2 <= length <= MAX_HEADER_BYTES:
            raise ModelError(f"{path} is no safetensors file; give a model that geoseg train made")
        raw = file.read(length)
    if len(raw) < length:
        raise ModelError(f"{path} is truncated; copy or train the model again")
    try:
        header = strict_json.loads(raw)
    except ValueError as error:
        raise ModelError(
            f"{path} has a header that is no sound JSON; give a model that geoseg train made"
        ) from error
    if not isinstance(header, dict):
        raise ModelError(f"{path} has a header that is no table; give a model that geoseg train made")
    expected = _LENGTH_BYTES + length + _data_bytes(header, path)
    if size != expected:
        what = "truncated" if size < expected else "longer than its header says"
        raise ModelError(f"{path} is {what} ({size} bytes, not {expected}); copy or train the model again")
    return header


def _data_bytes(header: Mapping[str, Any], path: Path) -> int:
    """Bytes of tensor data the header promises."""
    try:
        offsets = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
        ends = [end for begin, end in offsets if type(begin) is int and 0 <= begin <= end]
    except (KeyError, ValueError, TypeError) as error:
        raise ModelError(f"{path} has a damaged header; copy or train the model again") from error
    if len(ends) < len(offsets) or not all(type(end) is int and end < 2**53 for end in ends):
        raise ModelError(f"{path} has a damaged header; copy or train the model again")
    return max(ends, default=0)


def _range(values: Any) -> tuple[float, float] | None:
    if values is None:
        return None
    low, high = values
    return float(low), float(high)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    # A lone surrogate would break whoever prints or writes it; UnicodeEncodeError is a ValueError.
    value.encode()
    return value


def _without_nan(value: Any) -> Any:
    """``value`` with NaN and infinities, which JSON does not know, as ``None``."""
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
