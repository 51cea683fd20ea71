"""Model files: header, card, offsets, weights; ONNX files; the state to resume from; the log of a run."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import onnx
import torch
from models_of_tests import write_model
from runs_of_tests import epoch_row

from fuzz.core import Files, Target
from fuzz.mutate import ODD, TEXTS, WORDS, chance, damaged, damaged_json, json_bytes
from fuzz.shared import show_info
from geoseg.config import Config
from geoseg.models.card import CARD_KEY, read_card
from geoseg.models.checkpoint import load_model
from geoseg.models.resume import load_state, save_state
from geoseg.presets import dump_config
from geoseg.review.log import Log

_LENGTH = 8


def _short(data: bytes) -> bytes:
    """A model file with the first of its tensors only: its header is as sound, and it is quickly written."""
    size = int.from_bytes(data[:_LENGTH], "little")
    header = json.loads(data[_LENGTH : _LENGTH + size])
    names = [name for name in header if name != "__metadata__"]
    kept = [name for name in names if header[name]["data_offsets"][1] <= 4000][:6]
    body, tensors = b"", {}
    for name in kept:
        begin, end = header[name]["data_offsets"]
        part = data[_LENGTH + size + begin : _LENGTH + size + end]
        tensors[name] = header[name] | {"data_offsets": [len(body), len(body) + len(part)]}
        body += part
    return _packed({"__metadata__": header["__metadata__"], **tensors}, body)


def _packed(header: Any, body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(_LENGTH, "little") + text + body


def _onnx() -> bytes:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("scene", kind, ["n", 3, 64, 64])]
    outputs = [helper.make_tensor_value_info("classes", kind, [1, 3, 64, 64])]
    nodes = [helper.make_node("Identity", ["scene"], ["classes"])]
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    model = helper.make_model(graph, producer_name="geoseg", opset_imports=[helper.make_opsetid("", 18)])
    helper.set_model_props(model, {"tile_size": "64", "geoseg": "{}"})
    made: bytes = model.SerializeToString()
    return made


def seeds(folder: Path) -> list[Files]:
    """A short model, a whole one, an ONNX file, a state, and a run that is not finished."""
    torch.set_num_threads(1)
    whole = write_model(folder / "model.safetensors").read_bytes()
    save_state(folder / "last.pt", {
        "weights": {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(3, dtype=torch.int64)},
        "epoch": 3, "chips": "0" * 64, "config": "x: 1", "best": {"miou": None, "x": [1, 2.5, True]},
    })  # fmt: skip
    state = (folder / "last.pt").read_bytes()
    log = "".join(json.dumps(epoch_row(epoch, ["a", "b"])) + "\n" for epoch in (1, 2, 3)).encode()
    short = _short(whole)
    run = {"run/metrics.jsonl": log, "run/last.pt": state, "run/config.yaml": dump_config(Config()).encode()}
    return [
        {"model.safetensors": short},
        {"model.safetensors": short},
        {"model.safetensors": whole},
        {"model.onnx": _onnx()},
        {"last.pt": state},
        run,
        {**run, "run/model.safetensors": short},
    ]


def _damaged_model(rng: Random, data: bytes) -> bytes:
    size = int.from_bytes(data[:_LENGTH], "little")
    header, body = json.loads(data[_LENGTH : _LENGTH + size]), data[_LENGTH + size :]
    kind = rng.randrange(12)
    if kind == 0:
        return damaged(rng, data)
    if kind == 1:
        length = rng.choice((0, 1, 2**31, 2**63, 2**64 - 1, size - 1, size + 1, 100_000_001)) % 2**64
        return length.to_bytes(_LENGTH, "little") + data[_LENGTH:]
    if kind <= 3:
        header = damaged_json(rng, header, most=2)
        text = json_bytes(rng, header)
        return len(text).to_bytes(_LENGTH, "little") + text + body
    if kind == 4:
        name = rng.choice([name for name in header if name != "__metadata__"])
        part = rng.choice(("shape", "data_offsets"))
        some = [rng.choice(WORDS) for _ in range(rng.randint(0, 9))]
        lies = ([], [0], [2**40] * 2, [0, 0], [-1, 4], [0, 2**63], [0.5, 4], [True, 4], "x", None, some)
        header[name][part] = rng.choice(lies)
        return _packed(header, body)
    if kind == 5:
        header[rng.choice(list(header))]["dtype"] = rng.choice(
            ("F16", "BF16", "I8", "BOOL", "F8_E4M3", "", None, 3, "f32")
        )
        return _packed(header, body)
    card = damaged_json(rng, json.loads(header["__metadata__"][CARD_KEY]), most=rng.choice((1, 1, 3)))
    header["__metadata__"][CARD_KEY] = json_bytes(rng, card).decode("utf-8", "replace")
    return _packed(header, body)


def _damaged_zip(rng: Random, data: bytes) -> bytes:
    """A ZIP archive of which a member is another, with its sum right."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w") as new:
        members = old.infolist()
        chosen = rng.choice(
            [m for m in members if m.filename.endswith("data.pkl")] if chance(rng, 0.7) else members
        )
        for member in members:
            content = old.read(member)
            new.writestr(member.filename, damaged(rng, content) if member is chosen else content)
    return made.getvalue()


def _damaged_log(rng: Random, data: bytes) -> bytes:
    rows = [json.loads(line) for line in data.splitlines()]
    if chance(rng, 0.3):
        return damaged(rng, data)
    at = rng.randrange(len(rows))
    rows[at] = (
        damaged_json(rng, rows[at]) if chance(rng, 0.8) else {rng.choice(TEXTS): rng.choice(ODD), "epoch": 2}
    )
    return b"\n".join(json_bytes(rng, row) for row in rows)


def damage(rng: Random, seeds: Sequence[Files]) -> Files:
    """Another file of a kind; whole models and states are slow, and rare."""
    seed = dict(rng.choices(seeds, weights=(20, 10, 1, 4, 3, 6, 3))[0])
    name = rng.choice(list(seed))
    if name.endswith(".safetensors"):
        return {**seed, name: _damaged_model(rng, seed[name])}
    if name.endswith(".jsonl"):
        return {**seed, name: _damaged_log(rng, seed[name])}
    if name.endswith(".pt") and chance(rng, 0.8):
        return {**seed, name: _damaged_zip(rng, seed[name])}
    return {**seed, name: damaged(rng, seed[name])}


def run(folder: Path, rng: Random) -> None:
    """What ``info``, ``predict`` and ``train --resume`` do."""
    if (folder / "run").exists():
        show_info(folder / "run")
        log = Log.read(folder / "run" / "metrics.jsonl")
        for key in log.curves:
            log.mean(key), log.total(key), log.best(key)
        return
    if (folder / "last.pt").exists():
        state = load_state(folder / "last.pt")
        assert all(isinstance(key, str) for key in state)
        return
    (path,) = folder.glob("model.*")
    show_info(path)
    if path.suffix == ".safetensors":
        card = read_card(path)
        card.to_json()
        assert all(scale > 0 for scale in card.stats.scale)
        if path.stat().st_size > 1_000_000 and chance(rng, 0.5):
            load_model(path)


TARGET = Target(name="models", seeds=seeds, damage=damage, run=run)
