"""What the class ids mean, and what the bands look like: the two facts that travel from labels to polygons.

Class ids are ``0..K-1``. **255 is ignore and nodata** in labels, losses, metrics and masks.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IGNORE = 255
"""The class id of pixels that are unknown in labels and nodata in masks."""

MAX_CLASSES = 254

MAX_NAME = 200
"""Longest class name in characters; COCO files have the same limit."""

# Controls, halves of characters, line and paragraph separators; and what turns the direction of writing.
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

# Okabe and Ito's palette, told apart with every common form of colour vision (jfly.uni-koeln.de/color), then
# evenly spread hues. Id 0 as background is drawn in grey.
_PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
_BACKGROUND_COLOR = "#8C8C8C"

BOUNDARY = "boundary"
"""Name of the class that ``tile --boundary`` draws between polygons."""

_LARGEST = float(np.finfo(np.float32).max)
_LEAST_STD = float(np.finfo(np.float32).tiny)
"""No spread is smaller: one over it would be infinite in float32."""

# Black, the eighth of Okabe and Ito's palette: lines between parcels as on a map.
_BOUNDARY_COLOR = "#000000"


@dataclass(frozen=True, kw_only=True)
class ClassMap:
    """Names and colours of the classes; the position is the class id.

    Attributes:
        names: class names, unique, id 0 first; see :func:`name_trouble`.
        colors: ``#RRGGBB``, one a class.
        background: id of the class that unlabelled land got, or ``None``.
            Vectorize leaves it out unless asked.
        boundary: id of the class drawn between touching polygons to tell them apart, or ``None``.
            It is no land of its own: its pixels belong to the polygons beside them.
    """

    names: tuple[str, ...]
    colors: tuple[str, ...]
    background: int | None = None
    boundary: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) <= MAX_CLASSES:
            raise ValueError(f"{len(self.names)} classes; 1 to {MAX_CLASSES} are possible")
        if len(set(self.names)) != len(self.names):
            raise ValueError("class names are not unique")
        for name in self.names:
            trouble = name_trouble(name)
            if trouble is not None:
                raise ValueError(f"the class name {short_name(name)} {trouble}")
        if len(self.colors) != len(self.names):
            raise ValueError("there must be one colour for each class")
        for color in self.colors:
            hex_digits_to_rgb(color)
        if self.background is not None and not 0 <= self.background < len(self.names):
            raise ValueError("background is not one of the class ids")
        if self.boundary is not None and not 0 <= self.boundary < len(self.names):
            raise ValueError("boundary is not one of the class ids")
        if self.boundary is not None and self.boundary == self.background:
            raise ValueError("background and boundary are one class")

    @classmethod
    def from_names(cls, names: Sequence[str], *, background: int | None = None) -> ClassMap:
        """Classes of these names with the default colours."""
        colors = []
        for class_id in range(len(names)):
            if class_id == background:
                colors.append(_BACKGROUND_COLOR)
            else:
                colors.append(default_color(len(colors) - (background is not None and class_id > background)))
        return cls(names=tuple(names), colors=tuple(colors), background=background)

    def with_boundary(self) -> ClassMap:
        """These classes and, as the last one, ``boundary``.

        Raises:
            ValueError: the name is taken, or there are too many classes.
        """
        if any(name.casefold() == BOUNDARY for name in self.names):
            raise ValueError(f"a class is called {BOUNDARY} already")
        return ClassMap(
            names=(*self.names, BOUNDARY),
            colors=(*self.colors, _BOUNDARY_COLOR),
            background=self.background,
            boundary=len(self.names),
        )

    def __len__(self) -> int:
        return len(self.names)

    def id_of(self, name: str) -> int:
        """Id of the class called ``name``.

        Raises:
            KeyError: there is no such class.
        """
        if name not in self.names:
            raise KeyError(name)
        return self.names.index(name)

    def rgb(self, class_id: int) -> tuple[int, int, int]:
        """Colour of a class as three values 0..255."""
        return hex_digits_to_rgb(self.colors[class_id])

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; :meth:`from_json` reads it back."""
        return {
            "names": list(self.names),
            "colors": list(self.colors),
            "background": self.background,
            "boundary": self.boundary,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ClassMap:
        """Read what :meth:`to_json` made.

        Raises:
            ValueError: a key is missing or a value is impossible.
        """
        try:
            names, colors = values["names"], values["colors"]
            marks = {key: values.get(key) for key in ("background", "boundary")}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"class map without {error}") from error
        if not (_is_strings(names) and _is_strings(colors)):
            raise ValueError("class names and colours must be lists of text")
        for key, class_id in marks.items():
            if class_id is not None and (isinstance(class_id, bool) or not isinstance(class_id, int)):
                raise ValueError(f"{key} must be a class id")
        return cls(names=tuple(names), colors=tuple(colors), **marks)


def name_trouble(name: str) -> str | None:
    """Why a text cannot be a class name: names stand in legends, tables, TIFF tags and XML, a line each."""
    if not name.strip():
        return "is blank"
    if len(name) > MAX_NAME:
        return f"has {len(name):,} characters, and {MAX_NAME} are possible"
    if any(unicodedata.category(sign) in _UNSEEN or sign in _TURNING for sign in name):
        return "has control characters"
    return None


def short_name(name: str) -> str:
    """A class name for a message: quoted, escaped, not too long."""
    return repr(name if len(name) <= 40 else f"{name[:37]}...")


def _is_strings(values: object) -> bool:
    return isinstance(values, list | tuple) and all(isinstance(value, str) for value in values)


