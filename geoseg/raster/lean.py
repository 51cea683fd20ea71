"""Imports pyogrio without the packages that it only wants to know the version of."""

from __future__ import annotations

import contextlib
import importlib.metadata
import sys
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def _stand_ins(*names: str) -> Iterator[None]:
    """Let packages that nobody has imported yet be imported for their version only.

    pyogrio imports geopandas and pyarrow to see which it has to do with: a quarter of a second each time.
    """
    made = []
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                stand_in = ModuleType(name)
                stand_in.__dict__["__version__"] = importlib.metadata.version(name)
                sys.modules[name] = stand_in
                made.append(name)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


with _stand_ins("geopandas", "pandas", "pyarrow"):
    import pyogrio

__all__ = ["pyogrio"]
