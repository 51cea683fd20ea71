"""A model as one file: safetensors with the :class:`~geoseg.models.card.ModelCard` in its header.

Nothing in such a file can execute. ``last.pt``, the state to resume from, belongs to the train stage.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from geoseg.config import DetectionConfig, ModelConfig, Task
from geoseg.errors import ModelError, WriteError
from geoseg.models.card import CARD_KEY, ModelCard, read_card
from geoseg.models.deeplab import PointRendDeepLab, build_model
from geoseg.models.mask_rcnn import MaskRCNN, build_instance_model
from geoseg.outputs import staged_file


def save_model(path: Path, model: nn.Module, card: ModelCard, *, half: bool = False) -> None:
    """Write ``model`` and ``card`` to ``path``, whole or not at all; an existing file is replaced.

    Args:
        path: a ``.safetensors`` file.
        model: the network; its tensors are stored on the CPU.
        card: what the file says about itself.
        half: store floating tensors as float16, for a file of half the size, instead of as float32.

    Raises:
        ModelError: the card is too large or does not fit what :func:`geoseg.models.card.read_card` accepts.
        WriteError: the disk is full or not writable.
    """
    dtype = torch.float16 if half else torch.float32
    tensors = {name: _plain(values, dtype) for name, values in model.state_dict().items()}
    metadata = {CARD_KEY: json.dumps(card.to_json(), allow_nan=False)}
    with staged_file(path) as staged:
        try:
            save_file(tensors, staged, metadata=metadata)
        except SafetensorError as error:
            raise WriteError(f"writing {path} failed: {error}; is the disk full?") from error
        # What cannot be read back must not replace an older file that can.
        read_card(staged)


def load_model(path: Path, device: str | torch.device = "cpu") -> tuple[PointRendDeepLab, ModelCard]:
    """Read a model that gives every pixel a class.

    A pretrained backbone that the card names is not looked for: the file holds all weights.

    Args:
        path: a file :func:`save_model` made.
        device: where the network goes.

    Returns:
        The network in eval mode, its weights float32, and its card.

    Raises:
        ModelError: the file is missing, damaged, truncated, foreign, holds a model for objects, or its
            weights do not fit its card.
    """
    card = _card_for(path, "semantic")
    with torch.device("meta"):
        model = build_model(_without_weights(card), bands=len(card.band_names), classes=len(card.classes))
    _fill(path, model)
    return model.to(device).eval(), card


def load_instance_model(
    path: Path, device: str | torch.device = "cpu", *, detection: DetectionConfig | None = None
) -> tuple[MaskRCNN, ModelCard]:
    """Read a model that finds objects; else as :func:`load_model`.

    Args:
        path: a file :func:`save_model` made.
        device: where the network goes.
        detection: how objects are chosen.

    Raises:
        ModelError: as of :func:`load_model`, or the file holds a model for pixels.
    """
    card = _card_for(path, "instance")
    with torch.device("meta"):
        model = build_instance_model(
            _without_weights(card),
            bands=len(card.band_names),
            classes=len(card.classes),
            detection=detection,
        )
    _fill(path, model)
    return model.to(device).eval(), card


def _card_for(path: Path, task: Task) -> ModelCard:
    card = read_card(path)
    if card.task != task:
        kinds = {"semantic": "gives pixels a class", "instance": "finds objects"}
        raise ModelError(f"model {path} {kinds[card.task]}; give one that {kinds[task]}")
    return card


def _fill(path: Path, model: nn.Module) -> None:
    """Give ``model``, which has no storage, the weights in the file."""
    try:
        tensors = {name: _whole(values) for name, values in load_file(path, device="cpu").items()}
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is damaged; copy or train the model again") from error
    _check_tensors(path, model, tensors)
    model.load_state_dict(tensors, assign=True)


def _whole(values: Tensor) -> Tensor:
    return values.float() if values.dtype == torch.float16 else values


def _plain(values: Tensor, dtype: torch.dtype) -> Tensor:
    values = values.detach().to("cpu")
    # clone: two names of one storage are an error to safetensors.
    return (values.to(dtype) if values.is_floating_point() else values).contiguous().clone()


def _without_weights(card: ModelCard) -> ModelConfig:
    """The network of ``card``, for which no pretrained backbone is looked for."""
    return card.architecture.model_copy(update={"backbone_weights": None})


def _check_tensors(path: Path, model: nn.Module, tensors: dict[str, Tensor]) -> None:
    expected = model.state_dict()
    if odd := sorted(expected.keys() ^ tensors.keys()):
        raise ModelError(f"{path}: weights do not fit its card ({odd[0]}); copy or train the model again")
    for name, values in tensors.items():
        if values.shape != expected[name].shape or values.dtype != expected[name].dtype:
            raise ModelError(f"{path}: {name} does not fit its card; copy or train the model again")
        # One that is not finite makes the sum so; only a sum that overflows needs a second look.
        if values.is_floating_point() and not (
            bool(values.sum().isfinite()) or bool(values.isfinite().all())
        ):
            raise ModelError(f"{path}: {name} is not finite; copy or train the model again")
