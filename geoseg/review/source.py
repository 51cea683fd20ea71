"""All that is known of a run: what lies in its folder, its chips, and what its model makes of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geoseg.chips.store import ChipStore
from geoseg.config import MAX_CONFIG_BYTES, Config, load_config
from geoseg.errors import ConfigError, ModelError
from geoseg.models.card import ModelCard, read_card
from geoseg.page.numbers import some
from geoseg.progress import Progress
from geoseg.review.log import Log
from geoseg.review.look import Findings, look_at

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
        findings: what the model makes of the chips.
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
        card = findings = None
        if model is not None:
            card = read_card(model)
            _check_fit(card, model, store)
            findings = look_at(model, store, card.stats, device=device, progress=progress)
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
        )

    @property
    def finished(self) -> bool:
        """Whether the run came to its end."""
        return self.model is not None and self.model.name == MODEL

    @property
    def best(self) -> int | None:
        """Position in the log of the epoch with the best validation mIoU; ``None`` without validation."""
        return self.log.best()

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
        if self.findings and self.findings.looked_at < self.findings.in_split:
            found = self.findings
            notes.append(
                f"The model was run on {found.looked_at} of the {found.in_split} {found.split} chips, evenly "
                "spread: per-class figures, confusion and chips are of these."
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
    ours = (card.classes.names, len(card.band_names), card.dtype)
    if ours != (store.classes.names, len(store.band_names), store.dtype):
        raise ModelError(
            f"model {model} has other classes or bands than the chips in {store.folder}; "
            "give the chips it was trained on"
        )
