"""What a raster of predictions holds, apart from its pixels: bands, their meaning, and how they are stored.

Masks of class ids, class probabilities, and the uncertainty of a mask are uint8 with 255 for nodata; what is
a share of one is stored in steps of 1/254, with GDAL's band scale, so that a GIS shows shares. Ids of objects
are int32, with 0 where there is none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from geoseg.classes import IGNORE, ClassMap

STEPS = IGNORE - 1
"""A share p of one (probability, uncertainty) is stored as round(254 p)."""

# Against LZW on class rasters of 6 to 64 million pixels: 1.0 to 1.2 times the time, as overviews by mode take
# most of it, for 0.5 to 0.9 of the room.
_IDS = MappingProxyType({"COMPRESS": "DEFLATE"})

# Against this, on smooth and sharp probabilities of 2 and 8 classes and their uncertainty: the default level
# takes 1.3 to 3 times the time for 3 to 12 % less room, LZW 1.1 to 1.4 times for -8 to +14 %, ZSTD (which
# not every reader has) 1.2 to 2.4 times for 6 to 16 % less; without predictor it is up to 29 % more room.
_SHARES = MappingProxyType(
    {"COMPRESS": "DEFLATE", "LEVEL": "1", "PREDICTOR": "YES", "OVERVIEW_PREDICTOR": "YES"}
)


@dataclass(frozen=True, kw_only=True)
class Layer:
    """What a raster holds. Made by :func:`mask_layer`, :func:`probability_layer` and the like.

    Attributes:
        what: how messages call the raster.
        descriptions: one a band; there are as many bands.
        overviews: how coarser levels are made of finer ones. Nodata never counts.
        storage: creation options of GDAL's COG driver.
        scale: a value times this is what it means; ``None`` where values are class ids.
        classes: what the file's ``GEOSEG_CLASSES`` tag tells, if anything.
        shows_classes: whether values are ids of ``classes``, so that the file gets their palette and names.
        dtype: type of the values.
        nodata: value of pixels without data.
    """

    what: str
    descriptions: tuple[str, ...]
    overviews: Literal["MODE", "AVERAGE", "NEAREST"]
    storage: Mapping[str, str] = field(hash=False)
    scale: float | None = None
    classes: ClassMap | None = None
    shows_classes: bool = False
    dtype: Literal["uint8", "int32"] = "uint8"
    nodata: int = IGNORE

    def __post_init__(self) -> None:
        if not self.descriptions:
            raise ValueError("a layer has at least one band")
        if self.shows_classes and (self.classes is None or self.count != 1):
            raise ValueError("only one band of ids of known classes can show them")

    @property
    def count(self) -> int:
        """Bands."""
        return len(self.descriptions)


def mask_layer(classes: ClassMap) -> Layer:
    """One band of class ids, with palette and class names; overviews show the most frequent class."""
    return Layer(
        what="mask",
        descriptions=("class",),
        overviews="MODE",
        storage=_IDS,
        classes=classes,
        shows_classes=True,
    )


def probability_layer(classes: ClassMap) -> Layer:
    """One band a class, in their order and by their names, of round(254 p)."""
    return Layer(
        what="probabilities",
        descriptions=classes.names,
        overviews="AVERAGE",
        storage=_SHARES,
        scale=1 / STEPS,
        classes=classes,
    )


def uncertainty_layer() -> Layer:
    """One band of round(254 (1 - m)), m being how much likelier the likeliest class is than the next."""
    return Layer(
        what="uncertainty",
        descriptions=("uncertainty",),
        overviews="AVERAGE",
        storage=_SHARES,
        scale=1 / STEPS,
    )


def ids_layer() -> Layer:
    """One band of ids of objects, 0 where there is none; overviews show some of them, as a mean is no id."""
    return Layer(
        what="ids",
        descriptions=("id",),
        overviews="NEAREST",
        storage=_IDS,
        dtype="int32",
        nodata=0,
    )
