"""All that is known of a run: what lies in its folder, its chips, and what its model makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geoseg.chips.store import ChipStore
from geoseg.config import Config, DetectionConfig, Task
from geoseg.errors import ConfigError, ModelError
from geoseg.models.card import ModelCard, read_card
from geoseg.page.numbers import some
from geoseg.presets import MAX_CONFIG_BYTES, load_config
from geoseg.progress import Progress
from geoseg.review.log import Log
from geoseg.review.look import Findings, look_at
from geoseg.review.pick import Looked

if TYPE_CHECKING:
    from geoseg.review.look_instances import ObjectFindings

CONFIG, METRICS = "config.yaml", "metrics.jsonl"
MODEL, BEST = "model.safetensors", "best.safetensors"


@dataclass(frozen=True, kw_only=True)
class Source:
    """A run, gathered.

    Attributes:
        run: its folder.
        store: the chips.
        command: what was typed, if that is known.
        config: its configuration; ``None`` when it cannot be read as one of this version.
        config_text: the file itself, empty when there is none.
        log: its epochs.
        model: the finished model, else the best so far, else ``None``.
        card: what the model says of itself.
        findings: what a model that tells the class of every pixel makes of the chips.
        objects: what a model that finds objects makes of them.
    """

    run: Path
    store: ChipStore
    command: str | None
    config: Config | None
    config_text: str
    log: Log
    model: Path | None
    card: ModelCard | None
    findings: Findings | None
    objects: ObjectFindings | None

    @classmethod
    def gather(
        cls, run: Path, store: ChipStore, *, command: str | None, device: str, progress: Progress
    ) -> Source:
        """Read the run folder, and run its model over the chips.

        Raises:
            ConfigError: no such device.
            ModelError: there is no run at ``run``, or its model is damaged or does not fit the chips.
            ChipsError, ReadError: a chip is damaged.
        """
        if not run.is_dir():
            raise ModelError(f"{run} is no run folder; give one that geoseg train made")
        config, text = _config(run / CONFIG)
        model = next((run / name for name in (MODEL, BEST) if (run / name).is_file()), None)
        card = findings = objects = None
        if model is not None:
            card = read_card(model)
            _check_fit(card, model, store)
            if card.task == "semantic":
                findings = look_at(model, store, card.stats, device=device, progress=progress)
            else:
                from geoseg.review.look_instances import look_at_objects

                rules = DetectionConfig() if config is None else config.detection
                objects = look_at_objects(model, store, card, rules, device=device, progress=progress)
        return cls(
            run=run,
            store=store,
            command=command,
            config=config,
            config_text=text,
            log=Log.read(run / METRICS),
            model=model,
            card=card,
            findings=findings,
            objects=objects,
        )

    @property
    def task(self) -> Task:
        """What the model tells; by the configuration while there is none."""
        if self.card is not None:
            return self.card.task
        return self.store.task if self.config is None else self.config.model.task

    @property
    def looked(self) -> Looked | None:
        """Which chips were looked at, if there is a model."""
        found = self.findings or self.objects
        return None if found is None else found.looked

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.model is not None and self.model.name == MODEL

    @property
    def best(self) -> int | None:
        """Position in the log of the epoch with the best mIoU, or AP; ``None`` without validation."""
        return self.log.best("val_miou" if self.task == "semantic" else "val_ap")

    @property
    def epochs_wanted(self) -> int | None:
        """Epochs the configuration asks for."""
        return None if self.config is None else self.config.train.epochs

    def notes(self) -> list[str]:
        """What a reader must know before the figures, each a sentence."""
        notes = []
        if not self.finished:
            done = f"{len(self.log)} of {self.epochs_wanted or 'its'} epochs are in the log"
            notes.append(f"The run is not finished: {done}. Go on with it by geoseg train --resume.")
        if self.card is None:
            notes.append("There is no model yet, so nothing here is measured on chips.")
        if not self.store.chips("val"):
            notes.append(
                "There are no validation chips: what is measured here is measured on chips the model was "
                "trained on, and says little about other land."
            )
        trained_on = self.card.training.get("chips") if self.card else None
        if trained_on is not None and trained_on != self.store.fingerprint():
            notes.append("The chips are not those the model was trained on; the curves are of the latter.")
        if self.log.unreadable:
            lines = some(self.log.unreadable, "line")
            notes.append(f"Left out: {lines} of the log that could not be read as an epoch.")
        if self.config is None:
            notes.append("The configuration cannot be read as one of this version; it is shown as it is.")
        looked = self.looked
        if looked is not None and looked.chips < looked.in_split:
            figures = "per-class figures, confusion" if self.task == "semantic" else "per-class figures"
            notes.append(
                f"The model was run on {looked.chips} of the {looked.in_split} {looked.split} chips, evenly "
                f"spread: {figures} and chips are of these."
            )
        return notes


def _config(path: Path) -> tuple[Config | None, str]:
    if not path.is_file():
        return None, ""
    with path.open("rb") as file:
        text = file.read(MAX_CONFIG_BYTES).decode("utf-8", errors="replace")
    try:
        return load_config(str(path)), text
    except ConfigError:
        # A run of another version of geoseg is still worth a report.
        return None, text


def _check_fit(card: ModelCard, model: Path, store: ChipStore) -> None:
    """Refuse chips of other classes or bands than the model's."""
    if card.task == "instance" != store.task:
        raise ModelError(
            f"model {model} finds objects, and the chips in {store.folder} do not tell objects apart; "
            "give the chips it was trained on"
        )
    ours = (card.classes.names, len(card.band_names), card.dtype)
    if ours != (store.classes.names, len(store.band_names), store.dtype):
        raise ModelError(
            f"model {model} has other classes or bands than the chips in {store.folder}; "
            "give the chips it was trained on"
        )
