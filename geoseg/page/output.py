"""Where a page may be written. Importing this imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from geoseg.errors import OutputError
from geoseg.outputs import check_output

SUFFIXES = (".html", ".htm")


def check_page(
    path: Path, *, overwrite: bool, inputs: Iterable[Path] = (), outputs: Iterable[Path] = ()
) -> None:
    """Refuse a page that cannot or must not be written, before any work is done.

    Args:
        path: the page.
        overwrite: whether it may replace a file.
        inputs: files it must not replace.
        outputs: what else is written, which it must not replace either.

    Raises:
        OutputError: it is no ``.html``, is one of ``outputs``, or as :func:`geoseg.outputs.check_output`.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise OutputError(f"{path} is no page; name it .html")
    for other in outputs:
        if path.absolute() == other.absolute():
            raise OutputError(f"{path} is named for two outputs; choose another one for the page")
    check_output(path, overwrite=overwrite, inputs=inputs)
