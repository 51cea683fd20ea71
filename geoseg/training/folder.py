"""The run folder, and what is checked before anything heavy is imported (no torch).

::

    runs/NAME/config.yaml          resolved configuration
    runs/NAME/metrics.jsonl        a line for every finished epoch
    runs/NAME/last.pt              state to go on from
    runs/NAME/best.safetensors     best weights so far
    runs/NAME/model.safetensors    the finished model
    runs/NAME/report.html          what happened, to look at
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from geoseg.chips.balance import class_weights
from geoseg.chips.store import ChipStore
from geoseg.config import Config
from geoseg.errors import ChipsError, ConfigError, ModelError, OutputError
from geoseg.outputs import check_output_folder
from geoseg.presets import dump_config, load_config

RUNS = Path("runs")
CONFIG, METRICS, LAST = "config.yaml", "metrics.jsonl", "last.pt"
BEST, MODEL, REPORT = "best.safetensors", "model.safetensors", "report.html"


def prepare(run: Path | None, config: Config | None, *, resume: bool, overwrite: bool) -> tuple[Path, Config]:
    """The run folder and the configuration to use, when both may be used.

    Raises:
        OutputError: the run exists, or is to be resumed and replaced at once.
        ModelError: there is nothing to resume.
        ConfigError: the configuration of the run to resume is damaged.
    """
    if resume:
        return _prepare_resume(run, config, overwrite=overwrite)
    config = config or Config()
    if run is None:
        short = config.model.architecture.removeprefix("deeplabv3_").removeprefix("maskrcnn_").split("_")[0]
        run = RUNS / f"{datetime.now():%Y%m%d-%H%M%S}-{short}"
    if (run / LAST).is_file() and not (run / MODEL).exists() and not overwrite:
        raise OutputError(f"run {run} exists; go on with --resume {run}, or use --overwrite to start anew")
    if run.exists() or run.parent != RUNS:
        check_output_folder(run, overwrite=overwrite, marker=CONFIG)
    return run, config


def _prepare_resume(run: Path | None, config: Config | None, *, overwrite: bool) -> tuple[Path, Config]:
    if run is None or overwrite:
        raise OutputError("to resume, name the run folder and do not overwrite it; use --resume RUN alone")
    if not (run / LAST).is_file() or not (run / CONFIG).is_file():
        raise ModelError(f"{run} is no run that can be resumed (no {LAST}); train without --resume")
    return run, config or load_config(str(run / CONFIG))


def check_same(state: Mapping[str, Any], store: ChipStore, config: Config, run: Path) -> None:
    """Refuse to go on with other chips or another configuration.

    Raises:
        ChipsError: the chips are others.
        ConfigError: the configuration is.
    """
    if state.get("chips") != store.fingerprint():
        raise ChipsError(
            f"chips {store.folder} are not those run {run} was trained on; give those, or train a new run"
        )
    now, then = dump_config(config), str(state.get("config"))
    if now != then:
        changed = sorted(set(now.splitlines()) ^ set(then.splitlines()))
        raise ConfigError(
            f"configuration differs from that of run {run} ({changed[0].strip()}); "
            "resume without changing it, or train a new run"
        )


def check_chips(store: ChipStore, config: Config) -> list[float] | None:
    """Refuse chips that cannot be trained on; the class weights otherwise.

    Raises:
        ChipsError: nothing to train on.
        ConfigError: the configuration does not fit the chips.
    """
    names = store.classes.names
    chips = store.chips("train")
    if config.model.task == "instance" and store.task != "instance":
        raise ChipsError(
            f"chips {store.folder} do not tell objects apart, which {config.model.architecture} learns; "
            "tile with --task instance"
        )
    if not chips:
        raise ChipsError(f"chips {store.folder} have no train split; tile more land, or with smaller shares")
    pixels = np.array([chip.class_pixels for chip in chips], np.int64)
    if not pixels.any():
        raise ChipsError(f"chips {store.folder} have no labelled pixel to train on; tile with other labels")
    if len(names) < 2:
        raise ChipsError(f"chips {store.folder} have one class only ({names[0]}); tile with two or more")
    if config.train.crop_px is not None and config.train.crop_px > store.size_px:
        raise ConfigError(
            f"train.crop_px {config.train.crop_px} is larger than the chips ({store.size_px} px); lower it"
        )
    kind = config.loss.class_weights
    if kind == "auto":
        kind = "none" if store.classes.boundary is None else "inverse_sqrt"
    if not isinstance(kind, str) and len(kind) != len(names):
        raise ConfigError(f"loss.class_weights: {len(kind)} weights for {len(names)} classes; give one each")
    return class_weights(kind, pixels)
