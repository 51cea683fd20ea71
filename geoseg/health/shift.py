"""Are labels moved against the image? Found from where both have edges.

Every pixel gets an edge vector: how strong an edge is there, and at which angle. Angles are doubled, so that
dark beside bright and bright beside dark are the same edge, and vectors of crossing edges cancel. Image and
labels are correlated window by window over all whole-pixel shifts, and the sums over the windows are
compared: true edges agree on one shift, texture on none. Windows drawn again and again (a bootstrap) tell how
far the answer depends on a few of them; where it does, there is no answer.

Shapes: a window is (h, w), about WINDOW_PX each; a surface of correlations is (S, S), for row and
column shifts from ``-REACH_PX`` to ``REACH_PX``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW_PX = 192
"""Side of a window; that of the windows of a small piece may be up to a half larger or smaller."""

MIN_WINDOW_PX = 64
"""Smallest side of a window."""

REACH_PX = 12
"""Largest shift that is looked at."""

TRUSTED_PX = 10.5
"""Largest shift along an axis that is told: at the rim, a peak may be the slope of one beyond."""

MARGIN_PX = 18
"""Labels this near to the edge of a window are left out: their edges may lie outside of the image."""

MIN_WINDOWS = 8
"""With fewer windows there is no answer."""

MIN_AGREEMENT = 0.98
"""Share of the bootstrap's draws that must have their peak near the answer."""

MAX_SECOND = 0.85
"""How high the second peak may be, as a share of the first."""

_SIDE = 2 * REACH_PX + 1
_NEAR_PX = 1.5
_PEAK_PX = 4
_DRAWS = 200
_ROUND_PX = 8
_MIN_EDGE_PX = 40
_IMAGE_SIGMA_PX = 1.5
_LABEL_SIGMA_PX = 0.8
_SURFACE_SIGMA_PX = 1.0


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How far labels lie beside the edges of the image.

    Attributes:
        columns_px: labels must be moved right by this to fit; negative is left.
        rows_px: labels must be moved down by this to fit; negative is up.
        sure: whether the windows agree on it.
        agreement: share of the bootstrap's draws with their peak within 1.5 px of this one.
        second: height of the second peak as a share of the first.
        spread_px: root mean square distance of the draws from the answer.
        windows: how many windows had edges of labels in them.
    """

    columns_px: float
    rows_px: float
    sure: bool
    agreement: float
    second: float
    spread_px: float
    windows: int

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return asdict(self)

    @property
    def length_px(self) -> float:
        """Length of the shift."""
        return math.hypot(self.columns_px, self.rows_px)


def surfaces_of(
    bands: NDArray[Any], valid: NDArray[np.bool_], ids: NDArray[Any]
) -> list[NDArray[np.float64]]:
    """How well image and labels fit at every shift, for each window of a larger piece of a scene.

    Args:
        bands: (B, H, W), any real dtype.
        valid: (H, W), which of the pixels are real.
        ids: (H, W) whole numbers that differ on both sides of a label's edge.

    Returns:
        (S, S) of every window with enough edges of labels.
    """
    found = []
    for rows in _spans(valid.shape[0]):
        for cols in _spans(valid.shape[1]):
            surface = _surface(bands[:, rows, cols], valid[rows, cols], ids[rows, cols])
            if surface is not None:
                found.append(surface)
    return found


def _spans(length: int) -> list[slice]:
    """Windows along one side, so that their parts inside the margins nearly touch; none when too short."""
    if length < MIN_WINDOW_PX:
        return []
    inner = length - 2 * MARGIN_PX
    count = max(1, round(inner / (WINDOW_PX - 2 * MARGIN_PX)))
    # Fourier transforms like round numbers.
    size = (2 * MARGIN_PX + inner // count) // _ROUND_PX * _ROUND_PX
    return [slice(start, start + size) for start in np.linspace(0, length - size, count, dtype=int).tolist()]


def _surface(bands: NDArray[Any], valid: NDArray[np.bool_], ids: NDArray[Any]) -> NDArray[np.float64] | None:
    """Surface (S, S) of one window; ``None`` when there are too few edges of labels."""
    labels = _label_edges(ids, valid)
    edge_px = float(np.abs(labels).sum())
    if edge_px < _MIN_EDGE_PX:
        return None
    image = _image_edges(bands, valid)
    spectrum = np.conj(np.fft.fft2(labels)) * np.fft.fft2(image) * _blur(valid.shape, _SURFACE_SIGMA_PX)
    surface = np.fft.fftshift(np.fft.ifft2(spectrum).real)
    rows, cols = (slice(side // 2 - REACH_PX, side // 2 + REACH_PX + 1) for side in valid.shape)
    # A window full of edges counts more, but not in proportion: one wood must not outvote all fields.
    return np.asarray(surface[rows, cols] / math.sqrt(edge_px))


def estimate(surfaces: Sequence[NDArray[np.float64]]) -> Shift | None:
    """The shift that the windows' surfaces (S, S) agree on; ``None`` with too few of them."""
    count = len(surfaces)
    if count < MIN_WINDOWS:
        return None
    flat = np.stack(surfaces).reshape(count, -1)
    total = flat.sum(axis=0)
    rows, cols = _peak(total.reshape(_SIDE, _SIDE))
    draws = np.random.default_rng(count).multinomial(count, np.full(count, 1.0 / count), size=_DRAWS)
    drawn = np.stack(np.unravel_index((draws @ flat).argmax(axis=1), (_SIDE, _SIDE)), axis=1) - REACH_PX
    away = np.hypot(drawn[:, 0] - rows, drawn[:, 1] - cols)
    agreement = float((away <= _NEAR_PX).mean())
    second = _second(total.reshape(_SIDE, _SIDE), rows, cols)
    return Shift(
        columns_px=cols,
        rows_px=rows,
        sure=agreement >= MIN_AGREEMENT and second <= MAX_SECOND and max(abs(rows), abs(cols)) <= TRUSTED_PX,
        agreement=agreement,
        second=second,
        spread_px=float(np.sqrt(np.square(away).mean())),
        windows=count,
    )


