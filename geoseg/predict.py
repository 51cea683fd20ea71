"""Scene to mask: read chips, run the network, refine, blend, write a Cloud-Optimised GeoTIFF.

The scene is predicted in overlapping chips on one grid that starts at the scene's corner. Class probabilities
of overlapping chips are blended by weights that never vanish (:class:`geoseg.raster.mosaic.Mosaic`), rows are
written as soon as no later chip can change them, so memory grows with the width of the scene, not its area.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg import __version__
from geoseg.classes import IGNORE
from geoseg.config import PredictConfig
from geoseg.errors import InputError, SceneError
from geoseg.models.card import ModelCard, find_model, fingerprint, read_card
from geoseg.outputs import check_output
from geoseg.progress import SILENT, Progress
from geoseg.raster.cog import MaskWriter
from geoseg.raster.mosaic import Mosaic
from geoseg.raster.scene import Scene
from geoseg.raster.windows import chip_windows

if TYPE_CHECKING:
    import torch

    from geoseg.models.deeplab import PointRendDeepLab

GSD_TOLERANCE = 1.5
"""A scene whose pixels are this many times larger or smaller than the training chips' gets a warning."""

_READ_AHEAD = 2


@dataclass(frozen=True, kw_only=True)
class PredictReport:
    """What :func:`predict` did.

    Attributes:
        output: the mask.
        scene: the scene it was made from.
        model: the model file that made it.
        shape: height and width in pixels.
        class_pixels: pixels of each class name in the mask.
        nodata_pixels: pixels that are 255.
        chips: chips that went through the network.
        skipped: chips left out because none of their pixels is valid.
        seconds: wall time.
        peak_mb: peak resident memory of the process in MB (10^6 bytes); ``None`` where it is not known.
        device: where the network ran, and at which precision.
    """

    output: Path
    scene: Path
    model: Path
    shape: tuple[int, int]
    class_pixels: dict[str, int]
    nodata_pixels: int
    chips: int
    skipped: int
    seconds: float
    peak_mb: float | None
    device: str

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        values = asdict(self)
        return values | {key: str(values[key]) for key in ("output", "scene", "model")}


