"""CRSs that name files. PROJ opens whatever ``+init=FILE:NAME`` or ``+nadgrids=FILE`` says, wherever it lies.

Grids of PROJ's own folders have names without a slash (``BETA2007.gsb``), and are left to PROJ.
"""

from __future__ import annotations

import html
import re

_BY_PROJ = re.compile(r"(init|nadgrids|geoidgrids|grids|file)\s*=\s*[^\s\"',]*[/\\]", re.IGNORECASE)
_BY_WKT = re.compile(r"(PROJ4_GRIDS\"|PARAMETERFILE\s*[\[(]\s*\"[^\"]*\")\s*,\s*\"[^\"]*[/\\]", re.IGNORECASE)


def names_a_file(text: str | bytes) -> bool:
    """Whether a CRS (WKT, PROJ string, or text that holds one, XML too) leads PROJ to a file by its path."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    text = html.unescape(text).replace('""', '"')
    return bool(_BY_PROJ.search(text) or _BY_WKT.search(text))