def _image_edges(bands: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """Edge vectors of the image, of length 0 to 1, 0 near invalid pixels; all bands together."""
    vectors = np.zeros(valid.shape, np.complex128)
    blur = _blur(valid.shape, _IMAGE_SIGMA_PX)
    for band in bands:
        values = band.astype(np.float64)
        usable = valid & np.isfinite(values)
        if not usable.any():
            continue
        spread = values[usable].std()
        if spread > 0.0:
            filled = np.where(usable, values - values[usable].mean(), 0.0) / spread
            vectors += np.square(_gradient(np.fft.ifft2(np.fft.fft2(filled) * blur).real))
    strength = np.sqrt(np.abs(vectors))
    known = _away_from(~valid, 4)
    strength[~known] = 0.0
    typical = float(np.median(strength[known])) if known.any() else 0.0
    if typical == 0.0:
        typical = float(strength.max()) or 1.0
    # A roof is not worth a hundred hedges: strength levels off above what is typical of the window.
    length = strength / (strength + 2.0 * typical)
    return np.asarray(vectors / np.maximum(np.abs(vectors), np.finfo(float).tiny) * length)


def _label_edges(ids: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """Edge vectors of the labels, 0 near invalid pixels and near the window's own edge."""
    step = np.sign(np.diff(ids.astype(np.int64), axis=1)).astype(np.float64)
    right = np.pad(step, ((0, 0), (0, 1)))
    step = np.sign(np.diff(ids.astype(np.int64), axis=0)).astype(np.float64)
    down = np.pad(step, ((0, 1), (0, 0)))
    # A step lies between two pixels; shared by both, it has its middle where it is.
    slopes = (right + np.roll(right, 1, axis=1)) / 2.0 + 1j * (down + np.roll(down, 1, axis=0)) / 2.0
    slopes = np.fft.ifft2(np.fft.fft2(slopes) * _blur(valid.shape, _LABEL_SIGMA_PX))
    known = _away_from(~valid, 2)
    known[:MARGIN_PX] = known[-MARGIN_PX:] = False
    known[:, :MARGIN_PX] = known[:, -MARGIN_PX:] = False
    vectors = np.square(np.where(known, slopes, 0.0))
    return np.asarray(vectors / np.maximum(np.abs(slopes), 1e-9))


def _gradient(values: NDArray[np.float64]) -> NDArray[np.complex128]:
    return np.asarray(np.gradient(values, axis=1) + 1j * np.gradient(values, axis=0))


def _away_from(marked: NDArray[np.bool_], distance_px: int) -> NDArray[np.bool_]:
    """Pixels with no marked pixel within ``distance_px`` rows and columns, the frame being marked too."""
    grown = np.pad(marked, 1, constant_values=True)[1:-1, 1:-1].copy()
    grown[0] = grown[-1] = True
    grown[:, 0] = grown[:, -1] = True
    for axis in (0, 1):
        for _ in range(distance_px):
            near = grown.copy()
            near |= np.roll(grown, 1, axis=axis) | np.roll(grown, -1, axis=axis)
            grown = near
    return ~grown


def _blur(shape: tuple[int, ...], sigma_px: float) -> NDArray[np.float64]:
    """Gaussian of ``sigma_px`` as a factor of the Fourier coefficients (h, w)."""
    down, across = (np.exp(-2.0 * np.square(np.pi * sigma_px * np.fft.fftfreq(length))) for length in shape)
    return np.asarray(down[:, np.newaxis] * across)


def _peak(surface: NDArray[np.float64]) -> tuple[float, float]:
    """(rows, columns) of the highest point, between pixels by the parabola through its neighbours."""
    row, col = (int(i) for i in np.unravel_index(surface.argmax(), surface.shape))
    places = []
    for number, line in ((row, surface[:, col]), (col, surface[row])):
        part = line[max(0, number - 1) : number + 2]
        bend = 2.0 * part[1] - part[0] - part[-1] if len(part) == 3 else 0.0
        beside = float(part[-1] - part[0]) / (2.0 * float(bend)) if bend > 0.0 else 0.0
        places.append(float(number - REACH_PX + beside))
    return places[0], places[1]


def _second(surface: NDArray[np.float64], row: float, col: float) -> float:
    """Highest point away from the peak, as a share of the peak; both above what the surface is on average."""
    at = np.arange(_SIDE) - REACH_PX
    far = np.hypot(at[:, np.newaxis] - row, at - col) > _PEAK_PX
    ground = float(np.median(surface))
    height = float(surface.max()) - ground
    return (float(surface[far].max()) - ground) / height if height > 0.0 else 1.0
