"""Whether a model can be scored on chips."""

from __future__ import annotations

from pathlib import Path

from geoseg.chips.store import ChipStore
from geoseg.errors import ModelError
from geoseg.models.card import ModelCard
from geoseg.progress import Progress


def check_fit(card: ModelCard, model: Path, store: ChipStore, progress: Progress) -> None:
    """Refuse chips of other classes or bands than the model's.

    Raises:
        ModelError: they are.
    """
    if card.classes.names != store.classes.names:
        raise ModelError(
            f"model {model} knows the classes {', '.join(card.classes.names)}, the chips in {store.folder} "
            f"have {', '.join(store.classes.names)}; give a model trained on such chips"
        )
    if (len(card.band_names), card.dtype) != (len(store.band_names), store.dtype):
        raise ModelError(
            f"model {model} was trained on {len(card.band_names)} bands of {card.dtype}, the chips in "
            f"{store.folder} have {len(store.band_names)} of {store.dtype}; give a model trained on such"
        )
    if card.band_names != store.band_names:
        progress.warn(
            f"the model's bands are called {', '.join(card.band_names)}, those of the chips "
            f"{', '.join(store.band_names)}: taken to be the same, in this order"
        )
