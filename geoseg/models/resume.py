"""``last.pt``: the state of an unfinished training, written whole or not at all."""

from __future__ import annotations

import pickle
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geoseg.errors import ModelError, WriteError
from geoseg.outputs import staged_file

STATE_VERSION = 1

_TORCH_ERRORS = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, OSError, LookupError, ValueError),
    *(struct.error, TypeError, AttributeError, AssertionError, ArithmeticError),
)
"""What :func:`torch.load` raises for damaged files: its unpickler does not check what it is given."""


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (tensors and plain values) to ``path``; an older file is replaced at the very end.

    Raises:
        WriteError: the disk is full or not writable.
    """
    with staged_file(path) as staged:
        try:
            torch.save({"version": STATE_VERSION, **state}, staged)
        except RuntimeError as error:
            # All that torch tells of a full disk is where it stood in the file.
            if "inline_container" not in str(error):
                raise
            raise WriteError(f"writing {path} failed; is the disk full?") from error


def load_state(path: Path) -> dict[str, Any]:
    """Read what :func:`save_state` wrote, tensors on the CPU. Nothing in the file can execute.

    Raises:
        ModelError: the file is missing, damaged, holds more than tensors and plain values, or is of
            another version of geoseg.
    """
    if not path.is_file():
        raise ModelError(f"{path} does not exist, so there is nothing to resume; train without --resume")
    try:
        with warnings.catch_warnings():
            # torch warns about pickles of other programs before it refuses them.
            warnings.simplefilter("ignore", UserWarning)
            state = torch.load(path, map_location="cpu", weights_only=True)
    except _TORCH_ERRORS as error:
        raise ModelError(f"{path} is damaged or no training state; train without --resume") from error
    if not isinstance(state, dict) or state.pop("version", None) != STATE_VERSION:
        raise ModelError(f"{path} is no training state of this geoseg; train without --resume")
    return state
