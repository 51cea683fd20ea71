"""Which square of a chip is shown, and how large: a crop at any scale.

Coordinates are in pixels of the chip from its upper left corner, so that pixel i reaches from i to i + 1 and
its centre is at i + 0.5, in the chip and in the view alike. Bands, validity and labels go by these centres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.classes import IGNORE, BandStats, exact_float

_TRIES = 4


@dataclass(frozen=True, kw_only=True)
class View:
    """A square part of a chip.

    Attributes:
        row: its upper edge, in pixels of the chip; below 0 where it reaches beyond the chip.
        col: its left edge.
        size_px: pixels along its side.
        step: pixels of the chip for one of the view; above 1 it shows more land than the chip's own scale.
    """

    row: float
    col: float
    size_px: int
    step: float

    def of(
        self, bands: NDArray[Any], valid: NDArray[np.bool_], labels: NDArray[np.uint8], stats: BandStats
    ) -> tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.uint8]]:
        """What it shows of a chip; only the pixels that are needed are worked on.

        Args:
            bands: (B, S, S) of any real dtype.
            valid: (S, S).
            labels: (S, S).
            stats: of the bands, with the limit beyond which no value may shine upon its neighbours.

        Returns:
            Bands (B, N, N) of :func:`geoseg.classes.exact_float`, not a number where a band of floating-point
            numbers has none, and 0 where not valid; valid (N, N), False beyond the chip; labels (N, N), 255
            there.
        """
        rows, cols = self.axes(labels.shape)
        part = rows.part, cols.part
        bands, valid, labels = bands[:, *part], valid[part], labels[part]
        usable = valid
        if np.issubdtype(bands.dtype, np.floating):
            with np.errstate(over="ignore"):
                usable = valid & np.isfinite(bands.astype(np.float32, copy=False))
        exact = exact_float(bands.dtype)
        image = bands.astype(exact)
        if stats.limit_std is not None:
            mean: NDArray[Any] = np.array(stats.mean, exact)[:, None, None]
            reach: NDArray[Any] = np.array(stats.scale, exact)[:, None, None]
            reach = reach * np.asarray(stats.limit_std, exact)
            np.clip(image, mean - reach, mean + reach, out=image)
        if not usable.all():
            image = np.where(usable, image, exact(0.0))
        mixed = mix(image, usable, rows, cols)
        shown = pick(valid, False, rows, cols)
        if usable.ndim == 3:
            mixed[~pick(usable, False, rows, cols)] = np.nan
        mixed[:, ~shown] = 0.0
        return mixed, shown, pick(labels, IGNORE, rows, cols)

    def of_objects(self, numbers: NDArray[np.uint16]) -> NDArray[np.uint16]:
        """What it shows of a chip's objects (S, S), as it shows labels: (N, N), 0 beyond the chip."""
        rows, cols = self.axes(numbers.shape)
        return pick(numbers[rows.part, cols.part], 0, rows, cols)

    def window(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of a chip of ``shape`` between those that the view's outermost pixels show."""
        rows, cols = (axis.shown() for axis in self.axes(shape))
        return rows, cols

    def axes(self, shape: tuple[int, int]) -> tuple[Axis, Axis]:
        """Rows and columns, for a chip of ``shape``."""
        rows, cols = (
            Axis.of(start, self.step, self.size_px, length)
            for start, length in zip((self.row, self.col), shape, strict=True)
        )
        return rows, cols


@dataclass(frozen=True, kw_only=True)
class Axis:
    """How the pixels of a view lie on those of a chip, along one axis; N are the view's pixels.

    Attributes:
        part: the chip's pixels that are needed; all indices count from its start.
        taps: (T, N) pixels that are mixed for bands.
        weights: (T, N) float32 shares of them; their sum is 1, or 0 for pixels beyond the chip.
        nearest: (N,) the pixel in which the view's pixel has its centre.
        inside: (N,) whether there is one.
    """

    part: slice
    taps: NDArray[np.intp]
    weights: NDArray[np.float32]
    nearest: NDArray[np.intp]
    inside: NDArray[np.bool_]

    @classmethod
    def of(cls, start: float, step: float, size_px: int, length: int) -> Axis:
        """The axis of a view that begins at ``start``, on a chip ``length`` pixels long.

        Bands are linear between the chip's pixels. Where the view shrinks them, that line is averaged over a
        piece as long as what was left out, so that there are no aliases. An even slope stays one, unmoved:
        the usual triangle as wide as the view's pixel moves it by up to 0.09 pixels.
        """
        centres = start + (np.arange(size_px) + 0.5) * step
        piece = max(0.0, min(2.0 * (step - 1.0), step))
        reach = 1.0 + piece / 2.0
        first = np.floor(centres - 0.5 - reach).astype(np.intp) + 1
        taps = first + np.arange(math.ceil(2.0 * reach), dtype=np.intp)[:, None]
        weights = _averaged_triangle(taps + 0.5 - centres, piece)
        weights[(taps < 0) | (taps >= length)] = 0.0
        inside = (centres >= 0.0) & (centres < length)
        weights *= np.where(inside, 1.0 / np.maximum(weights.sum(axis=0), 1e-6), 0.0)
        low, high = _extent(taps[weights > 0.0])
        return cls(
            part=slice(low, high),
            taps=np.clip(taps, low, high - 1) - low,
            weights=weights.astype(np.float32),
            nearest=np.clip(np.floor(centres).astype(np.intp), low, high - 1) - low,
            inside=inside,
        )

    def shown(self) -> slice:
        """The chip's pixels between those in which the outermost pixels of the view have their centres."""
        picked = self.nearest[self.inside] + self.part.start
        return slice(int(picked.min()), int(picked.max()) + 1) if len(picked) else slice(0, 0)


def _averaged_triangle(at: NDArray[np.float64], piece: float) -> NDArray[np.float64]:
    """The triangle from -1 to 1, averaged over ``piece`` around each place."""
    if piece < 1e-4:
        return np.maximum(0.0, 1.0 - np.abs(at))

    def area(below: NDArray[np.float64]) -> NDArray[np.float64]:
        end = np.clip(below, -1.0, 1.0)
        return end - end * np.abs(end) / 2.0

    return (area(at + piece / 2.0) - area(at - piece / 2.0)) / piece


def _extent(taps: NDArray[np.intp]) -> tuple[int, int]:
    return (int(taps.min()), int(taps.max()) + 1) if taps.size else (0, 1)


def mix(image: NDArray[Any], usable: NDArray[np.bool_], rows: Axis, cols: Axis) -> NDArray[Any]:
    """Bands of a view; pixels that are not usable take no part.

    Args:
        image: (B, h, w) floats, the parts of the axes, 0 where not usable.
        usable: (h, w) or (B, h, w).
        rows: of the view, N pixels.
        cols: of the view, M pixels.

    Returns:
        (B, N, M) of the same dtype, 0 beyond the chip. Right where :func:`pick` finds ``usable``.
    """
    mixed = _mix(image, rows, cols)
    if usable.all():
        return mixed
    share = _mix(usable.reshape(-1, *usable.shape[-2:]).astype(np.float32), rows, cols)
    mixed /= np.maximum(share, np.float32(1e-3))
    return mixed


def _mix(image: NDArray[Any], rows: Axis, cols: Axis) -> NDArray[Any]:
    # Band by band, and rows both times: whole rows are moved, and what is worked on stays in the cache.
    mixed = np.empty((len(image), len(rows.inside), len(cols.inside)), image.dtype)
    for band, result in zip(image, mixed, strict=True):
        result[:] = _mix_rows(np.ascontiguousarray(_mix_rows(band, rows).T), cols).T
    return mixed


def _mix_rows(values: NDArray[Any], axis: Axis) -> NDArray[Any]:
    """Rows (N, w) of a view, of the rows (h, w) of a chip."""
    mixed = np.zeros((len(axis.inside), values.shape[1]), values.dtype)
    rows = np.empty_like(mixed)
    for taps, weights in zip(axis.taps, axis.weights[:, :, None], strict=True):
        np.take(values, taps, axis=0, out=rows, mode="clip")
        rows *= weights
        mixed += rows
    return mixed


def pick(values: NDArray[Any], outside: Any, rows: Axis, cols: Axis) -> NDArray[Any]:
    """What lies at the centres of a view's pixels.

    Args:
        values: (..., h, w) the parts of the axes.
        outside: the value beyond the chip.
        rows: of the view, N pixels.
        cols: of the view, M pixels.

    Returns:
        (..., N, M) of the same dtype.
    """
    picked = np.take(np.take(values, rows.nearest, axis=-2), cols.nearest, axis=-1)
    if not (rows.inside.all() and cols.inside.all()):
        picked[..., ~(rows.inside[:, None] & cols.inside)] = outside
    return picked


def random_view(
    labels: NDArray[np.uint8],
    size_px: int,
    octaves: float,
    rng: np.random.Generator,
    keep: tuple[int, int] | None = None,
) -> View:
    """A random part of a chip at a random scale, drawn again a few times while nothing in it is known.

    Args:
        labels: (S, S) of the chip.
        size_px: side of the view.
        octaves: half width of the random scale: 1 is half to twice as large.
        rng: where the randomness comes from.
        keep: a pixel (row, column) that must be in the view.

    Returns:
        A view within the chip, or with the chip in it where the chip is the smaller one.
    """
    step = float(2.0 ** -rng.uniform(-octaves, octaves))
    side = size_px * step
    for _ in range(_TRIES):
        row, col = (
            _start(length, side, None if keep is None else keep[axis], rng)
            for axis, length in enumerate(labels.shape)
        )
        shown = labels[_whole(row, side), _whole(col, side)]
        if (shown != IGNORE).any():
            break
    return View(row=row, col=col, size_px=size_px, step=step)


def _start(length: int, side: float, keep: int | None, rng: np.random.Generator) -> float:
    slack = length - side
    low, high = min(0.0, slack), max(0.0, slack)
    if keep is not None:
        low, high = max(low, keep + 0.5 - side), min(high, keep + 0.5)
    return float(rng.uniform(low, high))


def _whole(start: float, side: float) -> slice:
    return slice(max(0, math.floor(start)), max(0, math.ceil(start + side)))