def predict(
    scene: Path,
    output: Path,
    *,
    model: Path | None = None,
    config: PredictConfig | None = None,
    device: str = "auto",
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> PredictReport:
    """Predict the class of every pixel of ``scene`` and write the mask to ``output``.

    The mask has exactly the scene's CRS, transform (or GCPs) and shape; source nodata is 255.

    Args:
        scene: a raster of the bands the model was trained on.
        output: the mask to write, a Cloud-Optimised GeoTIFF.
        model: a run folder or a model file; the newest finished run under ``./runs`` when not given.
        config: how to predict; the defaults when not given.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        overwrite: replace an existing output.
        progress: told about every chip.

    Raises:
        OutputError: the output exists or is an input.
        ModelError: no model, or one that does not fit the scene.
        SceneError: the scene cannot be used.
        ReadError: the scene is damaged.
    """
    started = time.monotonic()
    config = config or PredictConfig()
    check_output(output, overwrite=overwrite, inputs=[scene])
    model_path = find_model(model)
    card = read_card(model_path)
    with Scene.open(scene, bands=config.bands, nodata=config.nodata) as source:
        check_fit(source, card, model_path, progress)
        progress.note(f"model {model_path} ({card.architecture.architecture}, {len(card.classes)} classes)")
        run_on = _RunOn.load(model_path, device, config)
        progress.note(f"device {run_on.label}")
        grid = _Grid.of(source, card, config)
        tags = {"GEOSEG_MODEL": fingerprint(model_path), "GEOSEG_VERSION": __version__}
        counts = np.zeros(256, np.int64)
        with MaskWriter(output, source.geobox, card.classes, tags) as writer:
            progress.begin("predict", len(grid.windows), "chips")
            batches = _read_ahead(source, grid.windows, config.batch_size, card)
            for row_off, ids in _finished_rows(batches, run_on, grid, progress):
                writer.write_rows(row_off, ids)
                counts += np.bincount(ids.ravel(), minlength=256)
            progress.end()
    return PredictReport(
        output=output,
        scene=scene,
        model=model_path,
        shape=source.geobox.shape,
        class_pixels={name: int(counts[i]) for i, name in enumerate(card.classes.names)},
        nodata_pixels=int(counts[IGNORE]),
        chips=run_on.seen,
        skipped=len(grid.windows) - run_on.seen,
        seconds=time.monotonic() - started,
        peak_mb=_peak_mb(),
        device=run_on.label,
    )


def check_fit(source: Scene, card: ModelCard, model: Path, progress: Progress) -> None:
    """Refuse a scene the model was not made for; warn when its pixels have another size.

    Raises:
        SceneError: number of bands or dtype differ.
    """
    wanted = ", ".join(card.band_names)
    if len(source.bands) != len(card.band_names):
        raise SceneError(
            f"{source.path} has {len(source.bands)} bands, model {model} expects {len(card.band_names)} "
            f"({wanted}); choose with --bands"
        )
    if source.dtype != card.dtype:
        raise SceneError(
            f"{source.path} is {source.dtype}, model {model} was trained on {card.dtype}; "
            f"give a {card.dtype} scene or train on {source.dtype} ones"
        )
    gsd_m = source.geobox.gsd_m
    if gsd_m and card.gsd_m and not 1 / GSD_TOLERANCE <= gsd_m / card.gsd_m <= GSD_TOLERANCE:
        progress.warn(
            f"{source.path} has {gsd_m:.3g} m pixels, the model was trained at {card.gsd_m:.3g} m: "
            "expect poor results"
        )


@dataclass(frozen=True, kw_only=True)
class _Grid:
    """The chips of a scene, in row-major order."""

    shape: tuple[int, int]
    classes: int
    size_px: int
    overlap_px: int
    windows: list[Window]

    @classmethod
    def of(cls, source: Scene, card: ModelCard, config: PredictConfig) -> _Grid:
        size_px = config.size_px or card.size_px
        overlap_px = size_px // 4 if config.overlap_px is None else config.overlap_px
        if overlap_px >= size_px:
            raise InputError(
                f"overlap of {overlap_px} px is not below the chip size of {size_px} px; lower it"
            )
        windows = chip_windows(source.geobox.shape, size_px, overlap_px)
        return cls(
            shape=source.geobox.shape,
            classes=len(card.classes),
            size_px=size_px,
            overlap_px=overlap_px,
            windows=windows,
        )


@dataclass(frozen=True, kw_only=True)
class _SceneChip:
    """One window of the scene as the network sees it: image (B, S, S) float32 normalised, valid (S, S)."""

    window: Window
    image: NDArray[np.float32]
    valid: NDArray[np.bool_]


def _read_ahead(
    source: Scene, windows: list[Window], batch_size: int, card: ModelCard
) -> Iterator[list[_SceneChip]]:
    """Batches of chips in order; the next ones are read while the network works on this one."""

    def read(batch: list[Window]) -> list[_SceneChip]:
        chips = []
        for window in batch:
            bands, valid = source.read(window)
            chips.append(_SceneChip(window=window, image=card.stats.normalise(bands, valid), valid=valid))
        return chips

    batches = [windows[start : start + batch_size] for start in range(0, len(windows), batch_size)]
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        pending: list[Future[list[_SceneChip]]] = [reader.submit(read, b) for b in batches[:_READ_AHEAD]]
        for later in [*batches[_READ_AHEAD:], *[None] * min(_READ_AHEAD, len(batches))]:
            chips = pending.pop(0).result()
            if later is not None:
                pending.append(reader.submit(read, later))
            yield chips


class _RunOn:
    """The network, where and how the user asked for it.

    Attributes:
        label: device and precision, for people.
        seen: chips that went through so far.
    """

    def __init__(
        self,
        network: PointRendDeepLab,
        device: torch.device,
        autocast: torch.dtype | None,
        label: str,
        config: PredictConfig,
    ) -> None:
        self.label = label
        self.seen = 0
        self._network = network
        self._device = device
        self._autocast = autocast
        self._config = config

    @classmethod
    def load(cls, model: Path, device: str, config: PredictConfig) -> _RunOn:
        import torch

        from geoseg.models.checkpoint import load_model
        from geoseg.models.inference import choose_device, choose_precision

        where = choose_device(device)
        autocast, why = choose_precision(config.precision, where)
        network, _ = load_model(model, device=str(where))
        network = network.to(memory_format=torch.channels_last)
        return cls(network, where, autocast, f"{where}, {why}", config)

    def __call__(self, chips: list[_SceneChip]) -> list[NDArray[np.float32]]:
        """Class probabilities (K, S, S) float32 of each chip."""
        import torch

        from geoseg.models.inference import predict_logits

        if not chips:
            return []
        self.seen += len(chips)
        images = torch.from_numpy(np.stack([chip.image for chip in chips])).to(self._device)
        enabled = self._autocast is not None
        with (
            torch.inference_mode(),
            torch.autocast(self._device.type, dtype=self._autocast, enabled=enabled),
        ):
            logits = predict_logits(
                self._network,
                images.contiguous(memory_format=torch.channels_last),
                refine=self._config.refine,
                margin=self._config.margin,
                points_per_pixel=self._config.points_per_pixel,
            )
        return list(torch.softmax(logits.float(), dim=1).cpu().numpy())


def _finished_rows(
    batches: Iterator[list[_SceneChip]], run_on: _RunOn, grid: _Grid, progress: Progress
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Run every chip and hand out (row_off, ids (rows, W) uint8, 255 where nothing is valid) from the top."""
    mosaic = Mosaic(grid.shape, grid.classes, grid.size_px, grid.overlap_px)
    valid_rows = _ValidRows(grid.shape, grid.size_px)
    for batch in batches:
        probabilities = iter(run_on([chip for chip in batch if chip.valid.any()]))
        for chip in batch:
            for row_off, ids, _ in mosaic.release_before(chip.window.row_off):
                yield row_off, valid_rows.take(row_off, ids)
            valid_rows.add(chip.window, chip.valid)
            if chip.valid.any():
                mosaic.add(chip.window, next(probabilities))
        progress.advance(len(batch))
    for row_off, ids, _ in mosaic.release_before(None):
        yield row_off, valid_rows.take(row_off, ids)


class _ValidRows:
    """Which pixels of the rows in work are valid, as far as the chips have told."""

    def __init__(self, shape: tuple[int, int], size_px: int) -> None:
        self._shape = shape
        self._first = 0
        self._rows = np.zeros((min(size_px, shape[0]), shape[1]), np.bool_)

    def add(self, window: Window, valid: NDArray[np.bool_]) -> None:
        """Take over the chip's valid pixels that lie inside of the scene."""
        height = min(valid.shape[0], self._shape[0] - window.row_off)
        width = min(valid.shape[1], self._shape[1] - window.col_off)
        top = window.row_off - self._first
        part = self._rows[top : top + height, window.col_off : window.col_off + width]
        part |= valid[:height, :width]

    def take(self, row_off: int, ids: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The finished rows ``ids`` (rows, W) with 255 where not valid; forgets these rows."""
        skip = row_off - self._first
        end = skip + len(ids)
        masked = np.where(self._rows[skip:end], ids, np.uint8(IGNORE))
        kept = self._rows[end:].copy()
        self._rows[: len(kept)] = kept
        self._rows[len(kept) :] = False
        self._first += end
        return masked


def _peak_mb() -> float | None:
    if sys.platform == "win32":
        return None  # has no such figure in the standard library
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
