"""The sections of a run's report that tell what it was made of: model, data, configuration, versions."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from geoseg import __version__
from geoseg.chips.store import SPLITS, ChipStore
from geoseg.classes import BandStats
from geoseg.config import Config
from geoseg.models.card import fingerprint
from geoseg.page.markup import Html, Node, el, join, name_of
from geoseg.page.matrix import MAX_CLASSES
from geoseg.page.numbers import count, percent, plain, size, some
from geoseg.page.table import facts, folded, table, with_bar
from geoseg.review.labelled import class_name, class_shares
from geoseg.review.source import Source

MAX_NAMES = 8
"""Most names written out; longer lists are folded away."""

_OF_PIXELS = {"output_stride", "fine_stages", "auxiliary", "dropout"}
"""Options of the network that mean nothing to a model for objects."""

_LIBRARIES = ("torch", "torchvision", "numpy", "rasterio")


def model(source: Source) -> Html | None:
    """The network, what it expects, and its file."""
    card, looked, path = source.card, source.looked, source.model
    if card is None or looked is None or path is None:
        return None
    network = card.architecture.model_dump(mode="json")
    if card.task == "instance":
        network = {key: value for key, value in network.items() if key not in _OF_PIXELS}
    pairs: list[tuple[Node, Node]] = [
        *((key.replace("_", " "), _text(value)) for key, value in network.items() if value is not None),
        ("parameters", count(looked.parameters)),
        ("bands", f"{len(card.band_names)} of {card.dtype}"),
        ("ground sampling", "unknown" if card.gsd_m is None else f"{card.gsd_m:.4g} m"),
        ("chips", f"{card.size_px} px"),
        ("classes", str(len(card.classes))),
        ("from epoch", _text(card.training.get("best_epoch"))),
        ("file", f"{path.name}, {size(path.stat().st_size)}"),
        ("SHA-256", el("code", f"{fingerprint(path)} {path.name}")),
    ]
    return join(facts(pairs), _bands(card.band_names, card.stats))


def data(source: Source) -> Html:
    """The chips, by which another can tell whether his are the same."""
    store = source.store
    chips = store.chips()
    pairs: list[tuple[Node, Node]] = [
        ("scenes", count(len(store.scenes))),
        ("chips", f"{count(len(chips))} of {store.size_px} px, overlapping by {store.overlap_px} px"),
        ("ground sampling", "unknown" if store.gsd_m is None else f"{store.gsd_m:.4g} m"),
        ("SHA-256", el("code", f"{store.fingerprint()} chips.json")),
    ]
    splits = [split for split in SPLITS if store.chips(split)]
    rows = [_split_row(store, split) for split in splits]
    shares = [class_shares(store, split) for split in splits]
    class_rows: list[list[Node]] = [
        [
            class_name(store, class_id),
            *(with_bar(percent(share[class_id]), share[class_id]) if share else "–" for share in shares),
        ]
        for class_id in range(len(store.classes))
    ]
    by_class = table(["class", *splits], class_rows, caption="Share of the labelled pixels of the chips")
    if len(class_rows) > MAX_CLASSES:
        by_class = folded(f"Shares of the {len(class_rows)} classes", by_class)
    by_split = table(["split", "chips", "scenes", "valid", "labelled"], rows, caption="What the splits hold")
    return join(facts(pairs), el("div", by_split, by_class, class_="beside"), _scenes(store))


def configuration(source: Source) -> Html:
    """What was typed, what differs from the defaults, and all of it."""
    parts: list[Node] = []
    if source.command:
        parts += [el("h3", "Command"), el("pre", el("code", source.command))]
    if source.config is not None:
        rows = [
            [el("code", key), el("code", now), el("code", then)] for key, now, then in changed(source.config)
        ]
        parts.append(el("h3", "What differs from the defaults"))
        parts.append(table(["key", "value", "default"], rows, words=3) if rows else el("p", "Nothing."))
    if source.config_text:
        parts.append(folded("All of config.yaml", el("pre", el("code", source.config_text.strip()))))
    return join(*parts) or el("p", "The run folder has no config.yaml.")


def versions(source: Source) -> Html:
    """What the model was trained with, and what wrote this page."""
    pairs: list[tuple[Node, Node]] = []
    if source.card is not None:
        trained = f"geoseg {source.card.geoseg_version}, torch {source.card.torch_version}"
        pairs.append(("trained with", trained))
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    page = f"geoseg {__version__}, {libraries}, Python {platform.python_version()} on {platform.system()} "
    pairs.append(("this page", page + platform.machine()))
    if source.looked is not None:
        pairs.append(("measured on", source.looked.device))
    return facts(pairs)


def changed(config: Config) -> list[tuple[str, str, str]]:
    """Key, value and default of every option that differs."""
    now, then = (dict(_flat(values.model_dump(mode="json"))) for values in (config, Config()))
    return [(key, _text(value), _text(then.get(key))) for key, value in now.items() if value != then.get(key)]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _text(value: Any) -> str:
    """A value of a configuration, as YAML has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _bands(names: tuple[str, ...], stats: BandStats) -> Html:
    columns = (stats.mean, stats.std, stats.minimum, stats.maximum)
    rows: list[list[Node]] = [
        [name_of(name), *(plain(column[at]) for column in columns)] for at, name in enumerate(names)
    ]
    made = table(["band", "mean", "deviation", "least", "most"], rows)
    return made if len(names) <= MAX_NAMES else folded(f"Statistics of the {len(names)} bands", made)


def _split_row(store: ChipStore, split: str) -> list[Node]:
    chips = store.chips(split)
    area = len(chips) * store.size_px**2
    labelled = sum(sum(chip.class_pixels) for chip in chips)
    valid = sum(chip.valid_share for chip in chips) / len(chips)
    scenes = len({chip.scene for chip in chips})
    return [split, count(len(chips)), count(scenes), percent(valid), percent(labelled / area)]


def _scenes(store: ChipStore) -> Html:
    splits: dict[str, Counter[str]] = {name: Counter() for name in store.scenes}
    for chip in store.chips():
        splits[chip.scene][chip.split] += 1
    rows: list[list[Node]] = [
        [name_of(name), *(count(by_split[split]) for split in SPLITS)] for name, by_split in splits.items()
    ]
    made = table(["scene", *(f"{split} chips" for split in SPLITS)], rows[:1000])
    return folded(some(len(rows), "scene"), made)
