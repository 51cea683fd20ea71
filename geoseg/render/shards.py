"""Shards: the blocks of a prediction dealt out to several machines, and what merging them needs to know.

Which blocks a shard has follows from the plan alone, never from memory or workers, so that machines of
different sizes can share a scene without talking to each other.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from affine import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.rpc import RPC

from geoseg.classes import ClassMap
from geoseg.errors import InputError
from geoseg.raster.crs_text import names_a_file
from geoseg.raster.gdal import GDAL_ERRORS
from geoseg.raster.geobox import GeoBox
from geoseg.render.blocks import BlockGrid
from geoseg.render.memory import USUAL_CHIPS_WIDE

MAX_SHARDS = 10_000

_MAX_TEXT = 100_000


@dataclass(frozen=True, kw_only=True)
class ShardId:
    """One of several shards.

    Attributes:
        index: which one, from 1.
        count: how many there are.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count <= MAX_SHARDS:
            raise ValueError(f"no shard {self.index} of {self.count}")

    def __str__(self) -> str:
        return f"shard {self.index} of {self.count}"

    @classmethod
    def parse(cls, text: str) -> ShardId:
        """``2/4`` as the second of four.

        Raises:
            InputError: it is something else.
        """
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
        try:
            if found is not None:
                return cls(index=int(found[1]), count=int(found[2]))
        except ValueError:
            pass
        raise InputError(
            f"--shard {text}: write which one of how many, such as 1/4 to 4/4 (at most {MAX_SHARDS:,})"
        )

    def path(self, output: Path) -> Path:
        """The file of this shard of ``output``."""
        return output.with_name(f"{output.name}.shard-{self.index}-of-{self.count}")

    def of(self, order: Sequence[int]) -> Sequence[int]:
        """The blocks of this shard: an equal part of those wanted, neighbours of each other.

        Args:
            order: the blocks wanted, as :func:`in_order` has them.
        """
        return order[(self.index - 1) * len(order) // self.count : self.index * len(order) // self.count]


def strip_blocks(blocks: BlockGrid) -> int:
    """Columns of blocks in a strip of usual width, whatever the memory."""
    return max(1, USUAL_CHIPS_WIDE // blocks.chips_wide)


def in_order(blocks: BlockGrid, wanted: Iterable[int]) -> list[int]:
    """Blocks strip by strip, each from top to bottom: what is rendered together lies together."""
    wide = strip_blocks(blocks)
    return sorted(wanted, key=lambda block: (blocks.place(block)[1] // wide, *blocks.place(block)))


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What merging needs besides plan and blocks: neither scene nor model is there then.

    Attributes:
        geobox: grid of the mask.
        classes: names and colours of the ids.
        tags: TIFF tags of the mask.
        wanted: blocks of all shards together, as first and last numbers of ascending runs.
    """

    geobox: GeoBox
    classes: ClassMap
    tags: Mapping[str, str]
    wanted: tuple[tuple[int, int], ...]

    @property
    def wanted_count(self) -> int:
        """How many blocks there are in all shards."""
        return sum(last - first + 1 for first, last in self.wanted)

    def wanted_blocks(self) -> list[int]:
        """The blocks of all shards, ascending."""
        return list(itertools.chain.from_iterable(range(first, last + 1) for first, last in self.wanted))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; :meth:`from_json` reads it back, bit for bit."""
        return {
            "geobox": _geobox_to_json(self.geobox),
            "classes": self.classes.to_json(),
            "tags": dict(self.tags),
            "wanted": [list(run) for run in self.wanted],
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Facts:
        """Read what :meth:`to_json` made.

        Raises:
            ValueError: a key is missing, or a value is impossible.
        """
        try:
            return cls(
                geobox=_geobox_from_json(values["geobox"]),
                classes=ClassMap.from_json(values["classes"]),
                tags={_text(key): _text(value) for key, value in dict(values["tags"]).items()},
                wanted=_runs_from_json(values["wanted"]),
            )
        except (KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"a shard's facts are damaged: {error}") from error


def runs(numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Ascending numbers as first and last of each run without a gap."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return tuple(found)


def _runs_from_json(values: Any) -> tuple[tuple[int, int], ...]:
    found = tuple((_whole(first), _whole(last)) for first, last in values)
    edges = [edge for run in found for edge in run]
    inside = all(first <= last for first, last in found)
    apart = all(before[1] < after[0] for before, after in itertools.pairwise(found))
    if not inside or not apart or min(edges, default=0) < 0:
        raise ValueError("blocks that do not ascend")
    return found


_POLYNOMIALS = ("line_num_coeff", "line_den_coeff", "samp_num_coeff", "samp_den_coeff")
_TERMS = 20


def _geobox_to_json(geobox: GeoBox) -> dict[str, Any]:
    return {
        "crs": _crs_to_json(geobox.crs),
        "transform": list(geobox.transform)[:6],
        "shape": list(geobox.shape),
        "gcps": [[p.row, p.col, p.x, p.y, p.z, p.id, p.info] for p in geobox.gcps],
        "gcps_crs": _crs_to_json(geobox.gcps_crs),
        "rpcs": None if geobox.rpcs is None else geobox.rpcs.to_dict(),
    }


def _geobox_from_json(values: Any) -> GeoBox:
    height, width = (_whole(side) for side in values["shape"])
    if height < 1 or width < 1:
        raise ValueError("a grid without pixels")
    a, b, c, d, e, f = (_number(value) for value in values["transform"])
    return GeoBox(
        crs=_crs_from_json(values["crs"]),
        transform=Affine(a, b, c, d, e, f),
        shape=(height, width),
        gcps=tuple(_gcp_from_json(point) for point in values["gcps"]),
        gcps_crs=_crs_from_json(values["gcps_crs"]),
        rpcs=None if (rpcs := values.get("rpcs")) is None else _rpcs_from_json(rpcs),
    )


def _rpcs_from_json(values: Any) -> RPC:
    found = RPC(**{key: _coefficient(value) for key, value in dict(values).items()})
    if any(len(getattr(found, name)) != _TERMS for name in _POLYNOMIALS):
        raise ValueError("rational polynomials of another length")
    return found


def _coefficient(value: Any) -> Any:
    if isinstance(value, list):
        return [_number(each) for each in value]
    return None if value is None else _number(value)


def _gcp_from_json(values: Any) -> GroundControlPoint:
    row, col, x, y, z, name, info = values
    return GroundControlPoint(
        _number(row),
        _number(col),
        _number(x),
        _number(y),
        None if z is None else _number(z),
        None if name is None else _text(name),
        None if info is None else _text(info),
    )


def _crs_to_json(crs: CRS | None) -> str | None:
    # WKT 1, which is the default, loses what it has no words for.
    return None if crs is None else str(crs.to_wkt(version="WKT2_2019"))


def _crs_from_json(text: Any) -> CRS | None:
    if text is None:
        return None
    if names_a_file(_text(text)):
        raise ValueError("a CRS that leads to another file")
    try:
        return CRS.from_wkt(_text(text))
    except GDAL_ERRORS as error:
        raise ValueError(f"no CRS: {' '.join(str(error).split())[:100]}") from error


def _whole(value: Any) -> int:
    if type(value) is not int:
        raise TypeError("no whole number")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError("no number")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        raise TypeError("no text")
    # A lone surrogate would break whoever prints or writes it; UnicodeEncodeError is a ValueError.
    value.encode()
    return value


def dumps(values: Mapping[str, Any]) -> bytes:
    """JSON of a member, the same bytes for the same values."""
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False).encode()
