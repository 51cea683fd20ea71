"""Damaged files by the million: ``make fuzz``, and a short form of it among the slow tests.

Targets are modules ``fuzz.target_NAME``; each has its sound inputs made here, damages that know the format,
and the calls that users make on it. :mod:`fuzz.core` tries them.
"""

from __future__ import annotations

import importlib

from fuzz.core import Target

TARGETS = ("geotiff", "vectors", "sidecars", "masks", "chips", "coco", "models", "config", "shards")


def load(name: str) -> Target:
    """A target; what it needs is imported only now."""
    target: Target = importlib.import_module(f"fuzz.target_{name}").TARGET
    return target
