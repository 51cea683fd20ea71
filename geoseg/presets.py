"""Where a configuration comes from: presets, files, and single settings on the command line.

A preset or ``--config`` file holds only what differs from the defaults in :mod:`geoseg.config`::

    model:
      architecture: deeplabv3_resnet50
    train:
      epochs: 80

Unknown keys are errors. The file is size-capped and safe-loaded: it may come from a stranger.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from geoseg.config import Config, Task, validate
from geoseg.errors import ConfigError

MAX_CONFIG_BYTES = 100_000
"""Largest file read: one with every setting has 3 kB, and this much may take a second already."""

_MAX_DEPTH = 20


def presets_folder() -> Path:
    """Folder of the presets: inside the installed package, or ``configs/`` of the checkout."""
    packaged = Path(__file__).parent / "configs"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "configs"


def preset_names() -> list[str]:
    """Names ``--config`` takes besides paths."""
    return sorted(path.stem for path in presets_folder().glob("*.yaml"))


def preset_for(task: Task) -> str | None:
    """Name of the preset for chips of a task when nothing is said; ``None``: the defaults."""
    return {"semantic": None, "instance": "maskrcnn_mobilenet"}[task]


def load_config(
    name_or_path: str | None = None,
    overrides: Sequence[str] = (),
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Config:
    """Read a preset or a YAML file, lay ``section.key=value`` overrides over it, and ``options`` over both.

    Args:
        name_or_path: nothing but the defaults when not given.
        overrides: as ``--set`` has them.
        options: values by section and key; ``None`` is not given.

    Raises:
        ConfigError: no such preset or file, not YAML, unknown key, or a value out of range.
    """
    values = {} if name_or_path is None else _read_yaml(_find_config(name_or_path))
    for override in overrides:
        _apply_override(values, override)
    for section, changes in (options or {}).items():
        for name, value in changes.items():
            if value is not None:
                _section(values, section, section)[name] = value
    return validate(Config, values, where=name_or_path or "--set")


def dump_config(config: Config) -> str:
    """The resolved configuration as YAML that :func:`load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _find_config(name_or_path: str) -> Path:
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        if not path.is_file():
            raise ConfigError(
                f"config {path} does not exist; give a YAML file or one of {', '.join(preset_names())}"
            )
        return path
    preset = presets_folder() / f"{name_or_path}.yaml"
    if name_or_path not in preset_names():
        raise ConfigError(
            f"no preset called {name_or_path}; give a YAML file or one of {', '.join(preset_names())}"
        )
    return preset


_YAML_ERRORS = (yaml.YAMLError, ValueError, OverflowError, LookupError, AttributeError, RecursionError)
"""What PyYAML raises; of days like 2026-99-99 and tags that do not fit their value not its own errors."""


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without aliases: a few hundred bytes of them can unfold to gigabytes.

    And without lists in lists in lists: the time they take grows with the square of their depth.
    """

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not allowed")
        if self._depth == _MAX_DEPTH:
            raise yaml.YAMLError(f"more than {_MAX_DEPTH} levels deep")
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _read_yaml(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_CONFIG_BYTES} bytes; this is no geoseg config")
    try:
        values = yaml.load(path.read_bytes(), Loader=_PlainLoader)
    except _YAML_ERRORS as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"{path} is not readable as YAML: {reason}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path} holds no section; write for example 'train:' and below it '  epochs: 80'")
    return values


def _apply_override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    section, dot, name = key.partition(".")
    if not (equals and dot and name):
        raise ConfigError(f"--set {override}: write section.key=value, for example train.epochs=80")
    try:
        value = yaml.load(text, Loader=_PlainLoader)
    except _YAML_ERRORS as error:
        raise ConfigError(f"--set {override}: the value is not readable") from error
    _section(values, section, f"--set {override}")[name] = value


def _section(values: dict[str, Any], section: str, where: str) -> dict[str, Any]:
    branch = values.setdefault(section, {})
    if branch is None:
        branch = values[section] = {}
    if not isinstance(branch, dict):
        raise ConfigError(f"{where}: {section} is no section")
    return branch
