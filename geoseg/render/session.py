"""Everything that is settled before the first chip: scene, model, plan, and the part that is asked for."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geoseg import __version__
from geoseg.classes import IGNORE
from geoseg.config import PredictConfig
from geoseg.errors import InputError, LabelsError, SceneError
from geoseg.models.card import ABOUT_DEFAULT, DEFAULT_MODEL, ModelCard, find_model, fingerprint, read_card
from geoseg.progress import Progress
from geoseg.raster.geobox import GeoBox
from geoseg.raster.rows import MAX_AHEAD_PX, rows_ahead
from geoseg.raster.scene import Scene
from geoseg.raster.windows import clip, show
from geoseg.render.blocks import BlockGrid
from geoseg.render.grid import Chip, default_overlap
from geoseg.render.memory import Appetite, Division, default_memory_mb, divide, held_mb
from geoseg.render.plan import LayerName, Plan, Precision, file_sha256

if TYPE_CHECKING:
    import torch

    from geoseg.models.engine import ChipNetwork
    from geoseg.raster.vector_labels import VectorLabels
    from geoseg.render.chip import Job

GSD_TOLERANCE = 1.5
"""A scene whose pixels are this many times larger or smaller than the training chips' gets a warning."""

CUDA_BATCH = 8

Bounds = tuple[float, float, float, float]
"""left, bottom, right, top in units of a CRS."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks for.

    Attributes:
        scene: a raster of the bands the model was trained on, here or, as the user himself named it, on a
            server.
        model: a run folder or a model file; the newest finished run under ``./runs`` when not
            given, else the model that comes with geoseg.
        config: how to predict.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        window: part of the scene to predict, in pixels; all of it when not given.
        bounds: part of the scene to predict, in the scene's CRS.
        aoi: file of polygons in any CRS; pixels outside are nodata.
        layers: what is kept of each pixel.
        shift_px: how far the grid is moved up and left.
        fingerprints: whether the files are hashed; only an estimate can do without.
    """

    scene: Path
    model: Path | None = None
    config: PredictConfig = field(default_factory=PredictConfig)
    device: str = "auto"
    window: Window | None = None
    bounds: Bounds | None = None
    aoi: Path | None = None
    layers: tuple[LayerName, ...] = ("mask",)
    shift_px: int = 0
    fingerprints: bool = True