def hex_digits_to_rgb(color: str) -> tuple[int, int, int]:
    """``#RRGGBB`` as three values 0..255.

    Raises:
        ValueError: ``color`` is not of that form.
    """
    digits = color.removeprefix("#")
    if len(digits) != 6 or not all(digit in "0123456789abcdefABCDEF" for digit in digits):
        raise ValueError(f"{color!r} is not a colour of the form #RRGGBB")
    return int(digits[0:2], 16), int(digits[2:4], 16), int(digits[4:6], 16)


def default_color(index: int) -> str:
    """The ``index``-th default colour: a colour-blind-safe palette first, then hues a golden angle apart."""
    if index < len(_PALETTE):
        return _PALETTE[index]
    hue = (index * 0.618033988749895) % 1.0
    lightness = 0.45 + 0.2 * (index % 2)
    return "#" + "".join(f"{round(255 * channel):02X}" for channel in _hsl_to_rgb(hue, 0.65, lightness))


def _hsl_to_rgb(hue: float, saturation: float, lightness: float) -> tuple[float, float, float]:
    import colorsys

    return colorsys.hls_to_rgb(hue, lightness, saturation)


def exact_float(dtype: Any) -> type[np.float32 | np.float64]:
    """The float in which bands of ``dtype`` are centred: float32 where that holds all values, else float64.

    Once a mean is taken off, the rest fits float32; before, 100,000,001 and 100,000,003 would become one.
    """
    return np.float32 if np.can_cast(dtype, np.float32) else np.float64


@dataclass(frozen=True, kw_only=True)
class BandStats:
    """Per-band statistics over valid pixels, in the scene's own units (float64).

    Made once by ``tile`` (:mod:`geoseg.chips.tally`), kept in the model, never recomputed at prediction.

    Attributes:
        count: pixels they are of, one a band: bands of floating-point scenes may miss different pixels, and
            values far off the others may be left out.
        mean: arithmetic mean, one a band.
        m2: sum of squared distances from the mean, one a band; ``std`` follows from it.
        minimum: smallest valid value, one a band, however far off.
        maximum: largest valid value, one a band, however far off.
        limit_std: normalised values beyond this, on either side of 0, are taken as this, so that no pixel
            can outshout all others; ``None`` has no limit, as in models made before there was one.
    """

    count: tuple[int, ...]
    mean: tuple[float, ...]
    m2: tuple[float, ...]
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    limit_std: float | None = None

    @property
    def std(self) -> tuple[float, ...]:
        """Population standard deviation, one a band."""
        return tuple(math.sqrt(m2 / n) if n else 0.0 for m2, n in zip(self.m2, self.count, strict=True))

    @property
    def scale(self) -> tuple[float, ...]:
        """What one unit is when normalised, one a band: ``std``, or 1 for a band without spread."""
        return tuple(std if std >= _LEAST_STD else 1.0 for std in self.std)

    def normalise(self, bands: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
        """What the network sees: ``(bands - mean) / std``, 0 where not ``valid`` or not finite.

        With its twin on the network's device, :mod:`geoseg.models.normalise`, the only place that
        normalises, so that training and prediction cannot differ.

        Args:
            bands: (B, H, W), any real dtype.
            valid: (H, W).

        Returns:
            (B, H, W) float32, within ``limit_std``. A band without spread is only centred.
        """
        exact = exact_float(bands.dtype)
        mean = np.array(self.mean, exact).reshape(-1, 1, 1)
        scale = np.array([1.0 / scale for scale in self.scale], exact).reshape(-1, 1, 1)
        usable, floating = valid, np.issubdtype(bands.dtype, np.floating)
        with np.errstate(over="ignore"):
            normal: NDArray[Any] = bands.astype(exact)
            if floating and self.limit_std is not None:
                # Before values grow beyond all numbers, as they may, up to the limit.
                usable = valid & np.isfinite(normal.astype(np.float32, copy=False))
            normal -= mean
            normal *= scale
            if self.limit_std is not None:
                np.clip(normal, -self.limit_std, self.limit_std, out=normal)
            normal = normal.astype(np.float32, copy=False)
        if floating and self.limit_std is None:
            usable = valid & np.isfinite(normal)
        return np.where(usable, normal, np.float32(0.0))

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict; ``std`` is written for readers, :meth:`from_json` uses the rest."""
        return {
            "count": list(self.count),
            "mean": list(self.mean),
            "std": list(self.std),
            "m2": list(self.m2),
            "minimum": list(self.minimum),
            "maximum": list(self.maximum),
            "limit_std": self.limit_std,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> BandStats:
        """Read what :meth:`to_json` made.

        Raises:
            ValueError: a key is missing, lengths differ or a value is not a finite number.
        """
        try:
            count = tuple(int(n) for n in values["count"])
            columns = {
                key: tuple(float(v) for v in values[key]) for key in ("mean", "m2", "minimum", "maximum")
            }
            limit = values.get("limit_std")
            limit_std = None if limit is None else float(limit)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"band statistics are damaged: {error}") from error
        if any(len(column) != len(count) for column in columns.values()):
            raise ValueError("band statistics of different lengths")
        if any(not math.isfinite(v) for column in columns.values() for v in column):
            raise ValueError("band statistics that are not finite")
        if any(abs(mean) > _LARGEST for mean in columns["mean"]):
            raise ValueError("band statistics beyond all numbers of float32")
        if not all(0 <= n < 2**63 for n in count) or not all(v >= 0.0 for v in columns["m2"]):
            raise ValueError("band statistics with a count or a spread below 0")
        if limit_std is not None and not (math.isfinite(limit_std) and limit_std > 0.0):
            raise ValueError(f"band statistics with a limit of {limit_std}")
        return cls(count=count, **columns, limit_std=limit_std)
