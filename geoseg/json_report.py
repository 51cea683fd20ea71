"""Reports of verbs as JSON: what ``--json`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from geoseg.raster.remote import shown


class JsonReport:
    """Base of dataclasses that report on a run."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict of the attributes; paths are texts without what may be secret in them."""
        return _attributes(self)


def _attributes(report: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(report, field.name)) for field in fields(report)}


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return shown(value)
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value):
        return _attributes(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value