@dataclass(frozen=True, kw_only=True)
class Session:
    """An open scene and all that was settled about it.

    Attributes:
        request: what was asked for.
        scene: the scene, open.
        card: what the model says of itself.
        model: the model's file.
        plan: what is rendered, and how.
        blocks: the plan's blocks.
        device: where the network runs.
        label: device and precision, for people.
    """

    request: Request
    scene: Scene
    card: ModelCard
    model: Path
    plan: Plan
    blocks: BlockGrid
    device: torch.device
    label: str
    _aoi: VectorLabels | None

    @property
    def geobox(self) -> GeoBox:
        """Grid of the mask."""
        return self.scene.geobox.window(self.plan.part).scaled(self.plan.scale)

    @property
    def tags(self) -> dict[str, str]:
        """TIFF tags that say where a mask comes from."""
        return {"GEOSEG_MODEL": self.plan.model}

    @functools.cached_property
    def _is_whole(self) -> bool:
        return self._aoi is None and self.plan.window is None

    def wanted(self, chip: Chip) -> bool:
        """Whether a chip owns any pixel that is asked for."""
        if self._is_whole:
            return True
        mine = self.blocks.window_of(chip)
        inside = _shared(mine, self.plan.part)
        if inside is None:
            return False
        return self._aoi is None or self._aoi.covers(self.scene.geobox.window(inside)) > 0

    @functools.cached_property
    def wanted_chips(self) -> dict[int, list[Chip]]:
        """Chips that own any pixel asked for, by block; blocks without any are left out."""
        found = {
            block: [chip for chip in self.blocks.chips(block) if self.wanted(chip)]
            for block in range(len(self.blocks))
        }
        return {block: chips for block, chips in found.items() if chips}

    def area(self) -> Callable[[Window], NDArray[np.bool_]] | None:
        """Tells which pixels of a window are asked for; ``None``: all of them."""
        if self._is_whole:
            return None
        part, aoi, geobox = self.plan.part, self._aoi, self.scene.geobox
        # rasterio changes the process's warning filters while it burns.
        one_at_a_time = threading.Lock()

        def inside(window: Window) -> NDArray[np.bool_]:
            shown = np.zeros((window.height, window.width), np.bool_)
            shared = _shared(window, part)
            if shared is not None:
                top, left = shared.row_off - window.row_off, shared.col_off - window.col_off
                shown[top : top + shared.height, left : left + shared.width] = True
            if aoi is not None:
                with one_at_a_time:
                    burned = aoi.burn(geobox.window(window))
                shown &= burned != IGNORE
            return shown

        return inside

    def job(self, wanted: Callable[[Chip], bool] | None = None) -> Job:
        """Load the network and put together what rendering needs.

        Args:
            wanted: whether a chip is asked for, where somebody looked that up before.
        """
        from geoseg.render.chip import Job

        network, channels = _network(self.model, self.plan.model, str(self.device), self.plan.precision)
        if wanted is None:
            wanted = {chip for chips in self.wanted_chips.values() for chip in chips}.__contains__
        return Job(
            plan=self.plan,
            blocks=self.blocks,
            scene=self.scene,
            stats=self.card.stats,
            network=network,
            wanted=wanted,
            area=self.area(),
            appetite=_appetite(self.card, network, channels, self.plan, self.scene),
        )

    def divide(self, job: Job, *, memory_mb: float | None, workers: int | None) -> Division:
        """How the work is divided for a memory limit; the job's network counts as held already.

        Raises:
            InputError: the limit is too low.
        """
        return divide(
            self.blocks,
            job.appetite,
            memory_mb=memory_mb or default_memory_mb(),
            workers=workers or default_workers(self.plan.device),
            held_mb=held_mb(),
            # Blocks that two strips share would be fetched twice.
            full_width=not self.scene.is_tiled or self.scene.remote is not None,
        )


@functools.lru_cache(maxsize=1)
def _network(
    model: Path, fingerprint: str, device: str, precision: Precision
) -> tuple[ChipNetwork, dict[str, int]]:
    """The network, kept for the next scene, and the channels of its backbone's stages."""
    from geoseg.models.checkpoint import load_model
    from geoseg.models.engine import ChipNetwork
    from geoseg.models.inference import DTYPES

    del fingerprint  # only tells files of one path apart
    loaded, _ = load_model(model, device=device)
    channels = dict(loaded.backbone.channels)
    return ChipNetwork(loaded, dtype=DTYPES[precision]), channels


