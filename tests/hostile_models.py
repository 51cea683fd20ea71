"""Hostile models."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
from pathlib import Path
from typing import Any

import torch
from hostile_files import Lures, Maker, written


class Payload:
    """An object that makes a file when it is unpickled."""

    def __init__(self, new: str) -> None:
        self._new = new

    def __reduce__(self) -> Any:
        return os.mkdir, (self._new,)


DEEP = "[" * 900 + "]" * 900


def _card(kit: Path) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    raw = (kit / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["geoseg"]), raw[8 + length :]


def write_safetensors(path: Path, header: dict[str, Any] | str, data: bytes) -> Path:
    """A safetensors file of any header."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def card(swap: tuple[str, str] | None = None, **values: Any) -> Maker:
    """A model whose card is changed; keys with two underscores are of a table in it."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        header, told, data = _card(kit)
        for key, value in values.items():
            table, _, name = key.rpartition("__")
            (told[table] if table else told)[name] = value
        text = json.dumps(told)
        header["__metadata__"]["geoseg"] = text if swap is None else text.replace(*swap, 1)
        return write_safetensors(folder / "a.safetensors", header, data)

    return make


def header(**entries: Any) -> Maker:
    """A model with further entries in its header."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        told, _, data = _card(kit)
        return write_safetensors(folder / "a.safetensors", told | entries, data)

    return make


def model_and_zip_in_one(folder: Path, kit: Path, lures: Lures) -> Path:
    """Sound to one reader, a torch file to another."""
    content = (kit / "model.safetensors").read_bytes() + _torch_file(lures)
    return written("a.safetensors", content)(folder, kit, lures)


def _torch_file(lures: Lures) -> bytes:
    packed = io.BytesIO()
    torch.save(Payload(lures.new), packed)
    return packed.getvalue()


HUGE = {"dtype": "F32", "shape": [2**31 - 1, 2**31 - 1], "data_offsets": [0, 2**62]}

MODELS: dict[str, Maker] = {
    "model_is_a_pickle": written("a.safetensors", lambda lures: pickle.dumps(Payload(lures.new))),
    "model_is_a_torch_file": written("a.safetensors", _torch_file),
    model_and_zip_in_one.__name__: model_and_zip_in_one,
    "model_header_of_gigabytes": written("a.safetensors", struct.pack("<Q", 2**40) + b"{}"),
    "card_deep": card(('"training": {', '"training": {"config": ' + DEEP + ", "), training={"scores": {}}),
    "card_key_twice": card(('"dtype": "uint8"', '"dtype": "uint8", "dtype": "uint16"')),
    "card_nan": card(('"gsd_m": 0.5', '"gsd_m": NaN')),
    "card_infinite": card(('"gsd_m": 0.5', '"gsd_m": 1e999')),
    "card_long_number": card(('"size_px": 64', '"size_px": ' + "9" * 9000)),
    "card_count_huge": card(stats__count=[10**400] * 3),
    "card_count_below_zero": card(stats__count=[-1] * 3),
    "card_spread_below_zero": card(stats__m2=[-1.0] * 3),
    "card_many_keys": card(training={f"k{at}": 1 for at in range(50_000)}),
    "card_weights_elsewhere": card(architecture__backbone_weights="/etc/passwd"),
    "card_too_wide": card(architecture__head_width=10**9),
    "card_wide": card(architecture__head_width=2048, architecture__head_depth=8),
    "card_bands_nasty": card(band_names=["\x1b[31m[red]", "[link=file:///x]y[/link]", "\u202e</script>"]),
    "card_version_nasty": card(geoseg_version="\x1b]0;x\x07\n[red]\u202e", torch_version="\n" * 1000),
    "card_classes_nasty": card(classes__names=["a", "\x1b[31m[red]", "\u202e</script>"]),
    "card_classes_markup": card(
        classes__names=["a", "[red]x[/red]", "</script><img src=x onerror=alert(1)>"]
    ),
    "header_dtype_is_a_list": header(x={"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}),
    "header_entry_is_a_list": header(x=[1]),
    "header_huge_tensor": header(x=HUGE),
    "header_offset_below_zero": header(x={"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}),
    "header_offset_is_a_float": header(x={"dtype": "F32", "shape": [1], "data_offsets": [0, 1e300]}),
}
