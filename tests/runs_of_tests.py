"""Run folders with a known content, and pages taken apart."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from models_of_tests import write_model
from scenes import not_georeferenced_is_fine

from geoseg.chips.store import ChipStore
from geoseg.config import Config, TrainConfig
from geoseg.models.checkpoint import load_model, save_model
from geoseg.presets import dump_config

EPOCHS = 3
BEST = 2
MIOU = (0.25, 0.625, 0.5)


def epoch_row(epoch: int, names: Sequence[str]) -> dict[str, Any]:
    """A line of the log."""
    miou = MIOU[epoch - 1]
    return {
        "epoch": epoch,
        "step": 10 * epoch,
        "val_miou": miou,
        "val_iou": {name: miou + 0.01 * at for at, name in enumerate(names)},
        "val_boundary_iou": miou / 4,
        "loss": 2.0 / epoch,
        "coarse": 1.5 / epoch,
        "point": 0.5 / epoch,
        "auxiliary": 0.0,
        "lr": 0.001 * epoch,
        "seconds": 30.5,
        "samples_per_s": 8.0,
        "wait_share": 0.0123,
    }


def write_run(
    run: Path, chips: Path, *, model: str | None = "model.safetensors", epochs: int = EPOCHS
) -> Path:
    """A run folder with a lively random model that fits the chips, and a log of ``epochs`` lines."""
    store = ChipStore.open(chips)
    run.mkdir()
    (run / "config.yaml").write_text(dump_config(Config(train=TrainConfig(epochs=EPOCHS, batch_size=2))))
    rows = [epoch_row(epoch, store.classes.names) for epoch in range(1, epochs + 1)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if model is not None:
        path = write_model(run / model, bands=len(store.band_names), dtype=store.dtype)
        network, card = load_model(path)
        training = {"best_epoch": BEST, "chips": store.fingerprint()}
        names = {"classes": store.classes, "band_names": store.band_names, "stats": store.stats}
        save_model(path, network, replace(card, **names, training=training))
    return run


def edit_chips(folder: Path, **values: Any) -> Path:
    """Change keys of ``chips.json``."""
    path = folder / "chips.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def resplit(folder: Path, splits: Sequence[str]) -> Path:
    """Give the chips other splits, in order; chips without one are dropped."""
    entries = json.loads((folder / "chips.json").read_text())["chips"][: len(splits)]
    return edit_chips(folder, chips=[entry | {"split": s} for entry, s in zip(entries, splits, strict=True)])


@dataclass
class Element:
    """An element of a page."""

    name: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text() for child in self.children)

    def walk(self) -> Iterator[Element]:
        yield self
        for child in self.children:
            if isinstance(child, Element):
                yield from child.walk()

    def all(self, name: str, **attributes: str) -> list[Element]:
        """Elements called ``name`` with these attributes; ``class_`` asks for one of the classes."""
        return [
            element
            for element in self.walk()
            if element.name == name and all(element.has(*pair) for pair in attributes.items())
        ]

    def one(self, name: str, **attributes: str) -> Element:
        (found,) = self.all(name, **attributes)
        return found

    def has(self, key: str, value: str) -> bool:
        told = self.attributes.get(key.rstrip("_").replace("_", "-"))
        return told is not None and (value in told.split() if key == "class_" else told == value)

    def rows(self) -> list[list[str]]:
        """Texts of a table's cells."""
        return [[cell.text() for cell in row.children if isinstance(cell, Element)] for row in self.all("tr")]


class _Reader(HTMLParser):
    """Takes a page apart, and insists that every element is closed by its own end tag."""

    _VOID = frozenset({"meta", "img", "br", "hr", "link", "input"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} has an attribute twice"
        element = Element(tag, dict(attrs))
        self._open[-1].children.append(element)
        if tag not in self._VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().name == tag

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)


def take_apart(html: str) -> Element:
    """The elements of a page."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert len(reader._open) == 1
    return reader.root


def decoded(image: Element) -> tuple[np.ndarray, np.ndarray]:
    """(3, H, W) colours and (H, W) opaque, by GDAL."""
    kind, _, content = str(image.attributes["src"]).partition(";base64,")
    assert kind in {"data:image/png", "data:image/jpeg"}
    bytes_ = base64.b64decode(content)
    with not_georeferenced_is_fine(), rasterio.MemoryFile(bytes_) as memory, memory.open() as file:
        if file.count == 3:
            return file.read(), np.ones(file.shape, bool)
        table = np.zeros((256, 4), np.uint8)
        for at, color in file.colormap(1).items():
            table[at] = color
        rgba = table[file.read(1)]
        return np.moveaxis(rgba[..., :3], -1, 0), rgba[..., 3] > 0
