"""Facts of models and of the runs that make them, finished or not."""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path
from shlex import quote
from typing import Any

from geoseg.errors import ConfigError
from geoseg.facts.common import Facts, band_rows, class_rows, file_mb
from geoseg.models.card import DEFAULT_MODEL, ModelCard, fingerprint, read_card, read_weights
from geoseg.presets import load_config
from geoseg.review.log import PART, Log

CONFIG, LOG, LAST = "config.yaml", "metrics.jsonl", "last.pt"
BEST, MODEL, REPORT = "best.safetensors", "model.safetensors", "report.html"

_VALIDATION = "val_"
_RANKED_BY = ("val_miou", "val_ap")
"""What epochs are compared by, of classes and of objects."""
_MAX_NAME = 80


def is_run(folder: Path) -> bool:
    """Whether a folder is one that ``geoseg train`` made."""
    return any((folder / name).is_file() for name in (MODEL, LAST, LOG))


def model_facts(path: Path) -> Facts:
    """What a model file says of itself; only its header is read, but for the fingerprint.

    Raises:
        ModelError: it is damaged, or no model of geoseg.
    """
    card, weights = read_card(path), read_weights(path)
    return {
        "kind": "model",
        "path": str(path),
        "is_default": DEFAULT_MODEL.exists() and path.samefile(DEFAULT_MODEL),
        "file_mb": file_mb(path),
        "parameters": weights.parameters,
        "weights": weights.precision,
        **_card_facts(card),
        "trained_with": {"geoseg": card.geoseg_version, "torch": card.torch_version},
        "sha256": fingerprint(path),
        "network": card.architecture.model_dump(mode="json"),
        "config": card.training.get("config"),
    }


def run_facts(run: Path) -> Facts:
    """What a run folder holds: its model when it is finished, else how far it is and how to go on.

    Raises:
        ModelError: the model, or the best one so far, is damaged.
    """
    course = _course(run)
    if (run / MODEL).is_file():
        facts = model_facts(run / MODEL)
        report = run / REPORT
        return facts | {
            "run": str(run),
            "finished": True,
            **course,
            "report": str(report) if report.is_file() else None,
        }
    facts = {"kind": "run", "path": str(run), "finished": False, **course}
    if (run / BEST).is_file():
        facts |= _card_facts(read_card(run / BEST))
    can_go_on = (run / LAST).is_file()
    facts["last_saved"] = _when(run / LAST) if can_go_on else None
    facts["go_on"] = f"geoseg train --tiles CHIPS --resume {quote(str(run))}" if can_go_on else None
    return facts


def _card_facts(card: ModelCard) -> Facts:
    scores = card.training.get("scores")
    scores = scores if isinstance(scores, dict) else {}
    rows = class_rows(card.classes)
    for row in rows:
        for name, by_class in (("iou", scores.get("iou")), ("ap", scores.get("class_ap"))):
            row[name] = _number(by_class.get(row["class"])) if isinstance(by_class, dict) else None
    return {
        "architecture": card.architecture.architecture,
        "classes": rows,
        "bands": band_rows(card.band_names, card.stats),
        "dtype": card.dtype,
        "gsd_m": card.gsd_m,
        "gsd_range_m": None if card.gsd_range_m is None else list(card.gsd_range_m),
        "chip_size_px": card.size_px,
        "training": {
            "epochs": _number(card.training.get("epochs")),
            "best_epoch": _number(card.training.get("best_epoch")),
            **{f"validation_{key[:_MAX_NAME]}": value for key, value in _numbers(scores).items()},
            "chips_sha256": _text(card.training.get("chips")),
        },
    }


def _course(run: Path) -> Facts:
    """How training went, from its log and its configuration."""
    log = Log.read(run / LOG)
    ranked_by = next((key for key in _RANKED_BY if log.curve(key) is not None), _RANKED_BY[0])
    last, best = len(log) - 1 if len(log) else None, log.best(ranked_by)
    seconds = log.total("seconds")
    scores = {
        key.removeprefix(_VALIDATION): log.at(key, last) for key in log.curves if key.startswith(_VALIDATION)
    }
    return {
        "epochs_done": len(log),
        "epochs_planned": _planned(run),
        "minutes": None if seconds is None else round(seconds / 60.0, 2),
        "last_loss": log.at("loss", last),
        "last_scores": {key: value for key, value in scores.items() if PART not in key},
        "last_class_scores": {key.partition(PART)[2]: value for key, value in scores.items() if PART in key},
        "best_epoch_so_far": None if best is None else log.epochs[best],
        "best_score_so_far": log.at(ranked_by, best),
    }


def _planned(run: Path) -> int | None:
    try:
        return load_config(str(run / CONFIG)).train.epochs if (run / CONFIG).is_file() else None
    except ConfigError:
        return None  # of a later geoseg, or edited; the log tells the rest


def _when(path: Path) -> str | None:
    """When a file was written; ``None`` for a time that no calendar knows: clocks are wrong at times."""
    with contextlib.suppress(ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(path.stat().st_mtime).astimezone().isoformat(timespec="seconds")
    return None


def _numbers(values: dict[Any, Any]) -> dict[str, float | int]:
    return {str(key): value for key, value in values.items() if _number(value) is not None}


def _number(value: Any) -> float | int | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) else None
