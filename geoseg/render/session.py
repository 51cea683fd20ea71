"""Everything that is settled before the first chip: scene, model, plan, and the part that is asked for."""

from __future__ import annotations

import contextlib
import functools
import hashlib
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
from geoseg.errors import InputError
from geoseg.models.card import ABOUT_DEFAULT, DEFAULT_MODEL, ModelCard, find_model, fingerprint, read_card
from geoseg.progress import Progress
from geoseg.raster.gdal import HINT
from geoseg.raster.geobox import GeoBox
from geoseg.raster.scene import Scene
from geoseg.render.blocks import BlockGrid
from geoseg.render.fit import check_config, check_fit, check_task, warn_of_server
from geoseg.render.grid import ALIGN_PX, Chip, default_overlap
from geoseg.render.memory import Division, default_memory_mb, divide, held_mb
from geoseg.render.network import appetite_of, craft_of, load_network
from geoseg.render.part import Bounds, open_aoi, part_of, shared
from geoseg.render.plan import OBJECT_LAYERS, Content, Plan, Precision, file_sha256

if TYPE_CHECKING:
    import torch

    from geoseg.raster.vector_labels import VectorLabels
    from geoseg.render.job import Job

CUDA_BATCH = 8


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
        layers: what is kept of each pixel, or of each chip.
        shift_px: how far the grid is moved up and left.
        fingerprints: whether the files are hashed; only an estimate can do without.
        hint: what the error says may be done about a scene that cannot be read.
    """

    scene: Path
    model: Path | None = None
    config: PredictConfig = field(default_factory=PredictConfig)
    device: str = "auto"
    window: Window | None = None
    bounds: Bounds | None = None
    aoi: Path | None = None
    layers: tuple[Content, ...] = ("mask",)
    shift_px: int = 0
    fingerprints: bool = True
    hint: str = HINT


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
        """Whether a chip owns any pixel that is asked for; of objects, whether it sees any."""
        if self._is_whole:
            return True
        # An object is decided by all chips that see it, not only by those that own its pixels.
        mine = self.blocks.view_of(chip) if self.plan.is_objects else self.blocks.window_of(chip)
        inside = shared(mine, self.plan.part)
        if inside is None:
            return False
        return self._aoi is None or self._aoi.covers(self.scene.geobox.window(inside)) > 0

    @functools.cached_property
    def wanted_chips(self) -> dict[int, list[Chip]]:
        """Chips that are :meth:`wanted`, by block; blocks without any are left out."""
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
            both = shared(window, part)
            if both is not None:
                top, left = both.row_off - window.row_off, both.col_off - window.col_off
                shown[top : top + both.height, left : left + both.width] = True
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
        from geoseg.render.job import Job

        loaded = load_network(self.model, self.plan, str(self.device))
        if wanted is None:
            wanted = {chip for chips in self.wanted_chips.values() for chip in chips}.__contains__
        return Job(
            plan=self.plan,
            blocks=self.blocks,
            scene=self.scene,
            craft=craft_of(loaded, self.plan, self.blocks, self.card.stats, self.area()),
            wanted=wanted,
            appetite=appetite_of(self.card, loaded, self.plan, self.scene),
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
    with Scene.open(
        request.scene,
        bands=config.bands,
        nodata=config.nodata,
        remote=True,
        on_error=config.on_error,
        hint=request.hint,
    ) as scene:
        objects = request.layers == OBJECT_LAYERS
        check_task(card, model, objects=objects)
        check_config(config, objects=objects)
        check_fit(scene, card, model, progress)
        warn_of_server(scene, progress)
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
        aoi = None if request.aoi is None else open_aoi(request.aoi, scene.geobox.window(plan.part), progress)
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
    overlap_px = default_overlap(size_px) if config.overlap_px is None else config.overlap_px
    if request.layers == OBJECT_LAYERS and overlap_px < ALIGN_PX:
        raise InputError(
            f"overlap of {overlap_px} px: chips must overlap to tell whether an object goes on; "
            f"use {ALIGN_PX} or more"
        )
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
        overlap_px=overlap_px,
        shift_px=request.shift_px,
        refine=config.refine,
        margin=config.margin,
        points_per_pixel=config.points_per_pixel,
        scale=config.scale,
        min_score=config.min_score if request.layers == OBJECT_LAYERS else 0.0,
        tta=config.tta,
        precision=precision,
        device="cuda" if device == "cuda" else "cpu",
        batch_size=1 if device == "cpu" else config.batch_size or CUDA_BATCH,
        window=None if part is None else (part.row_off, part.col_off, part.height, part.width),
        aoi=None if request.aoi is None else file_sha256(request.aoi),
        layers=request.layers,
    )


def _scene_fingerprint(scene: Scene) -> str:
    if scene.remote is not None:
        return scene.remote.fingerprint
    each = [file_sha256(path) for path in scene.files]
    return each[0] if len(each) == 1 else hashlib.sha256("".join(each).encode()).hexdigest()