def default_workers(device: str) -> int:
    """A thread for each core this process may use; on a GPU a few that keep it fed."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return cores if device == "cpu" else min(4, cores)


@contextlib.contextmanager
def open_session(request: Request, progress: Progress) -> Iterator[Session]:
    """Open the scene and settle everything.

    Raises:
        ModelError: no model, or one that does not fit the scene.
        SceneError: the scene cannot be used.
        InputError: the part asked for is not in the scene, or sizes make no grid.
    """
    from geoseg.models.inference import PRECISION_OF, choose_device, choose_precision

    config = request.config
    model = find_model(request.model)
    card = read_card(model)
    with Scene.open(request.scene, bands=config.bands, nodata=config.nodata, remote=True) as scene:
        check_fit(scene, card, model, progress)
        _warn_of_server(scene, progress)
        if request.model is None and model == DEFAULT_MODEL:
            progress.note(
                f"no finished run under runs, so with the model that comes with geoseg, {ABOUT_DEFAULT}"
            )
        progress.note(f"model {model} ({card.architecture.architecture}, {len(card.classes)} classes)")
        device = choose_device(request.device)
        dtype, why = choose_precision(config.precision, device)
        label = f"{device}, {why}"
        progress.note(f"device {label}")
        plan = _plan(request, scene, card, model, PRECISION_OF[dtype], device.type)
        aoi = (
            None if request.aoi is None else _open_aoi(request.aoi, scene.geobox.window(plan.part), progress)
        )
        yield Session(
            request=request,
            scene=scene,
            card=card,
            model=model,
            plan=plan,
            blocks=plan.blocks(),
            device=device,
            label=label,
            _aoi=aoi,
        )


def _plan(
    request: Request, scene: Scene, card: ModelCard, model: Path, precision: Precision, device: str
) -> Plan:
    import torch

    config = request.config
    size_px = config.size_px or card.size_px
    part = part_of(scene, request.window, request.bounds)
    return Plan(
        geoseg=__version__,
        torch=str(torch.__version__),
        scene=_scene_fingerprint(scene) if request.fingerprints else "",
        shape=scene.geobox.shape,
        bands=scene.bands,
        nodata=config.nodata,
        model=fingerprint(model) if request.fingerprints else "",
        classes=len(card.classes),
        size_px=size_px,
        overlap_px=default_overlap(size_px) if config.overlap_px is None else config.overlap_px,
        shift_px=request.shift_px,
        refine=config.refine,
        margin=config.margin,
        points_per_pixel=config.points_per_pixel,
        scale=config.scale,
        tta=config.tta,
        precision=precision,
        device="cuda" if device == "cuda" else "cpu",
        batch_size=1 if device == "cpu" else config.batch_size or CUDA_BATCH,
        window=None if part is None else (part.row_off, part.col_off, part.height, part.width),
        aoi=None if request.aoi is None else file_sha256(request.aoi),
        layers=request.layers,
    )


def _warn_of_server(scene: Scene, progress: Progress) -> None:
    if scene.remote is None:
        return
    if not scene.remote.tells_changes:
        progress.warn(
            f"the server of {scene.shown} tells neither ETag nor date: a change of the scene while it is "
            "read, or before --resume, goes unnoticed unless its size changes"
        )
    if scene.block_rows > MAX_AHEAD_PX:
        progress.warn(
            f"{scene.shown} is stored in blocks of {scene.block_rows:,} rows, which are fetched again and "
            "again; download it first, or rewrite it with gdal_translate -co TILED=YES"
        )


def _scene_fingerprint(scene: Scene) -> str:
    return file_sha256(scene.path) if scene.remote is None else scene.remote.fingerprint


def check_fit(source: Scene, card: ModelCard, model: Path, progress: Progress) -> None:
    """Refuse a scene the model was not made for; warn when its pixels have another size.

    Raises:
        SceneError: number of bands or dtype differ.
    """
    wanted = ", ".join(card.band_names)
    count = len(card.band_names)
    if len(source.bands) != count:
        example = ",".join(str(band) for band in range(1, count + 1))
        cure = f"choose with --bands, such as --bands {example}"
        raise SceneError(
            f"{source.shown} has {len(source.bands)} bands, model {model} expects {count} ({wanted}); "
            f"{cure if len(source.bands) > count else 'give a scene that has them'}"
        )
    if source.dtype != card.dtype:
        raise SceneError(
            f"{source.shown} is {source.dtype}, model {model} was trained on {card.dtype}; "
            f"give a {card.dtype} scene or train on {source.dtype} ones"
        )
    gsd_m = source.geobox.gsd_m
    known = card.gsd_range_m or (None if card.gsd_m is None else (card.gsd_m, card.gsd_m))
    if gsd_m and known and not known[0] / GSD_TOLERANCE <= gsd_m <= known[1] * GSD_TOLERANCE:
        trained = f"{known[0]:.3g}" if known[0] == known[1] else f"{known[0]:.3g} to {known[1]:.3g}"
        progress.warn(
            f"{source.shown} has {gsd_m:.3g} m pixels, the model was trained at {trained} m: "
            "expect poor results"
        )


def part_of(scene: Scene, window: Window | None, bounds: Bounds | None) -> Window | None:
    """The part of a scene that is asked for, clipped to it; ``None`` for all of it.

    Bounds are widened to whole pixels; in a turned scene they are those of a window around them.

    Raises:
        InputError: the part lies outside of the scene, or the scene has no georeferencing.
    """
    if window is not None and bounds is not None:
        raise InputError("--window and --bounds both say where; give one of them")
    if bounds is not None:
        window = _window_of(scene.geobox, bounds, scene.shown)
    if window is None:
        return None
    part = clip(window, scene.geobox.shape)
    if part is None:
        height, width = scene.geobox.shape
        raise InputError(
            f"{show(window)} lie outside of {scene.shown}, which has {width} columns and {height} rows; "
            "give a part that overlaps it"
        )
    return None if part == Window(0, 0, scene.geobox.width, scene.geobox.height) else part


def _window_of(geobox: GeoBox, bounds: Bounds, path: str) -> Window:
    left, bottom, right, top = bounds
    if not all(map(math.isfinite, bounds)) or left >= right or bottom >= top:
        raise InputError(f"--bounds {left:g},{bottom:g},{right:g},{top:g}: write left,bottom,right,top")
    if not geobox.georeferenced or geobox.transform.determinant == 0.0:
        raise InputError(f"--bounds need georeferencing, which {path} has not; use --window")
    inverse = ~geobox.transform
    corners = [inverse @ (x, y) for x in (left, right) for y in (bottom, top)]
    columns, rows = zip(*corners, strict=True)
    # A bound that is meant to lie on a pixel edge must not reach into the next pixel by rounding.
    slack = 1e-6
    first_col, first_row = math.floor(min(columns) + slack), math.floor(min(rows) + slack)
    return Window(
        first_col,
        first_row,
        max(1, math.ceil(max(columns) - slack) - first_col),
        max(1, math.ceil(max(rows) - slack) - first_row),
    )


def _open_aoi(path: Path, part: GeoBox, progress: Progress) -> VectorLabels:
    from geoseg.raster.vector_labels import VectorLabels

    try:
        aoi = VectorLabels.open(path, class_column=None, class_name="aoi", unlabelled="ignore", classes=None)
        covered = aoi.covers(part)
    except LabelsError as error:
        raise LabelsError(str(error).replace("labels ", "area of interest ", 1)) from error
    for note in aoi.notes:
        progress.note(note)
    if not covered:
        raise InputError(f"area of interest {path} lies outside of the scene; check its CRS")
    return aoi


def _shared(window: Window, part: Window) -> Window | None:
    top, left = max(window.row_off, part.row_off), max(window.col_off, part.col_off)
    bottom = min(window.row_off + window.height, part.row_off + part.height)
    right = min(window.col_off + window.width, part.col_off + part.width)
    return None if bottom <= top or right <= left else Window(left, top, right - left, bottom - top)


def _appetite(
    card: ModelCard, network: ChipNetwork, channels: dict[str, int], plan: Plan, scene: Scene
) -> Appetite:
    """What a chip costs in memory; the network's own part was measured, the rest is arithmetic."""
    value_bytes = 4 if plan.precision == "fp32" else 2
    pixels = plan.size_px**2
    kind = "mobilenet" if "mobilenet" in card.architecture.architecture else "resnet"
    fine_px = sum(
        channels[stage] / int(stage.removeprefix("stride")) ** 2 for stage in card.architecture.fine_stages
    )
    # Logits of the pixels a chip decides, and what is computed of them.
    decided_px = plan.classes * 4 * 3 * plan.scale**2
    return Appetite(
        look=int(pixels * (_LOOK_VALUES_PX[kind] * value_bytes + decided_px + 12 * len(plan.bands))),
        fine=int(pixels * (fine_px * value_bytes + 1)),
        coarse=pixels * plan.classes * 4 // network.stride**2,
        scene_px=len(plan.bands) * np.dtype(scene.dtype).itemsize + 1,
        ahead_rows=rows_ahead(scene),
    )


_LOOK_VALUES_PX = {"mobilenet": 60, "resnet": 220}
